"""The tensors of a traced variant as a chain, with the signs of what is computed between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from attention_variants.lab.measure.reference import TOLERANCES
from attention_variants.variants.checks import check_mask_dtype

from .axes import (
    KINDS,
    LABEL_SIZE,
    LINE_HEIGHT,
    PAGE_WIDTH,
    TICK_SIZE,
    TITLE_SIZE,
    blocked_cells,
    cell_size,
    check_tokens,
    draw_map,
    extents_in_cells,
    figure_of,
    filled_cells,
    label_columns,
    label_rows,
    largest_magnitude,
    legend_below,
    legend_handles,
    longest_label,
    matrix_of,
    short_number,
    upright_length,
    write_values,
)
from .colors import COLORS, INK

#: In the order of the computation, the sign before each tensor: a word and what stands below it.
_SIGNS = {
    "q": ("", ""),
    "k": ("", "×"),
    "scores": (r"$/\sqrt{d_k}$", "="),
    "weights": ("softmax", "→"),
    "v": ("", "×"),
    "context": ("", "="),
}
_BEFORE = dict(zip(list(_SIGNS)[1:], _SIGNS, strict=False))


class TensorsByName(Protocol):
    """What `plot_chain` draws: a trace, or anything else that hands out tensors by their names."""

    @property
    def names(self) -> Iterable[str]:
        """The names of its tensors."""

    def __getitem__(self, name: str, /) -> Tensor:
        """Return the tensor of that name."""


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
        Whether to write the numbers into the cells. In one row, every map carries the labels of its rows then.
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
    order, known = _in_order(tensors, names)
    if axes is not None and len(axes) != len(order):
        raise ValueError(f"plot_chain: axes must be {len(order)}, for {', '.join(order)}; got {len(axes)}.")
    labels = {
        "query": tokens if query_tokens is None else query_tokens,
        "key": tokens if key_tokens is None else key_tokens,
    }
    mask = tensors["mask"] if mask is None and "mask" in known else mask

    arrays: dict[str, np.ndarray] = {}
    titles: dict[str, str] = {}
    blocked: dict[str, np.ndarray] = {}
    for name in order:
        arrays[name], titles[name] = matrix_of(f"plot_chain: {name}", name, tensors[name], index)
        blocked[name] = _blocked(name, tensors[name], arrays[name], _pick_mask(mask, index))
        for kind, length in zip(KINDS.get(name, ()), arrays[name].shape, strict=False):
            check_tokens(f"plot_chain: {name}", kind, labels.get(kind), length)

    handles = legend_handles(arrays, list(arrays.values()), list(blocked.values()))
    new, firsts = axes is None, set(order)
    if axes is None:
        axes, firsts = _chain_axes(arrays, labels, values, _is_scaled(arrays, blocked), bool(handles))
    for name, ax in zip(order, axes, strict=True):
        image = _draw_link(ax, arrays[name], name, blocked[name], labels)
        if KINDS.get(name, ("", ""))[0] == "query" and name not in firsts:
            ax.set_yticks([])  # the first of the row has the same labels
        ax.set_title(titles[name], fontsize=TITLE_SIZE, pad=17)
        if values:
            write_values(ax, image, blocked[name])
    figure = figure_of(axes[0])
    if new:
        legend_below(figure, handles)
    return figure


def _in_order(tensors: TensorsByName | Mapping[str, Tensor], names: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names to draw, those of the chain first and in its order, and all names that there are."""
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    known = list(dict.fromkeys(tensors if isinstance(tensors, Mapping) else tensors.names))
    if not names:
        raise ValueError(f"plot_chain: names must name at least one tensor; there are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise ValueError(
                f"plot_chain: there is no tensor named {name!r}, only {', '.join(known)}; choose by names=."
            )
    return [name for name in _SIGNS if name in names] + [name for name in names if name not in _SIGNS], known


def _blocked(name: str, x: Tensor, array: np.ndarray, mask: Tensor | None) -> np.ndarray:
    """Return which cells of a tensor a mask blocks, or has filled."""
    blocked = blocked_cells("plot_chain", mask if name in ("scores", "weights") else None, array.shape)
    return blocked | filled_cells(array, x) if name == "scores" else blocked


def _draw_link(
    ax: Axes, array: np.ndarray, name: str, blocked: np.ndarray, labels: Mapping[str, Sequence[str] | None]
) -> AxesImage:
    """Draw one tensor of the chain, with its labels, its scale and a frame in its colour."""
    rows, columns = KINDS.get(name, ("", ""))
    image = draw_map(ax, array, name, blocked, aspect="auto")
    height, width = cell_size(ax, array.shape)
    label_rows(ax, rows, labels.get(rows), array.shape[0], height, numbers=False)
    label_columns(ax, columns, labels.get(columns), array.shape[1], width, numbers=False, top=False)
    _scale_above(ax, image, height * array.shape[0])
    ax.set_label(name)
    for spine in ax.spines.values():
        spine.set(color=COLORS.get(name, INK), linewidth=2)
    return image


def _pick_mask(mask: Tensor | None, index: tuple[int, ...]) -> Tensor | None:
    """Return the mask of the matrix that is drawn: its leading dimensions are the last of the weights'."""
    if mask is None:
        return None
    check_mask_dtype("plot_chain", mask)
    while mask.ndim > 2:
        position = len(index) - (mask.ndim - 2)
        mask = mask[index[position] if mask.shape[0] > 1 and position >= 0 else 0]
    return mask


