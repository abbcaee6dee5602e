"""The weights of all heads of one sequence, a heat map for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .axes import (
    LINE_HEIGHT,
    PAGE_WIDTH,
    TITLE_SIZE,
    as_array,
    blocked_cells,
    cell_size,
    check_tokens,
    draw_map,
    figure_of,
    label_columns,
    label_rows,
    legend_below,
    legend_handles,
    lie_flat,
    longest_label,
    style_colorbar,
    upright_length,
)


def plot_heads(
    weights: Tensor,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    *,
    mask: Tensor | None = None,
    ncols: int = 4,
    titles: Sequence[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the weights of all heads of one sequence, a heat map for each, on one scale.

    Parameters
    ----------
    weights : Tensor of shape (H, T_q, T_k)
        From white, 0, to blue, 1.
    query_tokens, key_tokens : sequence of str, optional
        The tokens of the T_q rows and of the T_k columns. Without them, positions are numbered from 0.
    mask : boolean Tensor that broadcasts to (H, T_q, T_k), optional
        True = may attend. The other cells are hatched.
    ncols : int, default 4
        How many heads to draw beside each other.
    titles : sequence of str, optional
        One title for each head; by default "head 0", "head 1" and so on.
    figsize : (float, float), optional
        Width and height in inches; by default what fits the page and the labels.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Its first H axes are the heads, in order.

    Raises
    ------
    TypeError
        If weights are not a tensor, or the mask is not a boolean one.
    ValueError
        If a shape or a number of tokens, titles or columns does not fit.
    """
    array = as_array("plot_heads: weights", weights)
    if array.ndim != 3:
        instead = {
            2: " plot_weights draws one head.",
            4: " Choose a batch item: plot_heads(weights[0]).",
        }.get(array.ndim, "")
        raise ValueError(f"plot_heads: weights must have the shape (H, T_q, T_k); got {array.shape}.{instead}")
    H, T_q, T_k = array.shape
    check_tokens("plot_heads: weights", "query", query_tokens, T_q)
    check_tokens("plot_heads: weights", "key", key_tokens, T_k)
    blocked = blocked_cells("plot_heads", mask, array.shape)
    titles = [f"head {h}" for h in range(H)] if titles is None else titles
    if len(titles) != H:
        raise ValueError(f"plot_heads: titles must be one for each of the {H} heads; got {len(titles)}.")
    if ncols < 1:
        raise ValueError(f"plot_heads: ncols must be at least 1; got {ncols}.")

    ncols = min(ncols, H)
    handles = legend_handles(["weights"], [array], [blocked])
    grid, side = _heads_axes(H, ncols, (T_q, T_k), (query_tokens, key_tokens), figsize, bool(handles))
    cell = min(cell_size(grid[0], (T_q, T_k)))
    for h, ax in enumerate(grid):
        image = draw_map(ax, array[h], "weights", blocked[h])
        if h % ncols == 0:
            label_rows(ax, "query", query_tokens, T_q, cell)
        else:
            ax.set_yticks([])
        if h < ncols:
            label_columns(ax, "key", key_tokens, T_k, cell)
        else:
            ax.set_xticks([])
        ax.set_title(titles[h], fontsize=TITLE_SIZE)
    figure = figure_of(side)
    style_colorbar(figure.colorbar(image, cax=side, ticks=[0, 0.5, 1]), "weight")
    legend_below(figure, handles)
    return figure


def _heads_axes(
    H: int,
    ncols: int,
    shape: tuple[int, int],
    tokens: tuple[Sequence[str] | None, Sequence[str] | None],
    figsize: tuple[float, float] | None,
    legend: bool,
) -> tuple[list[Axes], Axes]:
    """Return axes for each of H maps, placed in inches, and one for the scale beside them."""
    (T_q, T_k), (query_tokens, key_tokens) = shape, tokens
    nrows = math.ceil(H / ncols)
    left, right, title, below = 0.5 + longest_label(query_tokens), 0.75, 0.3, 0.1 + 0.25 * legend
    room = (figsize[0] if figsize else PAGE_WIDTH) - left - right
    lean = 0.7 * longest_label(
        (key_tokens or [""])[-1:]
    )  # where labels are not upright, the last one leans to the right
    gap = 0.1 if 2.0 / max(shape) < 1.5 * LINE_HEIGHT or lie_flat(key_tokens, room / ncols / T_k) else max(0.1, lean)
    cell = (room / ncols - gap) / T_k
    if not figsize:
        cell = min(cell, max(2.0 / max(T_q, T_k), 0.2))
    above = 0.25 + title + (upright_length(key_tokens, cell) or LINE_HEIGHT)
    if figsize:
        cell = min(cell, ((figsize[1] - above - below) / nrows - title) / T_q)
    wide, high = max(cell * T_k, 0.2), cell * T_q
    width, height = figsize or (left + ncols * (wide + gap) + right, above + nrows * (high + title) - title + below)
    figure = plt.figure(figsize=(width, height))

    def axes(x: float, y: float, wide: float, high: float) -> Axes:
        return figure.add_axes((x / width, 1 - (y + high) / height, wide / width, high / height))

    corners = [(left + h % ncols * (wide + gap), above + h // ncols * (high + title)) for h in range(H)]
    return [axes(x, y, wide, high) for x, y in corners], axes(
        left + ncols * (wide + gap) + 0.1, above, 0.14, nrows * (high + title) - title
    )
