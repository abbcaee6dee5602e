"""What the heat maps share: colour maps, hatching, labels, scales, and the checks of what is to be drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

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

from attention_variants.variants.checks import check_mask_dtype

from .colors import BLOCKED, COLORS, DIFFERENCE, FRAME, GRID, HATCHING, NOT_A_NUMBER, OPPOSITES, ZERO
from .fonts import family_of

#: What the rows and the columns of each tensor are, as it is drawn, in the order in which attention computes them: k is
#: drawn transposed.
KINDS = {
    "q": ("query", "feature"),
    "k": ("feature", "key"),
    "scores": ("query", "key"),
    "weights": ("query", "key"),
    "v": ("key", "feature"),
    "context": ("query", "feature"),
}

PAGE_WIDTH = 10.0  # inches: a figure as wide as a notebook
TICK_SIZE, LABEL_SIZE, TITLE_SIZE = 8, 9, 10  # points
LINE_HEIGHT, LETTER_WIDTH = 0.115, 0.075  # inches that a tick label takes: its height, and its width by the letter
LEGIBLE = 0.36  # inches: a cell that a number fits into
_HATCH: dict[str, Any] = {"hatch": "////", "edgecolor": HATCHING, "linewidth": 0.0, "zorder": 1.8}
LEGEND_STYLE: dict[str, Any] = {"frameon": False, "fontsize": TICK_SIZE, "handlelength": 1.4, "handleheight": 1.2}
_MOST_GRIDDED = 40  # rows or columns: of more, the lines between the cells would be all that one sees


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
        stops = [*DIFFERENCE]
    elif name == "weights":
        stops = ["white", COLORS[name]]
    elif name in COLORS:
        stops = [OPPOSITES[name], "white", COLORS[name]]
    else:
        raise ValueError(f"colormap: name must be one of {', '.join(COLORS)} and difference; got {name!r}.")
    return LinearSegmentedColormap.from_list(f"attention_{name}", stops).with_extremes(bad=BLOCKED)


def as_array(what: str, x: Tensor) -> np.ndarray:
    """Return a tensor's numbers as float64, whatever its dtype and device, with or without gradients."""
    if x is None:
        raise TypeError(f"{what} must be a tensor; got None. Weights come only with need_weights=True.")
    if not isinstance(x, Tensor):
        raise TypeError(f"{what} must be a torch.Tensor; got {type(x).__name__}.")
    if x.numel() == 0:
        raise ValueError(f"{what} must have something to draw; got the shape {tuple(x.shape)}.")
    return x.detach().to("cpu", torch.float64).numpy()


def matrix_of(what: str, name: str, x: Tensor, index: tuple[int, ...] | None = None) -> tuple[np.ndarray, str]:
    """Return the matrix to draw, of a tensor of that name, and its title; without an index it must be a matrix."""
    array = as_array(what, x)
    leading = max(array.ndim - 2, 0)
    if array.ndim < 2 or (index is None and leading):
        raise ValueError(f"{what} must have two dimensions; got the shape {array.shape}.")
    index = index or ()
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


def blocked_cells(caller: str, mask: Tensor | None, shape: tuple[int, ...]) -> np.ndarray:
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


def filled_cells(scores: np.ndarray, x: Tensor) -> np.ndarray:
    """Return which scores are the -inf, or the lowest finite number, that masking leaves."""
    return scores <= torch.finfo(x.dtype if x.is_floating_point() else torch.float64).min / 2


def check_tokens(what: str, kind: str, tokens: Sequence[str] | None, length: int) -> None:
    """Refuse tokens of which there are more or fewer than queries or keys, whichever ``kind`` says."""
    if tokens is not None and len(tokens) != length:
        plural = {"query": "queries", "key": "keys"}[kind]
        raise ValueError(f"{what} has {length} {plural}, so there must be {length} {kind} tokens; got {len(tokens)}.")


def largest_magnitude(array: np.ndarray, blocked: np.ndarray) -> float:
    """Return the largest magnitude among what is neither blocked nor NaN nor infinite."""
    shown = np.abs(array[~blocked & np.isfinite(array)])
    return float(shown.max(initial=0.0)) or 1.0


