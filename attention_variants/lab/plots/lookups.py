"""From which words a word was looked up: the largest weights of all layers, as arrows from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from .axes import LETTER_WIDTH, PAGE_WIDTH
from .colors import COLORS, FRAME, INK, QUIET

_LETTERS = 11  # points
_HEADS = (COLORS["weights"], COLORS["q"], COLORS["v"], COLORS["scores"])  # one for each head of a layer


def plot_lookups(weights: Tensor, words: Sequence[str], *, at: int = -1, least: float = 0.2) -> Figure:
    """Draw from where the vector of one word took something, from the last layer down to the words themselves.

    Above stands the word; an arrow goes down to each word on which a head of the last layer put much weight, and from
    there to those on which the heads of the layer below had put much weight, and so on. A dotted line is the word's own
    vector, to which a layer adds what it finds. This is where the heads looked; what they took from there, and whether
    it mattered, no arrow says.

    Parameters
    ----------
    weights : Tensor of shape (num_layers, num_heads, T, T)
        Of one text; at most four heads.
    words : sequence of str
        The T words.
    at : int, default -1
        The position to begin with; by default the last.
    least : float, default 0.2
        Weights of less get no arrow.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The arrows are as wide as their weights, which stand beside them.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there are more than four heads.
    """
    if weights.ndim != 4 or weights.shape[-1] != len(words) or weights.shape[-2] != len(words):
        raise ValueError(
            f"plot_lookups: weights must have the shape (num_layers, num_heads, T, T), with T = {len(words)} words; "
            f"got {tuple(weights.shape)}."
        )
    layers, heads, T, _ = weights.shape
    if heads > len(_HEADS):
        raise ValueError(f"plot_lookups: at most {len(_HEADS)} heads of a layer can be told apart; got {heads}.")
    column = min(0.65, max(PAGE_WIDTH / T, 0.25))
    upright = LETTER_WIDTH * max(map(len, words)) > column
    figure, ax = plt.subplots(figsize=(max(column * T, 3.0) + 0.9, 1.1 * layers + 0.9), layout="constrained")
    ax.set(xlim=(-0.6, T - 0.4), ylim=(-0.45, layers + 0.3), xticks=range(T), yticks=range(layers + 1))
    ax.set_xticklabels(words, rotation=90 if upright else 0)
    ax.set_yticklabels(["the words", *(f"after layer {layer}" for layer in range(layers))])
    ax.tick_params(labelsize=_LETTERS, length=0)
    ax.spines[:].set_visible(False)
    for level in range(layers + 1):
        ax.plot(range(T), [level] * T, "o", color=FRAME, markersize=3, zorder=1)

    reached = {range(T)[at]}
    for layer in reversed(range(layers)):
        ax.plot(list(reached), [layer + 1] * len(reached), "o", color=INK, markersize=7, zorder=3)
        following: set[int] = set()
        for query in sorted(reached):
            ax.plot([query, query], [layer + 1, layer], ":", color=QUIET, linewidth=1, zorder=1)
            following.add(query)
            for head in range(heads):
                for key in (weights[layer, head, query] >= least).nonzero().flatten().tolist():
                    share = float(weights[layer, head, query, key])
                    # Where the number stands: those of neighbours are not at one height.
                    along = min(0.62 - 0.24 * head + 0.32 * ((query - key) % 2 == 0), 0.78)
                    shift = 0.12 * (head - (heads - 1) / 2)
                    _arrow(ax, (query + shift, layer + 1), (key + shift, layer), share, _HEADS[head], along)
                    following.add(key)
        reached = following
    ax.plot(list(reached), [0] * len(reached), "o", color=INK, markersize=7, zorder=3)
    ax.plot([], [], ":", color=QUIET, linewidth=1, label="the word's own vector")
    for head in range(heads):
        ax.plot([], [], color=_HEADS[head], linewidth=3, label=f"head {head}")
    ax.legend(frameon=False, fontsize=_LETTERS, ncols=heads + 1, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return figure


def _arrow(
    ax: plt.Axes, start: tuple[float, float], end: tuple[float, float], share: float, color: str, along: float
) -> None:
    style = {
        "arrowstyle": "-|>",
        "color": color,
        "linewidth": 4 * share,
        "shrinkA": 4,
        "shrinkB": 5,
        "mutation_scale": 9,
    }
    if start[1] - end[1] == 1 and abs(start[0] - end[0]) < 0.5:  # straight down: beside the dotted line
        start, end = (start[0] + 0.1, start[1]), (end[0] + 0.1, end[1])
    ax.annotate("", end, start, arrowprops=style, zorder=2)
    x, y = (a + along * (b - a) for a, b in zip(start, end, strict=True))
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    ax.text(x, y, f"{share:.2f}", ha="center", va="center", fontsize=_LETTERS, color=INK, bbox=box, zorder=4)
