"""From a trace to the frames of an animation: which cells there are in each, which are lit, and which numbers move.

All of it comes from the trace, and from the source that ran (``running_code.py``). Nothing here knows pixels:
``stage.py`` paints what stands here.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_variants.lab.code.trace import Assignment, Trace

from .source_lines import RunningCode, cells_of, same_numbers

#: The most rows or columns of a panel, and the most sheets of one.
LARGEST, MOST_SHEETS = 40, 6

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
}

#: Numbers that stand for minus infinity are at least so low.
_FAR_BELOW = -1e4
#: Of these, a loop over blocks of keys holds one block at a time: they are drawn in the columns of their keys.
_BY_KEY = ("scores", "exp", "weights")


@dataclass(frozen=True)
class Panel:
    """A place on the stage for one tensor, drawn as sheets of rows and columns.

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
    """

    key: str
    name: str
    shape: tuple[int, ...]
    sheets: int
    rows: int
    columns: int
    argument: bool


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
    caption : str
        What happens, in a line.
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
    caption: str
    cells: Mapping[str, Cells]
    moves: tuple[Move, ...] = ()
    seconds: float = SECONDS["still"]
    turn: tuple[Any, ...] = ()
    steps: int = 1


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
    """

    name: str
    lines: tuple[tuple[int, str], ...]
    panels: Mapping[str, Panel]
    frames: tuple[Frame, ...]
    limits: Mapping[str, float]
    sheets: tuple[str, ...]


def storyboard(
    trace: Trace,
    names: Sequence[str] | None = None,
    *,
    max_frames: int = 120,
    heads: bool | None = None,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
) -> Storyboard:
    """Make the frames of a traced call.

    Parameters
    ----------
    trace : Trace
        What ``trace`` returned.
    names : sequence of str, optional
        The tensors to show; by default all of one dimension or more.
    max_frames : int, default 120
        The most frames. Where a loop has more steps, its first turn is shown step by step, and later frames take
        several steps at once and say so.
    heads : bool, optional
        Whether the last leading dimension is that of heads; by default, if there is a ``num_heads`` above 1.
    query_tokens, key_tokens : sequence of str, optional
        Words for the captions.

    Returns
    -------
    storyboard : Storyboard

    Raises
    ------
    ValueError
        If a name is unknown, nothing is left to show, or a tensor is too large to draw.
    """
    if max_frames < 2:
        raise ValueError(f"animate: max_frames must be at least 2; got {max_frames}.")
    director = _Director(trace, names, (query_tokens, key_tokens))
    director.run(max_frames)
    frames = thin(director.frames, max_frames)
    if heads is None:
        heads = any(step.counters.get("num_heads", 1) != 1 for step in director.assignments)
    leading = max((panel.shape[:-2] for panel in director.panels.values()), key=math.prod)
    return Storyboard(
        trace.name,
        director.code.text(),
        director.panels,
        tuple(frames),
        director.limits(),
        tuple(_sheet_name(index, heads) for index in np.ndindex(*leading)) if leading else (),
    )


@dataclass(frozen=True)
class _Place:
    """Where an assignment is drawn: an index into the cells of a panel."""

    key: str
    sheets: np.ndarray
    columns: slice
    alone: bool = False  # what the panel held before goes

    def put(self, cells: np.ndarray, new: np.ndarray | float | bool) -> None:
        cells[self.sheets, :, self.columns] = new


@dataclass(frozen=True)
class _Journey:
    """The spots that the numbers of a tensor pass, with a caption for each leg of the way."""

    name: str
    spots: list[Spot]
    captions: list[str]
    value: np.ndarray
    origin: np.ndarray


@dataclass
class _State:
    """The cells of a panel as they stand now, changed in place."""

    value: np.ndarray
    there: np.ndarray
    blocked: np.ndarray
    origin: np.ndarray
    shown: Cells | None = None  # the same without light, while nothing changed

    @classmethod
    def empty(cls, panel: Panel) -> _State:
        shape = (panel.sheets, panel.rows, panel.columns)
        no = np.zeros(shape, dtype=bool)
        return cls(np.full(shape, np.nan), no, no.copy(), np.full(shape, -1))

    def cells(self, lit: np.ndarray | None) -> Cells:
        if self.shown is None:
            arrays = (self.value.copy(), self.there.copy(), self.blocked.copy())
            self.shown = Cells(*arrays, np.zeros_like(self.there), self.origin.copy())
        return self.shown if lit is None else replace(self.shown, lit=lit & self.there)


