"""The panels of a figure as pictures of their own: beside each other on a wide page, under each other on a phone."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from attention_variants.lab.web.view import in_base64

#: What the HTML of panels begins with, by which it is known in a notebook.
PANELS = '<div class="av-panels" role="group" aria-label="'

_READABLE = 0.72  # of the size that was drawn; panels that would have to be smaller stand one below the other
_PAD = 0.06  # inches of white around each panel
# In styles of the elements, and no class: JupyterLab takes style sheets from notebooks that it does not trust.
_ROW = "display:flex;flex-wrap:wrap;align-items:flex-start"


class Panels:
    """The panels of a figure, as `panels` returns them: a notebook shows them, and a plain terminal a line.

    Attributes
    ----------
    rows : tuple of tuple of (str, PIL.Image.Image)
        What each panel is called, and its picture, row by row.
    """

    def __init__(self, rows: Sequence[Sequence[tuple[str, Image.Image]]], whole: bytes) -> None:
        self.rows = tuple(map(tuple, rows))
        self._whole = whole

    def __repr__(self) -> str:
        return f"<Panels: {'; '.join(words for row in self.rows for words, _ in row)}>"

    @property
    def html(self) -> str:
        """One element of HTML with all panels in it."""
        words = "; ".join(words for row in self.rows for words, _ in row)
        rows = "\n".join(self._row(row) for row in self.rows)
        return f'{PANELS}{html.escape(words)}" style="background-color:#fff">\n{rows}\n</div>'

    def _row(self, row: Sequence[tuple[str, Image.Image]]) -> str:
        return f'<div style="{_ROW}">\n{self._part(row)}\n</div>'

    def _part(self, row: Sequence[tuple[str, Image.Image]]) -> str:
        """Panels that stand beside each other; of four, two move down at once: 3 + 1 would look like a mistake."""
        if len(row) >= 4 and len(row) % 2 == 0:
            halves = row[: len(row) // 2], row[len(row) // 2 :]
            return "\n".join(f'<div style="{_ROW};{_share(half)}">\n{self._part(half)}\n</div>' for half in halves)
        return "\n".join(
            f'<img src="data:image/webp;base64,{in_base64(picture)}" alt="{html.escape(words)}" '
            f'style="{_share([(words, picture)])}">'
            for words, picture in row
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {
            "text/plain": repr(self),
            "image/png": base64.b64encode(self._whole).decode(),
            "text/html": self.html,
        }


def _share(row: Sequence[tuple[str, Image.Image]]) -> str:
    """The style of what takes its share of a row, never more than it was drawn in, and moves down if that is small."""
    width = sum(picture.width for _, picture in row)
    return f"flex:{width} 1 {_READABLE * width:.0f}px;min-width:0;max-width:min(100%,{width}px)"


def panels(figure: Figure) -> Panels:
    """Cut a figure into its panels, so that they stand under each other on a page that is too narrow for a row.

    Write it as the last line of a cell, in place of ``plt.show()``; where more follows, ``display(av.panels(figure))``.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        With axes beside each other, in a row or in a grid. In any other arrangement, axes of which one stands above
        the other are one panel. It is closed: a notebook would show it once more.

    Returns
    -------
    panels : Panels
        What a notebook shows: HTML, and the whole figure as a PNG for what shows no HTML.

    Raises
    ------
    ValueError
        If the figure has no axes.

    Notes
    -----
    Axes without labels of their rows get those of the first axes of the same height and scale: alone they could not be
    read. A title above all of them, a legend, and a scale that several share, take a row of their own.
    """
    if not figure.axes:
        raise ValueError("panels: the figure has no axes; draw first.")
    whole = _picture(figure, None)  # which lays it out, too
    figure.set_layout_engine("none")  # what is hidden later shall move nothing
    scales = _scales(figure)
    axes = [ax for ax in figure.axes if ax not in scales]
    for ax in axes:
        _give_row_labels(ax, axes)

    rows = _rows(axes)
    groups = [group for row in rows for group in row]
    words = {id(group): _words(group[0], at) for at, group in enumerate(groups, 1)}
    above: list[Any] = []
    below: list[Any] = []
    for part in [*scales, *figure.texts, *figure.legends]:
        owners = [group for group in groups if _belongs(part, group, rows)]
        if len(owners) == 1:
            owners[0].append(part)
        else:
            is_above = _box(part).y0 > max(_box(group[0]).y1 for group in groups)
            kind = "legend" if part in figure.legends else "scale"
            words[id(part)] = part.get_text() if part in figure.texts else kind
            (above if is_above else below).append(part)

    every = [part for group in [*groups, above, below] for part in group]
    seen = [part for part in every if part.get_visible()]
    rows = [*([[part]] for part in above), *rows, *([[part]] for part in below)]
    places = [[Bbox.union([_box(part, whole=True) for part in group if part in seen]) for group in row] for row in rows]
    cut = []
    for row, boxes in zip(rows, places, strict=True):
        low, high = min(box.y0 for box in boxes), max(box.y1 for box in boxes)
        pictures = []
        for group, box in zip(row, boxes, strict=True):
            for part in every:
                part.set_visible(part in group and part in seen)
            picture = _picture(figure, Bbox([[box.x0, low], [box.x1, high]]))
            name = words[id(group if id(group) in words else group[0])]
            pictures.append((name, Image.open(io.BytesIO(picture)).convert("RGB")))
        cut.append(pictures)
    plt.close(figure)
    return Panels(cut, whole)


def _rows(axes: Sequence[Axes]) -> list[list[list[Any]]]:
    """Group axes into panels, row by row: each for itself in a row or a grid, or else those above one another."""
    columns = _apart(axes, "x0", "x1")
    rows = [_apart(row, "x0", "x1") for row in _apart(axes, "y0", "y1")[::-1]]
    is_grid = all(group[0] in column for row in rows for group, column in zip(row, columns, strict=False))
    return rows if is_grid and all(len(group) == 1 for row in rows for group in row) else [columns]


def _apart(axes: Sequence[Axes], low: str, high: str) -> list[list[Any]]:
    """Group axes that overlap from one side to the other, in order."""
    groups: list[list[Any]] = []
    for ax in sorted(axes, key=lambda ax: getattr(_box(ax), low)):
        if groups and getattr(_box(ax), low) < max(getattr(_box(one), high) for one in groups[-1]) - 1:
            groups[-1].append(ax)
        else:
            groups.append([ax])
    return groups


def _scales(figure: Figure) -> list[Axes]:
    """Return the axes of scales; of those inside other axes a figure does not know."""
    maps = [one for ax in figure.axes for one in (*ax.images, *ax.collections)]
    scales = [one.colorbar.ax for one in maps if one.colorbar is not None]
    return [ax for ax in figure.axes if ax in scales or ax.get_label() == "<colorbar>"]  # a map knows its last one


def _belongs(part: Any, group: Sequence[Any], rows: Sequence[Sequence[Sequence[Any]]]) -> bool:
    """Say whether a sign, a scale or a legend is that of one panel: above or below it alone, or beside it.

    A scale is that of the panel on its left, a sign that of the panel to which it leads.
    """
    box = _box(part)
    for row in rows:
        at = next((at for at, one in enumerate(row) if one is group), None)
        if at is None:
            continue
        lefts, rights = ([getattr(_box(one[0]), side) for one in row] for side in ("x0", "x1"))
        is_beside = box.y0 < max(_box(one[0]).y1 for one in row) and box.y1 > min(_box(one[0]).y0 for one in row)
        if not is_beside:
            return lefts[at] - 2 <= box.x0 and box.x1 <= rights[at] + 2
        if isinstance(part, Axes):
            return box.x0 >= rights[at] and (at + 1 == len(row) or box.x1 <= lefts[at + 1])
        return box.x1 <= lefts[at] and (at == 0 or box.x0 >= rights[at - 1])
    return False


def _give_row_labels(ax: Axes, others: Sequence[Axes]) -> None:
    """Label the rows of axes without labels as those of the first axes beside them that have the same rows."""
    if any(label.get_visible() and label.get_text() for label in ax.get_yticklabels()) or not ax.axison:
        return
    box = ax.get_window_extent()
    for other in others:
        beside, labels = other.get_window_extent(), other.get_yticklabels()
        same = abs(beside.y0 - box.y0) < 1 and abs(beside.y1 - box.y1) < 1 and other.get_ylim() == ax.get_ylim()
        if other is ax or not same or not any(label.get_text() for label in labels):
            continue
        if other.get_shared_y_axes().joined(other, ax):
            ax.tick_params(axis="y", labelleft=True, labelsize=labels[0].get_fontsize())
        else:
            ax.set_yticks(other.get_yticks(), labels=[label.get_text() for label in labels])
            ax.tick_params(axis="y", labelsize=labels[0].get_fontsize(), length=2)
            for label, its in zip(ax.get_yticklabels(), labels, strict=True):
                label.set(color=its.get_color(), fontweight=its.get_fontweight())
        ax.set_ylabel(other.get_ylabel(), fontsize=other.yaxis.label.get_fontsize())
        return


def _box(part: Any, *, whole: bool = False) -> Bbox:
    """Where a part of a figure is, in pixels; the whole of some axes is with their labels."""
    if whole and isinstance(part, Axes):
        return part.get_tightbbox() or part.get_window_extent()
    return part.get_window_extent()


def _words(ax: Axes, number: int) -> str:
    """Say what a panel is: by its title, or else by its number."""
    titles = [ax.get_title(loc).replace("\n", ", ") for loc in ("left", "center", "right")]
    return next((title for title in titles if title), f"panel {number}")


def _picture(figure: Figure, box: Bbox | None) -> bytes:
    """Save a figure, or what lies in a box of pixels, as a PNG; without a box all that is drawn, but no empty rim."""
    inches = figure.dpi_scale_trans.inverted()
    where: Any = "tight" if box is None else box.transformed(inches).padded(_PAD)
    drawn, file = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=figure.dpi, bbox_inches=where, facecolor="white")
    Image.open(drawn).convert("RGB").save(file, "PNG", optimize=box is None)  # without transparency a tenth less
    return file.getvalue()
