"""The figures of a run: the race, the growth, and where the time goes. Each names the machine at its foot."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from attention_variants.lab.colors import COLORS, INK
from attention_variants.variants import VARIANTS

from .contenders import CONTENDERS, FLOOR
from .growth import Curve, Growth
from .race import Race
from .result import Bench
from .shares import PARTS

_QUIET = "#6B6B6B"  # letters of the second rank: a contrast of 5 with white
_OURS, _OTHERS = "#0072B2", "#8A5A00"  # blue and brown, which no eye confuses
_SHARES = {
    "projections": "#D9D9D9",
    "scores": COLORS["scores"],
    "mask": "#999999",
    "softmax": COLORS["weights"],
    "weighted sum": COLORS["context"],
    "fused kernel": COLORS["v"],
    "copies": "#E69F00",
    "other": "#FFFFFF",
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
    """Draw how long everybody takes, as a multiple of the floor: a panel for each size, and one with weights.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    figure : Figure
        A dot is the median of the rounds' ratios, its line the quartiles; full without gradients, hollow with them.
    """
    eager = [race for race in bench.races if race.workload.dtype == "float32" and not race.workload.compiled]
    plain = [r for r in eager if not r.workload.weights and r.workload.is_self and r.workload.mask != "padding"]
    panels: dict[str, list[Race]] = {}
    for race in plain:
        if race.workload.mask == "none":
            panels.setdefault(race.workload.size, []).append(race)
    for race in eager:
        if race.workload.weights:
            panels.setdefault(f"with weights, causal\n{race.workload.size}", []).append(race)
    if not panels:  # one workload of the reader's own
        panels = {f"{race.workload.kind}\n{race.workload.size}": [race] for race in bench.races}
    names = [c.name for c in CONTENDERS if any(race[c.name].seconds for group in panels.values() for race in group)]

    fig, axes = plt.subplots(
        1, len(panels), figsize=(2.6 * len(panels) + 2.4, 0.3 * len(names) + 1.9), sharey=True, squeeze=False
    )
    for ax, (title, races) in zip(axes[0], panels.items(), strict=True):
        _race_panel(ax, races, names)
        ax.set_title(title.replace(", d_model", ",\nd_model"), fontsize=9, color=INK)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    for label, name in zip(axes[0, 0].get_yticklabels(), names, strict=True):
        label.set(color=_color(name), fontsize=9, fontweight="bold" if name == "variant 7" else "normal")
    handles = [
        plt.Line2D([], [], color=_QUIET, marker="o", linestyle="", label="forward"),
        plt.Line2D([], [], color=_QUIET, marker="o", linestyle="", mfc="white", label="forward + backward"),
    ]
    fig.legend(handles=handles, loc="upper left", fontsize=8, frameon=False, ncols=1)
    fig.supxlabel(
        "time, as a multiple of the floor's (four matrix products and the bare kernel)", fontsize=9, color=INK
    )
    return _finish(fig, bench)


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
    fig, (time_ax, memory_ax) = plt.subplots(1, 2, figsize=(10.5, 4.4))
    _curves(time_ax, growth, growth.seconds)
    time_ax.set_ylabel("seconds of a forward call", color=INK)
    _curves(memory_ax, growth, {variant: growth.memory(variant) for variant in VARIANTS}, unit=2**20)
    memory_ax.set_ylabel("MiB at the peak, beyond q, k and v", color=INK)
    memory_ax.axhline(growth.budget / 2**20, color=_QUIET, linewidth=1, linestyle="--")
    memory_ax.annotate(
        f"{growth.budget / 2**30:.0f} GiB",
        (0.02, growth.budget / 2**20),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color=_QUIET,
    )
    return _finish(fig, bench)


def plot_shares(bench: Bench) -> Figure:
    """Draw where the time of a call goes, for variants 5, 6 and 7: bars as long as the call.

    Parameters
    ----------
    bench : Bench
        With its shares.

    Returns
    -------
    figure : Figure
    """
    fig, ax = plt.subplots(figsize=(10, 2.9))
    for row, parts in enumerate(bench.shares.values()):
        total, left = sum(parts.values()), 0.0
        for part in PARTS:
            width = parts[part] * 1e3
            ax.barh(
                row,
                width,
                left=left,
                color=_SHARES[part],
                edgecolor=INK,
                linewidth=0.6,
                hatch=_HATCHED.get(part),
                height=0.66,
                label=part if row == 0 else None,
            )
            if width / 1e3 > 0.06 * max(sum(p.values()) for p in bench.shares.values()):
                text = ax.text(
                    left + width / 2, row, f"{width / 1e3 / total:.0%}", ha="center", va="center", fontsize=9
                )
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85})
            left += width
    ax.set_yticks(range(len(bench.shares)), [f"variant {variant}" for variant in bench.shares])
    ax.invert_yaxis()
    ax.set_xlabel("milliseconds of a call", color=INK)
    ax.set_title(bench.shares_of, fontsize=9, color=INK, loc="left")
    ax.legend(ncols=len(PARTS), fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(-0.01, -0.24))
    _quiet(ax)
    return _finish(fig, bench)


def _race_panel(ax: Axes, races: Sequence[Race], names: Sequence[str]) -> None:
    for race in races:
        backward = race.workload.backward
        for row, name in enumerate(names):
            if race[name].seconds:
                ratio, y = race.ratio(name), row + (0.16 if backward else -0.16)
                ax.plot([ratio.low, ratio.high], [y, y], color=_color(name), linewidth=1.4)
                ax.plot(ratio.median, y, "o", color=_color(name), mfc="white" if backward else _color(name), ms=5)
    ax.axvline(1.0, color=INK, linewidth=0.8)
    ax.set_xlim(left=min(0.9, ax.get_xlim()[0]))
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.8)
    ax.set_axisbelow(True)
    _quiet(ax)


def _curves(ax: Axes, growth: Growth, curves: dict[int, Curve] | object, unit: float = 1.0) -> None:
    """A line for each variant, its number and its exponent at the end."""
    assert isinstance(curves, dict)
    shades = {variant: to_hex(plt.get_cmap("viridis")((variant - 1) / 7)) for variant in VARIANTS}
    ends: list[tuple[float, int]] = []
    for variant, curve in curves.items():
        values = np.array(curve.values) / unit
        ax.plot(curve.lengths, values, "o-", color=shades[variant], ms=3.5, linewidth=2.2 if variant == 7 else 1.4)
        ends.append((values[-1], variant))
    ax.set(xscale="log", yscale="log", xlabel="T")
    ax.xaxis.set_major_locator(plt.FixedLocator([16, 64, 256, 1024, 4096, 16384]))
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.xaxis.set_minor_locator(plt.NullLocator())
    longest = max(curve.lengths[-1] for curve in curves.values())
    ax.set_xlim(right=longest * 6)  # room for the labels
    _quiet(ax)
    ax.grid(color="#E5E5E5", linewidth=0.8)
    ax.set_axisbelow(True)
    # Labels beside the ends of the lines, pushed apart where they would overlap.
    low, high = np.log10(ax.get_ylim())
    step, last = (high - low) / 21, -np.inf
    for value, variant in sorted(ends):
        curve = curves[variant]
        y = max(np.log10(value), last + step)
        last = y
        ax.annotate(
            f"{variant}:  $T^{{{curve.exponent:.1f}}}$",
            (curve.lengths[-1], value),
            xytext=(longest * 1.35, 10**y),
            va="center",
            fontsize=9,
            color=shades[variant] if variant < 6 else INK,
            arrowprops={"arrowstyle": "-", "color": "#BBBBBB", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 2},
        )


def _color(name: str) -> str:
    return _OURS if name.startswith("variant") else INK if name == FLOOR.name else _OTHERS


def _quiet(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9, colors=INK)


def _finish(fig: Figure, bench: Bench) -> Figure:
    fig.tight_layout()
    words = ("A quick run, small sizes. " if bench.quick else "") + f"Measured on {bench.caption}."
    fig.text(0.01, -0.01, words, fontsize=7.5, color=_QUIET, va="top")
    return fig
