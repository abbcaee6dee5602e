"""Questions about latent attention, which keeps a narrow vector of each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attention_variants.modern import latent_attention

from .goal import Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _T_Q, _T_K, _H, _D_K, _D_LATENT = 2, 5, 7, 2, 4, 5
_RETURNS = ("context", "weights")


def _ask(notes: Notes, mask: torch.Tensor | None = None, num_heads: int = _H, **options: Any) -> None:
    d_model = num_heads * _D_K
    inputs: dict[str, Any] = {
        "q": notes.draw(_B, _T_Q, d_model),
        "latent": notes.draw(_B, _T_K, _D_LATENT),
        "w_uk": notes.draw(_D_LATENT, d_model),
        "w_uv": notes.draw(_D_LATENT, d_model),
    }
    notes.function(_RETURNS, **inputs, mask=mask, num_heads=num_heads, **options)


def _plain(mine: Any, notes: Notes) -> None:
    _ask(notes)


def _one_head(mine: Any, notes: Notes) -> None:
    _ask(notes, num_heads=1)


def _four_heads(mine: Any, notes: Notes) -> None:
    _ask(notes, num_heads=4)


def _causal(mine: Any, notes: Notes) -> None:
    _ask(notes, torch.ones(_T_Q, _T_K, dtype=torch.bool).tril(_T_K - _T_Q))


def _padded(mine: Any, notes: Notes) -> None:
    lengths = torch.tensor([_T_K, 4])
    _ask(notes, (torch.arange(_T_K) < lengths[:, None])[:, None, None, :])


def _expanded(mine: Any, notes: Notes) -> None:
    _ask(notes, absorbed=False)


GOALS = (
    Goal(
        latent_attention,
        "latent_attention(q, latent, w_uk, w_uv, mask, num_heads)",
        (
            Question("plain", _plain),
            Question("one_head", _one_head),
            Question("four_heads", _four_heads),
            Question("causal", _causal),
            Question("padded", _padded),
            Question("expanded", _expanded, ("absorbed",)),
        ),
    ),
)
