"""The benchmark from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from rich.console import Console, Group
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from attention_variants.variants import takes, variants_that_take

from .bounds import bounds
from .compiled import compile_variant, compiled_variants
from .contenders import all_contenders
from .decoding import measure_decoding, measure_kept
from .figures import draw_all
from .growth import measure_growth
from .machine import describe_machine
from .race import race
from .result import Bench
from .shares import measure_shares
from .tables import as_html, as_text, for_the_terminal
from .training import LENGTHS, measure_training
from .workloads import SIZES, Workload, full, of_size, quick, writings

#: The parts of a run.
PARTS = ("races", "growth", "shares", "decoding", "training", "compile")


class Run(Bench):
    """What `bench` measured: it shows itself as tables, and is saved with its figures."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``bench.json``, and each figure as PNG and SVG.

        Parameters
        ----------
        folder : str or Path
            Is made if it is not there.

        Returns
        -------
        files : list of Path
            What was written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "bench.json"]
        data = {**self.to_dict(), "bounds": [asdict(bound) for bound in bounds(self)]}
        files[0].write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        for name, figure in draw_all(self).items():
            for kind in ("png", "svg"):
                files.append(folder / f"{name}.{kind}")
                metadata = {"Date": None} if kind == "svg" else {}  # the same file from the same figures
                with plt.rc_context({"svg.hashsalt": name}):
                    figure.savefig(files[-1], dpi=160, bbox_inches="tight", facecolor="white", metadata=metadata)
        return files

    def __rich__(self) -> Group:
        return for_the_terminal(self)

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def bench(
    workloads: Sequence[Workload] | None = None,
    *,
    is_quick: bool = False,
    parts: Sequence[str] | None = None,
    rounds: int | None = None,
    budget: float | None = None,
    device: torch.device | str = "cpu",
) -> Run:
    """Measure our variants beside what a reader would pick instead, and how the cost of ours grows.

    Parameters
    ----------
    workloads : sequence of Workload, optional
        The races; by default those of a full or a quick run.
    is_quick : bool, default False
        Small sizes, and done in a minute: to see that it works. The figures that are guaranteed need a full run.
    parts : sequence of str, optional
        Of "races", "growth", "shares", "decoding", "training" and "compile"; by default all, without the last if
        quick, and the first alone if ``workloads`` are given.
    rounds : int, optional
        How many rounds each race has; by default as many as the budget allows, at least 6; and each text that a
        language model writes, at least 5.
    budget : float, optional
        About how many seconds the rounds of a race, or of a text, may take; by default 8, quick 1.
    device : torch.device, default "cpu"
        Where the races run. On a CUDA GPU they are timed by events, and memory is the allocator's; all else is
        measured on the CPU.

    Returns
    -------
    run : Run
        Shows itself as tables; ``save`` writes JSON and figures.

    Raises
    ------
    ValueError
        For a part that there is not, a device that is not there, or less than one round.

    Notes
    -----
    Growth starts processes: a script that calls this needs the guard ``if __name__ == "__main__":``.
    """
    parts = _checked_parts(parts, is_quick, workloads is not None)
    _check_device(device)
    if workloads is None:
        workloads = quick() if is_quick else full()
    if budget is None:
        budget = 1.0 if is_quick else 8.0

    result = Run(describe_machine(device), quick=is_quick)
    texts = writings(is_quick=is_quick) if "decoding" in parts else []
    steps = len(workloads) * ("races" in parts) + len(texts) + sum(part in parts for part in PARTS[1:])
    with _progress(steps) as (report, advance):
        if "races" in parts:
            taking_part, checked = all_contenders(), dict[Any, Any]()
            for workload in workloads:
                report(f"{workload.size}, {workload.kind}")
                settings: dict[str, Any] = {"budget": budget, "rounds": rounds, "device": device}
                result.races.append(race(workload, taking_part, **settings, checked=checked, report=report))
                advance()
        for part, measure in (("growth", _growth), ("shares", _shares)):
            if part in parts:
                measure(result, report)
                advance()
        for writing in texts:
            result.decoding.append(measure_decoding(writing, budget=budget, rounds=rounds, report=report))
            advance()
        for part, measure in (("decoding", _kept), ("training", _training), ("compile", _compiled)):
            if part in parts:
                measure(result, report)
                advance()
    return result


def _checked_parts(parts: Sequence[str] | None, is_quick: bool, has_workloads: bool) -> Sequence[str]:
    if parts is None:
        return PARTS[:1] if has_workloads else PARTS[:-1] if is_quick else PARTS
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"bench: parts must be among {', '.join(PARTS)}; got {', '.join(sorted(unknown))}.")
    return parts


def _check_device(device: torch.device | str) -> None:
    if not str(device).startswith(("cpu", "cuda")):
        raise ValueError(f'bench: device must be "cpu" or "cuda"; got {str(device)!r}.')
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError("bench: this PyTorch sees no CUDA GPU; leave the device out to run on the CPU.")


def _growth(result: Run, report: Callable[[str], None]) -> None:
    longest, seconds = (1024, 0.5) if result.quick else (16384, 10.0)
    result.growth = measure_growth(longest=longest, seconds=seconds, report=report)


def _shares(result: Run, report: Callable[[str], None]) -> None:
    workload = of_size((4, 128, 256, 4) if result.quick else SIZES[1], mask="causal")
    variants = variants_that_take("heads")
    lean = ", ".join(str(variant) for variant in variants if takes(variant, "need_weights"))
    result.shares_of = f"{workload.size}, forward, causal" + f" (variant {lean} without weights)" * bool(lean)
    for variant in variants:
        report(f"where the time goes: variant {variant}")
        result.shares[variant] = measure_shares(variant, workload)


def _kept(result: Run, report: Callable[[str], None]) -> None:
    report("what the caches hold")
    longest = {writing.size: writing for writing in writings(is_quick=result.quick)}  # of each model the last
    for writing in longest.values():
        result.kept += measure_kept(writing)


def _training(result: Run, report: Callable[[str], None]) -> None:
    result.training = measure_training(LENGTHS[:2] if result.quick else LENGTHS, report=report)


def _compiled(result: Run, report: Callable[[str], None]) -> None:
    for variant in compiled_variants():
        report(f"torch.compile: variant {variant}")
        result.compiled.append(compile_variant(variant))


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
