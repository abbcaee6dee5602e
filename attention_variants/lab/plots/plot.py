"""Pictures of attention: weights, heads, the chain of tensors, and the difference between two variants.

All draw with ``matplotlib.pyplot``, so that a notebook shows them and a script can call ``plt.show()``; none calls it
for you. In a notebook, assign what they return (``_ = plot_heads(weights)``): a figure that is the last expression of a
cell would be shown twice. Nothing here changes matplotlib's settings for your other figures.

Each tensor has its colour, `COLORS`, the same everywhere. Weights are always drawn on a scale from 0 to 1, white to
blue. What can be negative is drawn on a scale with 0, white, in its middle. A blocked cell is hatched, which is not the
same as a weight of 0: if a weight leaks into it, its colour shows through the hatching. NaN is black.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from torch import Tensor

from attention_variants.variants._check import check_mask_dtype

from .colors import BLOCKED, COLORS, INK, OPPOSITES

__all__ = ["COLORS", "colormap", "plot_chain", "plot_difference", "plot_heads", "plot_weights"]

#: The order in which attention computes its tensors, and the sign before each: a word and what stands below it.
_CHAIN = {
    "q": ("", ""),
    "k": ("", "×"),
    "scores": (r"$/\sqrt{d_k}$", "="),
    "weights": ("softmax", "→"),
    "v": ("", "×"),
    "context": ("", "="),
}
#: What the rows and the columns of each are, as it is drawn: k is drawn transposed.
_KINDS = {
    "q": ("query", "feature"),
    "k": ("feature", "key"),
    "scores": ("query", "key"),
    "weights": ("query", "key"),
    "v": ("key", "feature"),
    "context": ("query", "feature"),
}

_BEFORE = dict(zip(list(_CHAIN)[1:], _CHAIN, strict=False))

_PAGE = 10.0  # inches: a figure as wide as a notebook
_TICK, _LABEL, _TITLE = 8, 9, 10  # points
_LINE, _LETTER = 0.115, 0.075  # inches that a tick label takes: its height, and its width by the letter
_LEGIBLE = 0.36  # inches: a cell that a number fits into
_HATCH: dict[str, Any] = {"hatch": "////", "edgecolor": "#9C9C9C", "linewidth": 0.0, "zorder": 1.8}
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": _TICK, "handlelength": 1.4, "handleheight": 1.2}


class TensorsByName(Protocol):
    """What `plot_chain` draws: a trace, or anything else that hands out tensors by their names."""

    @property
    def names(self) -> Iterable[str]:
        """The names of its tensors."""

    def __getitem__(self, name: str, /) -> Tensor:
        """Return the tensor of that name."""


def colormap(name: str) -> Colormap:
    """Return the colour map in which a tensor is drawn.

    Parameters
    ----------
    name : str
        "weights" for a sequential map, from white to the tensor's colour; "q", "k", "v", "scores" or "context" for a
        diverging map, white in the middle and the tensor's colour for what is positive; "difference" for a diverging
        map in two other colours, purple and brown.

    Returns
    -------
    colormap : matplotlib.colors.Colormap
        A new one: change it freely.

    Raises
    ------
    ValueError
        If there is no colour map of that name.
    """
    if name == "difference":
        stops = ["#542788", "white", "#B35806"]  # ColorBrewer 2.0, PuOr
    elif name == "weights":
        stops = ["white", COLORS[name]]
    elif name in COLORS:
        stops = [OPPOSITES[name], "white", COLORS[name]]
    else:
        raise ValueError(f"colormap: name must be one of {', '.join(COLORS)} and difference; got {name!r}.")
    return LinearSegmentedColormap.from_list(f"attention_{name}", stops).with_extremes(bad=BLOCKED)


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
    array = _array("plot_weights: weights", weights)
    if array.ndim != 2:
        instead = {
            3: " plot_heads draws (H, T_q, T_k); for one head of it, pass weights[head].",
            4: " Choose a batch item: plot_heads(weights[0]), or one head of it: plot_weights(weights[0, head]).",
        }.get(array.ndim, "")
        raise ValueError(f"plot_weights: weights must have the shape (T_q, T_k); got {array.shape}.{instead}")
    T_q, T_k = array.shape
    _check_tokens("plot_weights: weights", "query", query_tokens, T_q)
    _check_tokens("plot_weights: weights", "key", key_tokens, T_k)
    blocked = _blocked("plot_weights", mask, array.shape)

    new = ax is None
    if ax is None:
        left, top = 0.5 + _longest(query_tokens), 0.5 + 0.75 * _longest(key_tokens)
        right, bottom = 0.9 * colorbar, 0.3 * bool(blocked.any())
        cell = min(max(6.0 / max(T_q, T_k), 0.2), 0.42, (_PAGE - left - right) / T_k)
        width = max(cell * T_k, 0.12 * len(title or ""))
        _, ax = plt.subplots(
            figsize=(left + width + right, top + cell * T_q + bottom + 0.3 * bool(title)), layout="constrained"
        )
    else:
        cell = min(_cell(ax, array.shape))

    image = _draw(ax, array, "weights", blocked)
    _label_rows(ax, "query", query_tokens, T_q, cell)
    _label_columns(ax, "key", key_tokens, T_k, cell)
    if title is not None:
        ax.set_title(title, fontsize=_TITLE)
    if values is True or (values == "auto" and cell >= _LEGIBLE):
        _write_values(ax, image, blocked)
    if handles := _handles(["weights"], [array], [blocked]):
        below = (0.0, -0.12 / (cell * T_q))
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=below, borderaxespad=0.0, ncols=2, **_LEGEND)
    if colorbar and new:  # beside its own axes, the scale is as high as the map
        side = ax.inset_axes((1 + 0.12 / (cell * T_k), 0.0, 0.14 / (cell * T_k), 1.0))
        _style(ax.figure.colorbar(image, cax=side, ticks=[0, 0.5, 1]), "weight")
    elif colorbar:
        _style(ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03, ticks=[0, 0.5, 1]), "weight")
    return ax


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
    array = _array("plot_heads: weights", weights)
    if array.ndim != 3:
        instead = {
            2: " plot_weights draws one head.",
            4: " Choose a batch item: plot_heads(weights[0]).",
        }.get(array.ndim, "")
        raise ValueError(f"plot_heads: weights must have the shape (H, T_q, T_k); got {array.shape}.{instead}")
    H, T_q, T_k = array.shape
    _check_tokens("plot_heads: weights", "query", query_tokens, T_q)
    _check_tokens("plot_heads: weights", "key", key_tokens, T_k)
    blocked = _blocked("plot_heads", mask, array.shape)
    titles = [f"head {h}" for h in range(H)] if titles is None else titles
    if len(titles) != H:
        raise ValueError(f"plot_heads: titles must be one for each of the {H} heads; got {len(titles)}.")
    if ncols < 1:
        raise ValueError(f"plot_heads: ncols must be at least 1; got {ncols}.")

    ncols = min(ncols, H)
    handles = _handles(["weights"], [array], [blocked])
    grid, side = _heads_axes(H, ncols, (T_q, T_k), (query_tokens, key_tokens), figsize, bool(handles))
    cell = min(_cell(grid[0], (T_q, T_k)))
    for h, ax in enumerate(grid):
        image = _draw(ax, array[h], "weights", blocked[h])
        if h % ncols == 0:
            _label_rows(ax, "query", query_tokens, T_q, cell)
        else:
            ax.set_yticks([])
        if h < ncols:
            _label_columns(ax, "key", key_tokens, T_k, cell)
        else:
            ax.set_xticks([])
        ax.set_title(titles[h], fontsize=_TITLE)
    figure = _figure(side)
    _style(figure.colorbar(image, cax=side, ticks=[0, 0.5, 1]), "weight")
    _legend_below(figure, handles)
    return figure


def plot_chain(
    tensors: TensorsByName | Mapping[str, Tensor],
    names: str | Sequence[str] = ("q", "k", "v", "scores", "weights", "context"),
    *,
    index: int | tuple[int, ...] = (),
    tokens: Sequence[str] | None = None,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    mask: Tensor | None = None,
    values: bool = False,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw the tensors of a traced variant as a chain: q times k^T is the scores, weights times v is the context.

    Parameters
    ----------
    tensors : Trace, or mapping from str to Tensor
        What ``trace`` returned, or any tensors by their names. Each must have two dimensions, after ``index``.
    names : str or sequence of str
        Which to draw. Those of the chain come in its order, any others after them. k is drawn transposed, as it is
        multiplied.
    index : int or tuple of int, default ()
        Which batch item, or batch item and head, of tensors with leading dimensions; one with fewer of them takes
        the first numbers.
    tokens : sequence of str, optional
        The tokens of queries and keys alike, in self-attention.
    query_tokens, key_tokens : sequence of str, optional
        The tokens of each, where they differ.
    mask : boolean Tensor, optional
        True = may attend. The other cells of scores and weights are hatched. By default the tensor named "mask" in
        ``tensors``, if there is one.
    values : bool, default False
        Whether to write the numbers into the cells.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, one for each name in the order of the computation; the signs between them are left out then.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Axes carry the name of their tensor as label: ``{ax.get_label(): ax for ax in figure.axes}["scores"]``.

    Raises
    ------
    TypeError
        If something named is not a tensor, or the mask is not a boolean one.
    ValueError
        If a name is missing, or a shape, an index or a number of tokens does not fit.

    Notes
    -----
    Weights are drawn from 0 to 1; the others, each on its own scale, from the largest magnitude in the tensor's
    opposite colour over 0 in white to the largest magnitude in its own colour.
    """
    index = (index,) if isinstance(index, int) else tuple(index)
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    known = list(dict.fromkeys(tensors if isinstance(tensors, Mapping) else tensors.names))
    if not names:
        raise ValueError(f"plot_chain: names must name at least one tensor; there are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise ValueError(
                f"plot_chain: there is no tensor named {name!r}, only {', '.join(known)}; choose by names=."
            )
    order = [name for name in _CHAIN if name in names] + [name for name in names if name not in _CHAIN]
    if axes is not None and len(axes) != len(order):
        raise ValueError(f"plot_chain: axes must be {len(order)}, for {', '.join(order)}; got {len(axes)}.")
    query_tokens = tokens if query_tokens is None else query_tokens
    key_tokens = tokens if key_tokens is None else key_tokens
    labels = {"query": query_tokens, "key": key_tokens}
    mask = tensors["mask"] if mask is None and "mask" in known else mask

    arrays: dict[str, np.ndarray] = {}
    titles: dict[str, str] = {}
    blocked: dict[str, np.ndarray] = {}
    for name in order:
        arrays[name], titles[name] = _pick(name, tensors[name], index)
        blocked[name] = np.zeros(arrays[name].shape, dtype=bool)
        if name in ("scores", "weights"):
            blocked[name] = _blocked("plot_chain", _pick_mask(mask, index), arrays[name].shape)
        if name == "scores":
            blocked[name] |= _filled(arrays[name], tensors[name])
        for kind, length in zip(_KINDS.get(name, ()), arrays[name].shape, strict=False):
            _check_tokens(f"plot_chain: {name}", kind, labels.get(kind), length)

    handles = _handles(arrays, list(arrays.values()), list(blocked.values()))
    new, firsts = axes is None, set(order)
    if axes is None:
        axes, firsts = _chain_axes(arrays, labels, values, _is_scaled(arrays, blocked), bool(handles))
    for name, ax in zip(order, axes, strict=True):
        array, (rows, columns) = arrays[name], _KINDS.get(name, ("", ""))
        image = _draw(ax, array, name, blocked[name], aspect="auto")
        height, width = _cell(ax, array.shape)
        _label_rows(ax, rows, labels.get(rows), array.shape[0], height, numbers=False)
        _label_columns(ax, columns, labels.get(columns), array.shape[1], width, numbers=False, top=False)
        if rows == "query" and name not in firsts:
            ax.set_yticks([])  # the first of the row has the same labels
        _scale_above(ax, image, height * array.shape[0])
        ax.set_title(titles[name], fontsize=_TITLE, pad=17)
        ax.set_label(name)
        for spine in ax.spines.values():
            spine.set(color=COLORS.get(name, INK), linewidth=2)
        if values:
            _write_values(ax, image, blocked[name])
    figure = _figure(axes[0])
    if new:
        _legend_below(figure, handles)
    return figure


