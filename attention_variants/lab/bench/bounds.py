"""What the project promises of its speed and memory, beside what a run measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .contenders import CONTENDERS
from .workloads import SIZES, Workload

if TYPE_CHECKING:
    from .race import Race
    from .result import Bench

_OURS = {contender.name for contender in CONTENDERS if contender.is_ours}


@dataclass(frozen=True)
class Bound:
    """One promise.

    Attributes
    ----------
    what : str
        Of what it speaks.
    asked : str
        What was promised; "" if nothing was, and the figure is there to be read.
    measured : str
        What came out.
    met : bool or None
        Whether the promise was kept; None if there was none.
    """

    what: str
    asked: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """The same as ``met``, in a word."""
        return {True: "met", False: "missed", None: ""}[self.met]


def bounds(bench: Bench) -> list[Bound]:
    """Hold a run against what is promised; what it did not measure is left out.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    bounds : list of Bound
    """
    return [*_of_races(bench.races), *_of_growth(bench), *_of_compilation(bench)]


def _of_races(races: list[Race]) -> Iterator[Bound]:
    plain = [race for race in races if _is_plain(race.workload) and _is_promised(race.workload)]
    for race in plain:
        w = race.workload
        if not w.weights and not w.backward:
            ratio = race.ratio("variant 7")
            yield Bound(f"variant 7 / floor: {w.size}, {w.kind}", "<= 1.08", str(ratio), ratio.median <= 1.08)
    for race in plain:
        w = race.workload
        others = [result for result in race.timed[1:] if result.name not in _OURS]
        if not w.weights and w.backward:
            best = min(others, key=lambda result: result.median)
            ratio = race.ratio("variant 7", to=best.name)
            what = f"variant 7 / best of the others ({best.name}): {w.size}, {w.kind}"
            yield Bound(what, "<= 1.00 within the spread", str(ratio), ratio.low <= 1.0)
    for race in plain:
        w = race.workload
        if w.weights and not w.backward and (w.batch, w.queries, w.d_model, w.heads) == SIZES[1]:
            for name, most in (
                ("nn.MultiheadAttention", 1.0),
                ("nn.MHA, fast path", 1.0),
                ("textbook class", 0.75),
            ):
                ratio = race.ratio("variant 6", to=name)
                yield Bound(
                    f"variant 6 / {name}: {w.size}, {w.kind}", f"<= {most:.2f}", str(ratio), ratio.median <= most
                )
    for race in plain:
        if race.workload.weights:
            ratio = race.ratio("variant 5", to="variant 6")
            yield Bound(f"variant 5 / variant 6: {race.workload.size}, {race.workload.kind}", "", str(ratio), None)


def _of_growth(bench: Bench) -> Iterator[Bound]:
    growth = bench.growth
    if growth is None:
        return
    if growth.longest(7) >= 16384 and 7 in growth.process:
        exponent = growth.process[7].exponent
        yield Bound(
            "variant 7: exponent of its peak memory, to T = 16384", "<= 1.10", f"{exponent:.2f}", exponent <= 1.1
        )
    if 6 in growth.process and len(growth.process[6].lengths) >= 3:
        exponent = growth.process[6].exponent
        yield Bound("variant 6: exponent of its peak memory", "about 2", f"{exponent:.2f}", 1.8 <= exponent <= 2.2)
    one, two = growth.seconds[1], growth.seconds[2]
    T = max(set(one.lengths) & set(two.lengths))
    ratio = one.values[one.lengths.index(T)] / two.values[two.lengths.index(T)]
    yield Bound(f"variant 1 / variant 2, lifted: T = {T}, 8 heads", "", f"{ratio:,.0f}", None)


def _of_compilation(bench: Bench) -> Iterator[Bound]:
    if bench.compiled:
        fail = [str(one.variant) for one in bench.compiled if not one.works]
        measured = (
            f"not for {', '.join(fail)}" if fail else f"largest difference {max(c.error for c in bench.compiled):.0e}"
        )
        yield Bound("torch.compile(fullgraph=True), variants 2 to 7", "works", measured, not fail)


def _is_plain(workload: Workload) -> bool:
    return workload.dtype == "float32" and not workload.compiled


def _is_promised(workload: Workload) -> bool:
    return (workload.batch, workload.queries, workload.d_model, workload.heads) in SIZES
