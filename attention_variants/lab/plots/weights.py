"""The weights of one sequence and one head as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from torch import Tensor

from .axes import (
    LEGEND_STYLE,
    LEGIBLE,
    PAGE_WIDTH,
    TITLE_SIZE,
    as_array,
    blocked_cells,
    cell_size,
    check_tokens,
    draw_map,
    label_columns,
    label_rows,
    legend_handles,
    longest_label,
    style_colorbar,
    write_values,
)


def plot_weights(
    weights: Tensor,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    *,
    mask: Tensor | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    values: bool | Literal["auto"] = "auto",
    colorbar: bool = True,
) -> Axes:
    """Draw the weights of one sequence and one head as a heat map, one row for each query.

    Parameters
    ----------
    weights : Tensor of shape (T_q, T_k)
        From white, 0, to blue, 1. Of any floating dtype; it may require gradients.
    query_tokens, key_tokens : sequence of str, optional
        The tokens of the T_q rows and of the T_k columns. Without them, positions are numbered from 0.
    mask : boolean Tensor that broadcasts to (T_q, T_k), optional
        True = may attend. The other cells are hatched.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure of fitting size.
    title : str, optional
        The title of the axes.
    values : bool or "auto", default "auto"
        Whether to write the numbers into the cells; "auto" does if they can be read there.
    colorbar : bool, default True
        Whether to draw the scale.

    Returns
    -------
    ax : matplotlib.axes.Axes
        What was drawn on; ``ax.figure.savefig("weights.png")`` saves it.

    Raises
    ------
    TypeError
        If weights are not a tensor, or the mask is not a boolean one.
    ValueError
        If a shape or a number of tokens does not fit.
    """
    array = as_array("plot_weights: weights", weights)
    if array.ndim != 2:
        instead = {
            3: " plot_heads draws (H, T_q, T_k); for one head of it, pass weights[head].",
            4: " Choose a batch item: plot_heads(weights[0]), or one head of it: plot_weights(weights[0, head]).",
        }.get(array.ndim, "")
        raise ValueError(f"plot_weights: weights must have the shape (T_q, T_k); got {array.shape}.{instead}")
    T_q, T_k = array.shape
    check_tokens("plot_weights: weights", "query", query_tokens, T_q)
    check_tokens("plot_weights: weights", "key", key_tokens, T_k)
    blocked = blocked_cells("plot_weights", mask, array.shape)

    new = ax is None
    if ax is None:
        left, top = 0.5 + longest_label(query_tokens), 0.5 + 0.75 * longest_label(key_tokens)
        right, bottom = 0.9 * colorbar, 0.3 * bool(blocked.any())
        cell = min(max(6.0 / max(T_q, T_k), 0.2), 0.42, (PAGE_WIDTH - left - right) / T_k)
        width = max(cell * T_k, 0.12 * len(title or ""))
        _, ax = plt.subplots(
            figsize=(left + width + right, top + cell * T_q + bottom + 0.3 * bool(title)), layout="constrained"
        )
    else:
        cell = min(cell_size(ax, array.shape))

    image = draw_map(ax, array, "weights", blocked)
    label_rows(ax, "query", query_tokens, T_q, cell)
    label_columns(ax, "key", key_tokens, T_k, cell)
    if title is not None:
        ax.set_title(title, fontsize=TITLE_SIZE)
    if values is True or (values == "auto" and cell >= LEGIBLE):
        write_values(ax, image, blocked)
    if handles := legend_handles(["weights"], [array], [blocked]):
        below = (0.0, -0.12 / (cell * T_q))
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=below, borderaxespad=0.0, ncols=2, **LEGEND_STYLE)
    if colorbar and new:  # beside its own axes, the scale is as high as the map
        side = ax.inset_axes((1 + 0.12 / (cell * T_k), 0.0, 0.14 / (cell * T_k), 1.0))
        style_colorbar(ax.figure.colorbar(image, cax=side, ticks=[0, 0.5, 1]), "weight")
    elif colorbar:
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03, ticks=[0, 0.5, 1])
        style_colorbar(bar, "weight")
        bar.ax.set_box_aspect(None)
        bar.ax.set_axes_locator(_BesideTheMap(ax, bar.ax))
    return ax


class _BesideTheMap:
    """Keeps a scale as high as its map, which square cells make smaller than the place that both were given."""

    def __init__(self, ax: Axes, scale: Axes) -> None:
        self.ax = ax
        self.get_subplotspec = scale.get_subplotspec  # by which a layout knows where it belongs

    def __call__(self, *_: object) -> Bbox:
        self.ax.apply_aspect()
        place, around = self.ax.get_position(), self.ax.figure  # of a figure, or of a part of one
        width = around.bbox.width / around.dpi
        return Bbox.from_extents(place.x1 + 0.1 / width, place.y0, place.x1 + 0.22 / width, place.y1)
