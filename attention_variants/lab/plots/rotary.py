"""Rotary positions as pictures: a pair of columns as a point that turns, and which columns are a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from .axes import LABEL_SIZE, TITLE_SIZE, as_array
from .colors import COLORS, DARK_TOKENS, FRAME, GRID, INK, TOKENS

_CELL = 0.42  # inches: a column
_MOST_COLUMNS = 2 * len(TOKENS)


def plot_turns(
    points: Tensor,
    labels: Sequence[str] | None = None,
    *,
    name: str = "q",
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a pair of columns at several positions: each row is a point in the plane, and an arrow leads to it.

    Parameters
    ----------
    points : Tensor of shape (T, 2)
        The pair, turned already.
    labels : sequence of str, optional
        What stands at the tips; by default the numbers of the rows.
    name : {"q", "k"}, default "q"
        In whose colour.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.
    title : str, optional
        The title of the axes.

    Returns
    -------
    ax : matplotlib.axes.Axes
        What was drawn on: a circle for each length that occurs, and an arrow for each row.

    Raises
    ------
    TypeError
        If points are not a tensor.
    ValueError
        If they are not pairs, or there are more or fewer labels than rows.
    """
    array = as_array("plot_turns: points", points)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"plot_turns: points must have the shape (T, 2), a pair of columns; got {array.shape}.")
    labels = [str(row) for row in range(len(array))] if labels is None else list(labels)
    if len(labels) != len(array):
        raise ValueError(f"plot_turns: labels must be {len(array)}, one for each row; got {len(labels)}.")
    if ax is None:
        _, ax = plt.subplots(figsize=(3.4, 3.4), layout="constrained")
    lengths = torch.as_tensor(array).norm(dim=-1)
    reach = draw_plane(ax, sorted({round(float(length), 6) for length in lengths}))
    ax.quiver(*(0 * array.T), *array.T, color=COLORS[name], **ARROW)
    for (x, y), label in zip(array.tolist(), labels, strict=True):
        length = (x * x + y * y) ** 0.5 or 1.0
        away = 1 + 0.14 * reach / length
        side = "left" if x > 0.3 * length else "right" if x < -0.3 * length else "center"
        ax.text(x * away, y * away, label, ha=side, va="center", fontsize=LABEL_SIZE, color=INK)
    if title is not None:
        ax.set_title(title, fontsize=TITLE_SIZE)
    return ax


#: An arrow from the origin, in the units of the axes.
ARROW: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "width": 0.018, "zorder": 3}


def draw_plane(ax: Axes, lengths: Sequence[float]) -> float:
    """Prepare axes for arrows from the origin: a cross, and a circle for each length; return how far they reach.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Of equal units in both directions afterwards, without ticks.
    lengths : sequence of float
        Of the arrows.

    Returns
    -------
    reach : float
        The largest length, or 1 if all are 0.
    """
    reach = max(lengths, default=0.0) or 1.0
    for length in lengths:
        ax.add_patch(Circle((0, 0), length, fill=False, edgecolor=GRID, linewidth=1))
    ax.axhline(0, color=GRID, linewidth=0.8, zorder=0)
    ax.axvline(0, color=GRID, linewidth=0.8, zorder=0)
    ax.set(xlim=(-1.75 * reach, 1.75 * reach), ylim=(-1.4 * reach, 1.4 * reach), aspect="equal", xticks=(), yticks=())
    ax.spines[:].set_visible(False)
    return reach


def plot_pairs(width: int = 8) -> Figure:
    """Draw which columns are a pair: side by side, or one in each half; and which column goes where between the two.

    Parameters
    ----------
    width : int, default 8
        How many columns are turned; even, at most 16.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Above, "interleaved"; below, "halves": a cell for each column with its number, in the colour of its pair.

    Raises
    ------
    ValueError
        If the width is odd, or not from 2 to 16.
    """
    if width % 2 or not 2 <= width <= _MOST_COLUMNS:
        raise ValueError(f"plot_pairs: width must be even and from 2 to {_MOST_COLUMNS}; got {width}.")
    figure, ax = plt.subplots(figsize=(1.4 + _CELL * width, 2.3), layout="constrained")
    half = width // 2
    for row, name in ((0, "interleaved"), (1, "halves")):
        for column in range(width):
            pair = column // 2 if name == "interleaved" else column % half
            ground = TOKENS[pair]
            cell = Rectangle((column, 2.2 * row), 1, 1, facecolor=ground, edgecolor="white", linewidth=2)
            ax.add_patch(cell)
            letters = "white" if ground in DARK_TOKENS else "black"
            middle = (column + 0.5, 2.2 * row + 0.5)
            ax.text(*middle, str(column), ha="center", va="center", fontsize=TITLE_SIZE, color=letters)
    for column in range(width):
        goes_to = column // 2 + half * (column % 2)
        ax.plot([column + 0.5, goes_to + 0.5], [1.05, 2.15], color=FRAME, linewidth=1)
    ax.set(xlim=(0, width), ylim=(3.25, -0.05), xticks=(), aspect="equal")
    ax.set_yticks([0.5, 2.7], labels=["interleaved", "halves"], fontsize=LABEL_SIZE)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure
