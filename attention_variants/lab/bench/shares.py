"""Where the time goes: the operations of a layer and their share, by PyTorch's profiler."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch.autograd.profiler import profile
from torch.autograd.profiler_util import FunctionEvent

from attention_variants.variants import takes

from .contenders import Ours
from .workloads import Problem, Workload

#: The parts of a layer, in the order of the computation.
PARTS = ("projections", "scores", "mask", "softmax", "weighted sum", "fused kernel", "copies", "other")

_BY_NAME = {
    "addmm": "projections",
    "mm": "projections",
    "_softmax": "softmax",
    "masked_fill": "mask",
    "masked_fill_": "mask",
    "bitwise_not": "mask",
    "bitwise_or": "mask",
    "any": "mask",
    "all": "mask",
    "copy_": "copies",
    "clone": "copies",
    "cat": "copies",
    "stack": "copies",
    "contiguous": "copies",
}


def measure_shares(variant: int, workload: Workload, *, calls: int = 5) -> dict[str, float]:
    """Run a layer under the profiler and sort its operations into parts.

    Parameters
    ----------
    variant : int
        Which one attends.
    workload : Workload
        Forward only; without weights if the variant can leave them out.
    calls : int, default 5
        How many calls to average over.

    Returns
    -------
    seconds : dict
        For each of `PARTS`, the seconds that a call spends in its operations themselves. Memory that an operation is
        the first to touch counts for it.
    """
    problem = Problem.make(replace(workload, weights=not takes(variant, "need_weights")))
    layer = Ours(problem, variant)
    with torch.no_grad():
        layer(problem.x, problem.memory)
        with _no_chatter(), profile(record_shapes=True, use_kineto=False) as profiler:
            for _ in range(calls):
                layer(problem.x, problem.memory)
    seconds = dict.fromkeys(PARTS, 0.0)
    for event in profiler.function_events:
        seconds[part_of(event, workload.keys)] += event.self_cpu_time_total / 1e6 / calls
    return seconds


def part_of(event: FunctionEvent, keys: int) -> str:
    """Say which part of attention an operation belongs to.

    Parameters
    ----------
    event : torch.autograd.profiler_util.FunctionEvent
        With its input shapes.
    keys : int
        T_k, which must differ from d_k: a product that sums over it is the weighted sum, any other batched product
        makes scores.

    Returns
    -------
    part : str
        One of `PARTS`.
    """
    parent = event.cpu_parent
    while parent is not None:  # a linear layer copies its bias into place before it multiplies
        if parent.name == "aten::addmm":
            return "projections"
        parent = parent.cpu_parent
    name = event.name.removeprefix("aten::")
    if name.startswith("_scaled_dot_product"):
        return "fused kernel"
    if name == "bmm":
        summed_over = list(event.input_shapes[0])[-1]  # type: ignore[call-overload]  # a shape for each input
        return "weighted sum" if summed_over == keys else "scores"
    return _BY_NAME.get(name, "other")


@contextmanager
def _no_chatter() -> Iterator[None]:
    """Some builds of PyTorch say on stderr, below Python, that a profiler begins and ends."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
