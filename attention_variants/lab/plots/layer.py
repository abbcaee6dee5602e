"""A whole attention layer as one picture: projections, the heads' columns, one head at work, and the output."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from attention_variants.model import MultiHeadAttention
from attention_variants.variants import multihead_attention

from .axes import (
    LABEL_SIZE,
    TITLE_SIZE,
    as_array,
    check_tokens,
    draw_map,
    largest_magnitude,
    longest_label,
)
from .colors import COLORS, FRAME, INK, QUIET

_WIDE, _HIGH = 2.2, 1.05  # inches: the d_model axis, and that of the tokens
_TITLE, _GAP, _WORDS = 0.24, 0.2, 0.42  # above a map, between two of them, and the line that says what happens next
_MANY, _SHADES = 100, 5  # a tensor with more rows or columns is drawn in so few shades


def plot_layer(
    layer: MultiHeadAttention,
    x: Tensor,
    *,
    head: int = 0,
    row: int = 0,
    tokens: Sequence[str] | None = None,
) -> Figure:
    """Draw self-attention through a layer, from x by W_q to the columns of the heads, and by W_o to the output.

    A matrix stands above what it makes, so that the row and the column that are multiplied cross in the cell that they
    make. What belongs to one head is framed: its columns of W_q (each as high as x is wide), its columns of q and of
    the context, and its rows of W_o. W_k and W_v are left out: they do for k and v what W_q does for q.

    Parameters
    ----------
    layer : MultiHeadAttention
        The layer, as wide as x.
    x : Tensor of shape (T, d_model)
        What enters it: a row for each token.
    head : int, default 0
        The head to frame, and to show at work.
    row : int, default 0
        The token to frame, in x, in q, in the context and in the output.
    tokens : sequence of str, optional
        The T tokens; the framed one is written beside its rows.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Axes carry labels: "x", "W_q", "q", "q of the head", "weights", "context of the head", "context", "W_o" and
        "output".

    Raises
    ------
    TypeError
        If x is not a tensor.
    ValueError
        If x, the head, the row or the number of tokens does not fit.

    Notes
    -----
    Weights are drawn from 0 to 1. Each of the others has its own scale, around 0 in white, which ends at the magnitude
    below which 99 in 100 of its numbers lie. Biases are added and not drawn.
    """
    if as_array("plot_layer: x", x).ndim != 2 or x.shape[1] != layer.d_model:
        raise ValueError(f"plot_layer: x must be (T, {layer.d_model}), as wide as the layer; got {tuple(x.shape)}.")
    for name, value, count in (("head", head, layer.num_heads), ("row", row, len(x))):
        if not 0 <= value < count:
            raise ValueError(f"plot_layer: {name} must be from 0 to {count - 1}; got {value}.")
    check_tokens("plot_layer: x", "query", tokens, len(x))

    parts = _parts(layer, x, head)
    word = f"row {row}" if tokens is None else str(tokens[row])
    figure, axes = _axes(longest_label([word]) + 0.3)
    for name, ax in axes.items():
        _draw(ax, name, parts[name], layer.num_heads, head, row)
    for name in ("x", "q of the head", "context"):
        axes[name].set_yticks([row], labels=[word.replace("$", r"\$")], fontsize=LABEL_SIZE)
    width = layer.d_model // layer.num_heads
    _say(figure, axes["q"], f"columns {head * width} to {(head + 1) * width - 1} of q, k and v are head {head}")
    _say(figure, axes["weights"], f"the contexts of all {layer.num_heads} heads, side by side")
    _explain(
        figure,
        axes["x"],
        axes["W_q"],
        "$x\\,W_q + b_q = q$",
        f"Framed: head {head}. Its columns of $W_q$",
        f"have a number for each of the {layer.d_model}",
        "of $x$. So every number of q is made",
        "of the whole row of $x$.",
    )
    _explain(
        figure,
        axes["context"],
        axes["W_o"],
        "context$\\,W_o + b_o$ = output",
        f"Framed: the {width} rows of $W_o$ that",
        f"take what head {head} found to all",
        f"{layer.d_model} columns of the output.",
    )
    return figure


def _parts(layer: MultiHeadAttention, x: Tensor, head: int) -> dict[str, np.ndarray]:
    """Return every tensor that is drawn, as the layer computes it."""
    with torch.no_grad():
        q, k, v = layer.w_q(x), layer.w_k(x), layer.w_v(x)
        context, weights = multihead_attention(q, k, v, num_heads=layer.num_heads)
        tensors = {
            "x": x,
            "W_q": layer.w_q.weight.T,
            "q": q,
            "q of the head": q.chunk(layer.num_heads, dim=-1)[head],
            "weights": weights[head],
            "context of the head": context.chunk(layer.num_heads, dim=-1)[head],
            "context": context,
            "W_o": layer.w_o.weight.T,
            "output": layer.w_o(context),
        }
    return {name: as_array(f"plot_layer: {name}", tensor) for name, tensor in tensors.items()}


def _draw(ax: Axes, name: str, array: np.ndarray, num_heads: int, head: int, row: int) -> None:
    """Draw one tensor, with the heads' borders, the framed head and the framed row."""
    kind = name.split(" ")[0]
    blocked = np.zeros(array.shape, dtype=bool)
    limit = float(np.quantile(np.abs(array), 0.99)) or largest_magnitude(array, blocked)
    image = draw_map(ax, array, kind, blocked, limit=limit, aspect="auto")
    if max(array.shape) > _MANY:  # of so many numbers nobody sees more shades, and the stored picture is far smaller
        image.set_cmap(image.cmap.resampled(_SHADES))
    ax.set(label=name, xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=COLORS.get(kind, INK), linewidth=1.5)
    rows, columns = array.shape
    title = {"W_q": "$W_q$", "W_o": "$W_o$", "q of the head": f"q, head {head}"}.get(name, kind)
    ax.set_title(f"{title}  {array.shape}", fontsize=TITLE_SIZE, pad=3)
    if name in ("W_q", "q", "context"):
        width = columns / num_heads
        for border in range(1, num_heads):
            ax.axvline(border * width - 0.5, color=FRAME, linewidth=0.5)
        _frame(ax, head * width, 0, width, rows)
    if name == "W_o":
        width = rows / num_heads
        for border in range(1, num_heads):
            ax.axhline(border * width - 0.5, color=FRAME, linewidth=0.5)
        _frame(ax, 0, head * width, columns, width)
    if kind not in ("W_q", "W_o"):
        _frame(ax, 0, row, columns, 1)


