"""Drawings for orientation: self- and cross-attention, the Transformer around them, a language model, the staircase.

All draw with ``matplotlib.pyplot`` and return the figure; none calls ``plt.show()``. In a notebook, assign what
they return (``_ = plot_transformer()``): a figure that is the last expression of a cell would be shown twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from attention_variants.lab.code.source import code_lines_if_any
from attention_variants.variants import VARIANTS, describe_variant, variants_that_take

from .colors import COLORS, EDGE, GROUND, INK, QUIET
from .fonts import CODE, WORDS

__all__ = ["plot_language_model", "plot_self_and_cross", "plot_staircase", "plot_transformer"]


# All lengths below are inches on a page that is 9 inches wide.
_BOX, _FRAME, _GAP = 1.5, 2.1, 0.6  # how wide a box is, the frame around a layer, and the gap between the two frames
_HIGH, _NORM, _LAYER = 0.42, 0.26, 1.22  # how high a box is, an Add & Norm, and a sublayer with all around it
_BRANCH, _SUBLAYER = 0.2, 0.44  # from the foot of a sublayer to where its arrows branch off, and to its box
_ROW, _SMALL = 0.21, 8.5  # how high a line of small letters is, and in points, the letters


class _Attention(NamedTuple):
    """One of the three attentions: what its box says and what the card beside it says."""

    name: str
    box: str
    sources: tuple[tuple[str, str], ...]  # which of q, k and v come from where
    needs: tuple[tuple[str, str], ...]  # the capability, "" for what all variants have, and the word for it


_ENCODER = [_Attention("Self-attention", "Multi-head\nattention", (("qkv", "the input"),), (("heads", "heads"),))]
_DECODER = [
    _Attention(
        "Masked self-attention",
        "Masked multi-head\nattention",
        (("qkv", "the output so far"),),
        (("mask", "mask"), ("heads", "heads")),
    ),
    _Attention(
        "Cross-attention",
        "Multi-head\nattention",
        (("q", "the output so far"), ("kv", "the encoder")),
        (("", r"$T_q \neq T_k$"), ("heads", "heads")),
    ),
]
_ENGLISH, _GERMAN = "the animal was too tired".split(), "das Tier war zu".split()
_KINDS_OF_ATTENTION = [  # the name, where q, k and v come from, and the words of the queries
    ("Self-attention", "q, k and v are all made from the English words", _ENGLISH),
    ("Cross-attention", "q is made from the German words, k and v from the English ones", _GERMAN),
]
_LEGEND = {
    "q": "query: what a position looks for",
    "k": "key: what it can be found by",
    "v": "value: what is taken from it",
}


def plot_transformer(ax: Axes | None = None, *, highlight: bool = True) -> Figure:
    """Draw the Transformer, encoder and decoder, and where attention sits in it.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Where to draw; the letters are scaled to its size. By default in a new figure, 9 inches wide with the cards.
    highlight : bool, default True
        Whether to colour the three attentions and their q, k and v, and to put a card beside each: where its q, k and
        v come from, and what it needs, with the number of the variant from which on it is there.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The one that was drawn on.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.1 and figure 1. arXiv:1706.03762
    """
    margin = (9.0 - 2 * _FRAME - _GAP) / 2 if highlight else 1.5  # for the cards, or for the positional encodings alone
    page = _Page(ax, 2 * (margin + _FRAME) + _GAP, 7.15)
    left = margin + _FRAME / 2
    right = left + _FRAME + _GAP

    page.text(left, 0.16, " ".join(_ENGLISH), style="italic")
    page.text(right, 0.16, " ".join(_GERMAN), style="italic")
    top, _ = _stack(page, left, -1, "Encoder", _ENCODER, highlight)
    end, cross = _stack(page, right, 1, "Decoder", _DECODER, highlight)

    # What comes out of the encoder is k and v of the cross-attention in every layer of the decoder.
    gap, turn = left + (_FRAME + _GAP) / 2, top + 0.3
    page.line((left, top), (left, turn - 0.09), arrow=False)
    for name, shift in (("v", -0.09), ("k", 0.09)):
        color = COLORS[name] if highlight else INK
        bends = (left, turn + shift), (gap + shift, turn + shift), (gap + shift, cross + shift)
        page.line((left, turn - 0.09), *bends, (right - _BOX / 2, cross + shift), color=color, label=name)
        if highlight:
            page.text(gap + 2.2 * shift, (turn + cross) / 2, name, color=color, weight="bold")

    for words in ("Linear", "Softmax"):
        page.line((right, end), (right, end + 0.2))
        page.box(right, end + 0.37, _BOX, 0.34, words)
        end += 0.54
    page.line((right, end), (right, end + 0.2))
    page.text(right, end + 0.32, "müde", style="italic")
    page.text(right + 0.35, end + 0.32, "the next word", color=QUIET, size=_SMALL, ha="left")

    if highlight:
        for row, (name, words) in enumerate(_LEGEND.items()):
            y = end + 0.32 - _ROW * row
            page.text(0.2, y, name, color=COLORS[name], weight="bold")
            page.text(0.38, y, words, size=_SMALL, ha="left")
        example = _first_that_takes("heads")
        page.disc(0.2, y - _ROW, example)
        page.text(0.38, y - _ROW, f"what it needs, from variant {example} on", size=_SMALL, ha="left")
    return page.figure


def plot_language_model(ax: Axes | None = None) -> Figure:
    """Draw a language model as it is built today: one stack, and beside its parts what is new in them since 2017.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Where to draw; the letters are scaled to its size. By default in a new figure, 6.3 inches wide.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The one that was drawn on.

    References
    ----------
    Touvron et al. (2023), "LLaMA: Open and Efficient Foundation Language Models", section 2.2. arXiv:2302.13971
    """
    x, page = 1.45, _Page(ax, 6.3, 6.3)
    page.text(x, 0.16, "we gave", style="italic")
    page.line((x, 0.28), (x, 0.46))
    page.box(x, 0.64, _BOX, 0.36, "Embedding")
    for shift in (0.12, 0.06, 0.0):  # more layers behind the one that is drawn
        page.slab(x - _FRAME / 2 - shift, 1.05 + shift, _FRAME, 3.65, label="frame")
    page.text(0.12, 4.98, "N layers", color=QUIET, size=_SMALL, ha="left")

    page.line((x, 0.82), (x, 1.4))
    page.box(x, 1.53, _BOX, _NORM, "RMSNorm", size=_SMALL)
    page.line((x, 1.66), (x, 1.8), arrow=False)
    for name, shift in (("q", -0.45), ("k", 0.0), ("v", 0.45)):
        color, turned = COLORS[name], name != "v"
        page.line((x, 1.8), (x + shift, 1.8), (x + shift, 2.05), color=color, label=name, arrow=False)
        page.line((x + shift, 2.23 if turned else 2.05), (x + shift, 2.42), color=color, label=name)
        page.text(x + shift + 0.1, 1.92, name, color=color, weight="bold")
        if turned:
            page.box(x + shift, 2.14, 0.36, 0.18, "turn", size=7.5)
    page.box(x, 2.42 + _HIGH / 2, _BOX, _HIGH, "Causal attention", blue=True)
    _sum_around(page, x, 1.2, 3.0)

    page.line((x, 3.12), (x, 3.4))
    page.box(x, 3.53, _BOX, _NORM, "RMSNorm", size=_SMALL)
    page.line((x, 3.66), (x, 3.8))
    page.box(x, 3.8 + _HIGH / 2, _BOX, _HIGH, "SwiGLU")
    _sum_around(page, x, 3.24, 4.4)

    page.line((x, 4.52), (x, 5.0))
    page.box(x, 5.13, _BOX, _NORM, "RMSNorm", size=_SMALL)
    page.line((x, 5.26), (x, 5.4))
    page.box(x, 5.57, _BOX, 0.34, "Linear, softmax")
    page.line((x, 5.74), (x, 5.94))
    page.text(x, 6.08, "anna", style="italic")
    page.text(x + 0.35, 6.08, "drawn, then read as the next word", color=QUIET, size=_SMALL, ha="left")

    beside = 3.1  # where the words begin
    for y, words in _NEW:
        page.text(beside, y, words, size=_SMALL, ha="left")
        page.line((beside - 0.08, y), (x + _BOX / 2 + 0.06, y), color=EDGE, label="beside", arrow=False)
    page.box(beside + 0.5, 2.63, 1.0, 0.3, "KV cache", size=_SMALL)
    page.text(beside + 1.1, 2.63, "k and v of the words before: 12", size=_SMALL, ha="left")
    page.line((beside, 2.63), (x + _BOX / 2, 2.63), label="cache")
    return page.figure


#: Beside which part of the drawing of a language model, by its height, and what is to be said; some with the notebook.
_NEW = (
    (1.53, "a norm without a mean, before each sublayer"),
    (1.92, "the heads share one k and one v: 13"),
    (2.14, "positions turn q and k: 14"),
    (4.01, "one product gates another"),
    (5.57, "the embedding's table again: 08"),
)


def _sum_around(page: _Page, x: float, branch: float, y: float) -> None:
    """Add what enters a sublayer to what it computes, at height ``y``: the line around it begins at ``branch``."""
    around = x - _BOX / 2 - 0.16
    page.line((x, y - 0.19), (x, y - 0.12), arrow=False)
    page.line((x, branch), (around, branch), (around, y), (x - 0.12, y), color=QUIET, label="residual")
    page.plus(x, y)


def plot_self_and_cross(ax: Axes | None = None) -> Figure:
    """Draw self-attention above cross-attention: where q, k and v come from, and a cell for each weight.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Where to draw; the letters are scaled to its size. By default in a new figure, 5 inches wide.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The one that was drawn on.
    """
    rows, head = 0.27, 1.0  # inches: how high a word is, and what stands above the words of the queries
    heights = [head + rows * len(queries) + 0.25 for _, _, queries in _KINDS_OF_ATTENTION]
    page = _Page(ax, 5.0, sum(heights))
    top = sum(heights)
    for (name, said, queries), height in zip(_KINDS_OF_ATTENTION, heights, strict=True):
        left, cell, first = 1.05, 0.66, top - head
        page.text(0.06, top - 0.14, name, weight="bold", size=11, ha="left")
        page.text(0.06, top - 0.38, said, color=QUIET, size=_SMALL, ha="left")
        for i, letter in enumerate("kv"):
            page.text(left - 0.26 + 0.16 * i, first + 0.2, letter, color=COLORS[letter], weight="bold", size=11)
        page.text(0.16, first - rows * len(queries) / 2, "q", color=COLORS["q"], weight="bold", size=11)
        for j, word in enumerate(_ENGLISH):
            page.text(left + cell * (j + 0.5), first + 0.2, word, style="italic")
        for i, word in enumerate(queries):
            y = first - rows * (i + 0.5)
            page.text(left - 0.12, y, word, style="italic", ha="right")
            for j in range(len(_ENGLISH)):
                page.slab(left + cell * j, y - rows / 2, cell, rows, _blue(0.12), edge=COLORS["weights"], label=name)
        page.text(
            left + cell * len(_ENGLISH) / 2,
            first - rows * len(queries) - 0.12,
            f"weights ({len(queries)}, {len(_ENGLISH)})",
            color=COLORS["weights"],
            size=_SMALL,
        )
        top -= height
    return page.figure


def plot_staircase(ax: Axes | None = None, *, column: tuple[str, Mapping[int, str]] | None = None) -> Figure:
    """Draw the variants as a staircase: number, name, what it adds, lines of code.

    Names and lines of code are those of the running code.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Where to draw; the letters are scaled to its size. By default in a new figure, 9 inches wide.
    column : (str, mapping of int to str), optional
        One more column at the right: its head, and what to write for each variant.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The one that was drawn on.
    """
    variants = [describe_variant(number) for number in sorted(VARIANTS)]
    last = max(len(variants) - 1, 1)
    rise, run, width = 0.42, min(0.32, 1.92 / last), 9.0  # so that the name of the last one stays left of what it adds
    page = _Page(ax, width, rise * len(variants) + 0.42)
    lines = {variant.number: _lines_of_code(variant.function) for variant in variants}
    right = [("lines of code", lines), *([column] if column else [])]
    edges = [width - 0.2 - i for i in reversed(range(len(right)))]  # an inch each, aligned right

    for step, variant in enumerate(variants):
        x, y = 0.06 + run * step, 0.05 + rise * (step + 0.5)
        page.slab(x, y - rise / 2, width - 0.06 - x, rise, _blue(0.10 + 0.36 * step / last), label="step")
        page.disc(x + 0.24, y, variant.number)
        page.text(x + 0.46, y, variant.name, family=CODE, size=10, ha="left")
        page.text(4.85, y, variant.adds, size=9, ha="left")
        for edge, (_, texts) in zip(edges, right, strict=True):
            page.text(edge, y, texts.get(variant.number, "-"), ha="right")

    y = rise * len(variants) + 0.23
    page.text(4.85, y, "what it adds", color=QUIET, size=_SMALL, ha="left")
    for edge, (words, _) in zip(edges, right, strict=True):
        page.text(edge, y, words, color=QUIET, size=_SMALL, ha="right")
    return page.figure


def _lines_of_code(function: Callable) -> str:
    lines = code_lines_if_any(function)
    return "-" if lines is None else str(lines)


def _stack(
    page: _Page, x: float, side: int, title: str, attentions: Sequence[_Attention], highlight: bool
) -> tuple[float, float]:
    """Draw the encoder or the decoder around the vertical line at ``x``, from its words up.

    What stands beside it is at the left if ``side`` is -1, at the right if it is 1. Returns the height of its end, and
    that of its last attention.
    """
    outside, outward = x + side * (_FRAME / 2 + 0.2), "left" if side > 0 else "right"
    page.text(outside, 0.16, attentions[0].sources[0][1], color=QUIET, size=_SMALL, ha=outward)
    page.line((x, 0.28), (x, 0.46))
    page.box(x, 0.64, _BOX, 0.36, "Embedding")
    page.line((x, 0.82), (x, 1.08))
    page.box(outside + side * 0.55, 1.2, 1.1, 0.4, "Positional\nencoding", size=_SMALL)
    page.line((outside, 1.2), (x + side * 0.12, 1.2))
    page.plus(x, 1.2)

    y, stem, last = 1.56, 1.32, 0.0
    top = y + _LAYER * (len(attentions) + 1) + 0.14
    for shift in (0.12, 0.06, 0.0):  # two more layers behind the one that is drawn
        page.slab(x - _FRAME / 2 + side * shift, y + shift, _FRAME, top - y, label="frame")
    page.text(outside, top - 0.02, title, weight="bold", size=11, ha=outward)
    page.text(outside, top - 0.22, "N layers", color=QUIET, size=_SMALL, ha=outward)
    for attention in (*attentions, None):
        page.line((x, stem), (x, y + _BRANCH), arrow=False)
        if attention is None:
            page.line((x, y + _BRANCH), (x, y + _SUBLAYER))
            page.box(x, y + _SUBLAYER + _HIGH / 2, _BOX, _HIGH, "Feed-forward")
        else:
            _attend(page, x, y, attention, highlight)
            last = y + _SUBLAYER + _HIGH / 2
            if highlight:
                _card(page, outside, last, side, attention)
        norm = y + _SUBLAYER + _HIGH + 0.1 + _NORM / 2
        around = x + side * (_BOX / 2 + 0.16)
        bends = (around, y + _BRANCH / 2), (around, norm)
        page.line((x, y + _BRANCH / 2), *bends, (x + side * _BOX / 2, norm), color=QUIET, label="residual")
        page.line((x, norm - _NORM / 2 - 0.1), (x, norm - _NORM / 2), arrow=False)
        page.box(x, norm, _BOX, _NORM, "Add & Norm", size=_SMALL)
        y, stem = y + _LAYER, norm + _NORM / 2
    page.line((x, stem), (x, top + 0.12), arrow=False)
    return top + 0.12, last


def _attend(page: _Page, x: float, y: float, attention: _Attention, highlight: bool) -> None:
    """Draw an attention's box, and what enters it from below."""
    names = attention.sources[0][0]
    for i, name in enumerate(names):
        at = x + 0.45 * (i - (len(names) - 1) / 2)
        color = COLORS[name] if highlight else INK
        page.line((x, y + _BRANCH), (at, y + _BRANCH), (at, y + _SUBLAYER), color=color, label=name)
        if highlight:
            page.text(at + 0.1, y + _SUBLAYER - 0.13, name, color=color, weight="bold")
    page.box(x, y + _SUBLAYER + _HIGH / 2, _BOX, _HIGH, attention.box, blue=highlight)