def draw_map(
    ax: Axes, array: np.ndarray, name: str, blocked: np.ndarray, *, limit: float | None = None, aspect: Any = "equal"
) -> AxesImage:
    """Draw a matrix in the colours of its name, its blocked cells hatched; signed ones from -limit to limit."""
    limit = largest_magnitude(array, blocked) if limit is None else limit
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
    _patch(ax, ~np.isfinite(array) & ~hidden, facecolor=NOT_A_NUMBER, linewidth=0)
    n_rows, n_columns = array.shape
    if max(array.shape) <= _MOST_GRIDDED:  # thin lines between the cells lead the eye to the labels
        across = [((-0.5, i - 0.5), (n_columns - 0.5, i - 0.5)) for i in range(1, n_rows)]
        down = [((j - 0.5, -0.5), (j - 0.5, n_rows - 0.5)) for j in range(1, n_columns)]
        ax.add_collection(LineCollection([*across, *down], colors=GRID, linewidths=0.4, zorder=1.5), autolim=False)
    for spine in ax.spines.values():
        spine.set(color=FRAME, linewidth=0.8)
    return image


def _patch(ax: Axes, cells: np.ndarray, **style: Any) -> None:
    if cells.any():  # one path for all cells: hatching is slow to draw, and has no seams so
        corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)]
        squares = [Path(np.add(corners, (j, i)), closed=True) for i, j in np.argwhere(cells)]
        ax.add_artist(PathPatch(Path.make_compound_path(*squares), **style))


def _hidden(name: str, array: np.ndarray, blocked: np.ndarray) -> np.ndarray:
    """Say which cells show nothing but that they are blocked: of the scores all, of the weights those that are 0."""
    return blocked & (array == 0) if name in ("weights", "difference") else blocked


def legend_handles(names: Iterable[str], arrays: list[np.ndarray], blocked: list[np.ndarray]) -> list[Patch]:
    """Return what a legend says of the maps: that cells are blocked, that there are NaN; nothing if neither is so."""
    handles = []
    if any(part.any() for part in blocked):
        handles.append(Patch(facecolor=BLOCKED, label="blocked", **_HATCH))
    shown = zip(names, arrays, blocked, strict=True)
    black = [array[~np.isfinite(array) & ~_hidden(name, array, part)] for name, array, part in shown]
    if any(part.size for part in black):
        only_nan = all(np.isnan(part).all() for part in black)
        handles.append(Patch(facecolor=NOT_A_NUMBER, label="NaN" if only_nan else "NaN or infinite"))
    return handles


def legend_below(figure: Figure, handles: list[Patch]) -> None:
    """Put a legend at the foot of a figure, if there is anything to say."""
    if handles:
        loc: Any = "outside lower left" if figure.get_layout_engine() else "lower left"
        figure.legend(handles=handles, loc=loc, ncols=len(handles), **LEGEND_STYLE)


def write_values(ax: Axes, image: AxesImage, blocked: np.ndarray) -> None:
    """Write the numbers into the cells, but for those that are blocked and hold nothing."""
    shown: np.ma.MaskedArray = np.ma.asarray(image.get_array())
    array, hidden = np.ma.getdata(shown), np.ma.getmaskarray(shown)
    hidden = hidden & blocked | blocked & (array == 0)
    for i, j in np.argwhere(~hidden):
        ground = image.cmap(image.norm(array[i, j])) if np.isfinite(array[i, j]) else (0.0, 0.0, 0.0)
        text = "NaN" if np.isnan(array[i, j]) else f"{array[i, j]:.2f}".replace("-0.00", "0.00").replace("-", "−")
        color = ink_on(ground)
        color = ZERO if text == "0.00" and color == "black" else color
        # Inside its cell, a number needs no room of its own: to ask each of hundreds would take as long as to draw it.
        ax.text(j, i, text, ha="center", va="center", fontsize=TICK_SIZE, color=color, in_layout=False)


def ink_on(ground: Sequence[float] | np.ndarray) -> str:
    """Return "white" where white letters have more contrast with the ground, red, green and blue, else "black"."""
    luminance = np.dot(np.power(ground[:3], 2.2), (0.2126, 0.7152, 0.0722))
    return "white" if luminance < 0.179 else "black"


def figure_of(ax: Axes) -> Figure:
    """Return the figure of some axes; of a subfigure, the figure that it is part of."""
    return ax.figure.figure


