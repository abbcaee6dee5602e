"""Questions about rotary positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attention_variants.modern import Llama3Scaling, apply_rotary

from .goal import TOLERANCE_IN_FLOAT32, Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _H, _T, _D = 2, 3, 5, 8


def _from_0(mine: Any, notes: Notes) -> None:
    notes.function(["turned"], x=notes.draw(_B, _H, _T, _D), positions=torch.arange(_T))


def _later(mine: Any, notes: Notes) -> None:
    notes.function(["turned"], x=notes.draw(_B, _H, 2, _D), positions=torch.arange(3, 5))


def _without_batch(mine: Any, notes: Notes) -> None:
    notes.function(["turned"], x=notes.draw(_T, 6), positions=torch.arange(_T))


def _own_positions(mine: Any, notes: Notes) -> None:
    positions = torch.tensor([[[0, 1, 2, 3, 4]], [[7, 3, 3, 9, 0]]])  # (B, 1, T)
    notes.function(["turned"], x=notes.draw(_B, _H, _T, _D), positions=positions)


def _far(mine: Any, notes: Notes) -> None:
    notes.function(["turned"], gradients=False, x=notes.draw(_B, _H, _T, _D), positions=1000 + 3 * torch.arange(_T))


def _in_float32(mine: Any, notes: Notes) -> None:
    x = notes.draw(_B, _H, _T, _D, dtype=torch.float32)
    notes.function(["turned"], gradients=False, x=x, positions=torch.arange(_T))


def _base(mine: Any, notes: Notes) -> None:
    notes.function(["turned"], x=notes.draw(_B, _H, _T, _D), positions=torch.arange(_T), base=500.0)


def _interleaved(mine: Any, notes: Notes) -> None:
    notes.function(["turned"], x=notes.draw(_B, _H, _T, _D), positions=torch.arange(_T), pairs="interleaved")


def _some_columns(mine: Any, notes: Notes) -> None:
    notes.function(["turned"], x=notes.draw(_B, _H, _T, _D), positions=torch.arange(_T), rotary_dim=4)


def _scaling(mine: Any, notes: Notes) -> None:
    scaling = Llama3Scaling(4.0, 1.0, 4.0, 128)  # of four pairs one keeps its speed, one is in between, two are slowed
    notes.function(["turned"], x=notes.draw(_B, _H, _T, _D), positions=torch.arange(_T), scaling=scaling)


GOALS = (
    Goal(
        apply_rotary,
        "apply_rotary(x, positions)",
        (
            Question("from_0", _from_0),
            Question("later", _later),
            Question("without_batch", _without_batch),
            Question("own_positions", _own_positions),
            Question("far", _far, tolerance=1e-3),  # tables in float32 are right to here
            Question("in_float32", _in_float32, tolerance=TOLERANCE_IN_FLOAT32),
            Question("base", _base, ("base",)),
            Question("interleaved", _interleaved, ("pairs",)),
            Question("some_columns", _some_columns, ("rotary_dim",)),
            Question("scaling", _scaling, ("scaling",)),
        ),
    ),
)