def _first_that_takes(capability: str) -> int:
    """The number of the first variant that has a capability; of the first of all, if none is asked for."""
    return variants_that_take(*filter(None, [capability]))[0]


def _card(page: _Page, x: float, y: float, side: int, attention: _Attention) -> None:
    """Put a card beside an attention, its inner edge at ``x``."""
    width, height = 1.86, _ROW * (len(attention.sources) + 2) + 0.12
    left, line = x if side > 0 else x - width, y + height / 2 - 0.06 - _ROW / 2
    blue = COLORS["weights"]
    page.line((x, y), (x - side * (0.2 + (_FRAME - _BOX) / 2), y), color=blue, label="card", arrow=False)
    page.slab(left, y - height / 2, width, height, edge=blue, label="card")
    page.text(left + 0.1, line, attention.name, weight="bold", size=_SMALL, ha="left")
    for names, source in attention.sources:
        line -= _ROW
        for i, name in enumerate(names):
            page.text(left + 0.16 + 0.14 * i, line, name, color=COLORS[name], weight="bold")
        page.text(left + 0.54, line, f"\N{LEFTWARDS ARROW} {source}", size=_SMALL, ha="left")
    for i, (capability, words) in enumerate(attention.needs):
        at = left + 0.18 + 0.92 * i
        page.disc(at, line - _ROW, _first_that_takes(capability))
        page.text(at + 0.14, line - _ROW, words, size=_SMALL, ha="left")


