"""Paint the frames of an animation: the source with the running line lit on the left, the tensors on the right.

Painted with Pillow, in whole pixels: a frame takes a few milliseconds, and flat colours make small files.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from attention_variants.lab.plots.axes import colormap
from attention_variants.lab.plots.colors import (
    BACKGROUND,
    BLOCKED,
    COLORS,
    DARK_TOKENS,
    EMPTY,
    HATCHING,
    INK,
    KEY_HEADS,
    LINE_BAR,
    LINE_NOW,
    NOT_A_NUMBER,
    OPEN,
    QUIET,
    RULE,
    TOKENS,
)
from attention_variants.lab.plots.fonts import font, length

from .flow_layout import FlowLayout
from .frames import Cells, Frame, Move, Panel, Spot, Storyboard
from .layout import BAR, LINE, SMALL, SMALL_LINE, TITLE, Box, Layout

#: What some tensors are drawn like: the colours of what they are a part of, or become.
_LIKE = {
    "self_weights": "weights",
    "cross_weights": "weights",
    "exp": "weights",
    "running_sum": "weights",
    "running_max": "scores",
    "new_max": "scores",
}
#: How many shades the numbers of one tensor have: those of all tensors fit into one palette. Odd, so that 0 is white.
_SHADES = 27
_CODE = 11  # pixels: the size of the letters of code
_CODE_LETTERS = 58  # of a line of code; the rest goes to the next line
_HIGHEST = 500  # pixels
#: The row that is followed.
FOLLOWED = COLORS["q"]
_FIRST_LINE = 12  # pixels: where the code begins, below the upper edge
#: What is left white to the sides of the tensors where they stand alone, in pixels.
_MARGIN = 6
#: The height of the foot in which the caption stands, in pixels.
CAPTION = 30


class Painter:
    """Paints the frames of one storyboard, whose layout is found once.

    Parameters
    ----------
    board : Storyboard
        What to paint.
    width : int, default 960
        The width of the pictures in pixels; the height is what is needed.
    code : bool, default True
        Whether the source stands beside the tensors; if not, the running line stands above them.
    title : str, default ""
        A heading, in place of the function's name, where the source is left out.
    tokens : (sequence of str or None, sequence of str or None)
        The words of the queries and of the keys; by default they are numbered.
    by_token : bool, default False
        Whether numbers are coloured by the row in which they came in, rather than by their size.
    follow : int, optional
        Which row to mark in every tensor that has as many rows as what came in first.
    values : bool, default False
        Whether to write the numbers into the cells where they fit, of a board whose tensors do not stand in order too.
    scale : int, default 1
        Pixels for each pixel: 2 for screens that have twice as many.
    """

    def __init__(
        self,
        board: Storyboard,
        *,
        width: int = 960,
        code: bool = True,
        title: str = "",
        tokens: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
        by_token: bool = False,
        follow: int | None = None,
        values: bool = False,
        scale: int = 1,
    ) -> None:
        self.follow, self.values = follow, values
        self.board, self.scale, self.tokens, self.by_token = board, scale, tokens, by_token
        self.code = code and bool(board.lines)
        self.title = title or board.name
        self.maps = {name: _colours(name, board.limits[name]) for name in board.limits}
        self.lines = [(number, part) for number, text in board.lines for part in _wrap(text)]
        letters = max((len(text) for _, text in self.lines), default=0)
        self.left = round(letters * length("Mono", _CODE, "m")) + 38 if self.code else 8
        self.width = width
        self.layout = (FlowLayout if board.in_order else Layout)(
            board, (self.left, 8 if self.code else 58), width - 8, _HIGHEST, tokens
        )
        self.boxes = self.layout.boxes
        self.height = max(round(self.layout.bottom) + 4, len(self.lines) * LINE * self.code + 24) + CAPTION
        self.decimals = self._all_decimals()
        self.still = self._still()

    # What is painted once

    def _still(self) -> Image.Image:
        image = Image.new("RGB", (self.width * self.scale, self.height * self.scale), BACKGROUND)
        pen = _Pen(image, self.scale)
        if self.code:
            for position, (_, text) in enumerate(self.lines):
                self._code_line(pen, position, text)
            pen.line((self.left - 12, 8, self.left - 12, self.height - 34), RULE)
        else:
            pen.text((8, 8), self.title, "Sans-Bold", 13)
        for key, corner in self.layout.titles.items():
            self._title(pen, self.board.panels[key], corner)
        for sheet, (x, y, text) in enumerate(self.layout.groups):
            pen.text((x, y), text, "Sans-Bold", _CODE, self._of_key_head(sheet) or QUIET)
        for key, boxes in self.boxes.items():
            panel = self.board.panels[key]
            for sheet, box in enumerate(boxes):
                x, y, _, _ = box.cell(0, 0)
                _, _, right, bottom = box.cell(panel.rows - 1, panel.columns - 1)
                pen.fill((x, y, right, bottom), EMPTY)
                colour = self._of_key_head(sheet) if len(boxes) > 1 else None
                pen.outline((x - 1, y - 1, right, bottom), colour or RULE, 2 if colour else 1)
                self._bars(pen, panel, box)
                if panel.kept_columns is not None:
                    pen.text((right + 2, (y + bottom) / 2), "…", "Sans", SMALL, QUIET, anchor="lm")
            self._labels(pen, panel, boxes)
        return image

    def _of_key_head(self, sheet: int) -> str | None:
        """The colour of the head of keys that a sheet is of, where heads of queries share them."""
        heads = self.board.key_heads
        return KEY_HEADS[sheet % heads % len(KEY_HEADS)] if heads else None

    def _bars(self, pen: _Pen, panel: Panel, box: Box) -> None:
        """Say by bars below the columns, before they are split and after they are merged, to which head they belong."""
        heads = self.board.key_heads
        if not heads or panel.sheets > 1 or panel.columns % heads or panel.name not in ("q", "k", "v", "context"):
            return
        each = panel.columns // heads
        for head in range(heads):
            x, _, _, _ = box.cell(0, head * each)
            _, _, right, bottom = box.cell(panel.rows - 1, (head + 1) * each - 1)
            pen.fill((x, bottom + 3, right - 1, bottom + 3 + BAR), self._of_key_head(head) or RULE)

    def _title(self, pen: _Pen, panel: Panel, corner: tuple[float, float]) -> None:
        """The name of a panel after a spot of its colour, and its shape as it is drawn."""
        lines, sizes = self.layout.title(panel), panel.sizes
        if self.layout.is_transposed(panel):
            sizes = replace(panel, shape=(*panel.shape[:-2], panel.shape[-1], panel.shape[-2])).sizes
        x, y = corner
        # The shape stands right above the panel.
        y += LINE * (self.layout.title_lines - len(lines)) + SMALL_LINE * (self.layout.size_lines - len(sizes))
        pen.fill((x, y + 3, x + 9, y + 12), COLORS.get(_LIKE.get(panel.name, panel.name), HATCHING))
        for line in lines:
            pen.text((x + 13, y), line, "Sans-Bold", TITLE)
            y += LINE
        for size in sizes:
            pen.text((x, y), size, "Sans", SMALL, QUIET)
            y += SMALL_LINE

    def _labels(self, pen: _Pen, panel: Panel, boxes: list[Box]) -> None:
        """The words of the queries beside q, or else beside what stands first, and those of the keys above k."""
        if self.layout.is_transposed(panel):
            for row, text in enumerate(self.layout.labels("key", panel.rows)):
                x, y, right, _ = boxes[0].cell(row, 0)
                if self.tokens[1] is None or self.layout.short_keys:
                    pen.text(((x + right) / 2, y - 3), text, "Sans", SMALL, QUIET, anchor="mb")
                else:
                    pen.upright(((x + right) / 2, y - 3), text, "Sans", SMALL, QUIET)
            return
        if isinstance(self.layout, FlowLayout):
            self._row_words(pen, boxes, self.layout.words.get(panel.key, ()))
            for column, text in enumerate(self.layout.column_words(panel)):
                x, _, right, bottom = boxes[-1].cell(panel.rows - 1, column)
                pen.text(((x + right) / 2, bottom + 5), text, "Sans", SMALL, QUIET, anchor="mt")  # below a frame
            return
        has_q = any(other.name == "q" for other in self.board.panels.values())
        leftmost = min(box.x for boxes in self.boxes.values() for box in boxes)
        if panel.name == "q" or (not has_q and boxes[0].x == leftmost):
            for box, words in zip(boxes, self.layout.words_of_rows(panel), strict=True):
                self._row_words(pen, [box], words)

    @staticmethod
    def _row_words(pen: _Pen, boxes: list[Box], words: Sequence[str]) -> None:
        for box in boxes:
            for row, text in enumerate(words):
                _, top, _, bottom = box.cell(row, 0)
                pen.text((box.x - 5, (top + bottom) / 2), text, "Sans", SMALL, QUIET, anchor="rm")

    def _code_line(self, pen: _Pen, position: int, text: str, *, lit: bool = False) -> None:
        y = _FIRST_LINE + position * LINE
        if lit:
            pen.fill((4, y - 1, self.left - 14, y + LINE - 1), LINE_NOW)
            pen.fill((4, y - 1, 7, y + LINE - 1), LINE_BAR)
        pen.text((12, y), text, "Mono", _CODE)

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
        lines = self._lines_that_run(frame)
        if self.code:
            for position, text in lines:
                self._code_line(pen, position, text, lit=True)
        elif lines:
            pen.fill((8, 28, self.width - 8, 46), LINE_NOW)
            text = " ".join(text.strip() for _, text in lines)
            pen.text((12, 30), _cut(text, self.width - 24), "Mono", _CODE)
        leaving = {move.start.key for move in frame.moves}
        for key, cells in frame.cells.items():
            self._cells(pen, self.board.panels[key], cells, left=key not in leaving)
        for move in frame.moves:
            self._moving(pen, move)
        for key, corner in self.layout.titles.items() if frame.moves else ():  # names stay above what passes
            self._title(pen, self.board.panels[key], corner)
        pen.text((self.left, self.height - 24), _cut(frame.caption, self.width - self.left - 8), "Mono", _CODE)
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
        return self._shades(panel.name, cells.value, cells.origin)

    @property
    def parts(self) -> list[tuple[int, int, int, int]]:
        """The code and the tensors, each as x, y, width and height: on a phone one stands below the other.

        The caption is in neither: it would be too small there, and the player writes it out.
        """
        height = round(self.layout.bottom) + 4  # with the frames of the lowest panels
        parts = [(0, 0, self.width, height)]
        if self.code:
            rule = self.left - 12
            drawn = self.still.crop(((rule + 2) * self.scale, 0, self.still.width, height * self.scale))
            left, _, right, _ = ImageOps.invert(drawn).getbbox() or (0, 0, drawn.width, 0)
            left, right = left // self.scale - _MARGIN, right // self.scale + 1 + _MARGIN  # white would make it small
            left, right = max(rule + 2 + left, rule + 2), min(rule + 2 + right, self.width)
            parts = [(0, _FIRST_LINE - 1, rule - 1, len(self.lines) * LINE), (left, 0, right - left, height)]
        return [(x * self.scale, y * self.scale, w * self.scale, h * self.scale) for x, y, w, h in parts]

    def running(self, frame: Frame) -> tuple[int, int]:
        """Which lines of the code run, as it is painted.

        Parameters
        ----------
        frame : Frame
            One of the storyboard's.

        Returns
        -------
        first, end : int
            Counted from 0, a line that goes on below as two; both 0 where none runs.
        """
        lines = self._lines_that_run(frame)
        return (lines[0][0], lines[-1][0] + 1) if lines else (0, 0)

    def _lines_that_run(self, frame: Frame) -> list[tuple[int, str]]:
        """Of the code as it is painted, with the place of each line."""
        return [(at, text) for at, (number, text) in enumerate(self.lines) if number in frame.lines]

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """Every colour that is painted, and steps between letters and their ground."""
        flat = [RULE, LINE_BAR, HATCHING, OPEN, EMPTY, BLOCKED, NOT_A_NUMBER, *COLORS.values()]
        flat += [self._of_key_head(head) or RULE for head in range(self.board.key_heads)]
        letters = [
            tuple(round(a + (b - a) * step / steps) for a, b in zip(_rgb(ground), _rgb(INK), strict=True))
            for ground, steps in ((BACKGROUND, 23), (LINE_NOW, 9))
            for step in range(steps + 1)
        ]
        tables = [table for table, *_ in self.maps.values()] + [_token_colours()] * self.by_token
        shades = [tuple(colour) for table in tables for colour in table.tolist()]
        return list(dict.fromkeys([*letters, *map(_rgb, flat), *shades]))

    def _shades(self, name: str, value: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """The colours of numbers: by their size, or by the row in which they came in."""
        rgb = _look_up(self.maps[name], value)
        if self.by_token:
            came_in = origin >= 0
            rows = origin[came_in] // self._argument_width(name)
            rgb[came_in] = _token_colours()[rows % len(TOKENS)]
        return rgb

    def _argument_width(self, name: str) -> int:
        return next(panel.columns for panel in self.board.panels.values() if panel.name == name)

    def _cells(self, pen: _Pen, panel: Panel, cells: Cells, *, left: bool) -> None:
        """Paint the cells of a panel; if its numbers have left it, a word says so."""
        colours = self.colours(panel, cells)
        for sheet, box in enumerate(self.boxes[panel.key]):
            seam = 1 if min(box.wide, box.high) >= 5 else 0
            for row, column in np.argwhere(cells.there[sheet]).tolist():
                x, y, right, bottom = box.cell(row, column)
                corners = (x, y, right - seam, bottom - seam)
                if cells.blocked[sheet, row, column]:
                    pen.hatch(corners)
                else:
                    pen.fill(corners, OPEN if panel.whole_numbers else tuple(colours[sheet, row, column].tolist()))
                    if self.decimals[panel.key] is not None and np.isfinite(cells.value[sheet, row, column]):
                        self._number(pen, panel, cells.value[sheet, row, column], colours[sheet, row, column], corners)
                    origin = int(cells.origin[sheet, row, column])
                    if self.by_token and origin >= 0 and min(box.wide, box.high) >= 18:
                        self._letter(pen, panel.name, origin, corners)
            if left and not cells.there[sheet].any() and np.isfinite(cells.value[sheet]).any():
                self._moved(pen, panel, box)
            self._lines_between(pen, panel, sheet)
            for rows, columns in _lit_parts(panel, cells.lit[sheet]):
                x, y, _, _ = box.cell(rows[0], columns[0])
                _, _, right, bottom = box.cell(rows[-1], columns[-1])
                pen.outline((x - 1, y - 1, right, bottom), INK, 2)
            if self.follow is not None and self._is_followed(panel) and cells.there[sheet, self.follow].any():
                x, y, _, _ = box.cell(self.follow, 0)
                _, _, right, bottom = box.cell(self.follow, panel.columns - 1)
                pen.outline((x, y, right, bottom), FOLLOWED, 2)

    def _lines_between(self, pen: _Pen, panel: Panel, sheet: int) -> None:
        """Draw the line before a bias, and those between heads of queries that share keys."""
        box = self.boxes[panel.key][sheet]
        lines = [(row, self._of_key_head(sheet) or INK) for row in self.layout.seams(panel)]
        for row, colour in [*lines, *[(panel.rows - 1, INK)] * panel.has_bias]:
            x, y, _, _ = box.cell(row, 0)
            pen.line((x, y, box.cell(row, panel.columns - 1)[2], y), colour)

    @staticmethod
    def _moved(pen: _Pen, panel: Panel, box: Box) -> None:
        """Say of an empty panel that its numbers have gone on: otherwise it would look like a mistake."""
        x, y, _, _ = box.cell(0, 0)
        _, _, right, bottom = box.cell(panel.rows - 1, panel.columns - 1)
        if right - x > 40:
            pen.text(((x + right) / 2, (y + bottom) / 2), "moved", "Sans", SMALL, QUIET, anchor="mm")
        elif bottom - y > 40:
            pen.upright(((x + right) / 2, (y + bottom) / 2 + 18), "moved", "Sans", SMALL, QUIET)

    def _all_decimals(self) -> dict[str, int | None]:
        """How many decimals there is room for in the cells of each panel: as many in all, so that none looks empty.

        Where there is room for none, whole numbers go without, in all panels that hold no others.
        """
        found = {key: self._decimals(panel) for key, panel in self.board.panels.items()}
        others = [found[key] for key, panel in self.board.panels.items() if not panel.whole_numbers]
        fits = [decimals for decimals in others if decimals is not None]
        fewest = min((d for d in fits if d > 0), default=0) if fits and len(fits) == len(others) else None
        short = fewest is not None and min(fits) < fewest

        def decimals(key: str, panel: Panel) -> int | None:
            if panel.whole_numbers:
                return found[key]
            return 0 if short and _are_whole(self._numbers(panel)) else fewest

        return {key: decimals(key, panel) for key, panel in self.board.panels.items()}

    def _numbers(self, panel: Panel) -> np.ndarray:
        """Every finite number that a panel ever shows, and 0."""
        cells = [frame.cells[panel.key] for frame in self.board.frames if panel.key in frame.cells]
        numbers = np.concatenate([np.zeros(1), *(one.value[one.there & ~one.blocked] for one in cells)])
        return numbers[np.isfinite(numbers)]

    def _decimals(self, panel: Panel) -> int | None:
        """How many decimals there is room for in the cells of a panel, for all it ever holds; None for none."""
        if not (panel.whole_numbers or self.board.in_order or self.values) or self.by_token:
            return None
        finite = self._numbers(panel)
        x, y, right, bottom = self.boxes[panel.key][0].cell(0, 0)
        shorter = (0,) if self.values and _are_whole(finite) else ()
        for decimals in (0,) if panel.whole_numbers else (2, 1, *shorter):
            widest = max(length("Sans", SMALL, _written(number, decimals)) for number in (finite.min(), finite.max()))
            if widest < right - x - 3 and bottom - y > SMALL + 2:
                return decimals
        return None

    def _number(
        self, pen: _Pen, panel: Panel, value: float, colour: np.ndarray, corners: tuple[float, float, float, float]
    ) -> None:
        """Write a number into its cell."""
        x, y, right, bottom = corners
        text = _written(value, self.decimals[panel.key] or 0)
        dark = not panel.whole_numbers and colour @ (0.299, 0.587, 0.114) < 128
        pen.text(((x + right) / 2, (y + bottom) / 2), text, "Sans", SMALL, "white" if dark else INK, anchor="mm")

    def _is_followed(self, panel: Panel) -> bool:
        """Whether it has a row for each row of what came in first."""
        first = next((p for p in self.board.panels.values() if p.argument and len(p.shape) > 1), None)
        if first is None or panel.held or len(panel.shape) < 2 or panel.rows != first.rows:
            return False
        # What came in otherwise, and what is looked at, has other rows, even if as many.
        return panel is first or not (panel.argument or panel.name in ("k", "v"))

    def _moving(self, pen: _Pen, move: Move) -> None:
        starts, ends = self._corners(move.start), self._corners(move.end)
        now = starts + (ends - starts) * move.progress
        name, rgb = move.name, self._shades(move.name, move.value, move.origin)
        for corners, colour, origin in zip(now.tolist(), rgb.tolist(), move.origin.tolist(), strict=True):
            x, y, right, bottom = corners
            pen.fill((x, y, right - 1, bottom - 1), tuple(colour))
            if self.by_token and origin >= 0 and right - x >= 18:
                self._letter(pen, name, origin, (x, y, right - 1, bottom - 1))
        panel = self.board.panels[move.end.key]
        if self.decimals[panel.key] is not None and not self.by_token:
            for corners, value, colour in zip(now.tolist(), move.value.tolist(), rgb, strict=True):
                self._number(pen, panel, value, colour, tuple(corners))
        if self.board.panels[move.start.key].held:  # a row of a table goes over others
            (x, y), (right, bottom) = now[:, :2].min(axis=0), now[:, 2:].max(axis=0)
            pen.outline((x - 1, y - 1, right, bottom), INK)

    def _corners(self, spot: Spot) -> np.ndarray:
        """The corners of the cells of a spot, (n, 4), in pixels."""
        boxes = self.boxes[spot.key]
        corners = []
        for sheet, row, column in spot.cells.tolist():
            box = boxes[sheet]
            gap = 0.45 * self.layout.cell * (column // spot.group) if spot.group else 0.0
            x, y, right, bottom = box.cell(row, column)
            corners.append((x + gap, y, right + gap, bottom))
        return np.array(corners)

    def _letter(self, pen: _Pen, name: str, origin: int, corners: tuple[float, float, float, float]) -> None:
        row, column = divmod(origin, self._argument_width(name))
        x, y, right, bottom = corners
        letter = f"{row}{chr(ord('a') + column % 26)}"
        dark = TOKENS[row % len(TOKENS)] in DARK_TOKENS
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
            self.draw.line((x0, y0, x1, y1), fill=HATCHING, width=self.scale)

    def text(
        self, at: tuple[float, float], text: str, letters: str, size: int, colour: str = INK, anchor: str = "la"
    ) -> None:
        x, y = self._corners(at)
        self.draw.text((x, y), text, font=font(letters, size * self.scale, text), fill=colour, anchor=anchor)

    def upright(self, at: tuple[float, float], text: str, letters: str, size: int, colour: str) -> None:
        """Write upwards from a point."""
        large = font(letters, size * self.scale, text)
        _, top, right, bottom = large.getbbox(text, anchor="ls")
        strip = Image.new("RGB", (round(right) + 2, round(bottom - top) + 2), BACKGROUND)
        ImageDraw.Draw(strip).text((0, 1 - top), text, font=large, fill=colour, anchor="ls")
        strip = strip.transpose(Image.Transpose.ROTATE_90)
        x, y = self._corners(at)
        self.image.paste(strip, (x - strip.width // 2, y - strip.height))


def _colours(name: str, limit: float) -> tuple[np.ndarray, float, float]:
    """The colours for the numbers from a lowest to a highest one, which stand for the first and the last."""
    known = _LIKE.get(name, name)
    if name == "mask":  # what it blocks is hatched
        return np.array([_rgb(OPEN)] * _SHADES, dtype=np.uint8), 0.0, 1.0
    sequential = known == "weights"
    colours = colormap(known if known in COLORS else "difference")(np.linspace(0, 1, _SHADES))[:, :3]
    table = _snapped(255 * colours)
    highest = 1.0 if name.endswith("weights") or name == "exp" else limit or 1.0
    return table, 0.0 if sequential else -highest, highest


def _are_whole(numbers: np.ndarray) -> bool:
    """Whether all are whole numbers."""
    return bool((numbers == np.round(numbers)).all())


def _written(value: float, decimals: int) -> str:
    """A number as it stands in its cell."""
    return f"{round(float(value), decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _lit_parts(panel: Panel, lit: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of what is lit, to be framed together: all of it, but of a table each row by itself."""
    rows, columns = (np.flatnonzero(lit.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    is_table = panel.operand is not None and panel.operand.is_table
    return [(rows[at : at + 1], columns) for at in range(len(rows))] if is_table else [(rows, columns)]


def _token_colours() -> np.ndarray:
    return _snapped(np.array([_rgb(colour) for colour in TOKENS]))


def _snapped(colours: np.ndarray) -> np.ndarray:
    """Take the nearest of the colours that Pillow finds exactly when it looks them up in a palette.

    It goes in steps of 4 in each channel; and the ground must have no neighbour, to stay white.
    """
    near = np.minimum(4 * np.round(np.asarray(colours) / 4), 252).astype(np.uint8)
    near[(near >= 248).all(axis=-1)] = 255
    return near


def _look_up(colours: tuple[np.ndarray, float, float], value: np.ndarray) -> np.ndarray:
    table, low, high = colours
    share = (np.clip(np.nan_to_num(value, nan=low), low, high) - low) / (high - low)
    rgb = table[np.round((_SHADES - 1) * share).astype(int)]
    rgb[~np.isfinite(value)] = 0
    return rgb


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _wrap(text: str) -> list[str]:
    """Break a line of code that is too long at its spaces; what goes on is indented further."""
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text.strip(),
        _CODE_LETTERS,
        initial_indent=indent,
        subsequent_indent=indent + " " * 8,
        break_on_hyphens=False,
        break_long_words=False,
    ) or [""]


def _cut(text: str, room: float) -> str:
    """Cut a line of code to so many pixels."""
    letters = int(room / length("Mono", _CODE, "m"))
    text = text if len(text) <= letters else text.replace("   ", " ")  # a wide gap is what can be spared first
    return text if len(text) <= letters else text[: letters - 1] + "…"
