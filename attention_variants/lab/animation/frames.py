"""The frames of an animation as data: which cells there are in each, which are lit, and which numbers move.

Nothing here knows pixels: ``paint.py`` paints what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .captions import Event, caption, shape_of
from .operands import Operand

#: How many seconds a frame stands, by what it shows.
SECONDS = {
    "still": 1.2,
    "made": 0.5,
    "end": 2.5,
    "first write": 0.35,
    "write": 0.12,
    "first assign": 0.9,
    "assign": 0.45,  # within a loop
    "moving": 0.07,
    "arrived": 0.9,
    "several steps": 0.35,
}


def assigned_again(name: str, number: int) -> str:
    """Call what a module assigns to a name for the second time "x (2nd)"; the first is called by its name."""
    ending = {2: "nd", 3: "rd"}.get(number, "th")
    return name if number == 1 else f"{name} ({number}{ending})"


@dataclass(frozen=True)
class Panel:
    """A place in the pictures for one tensor, drawn as sheets of rows and columns.

    Attributes
    ----------
    key : str
        The name of the tensor; of a second tensor of that name, with its shape: "q (2, 5, 3)".
    name : str
        The local name.
    shape : tuple of int
        The shape of the tensor, or of what the turns of a loop make together.
    sheets, rows, columns : int
        How it is drawn: leading dimensions are sheets.
    argument : bool
        Whether it came in as an argument.
    operand : Operand, optional
        If the module holds it: what it is there.
    kept_rows, kept_columns : tuple of int, optional
        If it is too large to be drawn whole: which of its rows and columns are.
    whole_numbers : bool
        Whether its numbers are written into its cells.
    turns : int
        How many tensors share it, a sheet for each: the turns of a loop over heads.
    stacked : bool
        Whether the code then makes one tensor of them.
    block : tuple of int, optional
        The shape of each, if a loop over blocks of keys holds one at a time.
    number : int
        Of a name that a module assigns again, which of its assignments is drawn here, from 1.
    then : tuple of int, optional
        The shape that the code gives to the same rows later, in more sheets; they stay where they are.
    drawn : tuple of int, optional
        The shape as which it is drawn, if its rows stand in fewer sheets than it has in the code: those of several
        heads of queries below each other.
    """

    key: str
    name: str
    shape: tuple[int, ...]
    sheets: int
    rows: int
    columns: int
    argument: bool
    operand: Operand | None = None
    kept_rows: tuple[int, ...] | None = None
    kept_columns: tuple[int, ...] | None = None
    whole_numbers: bool = False
    turns: int = 1
    stacked: bool = False
    block: tuple[int, ...] | None = None
    number: int = 1
    then: tuple[int, ...] | None = None
    drawn: tuple[int, ...] | None = None

    @property
    def held(self) -> bool:
        """Whether the module holds it."""
        return self.operand is not None

    @property
    def has_bias(self) -> bool:
        """Whether its last row is a bias."""
        return self.operand is not None and self.operand.has_bias

    @property
    def title(self) -> str:
        """Its name; of a name that a module assigns again, with the number of the assignment."""
        return assigned_again(self.name, self.number)

    @property
    def size(self) -> str:
        """The shape that it has in the code, and how much of it is drawn."""
        return ", ".join(self.sizes)

    @property
    def sizes(self) -> tuple[str, ...]:
        """The same, in lines."""
        if self.turns > 1:
            each = shape_of(self.shape, self.turns)
            return (f"{each}, then {self.shape}" if self.stacked else each,)
        if self.block is not None:
            return (str(self.block),)  # there are never more
        if self.then is not None:
            return (f"{self.shape}, then", str(self.then))
        parts, bias = [], " and a bias" * self.has_bias
        shape = (self.shape[0] - self.has_bias, *self.shape[1:])
        if self.kept_rows is not None:
            parts.append(f"{len(self.kept_rows) - self.has_bias} rows")
        if self.kept_columns is not None:
            parts.append(f"{len(self.kept_columns)} columns")
        return (f"{shape}{bias}", *[f"here {' × '.join(parts)}"] * bool(parts))


@dataclass(frozen=True)
class Cells:
    """What a panel shows in one frame; each array has the shape (sheets, rows, columns).

    Attributes
    ----------
    value : float array
        The numbers of the tensor; where there is none now, the last one, or NaN.
    there : boolean array
        Where there is a number at this moment.
    blocked : boolean array
        Where a mask took the number away, or let none through.
    lit : boolean array
        What the running line reads or writes.
    origin : int array
        For a number that came in as an argument, the index of its element there; -1 for others.
    """

    value: np.ndarray
    there: np.ndarray
    blocked: np.ndarray
    lit: np.ndarray
    origin: np.ndarray


@dataclass(frozen=True)
class Spot:
    """Where some numbers stand: cells of a panel, as (sheet, row, column), the columns in groups or not (0)."""

    key: str
    cells: np.ndarray
    group: int = 0


@dataclass(frozen=True)
class Move:
    """Numbers on their way from one spot to another; ``progress`` runs from 0 to 1."""

    name: str
    start: Spot
    end: Spot
    value: np.ndarray
    origin: np.ndarray
    progress: float


@dataclass(frozen=True)
class Frame:
    """One picture of the animation.

    Attributes
    ----------
    lines : range
        The numbers of the lines of the running statement.
    event : Event
        What happens; ``caption`` says it in a line.
    cells : mapping of str to Cells
        Of each panel that holds something, by its key.
    moves : tuple of Move
        The numbers that are between two panels.
    seconds : float
        How long it stands.
    turn : tuple
        Of a line in a loop: the loop, its turn now, and its first turn.
    steps : int
        How many steps of a loop it stands for.
    """

    lines: range
    event: Event
    cells: Mapping[str, Cells]
    moves: tuple[Move, ...] = ()
    seconds: float = SECONDS["still"]
    turn: tuple[Any, ...] = ()
    steps: int = 1

    @property
    def caption(self) -> str:
        """What happens, in a line."""
        return caption(self.event, self.steps)


@dataclass(frozen=True)
class Storyboard:
    """The frames of a traced call.

    Attributes
    ----------
    name : str
        The name of the function.
    lines : tuple of (int, str)
        The numbers and texts of the lines of its body, without docstring and comments, after its first line.
    panels : mapping of str to Panel
        By their keys, in the order in which they appear.
    frames : tuple of Frame
        At least one.
    limits : mapping of str to float
        By the name of a tensor, the largest magnitude that it ever holds.
    sheets : tuple of str
        What to call the sheets: "head 0", "item 1", "item 1, head 0".
    in_order : bool
        Whether its tensors stand in the order of its lines, with their numbers: those of a module's method, and of a
        function that does not attend.
    key_heads : int
        Where heads of queries share heads of keys: how many of keys there are. A sheet is that of one.
    query_rows : int
        How many rows of such a sheet one head of queries has.
    """

    name: str
    lines: tuple[tuple[int, str], ...]
    panels: Mapping[str, Panel]
    frames: tuple[Frame, ...]
    limits: Mapping[str, float]
    sheets: tuple[str, ...]
    in_order: bool = False
    key_heads: int = 0
    query_rows: int = 0


def thin(frames: Sequence[Frame], most: int) -> list[Frame]:
    """Leave out steps of loops until the frames fit: all of the first turn stay, and of the others their last.

    Parameters
    ----------
    frames : sequence of Frame
    most : int
        How many may be left.

    Returns
    -------
    frames : list of Frame
        Those that stand for several steps light what all of them did, and say how many they were.
    """
    frames = list(frames)
    if len(frames) <= most:
        return frames
    last_of = {frame.turn[:2]: index for index, frame in enumerate(frames) if frame.turn}
    last_of_loop = {frame.turn[0]: index for index, frame in enumerate(frames) if frame.turn}
    keep = [
        not frame.turn or frame.turn[1] == frame.turn[2] or last_of[frame.turn[:2]] == index
        for index, frame in enumerate(frames)
    ]
    if sum(keep) > most:  # then evenly
        steps = [index for index, frame in enumerate(frames) if frame.turn and keep[index]]
        others = sum(keep) - len(steps)
        chosen = {steps[round(i)] for i in np.linspace(0, len(steps) - 1, max(most - others, 1))} if steps else set()
        chosen |= {index for index, frame in enumerate(frames) if frame.turn and index == last_of_loop[frame.turn[0]]}
        keep = [kept and (not frames[index].turn or index in chosen) for index, kept in enumerate(keep)]
    if sum(keep) > most:
        stay = np.flatnonzero(keep)
        chosen = {int(stay[round(i)]) for i in np.linspace(0, len(stay) - 1, most)}
        keep = [index in chosen for index in range(len(frames))]
    thinned: list[Frame] = []
    skipped: list[Frame] = []
    for frame, kept in zip(frames, keep, strict=True):
        if not kept:
            skipped.append(frame)
        elif frame.turn:
            thinned.append(_together(frame, [other for other in skipped if other.lines == frame.lines]))
            skipped = [other for other in skipped if other.lines != frame.lines]
        else:
            thinned.append(frame)
    return thinned


def _together(frame: Frame, before: list[Frame]) -> Frame:
    """Let one frame stand for the steps before it too: what they lit is lit."""
    if not before:
        return frame
    cells = dict(frame.cells)
    for other in before:
        for key, there in other.cells.items():
            if there.lit.any():
                cells[key] = replace(cells[key], lit=cells[key].lit | there.lit)
    steps = frame.steps + sum(other.steps for other in before)
    return replace(frame, cells=cells, seconds=SECONDS["several steps"], steps=steps)
