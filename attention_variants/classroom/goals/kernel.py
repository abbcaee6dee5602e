"""Questions about attention block by block, with both loops of the fused kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attention_variants.modern import flash_attention

from .goal import TOLERANCE_IN_FLOAT32, Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _H, _T_Q, _T_K, _D_K, _D_V = 2, 3, 5, 7, 4, 6
_RETURNS = ("context", "weights")


def _ask(
    notes: Notes,
    mask: torch.Tensor | None = None,
    *,
    lengths: tuple[int, int] = (_T_Q, _T_K),
    factor: float = 1.0,
    gradients: bool = True,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> None:
    T_q, T_k = lengths
    shapes = {"q": (T_q, _D_K), "k": (T_k, _D_K), "v": (T_k, _D_V)}
    inputs: dict[str, Any] = {name: factor * notes.draw(_B, _H, *shape, dtype=dtype) for name, shape in shapes.items()}
    notes.function(_RETURNS, gradients=gradients, **inputs, mask=mask, **options)


def _plain(mine: Any, notes: Notes) -> None:
    _ask(notes)


def _small_blocks(mine: Any, notes: Notes) -> None:
    _ask(notes, block_q=2, block_k=3)


def _causal(mine: Any, notes: Notes) -> None:
    _ask(notes, is_causal=True)


def _causal_in_blocks(mine: Any, notes: Notes) -> None:
    _ask(notes, is_causal=True, block_q=2, block_k=3, lengths=(7, 7))


def _masked(mine: Any, notes: Notes) -> None:
    mask = notes.draw(_B, 1, _T_Q, _T_K) > -0.5
    mask[..., 0] = True
    _ask(notes, mask)


def _masked_in_blocks(mine: Any, notes: Notes) -> None:
    mask = notes.draw(_B, _H, _T_Q, _T_K) > 0.0
    mask[..., 4] = True
    _ask(notes, mask, block_q=2, block_k=3)


def _padded(mine: Any, notes: Notes) -> None:
    lengths = torch.tensor([_T_K, 4])
    _ask(notes, (torch.arange(_T_K) < lengths[:, None])[:, None, None, :])


def _no_key(mine: Any, notes: Notes) -> None:
    mask = torch.ones(_T_Q, _T_K, dtype=torch.bool)
    mask[1] = False
    _ask(notes, mask)


def _large(mine: Any, notes: Notes) -> None:
    _ask(notes, factor=30.0, gradients=False)


def _in_float32(mine: Any, notes: Notes) -> None:
    _ask(notes, dtype=torch.float32, gradients=False)


GOALS = (
    Goal(
        flash_attention,
        "flash_attention(q, k, v, mask)",
        (
            Question("plain", _plain),
            Question("masked", _masked),
            Question("padded", _padded),
            Question("no_key", _no_key),
            Question("large", _large),
            Question("in_float32", _in_float32, tolerance=TOLERANCE_IN_FLOAT32),
            Question("small_blocks", _small_blocks, ("block_q", "block_k")),
            Question("masked_in_blocks", _masked_in_blocks, ("block_q", "block_k")),
            Question("causal", _causal, ("is_causal",)),
            Question("causal_in_blocks", _causal_in_blocks, ("is_causal", "block_q", "block_k")),
        ),
    ),
)
