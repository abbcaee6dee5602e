"""A whole run: tables for the terminal and the notebook, JSON, and a folder with both and the figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from attention_variants.lab.table import html_table, plain_text, rich_table

from .bounds import Bound, bounds
from .compiled import Compiled
from .contenders import FLOOR
from .growth import Growth
from .machine import machine_in_words
from .race import Race, Result
from .shares import PARTS

#: How many workloads stand in one table, so that it fits a terminal of 80.
_COLUMNS = 5

#: What the cells of the races say.
_LEGEND = (
    "Times are multiples of the floor's, whose row has the milliseconds: four matrix products and the bare kernel. "
    "error: the largest beside float64, in values and gradients. MiB: peak memory in the first column, beyond inputs "
    "and weights. -: takes no part. =: equal, not timed (bench.json says why). The kernel of variant 7: {kernel}."
)

#: A table: its title, column heads, rows, how many columns hold words, and a line below.
_Parts = tuple[str, list[str], list[list[str]], int, str]


@dataclass(repr=False)
class Bench:
    """What `bench` measured.

    Attributes
    ----------
    machine : dict
        Where, see `describe_machine`.
    quick : bool
        Whether it was a quick run, whose figures are not those that are promised.
    races : list of Race
        One for each workload.
    growth : Growth or None
        Time and memory against T.
    shares : dict of int to dict
        Variant -> part -> seconds of a call.
    shares_of : str
        The workload of ``shares``, in words.
    compiled : list of Compiled
        What ``torch.compile`` made of variants 2 to 7.
    """

    machine: dict[str, Any]
    quick: bool = False
    races: list[Race] = field(default_factory=list)
    growth: Growth | None = None
    shares: dict[int, dict[str, float]] = field(default_factory=dict)
    shares_of: str = ""
    compiled: list[Compiled] = field(default_factory=list)

    @property
    def all_equal(self) -> bool:
        """Whether everybody who was checked equals the float64 reference."""
        return all(race.all_equal for race in self.races)

    @property
    def bounds(self) -> list[Bound]:
        """What is promised, beside what was measured."""
        return bounds(self)

    @property
    def caption(self) -> str:
        """On which machine, in a line."""
        return machine_in_words(self.machine)

    def race(self, kind: str, size: str = "") -> Race:
        """Look up a race.

        Parameters
        ----------
        kind : str
            As `Workload.kind` says it, such as "forward, causal".
        size : str, optional
            The beginning of `Workload.size`, such as "B=2"; by default the first that fits.

        Returns
        -------
        race : Race

        Raises
        ------
        KeyError
            If there is none; the error lists those there are.
        """
        for race in self.races:
            if race.workload.kind == kind and race.workload.size.startswith(size):
                return race
        there = "; ".join(f"{race.workload.size}: {race.workload.kind}" for race in self.races)
        raise KeyError(f"no race {kind!r} of size {size!r}; there are {there}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return {
            "machine": self.machine,
            "quick": self.quick,
            "all_equal": self.all_equal,
            "bounds": [asdict(bound) for bound in self.bounds],
            "races": [race.to_dict() for race in self.races],
            "growth": self.growth.to_dict() if self.growth else None,
            "shares": self.shares,
            "shares_of": self.shares_of,
            "compiled": [asdict(one) for one in self.compiled],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Bench:
        """Read what `to_dict` wrote."""
        return cls(
            machine=data["machine"],
            quick=data["quick"],
            races=[Race.from_dict(race) for race in data["races"]],
            growth=Growth.from_dict(data["growth"]) if data["growth"] else None,
            shares={int(variant): parts for variant, parts in data["shares"].items()},
            shares_of=data["shares_of"],
            compiled=[Compiled(**one) for one in data["compiled"]],
        )

    @classmethod
    def load(cls, path: str | Path) -> Bench:
        """Read a run that was saved.

        Parameters
        ----------
        path : str or Path
            The ``bench.json``, or the folder it is in.

        Returns
        -------
        bench : Bench
        """
        path = Path(path)
        path = path / "bench.json" if path.is_dir() else path
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))

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
        import matplotlib.pyplot as plt

        from .figures import draw_all

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "bench.json"]
        files[0].write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        for name, figure in draw_all(self).items():
            for kind in ("png", "svg"):
                files.append(folder / f"{name}.{kind}")
                metadata = {"Date": None} if kind == "svg" else {}  # the same file from the same figures
                with plt.rc_context({"svg.hashsalt": name}):
                    figure.savefig(files[-1], dpi=160, bbox_inches="tight", facecolor="white", metadata=metadata)
        return files

    def __rich__(self) -> Group:
        ran = {race["variant 7"].kernel for race in self.races if any(r.name == "variant 7" for r in race.results)}
        kernel = ", ".join(sorted(ran - {""})) or "not seen"
        legend = [Text(_LEGEND.format(kernel=kernel) + "\n")] if self.races else []
        legend += [Text(f"{line}\n") for line in self._failures()]
        return Group(*legend, *self._tables())

    def __repr__(self) -> str:
        return "\n".join([*self._failures(), *(plain_text(table) for table in self._tables())])

    def _repr_html_(self) -> str:
        return "\n".join(
            html_table(title, columns, rows, left=left, note=note) for title, columns, rows, left, note in self._parts()
        )

    def _failures(self) -> list[str]:
        """Who is missing for another reason than that of the workload, and why."""
        return sorted({f"{r.name}: {r.reason}" for race in self.races for r in race.results if _is_failure(r)})

    def _tables(self) -> Iterator[Table]:
        for title, columns, rows, left, note in self._parts():
            yield rich_table(title, columns, rows, left=left, note=note)

    def _parts(self) -> Iterator[_Parts]:
        yield from race_tables(self.races)
        if self.growth:
            yield _growth_table(self.growth)
        if self.shares:
            yield _shares_table(self.shares, self.shares_of)
        if self.compiled:
            yield _compiled_table(self.compiled)
        if self.bounds:
            yield bounds_table(self.bounds, self.caption)


def race_tables(races: list[Race]) -> Iterator[_Parts]:
    """Lay out races, those of one size side by side.

    Parameters
    ----------
    races : list of Race

    Yields
    ------
    table : tuple
        Title, column heads, rows, how many columns hold words, and a line below. A cell is the time as a multiple of
        the floor's, whose own row has the milliseconds.
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
    """Lay out what is promised, beside what was measured.

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
    return "What is promised, and what came out", ["", "B x T", "measured", "asked"], rows, 2, note


def _is_failure(result: Result) -> bool:
    """Whether somebody is missing for another reason than that of the workload."""
    return result.reason.startswith(("not installed", "not equal")) or "Error" in result.reason


def _cell(race: Race, name: str) -> str:
    result: Result = race[name]
    if not result.seconds:
        return ("=" if result.equal else "DIFFERS") if result.errors else "-"
    if name == FLOOR.name:
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
                f"variant {variant}",
                f"{curve.lengths[-1]:,}",
                f"{curve.values[-1] * 1e3:,.0f} ms",
                f"{curve.exponent:.2f}",
                f"{memory.values[-1] / 2**20:,.1f} MiB",
                f"{memory.exponent_beyond_fixed:.2f}" if len(memory.lengths) > 2 else "-",
                f"{growth.reach(variant):,}" if len(memory.lengths) > 2 and memory.lengths[-1] >= 512 else "-",
            ]
        )
    heads = ["", "T", "time", "as T^", "memory", "as T^", "fits up to"]
    return (
        "How cost grows: B=1, d_model=512, H=8, forward, lifted",
        heads,
        rows,
        1,
        f"T: the longest that was run. memory: the peak of a fresh process (variant 1: of its tensors). as T^: the "
        f"exponent that fits, beyond what is fixed. fits up to: the T for {growth.budget / 2**30:.0f} GiB, by the fit",
    )


def _shares_table(shares: dict[int, dict[str, float]], workload: str) -> _Parts:
    rows = []
    for variant, parts in shares.items():
        total = sum(parts.values())
        rows.append([f"variant {variant}", f"{total * 1e3:,.0f} ms", *(f"{parts[part] / total:.0%}" for part in PARTS)])
    heads = ["", "call", "linear", "scores", "mask", "softmax", "sum", "kernel", "copies", "other"]
    assert len(heads) == 2 + len(PARTS)
    return "Where the time goes", heads, rows, 1, workload


def _compiled_table(compiled: list[Compiled]) -> _Parts:
    rows = [
        [f"variant {one.variant}", one.failure or "works", "-" if one.error is None else f"{one.error:.0e}"]
        for one in compiled
    ]
    return "torch.compile(fullgraph=True)", ["", "", "difference"], rows, 2, ""
