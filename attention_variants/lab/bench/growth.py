"""How cost grows: time and peak memory of all variants, lifted, against T."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import torch

from attention_variants.lab.measure.memory import peak_memory
from attention_variants.model.lift import lift
from attention_variants.variants import VARIANTS, takes

from .result import SEEN_FROM, Curve, Growth

#: The problem that grows: one sequence, in the width and heads of the longest workload.
D_MODEL, HEADS = 512, 8

#: The longest T whose tensors are counted one by one.
COUNTED = 4096


def measure_growth(
    *,
    longest: int = 16384,
    shortest: int = 16,
    seconds: float = 10.0,
    budget: int = 2 * 2**30,
    report: Callable[[str], None] = lambda what: None,
) -> Growth:
    """Run all variants, lifted, on longer and longer sequences.

    T doubles from the shortest to the longest; a variant stops before a call that would, going by those before it,
    take longer than ``seconds`` or more memory than ``budget``. Who can leave the weights out does.

    Parameters
    ----------
    longest, shortest : int
        The ends of the ladder.
    seconds : float, default 10
        The longest that a call may take.
    budget : int, default 2 GiB
        The most bytes that a call may hold.
    report : callable, optional
        Is told what goes on, in words.

    Returns
    -------
    growth : Growth
    """
    ladder = [shortest * 2**step for step in range(20) if shortest * 2**step <= longest]
    times: dict[int, Curve] = {}
    tensors: dict[int, Curve] = {}
    for variant in VARIANTS:
        times[variant], tensors[variant] = time_of, bytes_of = Curve([], []), Curve([], [])
        for T in ladder:
            quadrupled = 4 * time_of.values[-1] if time_of.values else 0.0
            bytes_ahead = bytes_of.values[-1] * (T / bytes_of.lengths[-1]) ** 2 if bytes_of.values else 0.0
            if quadrupled > seconds or (_makes_weights(variant) and bytes_ahead > budget):
                break
            report(f"variant {variant}, T = {T}")
            function, inputs = _problem(variant, T)
            if T <= COUNTED and quadrupled < 1.0:  # counting takes variant 1 several times as long as running
                bytes_of.lengths.append(T)
                bytes_of.values.append(peak_memory(function, *inputs))
            time_of.lengths.append(T)
            time_of.values.append(_median_time(partial(function, *inputs)))

    process: dict[int, Curve] = {}
    for variant, curve in times.items():
        # Variant 1 stays below a megabyte, which drowns in the pages that a process touches for other reasons.
        measured = Curve([], [])
        for T in curve.lengths:
            if T >= SEEN_FROM:
                report(f"variant {variant}, T = {T}: memory of a process")
                peak = peak_of_process(variant, T)
                if peak is not None:
                    measured.lengths.append(T)
                    measured.values.append(peak)
        if measured.lengths:
            process[variant] = measured
    return Growth(times, tensors, process, budget)


def peak_of_process(variant: int, T: int) -> float | None:
    """Measure how far a call raises the peak memory of a fresh process, as the operating system counts it.

    Parameters
    ----------
    variant : int
        Its number; it runs lifted.
    T : int
        The length of the sequence.

    Returns
    -------
    bytes : float or None
        None where the system does not say (it must be Linux), the process was killed, or it knows no such variant,
        one that was registered here alone.

    Notes
    -----
    A script that calls this needs the guard ``if __name__ == "__main__":``, as all that start processes do.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    # A server that has imported torch and run nothing forks a process for each call: no threads, no memory of others.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_rise_of_peak, variant, T, torch.get_num_threads()).result()
        except BrokenProcessPool:
            return None


def _rise_of_peak(variant: int, T: int, threads: int) -> float | None:
    if variant not in VARIANTS:
        return None
    torch.set_num_threads(threads)
    function, inputs = _problem(variant, 64)
    function(*inputs)  # threads and their buffers, once
    function, inputs = _problem(variant, T)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now
    before = _status("VmRSS")
    result = function(*inputs)
    del result
    return max(_status("VmHWM") - before, 1)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def _makes_weights(variant: int) -> bool:
    """Whether a variant makes the T_q x T_k matrix even if nobody asks for it."""
    return not takes(variant, "need_weights")


def _problem(variant: int, T: int) -> tuple[Callable, tuple]:
    """A forward call without gradients, and its arguments."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, T, D_MODEL, generator=generator) for _ in range(3))
    function = torch.no_grad()(partial(lift(variant), need_weights=_makes_weights(variant)))
    return function, (q, k, v, None, HEADS)


def _median_time(call: Callable[[], Any]) -> float:
    """The median of at least five calls, of fewer if they are long, of many if they are short."""
    times: list[float] = []
    while sum(times) < 0.05 or (len(times) < 5 and sum(times) < 1.0):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
