"""A film of a cache: keys and values that are kept, and the rows of causal weights that are made with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from attention_variants.lab.code.trace import trace
from attention_variants.lab.plots.axes import (
    LEGIBLE,
    TITLE_SIZE,
    as_array,
    blocked_cells,
    draw_map,
    label_columns,
    label_rows,
    largest_magnitude,
    longest_label,
    write_values,
)
from attention_variants.lab.plots.colors import EMPTY, FRAME, INK
from attention_variants.model import causal_mask
from attention_variants.modern import KVCache
from attention_variants.variants import attention_masked

from .films import animate_figure, words_of_positions
from .player import Film

__all__ = ["CacheStep", "animate_cache", "cache_steps"]

_MOST_DIGITS = 4  # columns: of wider q, k, v and context the numbers are not written
_SHADES = 13  # of what is drawn without numbers
_PAGE, _FEATURES = 9.0, 1.3  # inches: the figure, and what is drawn without numbers


@dataclass(frozen=True)
class CacheStep:
    """What one call with a cache reads and computes.

    Attributes
    ----------
    start, end : int
        The new positions are start to end - 1.
    q : Tensor of shape (end - start, d_k)
        The queries of the new positions.
    k, v : Tensor of shape (end, d_k) and (end, d_v)
        All that is kept.
    mask : boolean Tensor of shape (end - start, end), or None
        None for a query that is alone.
    scores, weights : Tensor of shape (end - start, end)
    context : Tensor of shape (end - start, d_v)
    """

    start: int
    end: int
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    scores: Tensor
    weights: Tensor
    context: Tensor


def cache_steps(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int] | None = None) -> list[CacheStep]:
    """Attend causally in several calls, with a `KVCache`, and record what each reads and computes.

    Parameters
    ----------
    q, k, v : Tensor of shape (T, d_k), (T, d_k) and (T, d_v)
        Of one head.
    lengths : sequence of int, optional
        How many positions each call brings; by default one.

    Returns
    -------
    steps : list of CacheStep
        One for each call.

    Raises
    ------
    ValueError
        If q is no matrix, or the lengths are not T altogether.
    """
    if q.ndim != 2 or not len(q):
        raise ValueError(f"cache_steps: q must have shape (T, d_k), of one head; got {tuple(q.shape)}.")
    lengths = [1] * len(q) if lengths is None else list(lengths)
    if sum(lengths) != len(q) or min(lengths) < 1:
        raise ValueError(f"cache_steps: lengths must be at least 1 each and {len(q)} altogether; got {lengths}.")
    q, k, v = (x.detach() for x in (q, k, v))
    cache, steps = KVCache(), []
    for length in lengths:
        start, end = len(cache), len(cache) + length
        mask = cache.mask(length) if length > 1 else None
        call = trace(attention_masked, q[start:end], *cache.append(k[start:end], v[start:end]), mask)
        names = ("q", "k", "v", "scores", "weights", "context")
        steps.append(CacheStep(start, end, mask=mask, **{name: call[name] for name in names}))
    return steps


def animate_cache(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tokens: Sequence[str] | None = None,
    *,
    lengths: Sequence[int] | None = None,
    seconds: float = 1.8,
) -> Film:
    """Play how a cache grows: each call brings its keys and values, and its queries meet all that is kept.

    On the left the keys, on the right the values, a row for each position, the new ones framed. In the middle, to
    compare with, the weights of one whole causal pass: of these nothing is kept. Framed is the row that the call makes,
    with a `KVCache` and without the earlier queries. Above stands what the call computes: its queries, their scores,
    weights and contexts.

    Parameters
    ----------
    q, k, v : Tensor of shape (T, d_k), (T, d_k) and (T, d_v)
        Of one head; at most 24 positions.
    tokens : sequence of str, optional
        The words of the positions; by default they are numbered.
    lengths : sequence of int, optional
        How many positions each call brings; by default one.
    seconds : float, default 1.8
        How long a picture stands.

    Returns
    -------
    film : Film
        A picture for each call.

    Raises
    ------
    ValueError
        If shapes, tokens or lengths do not fit, or there are more than 24 positions.

    Examples
    --------
    >>> example = load_example("Dog bites")
    >>> animate_cache(*example.head(1), example.tokens, lengths=[3, 1, 1, 1])
    <Film of a cache, 6 positions in 4 calls: 4 frames>
    """
    steps = cache_steps(q, k, v, lengths)
    T = len(q)
    words = words_of_positions("animate_cache", tokens, T)
    _, whole = attention_masked(q.detach(), k.detach(), v.detach(), causal_mask(T))
    picture = _Picture(steps, whole, words)
    captions = [_caption(number, step, words) for number, step in enumerate(steps, start=1)]
    title = f"a cache, {T} positions in {len(steps)} calls"
    return animate_figure(picture.figure, picture.draw, steps, captions, title=title, seconds=seconds)


def _largest(steps: Sequence[CacheStep]) -> dict[str, float]:
    """Return the largest magnitude of each tensor in all steps, by its name: one scale for a whole film."""
    largest = {}
    for name in ("q", "k", "v", "scores", "context"):
        arrays = [(as_array(name, getattr(step, name)), step.mask if name == "scores" else None) for step in steps]
        largest[name] = max(largest_magnitude(array, blocked_cells(name, mask, array.shape)) for array, mask in arrays)
    return largest


class _Picture:
    """The figure of one film; `draw` shows a step."""

    def __init__(self, steps: Sequence[CacheStep], whole: Tensor, words: Sequence[str]) -> None:
        last = steps[-1]
        self.words, self.largest = words, _largest(steps)
        self.T, self.most = last.end, max(step.end - step.start for step in steps)
        widths = [_width(x) for x in (last.k, last.v)]
        labels = longest_label(words)
        self.cell = min((_PAGE - sum(widths) - 3 * (labels + 0.2)) / self.T, 1.2)
        self.height = min(max(0.7 * self.cell, 0.2), 0.32)
        upright = 0.0 if self.cell > labels else 0.75 * labels
        self.figure, self.axes = plt.subplot_mosaic(
            [[".", "scores", "."], ["q", "weights", "context"], ["k", "whole", "v"]],
            figsize=(_PAGE, (2 * self.most + self.T) * self.height + 1.5 + upright),
            width_ratios=[widths[0], self.cell * self.T, widths[1]],
            height_ratios=[self.most, self.most, self.T],
            layout="constrained",
        )
        self.covers: dict[str, Rectangle] = {}
        self.frames: dict[str, Rectangle] = {}
        for name, x, blocked, label in (
            ("k", last.k, None, "keys kept"),
            ("whole", whole, causal_mask(self.T), "for comparison, not kept: one whole causal pass"),
            ("v", last.v, None, "values kept"),
        ):
            ax = self.axes[name]
            self._map(ax, "weights" if name == "whole" else name, x, blocked, hatched=False)
            label_rows(ax, "", words, self.T, self.height)
            label_columns(ax, "", words if name == "whole" else None, x.shape[1], self.cell, numbers=False, top=False)
            ax.set_xlabel(label, fontsize=TITLE_SIZE)
            color = "white" if name == "whole" else EMPTY  # what is still to come; of the weights nothing is kept
            self.covers[name] = Rectangle((0, 0), 0, 0, linewidth=0, zorder=4, color=color)
            self.frames[name] = Rectangle((0, 0), 0, 0, fill=False, edgecolor=INK, linewidth=2, zorder=6, clip_on=False)
            for patch in (self.covers[name], self.frames[name]):
                ax.add_patch(patch)

    def draw(self, step: CacheStep) -> None:
        """Show one step."""
        n = step.end - step.start
        wide, high = {"k": step.k.shape[1], "whole": self.T, "v": step.v.shape[1]}, self.T - step.end
        for name, columns in wide.items():
            self.covers[name].set_bounds(-0.5, step.end - 0.5, columns, high)
            self.frames[name].set_bounds(-0.5, step.start - 0.5, step.end if name == "whole" else columns, n)
        for name in ("q", "scores", "weights", "context"):
            ax, x = self.axes[name], getattr(step, name)
            of_positions = name in ("scores", "weights")
            ax.clear()
            self._map(ax, name, x, step.mask if of_positions else None)
            label_rows(ax, "", self.words[step.start : step.end], n, self.height)
            ax.set(xlim=(-0.5, (self.T if of_positions else x.shape[1]) - 0.5), ylim=(self.most - 0.5, -0.5), xticks=[])
            ax.spines[:].set_visible(False)  # the place is larger than what stands there now
            edge = Rectangle((-0.5, -0.5), x.shape[1], n, fill=False, edgecolor=FRAME, linewidth=0.8, clip_on=False)
            ax.add_patch(edge)
            ax.set_title(name, fontsize=TITLE_SIZE, loc="left", pad=3)

    def _map(self, ax: Axes, name: str, x: Tensor, mask: Tensor | None, *, hatched: bool = True) -> None:
        """Draw a tensor, with its numbers if there is room; blocked cells are hatched, or left empty."""
        array = as_array(name, x)
        blocked = blocked_cells("animate_cache", mask, array.shape)
        image = draw_map(ax, array, name, blocked & hatched, limit=self.largest.get(name), aspect="auto")
        room = {"weights": self.cell >= LEGIBLE, "scores": self.cell >= 1.2 * LEGIBLE}
        if room.get(name, x.shape[1] <= _MOST_DIGITS):
            write_values(ax, image, blocked)
        elif name not in ("scores", "weights"):  # a player has 256 colours for all: leave some for the others
            image.set_cmap(image.cmap.resampled(_SHADES))


def _width(x: Tensor) -> float:
    return 0.7 * x.shape[1] if x.shape[1] <= _MOST_DIGITS else _FEATURES


def _caption(number: int, step: CacheStep, words: Sequence[str]) -> str:
    n, kept = step.end - step.start, step.end
    if n > 1:
        new = f"{words[step.start]} to {words[step.end - 1]}, {n} positions at once"
        return f"call {number}: {new}; kept {kept}. Their mask hides from each query what comes after it"
    share, at = step.weights[0].max(dim=0)
    meets = {1: "its own key", 2: "both keys"}.get(kept, f"all {kept} keys")
    most = f"most weight, {float(share):.2f}, on {words[int(at)]} at position {int(at)}"
    brings = f"{words[step.start]} brings a key and a value; kept {kept}"
    return f"call {number}: {brings}. One query meets {meets}: no mask; {most}"
