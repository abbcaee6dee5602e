"""The tables of a run, for the terminal, for a notebook and for the site."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from attention_variants.lab.table import html_table, plain_text, rich_table

from .bounds import Bound, bounds
from .decoding import TRANSFORMERS, WITH_CACHE, WITHOUT_CACHE
from .result import BARE_NAME, SEEN_FROM, Bench, Compiled, Curve, Decoding, Growth, Kept, Race, Result, name_of
from .shares import PARTS

#: How many workloads stand in one table, so that it fits a terminal of 80.
_COLUMNS = 5

#: What the cells of the races say.
_LEGEND = (
    "Times are multiples of that of the bare operations, whose row has the milliseconds: four matrix products and the "
    "fused kernel, nothing around them. error: the largest beside float64, in values and gradients. MiB: peak memory "
    "in the first column, beyond inputs and weights. -: takes no part. =: equal, not timed (bench.json says why). "
    "Fused kernels that ran: {kernels}."
)

#: A table: its title, column heads, rows, how many columns hold words, and a line below.
_Parts = tuple[str, list[str], list[list[str]], int, str]


def race_tables(races: list[Race]) -> Iterator[_Parts]:
    """Lay out races, those of one size side by side.

    Parameters
    ----------
    races : list of Race

    Yields
    ------
    table : tuple
        Title, column heads, rows, how many columns hold words, and a line below. A cell is the time as a multiple of
        that of the bare operations, whose own row has the milliseconds.
    """
    groups: dict[tuple, list[Race]] = {}
    for race in races:
        w = race.workload
        settings = "" if w.dtype == "float32" and not w.compiled else "other settings"
        groups.setdefault((w.batch, w.queries, w.d_model, w.heads, settings), []).append(race)
    for (B, T, d_model, H, settings), group in groups.items():
        for columns in (group[start : start + _COLUMNS] for start in range(0, len(group), _COLUMNS)):
            rows, untimed = [], []
            for name in [result.name for result in columns[0].results]:
                results = [race[name] for race in columns]
                checked = [result for result in results if result.errors]
                if not checked:
                    continue
                if not any(result.seconds for result in results) and all(result.equal for result in checked):
                    untimed.append(name)
                    continue
                worst = max(result.largest_error for result in checked)
                held = f"{results[0].memory / 2**20:,.0f}" if results[0].memory is not None else "-"
                rows.append([name, f"{worst:.0e}", *(_cell(race, name) for race in columns), held])
            title = f"B={B}, T={T}, d_model={d_model}, H={H}" + f", {settings}" * bool(settings)
            cells = {cell for row in rows for cell in row[2:]}
            legend = {
                f"Equal, but not timed here: {', '.join(untimed)}.": bool(untimed),
                "=: equal, but not timed.": "=" in cells,
                "-: takes no part, or was not measured.": "-" in cells,
            }
            note = " ".join(words for words, said in legend.items() if said)
            yield title, ["", "error", *map(_head, columns), "MiB"], rows, 1, note


def bounds_table(found: list[Bound], caption: str) -> _Parts:
    """Lay out what is guaranteed, beside what was measured.

    Parameters
    ----------
    found : list of Bound
    caption : str
        On which machine.

    Returns
    -------
    table : tuple
        As `race_tables` yields it.
    """
    rows: list[list[str]] = []
    for i, bound in enumerate(found):
        what = "" if i and found[i - 1].what == bound.what else bound.what
        asked = f"{'✓' if bound.met else '✗'} {bound.asked}" if bound.asked else ""
        rows.append([what, bound.where, bound.measured, asked])
    note = (
        "✓ met, ✗ missed. ±: half the distance of the quartiles. bwd: forward + backward, met if the lower quartile is "
        f"(“from”). On {caption}"
    )
    title = "Guarantees: ratios of times, the variants by their numbers"
    return title, ["what", "B × T", "measured", "asked"], rows, 2, note


def all_tables(bench: Bench) -> Iterator[_Parts]:
    """Lay out everything that was measured.

    Parameters
    ----------
    bench : Bench

    Yields
    ------
    table : tuple
        As `race_tables` yields it.
    """
    yield from race_tables(bench.races)
    if bench.growth:
        yield _growth_table(bench.growth)
    if bench.shares:
        yield _shares_table(bench.shares, bench.shares_of)
    if bench.decoding:
        yield from _decoding_tables(bench.decoding)
    if bench.kept:
        yield _kept_table(bench.kept)
    if bench.training:
        yield _training_table(bench.training)
    if bench.compiled:
        yield _compiled_table(bench.compiled)
    if found := bounds(bench):
        yield bounds_table(found, bench.caption)


def for_the_terminal(bench: Bench) -> Group:
    """Lay out everything for a terminal, after what the cells say and who is missing.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    tables : rich.console.Group
    """
    kernels = {result.kernel for race in bench.races for result in race.results} - {""}
    legend = [Text(_LEGEND.format(kernels=", ".join(sorted(kernels)) or "none seen") + "\n")] if bench.races else []
    return Group(*legend, *(Text(f"{line}\n") for line in failures(bench)), *_rich_tables(bench))


def as_text(bench: Bench) -> str:
    """Write who is missing and all tables as text without colours."""
    return "\n".join([*failures(bench), *(plain_text(table) for table in _rich_tables(bench))])


def as_html(bench: Bench) -> str:
    """Write all tables for a notebook."""
    parts = all_tables(bench)
    return "\n".join(
        html_table(title, columns, rows, left=left, note=note) for title, columns, rows, left, note in parts
    )


def failures(bench: Bench) -> list[str]:
    """Say who is missing for another reason than that of the workload, and why."""
    results = [result for rounds in (*bench.races, *bench.decoding) for result in rounds.results]
    return sorted({f"{r.name}: {r.reason}" for r in results if r.reason is not None and r.reason.is_failure})


def _rich_tables(bench: Bench) -> Iterator[Table]:
    for title, columns, rows, left, note in all_tables(bench):
        yield rich_table(title, columns, rows, left=left, note=note)


def _cell(race: Race, name: str) -> str:
    result: Result = race[name]
    if not result.seconds:
        return ("=" if result.equal else "DIFFERS") if result.errors else "-"
    if name == BARE_NAME:
        return f"{result.median * 1e3:,.0f} ms" if result.median >= 0.01 else f"{result.median * 1e3:.1f} ms"
    return f"{race.ratio(name).median:.2f}"


def _head(race: Race) -> str:
    """A column head: what sets the workload apart, a word a line."""
    w = race.workload
    words = ["fwd+bwd" if w.backward else "fwd"]
    words += [w.mask] * (w.mask != "none") + ["cross"] * (not w.is_self) + ["weights"] * w.weights
    words += ["bf16"] * (w.dtype == "bfloat16") + ["compile"] * w.compiled
    return "\n".join(words)


def _growth_table(growth: Growth) -> _Parts:
    rows = []
    for variant, curve in growth.seconds.items():
        memory = growth.memory(variant)
        rows.append(
            [
                name_of(variant),
                f"{curve.lengths[-1]:,}",
                f"{curve.values[-1] * 1e3:,.0f} ms",
                f"{curve.exponent:.2f}",
                f"{memory.values[-1] / 2**20:,.1f} MiB",
                f"{memory.exponent_beyond_fixed:.2f}" if len(memory.lengths) > 2 else "-",
                f"{growth.reach(variant):,}" if len(memory.lengths) > 2 and memory.lengths[-1] >= SEEN_FROM else "-",
            ]
        )
    heads = ["", "T", "time", "as T^", "memory", "as T^", "fits up to"]
    return (
        "How cost grows: B=1, d_model=512, H=8, forward, lifted",
        heads,
        rows,
        1,
        f"T: the longest that was run. memory: the peak of a fresh process, or of the tensors. as T^: the "
        f"exponent that fits, beyond what is fixed. fits up to: the T for {growth.budget / 2**30:.0f} GiB, by the fit",
    )


def _shares_table(shares: dict[int, dict[str, float]], workload: str) -> _Parts:
    rows = []
    for variant, parts in shares.items():
        total = sum(parts.values())
        rows.append([name_of(variant), f"{total * 1e3:,.0f} ms", *(f"{parts[part] / total:.0%}" for part in PARTS)])
    heads = ["", "call", "linear", "scores", "mask", "softmax", "sum", "kernel", "copies", "other"]
    assert len(heads) == 2 + len(PARTS)
    return "Where the time goes", heads, rows, 1, workload


def _decoding_tables(decoding: list[Decoding]) -> Iterator[_Parts]:
    """A table for each model."""
    for size in dict.fromkeys(one.writing.size for one in decoding):
        rows = []
        for one in (one for one in decoding if one.writing.size == size):
            timed = {result.name for result in one.timed}
            rates = [
                f"{one.per_second(name):,.0f}" if name in timed else "-"
                for name in (WITH_CACHE, WITHOUT_CACHE, TRANSFORMERS)
            ]
            ratios = [
                str(one.ratio(name, to=WITH_CACHE)) if {name, WITH_CACHE} <= timed else "-"
                for name in (WITHOUT_CACHE, TRANSFORMERS)
            ]
            rows.append([f"{one.writing.tokens:,}", *rates, *ratios])
        note = (
            "One text, greedily, on one thread, with the same weights; by the time of the processor. x: how many "
            "times as fast ours with a cache is, by rounds. ±: half the distance of the quartiles."
        ) + " -: would take too long, or is not here (bench.json says which)." * any("-" in row for row in rows)
        heads = ["tokens", "cache", "no cache", "transformers", "x no cache", "x transformers"]
        yield f"Tokens a second: {size}", heads, rows, 0, note


def _kept_table(kept: list[Kept]) -> _Parts:
    rows, before = [], ""
    for one in kept:
        w = one.writing
        size = f"d_model={w.d_model}, {w.layers} layers, H={w.heads}"
        read = w.prompt + w.tokens - 1
        rows.append(["" if size == before else size, f"{one.key_heads}", f"{read:,}", f"{one.bytes:,}"])
        rows[-1].append(f"{one.per_token:,.0f}")
        before = size
    return "What the caches keep, in bytes (float32)", ["", "key heads", "tokens", "all", "a token"], rows, 1, ""


def _training_table(training: dict[str, Curve]) -> _Parts:
    lengths = next(iter(training.values())).lengths
    rows = [
        [
            name,
            *(f"{value / 2**20:,.2f}" for value in curve.values),
            f"{curve.exponent_beyond_fixed:.2f}" if len(curve.lengths) > 2 else "-",
        ]
        for name, curve in training.items()
    ]
    heads = ["", *(f"T={T:,}" for T in lengths), "as T^"]
    note = "The most that tensors hold at once, beyond q, k and v: counted, so the same on every machine. Blocks of 64"
    return "Memory of forward + backward, one head of width 64, MiB", heads, rows, 1, note


def _compiled_table(compiled: list[Compiled]) -> _Parts:
    rows = [
        [name_of(one.variant), one.failure or "works", "-" if one.error is None else f"{one.error:.0e}"]
        for one in compiled
    ]
    return "torch.compile(fullgraph=True)", ["", "", "difference"], rows, 2, ""
