"""Paint the frames of an animation: the source with the running line lit on the left, the tensors on the right.

What is multiplied meets: k stands transposed above the scores and q to their left, so that row i of q and column j of k
cross in cell (i, j); v stands above the context, and the weights to its left.

Painted with Pillow, in whole pixels: a frame takes a few milliseconds, and flat colours make small files.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colors import BLOCKED, COLORS, INK
from .plot import colormap
from .storyboard import Cells, Frame, Move, Panel, Spot, Storyboard

#: The letters of matplotlib, which come with it: the same on every machine.
_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"

_GROUND, _RULE, _QUIET, _MARK, _BAR = "#FFFFFF", "#D9D9D9", "#6A6A6A", "#FFF1B8", "#B35806"
_HATCH = "#9C9C9C"
_OPEN = "#CFE0EC"  # where a mask lets through
#: One for each token, where tokens are coloured: Okabe and Ito's again, the yellow left out, and two greys.
_TOKENS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#B8B8B8", "#666666")

#: What some tensors are drawn like: the colours of what they are a part of, or become.
_LIKE = {"exp": "weights", "running_sum": "weights", "running_max": "scores", "new_max": "scores"}
#: The order of the tensors from left to right, and what stands above some of them.
_BELOW = ("q", "scores", "exp", "weights", "running_max", "running_sum", "context")
_ABOVE = {"k": "scores", "mask": "weights", "v": "context", "new_max": "running_max", "correction": "running_sum"}

_LARGEST_CELL = 34  # pixels
_GAP = 14  # pixels between two panels
_TITLE, _SMALL = 12, 10  # pixels: the size of letters
_CODE_LETTERS = 58  # of a line of code; the rest goes to the next line
_LINE = 15  # pixels from line to line


@dataclass(frozen=True)
class _Box:
    """Where a sheet of a panel is painted: its corner, and the width and height of a cell, in pixels."""

    x: float
    y: float
    wide: float
    high: float
    transposed: bool = False

    def cell(self, row: float, column: float) -> tuple[float, float, float, float]:
        """The corners of a cell; ``column`` may lie between two."""
        if self.transposed:
            row, column = column, row
        x, y = self.x + column * self.wide, self.y + row * self.high
        return x, y, x + self.wide, y + self.high


class Stage:
    """Where one storyboard is played: its layout, found once, and the painting of its frames.

    Parameters
    ----------
    board : Storyboard
        What to paint.
    width : int, default 960
        The width of the pictures in pixels; the height is what is needed.
    code : bool, default True
        Whether the source stands beside the tensors; if not, the running line stands above them.
    title : str, optional
        A heading, in place of the function's name, where the source is left out.
    tokens : (sequence of str or None, sequence of str or None)
        The words of the queries and of the keys; by default they are numbered.
    by_token : bool, default False
        Whether numbers are coloured by the row in which they came in, rather than by their size.
    scale : int, default 1
        Pixels for each pixel: 2 for screens that have twice as many.
    """

    def __init__(
        self,
        board: Storyboard,
        *,
        width: int = 960,
        code: bool = True,
        title: str | None = None,
        tokens: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
        by_token: bool = False,
        scale: int = 1,
    ) -> None:
        self.board, self.scale, self.tokens, self.by_token = board, scale, tokens, by_token
        self.code = code and bool(board.lines)
        self.title = title or board.name
        self.maps = {name: _colours(name, board.limits[name]) for name in board.limits}
        self.lines = [(number, part) for number, text in board.lines for part in _wrap(text)]
        letters = max((len(text) for _, text in self.lines), default=0)
        self.left = round(letters * _font("Mono", 11).getlength("m")) + 38 if self.code else 8
        self.top = 8 if self.code else 58
        self.width = width
        self.groups: list[tuple[float, float, str]] = []  # what to call the sheets, and where
        self.boxes, self.titles, bottom = self._layout()
        self.height = max(bottom, len(self.lines) * _LINE * self.code + 24) + 30
        self.still = self._still()

    # Where everything stands

    def _layout(self) -> tuple[dict[str, list[_Box]], dict[str, tuple[float, float]], int]:
        """Find the largest cells with which everything fits."""
        for cell in np.arange(_LARGEST_CELL, 3, -0.5):
            boxes, titles, right, bottom = self._place(float(cell))
            if right <= self.width - 8 and bottom <= 500:
                break
        spare = max(self.width - 8 - right, 0) / 2  # in the middle of what is left
        boxes = {key: [replace(box, x=box.x + spare) for box in sheets] for key, sheets in boxes.items()}
        titles = {key: (x + spare, y) for key, (x, y) in titles.items()}
        self.groups = [(x + spare, y, text) for x, y, text in self.groups]
        return boxes, titles, round(bottom)

    def _place(self, cell: float) -> tuple[dict[str, list[_Box]], dict[str, tuple[float, float]], float, float]:
        """Place every panel with cells of that size; return also how far right and down it goes."""
        self.cell = cell
        first, below, last = self._columns()
        names = {panel.name for column in below for panel in column}
        groups = max((panel.sheets for column in below for panel in column), default=1)
        labelled = max(
            [_font("Sans", _SMALL).getlength(text) for text in self._labels("query", 1)] if cell >= 9 else [0]
        )
        boxes: dict[str, list[_Box]] = {}
        titles: dict[str, tuple[float, float]] = {}
        self.groups = []
        # A panel's title: its name, and its shape below it.
        self._title_lines = max(len(self._title(panel)) for panel in self.board.panels.values())
        head = 19.0 + 15 * self._title_lines

        above = max((self._size(column[1])[1] for column in below if len(column) > 1), default=0.0)
        lower = max((self._size(column[0])[1] for column in below), default=0.0)
        keys = self._key_labels_height() if "k" in names and "scores" in names else 0.0
        upper = head + keys if above else 0.0
        bottom = float(self.top)

        x = self.left + labelled + 6
        y = float(self.top)
        for panel in first:  # what comes in, one below the other
            titles[panel.key] = (x, y)
            boxes[panel.key] = list(self._sheets(panel, x, y + head, 0.4 * cell))
            y = max(y, boxes[panel.key][-1].y + self._size(panel)[1]) + 4
        if first:
            bottom = max(bottom, y)
            x = max(x + self._wide(panel) for panel in first) + _GAP + labelled

        start = float(self.top)
        for group in range(groups):
            y = start
            corner = x
            room = (upper if group == 0 else 8 + keys * (group > 0) * 0) if above else 0.0
            title = head if group == 0 or above else 8.0
            if group and above:
                title = 8.0
            for column in below:
                for panel, at in zip(column, (y + room + above + title, y + room), strict=False):
                    if group >= panel.sheets:
                        continue
                    at = at if panel is column[0] else y + room + above - self._size(panel)[1]
                    boxes.setdefault(panel.key, []).append(self._box(panel, corner, at))
                    if group == 0:
                        titles[panel.key] = (corner, at - head - (keys if panel.name == "k" and keys else 0))
                corner += max(self._wide(panel) for panel in column) + _GAP
            if groups > 1 and above:
                self.groups.append((x, y + room, f"{self.board.sheet} {group}"))
            start = y + room + above + title + lower + 8
        bottom = max(bottom, start)
        if below:
            x = corner
        for panel in last:  # what goes out
            middle = self.top + (start - self.top - self._size(panel)[1] - head) / 2
            titles[panel.key] = (x, middle)
            boxes[panel.key] = list(self._sheets(panel, x, middle + head, 0.4 * cell))
            x += self._wide(panel) + _GAP
        return boxes, titles, x - _GAP, bottom

    def _columns(self) -> tuple[list[Panel], list[list[Panel]], list[Panel]]:
        """What stands at the left, in columns in the middle (each with what is above it), and at the right."""
        by_name: dict[str, list[Panel]] = {}
        for panel in self.board.panels.values():
            by_name.setdefault(panel.name, []).append(panel)
        first = [panels[0] for panels in by_name.values() if len(panels) > 1 and panels[0].argument]
        last = [panels[-1] for panels in by_name.values() if len(panels) > 1 and not panels[0].argument]
        middle = [panel for panels in by_name.values() for panel in panels if panel not in (*first, *last)]
        order = {name: number for number, name in enumerate(_BELOW)}
        lower = {panel.name for panel in middle}
        above = {panel.name: _ABOVE[panel.name] for panel in middle if _ABOVE.get(panel.name) in lower - {panel.name}}
        if "exp" in lower and all(panel.rows == 1 for panel in middle if panel.name == "exp") and "weights" in lower:
            above["exp"] = "weights"  # one row of it at a time, above the row that it becomes
        if "mask" in lower and "weights" not in lower and "exp" in lower:
            above["mask"] = "exp"
        columns = []
        for panel in sorted(middle, key=lambda panel: order.get(panel.name, len(order))):
            if panel.name not in above:
                columns.append([panel, *(other for other in middle if above.get(other.name) == panel.name)][:2])
        placed = [panel for column in columns for panel in column]
        columns += [[panel] for panel in middle if panel not in placed]
        return first, columns, last

    def _transposed(self, panel: Panel) -> bool:
        return panel.name == "k" and any(p is panel for column in self._columns()[1] for p in column[1:])

    def _unit(self, panel: Panel) -> float:
        """The width of a feature, in cells: many features share the room of about as many as there are tokens."""
        features = panel.name in ("q", "k", "v", "context")
        return min(1.0, min(max(panel.rows, 6), 10) / panel.columns) if features else 1.0

    def _size(self, panel: Panel) -> tuple[float, float]:
        """The width and height of one sheet in pixels."""
        wide, high = panel.columns * self._unit(panel) * self.cell, panel.rows * self.cell
        return (high, wide) if self._transposed(panel) else (wide, high)

    def _wide(self, panel: Panel) -> float:
        """The width of a panel or of its title, whichever is wider."""
        name = max(_font("Sans-Bold", _TITLE).getlength(line) for line in self._title(panel)) + 14
        return max(self._size(panel)[0], name, _font("Sans", _SMALL).getlength(str(panel.shape)))

    def _title(self, panel: Panel) -> list[str]:
        """The name of a panel; over a narrow one, a word on each line."""
        name = panel.name + "ᵀ" * self._transposed(panel)
        return name.split("_") if panel.columns == 1 else [name]

    def _box(self, panel: Panel, x: float, y: float) -> _Box:
        wide, high = self._unit(panel) * self.cell, self.cell
        if self._transposed(panel):
            return _Box(x, y, high, wide, transposed=True)
        return _Box(x, y, wide, high)

    def _sheets(self, panel: Panel, x: float, y: float, gap: float) -> Iterator[_Box]:
        for _ in range(panel.sheets):
            yield self._box(panel, x, y)
            y += self._size(panel)[1] + gap

    def _labels(self, kind: str, count: int) -> list[str]:
        tokens = self.tokens[0 if kind == "query" else 1]
        if tokens is not None:
            return [*tokens]
        return [str(number) for number in range(count)]

    def _key_labels_height(self) -> float:
        if self.cell < 9:
            return 0.0
        tokens = self.tokens[1]
        return max(_font("Sans", _SMALL).getlength(text) for text in tokens) + 4 if tokens else 12.0

    # What is painted once

    def _still(self) -> Image.Image:
        image = Image.new("RGB", (self.width * self.scale, self.height * self.scale), _GROUND)
        pen = _Pen(image, self.scale)
        if self.code:
            for position, (_, text) in enumerate(self.lines):
                self._code_line(pen, position, text)
            pen.line((self.left - 12, 8, self.left - 12, self.height - 34), _RULE)
        else:
            pen.text((8, 8), self.title, "Sans-Bold", 13)
        for key, (x, y) in self.titles.items():
            panel = self.board.panels[key]
            swatch = COLORS.get(panel.name) or COLORS.get(_LIKE.get(panel.name, ""), _HATCH)
            lines = self._title(panel)
            y += 15 * (self._title_lines - len(lines))  # its shape stands on the panel
            pen.fill((x, y + 3, x + 9, y + 12), swatch)
            for line in lines:
                pen.text((x + 13, y), line, "Sans-Bold", _TITLE)
                y += 15
            shape = str(panel.shape[::-1] if self._transposed(panel) and len(panel.shape) == 2 else panel.shape)
            pen.text((x, y), shape, "Sans", _SMALL, _QUIET)
        for x, y, text in self.groups:
            pen.text((x, y), text, "Sans-Bold", 11, _QUIET)
        for key, boxes in self.boxes.items():
            panel = self.board.panels[key]
            for box in boxes:
                pen.outline(self._edges(panel, box), _RULE)
            self._label(pen, panel, boxes)
        return image

    def _label(self, pen: _Pen, panel: Panel, boxes: list[_Box]) -> None:
        """Write the words of the queries beside the first panel that has them, and those of the keys above k."""
        leftmost = min(box.x for boxes in self.boxes.values() for box in boxes)
        firsts = [key for key, boxes in self.boxes.items() if self.board.panels[key].name == "q"]
        if self.cell >= 9 and (panel.key in firsts or (not firsts and boxes[0].x == leftmost)):
            kind = "key" if panel.name in ("k", "v") else "query"
            for box in boxes:
                for row, text in zip(range(panel.rows), self._labels(kind, panel.rows), strict=False):
                    _, top, _, bottom = box.cell(row, 0)
                    pen.text((box.x - 5, (top + bottom) / 2), text, "Sans", _SMALL, _QUIET, anchor="rm")
        if self._transposed(panel) and self.cell >= 9:
            box = boxes[0]
            for row, text in zip(range(panel.rows), self._labels("key", panel.rows), strict=False):
                x, top, right, _ = box.cell(row, 0)
                pen.upright(((x + right) / 2, top - 3), text, "Sans", _SMALL, _QUIET, turned=self.tokens[1] is not None)

    def _code_line(self, pen: _Pen, position: int, text: str, *, lit: bool = False) -> None:
        y = 12 + position * _LINE
        if lit:
            pen.fill((4, y - 1, self.left - 14, y + _LINE - 1), _MARK)
            pen.fill((4, y - 1, 7, y + _LINE - 1), _BAR)
        pen.text((12, y), text, "Mono", 11)

    def _edges(self, panel: Panel, box: _Box) -> tuple[float, float, float, float]:
        x, y, _, _ = box.cell(0, 0)
        _, _, right, bottom = box.cell(panel.rows - 1, panel.columns - 1)
        return x - 1, y - 1, right, bottom

    # What is painted for each frame

    def paint(self, frame: Frame) -> Image.Image:
        """Paint a frame.

        Parameters
        ----------
        frame : Frame
            One of the storyboard's.

        Returns
        -------
        image : PIL.Image.Image
            In RGB, ``width`` x ``height`` pixels, times ``scale``.
        """
        image = self.still.copy()
        pen = _Pen(image, self.scale)
        lines = [(at, text) for at, (number, text) in enumerate(self.lines) if number in frame.lines]
        if self.code:
            for position, text in lines:
                self._code_line(pen, position, text, lit=True)
        elif lines:
            pen.fill((8, 28, self.width - 8, 46), _MARK)
            text = " ".join(text.strip() for _, text in lines)
            pen.text((12, 30), _cut(text, int((self.width - 24) / 6.7)), "Mono", 11)
        for key, cells in frame.cells.items():
            self._cells(pen, self.board.panels[key], cells)
        for move in frame.moves:
            self._moving(pen, move)
        room = self.width - self.left - 8
        while frame.caption and _font("Mono", 11).getlength(frame.caption) > room:
            frame = replace(frame, caption=frame.caption[:-2] + "…")
        pen.text((self.left, self.height - 24), frame.caption, "Mono", 11)
        return image

    def colours(self, panel: Panel, cells: Cells) -> np.ndarray:
        """The colour of every cell.

        Parameters
        ----------
        panel : Panel
        cells : Cells

        Returns
        -------
        colours : int array of shape (sheets, rows, columns, 3)
        """
        rgb = _look_up(self.maps[panel.name], cells.value)
        if self.by_token:
            came_in = cells.origin >= 0
            rgb[came_in] = self._token_colours(panel.name, cells.origin[came_in])
        return rgb

    def _token_colours(self, name: str, origin: np.ndarray) -> np.ndarray:
        """The colours of the tokens that numbers came in with."""
        width = self._argument_width(name)
        palette = np.array([_rgb(colour) for colour in _TOKENS])
        return palette[origin // width % len(_TOKENS)]

    def _argument_width(self, name: str) -> int:
        return next(panel.columns for panel in self.board.panels.values() if panel.name == name)

    def _cells(self, pen: _Pen, panel: Panel, cells: Cells) -> None:
        colours = self.colours(panel, cells)
        for sheet, box in enumerate(self.boxes[panel.key]):
            seam = 1 if min(box.wide, box.high) >= 5 else 0
            for row, column in np.argwhere(cells.there[sheet]).tolist():
                x, y, right, bottom = box.cell(row, column)
                corners = (x, y, right - seam, bottom - seam)
                if cells.blocked[sheet, row, column]:
                    pen.hatch(corners)
                else:
                    pen.fill(corners, tuple(colours[sheet, row, column].tolist()))
                    origin = int(cells.origin[sheet, row, column])
                    if self.by_token and origin >= 0 and min(box.wide, box.high) >= 18:
                        self._letter(pen, panel.name, origin, corners)
            if cells.lit[sheet].any():
                rows, columns = (np.flatnonzero(cells.lit[sheet].any(axis=axis)) for axis in (1, 0))
                x, y, _, _ = box.cell(rows[0], columns[0])
                _, _, right, bottom = box.cell(rows[-1], columns[-1])
                pen.outline((x - 1, y - 1, right, bottom), INK, 2)

    def _moving(self, pen: _Pen, move: Move) -> None:
        starts, ends = self._corners(move.start), self._corners(move.end)
        now = starts + (ends - starts) * move.progress
        name = move.name
        rgb = _look_up(self.maps[name], move.value)
        if self.by_token:
            came_in = move.origin >= 0
            rgb[came_in] = self._token_colours(name, move.origin[came_in])
        for corners, colour, origin in zip(now.tolist(), rgb.tolist(), move.origin.tolist(), strict=True):
            x, y, right, bottom = corners
            pen.fill((x, y, right - 1, bottom - 1), tuple(colour))
            if self.by_token and origin >= 0 and right - x >= 18:
                self._letter(pen, name, origin, (x, y, right - 1, bottom - 1))

    def _corners(self, spot: Spot) -> np.ndarray:
        """The corners of the cells of a spot, (n, 4), in pixels."""
        boxes = self.boxes[spot.key]
        corners = []
        for sheet, row, column in spot.cells.tolist():
            box = boxes[sheet]
            gap = 0.45 * self.cell * (column // spot.group) if spot.group else 0.0
            x, y, right, bottom = box.cell(row, column)
            corners.append((x + gap, y, right + gap, bottom))
        return np.array(corners)

    def _letter(self, pen: _Pen, name: str, origin: int, corners: tuple[float, float, float, float]) -> None:
        row, column = divmod(origin, self._argument_width(name))
        x, y, right, bottom = corners
        letter = f"{row}{chr(ord('a') + column % 26)}"
        dark = _TOKENS[row % len(_TOKENS)] in ("#D55E00", "#0072B2", "#666666", "#009E73")
        pen.text(((x + right) / 2, (y + bottom) / 2), letter, "Sans", 10, "white" if dark else "black", anchor="mm")


class _Pen:
    """Draws on an image in pixels that may stand for several."""

    def __init__(self, image: Image.Image, scale: int) -> None:
        self.image, self.scale = image, scale
        self.draw = ImageDraw.Draw(image)

    def _corners(self, corners: Sequence[float]) -> list[int]:
        return [round(number * self.scale) for number in corners]

    def fill(self, corners: Sequence[float], colour: str | tuple[int, ...]) -> None:
        x, y, right, bottom = self._corners(corners)
        self.draw.rectangle((x, y, max(right - 1, x), max(bottom - 1, y)), fill=colour)

    def outline(self, corners: Sequence[float], colour: str, width: int = 1) -> None:
        x, y, right, bottom = self._corners(corners)
        grow = (width - 1) * self.scale
        self.draw.rectangle((x - grow, y - grow, right + grow, bottom + grow), outline=colour, width=width * self.scale)

    def line(self, corners: Sequence[float], colour: str) -> None:
        self.draw.line(self._corners(corners), fill=colour, width=self.scale)

    def hatch(self, corners: Sequence[float]) -> None:
        self.fill(corners, BLOCKED)
        x, y, right, bottom = (number - (index > 1) for index, number in enumerate(self._corners(corners)))
        step = 5 * self.scale
        for shift in range(step, right - x + bottom - y, step):  # from the left or the lower edge up to the right
            x0, y0 = (x, y + shift) if y + shift <= bottom else (x + y + shift - bottom, bottom)
            x1, y1 = (x + shift, y) if x + shift <= right else (right, y + x + shift - right)
            self.draw.line((x0, y0, x1, y1), fill=_HATCH, width=self.scale)

    def text(
        self, at: tuple[float, float], text: str, font: str, size: int, colour: str = INK, anchor: str = "la"
    ) -> None:
        x, y = self._corners(at)
        self.draw.text((x, y), text, font=_font(font, size * self.scale), fill=colour, anchor=anchor)

    def upright(self, at: tuple[float, float], text: str, font: str, size: int, colour: str, *, turned: bool) -> None:
        """Write above a point: upwards if ``turned``."""
        if not turned:
            self.text(at, text, font, size, colour, anchor="mb")
            return
        letters = _font(font, size * self.scale)
        _, top, right, bottom = letters.getbbox(text, anchor="ls")
        strip = Image.new("RGB", (round(right) + 2, round(bottom - top) + 2), _GROUND)
        ImageDraw.Draw(strip).text((0, 1 - top), text, font=letters, fill=colour, anchor="ls")
        strip = strip.transpose(Image.Transpose.ROTATE_90)
        x, y = self._corners(at)
        self.image.paste(strip, (x - strip.width // 2, y - strip.height))


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    file = {"Mono": "DejaVuSansMono.ttf", "Sans": "DejaVuSans.ttf", "Sans-Bold": "DejaVuSans-Bold.ttf"}[name]
    return ImageFont.truetype(str(_FONTS / file), size)


def _colours(name: str, limit: float) -> tuple[np.ndarray, float, float]:
    """256 colours for the numbers from a lowest to a highest one."""
    known = _LIKE.get(name, name)
    if name == "mask":  # what it blocks is hatched
        return np.array([_rgb(_OPEN)] * 256, dtype=np.uint8), 0.0, 1.0
    sequential = known == "weights"
    colours = colormap(known if known in COLORS else "difference")(np.linspace(0, 1, 256))[:, :3]
    table = np.round(255 * colours).astype(np.uint8)
    highest = 1.0 if name in ("weights", "exp") else limit or 1.0
    return table, 0.0 if sequential else -highest, highest


def _look_up(colours: tuple[np.ndarray, float, float], value: np.ndarray) -> np.ndarray:
    table, low, high = colours
    share = (np.nan_to_num(value, nan=low, posinf=high, neginf=low) - low) / (high - low)
    rgb = table[np.clip(np.round(255 * share), 0, 255).astype(int)]
    rgb[~np.isfinite(value)] = 0
    return rgb


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _wrap(text: str) -> list[str]:
    """Break a line of code that is too long; what goes on is indented further."""
    indent = " " * (len(text) - len(text.lstrip()) + 8)
    return textwrap.wrap(text, _CODE_LETTERS, subsequent_indent=indent, drop_whitespace=False) or [""]


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