class _Director:
    """Goes through the assignments once and notes a frame for each moment."""

    def __init__(
        self,
        trace: Trace,
        names: Sequence[str] | None,
        tokens: tuple[Sequence[str] | None, Sequence[str] | None],
    ) -> None:
        self.trace, self.tokens = trace, tokens
        self.code = RunningCode(trace)
        self.assignments = [step for step in (*trace, *_returned(trace)) if step.value.ndim and step.value.numel()]
        for step in self.assignments:
            if not _is_plain(step.value):
                raise ValueError(
                    f"animate draws dense tensors of real numbers; {step.name} of {trace.name} is "
                    f"{step.dtype}, {step.value.layout}, on the device {step.value.device}."
                )
        known = list(dict.fromkeys(step.name for step in self.assignments))
        if names is not None:
            for name in names:
                if name not in known:
                    raise ValueError(f"animate: {trace.name} held no tensor named {name!r}, only {', '.join(known)}.")
            self.assignments = [step for step in self.assignments if step.name in names]
        # A mask that blocks nothing has nothing to say.
        open_, closed = set[str](), set[str]()
        for step in self.assignments:
            is_open = step.value.dtype == torch.bool and bool(step.value.all())
            (open_ if is_open else closed).add(step.name)
        self.assignments = [step for step in self.assignments if step.name not in open_ - closed]
        if not self.assignments:
            raise ValueError(f"animate: {trace.name} held no tensor with numbers to draw.")
        self.keys = next((step.shape[-2] for step in trace if step.name == "k" and step.value.ndim > 1), None)
        self.panels: dict[str, Panel] = {}
        self.drawn: dict[str, _Place] = {}  # where each name was drawn last
        self.places = self._places()
        self.states: dict[str, _State] = {}
        self.current: dict[str, _Place] = {}
        self.values: dict[str, Tensor] = {}
        self.frames: list[Frame] = []
        #: Of a loop that does not count: what its turn now has done, and how many turns went before.
        self.came: dict[int, tuple[set[tuple[str, int]], int]] = {}

    def run(self, max_frames: int) -> None:
        moments = list(self._moments())
        moving = sum(self._rearranges(moment) for moment in moments)
        still = min(len(moments), max_frames // 2)
        self.tweens = min(8, max(2, (max_frames - still) // (2 * moving or 1) - 1))
        for moment in moments:
            self._play(moment)
        last = self.trace.last_line
        self._emit(range(last, last + 1), "returned", {}, "end")

    def limits(self) -> dict[str, float]:
        """The largest magnitude of each name over time, what a mask put there left out."""
        limits: dict[str, float] = {}
        for step in self.assignments:
            value = cells_of(step.value)
            finite = np.abs(value[np.isfinite(value) & ~_filled(value, step.value)])
            limits[step.name] = max(limits.get(step.name, 0.0), float(finite.max(initial=0.0)))
        return limits

    # Where each assignment is drawn

    def _places(self) -> list[_Place]:
        at_line = Counter((step.name, step.line) for step in self.assignments if step.kind == "assign")
        self.stacking, turns = self._stacking_loop(at_line)
        seen: Counter[tuple[str, int]] = Counter()
        places = []
        for step in self.assignments:
            shape = tuple(step.shape)
            sheets = np.arange(math.prod(shape[:-2]))
            columns, alone = slice(None), False
            block = self._block(step)
            if step.kind == "assign" and len(shape) > 1 and self._is_stacked(step):
                # The turns of a loop over heads become the sheets that they are stacked to.
                sheets = sheets * turns + seen[step.name, step.line]
                seen[step.name, step.line] += 1
                shape = (*shape[:-2], turns, *shape[-2:])
            elif step.kind == "write" and step.name in self.drawn:
                places.append(self.drawn[step.name])
                continue
            elif block is not None:
                columns, alone = block, True
                shape = (*shape[:-1], self.keys or 0)
            key = self._panel(step, shape)
            place = _Place(key, sheets, columns, alone)
            self.drawn[step.name] = place
            places.append(place)
        return places

    def _stacking_loop(self, at_line: Counter[tuple[str, int]]) -> tuple[tuple[int, int] | None, int]:
        """The lines of a loop whose turns are stacked at the end, and how many they are."""
        for (name, line), turns in at_line.items():
            shapes = {tuple(step.shape) for step in self.assignments if (step.name, step.line) == (name, line)}
            if turns < 2 or len(shapes) != 1:
                continue
            (shape,) = shapes
            stacked = (*shape[:-2], turns, *shape[-2:])
            if len(shape) > 1 and any(step.name == name and tuple(step.shape) == stacked for step in self.assignments):
                for loop in self.code.loops(line):
                    return (loop.lineno, loop.end_lineno or loop.lineno), turns
        return None, 0

    def _block(self, step: Assignment) -> slice | None:
        """The columns of the keys of this moment, if the tensor holds a number for each of them and no others."""
        if step.name not in _BY_KEY or self.keys is None:
            return None
        for counter in step.counters.values():
            if isinstance(counter, slice):
                start, stop, stride = counter.indices(self.keys)
                if stride == 1 and stop - start == step.shape[-1]:
                    return slice(start, stop)
        return None

    def _panel(self, step: Assignment, shape: tuple[int, ...]) -> str:
        for panel in self.panels.values():
            if panel.name == step.name and panel.shape == shape:
                return panel.key
        taken = any(panel.name == step.name for panel in self.panels.values())
        key = f"{step.name} {shape}" if taken else step.name
        sheets, rows, columns = math.prod(shape[:-2]), shape[-2] if len(shape) > 1 else 1, shape[-1]
        if max(rows, columns) > LARGEST or sheets > MOST_SHEETS:
            raise ValueError(
                f"animate: {step.name} of {self.trace.name} has the shape {shape}; at most {LARGEST} rows, {LARGEST} "
                f"columns and {MOST_SHEETS} sheets can be drawn legibly. Pass fewer tokens, features or heads, as in "
                f"q[:6, :8], or one head: example.head(1)."
            )
        self.panels[key] = Panel(key, step.name, shape, sheets, rows, columns, step.kind == "argument")
        return key

    # From moments to frames

    def _moments(self) -> Iterator[list[tuple[Assignment, _Place]]]:
        """Assignments that happened together: the arguments, or the several names of one line."""
        moment: list[tuple[Assignment, _Place]] = []
        for step, place in zip(self.assignments, self.places, strict=True):
            same = moment and moment[-1][0].kind == step.kind == "argument"
            same = same or (moment and moment[-1][0].line == step.line and moment[-1][0].kind == step.kind)
            if moment and (not same or step.name in [other.name for other, _ in moment]):
                yield moment
                moment = []
            moment.append((step, place))
        if moment:
            yield moment

    def _rearranges(self, moment: list[tuple[Assignment, _Place]]) -> bool:
        step, place = moment[0]
        return step.kind == "assign" and any(
            panel.name == step.name and panel.key != place.key for panel in self.panels.values()
        )

    def _play(self, moment: list[tuple[Assignment, _Place]]) -> None:
        first = moment[0][0]
        if first.kind == "argument":
            for step, place in moment:
                self._hold(step, place)
            line = self.code.first
            names = [step.name for step, _ in moment]
            self._emit(range(line, line + 1), f"{_list(names)} come{'s' * (len(names) == 1)} in", {}, "still")
            return
        lines, turn = self._lines(first), self._turn(first)
        lit = self._lit(self.code.read(first, self.values))
        found = [self._journey(step, place) for step, place in moment] if first.kind == "assign" else []
        journeys = {journey.name: journey for journey in found if journey is not None}
        if journeys:
            self._travel(lines, list(journeys.values()))
        self.kept = all([self._hold(step, place, journeys.get(step.name)) for step, place in moment])
        for step, place in moment:
            cells = lit.setdefault(place.key, np.zeros_like(self.states[place.key].there))
            place.put(cells, cells[place.sheets, :, place.columns] | self._written(step))
        kind = "arrived" if journeys else "made" if self._is_blank([step for step, _ in moment]) else "still"
        if turn:
            kind = f"first {first.kind}" if turn[1] == turn[2] else first.kind
        caption = self._caption([step for step, _ in moment], list(journeys))
        self._emit(lines, caption, lit, kind, turn=turn)

    def _lit(self, regions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Regions of tensors as cells of panels."""
        lit: dict[str, np.ndarray] = {}
        for name, region in regions.items():
            place = self.current[name]
            cells = lit.setdefault(place.key, np.zeros_like(self.states[place.key].there))
            place.put(cells, cells[place.sheets, :, place.columns] | region)
        return lit

    def _written(self, step: Assignment) -> np.ndarray | bool:
        """What a line wrote: what changed, and what it names as its target."""
        target = self.code.target(step)
        if step.changed is None:
            return True if target is None else target
        changed = cells_of(step.changed) > 0
        return changed if target is None else changed | target

    def _hold(self, step: Assignment, place: _Place, journey: _Journey | None = None) -> bool:
        """Put the numbers of an assignment into its panel; return whether they stood there already."""
        value = cells_of(step.value)
        state = self.states.setdefault(place.key, _State.empty(self.panels[place.key]))
        old = state.value[place.sheets, :, place.columns]
        kept = bool(state.there[place.sheets, :, place.columns].all()) and np.array_equal(old, value, equal_nan=True)
        if place.alone:
            state.there[:] = False
        blocked = value == 0 if step.value.dtype == torch.bool else _filled(value, step.value)
        if kept:
            blocked = state.blocked[place.sheets, :, place.columns]
        elif step.name == "weights" and "mask" in self.values:
            blocked = blocked | (_blocked_by(self.values["mask"], step.value) & (value == 0))
        origin: np.ndarray | int = -1
        if step.kind == "argument":
            origin = np.arange(value.size).reshape(value.shape)
        elif journey is not None:
            origin = journey.origin.reshape(value.shape)
        elif kept:
            origin = state.origin[place.sheets, :, place.columns]
        place.put(state.value, value)
        place.put(state.there, True)
        place.put(state.blocked, blocked)
        place.put(state.origin, origin)
        state.shown = None
        self.current[step.name], self.values[step.name] = place, step.value
        return kept

    def _emit(
        self,
        lines: range,
        caption: str,
        lit: Mapping[str, np.ndarray],
        kind: str,
        moves: tuple[Move, ...] = (),
        turn: tuple[Any, ...] = (),
    ) -> None:
        cells = {key: state.cells(lit.get(key)) for key, state in self.states.items()}
        self.frames.append(Frame(lines, caption, cells, moves, SECONDS[kind], turn))

    def _lines(self, step: Assignment) -> range:
        statement = self.code.statement(step.line)
        if statement is None or isinstance(statement, ast.For | ast.FunctionDef | ast.While):
            return range(step.line, step.line + 1)
        return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)

    def _turn(self, step: Assignment) -> tuple[Any, ...]:
        """Of a line that runs again and again: the outermost loop, its turn now, and its first turn."""
        loops = self.code.loops(step.line)
        if not loops or step.line == loops[0].lineno or self._is_stacked(step):
            return ()
        loop = loops[0]
        if isinstance(loop, ast.For) and isinstance(loop.target, ast.Name) and loop.target.id in step.counters:
            now = step.counters[loop.target.id]
        else:  # a loop that does not count: what comes again begins another turn
            came, count = self.came.setdefault(loop.lineno, (set(), 0))
            if (step.name, step.line) in came:
                came, count = set(), count + 1
            self.came[loop.lineno] = (came | {(step.name, step.line)}, count)
            now = count
        first = next((f.turn[2] for f in self.frames if f.turn and f.turn[0] == loop.lineno), now)
        return loop.lineno, now, first

    def _is_stacked(self, step: Assignment) -> bool:
        """Whether it stands in the loop whose turns are drawn as sheets."""
        return self.stacking is not None and self.stacking[0] <= step.line <= self.stacking[1]

    def _caption(self, steps: list[Assignment], moved: list[str]) -> str:
        first, names = steps[0], _list(moved or [step.name for step in steps])
        loops, statement = self.code.loops(first.line), self.code.statement(first.line)
        if len(steps) == 1 and loops and isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr):
            code = self.code.with_numbers(statement, first)
            where = self.code.target(first)
            if where is not None and where.sum() == 1:
                code += f" = {cells_of(first.value)[where][0]:.2f}".replace("-", "−")
                code += self._words(where)
            return code
        if moved or self.kept:
            return f"{names}: the same numbers" + ", in another place" * bool(moved)
        filled = _filled(cells_of(first.value), first.value)
        masked = any(self.values[name].dtype == torch.bool for name in self.code.read(first, self.values))
        if filled.all() and not masked:
            return f"{names}: nothing yet, the lowest number there is"
        if filled.any():
            return f"{names}: {int(filled.sum())} of {filled.size} cells are blocked"
        if self._is_blank(steps):
            return f"{names}: {first.value.numel()} zeros, to be filled in"
        changes = [step.value if step.changed is None else step.changed for step in steps]
        count = sum(int(change.sum()) if change.dtype == torch.bool else change.numel() for change in changes)
        return f"{names}: {count} number{'s' * (count > 1)} at once"

    @staticmethod
    def _is_blank(steps: list[Assignment]) -> bool:
        """Whether a line only made room: a new tensor of nothing but zeros."""
        (first, *others) = steps
        return not others and first.kind == "assign" and first.value.numel() > 1 and not first.value.any()

    def _words(self, where: np.ndarray) -> str:
        (_, row, column) = np.argwhere(where)[0]
        queries, keys = self.tokens
        if queries is None or keys is None or row >= len(queries) or column >= len(keys):
            return ""
        return f"   ({queries[row]} → {keys[column]})"

    # Numbers on their way

    def _journey(self, step: Assignment, place: _Place) -> _Journey | None:
        """The way of the numbers, if the tensor is an older one in another order; None if it is not."""
        if step.value.dtype == torch.bool:  # of what is only True or False, nobody can say which went where
            return None
        links = self.code.chain(step, self.values)
        if links is None:
            return self._journey_of_numbers(step, place)
        root, followed = links
        source = self.current[root]
        if source.key == place.key:
            return None
        order = followed[-1][1].flatten().numpy()
        spots = [Spot(source.key, _all_cells(self.panels[source.key], source)[order])]
        captions = []
        for said, indices in followed[:-1]:
            spot = self._between(indices, order, (source, place))
            if spot is not None:
                spots.append(spot)
                captions.append(said)
        spots.append(Spot(place.key, _all_cells(self.panels[place.key], place)))
        return self._set_out(step.name, spots, [*captions, followed[-1][0]])

    def _journey_of_numbers(self, step: Assignment, place: _Place) -> _Journey | None:
        """Another way than by views, such as ``split`` or ``cat``: the numbers are looked for in an older panel."""
        for key, state in self.states.items():
            cells = None
            if self.panels[key].name == step.name and key != place.key:
                cells = _find(cells_of(step.value), state.value, ~state.there)
            if cells is not None:
                spots = [Spot(key, cells), Spot(place.key, _all_cells(self.panels[place.key], place))]
                caption = f"{self.code.line(step.line)}   {self.panels[key].shape} → {tuple(step.shape)}"
                return self._set_out(step.name, spots, [caption])
        return None

    def _between(self, indices: Tensor, order: np.ndarray, ends: tuple[_Place, _Place]) -> Spot | None:
        """Where a view in the middle of a chain is drawn: in rows of one of its ends, the columns in groups."""
        shape = tuple(indices.shape)
        if len(shape) < 3:
            return None
        position = np.empty(indices.numel(), dtype=int)
        position[indices.flatten().numpy()] = np.arange(indices.numel())
        for end in ends:
            panel = self.panels[end.key]
            same_rows = shape[-3] == panel.rows and math.prod(shape[:-2]) == panel.sheets * panel.rows
            if same_rows and shape[-2] * shape[-1] == panel.columns:
                return Spot(end.key, _all_cells(panel, end)[position[order]], group=shape[-1])
        return None

    def _set_out(self, name: str, spots: list[Spot], captions: list[str]) -> _Journey:
        state, cells = self.states[spots[0].key], tuple(spots[0].cells.T)
        return _Journey(name, spots, captions, state.value[cells], state.origin[cells])

    def _travel(self, lines: range, journeys: Sequence[_Journey]) -> None:
        """Emit the frames in which numbers move; those of several tensors move together."""
        for journey in journeys:
            state = self.states[journey.spots[0].key]
            state.there[tuple(journey.spots[0].cells.T)] = False
            state.shown = None
            self.states.setdefault(journey.spots[-1].key, _State.empty(self.panels[journey.spots[-1].key]))
        for leg, caption in enumerate(journeys[0].captions):
            for tween in range(1, self.tweens + 1):
                progress = tween / self.tweens
                smooth = progress * progress * (3 - 2 * progress)  # it sets out and arrives slowly
                moves = tuple(
                    Move(
                        journey.name, journey.spots[leg], journey.spots[leg + 1], journey.value, journey.origin, smooth
                    )
                    for journey in journeys
                    if leg + 1 < len(journey.spots)
                )
                self._emit(lines, caption, {}, "arrived" if tween == self.tweens else "moving", moves)


def _filled(cells: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Where a mask left its mark: minus infinity, the lowest number there is, or one far below all others (-1e9)."""
    if not tensor.is_floating_point():
        return np.zeros(cells.shape, dtype=bool)
    lowest = cells <= torch.finfo(tensor.dtype).min
    if lowest.any() or not np.isfinite(cells).all() or cells.min() > _FAR_BELOW:
        return lowest
    far = cells < cells.min() / 2
    others = np.abs(cells[~far])
    return far if others.size and others.max() < -cells.min() / 100 else lowest


def _returned(trace: Trace) -> Iterator[Assignment]:
    """The tensors that were returned and never had a name, as if the line that returned them had given them one."""
    results = trace.result if isinstance(trace.result, tuple | list) else (trace.result,)
    held = list(trace.final().values())
    tensors = [result.detach() for result in results if isinstance(result, Tensor) and _is_plain(result)]
    unnamed = [x for x in tensors if x.ndim and not any(same_numbers(x, other) for other in held if _is_plain(other))]
    counters = trace.assignments[-1].counters if len(trace) else {}
    for number, value in enumerate(unnamed):
        name = "result" if len(unnamed) == 1 else f"result {number}"
        yield Assignment(name, value.clone(), trace.last_line, "", "assign", None, counters)


def _is_plain(tensor: Tensor) -> bool:
    """Whether it has real numbers that can be drawn."""
    return not (tensor.is_complex() or tensor.is_meta or tensor.layout != torch.strided)


def _blocked_by(mask: Tensor, weights: Tensor) -> np.ndarray:
    """Where a mask lets nothing through; nowhere, if it is of another kind or shape."""
    if mask.dtype != torch.bool:
        return np.zeros(cells_of(weights).shape, dtype=bool)
    try:
        return cells_of(mask.expand(weights.shape)) == 0
    except RuntimeError:
        return np.zeros(cells_of(weights).shape, dtype=bool)


def _all_cells(panel: Panel, place: _Place) -> np.ndarray:
    """Every cell of a place as (sheet, row, column), in the order of the tensor's elements."""
    columns = range(*place.columns.indices(panel.columns))
    return np.array(list(itertools.product(place.sheets, range(panel.rows), columns)))


def _find(wanted: np.ndarray, there: np.ndarray, taken: np.ndarray) -> np.ndarray | None:
    """Where the numbers of one panel stand among those of another, as (n, 3) cells; None if one of them does not.

    ``split`` and ``cat`` move columns together, so those are looked for first, and then number by number, equal ones
    in turn. What is ``taken`` has gone elsewhere.
    """
    width = min(wanted.shape[2], there.shape[2])
    places = [(sheet, column) for sheet in range(there.shape[0]) for column in range(0, there.shape[2], width)]
    found = np.empty((*wanted.shape, 3), dtype=int)
    rows = np.arange(wanted.shape[1])[:, None]
    for sheet, column in itertools.product(range(wanted.shape[0]), range(0, wanted.shape[2], width)):
        columns = wanted[sheet, :, column : column + width]
        for other, start in places:
            part = (other, slice(None), slice(start, start + width))
            if np.array_equal(there[part], columns, equal_nan=True) and not taken[part].any():
                found[sheet, :, column : column + width] = np.stack(
                    np.broadcast_arrays(other, rows, start + np.arange(width)), axis=-1
                )
                places.remove((other, start))
                break
        else:
            return _find_numbers(wanted, there)
    return found.reshape(-1, 3)


def _find_numbers(wanted: np.ndarray, there: np.ndarray) -> np.ndarray | None:
    where: dict[float, list[int]] = {}
    for position, number in enumerate(there.ravel().tolist()):
        where.setdefault(number, []).append(position)
    turn: Counter[float] = Counter()
    found = []
    for number in wanted.ravel().tolist():
        if number not in where:
            return None
        positions = where[number]
        found.append(positions[turn[number] % len(positions)])
        turn[number] += 1
    return np.stack(np.unravel_index(found, there.shape), axis=1)


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
    said = frame.caption.rpartition(" steps, up to ")[2]
    return replace(frame, cells=cells, caption=f"{steps} steps, up to {said}", seconds=0.35, steps=steps)


def _sheet_name(index: tuple[int, ...], heads: bool) -> str:
    items, head = (index[:-1], index[-1:]) if heads else (index, ())
    item = [f"item {', '.join(map(str, items))}"] if items else []
    return ", ".join([*item, *(f"head {number}" for number in head)])


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
