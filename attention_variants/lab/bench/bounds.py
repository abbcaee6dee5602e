"""What the project guarantees of its speed and memory, beside what a run measured.

The guarantees speak of certain variants by their numbers, as the README does: 7 is what one would use, 6 what one would
write, and 5 and 1 show what the steps to these bring.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .contenders import FAST_PATH, OTHERS, TEXTBOOK, TORCH, ours
from .decoding import TRANSFORMERS, WITH_CACHE, WITHOUT_CACHE
from .result import BARE_NAME, Bench, Race, Ratio, name_of
from .workloads import SIZES, Workload, writings


@dataclass(frozen=True)
class Bound:
    """One guarantee.

    Attributes
    ----------
    what, where : str
        Of what it speaks, variants by their numbers, and of which workload.
    asked : str
        What was guaranteed; "" if nothing was, and the figure is there to be read.
    measured : str
        What came out.
    met : bool or None
        Whether the guarantee was kept; None if there was none.
    """

    what: str
    where: str
    asked: str
    measured: str
    met: bool | None


def bounds(bench: Bench) -> list[Bound]:
    """Hold a run against what is guaranteed; what it did not measure is left out.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    bounds : list of Bound
    """
    return [*_of_races(bench.races), *_of_growth(bench), *_of_decoding(bench), *_of_compilation(bench)]


def _of_races(races: list[Race]) -> Iterator[Bound]:
    plain = [race for race in races if _is_plain(race.workload) and _is_guaranteed(race.workload)]
    for of_race in (_beside_the_bare, _beside_the_best, _with_weights, _heads_at_once):
        for race in plain:
            yield from of_race(race)


def _beside_the_bare(race: Race) -> Iterator[Bound]:
    w = race.workload
    if not w.weights and not w.backward and race.was_timed(name_of(7)):
        yield _at_most("7 / bare", w, race.ratio(name_of(7)), 1.08)


def _beside_the_best(race: Race) -> Iterator[Bound]:
    w, our_names = race.workload, {contender.name for contender in ours()}
    others = [result for result in race.timed if result.name not in (BARE_NAME, *our_names)]
    if w.weights or not w.backward or not others or not race.was_timed(name_of(7)):
        return
    best = min(others, key=lambda result: result.median)
    ratio = race.ratio(name_of(7), to=best.name)
    labels = {contender.name: contender.label for contender in OTHERS}
    what = f"7 / {labels.get(best.name) or best.name}"  # the best of them
    # Within the spread of the run: the lower quartile of the rounds is at most 1.
    yield Bound(what, w.short, "≤ 1.00", f"{ratio}, from {ratio.low:.2f}", ratio.low <= 1.0)


def _with_weights(race: Race) -> Iterator[Bound]:
    w = race.workload
    if w.weights and not w.backward and (w.batch, w.queries, w.d_model, w.heads) == SIZES[1]:
        for name, most in ((TORCH, 1.0), (FAST_PATH, 1.0), (TEXTBOOK, 0.75)):
            if race.was_timed(name_of(6)) and race.was_timed(name):
                yield _at_most(f"6 / {name}", w, race.ratio(name_of(6), to=name), most)


def _heads_at_once(race: Race) -> Iterator[Bound]:
    if race.workload.weights and race.was_timed(name_of(5)) and race.was_timed(name_of(6)):
        yield Bound("5 / 6", race.workload.short, "", str(race.ratio(name_of(5), to=name_of(6))), None)


def _at_most(what: str, workload: Workload, ratio: Ratio, most: float) -> Bound:
    return Bound(what, workload.short, f"≤ {most:.2f}", str(ratio), ratio.median <= most)


def _of_growth(bench: Bench) -> Iterator[Bound]:
    growth = bench.growth
    if growth is None:
        return
    one, two = growth.seconds[1], growth.seconds[2]
    T = max(set(one.lengths) & set(two.lengths))
    ratio = one.values[one.lengths.index(T)] / two.values[two.lengths.index(T)]
    yield Bound("1 / 2", f"lifted, T={T}", "", f"{ratio:,.0f}", None)
    if growth.longest(7) >= 16384 and 7 in growth.process:
        exponent = growth.process[7].exponent_beyond_fixed
        yield Bound("7: memory, exponent of T", "to T=16384", "≤ 1.10", f"{exponent:.2f}", exponent <= 1.1)
    if 6 in growth.process and len(growth.process[6].lengths) >= 3:
        exponent = growth.process[6].exponent_beyond_fixed
        yield Bound(
            "6: memory, exponent of T",
            f"to T={growth.longest(6)}",
            "about 2",
            f"{exponent:.2f}",
            1.8 <= exponent <= 2.2,
        )


def _of_decoding(bench: Bench) -> Iterator[Bound]:
    small = writings()[0].size
    for one in bench.decoding:
        where = f"d_model={one.writing.d_model}, {one.writing.tokens} tokens"
        for other, short in ((WITHOUT_CACHE, "no cache"), (TRANSFORMERS, "transformers")):
            if one.was_timed(WITH_CACHE) and one.was_timed(other):
                ratio = one.ratio(other, to=WITH_CACHE)
                # What a call costs around the arithmetic shows where there is little of that.
                asked = other == TRANSFORMERS and one.writing.size == small and not bench.quick
                yield Bound(
                    f"{short} / cache",
                    where,
                    "≥ 1.50" if asked else "",
                    str(ratio),
                    ratio.median >= 1.5 if asked else None,
                )


def _of_compilation(bench: Bench) -> Iterator[Bound]:
    if bench.compiled:
        fail = [str(one.variant) for one in bench.compiled if not one.works]
        measured = f"not for {', '.join(fail)}" if fail else "works"
        first, last = bench.compiled[0].variant, bench.compiled[-1].variant
        yield Bound(f"{first} to {last}: torch.compile", "fullgraph=True", "works", measured, not fail)


def _is_plain(workload: Workload) -> bool:
    return workload.dtype == "float32" and not workload.compiled


def _is_guaranteed(workload: Workload) -> bool:
    return (workload.batch, workload.queries, workload.d_model, workload.heads) in SIZES
