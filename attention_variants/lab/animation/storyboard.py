"""From a trace to the frames of an animation.

All of it comes from the trace, and from the source that ran (``source_lines.py``).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_variants.lab.code.trace import Assignment, Trace

from .captions import Event, Kind, said_of, sheet_name
from .contents import Contents, left_by_a_mask
from .crop import crop
from .frames import SECONDS, Frame, Move, Spot, Storyboard, thin
from .movements import Movement, find_movement
from .panels import Panels, Place, regrouped_rows
from .source_lines import RunningCode, cells_of, same_numbers

#: A function that has one of these attends, and its tensors stand where they meet.
_ATTENTION = {"q", "k", "v", "scores"}
#: A line of at most so many characters is said in the caption, which may have half of the width.
LONGEST_SAID = 60
#: Up to so many rows of a table are seen on their way; of more, each arrives at once.
_PICKED_SLOWLY = 24


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
    maker = _FrameMaker(trace, names, (query_tokens, key_tokens))
    maker.run(max_frames)
    frames = thin(maker.frames, max_frames)
    if heads is None:
        heads = any(step.counters.get("num_heads", 1) != 1 for step in maker.assignments)
    leading = max(((panel.drawn or panel.shape)[:-2] for panel in maker.panels.by_key.values()), key=math.prod)
    shared = next(iter(maker.panels.regrouped.items()), None)  # rows of queries at a head of keys: as named, as drawn
    head = "head" if shared is None else "key head"
    if leading and maker.code.module is not None:
        heads = heads or leading[-1] in {getattr(part, "num_heads", 1) for part in maker.code.module.modules()} - {1}
    board = Storyboard(
        trace.name,
        maker.code.text(),
        maker.panels.by_key,
        tuple(frames),
        maker.limits(),
        tuple(sheet_name(index, heads, head) for index in np.ndindex(*leading)) if leading else (),
        maker.code.module is not None or not _ATTENTION & {step.name for step in maker.assignments},
        0 if shared is None else shared[1][-2],
        0 if shared is None else shared[0][-1],
    )
    return board if maker.code.module is None else crop(board)


class _FrameMaker:
    """Goes through the assignments once and notes a frame for each moment."""

    def __init__(
        self,
        trace: Trace,
        names: Sequence[str] | None,
        tokens: tuple[Sequence[str] | None, Sequence[str] | None],
    ) -> None:
        self.trace, self.tokens = trace, tokens
        self.code = RunningCode(trace)
        self.assignments = _drawn(trace, self.code, names)
        keys = next((step.shape[-2] for step in trace if step.name == "k" and step.value.ndim > 1), None)
        self.panels = Panels(trace.name, self.code, self.assignments, keys, regrouped_rows(trace))
        self.contents = Contents(self.panels.by_key)
        self.frames: list[Frame] = []
        #: Of a loop that does not count: what its turn now has done, and how many turns went before.
        self.came: dict[int, tuple[set[tuple[str, int]], int]] = {}
        self.head: int | None = None  # of which what happens now is
        self.copied: list[tuple[str, str]] = []  # tables, and what is copied out of them

    def run(self, max_frames: int) -> None:
        moments = list(self._moments())
        moving = sum(self._rearranges(moment) for moment in moments)
        still = min(len(moments), max_frames // 2)
        self.frames_a_leg = min(8, max(2, (max_frames - still) // (2 * moving or 1) - 1))
        for moment in moments:
            self._show(moment)
        last, self.head = self.trace.last_line, None
        read = self.code.read(Assignment("", torch.zeros(1), last, "", "assign"), self.contents.values)
        lit = self.contents.lit_by({name: cells for name, cells in read.items() if name in self.contents.current})
        self._emit(range(last, last + 1), Event(Kind.RETURNED), lit, "end")

    def limits(self) -> dict[str, float]:
        """The largest magnitude of each name over time, what a mask put there left out."""
        limits: dict[str, float] = {}
        for step in self.assignments:
            value = cells_of(step.value)
            finite = np.abs(value[np.isfinite(value) & ~left_by_a_mask(value, step.value)])
            limits[step.name] = max(limits.get(step.name, 0.0), float(finite.max(initial=0.0)))
        for table, vectors in self.copied:  # a copy looks like what it is a copy of
            limits[table] = limits[vectors] = max(limits[table], limits[vectors])
        return limits

    def _moments(self) -> Iterator[list[tuple[Assignment, Place]]]:
        """Assignments that happened together: the arguments, or the several names of one line."""
        moment: list[tuple[Assignment, Place]] = []
        for step, place in zip(self.assignments, self.panels.places, strict=True):
            same = moment and moment[-1][0].kind == step.kind == "argument"
            same = same or (moment and moment[-1][0].line == step.line and moment[-1][0].kind == step.kind)
            if moment and (not same or step.name in [other.name for other, _ in moment]):
                yield moment
                moment = []
            moment.append((step, place))
        if moment:
            yield moment

    def _rearranges(self, moment: list[tuple[Assignment, Place]]) -> bool:
        step, place = moment[0]
        return step.kind == "assign" and any(
            panel.name == step.name and panel.key != place.key for panel in self.panels.by_key.values()
        )

    def _show(self, moment: list[tuple[Assignment, Place]]) -> None:
        first = moment[0][0]
        if first.kind == "argument":
            held = {operand.name for operand in self.code.operands}
            for what in (Kind.ARGUMENTS, Kind.HELD):
                some = [(step, place) for step, place in moment if (step.name in held) == (what is Kind.HELD)]
                for step, place in some:
                    self.contents.hold(step, place)
                if some:
                    event = Event(what, tuple(step.name for step, _ in some))
                    self._emit(range(self.code.first, self.code.first + 1), event, {}, "still")
            return
        lines, turn = self._lines(first), self._turn(first)
        self.head = self._head(*moment[0])
        lit = self.contents.lit_by(self.code.read(first, self.contents.values))
        movements: dict[str, Movement] = {}
        if first.kind == "assign":
            found = [find_movement(step, place, self.contents, self.code) for step, place in moment]
            movements = {movement.name: movement for movement in found if movement is not None}
        if movements and self.code.look_up(first, self.contents.values) is not None:
            self._pick(lines, first, movements[first.name])
        elif movements:
            self._move(lines, list(movements.values()))
        origins = {name: movement.origin for name, movement in movements.items()}
        kept = [self.contents.hold(step, place, origins.get(step.name)) for step, place in moment]
        for step, place in moment:
            cells = lit.setdefault(place.key, np.zeros_like(self.contents.states[place.key].there))
            written = self._written(step)
            written = place.fitted(cells, written) if isinstance(written, np.ndarray) else written
            place.put(cells, cells[place.sheets, :, place.columns] | written)
        steps = [step for step, _ in moment]
        kind = "arrived" if movements else "made" if _is_blank(steps) else "still"
        if turn:
            kind = f"first {first.kind}" if turn[1] == turn[2] else first.kind
        self._emit(lines, self._event(steps, tuple(movements), all(kept)), lit, kind, turn=turn)

    def _head(self, step: Assignment, place: Place) -> int | None:
        """Of which head a line computes, in a loop over heads; None outside of one."""
        if step.kind != "assign" or len(step.shape) < 2 or not self.panels.is_stacked(step):
            return None
        return int(place.sheets[0]) % self.panels.by_key[place.key].turns

    def _written(self, step: Assignment) -> np.ndarray | bool:
        """What a line wrote: what changed, and what it names as its target."""
        target = self.code.target(step)
        if step.changed is None:
            return True if target is None else target
        changed = cells_of(step.changed) > 0
        return changed if target is None else changed | target

    def _emit(
        self,
        lines: range,
        event: Event,
        lit: Mapping[str, np.ndarray],
        kind: str,
        moves: tuple[Move, ...] = (),
        turn: tuple[Any, ...] = (),
    ) -> None:
        cells = {key: state.cells(lit.get(key)) for key, state in self.contents.states.items()}
        self.frames.append(Frame(lines, replace(event, head=self.head), cells, moves, SECONDS[kind], turn))

    def _lines(self, step: Assignment) -> range:
        statement = self.code.statement(step.line)
        if statement is None or isinstance(statement, ast.For | ast.FunctionDef | ast.While):
            return range(step.line, step.line + 1)
        return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)

    def _turn(self, step: Assignment) -> tuple[Any, ...]:
        """Of a line that runs again and again: the outermost loop, its turn now, and its first turn."""
        loops = self.code.loops(step.line)
        if not loops or step.line == loops[0].lineno or self.panels.is_stacked(step):
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

    def _event(self, steps: list[Assignment], moved: tuple[str, ...], kept: bool) -> Event:
        """What the assignments of a line are: a turn of a loop, or what they do to their tensors at once."""
        first, names = steps[0], moved or tuple(self._title(step) for step in steps)
        loops, statement = self.code.loops(first.line), self.code.statement(first.line)
        if len(steps) == 1 and loops and isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr):
            code, where = self.code.with_numbers(statement, first), self.code.target(first)
            code = f"{names[0]}: {code}" if names[0] != first.name and not moved else code
            if where is None or where.sum() != 1:
                read = self.code.read(first, self.contents.values).get("weights")
                tokens = self._tokens_of(read) if read is not None and read.sum() == 1 else None
                return Event(Kind.STATEMENT, names, code, tokens=tokens)  # a value is added: of this key to this query
            number = float(cells_of(first.value)[where][0])
            return Event(Kind.STATEMENT, names, code, number, tokens=self._tokens_of(where))
        if moved or kept:
            shapes = self.panels.by_key[self.contents.current[first.name].key], tuple(first.shape)
            if shapes[1] == shapes[0].then:
                return Event(Kind.REARRANGED, names, self.code.line(first.line), shapes=(shapes[0].shape, shapes[1]))
            from_table = moved and self.code.look_up(first, self.contents.values) is not None
            return Event(Kind.LOOKED_UP if from_table else Kind.MOVED if moved else Kind.KEPT, names)
        filled = left_by_a_mask(cells_of(first.value), first.value)
        values = self.contents.values
        masked = any(values[name].dtype == torch.bool for name in self.code.read(first, values))
        if filled.all() and not masked:
            return Event(Kind.NOTHING_YET, names)
        if filled.any():
            return Event(Kind.BLOCKED, names, count=int(filled.sum()), of=filled.size)
        if _is_blank(steps):
            return Event(Kind.BLANK, names, count=first.value.numel())
        if called := self.code.called(first):
            return Event(Kind.CALLED, names, said_of(called, self.code.function_around(first)))
        changes = [step.value if step.changed is None else step.changed for step in steps]
        count = sum(int(change.sum()) if change.dtype == torch.bool else change.numel() for change in changes)
        return Event(Kind.WRITTEN, names, self._said(first, names), count=count)

    def _said(self, step: Assignment, names: tuple[str, ...]) -> str:
        """The line itself, if it is one and short, with the names of the picture; "" otherwise."""
        statement = self.code.statement(step.line)
        several = isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple)
        if statement is None or several or statement.lineno != statement.end_lineno:
            return ""
        line = self.code.line(step.line)
        if isinstance(statement, ast.Return):
            line = line.replace("return", f"{names[0]} =", 1)
        elif names[0] != step.name and line.startswith(f"{step.name} ="):
            line = line.replace(step.name, names[0], 1)
        return line if len(line) <= LONGEST_SAID and "=" in line else ""

    def _title(self, step: Assignment) -> str:
        """What it is called in the picture."""
        place = self.contents.current.get(step.name)
        return step.name if place is None else self.panels.by_key[place.key].title

    def _tokens_of(self, where: np.ndarray) -> tuple[str, str] | None:
        """The words of the one cell, if there are words for its row and its column."""
        (_, row, column) = np.argwhere(where)[0]
        queries, keys = self.tokens
        if queries is None or keys is None or where.shape[1:] != (len(queries), len(keys)):
            return None
        return queries[row], keys[column]

    def _move(self, lines: range, movements: Sequence[Movement]) -> None:
        """Emit the frames in which numbers move; those of several tensors move together."""
        for movement in movements:
            state = self.contents.states[movement.spots[0].key]
            if not self.panels.by_key[movement.spots[0].key].held:  # what is looked up stays in its table
                state.there[tuple(movement.spots[0].cells.T)] = False
                state.shown = None
            self.contents.state(movement.spots[-1].key)
        for leg, event in enumerate(movements[0].events):
            pairs = [(m.spots[leg], m.spots[leg + 1]) for m in movements if leg + 1 < len(m.spots)]
            stay = all(a.key == b.key and np.array_equal(a.cells, b.cells) for a, b in pairs)
            frames = min(3, self.frames_a_leg) if stay else self.frames_a_leg  # a gap opens or closes, no more
            for at in range(1, frames + 1):
                progress = at / frames
                smooth = progress * progress * (3 - 2 * progress)  # it sets out and arrives slowly
                moves = tuple(
                    Move(m.name, m.spots[leg], m.spots[leg + 1], m.value, m.origin, smooth)
                    for m in movements
                    if leg + 1 < len(m.spots)
                )
                self._emit(lines, event, {}, "arrived" if at == frames else "moving", moves)

    def _pick(self, lines: range, step: Assignment, movement: Movement) -> None:
        """Let the row that a token picks go where it goes, one token after the other."""
        tokens = self.code.numbers_of_tokens(step, self.contents.values)[0]
        start, end = movement.spots
        self.copied.append((self.panels.by_key[start.key].name, step.name))
        numbers, place = self.contents.values[tokens].flatten().tolist(), self.contents.current[tokens]
        vectors, width = self.contents.state(end.key), len(start.cells) // len(numbers)
        legs = 2 if len(numbers) <= _PICKED_SLOWLY else 1
        for at, number in enumerate(numbers):
            part = slice(at * width, (at + 1) * width)
            lit = {
                start.key: _marked(self.contents.states[start.key].there, start.cells[part]),
                place.key: np.zeros_like(self.contents.states[place.key].there),
            }
            lit[place.key].reshape(-1)[at] = True
            names = (tokens, self.panels.by_key[start.key].name, step.name)
            words = self.tokens[0] or ()
            word = words[at] if len(words) == len(numbers) else ""
            event = Event(Kind.PICKED, names, word, number, count=at)
            row, goal = (Spot(spot.key, spot.cells[part]) for spot in (start, end))
            for leg in range(1, legs + 1):
                progress = leg / (legs + 1)
                move = Move(step.name, row, goal, movement.value[part], movement.origin[part], progress)
                self._emit(lines, event, lit, "moving", (move,))
            arrived = tuple(goal.cells.T)
            vectors.value[arrived], vectors.there[arrived], vectors.shown = movement.value[part], True, None
            self._emit(lines, event, {**lit, end.key: _marked(vectors.there, goal.cells)}, "several steps")


def _marked(like: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Where some cells of a panel are."""
    marked = np.zeros_like(like)
    marked[tuple(cells.T)] = True
    return marked


