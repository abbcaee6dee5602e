"""A query and a key that are turned by their positions, pair by pair, and their dot product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Patch
from torch import Tensor

from attention_variants.lab.plots.axes import LEGEND_STYLE
from attention_variants.lab.plots.colors import COLORS, FRAME, INK
from attention_variants.lab.plots.rotary import ARROW, draw_plane
from attention_variants.modern import apply_rotary, rotary_speeds

from .films import animate_figure
from .player import Film

__all__ = ["animate_turns"]

_MOST_PAIRS = 3


def animate_turns(
    q: Tensor,
    k: Tensor,
    positions: Sequence[tuple[int, int]],
    *,
    base: float = 10_000.0,
    seconds: float = 1.5,
) -> Film:
    """Play how a query and a key are turned by their positions: an arrow for each pair of columns, and the score.

    Each picture is one position of the query and one of the key. On the left stands a plane for each pair, with the
    two arrows as `apply_rotary` turns them, and points where they were before; on the right the dot product over the
    distance, the sum of what the pairs have.

    Parameters
    ----------
    q, k : Tensor of shape (d_k)
        One query and one key, not yet turned; d_k is even, at most 6. Columns i and i + d_k / 2 are a pair.
    positions : sequence of (int, int)
        Where the query and where the key stands in each picture; at most 120.
    base : float, default 10_000.0
        As in `apply_rotary`.
    seconds : float, default 1.5
        How long a picture stands.

    Returns
    -------
    film : Film
        A picture for each of the positions.

    Raises
    ------
    ValueError
        If q and k are not one vector each, of the same even width; or `apply_rotary` or `animate_figure` refuse them.
    """
    width = q.shape[-1]
    if q.ndim != 1 or q.shape != k.shape or width % 2 or not 2 <= width <= 2 * _MOST_PAIRS:
        raise ValueError(
            f"animate_turns: q and k must be of shape (d_k), d_k even and at most {2 * _MOST_PAIRS}; "
            f"got {tuple(q.shape)} and {tuple(k.shape)}."
        )
    turned = turned_pairs(q, k, positions, base=base)
    shares = (turned["q"] * turned["k"]).sum(dim=-1)  # (steps, pairs)
    scores, distances = shares.sum(dim=-1).tolist(), [m - n for m, n in positions]
    speeds = rotary_speeds(width, base=base).tolist()

    pairs = width // 2
    figure, axes = plt.subplots(1, pairs + 1, figsize=(3.6 * pairs + 4.4, 4.0), width_ratios=(*[3] * pairs, 3.6))
    figure.set_layout_engine("constrained")
    arrows: dict[str, list[Any]] = {"q": [], "k": []}
    traces: dict[str, list[Any]] = {"q": [], "k": []}
    said = []
    for pair, ax in enumerate(axes[:-1]):
        lengths = {name: float(x[0, pair].norm()) for name, x in turned.items()}
        reach = draw_plane(ax, sorted(set(lengths.values())))
        ax.set(xlim=(-1.2 * reach, 1.2 * reach), ylim=(-1.5 * reach, 1.2 * reach))
        for name, x in sorted(turned.items(), key=lambda item: -lengths[item[0]]):  # the shorter in front
            traces[name] += ax.plot([], [], "o", color=COLORS[name], markersize=5, alpha=0.45)
            arrows[name].append(ax.quiver(0, 0, *x[0, pair].tolist(), color=COLORS[name], **ARROW))
        ax.set_title(f"pair {pair}: columns {pair} and {pair + pairs}\nturned by {speeds[pair]:.2g} rad a position")
        said.append(ax.text(0, -1.47 * reach, "", ha="center", va="bottom", color=INK, fontsize=11))
    axes[0].legend(handles=[Patch(color=COLORS[name], label=name) for name in turned], loc="upper left", **LEGEND_STYLE)
    ax = axes[-1]
    room = 0.15 * (max(scores) - min(scores)) or 1.0
    ax.axhline(0, color=FRAME, linewidth=0.8)
    seen = ax.plot([], [], "o-", color=COLORS["scores"], markersize=5, linewidth=1)[0]
    now = ax.plot([], [], "o", color=COLORS["scores"], markersize=12, markeredgecolor=INK)[0]
    ax.set(
        xlim=(min(distances) - 0.5, max(distances) + 0.5),
        ylim=(min(0.0, *scores) - room, max(0.0, *scores) + room),
        xticks=range(min(distances), max(distances) + 1),
        xlabel="distance: position of q − position of k",
    )
    ax.set_title("q · k\nthe sum over the pairs")
    ax.spines[["top", "right"]].set_visible(False)

    def draw(step: int) -> None:
        for name, x in turned.items():
            for pair in range(pairs):
                arrows[name][pair].set_UVC(*x[step, pair].tolist())
                traces[name][pair].set_data(x[:step, pair, 0].numpy(), x[:step, pair, 1].numpy())
        for pair, text in enumerate(said):
            text.set_text(f"q · k of this pair: {_number(shares[step, pair].item())}")
        known = sorted(dict(zip(distances[: step + 1], scores, strict=False)).items())
        seen.set_data(*zip(*known, strict=True))
        now.set_data([distances[step]], [scores[step]])

    captions = [_caption(positions, step, shares[step].tolist(), scores[step]) for step in range(len(positions))]
    title = "a query and a key, turned by their positions"
    return animate_figure(figure, draw, range(len(positions)), captions, title=title, seconds=seconds)


def turned_pairs(
    q: Tensor, k: Tensor, positions: Sequence[tuple[int, int]], *, base: float = 10_000.0
) -> dict[str, Tensor]:
    """Turn a query and a key for each of several positions.

    Parameters
    ----------
    q, k, positions, base
        As `animate_turns` takes them.

    Returns
    -------
    turned : dict of Tensor of shape (steps, d_k / 2, 2)
        "q" and "k": in each step, the two numbers of each pair.
    """
    turned = {}
    for name, x, own in (("q", q, 0), ("k", k, 1)):
        at = torch.tensor([both[own] for both in positions])
        rows = apply_rotary(x.double().expand(len(at), -1), at, base=base)  # (steps, d_k)
        turned[name] = rows.unflatten(-1, (2, -1)).mT  # columns i and i + d_k / 2: (steps, d_k / 2, 2)
    return turned


def _caption(positions: Sequence[tuple[int, int]], step: int, shares: Sequence[float], score: float) -> str:
    """Say where the two stand, what moved, and what the score is made of."""
    m, n = positions[step]
    where = f"query at {m}, key at {n}, distance {_number(m - n, 0)}"
    parts = " + ".join(f"({_number(part)})" if part < 0 and at else _number(part) for at, part in enumerate(shares))
    score_is = f"q · k = {parts} = {_number(score)}" if len(shares) > 1 else f"q · k = {_number(score)}"
    before = positions[step - 1] if step else None
    if before is not None and before != (m, n) and before[0] - before[1] == m - n:
        return f"both move on: {where} as before; {score_is} as before"
    return f"{where}: {score_is}"


def _number(number: float, digits: int = 2) -> str:
    return f"{number + 0.0:.{digits}f}".replace("-0.00", "0.00").replace("-", "−")
