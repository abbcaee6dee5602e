"""Draw a part of what is too large: the first columns of wide tensors, and of a table the rows that are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .frames import Cells, Frame, Move, Panel, Spot, Storyboard
from .panels import BY_KEY

#: A panel with more columns, or of what a module holds more rows, is drawn in part: so many of them.
WIDEST, KEPT = 16, 8


def crop(board: Storyboard) -> Storyboard:
    """Leave of the panels what can be drawn legibly; each says which of its rows and columns those are.

    Parameters
    ----------
    board : Storyboard
        Of a module's method.

    Returns
    -------
    board : Storyboard
        The same, if nothing in it is too large.
    """
    panels, kept = {}, {}
    for key, panel in board.panels.items():
        rows, columns = _rows(panel, board.frames), _columns(panel)
        if len(rows) == panel.rows and len(columns) == panel.columns:
            panels[key] = panel
            continue
        kept[key] = rows, columns
        panels[key] = replace(
            panel,
            rows=len(rows),
            columns=len(columns),
            kept_rows=tuple(rows) if len(rows) < panel.rows else None,
            kept_columns=tuple(columns) if len(columns) < panel.columns else None,
        )
    if not kept:
        return board
    frames = []
    for frame in board.frames:
        cells = {key: _cropped(one, *kept[key]) if key in kept else one for key, one in frame.cells.items()}
        frames.append(replace(frame, cells=cells, moves=tuple(_moves(frame.moves, kept))))
    return replace(board, panels=panels, frames=tuple(frames))


def _columns(panel: Panel) -> list[int]:
    too_many = panel.columns > WIDEST and panel.name not in BY_KEY
    return list(range(KEPT if too_many else panel.columns))


def _rows(panel: Panel, frames: Sequence[Frame]) -> list[int]:
    """All rows of what came in or was computed; of what a module holds, those that are read, and the first ones."""
    if not panel.held or panel.rows - panel.has_bias <= WIDEST:
        return list(range(panel.rows))
    lit = np.zeros(panel.rows, dtype=bool)
    for frame in frames:
        if panel.key in frame.cells:
            lit |= frame.cells[panel.key].lit.any(axis=(0, 2))
    chosen = np.flatnonzero(lit).tolist() if 0 < lit.sum() <= WIDEST else []
    others = [row for row in range(panel.rows) if row not in chosen]
    last = [panel.rows - 1] * panel.has_bias
    return sorted({*chosen, *others[: max(KEPT - len(chosen), 0)], *last})


def _cropped(cells: Cells, rows: list[int], columns: list[int]) -> Cells:
    arrays = (cells.value, cells.there, cells.blocked, cells.lit, cells.origin)
    return Cells(*(array[:, rows][:, :, columns] for array in arrays))


def _moves(moves: Sequence[Move], kept: dict[str, tuple[list[int], list[int]]]) -> list[Move]:
    """The numbers that are drawn at both ends of their way."""
    cropped = []
    for move in moves:
        (start, seen), (end, arrives) = _spot(move.start, kept), _spot(move.end, kept)
        drawn = seen & arrives
        start, end = (replace(spot, cells=spot.cells[drawn]) for spot in (start, end))
        cropped.append(Move(move.name, start, end, move.value[drawn], move.origin[drawn], move.progress))
    return cropped


def _spot(spot: Spot, kept: dict[str, tuple[list[int], list[int]]]) -> tuple[Spot, np.ndarray]:
    """A spot whose cells are counted as they are drawn, and which of them are."""
    if spot.key not in kept:
        return spot, np.ones(len(spot.cells), dtype=bool)
    cells, drawn = spot.cells.copy(), np.ones(len(spot.cells), dtype=bool)
    for axis, chosen in enumerate(kept[spot.key], start=1):
        place = {number: at for at, number in enumerate(chosen)}
        at = np.array([place.get(number, -1) for number in cells[:, axis].tolist()], dtype=int)
        drawn &= at >= 0
        cells[:, axis] = at
    return replace(spot, cells=cells), drawn