def _is_scaled(arrays: dict[str, np.ndarray], blocked: dict[str, np.ndarray]) -> bool:
    """Return whether the scores are q times k, divided by the square root of d_k: the picture claims nothing unseen."""
    if not {"q", "k", "scores"} <= set(arrays):
        return False
    q, k, scores = arrays["q"], arrays["k"], arrays["scores"]
    if q.shape[1] != k.shape[0] or scores.shape != (q.shape[0], k.shape[1]):
        return False
    with np.errstate(all="ignore"):  # there may be NaN
        error = np.abs(q @ k / math.sqrt(q.shape[1]) - scores)[~blocked["scores"]]
    rounding = TOLERANCES[torch.float16]
    return bool(np.all(error <= rounding * largest_magnitude(scores, blocked["scores"])))


def _chain_axes(
    arrays: dict[str, np.ndarray],
    labels: dict[str, Sequence[str] | None],
    values: bool,
    scaled: bool,
    legend: bool,
) -> tuple[list[Axes], set[str]]:
    """Return axes for the chain, with the signs between them, and the names whose rows are labelled.

    They are placed by hand, in inches: then all cells have one size, and what is multiplied fits together.
    """
    kinds = {name: KINDS.get(name, ("", "")) for name in arrays}
    sizes = {name: dict(zip(kinds[name], array.shape, strict=True)) for name, array in arrays.items()}
    count = max((n for size in sizes.values() for kind, n in size.items() if kind in labels), default=0)
    count = count or max(max(array.shape) for array in arrays.values())
    extents = {name: extents_in_cells(array.shape, kinds[name], count) for name, array in arrays.items()}

    names = list(arrays)
    rows, before, widths, cell = _rows_of(names, kinds, extents, labels, values, count)
    above, below, gap = 0.68, 0.35 + upright_length(labels["key"], cell), 0.05
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
                word, mark = _SIGNS[name]
                tokens = _width_of_tokens(kinds[name][0], labels, labelled=j == 0 or (values and len(rows) == 1))
                x -= 0.35 + tokens + _sign_width(name) / 2 - 0.05
                figure.text(x / width, middle / height, mark, ha="center", va="center", fontsize=18, color=INK)
                if word and (name != "scores" or scaled):
                    figure.text(x / width, (middle + 0.15) / height, word, ha="center", fontsize=LABEL_SIZE, color=INK)
            left += cell * widths[j]
        top -= above + row_height + below + gap
    return axes, {*names} if values and len(rows) == 1 else {row[0] for row in rows}


class _Rows(NamedTuple):
    """The names of each row; of each column the inches to the left of its maps and its width in cells; and a cell."""

    rows: list[list[str]]
    before: list[float]
    widths: list[float]
    cell: float


def _rows_of(
    names: list[str],
    kinds: dict[str, tuple[str, str]],
    extents: dict[str, list[float]],
    labels: dict[str, Sequence[str] | None],
    values: bool,
    count: int,
) -> _Rows:
    """Put the maps into one row if that is legible, or else into two; ``count`` cells are the longest axis."""
    for length in (len(names), math.ceil(len(names) / 2)):
        rows = [names[i : i + length] for i in range(0, len(names), length)]
        columns = [[row[j] for row in rows if j < len(row)] for j in range(length)]
        before = []
        for j, column in enumerate(columns):
            own = j == 0 or (values and len(rows) == 1)
            tokens = max(_width_of_tokens(kinds[name][0], labels, labelled=own) for name in column)
            before.append(0.35 + tokens + max(0.0 if name == names[0] else _sign_width(name) for name in column))
        widths = [max(extents[name][1] for name in column) for column in columns]
        cell = min((PAGE_WIDTH - 0.15 - sum(before)) / sum(widths), 0.6 if values else 0.4)
        no_tokens = labels == {"query": None, "key": None}
        smallest = 0.5 if values else 0.0 if no_tokens else 1.4 * LINE_HEIGHT  # digits want as much room as they get
        if cell * count >= 0.85 and cell >= smallest:
            break
    return _Rows(rows, before, widths, cell)


def _width_of_tokens(kind: str, labels: dict[str, Sequence[str] | None], *, labelled: bool) -> float:
    """The inches that the labels to the left of a map take: those of queries stand only where a map is labelled."""
    return longest_label(labels.get(kind)) * (labelled or kind == "key")


def _scale_above(ax: Axes, image: AxesImage, height: float) -> None:
    """Draw a small scale between a map of that height in inches and its title, with its ends written beside it."""
    scale = ax.inset_axes((0.32, 1 + 0.07 / height, 0.36, 0.07 / height))
    figure_of(ax).colorbar(image, cax=scale, orientation="horizontal", ticks=[])
    for i, (end, gap, side) in enumerate(zip(image.get_clim(), (-3, 3), ("right", "left"), strict=True)):
        style: dict[str, Any] = {"ha": side, "va": "center", "fontsize": TICK_SIZE}
        scale.annotate(short_number(end or 0.0), (i, 0.45), (gap, 0), "axes fraction", "offset points", **style)


def _sign_width(name: str) -> float:
    word, mark = _SIGNS.get(name, ("", ""))
    return 0.55 if word else 0.3 if mark else 0.1
