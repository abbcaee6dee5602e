"""A film of a rolling window: which keys are kept, which are dropped, and the rows of weights that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from attention_variants.lab.plots.axes import (
    LABEL_SIZE,
    TITLE_SIZE,
    as_array,
    draw_map,
    label_columns,
    label_rows,
    largest_magnitude,
    longest_label,
    write_values,
)
from attention_variants.lab.plots.colors import INK
from attention_variants.modern import RollingKVCache
from attention_variants.variants import attention_masked

from .films import animate_figure, words_of_positions
from .player import Film

__all__ = ["RollingStep", "animate_rolling", "rolling_steps"]

_MOST_DIGITS = 4  # columns: of wider keys the numbers are not written


@dataclass(frozen=True)
class RollingStep:
    """What one query sees of a `RollingKVCache`.

    Attributes
    ----------
    positions : Tensor of shape (T)
        Where in the text the keys stand that the query meets, its own last.
    k : Tensor of shape (T, d_k)
        These keys.
    weights : Tensor of shape (T)
        What the query puts on them.
    bytes : int
        What the cache takes after the call.
    """

    positions: Tensor
    k: Tensor
    weights: Tensor
    bytes: int


def rolling_steps(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int = 0) -> list[RollingStep]:
    """Attend with a `RollingKVCache`, one position at a time, and record what each query sees.

    Parameters
    ----------
    q, k, v : Tensor of shape (T, d_k), (T, d_k) and (T, d_v)
        Of one head.
    window, sinks : int
        As `RollingKVCache` takes them.

    Returns
    -------
    steps : list of RollingStep
        One for each position.

    Raises
    ------
    ValueError
        If q is no matrix, or window and sinks are not whole numbers of at least 0.
    """
    if q.ndim != 2 or not len(q):
        raise ValueError(f"rolling_steps: q must have shape (T, d_k), of one head; got {tuple(q.shape)}.")
    q, k, v = (x.detach() for x in (q, k, v))
    cache, steps = RollingKVCache(window, sinks), []
    for t in range(len(q)):
        positions = torch.cat([cache.positions, torch.tensor([t])])
        keys, values = cache.append(k[t : t + 1], v[t : t + 1])
        _, weights = attention_masked(q[t : t + 1], keys, values)
        steps.append(RollingStep(positions, keys, weights[0], cache.bytes))
    return steps


def animate_rolling(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    sinks: int = 0,
    tokens: Sequence[str] | None = None,
    *,
    seconds: float = 1.5,
) -> Film:
    """Play how a window rolls over a text: keys come, and keys go.

    On the left the keys, a row for each position; those that were dropped are hatched. On the right the weights, a row
    for each query so far.

    Parameters
    ----------
    q, k, v : Tensor of shape (T, d_k), (T, d_k) and (T, d_v)
        Of one head; at most 24 positions.
    window : int
        How many positions a query looks back at most.
    sinks : int, default 0
        How many positions from the beginning are never dropped.
    tokens : sequence of str, optional
        The words of the positions; by default they are numbered.
    seconds : float, default 1.5
        How long a picture stands.

    Returns
    -------
    film : Film
        A picture for each position.

    Raises
    ------
    ValueError
        If shapes or tokens do not fit, there are more than 24 positions, or window and sinks are not as above.

    Examples
    --------
    >>> example = load_example("tired")
    >>> animate_rolling(*example.head(1), 4, 1, example.tokens)
    <Film of a window of 4 with 1 sink, over 16 positions: 16 frames>
    """
    steps, T = rolling_steps(q, k, v, window, sinks), len(q)
    words = words_of_positions("animate_rolling", tokens, T)
    picture = _Picture(steps, k.detach(), words, sinks)
    captions = [_caption(t, step, words) for t, step in enumerate(steps)]
    title = f"a window of {window} with {sinks} sink{'' if sinks == 1 else 's'}, over {T} positions"
    return animate_figure(picture.figure, picture.draw, range(T), captions, title=title, seconds=seconds)


def _caption(t: int, step: RollingStep, words: Sequence[str]) -> str:
    kept = step.positions.tolist()
    gone = [words[i] for i in range(t) if i not in kept]
    share, at = step.weights.max(dim=0)
    meets = "its own key alone" if len(kept) == 1 else f"{len(kept)} keys"
    dropped = f"dropped so far: {' '.join(gone)}" if gone else "nothing is dropped yet"
    most = f"Most weight, {float(share):.2f}, on {words[kept[int(at)]]}"
    return f"position {t}, {words[t]}: it meets {meets}; {dropped}. {most}"


class _Picture:
    """The figure of one film; `draw` shows a step."""

    def __init__(self, steps: Sequence[RollingStep], k: Tensor, words: Sequence[str], sinks: int) -> None:
        self.steps, self.k, self.words, self.sinks = steps, k, words, sinks
        self.T = len(steps)
        self.limit = largest_magnitude(as_array("k", k), torch.zeros(k.shape, dtype=torch.bool).numpy())
        digits, labels = k.shape[1] <= _MOST_DIGITS, longest_label(words)
        wide = 0.55 * k.shape[1] if digits else 1.8
        self.digits = digits
        self.cell = min((10.0 - wide - 2 * labels - 1.2) / self.T, 0.72)
        self.height = min(max(0.7 * self.cell, 0.22), 0.3)
        lean = 0.0 if self.cell > labels else 0.75 * labels
        self.figure, self.axes = plt.subplots(
            1,
            2,
            figsize=(wide + self.cell * self.T + 2 * labels + 1.2, self.T * self.height + 0.85 + lean),
            width_ratios=(wide, self.cell * self.T),
            layout="constrained",
        )

    def draw(self, t: int) -> None:
        """Show what the query at position t sees, and the rows before it."""
        there = torch.zeros(self.T, dtype=torch.bool)
        there[self.steps[t].positions] = True
        keys, rows = self.axes
        for ax in self.axes:
            ax.clear()
        array, dropped = as_array("k", self.k).copy(), ~there[:, None].expand_as(self.k).numpy()
        image = draw_map(keys, array, "k", dropped, limit=self.limit, aspect="auto")
        if self.digits:
            write_values(keys, image, dropped)
        self._cover(keys, t, self.k.shape[1])
        self._label(keys, t)
        keys.set_xticks([])
        keys.set_title("keys", fontsize=TITLE_SIZE, loc="left")
        keys.set_xlabel("hatched: dropped", fontsize=LABEL_SIZE)
        if self.sinks:
            self._frame(keys, 0, self.sinks, self.k.shape[1], "--")
        self._frame(keys, t, 1, self.k.shape[1], "-")

        weights, blocked = torch.zeros(self.T, self.T), torch.ones(self.T, self.T, dtype=torch.bool)
        for row, step in enumerate(self.steps[: t + 1]):
            weights[row, step.positions] = step.weights.float()
            blocked[row, step.positions] = False
        image = draw_map(rows, as_array("weights", weights), "weights", blocked.numpy(), aspect="auto")
        if self.cell >= 0.34:
            write_values(rows, image, blocked.numpy())
        self._cover(rows, t, self.T)
        self._label(rows, t)
        label_columns(rows, "", self.words, self.T, self.cell, top=False)
        rows.set_title("weights", fontsize=TITLE_SIZE, loc="left")
        self._frame(rows, t, 1, self.T, "-")

    def _label(self, ax: Axes, t: int) -> None:
        """Label the rows so far; the others keep their room, for the layout is that of the first picture."""
        label_rows(ax, "", self.words, self.T, self.height)
        ax.tick_params(axis="y", length=0)
        for row, label in enumerate(ax.get_yticklabels()):
            label.set_color(INK if row <= t else "white")

    def _cover(self, ax: Axes, t: int, columns: int) -> None:
        """Hide the rows that are still to come."""
        ax.add_patch(Rectangle((-0.6, t + 0.5), columns + 0.2, self.T - t - 0.9, color="white", zorder=4))

    @staticmethod
    def _frame(ax: Axes, row: int, rows: int, columns: int, style: str) -> None:
        box = Rectangle((-0.5, row - 0.5), columns, rows, fill=False, edgecolor=INK, linewidth=1.8, zorder=6)
        box.set(linestyle=style, clip_on=False)
        ax.add_patch(box)
