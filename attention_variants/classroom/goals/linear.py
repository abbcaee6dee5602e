"""Questions about linear attention, in parallel and token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attention_variants.modern import linear_attention

from .goal import TOLERANCE_IN_FLOAT32, Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _H, _T, _D_K, _D_V = 2, 3, 5, 4, 6
_RETURNS = ("context", "weights")


def _ask(notes: Notes, batch: tuple[int, ...] = (_B, _H), dtype: torch.dtype = torch.float64, **options: Any) -> None:
    widths = {"q": _D_K, "k": _D_K, "v": _D_V}
    inputs: dict[str, Any] = {name: notes.draw(*batch, _T, width, dtype=dtype) for name, width in widths.items()}
    notes.function(_RETURNS, gradients=dtype == torch.float64, **inputs, **options)


def _plain(mine: Any, notes: Notes) -> None:
    _ask(notes)


def _without_batch(mine: Any, notes: Notes) -> None:
    _ask(notes, ())


def _in_float32(mine: Any, notes: Notes) -> None:
    _ask(notes, dtype=torch.float32)


def _recurrent(mine: Any, notes: Notes) -> None:
    _ask(notes, recurrent=True)


def _recurrent_without_batch(mine: Any, notes: Notes) -> None:
    _ask(notes, (), recurrent=True)


GOALS = (
    Goal(
        linear_attention,
        "linear_attention(q, k, v)",
        (
            Question("plain", _plain),
            Question("without_batch", _without_batch),
            Question("in_float32", _in_float32, tolerance=TOLERANCE_IN_FLOAT32),
            Question("recurrent", _recurrent, ("recurrent",)),
            Question("recurrent_without_batch", _recurrent_without_batch, ("recurrent",)),
        ),
    ),
)
