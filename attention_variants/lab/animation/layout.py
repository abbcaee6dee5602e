"""Where the tensors of an animation stand: what is multiplied meets.

k stands transposed above the scores and q to their left, so that row i of q and column j of k cross in cell (i, j). v
stands above the context, and the weights to its left. What a split takes apart stands at the left, and what a merge
makes at the right. The sheets of a batch, or the heads, stand one below the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attention_variants.lab.plots.fonts import length

from .frames import Panel, Storyboard

#: The order of the tensors from left to right, and what stands above some of them.
_BELOW = ("q", "scores", "exp", "weights", "running_max", "running_sum", "context")
_ABOVE = {"k": "scores", "mask": "weights", "v": "context", "new_max": "running_max", "correction": "running_sum"}
# All lengths are in pixels.
TITLE, SMALL, LINE = 12, 10, 15  # letters of a title, letters of a label, from line to line
SMALL_LINE = 12  # from line to line of small letters
_LARGEST_CELL, LABELLED_CELL = 34, 9  # the largest cells, and the smallest that have labels
GAP, SEAM, NAME = 14, 8, 16  # between two panels, between two sheets, the name of a sheet
BAR = 4  # the height of a bar in the colour of a head of keys


@dataclass(frozen=True)
class Box:
    """Where a sheet of a panel is painted: its corner, and the width and height of a cell."""

    x: float
    y: float
    wide: float
    high: float
    transposed: bool = False

    def cell(self, row: float, column: float) -> tuple[float, float, float, float]:
        """The corners of a cell: left, top, right, bottom."""
        if self.transposed:
            row, column = column, row
        x, y = self.x + column * self.wide, self.y + row * self.high
        return x, y, x + self.wide, y + self.high


class Layout:
    """Where each panel of a storyboard stands, with cells as large as they fit.

    Parameters
    ----------
    board : Storyboard
        Whose panels.
    corner : (float, float)
        The left and the upper edge.
    width, height : float
        How far to the right and down it may go.
    tokens : (sequence of str or None, sequence of str or None)
        The words of the queries and of the keys; by default they are numbered.

    Attributes
    ----------
    boxes : dict of str to list of Box
        By the key of a panel, one for each of its sheets.
    titles : dict of str to (float, float)
        Where the title of each panel begins.
    groups : list of (float, float, str)
        What to call the sheets, and where.
    cell : float
        The side of a cell.
    title_lines, size_lines : int
        How many lines the longest title has, and what is said of a shape.
    bottom : float
        How far down it goes.
    """

    def __init__(
        self,
        board: Storyboard,
        corner: tuple[float, float],
        width: float,
        height: float,
        tokens: tuple[Sequence[str] | None, Sequence[str] | None],
    ) -> None:
        self.boxes: dict[str, list[Box]] = {}
        self.titles: dict[str, tuple[float, float]] = {}
        self.groups: list[tuple[float, float, str]] = []
        self.board, self.tokens = board, tokens
        self.left, self.top = corner
        self.right = width
        self._arrange()
        for smallest, lowest in self.limits(height):
            for cell in np.arange(_LARGEST_CELL, smallest, -0.5).tolist():
                right, self.bottom = self._place(cell)
                if right <= width and self.bottom <= lowest:
                    break
            else:
                continue
            break
        else:
            raise ValueError(
                f"animate: the tensors of {board.name} do not fit into one picture legibly; show some of them by "
                f"names=, or pass fewer heads, tokens or features."
            )
        spare = max(width - right, 0) / 2  # in the middle of what is left
        self.boxes = {key: [replace(box, x=box.x + spare) for box in boxes] for key, boxes in self.boxes.items()}
        self.titles = {key: (x + spare, y) for key, (x, y) in self.titles.items()}
        self.groups = [(x + spare, y, text) for x, y, text in self.groups]

    @staticmethod
    def limits(height: float) -> list[tuple[float, float]]:
        """How small the cells may be, and how far down it may go; what comes first is tried first."""
        return [(3, height)]

    def _arrange(self) -> None:
        """Say what stands at the left, in columns in the middle (each with what is above it), and at the right."""
        by_name: dict[str, list[Panel]] = {}
        for panel in self.board.panels.values():
            by_name.setdefault(panel.name, []).append(panel)
        several = [panels for panels in by_name.values() if len(panels) > 1]
        self.inputs = [panels[0] for panels in several if panels[0].argument]
        self.outputs = [panels[-1] for panels in several if not panels[0].argument]
        middle = [panel for panel in self.board.panels.values() if panel not in (*self.inputs, *self.outputs)]

        names = {panel.name for panel in middle}
        above = {name: _ABOVE[name] for name in names if _ABOVE.get(name) in names}
        if {"exp", "weights"} <= names and all(panel.rows == 1 for panel in middle if panel.name == "exp"):
            above["exp"] = "weights"  # one row at a time, above the row that it becomes
        if {"exp", "mask"} <= names and "weights" not in names:
            above["mask"] = "exp"
        order = {name: number for number, name in enumerate(_BELOW)}
        self.columns: list[list[Panel]] = []
        for panel in sorted(middle, key=lambda panel: order.get(panel.name, len(order))):
            if panel.name not in above:
                self.columns.append([panel, *(p for p in middle if above.get(p.name) == panel.name)][:2])
        placed = [panel for column in self.columns for panel in column]
        self.columns += [[panel] for panel in middle if panel not in placed]
        self.over = [column[1] for column in self.columns if len(column) > 1]
        self.title_lines = max(len(self.title(panel)) for panel in self.board.panels.values())
        self.size_lines = max(len(panel.sizes) for panel in self.board.panels.values())

    # What a panel looks like

    def title(self, panel: Panel) -> list[str]:
        """The name of a panel, in lines: over a narrow one, a word on each."""
        name = panel.title + "ᵀ" * self.is_transposed(panel)
        return name.split("_") if panel.columns == 1 and not panel.held else [name]

    def is_transposed(self, panel: Panel) -> bool:
        """Whether its rows stand upright: k above the scores."""
        return panel.name == "k" and panel in self.over

    def labels(self, kind: str, count: int) -> list[str]:
        """The words of the queries or keys, or else their numbers; none where cells are small."""
        if self.cell < LABELLED_CELL:
            return []
        tokens = self.tokens[0 if kind == "query" else 1]
        return [str(number) for number in range(count)] if tokens is None else [*tokens]

    def words_of_rows(self, panel: Panel) -> list[list[str]]:
        """What stands beside the rows of each sheet: the words of the queries, of each head of them that is there."""
        if not self._is_shared(panel):
            kind = "key" if panel.name in ("k", "v") else "query"
            return [self.labels(kind, panel.rows)[: panel.rows]] * panel.sheets
        words, each = self.labels("query", self.board.query_rows), panel.rows // self.board.query_rows

        def of_head(number: int) -> list[str]:
            head = number % (each * self.board.key_heads)
            return [f"head {head}  {word}" if row == 0 else word for row, word in enumerate(words)]

        numbers = range(panel.sheets * each)
        return [[w for head in numbers[at : at + each] for w in of_head(head)] for at in numbers[::each]]

    def _all_words_of_rows(self) -> list[str]:
        if not self.board.key_heads:
            return self.labels("query", 1)
        queries = [panel for panel in self.board.panels.values() if panel.name == "q"]
        return [word for panel in queries for words in self.words_of_rows(panel) for word in words]

    def seams(self, panel: Panel) -> list[int]:
        """The rows at which another head of queries begins, in a sheet of several."""
        return [*range(self.board.query_rows, panel.rows, self.board.query_rows)] if self._is_shared(panel) else []

    def _is_shared(self, panel: Panel) -> bool:
        """Whether the rows of several heads of queries stand below each other in it."""
        rows = self.board.query_rows
        return bool(rows) and panel.name not in ("k", "v", "mask") and panel.rows > rows and panel.rows % rows == 0

    @property
    def short_keys(self) -> bool:
        """Whether the words of the keys are as narrow as a cell, so that they need not stand upright."""
        tokens = self.tokens[1]
        return tokens is not None and all(length("Sans", SMALL, text) <= self.cell - 2 for text in tokens)

    def _unit(self, panel: Panel) -> float:
        """The width of a feature, in cells: many features share the room of six."""
        return min(1.0, 6 / panel.columns) if panel.name in ("q", "k", "v", "context") else 1.0

    def _box(self, panel: Panel, x: float, y: float) -> Box:
        wide, high = self._unit(panel) * self.cell, self.cell
        return Box(x, y, high, wide, transposed=True) if self.is_transposed(panel) else Box(x, y, wide, high)

    def _size(self, panel: Panel) -> tuple[float, float]:
        """The width and height of one sheet."""
        _, _, right, bottom = self._box(panel, 0, 0).cell(panel.rows - 1, panel.columns - 1)
        return right, bottom

    def _wide(self, panel: Panel) -> float:
        """The width of a panel or of its title, whichever is wider."""
        name = max(length("Sans-Bold", TITLE, line) for line in self.title(panel)) + 14
        return max(self._size(panel)[0], name, *(length("Sans", SMALL, line) for line in panel.sizes))

    # Where it stands

    def _place(self, cell: float) -> tuple[float, float]:
        """Place every panel with cells of that size; return how far right and down it goes."""
        self.cell = cell
        self.boxes, self.titles, self.groups = {}, {}, []
        # A title: the name of a panel, and its shape below it.
        self.head = LINE * self.title_lines + SMALL_LINE * self.size_lines + 7.0
        names = self.labels("query", 1), self._all_words_of_rows()
        words, with_heads = (max((length("Sans", SMALL, text) for text in some), default=0.0) for some in names)
        x, end_of_inputs = self._place_inputs(self.left + words + 6, with_heads)
        x, end = self._place_products(x)
        for panel in self.outputs:
            self._place_sheets(panel, x, self.top + (end - self.top - self._size(panel)[1] - self.head) / 2)
            x += self._wide(panel) + GAP
        return x - GAP, max(end_of_inputs, end)

    def _place_inputs(self, x: float, words: float) -> tuple[float, float]:
        """One below the other; return where to go on, and how far down they go."""
        y = self.top
        for panel in self.inputs:
            y = self._place_sheets(panel, x, y) + 4 + 2 * BAR * bool(self.board.key_heads)
        if self.inputs:
            x += max(self._wide(panel) for panel in self.inputs) + GAP + words
        return x, y

    def _place_sheets(self, panel: Panel, x: float, y: float) -> float:
        """All sheets of a panel, under its title; return how far down they go."""
        self.titles[panel.key] = (x, y)
        high = self._size(panel)[1]
        tops = [y + self.head + sheet * (high + 0.4 * self.cell) for sheet in range(panel.sheets)]
        self.boxes[panel.key] = [self._box(panel, x, top) for top in tops]
        return tops[-1] + high

    def _place_products(self, x: float) -> tuple[float, float]:
        """What is multiplied, sheet by sheet; return where to go on, and how far down they go."""
        if not self.columns:
            return x, self.top
        over = max((self._size(panel)[1] for panel in self.over), default=0.0)
        under = max(self._size(column[0])[1] for column in self.columns)
        keys = self._key_labels()
        sheets = max(panel.sheets for column in self.columns for panel in column)
        y, corner = self.top, x
        for sheet in range(sheets):
            title = self.head if sheet == 0 else SEAM  # only the first sheet has titles
            middle = y  # where what stands above ends
            if self.over:
                middle += title + keys * (sheet == 0) + over
                title += 6 * (sheet == 0)  # air between it and the title below
            if sheets > 1:
                title += NAME * (not self.over)
                name_at = middle - over if self.over else middle + title - NAME
                self.groups.append((x, name_at, self.board.sheets[sheet]))
            corner = x
            for column in self.columns:
                for panel, upper in zip(column, (False, True), strict=False):
                    if sheet < panel.sheets:
                        at = middle - self._size(panel)[1] if upper else middle + title
                        self.boxes.setdefault(panel.key, []).append(self._box(panel, corner, at))
                        above = self.head + keys * self.is_transposed(panel)
                        above += NAME * (sheets > 1 and not self.over)
                        self.titles.setdefault(panel.key, (corner, at - above))
                names = (
                    [length("Sans-Bold", SMALL, name) for name in self.board.sheets]
                    if column is self.columns[0]
                    else []
                )
                corner += max([*map(self._wide, column), *names]) + GAP
            y = middle + title + under + SEAM
        return corner, y

    def _key_labels(self) -> float:
        """How high the words of the keys are, above k."""
        if self.cell < LABELLED_CELL or not any(map(self.is_transposed, self.over)):
            return 0.0
        tokens = self.tokens[1]
        return max(length("Sans", SMALL, text) for text in tokens) + 4 if tokens and not self.short_keys else 12.0
