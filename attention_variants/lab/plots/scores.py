"""The scores of one sequence and one head."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from .axes import (
    TITLE_SIZE,
    as_array,
    blocked_cells,
    cell_size,
    check_tokens,
    draw_map,
    filled_cells,
    ink_on,
    label_columns,
    label_rows,
    largest_magnitude,
    longest_label,
)

_WHOLE = 1e-9  # where all numbers are this near to whole ones, they are written without decimals


def plot_scores(
    scores: Tensor,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    *,
    mask: Tensor | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    values: bool = False,
    limit: float | None = None,
) -> Axes:
    """Draw scores as a heat map, one row for each query: white is 0.

    Parameters
    ----------
    scores : Tensor of shape (T_q, T_k)
        Of any floating dtype; it may require gradients.
    query_tokens, key_tokens : sequence of str, optional
        The tokens of the T_q rows and of the T_k columns. Without them, positions are numbered from 0.
    mask : boolean Tensor that broadcasts to (T_q, T_k), optional
        True = may attend. The other cells are hatched.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure of fitting size.
    title : str, optional
        The title of the axes.
    values : bool, default False
        Whether to write the numbers into the cells, without decimals if all are whole.
    limit : float, optional
        The colours go from -limit to limit; by default as far as the scores do. Maps that are compared share one.

    Returns
    -------
    ax : matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    TypeError
        If scores are not a tensor, or the mask is not a boolean one.
    ValueError
        If a shape or a number of tokens does not fit.
    """
    array = as_array("plot_scores: scores", scores)
    if array.ndim != 2:
        raise ValueError(f"plot_scores: scores must have the shape (T_q, T_k); got {array.shape}.")
    T_q, T_k = array.shape
    check_tokens("plot_scores: scores", "query", query_tokens, T_q)
    check_tokens("plot_scores: scores", "key", key_tokens, T_k)
    blocked = blocked_cells("plot_scores", mask, array.shape) | filled_cells(array, scores)
    if ax is None:
        cell = min(max(3.2 / max(T_q, T_k), 0.2), 0.5)
        left, top = 0.5 + longest_label(query_tokens), 0.8 + longest_label(key_tokens)
        size = (left + max(cell * T_k, 0.1 * len(title or "")), top + cell * T_q)
        _, ax = plt.subplots(figsize=size, layout="constrained")
    else:
        cell = min(cell_size(ax, array.shape))
    image = draw_map(ax, array, "scores", blocked, limit=limit or largest_magnitude(array, blocked))
    label_rows(ax, "query", query_tokens, T_q, cell)
    label_columns(ax, "key", key_tokens, T_k, cell)
    if title is not None:
        ax.set_title(title, fontsize=TITLE_SIZE)
    if values:
        digits = 0 if np.allclose(array[~blocked], array[~blocked].round(), rtol=0.0, atol=_WHOLE) else 2
        for i, j in np.argwhere(~blocked):
            color = ink_on(image.cmap(image.norm(array[i, j])))
            text = f"{array[i, j].round(digits) + 0.0:.{digits}f}".replace("-", "−")
            ax.text(j, i, text, ha="center", va="center", fontsize=TITLE_SIZE, color=color, in_layout=False)
    return ax
