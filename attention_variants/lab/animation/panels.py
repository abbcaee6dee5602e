"""Which panels an animation has, and where in them each assignment is drawn."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attention_variants.lab.code.trace import Assignment

from .frames import Panel, assigned_again
from .source_lines import RunningCode, same_numbers

#: The most rows or columns of a panel, and the most sheets of one.
LARGEST, MOST_SHEETS = 40, 6
#: A name that a module's method assigns again gets a panel of its own, up to so many panels.
MOST_PANELS = 14
#: Of these, a loop over blocks of keys holds one block at a time: they are drawn in the columns of their keys.
BY_KEY = ("scores", "exp", "weights")


@dataclass(frozen=True)
class Place:
    """Where an assignment is drawn: an index into the cells of a panel."""

    key: str
    sheets: np.ndarray
    columns: slice
    alone: bool = False  # what the panel held before goes

    def put(self, cells: np.ndarray, new: np.ndarray | float | bool) -> None:
        """Write into the cells of its panel."""
        cells[self.sheets, :, self.columns] = self.fitted(cells, new) if isinstance(new, np.ndarray) else new

    def fitted(self, cells: np.ndarray, new: np.ndarray) -> np.ndarray:
        """The cells of a tensor in the sheets and rows in which its panel draws it: their order is the same."""
        there = cells[self.sheets, :, self.columns].shape
        return new.reshape(there) if new.size == np.prod(there) else new


def is_regrouped(step: Assignment, before: Assignment) -> bool:
    """Whether a name holds the same rows as before in the same order, fewer of them in each sheet."""
    if step.kind != "assign" or min(step.value.ndim, before.value.ndim) < 3:
        return False
    new, old = step.shape, before.shape
    return new[-1] == old[-1] and new[-2] < old[-2] and same_numbers(step.value.flatten(), before.value.flatten())


def regrouped_rows(steps: Iterable[Assignment]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Find rows that have another shape later: those of heads of queries below each other at a head of keys.

    Parameters
    ----------
    steps : iterable of Assignment
        All that a call assigned.

    Returns
    -------
    rows : dict of tuple of int to tuple of int
        The shape without the last axis, as it is called later and as it was first: (H, T_q) -> (G, R * T_q).
    """
    rows, before = {}, dict[str, Assignment]()
    for step in steps:
        if step.name in before and is_regrouped(step, before[step.name]):
            rows[tuple(step.shape[:-1])] = tuple(before[step.name].shape[:-1])
        before[step.name] = step
    return rows


def all_cells(panel: Panel, place: Place) -> np.ndarray:
    """Every cell of a place as (sheet, row, column), in the order of the tensor's elements."""
    columns = range(*place.columns.indices(panel.columns))
    return np.array(list(itertools.product(place.sheets, range(panel.rows), columns)))