class _Page:
    """Axes whose unit is an inch of a page, and the few things that are drawn on it."""

    def __init__(self, ax: Axes | None, width: float, height: float) -> None:
        if ax is None:
            ax = plt.figure(figsize=(width, height)).add_axes((0, 0, 1, 1))
        self.ax = ax
        self.figure = ax.figure.figure  # of a subfigure, the figure that it is part of
        room = ax.get_window_extent()
        self.scale = min(room.width / width, room.height / height) / self.figure.dpi
        ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        ax.axis("off")

    def text(self, x: float, y: float, words: str, *, size: float = 9.5, **style: Any) -> None:
        """Write words around (x, y)."""
        usual = {"color": INK, "family": WORDS, "ha": "center", "va": "center" if "\n" in words else "center_baseline"}
        self.ax.text(x, y, words, fontsize=size * self.scale, zorder=5, **(usual | style))

    def slab(
        self, x: float, y: float, width: float, height: float, color: Any = "white", *, edge: str = EDGE, label: str
    ) -> None:
        """Draw a rectangle with round corners, the lower left one at (x, y)."""
        style = f"round,pad=0,rounding_size={min(0.08, height / 4)}"
        look: dict[str, Any] = {"facecolor": color, "edgecolor": edge, "linewidth": self.scale, "label": label}
        self.ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, **look))

    def box(
        self, x: float, y: float, width: float, height: float, words: str, *, size: float = 9.5, blue: bool = False
    ) -> None:
        """Draw a box with words in it around (x, y)."""
        color, edge = (_blue(0.22), COLORS["weights"]) if blue else (GROUND, EDGE)
        self.slab(x - width / 2, y - height / 2, width, height, color, edge=edge, label="blue box" if blue else "box")
        self.text(x, y, words, size=size)

    def disc(self, x: float, y: float, number: int) -> None:
        """Write the number of a variant."""
        self.ax.add_patch(Circle((x, y), 0.09, color=INK, linewidth=0, zorder=4, label="disc"))
        self.text(x, y, str(number), size=7.5, color="white", weight="bold")

    def plus(self, x: float, y: float) -> None:
        """Draw a sum."""
        look: dict[str, Any] = {"facecolor": "white", "edgecolor": INK, "linewidth": self.scale, "zorder": 3}
        self.ax.add_patch(Circle((x, y), 0.12, label="plus", **look))
        for dx, dy in ((0.06, 0.0), (0.0, 0.06)):
            self.ax.plot((x - dx, x + dx), (y - dy, y + dy), color=INK, linewidth=1.2 * self.scale, zorder=4)

    def line(self, *points: tuple[float, float], color: str = INK, label: str = "line", arrow: bool = True) -> None:
        """Draw a line through points, its bends round."""
        style = "-|>,head_width=2.4,head_length=4.5" if arrow else "-"
        look: dict[str, Any] = {"color": color, "linewidth": 1.3 * self.scale, "label": label, "zorder": 2}
        path = _rounded([np.array(point) for point in points])
        self.ax.add_patch(FancyArrowPatch(path=path, arrowstyle=style, mutation_scale=self.scale, **look))


def _rounded(points: Sequence[np.ndarray], radius: float = 0.08) -> Path:
    """Return a path through the points whose bends are round."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, bend, after in zip(points, points[1:], points[2:], strict=False):
        for near in (before, after):
            length = float(np.hypot(*(near - bend)))
            vertices.append(bend + (near - bend) * min(1.0, radius / length) if length else bend)
        vertices.insert(-1, bend)
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*vertices, points[-1]], [*codes, Path.LINETO])


def _blue(share: float) -> tuple[float, ...]:
    """Return the blue of the weights, thinned with white."""
    return tuple(1 - share * (1 - np.array(to_rgb(COLORS["weights"]))))
