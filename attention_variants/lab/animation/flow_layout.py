"""Where the tensors of a module's method stand: in the order of its lines, a product under the matrix that makes it."""

from __future__ import annotations

from dataclasses import dataclass

from attention_variants.lab.plots.fonts import length

from .frames import Panel
from .layout import GAP, LABELLED_CELL, LINE, NAME, SEAM, SMALL, SMALL_LINE, Layout

_BETWEEN_ROWS = 14  # pixels


@dataclass(frozen=True)
class _Block:
    """A panel, what stands above it, and the words at its rows."""

    panel: Panel
    words: tuple[str, ...] = ()
    above: Panel | None = None
    above_words: tuple[str, ...] = ()


class FlowLayout(Layout):
    """A layout from left to right that goes on below, like text, where the width ends."""

    @staticmethod
    def limits(height: float) -> list[tuple[float, float]]:
        """A module has many tensors: rather higher than too small for labels."""
        return [(LABELLED_CELL, height), (LABELLED_CELL - 1, 1.25 * height), (3, 1.25 * height)]

    def _arrange(self) -> None:
        panels = list(self.board.panels.values())
        operands = [(panel, panel.operand) for panel in panels if panel.operand is not None]
        computed = [panel for panel in panels if not panel.held and not panel.argument]
        first = {panel.name: panel for panel in reversed(computed)}
        above = {first[o.makes].key: panel for panel, o in operands if o.is_factor and o.makes in first}
        beside = [(panel, o.makes) for panel, o in operands if panel not in above.values()]
        self.over = list(above.values())
        self.title_lines = 1
        self.size_lines = max(len(panel.sizes) for panel in panels)
        order = [panel for panel in panels if panel.argument]
        for panel in computed:
            order += [other for other, makes in beside if first.get(makes) is panel]
            order.append(panel)
        order += [panel for panel, _ in beside if panel not in order]
        self.blocks, spoken = [], set[str]()
        for panel in order:
            words = self.row_words(panel)
            again = not panel.held and words and " ".join(words) in spoken
            spoken.add(" ".join(words))
            over = above.get(panel.key)
            self.blocks.append(_Block(panel, () if again else words, over, self.row_words(over) if over else ()))

    def column_words(self, panel: Panel) -> tuple[str, ...]:
        """What to write below the columns: the words of the numbers of tokens, or of the keys that are looked at."""
        queries, keys = self.tokens
        if panel.whole_numbers:
            found = [tokens for tokens in self.tokens if tokens is not None and len(tokens) == panel.columns]
            words = found[0] if found else ()
        elif panel.name.endswith("weights") and not panel.held:
            arguments = [other for other in self.board.panels.values() if other.argument and len(other.shape) > 1]
            itself = queries if keys is None and len(arguments) == 1 else None  # it looks at what came in
            words = next((w for w in (keys, itself) if w is not None and len(w) == panel.columns), ())
        else:
            return ()
        fit = all(length("Sans", SMALL, word) <= self.cell for word in words)
        return tuple(words) if fit and self.cell >= LABELLED_CELL else ()

    def row_words(self, panel: Panel) -> tuple[str, ...]:
        """What to write beside the rows of a panel: of a table the numbers of its rows, of others the tokens."""
        if panel.operand is not None:
            rows = panel.kept_rows or tuple(range(panel.rows))
            if panel.has_bias:
                return (*[""] * (panel.rows - 1), "bias")
            return tuple(map(str, rows)) if panel.operand.is_table else ()
        for tokens in self.tokens:
            if tokens is not None and len(tokens) == panel.rows:
                return tuple(tokens)
        return ()

    def _place(self, cell: float) -> tuple[float, float]:
        self.cell = cell
        self.boxes, self.titles, self.groups = {}, {}, []
        self.words: dict[str, tuple[str, ...]] = {}
        self.head = LINE + 19.0 + SMALL_LINE * (self.size_lines - 1)
        x, y, right = self.left, self.top, self.left
        row: list[tuple[_Block, float]] = []
        for block in self.blocks:
            wide = max(self._wide(panel) for panel in (block.panel, block.above) if panel)
            every = (*block.words, *block.above_words)
            words = max((length("Sans", SMALL, word) for word in every), default=-5.0) + 5
            if row and x + words + wide > self.right:
                y = self._place_row(row, y) + _BETWEEN_ROWS
                x, row = self.left, []
            row.append((block, x + words))
            x += words + wide + GAP
            right = max(right, x - GAP)
        return right, self._place_row(row, y)

    def _place_row(self, row: list[tuple[_Block, float]], y: float) -> float:
        """Place blocks beside each other, what is computed at one height; return how far down they go."""
        over = max((self.head + self._size(block.above)[1] + SEAM for block, _ in row if block.above), default=0.0)
        bottom = y
        for block, x in row:
            if block.above:
                high = self.head + self._size(block.above)[1] + SEAM
                self._place_sheets(block.above, x, y + over - high)
                self.words[block.above.key] = block.above_words if self.cell >= LABELLED_CELL else ()
            self.words[block.panel.key] = block.words if self.cell >= LABELLED_CELL else ()
            words = SMALL_LINE + 4 if self.column_words(block.panel) else 0
            bottom = max(bottom, self._place_sheets(block.panel, x, y + over) + words)
        return bottom

    def _place_sheets(self, panel: Panel, x: float, y: float) -> float:
        if panel.sheets == 1:
            return super()._place_sheets(panel, x, y)
        self.titles[panel.key] = (x, y)
        high, tops = self._size(panel)[1], []
        y += self.head
        for sheet in range(panel.sheets):
            if len(self.board.sheets) == panel.sheets:
                self.groups.append((x, y, self.board.sheets[sheet]))
                y += NAME
            tops.append(y)
            y += high + SEAM
        self.boxes[panel.key] = [self._box(panel, x, top) for top in tops]
        return y - SEAM

    def _unit(self, panel: Panel) -> float:
        return 1.0
