"""A projection as a picture: the rows of the words, times a learned matrix, plus a learned row."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .axes import (
    LABEL_SIZE,
    TITLE_SIZE,
    as_array,
    check_tokens,
    draw_map,
    label_rows,
    longest_label,
    write_values,
)
from .colors import COLORS, INK

_LONGEST, _ACROSS = 2.0, 1.2  # inches: the d_model axis, and that of the result, where they hold no digits
_ROW, _DIGITS = 0.15, 0.55  # inches that a row takes, and a cell with digits in it


def plot_projection(
    x: Tensor,
    matrix: Tensor,
    bias: Tensor | None = None,
    *,
    name: str = "q",
    tokens: Sequence[str] | None = None,
    row: int | None = None,
    values: bool = False,
) -> Figure:
    """Draw how a projection makes queries, keys or values: x times a matrix, plus a bias.

    The matrix stands above the result and x to the left of it, so that the row of x and the column of the matrix that
    are multiplied cross in the cell that they make.

    Parameters
    ----------
    x : Tensor of shape (T, d_model)
        A row for each token.
    matrix : Tensor of shape (d_model, d_k)
        The matrix, as it is multiplied from the right; of an ``nn.Linear`` this is ``weight.T``.
    bias : Tensor of shape (d_k,), optional
        What is added to each row.
    name : {"q", "k", "v"}, default "q"
        What is made.
    tokens : sequence of str, optional
        The T tokens.
    row : int, optional
        The position to frame, in x and in the result: one row goes in, one comes out.
    values : bool, default False
        Whether to write the numbers into the cells.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Axes carry labels: "x", "W", "b" if there is a bias, and ``name``.

    Raises
    ------
    TypeError
        If x, matrix or bias is not a tensor.
    ValueError
        If a shape, the name, the row or the number of tokens does not fit.

    Notes
    -----
    Each part has its own scale, around 0 in white. It ends at the magnitude below which 99 in 100 of its numbers lie;
    the few beyond it have the colour of its end.
    """
    parts = _parts(x, matrix, bias, name)
    count = len(parts["x"])
    check_tokens("plot_projection: x", "query", tokens, count)
    if row is not None and not 0 <= row < count:
        raise ValueError(f"plot_projection: row must be from 0 to {count - 1}; got {row}.")

    figure, axes = _axes(parts, name, tokens, values)
    for part, ax in axes.items():
        blocked = np.zeros(parts[part].shape, dtype=bool)
        image = draw_map(ax, parts[part], part, blocked, limit=_limit(parts[part]), aspect="auto")
        if values:
            write_values(ax, image, blocked)
        ax.set(label=part, xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(color=COLORS.get(part, INK), linewidth=1.5)
        if part in ("x", name) and row is not None:
            frame = Rectangle(
                (-0.5, row - 0.5), parts[part].shape[1], 1, fill=False, edgecolor=INK, linewidth=2, zorder=3
            )
            ax.add_patch(frame)
    for part in ("x", "W", name):
        title = rf"$W_{name}$" if part == "W" else part
        axes[part].set_title(f"{title}  {parts[part].shape}", fontsize=TITLE_SIZE)
    if "b" in axes:
        shape = parts["b"].shape[1:]
        axes["b"].set_ylabel(f"+ $b_{name}$  {shape}", fontsize=LABEL_SIZE, rotation=0, ha="right", va="center")
    label_rows(axes["x"], "", tokens, count, axes["x"].get_position().height * figure.get_figheight() / count)
    return figure


def _parts(x: Tensor, matrix: Tensor, bias: Tensor | None, name: str) -> dict[str, np.ndarray]:
    """Return what is drawn: x, the matrix, the bias as a row, and what they make."""
    if name not in ("q", "k", "v"):
        raise ValueError(f'plot_projection: name must be "q", "k" or "v"; got {name!r}.')
    parts = {"x": as_array("plot_projection: x", x), "W": as_array("plot_projection: matrix", matrix)}
    if parts["x"].ndim != 2 or parts["W"].ndim != 2 or parts["x"].shape[1] != parts["W"].shape[0]:
        raise ValueError(
            "plot_projection: x must be (T, d_model) and matrix (d_model, d_k); "
            f"got {parts['x'].shape} and {parts['W'].shape}. Of an nn.Linear, the matrix is weight.T."
        )
    width = parts["W"].shape[1]
    if bias is not None:
        parts["b"] = as_array("plot_projection: bias", bias)
        if parts["b"].shape != (width,):
            raise ValueError(f"plot_projection: bias must be ({width},), a number a column; got {parts['b'].shape}.")
        parts["b"] = parts["b"][None]
    parts[name] = parts["x"] @ parts["W"] + parts.get("b", 0.0)
    return parts


def _limit(array: np.ndarray) -> float:
    """Return where the scale of a map ends: few numbers of a model are many times as large as all others."""
    return float(np.quantile(np.abs(array), 0.99)) or 1.0


def _axes(
    parts: dict[str, np.ndarray], name: str, tokens: Sequence[str] | None, values: bool
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with axes for each part, placed by hand, in inches: x and the result share their rows."""
    (count, d_model), width = parts["x"].shape, parts["W"].shape[1]
    long, across, high = (
        (_DIGITS * d_model, _DIGITS * width, 0.4 * count) if values else (_LONGEST, _ACROSS, _ROW * count)
    )
    left, gap, title = longest_label(tokens) + 0.3, 0.35, 0.3
    bias = (0.4 if values else 0.16) if "b" in parts else 0.0
    tall = 0.4 * d_model if values else long
    page = (left + long + gap + across + 0.1, title + tall + (bias + 0.1 if bias else 0.0) + title + high + 0.1)
    figure = plt.figure(figsize=page)

    def place(x: float, y: float, wide: float, high: float) -> Axes:
        return figure.add_axes((x / page[0], y / page[1], wide / page[0], high / page[1]))

    right = left + long + gap
    axes = {"x": place(left, 0.1, long, high)}
    above = 0.1 + high + title
    if bias:
        axes["b"] = place(right, above, across, bias)
        above += bias + 0.1
    axes["W"] = place(right, above, across, tall)
    axes[name] = place(right, 0.1, across, high)
    return figure, axes
