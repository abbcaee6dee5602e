"""The benchmark from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from .compiled import COMPILED, compile_variant
from .contenders import CONTENDERS
from .growth import measure_growth
from .machine import describe_machine
from .race import race
from .result import Bench
from .shares import measure_shares
from .workloads import SIZES, Workload, full, of_size, quick

#: The parts of a run.
PARTS = ("races", "growth", "shares", "compile")


def bench(
    workloads: Sequence[Workload] | None = None,
    *,
    is_quick: bool = False,
    parts: Sequence[str] | None = None,
    rounds: int | None = None,
    budget: float | None = None,
    device: torch.device | str = "cpu",
) -> Bench:
    """Measure our seven beside what a reader would pick instead, and how the cost of all seven grows.

    Parameters
    ----------
    workloads : sequence of Workload, optional
        The races; by default those of a full or a quick run.
    is_quick : bool, default False
        Small sizes, and done in a minute: to see that it works. The figures that are promised need a full run.
    parts : sequence of str, optional
        Of "races", "growth", "shares" and "compile"; by default all, without the last if quick, and the first alone if
        ``workloads`` are given.
    rounds : int, optional
        How many rounds each race has; by default as many as the budget allows, at least 6.
    budget : float, optional
        About how many seconds the rounds of a race may take; by default 8, quick 1.
    device : torch.device, default "cpu"
        Where the races run. On a CUDA GPU they are timed by events, and memory is the allocator's; growth and shares
        are measured on the CPU.

    Returns
    -------
    bench : Bench
        Shows itself as tables; ``save`` writes JSON and figures.

    Raises
    ------
    ValueError
        For a part that there is not, a device that is not there, or less than one round.

    Notes
    -----
    Growth starts processes: a script that calls this needs the guard ``if __name__ == "__main__":``.
    """
    if parts is None:
        parts = PARTS[:1] if workloads is not None else PARTS[:-1] if is_quick else PARTS
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"bench: parts must be among {', '.join(PARTS)}; got {', '.join(sorted(unknown))}.")
    if not str(device).startswith(("cpu", "cuda")):
        raise ValueError(f'bench: device must be "cpu" or "cuda"; got {str(device)!r}.')
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError("bench: this PyTorch sees no CUDA GPU; leave the device out to run on the CPU.")
    if workloads is None:
        workloads = quick() if is_quick else full()
    if budget is None:
        budget = 1.0 if is_quick else 8.0

    result = Bench(describe_machine(device), quick=is_quick)
    checked: dict = {}
    steps = len(workloads) * ("races" in parts) + sum(part in parts for part in PARTS[1:])
    with _progress(steps) as (report, advance):
        if "races" in parts:
            for workload in workloads:
                report(f"{workload.size}, {workload.kind}")
                result.races.append(
                    race(
                        workload,
                        CONTENDERS,
                        budget=budget,
                        rounds=rounds,
                        device=device,
                        checked=checked,
                        report=report,
                    )
                )
                advance()
        if "growth" in parts:
            longest, seconds = (1024, 0.5) if is_quick else (16384, 10.0)
            result.growth = measure_growth(longest=longest, seconds=seconds, report=report)
            advance()
        if "shares" in parts:
            workload = of_size((4, 128, 256, 4) if is_quick else SIZES[1], mask="causal")
            result.shares_of = f"{workload.size}, forward, causal (variant 7 without weights)"
            for variant in (5, 6, 7):
                report(f"where the time goes: variant {variant}")
                result.shares[variant] = measure_shares(variant, workload)
            advance()
        if "compile" in parts:
            for variant in COMPILED:
                report(f"torch.compile: variant {variant}")
                result.compiled.append(compile_variant(variant))
            advance()
    return result


@contextmanager
def _progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """Show a bar on stderr while work goes on, in a terminal only; it is gone when the work is done."""
    console = Console(stderr=True)
    columns = (BarColumn(20), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield (
            lambda what: bar.update(task, description=escape(what)),
            lambda: bar.advance(task),
        )
