"""The figures of a run: the race, the growth, and where the time goes. Each names the machine at its foot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from attention_variants.lab.plots.colors import AXIS_GRID, BAND, INK, OTHERS, OURS, QUIET
from attention_variants.lab.plots.colors import PARTS as PART_COLORS
from attention_variants.variants import variants_that_take

from .contenders import Contender, all_contenders
from .result import Bench, Curve, Race, name_of
from .shares import PARTS
from .workloads import Workload

#: How each kind of race is drawn: the marker, whether it is full, how far below its contender's line.
_MARKS = {
    "forward": ("o", True, -0.22),
    "forward, causal": ("D", True, 0.0),
    "forward + backward": ("o", False, 0.22),
}
_HATCHED = {"copies": "///", "mask": "xxx"}


def draw_all(bench: Bench) -> dict[str, Figure]:
    """Draw every figure that a run has figures for.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    figures : dict of str to Figure
        Name of the file -> figure.
    """
    figures = {}
    if bench.races:
        figures["race"] = plot_race(bench)
    if bench.growth:
        figures["growth"] = plot_growth(bench)
    if bench.shares:
        figures["shares"] = plot_shares(bench)
    for figure in figures.values():
        plt.close(figure)  # it is for a file: pyplot need not show it as well
    return figures


def plot_race(bench: Bench) -> Figure:
    """Draw how long everybody takes, as a multiple of the bare operations: a panel for each size, and one with weights.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    figure : Figure
        A mark is the median of the rounds' ratios, its line the quartiles.
    """
    eager = [race for race in bench.races if race.workload.dtype == "float32" and not race.workload.compiled]
    panels: dict[str, list[Race]] = {}
    for race in eager:
        w = race.workload
        if _mark(race) and not w.weights:
            panels.setdefault(_title(w), []).append(race)
    with_weights = [race for race in eager if race.workload.weights and not race.workload.backward]
    for race in with_weights[-1:]:  # one is enough, and the last is the largest
        panels[_title(race.workload, "with weights")] = [race]
    if not panels:  # one workload of the reader's own
        panels = {_title(race.workload, race.workload.kind): [race] for race in bench.races}
    drawn = [race for group in panels.values() for race in group]
    contenders = [c for c in all_contenders() if any(_timed(race, c.name) for race in drawn)]
    names = [contender.name for contender in contenders]

    fig, axes = plt.subplots(
        1, len(panels), figsize=(1.6 * len(panels) + 2.2, 0.26 * len(names) + 1.6), sharey=True, squeeze=False
    )
    for ax, (title, races) in zip(axes[0], panels.items(), strict=True):
        _race_panel(ax, races, contenders)
        ax.set_title(title, fontsize=9, color=INK)
    axes[0, 0].set_yticks(range(len(names)), names)
    strong = variants_that_take("need_weights")
    axes[0, 0].invert_yaxis()
    for label, contender in zip(axes[0, 0].get_yticklabels(), contenders, strict=True):
        weight = "bold" if contender.variant in strong else "normal"
        label.set(color=_color(contender), fontsize=9, fontweight=weight)
    handles = [
        plt.Line2D([], [], color=QUIET, linestyle="", marker=marker, mfc=QUIET if full else "white", label=words)
        for words, (marker, full, _) in _MARKS.items()
    ]
    fig.legend(handles=handles, loc="upper left", fontsize=8, frameon=False)
    fig.supxlabel(
        "time, as a multiple of that of the bare operations (four matrix products, fused kernel)", fontsize=9, color=INK
    )
    return _finish(fig, bench)


def plot_ranking(bench: Bench, races: Mapping[str, Race]) -> Figure:
    """Draw who was timed in some races, the fastest on top, and who of them ran a fused kernel.

    Parameters
    ----------
    bench : Bench
        For the machine at the foot.
    races : dict of str to Race
        The title of a panel -> the race that it shows.

    Returns
    -------
    figure : Figure
        A mark is the median of the rounds' ratios to the bare operations, its line the quartiles.
    """
    most = max(len(race.timed) for race in races.values()) - 1
    fig, axes = plt.subplots(1, len(races), figsize=(4.8 * len(races), 0.3 * most + 1.5), squeeze=False)
    fused_color, other_color = PART_COLORS["fused kernel"], PART_COLORS["scores"]
    kinds: dict[bool, dict[str, Any]] = {
        True: {"marker": "o", "color": fused_color, "label": "runs a fused kernel"},
        False: {"marker": "s", "color": other_color, "label": "runs none: stores every weight"},
    }
    for ax, (title, race) in zip(axes[0], races.items(), strict=True):
        contenders = [contender for contender in all_contenders() if race.was_timed(contender.name)]
        contenders.sort(key=lambda contender: race.ratio(contender.name).median)
        for row, contender in enumerate(contenders):
            ratio, kind = race.ratio(contender.name), kinds[bool(race[contender.name].kernel)]
            ax.plot([ratio.low, ratio.high], [row, row], color=kind["color"], linewidth=1.6)
            ax.plot(ratio.median, row, kind["marker"], color=kind["color"], ms=6)
        ax.set_yticks(range(len(contenders)), [contender.name for contender in contenders])
        for label, contender in zip(ax.get_yticklabels(), contenders, strict=True):
            label.set_fontweight("bold" if contender.is_ours else "normal")
        ax.invert_yaxis()
        ax.axvline(1.0, color=INK, linewidth=0.8)
        ax.set_xlim(left=min(0.8, ax.get_xlim()[0]))
        ax.xaxis.set_major_locator(plt.MultipleLocator(1.0))
        ax.grid(axis="x", color=AXIS_GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.set_title(title, fontsize=10, color=INK)
        ax.set_xlabel("time / time of the bare operations", fontsize=9, color=INK)
        _quiet(ax)
    handles = [plt.Line2D([], [], linestyle="", **kind) for kind in kinds.values()]
    _finish(fig, bench)
    fig.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=9, frameon=False)
    return fig


def plot_growth(bench: Bench) -> Figure:
    """Draw time and peak memory against T on log axes, with the exponents that fit them.

    Parameters
    ----------
    bench : Bench
        With its growth.

    Returns
    -------
    figure : Figure
    """
    growth = bench.growth
    if growth is None:
        raise ValueError('this run did not measure growth: bench(parts=("growth",)).')
    fig, (time_ax, memory_ax) = plt.subplots(1, 2, figsize=(8.4, 4.4))
    _curves(time_ax, growth.seconds)
    style = {"fontsize": 8, "title_fontsize": 8, "frameon": False, "labelspacing": 0.25}
    time_ax.legend(title="variant", loc="lower right", **style)
    time_ax.set_ylabel("seconds of a forward call", color=INK)
    _curves(memory_ax, {variant: growth.memory(variant) for variant in growth.seconds}, unit=2**20, beyond_fixed=True)
    memory_ax.set_ylabel("MiB at the peak, beyond q, k and v", color=INK)
    memory_ax.axhline(growth.budget / 2**20, color=QUIET, linewidth=1, linestyle="--")
    memory_ax.annotate(
        f"{growth.budget / 2**30:.0f} GiB",
        (0.02, growth.budget / 2**20),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color=QUIET,
    )
    return _finish(fig, bench)


def plot_shares(bench: Bench) -> Figure:
    """Draw where the time of a call goes, a bar of 100 % for each variant.

    Parameters
    ----------
    bench : Bench
        With its shares.

    Returns
    -------
    figure : Figure
        The profiler takes time of its own, so the bars do not say which variant is faster.
    """
    fig, ax = plt.subplots(figsize=(6.6, 3.3))
    for row, parts in enumerate(bench.shares.values()):
        total, left = sum(parts.values()), 0.0
        for part in PARTS:
            percent = 100 * parts[part] / total
            ax.barh(
                row,
                percent,
                left=left,
                color=PART_COLORS[part],
                edgecolor=INK,
                linewidth=0.6,
                hatch=_HATCHED.get(part),
                height=0.66,
                label=part if row == 0 else None,
            )
            if percent > 4:
                text = ax.text(left + percent / 2, row, f"{percent:.0f}%", ha="center", va="center", fontsize=9)
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85})
            left += percent
    ax.set_yticks(range(len(bench.shares)), [name_of(variant) for variant in bench.shares])
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the time of a call, in %", color=INK)
    ax.set_title(bench.shares_of, fontsize=9, color=INK, loc="left")
    ax.legend(ncols=4, fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(-0.01, -0.2))
    _quiet(ax)
    return _finish(fig, bench)


def _title(workload: Workload, first: str = "") -> str:
    """The title of a panel, narrow enough to stand beside others."""
    return f"{first}\n" * bool(first) + ",\n".join(workload.size_in_two)


def _mark(race: Race) -> tuple[str, bool, float] | None:
    """How a race is drawn: the marker, whether it is full, and how far below its contender's line it stands."""
    w = race.workload
    if w.backward:
        return _MARKS["forward + backward"] if w.mask == "none" else None
    if w.mask == "causal":
        return _MARKS["forward, causal"]
    return _MARKS["forward"] if w.mask == "none" and w.is_self else None


