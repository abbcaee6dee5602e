"""The register of rewritings, and the right pieces that they are put together from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rewriting:
    """A mistake of the catalogue, written by another hand.

    Attributes
    ----------
    entry : str
        The name of the mistake in the catalogue.
    variant : int
        Whose signature the function has.
    function : callable
        The wrong implementation.
    """

    entry: str
    variant: int
    function: Callable


#: All of them, in the order in which they are written.
REWRITINGS: list[Rewriting] = []


def rewriting(entry: str, variant: int) -> Callable[[Callable], Callable]:
    """Register a wrong implementation under the name that its mistake has in the catalogue.

    Parameters
    ----------
    entry : str
        The name.
    variant : int
        Whose signature the function has.

    Returns
    -------
    register : callable
        The decorator.
    """

    def register(function: Callable) -> Callable:
        REWRITINGS.append(Rewriting(entry, variant, function))
        return function

    return register


def shares(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Take the softmax over the keys, by hand; a row with nothing allowed is 0."""
    if mask is None:
        return (scores - scores.logsumexp(-1, keepdim=True)).exp()
    scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    exps = (scores - scores.amax(-1, keepdim=True)).exp() * mask
    return exps / exps.sum(-1, keepdim=True).clamp(min=1e-4)


def apart(x: Tensor, num_heads: int) -> Tensor:
    """Split the heads: (..., T, d_model) -> (..., H, T, d_k)."""
    return torch.stack(x.chunk(num_heads, dim=-1), dim=-3)


def together(x: Tensor) -> Tensor:
    """Join the heads: (..., H, T, d_k) -> (..., T, d_model)."""
    return torch.cat(x.unbind(-3), dim=-1)


def of_each_head(mask: Tensor | None, q: Tensor, k: Tensor, num_heads: int) -> list[Tensor] | list[None]:
    """Give each head its mask (..., T_q, T_k)."""
    if mask is None:
        return [None] * num_heads
    return list(mask.expand(*q.shape[:-2], num_heads, q.shape[-2], k.shape[-2]).unbind(-3))


def with_causal(mask: Tensor | None, q: Tensor, k: Tensor, is_causal: bool) -> Tensor | None:
    """Join a mask with the causal one, if that is asked for."""
    if not is_causal:
        return mask
    past = torch.arange(q.shape[-2])[:, None] >= torch.arange(k.shape[-2])
    return past if mask is None else mask & past