class Panels:
    """The panels of a traced call.

    Parameters
    ----------
    name : str
        What was traced.
    code : RunningCode
        Its source, which says where its loops are.
    assignments : sequence of Assignment
        What is drawn.
    keys : int, optional
        How many keys there are.
    regrouped : mapping of tuple of int to tuple of int
        Which rows are drawn in fewer sheets than they have in the code; see `regrouped_rows`.

    Attributes
    ----------
    by_key : dict of str to Panel
        In the order in which they appear.
    places : list of Place
        Of each assignment.
    """

    def __init__(
        self,
        name: str,
        code: RunningCode,
        assignments: Sequence[Assignment],
        keys: int | None,
        regrouped: Mapping[tuple[int, ...], tuple[int, ...]],
    ) -> None:
        self.name, self.code, self.assignments, self.keys = name, code, assignments, keys
        self.by_key: dict[str, Panel] = {}
        self.drawn: dict[str, Place] = {}  # where each name was drawn last
        self.before: dict[str, Assignment] = {}  # what each name held before
        self.regrouped = regrouped
        self.places = self._places()

    def is_stacked(self, step: Assignment) -> bool:
        """Whether it stands in the loop whose turns are drawn as sheets."""
        return self.stacking is not None and self.stacking[0] <= step.line <= self.stacking[1]

    def _places(self) -> list[Place]:
        at_line = Counter((step.name, step.line) for step in self.assignments if step.kind == "assign")
        self.stacking, turns = self._stacking_loop(at_line)
        seen: Counter[tuple[str, int]] = Counter()
        places = []
        for step in self.assignments:
            shape = tuple(step.shape)
            sheets = np.arange(math.prod(shape[:-2]))
            columns, alone = slice(None), False
            block = self._block(step)
            if step.kind == "assign" and len(shape) > 1 and self.is_stacked(step):
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
            regrouped = self._regrouped(step) if shape == tuple(step.shape) else None
            if regrouped is not None:
                key, sheets = regrouped
            else:
                key = self._panel(step, shape, shape[-3] if len(shape) > len(step.shape) else 1, block is not None)
                if self.by_key[key].drawn is not None:
                    sheets = np.arange(self.by_key[key].sheets)
            place = Place(key, sheets, columns, alone)
            self.drawn[step.name], self.before[step.name] = place, step
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

    def _regrouped(self, step: Assignment) -> tuple[str, np.ndarray] | None:
        """The panel in which its rows stand already, in another number of sheets: then they stay where they are."""
        before = self.before.get(step.name)
        if before is None or not is_regrouped(step, before):
            return None
        key = self.drawn[step.name].key
        self.by_key[key] = replace(self.by_key[key], then=tuple(step.shape))
        return key, self.drawn[step.name].sheets

    def _block(self, step: Assignment) -> slice | None:
        """The columns of the keys of this moment, if the tensor holds a number for each of them and no others."""
        if step.name not in BY_KEY or self.keys is None:
            return None
        for counter in step.counters.values():
            if isinstance(counter, slice):
                start, stop, stride = counter.indices(self.keys)
                if stride == 1 and stop - start == step.shape[-1]:
                    return slice(start, stop)
        return None

    def _panel(self, step: Assignment, shape: tuple[int, ...], turns: int, in_blocks: bool) -> str:
        apart = self.code.module is not None and step.kind == "assign" and len(self.by_key) < MOST_PANELS
        for panel in reversed(self.by_key.values()):
            if panel.name == step.name and panel.shape == shape and not apart:
                self.by_key[panel.key] = replace(panel, stacked=panel.stacked or turns < panel.turns)
                return panel.key
        before = [panel for panel in self.by_key.values() if panel.name == step.name]
        again = any(panel.shape == shape for panel in before)
        number = 1 + sum(panel.shape == shape for panel in before)
        key = assigned_again(step.name, number) if again else f"{step.name} {shape}" if before else step.name
        drawn = (*self.regrouped[shape[:-1]], shape[-1]) if shape[:-1] in self.regrouped else None
        lead = shape[:-1] if drawn is None else drawn[:-1]
        sheets, rows, columns = math.prod(lead[:-1]), lead[-1] if lead else 1, shape[-1]
        operand = next((operand for operand in self.code.operands if operand.name == step.name), None)
        tall = rows if operand is None else 0  # of what a module holds, a part is drawn
        wide = columns if self.code.module is None else 0
        if max(tall, wide) > LARGEST or sheets > MOST_SHEETS:
            raise ValueError(
                f"animate: {step.name} of {self.name} has the shape {shape}; at most {LARGEST} rows, {LARGEST} "
                f"columns and {MOST_SHEETS} sheets can be drawn legibly. Pass fewer tokens, features or heads, as in "
                f"q[:6, :8], or one head: example.head(1)."
            )
        self.by_key[key] = Panel(
            key,
            step.name,
            shape,
            sheets,
            rows,
            columns,
            step.kind == "argument" and operand is None,
            operand,
            turns=turns,
            number=number,
            block=tuple(step.shape) if in_blocks else None,
            drawn=drawn,
            whole_numbers=rows == 1 and not step.value.is_floating_point() and step.value.dtype != torch.bool,
        )
        return key
