"""Two maps beside each other, and their difference."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from attention_variants.lab.measure.reference import TOLERANCES

from .axes import (
    KINDS,
    PAGE_WIDTH,
    TITLE_SIZE,
    blocked_cells,
    cell_size,
    check_tokens,
    draw_map,
    extents_in_cells,
    figure_of,
    filled_cells,
    label_columns,
    label_rows,
    largest_magnitude,
    legend_below,
    legend_handles,
    longest_label,
    matrix_of,
    style_colorbar,
    upright_length,
)

_HARDLY_SEEN = 1e-3  # of the scale of the maps: a difference below it stays white


def plot_difference(
    a: Tensor,
    b: Tensor,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    *,
    labels: tuple[str, str] = ("a", "b"),
    name: str = "weights",
    mask: Tensor | None = None,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw two maps beside each other, and their difference.

    Parameters
    ----------
    a, b : Tensor of shape (T_q, T_k), or of the shape of what ``name`` names
        What two variants computed.
    query_tokens, key_tokens : sequence of str, optional
        The tokens of the rows and columns that are queries or keys.
    labels : (str, str)
        What to call the two.
    name : str, default "weights"
        Which tensor they are: "weights" are drawn from 0 to 1; "q", "k", "v", "scores" and "context" on one scale
        with 0 in the middle, and k transposed.
    mask : boolean Tensor that broadcasts to (T_q, T_k), optional
        True = may attend, for weights and scores. The other cells are hatched.
    axes : sequence of three matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Its first three axes are a, b, and a - b. The title of the third gives the largest difference, or, where
        that is no more than rounding, a bound that is the same on every machine.

    Raises
    ------
    TypeError
        If one is not a tensor, or the mask is not a boolean one.
    ValueError
        If the shapes differ, or a number of tokens does not fit, or there is no such name.

    Notes
    -----
    The scale of the difference reaches at least to a thousandth of that of the maps: rounding stays white.
    """
    first, second = _pair(a, b, labels, name)
    if axes is not None and len(axes) != 3:
        raise ValueError(f"plot_difference: axes must be three; got {len(axes)}.")
    tokens, (rows, columns) = {"query": query_tokens, "key": key_tokens}, KINDS[name]
    for kind, length in zip((rows, columns), first.shape, strict=True):
        check_tokens(f"plot_difference: {name}", kind, tokens.get(kind), length)
    pair_mask = mask if name in ("scores", "weights") else None
    blocked = blocked_cells("plot_difference", pair_mask, first.shape)
    if name == "scores":
        blocked |= filled_cells(first, a) & filled_cells(second, b)
    difference = first - second
    gap = np.abs(difference[~blocked]) if name == "scores" else np.abs(difference)
    largest = float(gap.max(initial=0.0))  # NaN if there is one

    limit = max(largest_magnitude(first, blocked), largest_magnitude(second, blocked))
    spread = max(largest, _HARDLY_SEEN * (1.0 if name == "weights" else limit)) if np.isfinite(largest) else limit
    handles, new = legend_handles([name, name], [first, second], [blocked, blocked]), axes is None
    bars: list[Axes] = []
    if axes is None:
        axes, bars = _difference_axes(first.shape, (rows, columns), tokens, bool(handles))
    images = [
        draw_map(axes[0], first, name, blocked, limit=limit, aspect="auto"),
        draw_map(axes[1], second, name, blocked, limit=limit, aspect="auto"),
        draw_map(axes[2], difference, "difference", blocked, limit=spread, aspect="auto"),
    ]
    titles = (labels[0], labels[1], f"{labels[0]} − {labels[1]}\nlargest difference {_rounded(largest)}")
    for i, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        height, width = cell_size(ax, first.shape)
        label_rows(ax, rows, tokens.get(rows), first.shape[0], height, numbers=rows in tokens)
        label_columns(ax, columns, tokens.get(columns), first.shape[1], width, numbers=columns in tokens)
        ax.set_title(title, fontsize=TITLE_SIZE)
        if i and new:
            ax.set_yticks([])
            ax.set_ylabel("")

    figure = figure_of(axes[0])
    _scales_below(figure, axes, images, name, bars)
    if new:
        legend_below(figure, handles)
    return figure


def _pair(a: Tensor, b: Tensor, labels: tuple[str, str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the two matrices to draw, of one shape."""
    if name not in KINDS:
        raise ValueError(f"plot_difference: name must be one of {', '.join(KINDS)}; got {name!r}.")
    first, second = (
        matrix_of(f"plot_difference: {label}", name, x)[0] for label, x in zip(labels, (a, b), strict=True)
    )
    if first.shape != second.shape:
        raise ValueError(f"plot_difference: both must have one shape; got {first.shape} and {second.shape}.")
    return first, second


def _scales_below(
    figure: Figure, axes: Sequence[Axes], images: Sequence[AxesImage], name: str, bars: Sequence[Axes]
) -> None:
    """Draw one scale for the two maps and one for their difference: on the bars, or below axes that were given."""
    for i, part, what in ((1, axes[:2], name), (2, axes[2:], "difference")):
        place = {"cax": bars[i - 1]} if bars else {"ax": list(part), "fraction": 0.05, "pad": 0.04, "aspect": 25}
        low, high = images[i].get_clim()
        ticks = [low, (low + high) / 2, high]
        style_colorbar(figure.colorbar(images[i], orientation="horizontal", **place), what, ticks)


def _rounded(largest: float) -> str:
    """Write a difference so that it reads the same on every machine: mere rounding as a bound."""
    if np.isnan(largest):
        return "NaN"
    bounds = (TOLERANCES[torch.float64], TOLERANCES[torch.float32], _HARDLY_SEEN)
    below = next((bound for bound in bounds if largest < bound), None)
    return f"{largest:.2g}" if below is None else f"< {below:g}".replace("e-0", "e-")


def _difference_axes(
    shape: tuple[int, ...], kinds: tuple[str, str], tokens: dict[str, Sequence[str] | None], legend: bool
) -> tuple[list[Axes], list[Axes]]:
    """Return axes for two maps and their difference, placed in inches, and for the two scales below them."""
    count = max((n for n, kind in zip(shape, kinds, strict=True) if kind in tokens), default=max(shape))
    rows, columns = extents_in_cells(shape, kinds, count)
    left, gap = 0.5 + longest_label(tokens.get(kinds[0])), 0.2
    right = 0.15 + 0.7 * longest_label((tokens.get(kinds[1]) or [""])[-1:])  # the last label leans over the edge
    cell = min(max(2.4 / max(rows, columns), 0.2), 0.4, (PAGE_WIDTH - left - 2 * gap - right) / 3 / columns)
    above, below = 0.85 + upright_length(tokens.get(kinds[1]), cell), 0.75 + 0.2 * legend
    step = max(cell * columns, 1.8) + gap  # a narrow map leaves room for its title
    width, height = left + 3 * step - gap + right, above + cell * rows + below
    figure = plt.figure(figsize=(width, height))

    def axes(x: float, y: float, wide: float, high: float) -> Axes:
        return figure.add_axes((x / width, y / height, wide / width, high / height))

    maps = [axes(left + i * step, below, cell * columns, cell * rows) for i in range(3)]
    bar, third = 0.8 * cell * columns, left + 2 * step + 0.1 * cell * columns
    y = below - 0.25
    return maps, [axes(left + (step + cell * columns - bar) / 2, y, bar, 0.1), axes(third, y, bar, 0.1)]