def plot_difference(
    a: Tensor,
    b: Tensor,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    *,
    labels: tuple[str, str] = ("a", "b"),
    name: str = "weights",
    mask: Tensor | None = None,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw two maps beside each other, and their difference.

    Parameters
    ----------
    a, b : Tensor of shape (T_q, T_k), or of the shape of what ``name`` names
        What two variants computed.
    query_tokens, key_tokens : sequence of str, optional
        The tokens of the rows and columns that are queries or keys.
    labels : (str, str)
        What to call the two.
    name : str, default "weights"
        Which tensor they are: "weights" are drawn from 0 to 1; "q", "k", "v", "scores" and "context" on one scale
        with 0 in the middle, and k transposed.
    mask : boolean Tensor that broadcasts to (T_q, T_k), optional
        True = may attend, for weights and scores. The other cells are hatched.
    axes : sequence of three matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Its first three axes are a, b, and a - b. The title of the third gives the largest difference, or, where
        that is no more than rounding, a bound that is the same on every machine.

    Raises
    ------
    TypeError
        If one is not a tensor, or the mask is not a boolean one.
    ValueError
        If the shapes differ, or a number of tokens does not fit, or there is no such name.

    Notes
    -----
    The scale of the difference reaches at least to a thousandth of that of the maps: rounding stays white.
    """
    if name not in _CHAIN:
        raise ValueError(f"plot_difference: name must be one of {', '.join(_CHAIN)}; got {name!r}.")
    first, second = (
        _pick(name, x, (), caller=f"plot_difference: {label}")[0] for label, x in zip(labels, (a, b), strict=True)
    )
    if first.shape != second.shape:
        raise ValueError(f"plot_difference: both must have one shape; got {first.shape} and {second.shape}.")
    if axes is not None and len(axes) != 3:
        raise ValueError(f"plot_difference: axes must be three; got {len(axes)}.")
    tokens, (rows, columns) = {"query": query_tokens, "key": key_tokens}, _KINDS[name]
    for kind, length in zip((rows, columns), first.shape, strict=True):
        _check_tokens(f"plot_difference: {name}", kind, tokens.get(kind), length)
    pair_mask = mask if name in ("scores", "weights") else None
    blocked = _blocked("plot_difference", pair_mask, first.shape)
    if name == "scores":
        blocked |= _filled(first, a) & _filled(second, b)
    difference = first - second
    gap = np.abs(difference[~blocked]) if name == "scores" else np.abs(difference)
    largest = float(gap.max(initial=0.0))  # NaN if there is one

    limit = max(_limit(first, blocked), _limit(second, blocked))
    spread = max(largest, 1e-3 * (1.0 if name == "weights" else limit)) if np.isfinite(largest) else limit
    handles, new = _handles([name, name], [first, second], [blocked, blocked]), axes is None
    bars: list[Axes] = []
    if axes is None:
        axes, bars = _difference_axes(first.shape, (rows, columns), tokens, bool(handles))
    images = [
        _draw(axes[0], first, name, blocked, limit=limit, aspect="auto"),
        _draw(axes[1], second, name, blocked, limit=limit, aspect="auto"),
        _draw(axes[2], difference, "difference", blocked, limit=spread, aspect="auto"),
    ]
    for i, ax in enumerate(axes):
        height, width = _cell(ax, first.shape)
        _label_rows(ax, rows, tokens.get(rows), first.shape[0], height, numbers=rows in tokens)
        _label_columns(ax, columns, tokens.get(columns), first.shape[1], width, numbers=columns in tokens)
        if i and new:
            ax.set_yticks([])
            ax.set_ylabel("")
    axes[0].set_title(labels[0], fontsize=_TITLE)
    axes[1].set_title(labels[1], fontsize=_TITLE)
    axes[2].set_title(f"{labels[0]} − {labels[1]}\nlargest difference {_rounded(largest)}", fontsize=_TITLE)

    figure = _figure(axes[0])
    for i, part, what in ((1, axes[:2], name), (2, axes[2:], "difference")):
        place = {"cax": bars[i - 1]} if new else {"ax": list(part), "fraction": 0.05, "pad": 0.04, "aspect": 25}
        low, high = images[i].get_clim()
        ticks = [low, (low + high) / 2, high]
        _style(figure.colorbar(images[i], orientation="horizontal", **place), what, ticks)
    if new:
        _legend_below(figure, handles)
    return figure


def _array(what: str, x: Tensor) -> np.ndarray:
    """Return a tensor's numbers as float64, whatever its dtype and device, with or without gradients."""
    if x is None:
        raise TypeError(f"{what} must be a tensor; got None. Variant 7 gives weights only with need_weights=True.")
    if not isinstance(x, Tensor):
        raise TypeError(f"{what} must be a torch.Tensor; got {type(x).__name__}.")
    if x.numel() == 0:
        raise ValueError(f"{what} must have something to draw; got the shape {tuple(x.shape)}.")
    return x.detach().to("cpu", torch.float64).numpy()


def _pick(name: str, x: Tensor, index: tuple[int, ...], *, caller: str = "") -> tuple[np.ndarray, str]:
    """Return the matrix to draw and its title."""
    what = caller or f"plot_chain: {name}"
    array = _array(what, x)
    leading = max(array.ndim - 2, 0)
    if array.ndim < 2 or (caller and leading):
        raise ValueError(f"{what} must have two dimensions; got the shape {array.shape}.")
    if leading > len(index):
        raise ValueError(
            f"{what} has the shape {array.shape}; say which of its leading dimensions to draw, such as "
            f"index={(0,) * leading}."
        )
    chosen = index[:leading]
    try:
        array = array[chosen]
    except IndexError:
        raise ValueError(f"{what} has the shape {tuple(x.shape)}, which has no index {chosen}.") from None
    label = name
    if name == "k":
        array, label = array.T, "kᵀ"
    return array, f"{label}{list(chosen) or ''}\n{array.shape}"


def _pick_mask(mask: Tensor | None, index: tuple[int, ...]) -> Tensor | None:
    """Return the mask of the matrix that is drawn: its leading dimensions are the last of the weights'."""
    if mask is None:
        return None
    check_mask_dtype("plot_chain", mask)
    while mask.ndim > 2:
        position = len(index) - (mask.ndim - 2)
        mask = mask[index[position] if mask.shape[0] > 1 and position >= 0 else 0]
    return mask


def _blocked(caller: str, mask: Tensor | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return which cells the mask blocks."""
    if mask is None:
        return np.zeros(shape, dtype=bool)
    check_mask_dtype(caller, mask)
    allowed = mask.detach().cpu().numpy()
    try:
        return ~np.broadcast_to(allowed, shape)
    except ValueError:
        raise ValueError(
            f"{caller}: mask must broadcast to the shape of what is drawn, {shape}; got {allowed.shape}."
        ) from None


def _filled(scores: np.ndarray, x: Tensor) -> np.ndarray:
    """Return which scores are the -inf, or the lowest finite number, that masking leaves."""
    return scores <= torch.finfo(x.dtype if x.is_floating_point() else torch.float64).min / 2


def _check_tokens(what: str, kind: str, tokens: Sequence[str] | None, length: int) -> None:
    if tokens is not None and len(tokens) != length:
        plural = {"query": "queries", "key": "keys"}[kind]
        raise ValueError(f"{what} has {length} {plural}, so there must be {length} {kind} tokens; got {len(tokens)}.")


def _limit(array: np.ndarray, blocked: np.ndarray) -> float:
    """Return the largest magnitude among what is neither blocked nor NaN nor infinite."""
    shown = np.abs(array[~blocked & np.isfinite(array)])
    return float(shown.max(initial=0.0)) or 1.0


def _rounded(largest: float) -> str:
    """Write a difference so that it reads the same on every machine: mere rounding as a bound."""
    if np.isnan(largest):
        return "NaN"
    bounds = [bound for bound in ("1e-12", "1e-5", "0.001") if largest < float(bound)]
    return f"< {bounds[0]}" if bounds else f"{largest:.2g}"


def _draw(
    ax: Axes, array: np.ndarray, name: str, blocked: np.ndarray, *, limit: float | None = None, aspect: Any = "equal"
) -> AxesImage:
    limit = _limit(array, blocked) if limit is None else limit
    norm = Normalize(0, 1) if name == "weights" else Normalize(-limit, limit)
    hidden = _hidden(name, array, blocked)
    shown = np.ma.masked_array(array, mask=hidden) if hidden.any() and name != "weights" else array
    image = ax.imshow(
        shown,
        cmap=colormap(name if name in COLORS else "difference"),
        norm=norm,
        aspect=aspect,
        interpolation="nearest",
    )
    _patch(ax, blocked & hidden, facecolor=BLOCKED, **_HATCH)
    _patch(ax, blocked & ~hidden, facecolor="none", **_HATCH)
    _patch(ax, ~np.isfinite(array) & ~hidden, facecolor="black", linewidth=0)
    n_rows, n_columns = array.shape
    if max(array.shape) <= 40:  # thin lines between the cells lead the eye to the labels
        across = [((-0.5, i - 0.5), (n_columns - 0.5, i - 0.5)) for i in range(1, n_rows)]
        down = [((j - 0.5, -0.5), (j - 0.5, n_rows - 0.5)) for j in range(1, n_columns)]
        ax.add_collection(LineCollection([*across, *down], colors="#D9D9D9", linewidths=0.4, zorder=1.5), autolim=False)
    for spine in ax.spines.values():
        spine.set(color="#8C8C8C", linewidth=0.8)
    return image


def _patch(ax: Axes, cells: np.ndarray, **style: Any) -> None:
    if cells.any():  # one path for all cells: hatching is slow to draw, and has no seams so
        corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)]
        squares = [Path(np.add(corners, (j, i)), closed=True) for i, j in np.argwhere(cells)]
        ax.add_artist(PathPatch(Path.make_compound_path(*squares), **style))


def _hidden(name: str, array: np.ndarray, blocked: np.ndarray) -> np.ndarray:
    """Say which cells show nothing but that they are blocked: of the scores all, of the weights those that are 0."""
    return blocked & (array == 0) if name in ("weights", "difference") else blocked


def _handles(names: Iterable[str], arrays: list[np.ndarray], blocked: list[np.ndarray]) -> list[Patch]:
    handles = []
    if any(part.any() for part in blocked):
        handles.append(Patch(facecolor=BLOCKED, label="blocked", **_HATCH))
    shown = zip(names, arrays, blocked, strict=True)
    black = [array[~np.isfinite(array) & ~_hidden(name, array, part)] for name, array, part in shown]
    if any(part.size for part in black):
        only_nan = all(np.isnan(part).all() for part in black)
        handles.append(Patch(facecolor="black", label="NaN" if only_nan else "NaN or infinite"))
    return handles


def _legend_below(figure: Figure, handles: list[Patch]) -> None:
    if handles:
        loc: Any = "outside lower left" if figure.get_layout_engine() else "lower left"
        figure.legend(handles=handles, loc=loc, ncols=len(handles), **_LEGEND)


def _write_values(ax: Axes, image: AxesImage, blocked: np.ndarray) -> None:
    shown: np.ma.MaskedArray = np.ma.asarray(image.get_array())
    array, hidden = np.ma.getdata(shown), np.ma.getmaskarray(shown)
    hidden = hidden & blocked | blocked & (array == 0)
    for i, j in np.argwhere(~hidden):
        rgb = image.cmap(image.norm(array[i, j]))[:3] if np.isfinite(array[i, j]) else (0.0, 0.0, 0.0)
        luminance = np.dot(np.power(rgb, 2.2), (0.2126, 0.7152, 0.0722))
        dark = luminance < 0.179  # where white letters have more contrast than black ones
        text = "NaN" if np.isnan(array[i, j]) else f"{array[i, j]:.2f}".replace("-0.00", "0.00").replace("-", "−")
        color = "white" if dark else "#8C8C8C" if text == "0.00" else "black"
        # Inside its cell, a number needs no room of its own: to ask each of hundreds would take as long as to draw it.
        ax.text(j, i, text, ha="center", va="center", fontsize=_TICK, color=color, in_layout=False)


def _figure(ax: Axes) -> Figure:
    return ax.figure.figure  # of a subfigure, the figure that it is part of


def _cell(ax: Axes, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return about how high and wide a cell is, in inches, on axes that are given."""
    box = ax.get_window_extent()
    dpi = _figure(ax).dpi
    return box.height / dpi / shape[0], box.width / dpi / shape[1]


def _longest(tokens: Sequence[str] | None) -> float:
    """Return how long the longest label is, in inches."""
    return _LETTER * max(map(len, tokens or [""]))


def _upright(tokens: Sequence[str] | None, cell: float) -> float:
    """Return how much of its length the longest label of a column takes upwards, in inches."""
    return 0.0 if _lie_flat(tokens, cell) else _longest(tokens)


def _lie_flat(tokens: Sequence[str] | None, cell: float) -> bool:
    return _longest(tokens) <= cell - 0.05


def _text(tokens: Sequence[str] | None, positions: range) -> list[str]:
    if tokens is None:
        return [str(i) for i in positions]
    return [str(tokens[i]).replace("$", r"\$").replace("\n", r"\n") for i in positions]  # "$" would begin a formula


def _label_rows(
    ax: Axes, kind: str, tokens: Sequence[str] | None, n: int, cell: float, *, numbers: bool = True
) -> None:
    ax.set_ylabel(kind, fontsize=_LABEL)
    # More labels than lines fit beside the map: every second, every third...
    positions = range(0, n, math.ceil(_LINE / cell)) if tokens is not None or numbers else range(0)
    ax.set_yticks(positions, labels=_text(tokens, positions))
    ax.tick_params(axis="y", which="major", labelsize=_TICK, length=2)


def _label_columns(
    ax: Axes, kind: str, tokens: Sequence[str] | None, n: int, cell: float, *, numbers: bool = True, top: bool = True
) -> None:
    ax.set_xlabel(kind, fontsize=_LABEL)
    ax.xaxis.set_label_position("top" if top else "bottom")
    wide = _LETTER * len(str(n)) + 0.05 if tokens is None else _LINE
    positions = range(0, n, math.ceil(wide / cell)) if tokens is not None or numbers else range(0)
    ax.set_xticks(positions, labels=_text(tokens, positions))
    ax.tick_params(
        axis="x", which="major", labelsize=_TICK, length=2, top=top, bottom=not top, labeltop=top, labelbottom=not top
    )
    if tokens is not None and not _lie_flat(tokens, cell):
        if cell >= 1.5 * _LINE:  # labels at 45 degrees stand further apart than upright ones
            ends = "left" if top else "right"
            plt.setp(ax.get_xticklabels(), rotation=45, ha=ends, va="center", rotation_mode="anchor")
            ax.tick_params(axis="x", which="major", pad=5)
        else:
            plt.setp(ax.get_xticklabels(), rotation=90)


def _style(bar: Any, label: str, ticks: Sequence[float] = ()) -> None:
    bar.set_label(label, fontsize=_LABEL)
    bar.ax.tick_params(labelsize=_TICK, length=2)
    bar.outline.set(color="#8C8C8C", linewidth=0.8)
    if ticks:
        bar.set_ticks(ticks, labels=[_short(tick) for tick in ticks])


def _scale_above(ax: Axes, image: AxesImage, height: float) -> None:
    """Draw a small scale between a map of that height in inches and its title, with its ends written beside it."""
    scale = ax.inset_axes((0.32, 1 + 0.07 / height, 0.36, 0.07 / height))
    _figure(ax).colorbar(image, cax=scale, orientation="horizontal", ticks=[])
    for i, (end, gap, side) in enumerate(zip(image.get_clim(), (-3, 3), ("right", "left"), strict=True)):
        style: dict[str, Any] = {"ha": side, "va": "center", "fontsize": _TICK}
        scale.annotate(_short(end or 0.0), (i, 0.45), (gap, 0), "axes fraction", "offset points", **style)


def _chain_axes(
    arrays: dict[str, np.ndarray],
    labels: dict[str, Sequence[str] | None],
    values: bool,
    scaled: bool,
    legend: bool,
) -> tuple[list[Axes], set[str]]:
    """Return axes for the chain, with the signs between them, and the names that begin a row.

    They are placed by hand, in inches: then all cells have one size, and what is multiplied fits together.
    """
    kinds = {name: _KINDS.get(name, ("", "")) for name in arrays}
    sizes = {name: dict(zip(kinds[name], array.shape, strict=True)) for name, array in arrays.items()}
    count = max((n for size in sizes.values() for kind, n in size.items() if kind in labels), default=0)
    count = count or max(max(array.shape) for array in arrays.values())
    extents = {name: _extents(array.shape, kinds[name], count) for name, array in arrays.items()}

    names = list(arrays)
    for length in (len(names), math.ceil(len(names) / 2)):  # one row if that is legible, or else two
        rows = [names[i : i + length] for i in range(0, len(names), length)]
        columns = [[row[j] for row in rows if j < len(row)] for j in range(length)]
        before = []  # each column: the inches to the left of its maps
        for j, column in enumerate(columns):
            tokens = max(_longest(labels.get(kinds[name][0])) * (j == 0 or kinds[name][0] == "key") for name in column)
            before.append(0.35 + tokens + max(0.0 if name == names[0] else _sign_width(name) for name in column))
        widths = [max(extents[name][1] for name in column) for column in columns]
        cell = min((_PAGE - 0.15 - sum(before)) / sum(widths), 0.6 if values else 0.4)
        if cell * count >= 0.85 and not values and (labels == {"query": None, "key": None} or cell >= 1.4 * _LINE):
            break

    above, below, gap = 0.68, 0.35 + _upright(labels["key"], cell), 0.05
    heights = [max(extents[name][0] for name in row) * cell for row in rows]
    width = sum(before) + cell * sum(widths) + 0.15
    height = sum(heights) + len(rows) * (above + below + gap) + 0.2 * legend
    figure = plt.figure(figsize=(width, height))
    axes, top = [], height
    for row, row_height in zip(rows, heights, strict=True):
        left, middle = 0.0, top - above - row_height / 2
        for j, name in enumerate(row):
            left += before[j]
            rows_high, columns_wide = (cell * extent for extent in extents[name])
            x = left + (cell * widths[j] - columns_wide) / 2
            box = (x / width, (middle - rows_high / 2) / height, columns_wide / width, rows_high / height)
            axes.append(figure.add_axes(box))
            if len(axes) > 1 and _BEFORE.get(name) == names[len(axes) - 2]:
                word, mark = _CHAIN[name]
                tokens = _longest(labels.get(kinds[name][0])) * (j == 0 or kinds[name][0] == "key")
                x -= 0.35 + tokens + _sign_width(name) / 2 - 0.05
                figure.text(x / width, middle / height, mark, ha="center", va="center", fontsize=18, color=INK)
                if word and (name != "scores" or scaled):
                    figure.text(x / width, (middle + 0.15) / height, word, ha="center", fontsize=_LABEL, color=INK)
            left += cell * widths[j]
        top -= above + row_height + below + gap
    return axes, {row[0] for row in rows}


def _is_scaled(arrays: dict[str, np.ndarray], blocked: dict[str, np.ndarray]) -> bool:
    """Return whether the scores are q times k, divided by the square root of d_k: the picture claims nothing unseen."""
    if not {"q", "k", "scores"} <= set(arrays):
        return False
    q, k, scores = arrays["q"], arrays["k"], arrays["scores"]
    if q.shape[1] != k.shape[0] or scores.shape != (q.shape[0], k.shape[1]):
        return False
    with np.errstate(all="ignore"):  # there may be NaN
        error = np.abs(q @ k / math.sqrt(q.shape[1]) - scores)[~blocked["scores"]]
    return bool(np.all(error <= 0.02 * _limit(scores, blocked["scores"])))  # float16 rounds


def _extents(shape: tuple[int, ...], kinds: tuple[str, str], count: int) -> list[float]:
    """Return how many cells high and wide to draw a matrix.

    Queries and keys take a cell each; features share the room of about as many, so that a wide tensor fits the page.
    """
    wide = [kind in ("query", "key") for kind in kinds]
    return [n if whole else min(max(n, count / 2), count) for n, whole in zip(shape, wide, strict=True)]


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
    left, right, title, below = 0.5 + _longest(query_tokens), 0.75, 0.3, 0.1 + 0.25 * legend
    room = (figsize[0] if figsize else _PAGE) - left - right
    lean = 0.7 * _longest((key_tokens or [""])[-1:])  # where labels are not upright, the last one leans to the right
    gap = 0.1 if 2.0 / max(shape) < 1.5 * _LINE or _lie_flat(key_tokens, room / ncols / T_k) else max(0.1, lean)
    cell = (room / ncols - gap) / T_k
    if not figsize:
        cell = min(cell, max(2.0 / max(T_q, T_k), 0.2))
    above = 0.25 + title + (_upright(key_tokens, cell) or _LINE)
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


def _difference_axes(
    shape: tuple[int, ...], kinds: tuple[str, str], tokens: dict[str, Sequence[str] | None], legend: bool
) -> tuple[list[Axes], list[Axes]]:
    """Return axes for two maps and their difference, placed in inches, and for the two scales below them."""
    count = max((n for n, kind in zip(shape, kinds, strict=True) if kind in tokens), default=max(shape))
    rows, columns = _extents(shape, kinds, count)
    left, gap = 0.5 + _longest(tokens.get(kinds[0])), 0.2
    right = 0.15 + 0.7 * _longest((tokens.get(kinds[1]) or [""])[-1:])  # the last label leans over the edge
    cell = min(max(2.4 / max(rows, columns), 0.2), 0.4, (_PAGE - left - 2 * gap - right) / 3 / columns)
    above, below = 0.85 + _upright(tokens.get(kinds[1]), cell), 0.75 + 0.2 * legend
    step = max(cell * columns, 1.8) + gap  # a narrow map leaves room for its title
    width, height = left + 3 * step - gap + right, above + cell * rows + below
    figure = plt.figure(figsize=(width, height))

    def axes(x: float, y: float, wide: float, high: float) -> Axes:
        return figure.add_axes((x / width, y / height, wide / width, high / height))

    maps = [axes(left + i * step, below, cell * columns, cell * rows) for i in range(3)]
    bar, third = 0.8 * cell * columns, left + 2 * step + 0.1 * cell * columns
    y = below - 0.25
    return maps, [axes(left + (step + cell * columns - bar) / 2, y, bar, 0.1), axes(third, y, bar, 0.1)]


def _sign_width(name: str) -> float:
    word, mark = _CHAIN.get(name, ("", ""))
    return 0.55 if word else 0.3 if mark else 0.1


def _short(number: float) -> str:
    return f"{number:.2g}".replace("-", "−")