def cell_size(ax: Axes, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return about how high and wide a cell is, in inches, on axes that are given."""
    box = ax.get_window_extent()
    dpi = figure_of(ax).dpi
    return box.height / dpi / shape[0], box.width / dpi / shape[1]


def longest_label(tokens: Sequence[str] | None) -> float:
    """Return how long the longest label is, in inches."""
    return LETTER_WIDTH * max(map(len, tokens or [""]))


def upright_length(tokens: Sequence[str] | None, cell: float) -> float:
    """Return how much of its length the longest label of a column takes upwards, in inches."""
    return 0.0 if lie_flat(tokens, cell) else longest_label(tokens)


def lie_flat(tokens: Sequence[str] | None, cell: float) -> bool:
    """Return whether the labels of columns of that width find room side by side."""
    return longest_label(tokens) <= cell - 0.05


def tick_texts(tokens: Sequence[str] | None, positions: range) -> list[str]:
    """Return the labels of some positions, "$" and line breaks written out; without tokens their numbers."""
    if tokens is None:
        return [str(i) for i in positions]
    return [str(tokens[i]).replace("$", r"\$").replace("\n", r"\n") for i in positions]  # "$" would begin a formula


def label_rows(ax: Axes, kind: str, tokens: Sequence[str] | None, n: int, cell: float, *, numbers: bool = True) -> None:
    """Label n rows, each ``cell`` inches high, with the tokens or, if ``numbers``, their positions."""
    ax.set_ylabel(kind, fontsize=LABEL_SIZE)
    # More labels than lines fit beside the map: every second, every third...
    positions = range(0, n, math.ceil(LINE_HEIGHT / cell)) if tokens is not None or numbers else range(0)
    texts = tick_texts(tokens, positions)
    ax.set_yticks(positions, labels=texts, fontfamily=family_of(texts))
    ax.tick_params(axis="y", which="major", labelsize=TICK_SIZE, length=2)


def label_columns(
    ax: Axes, kind: str, tokens: Sequence[str] | None, n: int, cell: float, *, numbers: bool = True, top: bool = True
) -> None:
    """Label n columns, each ``cell`` inches wide, above or below the map."""
    ax.set_xlabel(kind, fontsize=LABEL_SIZE)
    ax.xaxis.set_label_position("top" if top else "bottom")
    wide = LETTER_WIDTH * len(str(n)) + 0.05 if tokens is None else LINE_HEIGHT
    positions = range(0, n, math.ceil(wide / cell)) if tokens is not None or numbers else range(0)
    texts = tick_texts(tokens, positions)
    ax.set_xticks(positions, labels=texts, fontfamily=family_of(texts))
    ax.tick_params(
        axis="x",
        which="major",
        labelsize=TICK_SIZE,
        length=2,
        top=top,
        bottom=not top,
        labeltop=top,
        labelbottom=not top,
    )
    if tokens is not None and not lie_flat(tokens, cell):
        if cell >= 1.5 * LINE_HEIGHT:  # labels at 45 degrees stand further apart than upright ones
            ends = "left" if top else "right"
            plt.setp(ax.get_xticklabels(), rotation=45, ha=ends, va="center", rotation_mode="anchor")
            ax.tick_params(axis="x", which="major", pad=5)
        else:
            plt.setp(ax.get_xticklabels(), rotation=90)


def style_colorbar(bar: Any, label: str, ticks: Sequence[float] = ()) -> None:
    """Give a colour bar its label and, in two digits, its ticks."""
    bar.set_label(label, fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TICK_SIZE, length=2)
    bar.outline.set(color=FRAME, linewidth=0.8)
    if ticks:
        bar.set_ticks(ticks, labels=[short_number(tick) for tick in ticks])


def short_number(number: float) -> str:
    """Write a number in two digits, with a proper minus sign."""
    return f"{number:.2g}".replace("-", "−")


def extents_in_cells(shape: tuple[int, ...], kinds: tuple[str, str], count: int) -> list[float]:
    """Return how many cells high and wide to draw a matrix.

    Queries and keys take a cell each; features share the room of about as many, so that a wide tensor fits the page.
    """
    wide = [kind in ("query", "key") for kind in kinds]
    return [n if whole else min(max(n, count / 2), count) for n, whole in zip(shape, wide, strict=True)]
