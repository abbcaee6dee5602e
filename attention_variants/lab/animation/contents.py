"""What the panels of an animation hold at a moment: which numbers, where they came from, and which are blocked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from attention_variants.lab.code.trace import Assignment

from .frames import Cells, Panel
from .panels import Place
from .source_lines import cells_of

#: Numbers that stand for minus infinity are at least so low.
_FAR_BELOW = -1e4


@dataclass
class State:
    """The cells of a panel as they stand now, changed in place."""

    value: np.ndarray
    there: np.ndarray
    blocked: np.ndarray
    origin: np.ndarray
    shown: Cells | None = None  # the same without light, while nothing changed

    @classmethod
    def empty(cls, panel: Panel) -> State:
        """The cells of a panel that holds nothing yet."""
        shape = (panel.sheets, panel.rows, panel.columns)
        no = np.zeros(shape, dtype=bool)
        return cls(np.full(shape, np.nan), no, no.copy(), np.full(shape, -1))

    def cells(self, lit: np.ndarray | None) -> Cells:
        """What a frame shows of them, some of them lit."""
        if self.shown is None:
            arrays = (self.value.copy(), self.there.copy(), self.blocked.copy())
            self.shown = Cells(*arrays, np.zeros_like(self.there), self.origin.copy())
        return self.shown if lit is None else replace(self.shown, lit=lit & self.there)


class Contents:
    """What all panels hold, changed as the traced call goes on.

    Attributes
    ----------
    states : dict of str to State
        By the key of a panel, of those that hold something.
    current : dict of str to Place
        Where each name stands now.
    values : dict of str to Tensor
        What each name holds now.
    """

    def __init__(self, panels: Mapping[str, Panel]) -> None:
        self.panels = panels
        self.states: dict[str, State] = {}
        self.current: dict[str, Place] = {}
        self.values: dict[str, Tensor] = {}

    def state(self, key: str) -> State:
        """The state of a panel, empty if it has held nothing yet."""
        return self.states.setdefault(key, State.empty(self.panels[key]))

    def hold(self, step: Assignment, place: Place, came_from: np.ndarray | None = None) -> bool:
        """Put the numbers of an assignment into its panel; return whether they stood there already.

        ``came_from`` gives the origin of each number, if it is known where the numbers were before.
        """
        state = self.state(place.key)
        value = place.fitted(state.value, cells_of(step.value))
        old = state.value[place.sheets, :, place.columns]
        kept = bool(state.there[place.sheets, :, place.columns].all()) and np.array_equal(old, value, equal_nan=True)
        if place.alone:
            state.there[:] = False
        blocked = value == 0 if step.value.dtype == torch.bool else left_by_a_mask(value, step.value)
        if kept:
            blocked = state.blocked[place.sheets, :, place.columns]
        elif step.name == "weights" and "mask" in self.values:
            closed = place.fitted(state.value, _blocked_by(self.values["mask"], step.value))
            blocked = blocked | (closed & (value == 0))
        origin: np.ndarray | int = -1
        if self.panels[place.key].argument:
            origin = np.arange(value.size).reshape(value.shape)
        elif came_from is not None:
            origin = came_from.reshape(value.shape)
        elif kept:
            origin = state.origin[place.sheets, :, place.columns]
        place.put(state.value, value)
        place.put(state.there, True)
        place.put(state.blocked, blocked)
        place.put(state.origin, origin)
        state.shown = None
        self.current[step.name], self.values[step.name] = place, step.value
        return kept

    def lit_by(self, regions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Regions of tensors as cells of panels."""
        lit: dict[str, np.ndarray] = {}
        for name, region in regions.items():
            place = self.current[name]
            cells = lit.setdefault(place.key, np.zeros_like(self.states[place.key].there))
            place.put(cells, cells[place.sheets, :, place.columns] | place.fitted(cells, region))
        return lit


def left_by_a_mask(cells: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Where a mask left its mark: minus infinity, the lowest number there is, or one far below all others (-1e9)."""
    if not tensor.is_floating_point():
        return np.zeros(cells.shape, dtype=bool)
    lowest = cells <= torch.finfo(tensor.dtype).min
    if lowest.any() or not np.isfinite(cells).all() or cells.min() > _FAR_BELOW:
        return lowest
    far = cells < cells.min() / 2
    others = np.abs(cells[~far])
    return far if others.size and others.max() < -cells.min() / 100 else lowest


def _blocked_by(mask: Tensor, weights: Tensor) -> np.ndarray:
    """Where a mask lets nothing through; nowhere, if it is of another kind or shape."""
    if mask.dtype != torch.bool:
        return np.zeros(cells_of(weights).shape, dtype=bool)
    try:
        return cells_of(mask.expand(weights.shape)) == 0
    except RuntimeError:
        return np.zeros(cells_of(weights).shape, dtype=bool)