def _frame(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    ax.add_patch(
        Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=INK, linewidth=1.8, zorder=3, clip_on=False)
    )


def _axes(side: float) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with axes for each tensor, placed by hand, in inches; ``side`` is for the word beside the rows.

    It is narrow, so that a phone shows it whole.
    """
    inner = 2 * _WIDE + 0.4
    third = (inner - 2 * 0.35) / 3
    width = side + inner + 0.15
    heights = (_WIDE, _HIGH, _HIGH, _WIDE, _HIGH)
    height = sum(heights) + 5 * _TITLE + 2 * _GAP + 2 * _WORDS + 0.15
    figure = plt.figure(figsize=(width, height))
    axes: dict[str, Axes] = {}
    right, y = side + _WIDE + 0.4, height

    def line(high: float, above: float, *places: tuple[str, float, float]) -> None:
        nonlocal y
        y -= above + _TITLE + high
        for name, x, wide in places:
            axes[name] = figure.add_axes((x / width, y / height, wide / width, high / height))

    line(_WIDE, 0.0, ("W_q", right, _WIDE))
    line(_HIGH, _GAP, ("x", side, _WIDE), ("q", right, _WIDE))
    line(
        _HIGH,
        _WORDS,
        ("q of the head", side, third),
        ("weights", side + third + 0.35, third),
        ("context of the head", side + 2 * (third + 0.35), third),
    )
    y -= _WORDS
    line(_WIDE, 0.0, ("W_o", right, _WIDE))
    line(_HIGH, _GAP, ("context", side, _WIDE), ("output", right, _WIDE))
    return figure, axes


def _say(figure: Figure, ax: Axes, words: str) -> None:
    """Write below some axes what happens next, with a sign that leads down, in the middle of the page."""
    y = ax.get_position().y0 - 0.17 / figure.get_figheight()
    figure.text(0.5, y, f"↓  {words}", ha="center", va="center", fontsize=LABEL_SIZE, color=QUIET)


def _explain(figure: Figure, left: Axes, above: Axes, formula: str, *lines: str) -> None:
    """Write into the empty corner left of a matrix, above what is multiplied with it, what is computed there."""
    x, box = left.get_position().x0, above.get_position()
    y, step = (box.y0 + box.y1) / 2, 0.2 / figure.get_figheight()
    for i, line in enumerate((formula, "", *lines)):
        style = {"fontsize": TITLE_SIZE + 1} if i == 0 else {"fontsize": LABEL_SIZE, "color": QUIET}
        figure.text(x, y + ((len(lines) + 1) / 2 - i) * step, line, va="center", **style)