def _timed(race: Race, name: str) -> bool:
    return any(result.name == name and result.seconds for result in race.results)


def _race_panel(ax: Axes, races: Sequence[Race], contenders: Sequence[Contender]) -> None:
    for race in races:
        marker, full, below = _mark(race) or _MARKS["forward"]
        for row, contender in enumerate(contenders):
            if _timed(race, contender.name):
                ratio, y, color = race.ratio(contender.name), row + below, _color(contender)
                ax.plot([ratio.low, ratio.high], [y, y], color=color, linewidth=1.3)
                ax.plot(ratio.median, y, marker, color=color, mfc=color if full else "white", ms=4.5)
    for row in range(1, len(contenders), 2):  # bands, so that the eye keeps to a line
        ax.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0, zorder=0)
    ax.axvline(1.0, color=INK, linewidth=0.8)
    left, right = ax.get_xlim()
    ax.set_xlim(left=min(0.85, left))
    ax.xaxis.set_major_locator(plt.MaxNLocator(3, steps=[1, 2, 5, 10]))
    ticks = [tick for tick in ax.get_xticks() if 1.0 < tick <= right and tick - 1.0 >= 0.12 * (right - 0.85)]
    ax.set_xticks([1.0, *ticks])  # the bare operations are named
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(axis="x", color=AXIS_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    _quiet(ax)


def _curves(ax: Axes, curves: Mapping[int, Curve], unit: float = 1.0, beyond_fixed: bool = False) -> None:
    """A line for each variant; at its end its number and its exponent, once for those that end together."""
    shades = {variant: to_hex(plt.get_cmap("viridis")(at / len(curves))) for at, variant in enumerate(curves)}
    strong = variants_that_take("need_weights")
    together: list[list[int]] = []
    for variant, curve in curves.items():
        values = [value / unit for value in curve.values]
        wide = 2.2 if variant in strong else 1.4
        ax.plot(curve.lengths, values, "o-", color=shades[variant], ms=3.5, linewidth=wide, label=str(variant))
        for group in together:
            other = curves[group[0]]
            if other.lengths[-1] == curve.lengths[-1] and 0.4 < other.values[-1] / curve.values[-1] < 2.5:
                group.append(variant)
                break
        else:
            together.append([variant])
    longest = max(curve.lengths[-1] for curve in curves.values())
    for group in together:
        last = curves[group[0]].lengths[-1]
        end = statistics.median(curves[variant].values[-1] / unit for variant in group)
        of = "exponent_beyond_fixed" if beyond_fixed else "exponent"
        found = [getattr(curves[variant], of) for variant in group]  # nan if too few lengths were run
        exponents = sorted({f"$T^{{{exponent:.1f}}}$" for exponent in found if exponent == exponent}) or [""]
        in_a_row = len(group) > 2 and group == list(range(group[0], group[-1] + 1))
        numbers = f"{group[0]} to {group[-1]}" if in_a_row else ", ".join(map(str, group))
        on_the_left = longest / 16 < last < longest  # on its right another line goes on
        ax.annotate(
            f"{numbers}:  {' to '.join(exponents[:: len(exponents) - 1 or 1])}".removesuffix(":  "),
            (last, end),
            xytext=(-8, 5) if on_the_left else (7, 0),
            textcoords="offset points",
            ha="right" if on_the_left else "left",
            va="center",
            fontsize=9.5,
            color=INK,
        )
    ax.set(xscale="log", yscale="log", xlabel="T")
    ax.xaxis.set_major_locator(plt.FixedLocator([16, 64, 256, 1024, 4096, 16384]))
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.xaxis.set_minor_locator(plt.NullLocator())
    ax.set_xlim(right=longest * 5)  # room for the labels
    _quiet(ax)
    ax.grid(color=AXIS_GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def _color(contender: Contender) -> str:
    return OURS if contender.is_ours else OTHERS


def _quiet(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9, colors=INK)


def _finish(fig: Figure, bench: Bench) -> Figure:
    fig.tight_layout()
    words = ("A quick run, small sizes. " if bench.quick else "") + f"Measured on {bench.caption}."
    fig.text(0.01, -0.01, words, fontsize=8, color=QUIET, va="top")
    return fig
