"""Questions about heads that share keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attention_variants.modern import grouped_query_attention

from .goal import TOLERANCE_IN_FLOAT32, Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _T_Q, _T_K, _H, _G, _D = 2, 5, 7, 4, 2, 3
_RETURNS = ("context", "weights")


def _inputs(
    notes: Notes, num_heads: int = _H, num_kv_heads: int = _G, dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    shapes = {"q": (_T_Q, num_heads), "k": (_T_K, num_kv_heads), "v": (_T_K, num_kv_heads)}
    return {name: notes.draw(_B, T, heads * _D, dtype=dtype) for name, (T, heads) in shapes.items()}


def _ask(notes: Notes, mask: Any, num_heads: int = _H, num_kv_heads: int = _G, **options: Any) -> None:
    inputs = _inputs(notes, num_heads, num_kv_heads, **options)
    notes.function(_RETURNS, **inputs, mask=mask, num_heads=num_heads, num_kv_heads=num_kv_heads)


def _plain(mine: Any, notes: Notes) -> None:
    _ask(notes, None)


def _six_heads(mine: Any, notes: Notes) -> None:
    _ask(notes, None, 6, 2)


def _one_kv_head(mine: Any, notes: Notes) -> None:
    _ask(notes, None, _H, 1)


def _as_many(mine: Any, notes: Notes) -> None:
    _ask(notes, None, _H, _H)


def _causal(mine: Any, notes: Notes) -> None:
    _ask(notes, torch.ones(_T_Q, _T_K, dtype=torch.bool).tril(_T_K - _T_Q))


def _padded(mine: Any, notes: Notes) -> None:
    lengths = torch.tensor([_T_K, 4])
    _ask(notes, (torch.arange(_T_K) < lengths[:, None])[:, None, None, :])


def _mask_by_head(mine: Any, notes: Notes) -> None:
    mask = notes.draw(_B, _H, _T_Q, _T_K) > -0.5
    mask[..., 0] = True
    _ask(notes, mask)


def _no_key(mine: Any, notes: Notes) -> None:
    mask = torch.ones(_T_Q, _T_K, dtype=torch.bool)
    mask[1] = False
    _ask(notes, mask)


def _without_batch(mine: Any, notes: Notes) -> None:
    inputs = {name: x[0] for name, x in _inputs(notes).items()}
    notes.function(_RETURNS, **inputs, mask=None, num_heads=_H, num_kv_heads=_G)


def _large(mine: Any, notes: Notes) -> None:
    inputs = {name: x * 1000.0 for name, x in _inputs(notes).items()}
    notes.function(_RETURNS, gradients=False, **inputs, mask=None, num_heads=_H, num_kv_heads=_G)


def _in_float32(mine: Any, notes: Notes) -> None:
    inputs = _inputs(notes, dtype=torch.float32)
    notes.function(_RETURNS, gradients=False, **inputs, mask=None, num_heads=_H, num_kv_heads=_G)


GOALS = (
    Goal(
        grouped_query_attention,
        "grouped_query_attention(q, k, v, mask, num_heads, num_kv_heads)",
        (
            Question("plain", _plain),
            Question("six_heads", _six_heads),
            Question("one_kv_head", _one_kv_head),
            Question("as_many", _as_many),
            Question("causal", _causal),
            Question("padded", _padded),
            Question("mask_by_head", _mask_by_head),
            Question("no_key", _no_key),
            Question("without_batch", _without_batch),
            Question("large", _large),
            Question("in_float32", _in_float32, tolerance=TOLERANCE_IN_FLOAT32),
        ),
    ),
)