def _drawn(trace: Trace, code: RunningCode, names: Sequence[str] | None) -> list[Assignment]:
    """The assignments of a trace that are drawn: of the names that are asked for, those that have something to say."""
    arguments = [step for step in trace if step.kind == "argument"]
    held = [Assignment(operand.name, operand.value, trace.first_line, "", "argument") for operand in code.operands]
    others = [step for step in trace if step.kind != "argument" and not code.renames(step, arguments)]
    steps = [*arguments, *held, *others, *_returned(trace)]
    assignments = [step for step in steps if step.value.ndim and step.value.numel()]
    for step in assignments:
        if not _is_plain(step.value):
            raise ValueError(
                f"animate draws dense tensors of real numbers; {step.name} of {trace.name} is "
                f"{step.dtype}, {step.value.layout}, on the device {step.value.device}."
            )
    known = list(dict.fromkeys(step.name for step in assignments))
    for name in names or ():
        if name not in known:
            raise ValueError(f"animate: {trace.name} held no tensor named {name!r}, only {', '.join(known)}.")
    if names is not None:
        assignments = [step for step in assignments if step.name in names]
    # A mask that blocks nothing has nothing to say.
    open_, closed = set[str](), set[str]()
    for step in assignments:
        is_open = step.value.dtype == torch.bool and bool(step.value.all())
        (open_ if is_open else closed).add(step.name)
    assignments = [step for step in assignments if step.name not in open_ - closed]
    if not assignments:
        raise ValueError(f"animate: {trace.name} held no tensor with numbers to draw.")
    return assignments


def _is_blank(steps: list[Assignment]) -> bool:
    """Whether a line only made room: a new tensor of nothing but zeros."""
    (first, *others) = steps
    return not others and first.kind == "assign" and first.value.numel() > 1 and not first.value.any()


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
