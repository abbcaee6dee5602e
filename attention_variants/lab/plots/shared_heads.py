"""Which heads of keys the heads of queries look at, as a drawing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .axes import LABEL_SIZE, TITLE_SIZE
from .colors import EDGE, INK, KEY_HEADS

_SIDE = 0.72  # of a box, where heads are 1 apart
_QUERIES, _KEYS = 1.25, 0.0  # the heights of the two rows


def plot_shared_heads(looks: Tensor, *, title: str = "", ax: Axes | None = None) -> Figure:
    """Draw the heads of queries above those of keys, and a line from each to those that it looks at.

    A head of keys has a colour, and so has each head of queries that looks at it alone. One that looks at several, or
    at none, is white.

    Parameters
    ----------
    looks : boolean Tensor of shape (num_heads, num_kv_heads)
        True where a head of queries looks at a head of keys.
    title : str, default ""
        Above the drawing.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, in a new figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Each box carries a label, "query head 0" or "key head 0", and each line one such as "0 -> 0".

    Raises
    ------
    TypeError
        If ``looks`` is not a boolean tensor.
    ValueError
        If it does not have two axes, or more than 8 heads of keys, for which there are no colours.
    """
    if not isinstance(looks, Tensor) or looks.dtype != torch.bool:
        came = looks.dtype if isinstance(looks, Tensor) else type(looks).__name__
        raise TypeError(f"plot_shared_heads: looks must be a boolean tensor; got {came}.")
    if looks.ndim != 2 or not 0 < looks.shape[1] <= len(KEY_HEADS) or not looks.shape[0]:
        raise ValueError(
            f"plot_shared_heads: looks must have the shape (num_heads, num_kv_heads), with 1 to {len(KEY_HEADS)} heads "
            f"of keys; got {tuple(looks.shape)}."
        )
    H, G = looks.shape
    if ax is None:
        _, ax = plt.subplots(figsize=(0.5 * H + 0.9, 1.7), layout="constrained")
    spread = H / G
    for g in range(G):
        _box(ax, (g + 0.5) * spread, _KEYS, f"key head {g}", KEY_HEADS[g])
    for h in range(H):
        seen = looks[h].nonzero().flatten().tolist()
        for g in seen:
            ends = [h + 0.5, (g + 0.5) * spread], [_QUERIES - _SIDE / 2, _KEYS + _SIDE / 2]
            ax.plot(*ends, color=KEY_HEADS[g], linewidth=1.6, zorder=1, label=f"{h} -> {g}")
        _box(ax, h + 0.5, _QUERIES, f"query head {h}", KEY_HEADS[seen[0]] if len(seen) == 1 else None)
    ax.set(xlim=(0, H), ylim=(_KEYS - 0.5, _QUERIES + 0.5), aspect="equal", xticks=())
    ax.set_yticks([_QUERIES, _KEYS], labels=["queries", "keys, values"], fontsize=LABEL_SIZE, color=INK)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=TITLE_SIZE, color=INK)
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def _box(ax: Axes, x: float, y: float, label: str, colour: str | None) -> None:
    """Draw a head: a square with its number."""
    corner = x - _SIDE / 2, y - _SIDE / 2
    ax.add_patch(
        Rectangle(corner, _SIDE, _SIDE, facecolor=colour or "white", edgecolor=colour or EDGE, label=label, zorder=2)
    )
    number = label.rpartition(" ")[2]
    letters = "white" if colour else INK
    ax.text(x, y, number, ha="center", va="center", fontsize=LABEL_SIZE, color=letters, zorder=3)
