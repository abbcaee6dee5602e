"""Lifting: every variant on the same problem, by plain loops around it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_variants.variants import get_variant
from attention_variants.variants._check import check_inputs

from .masks import causal_mask, combine_masks


def lift(variant: int, function: Callable | None = None) -> Callable:
    """Give a variant the signature and the abilities of variant 7.

    What the variant cannot do itself is done around it, in the plainest way:

    - heads (variants 1 to 4): one call for each head, on its columns;
    - a batch (variants 1 and 2): one call for each item;
    - a mask (variants 1 to 3): one call for each query, with just the keys that it may attend to. That is
      what a mask means. A query with no key is left at 0;
    - dropout (variants 1 to 6): the dropped weights meet the values once more.

    Parameters
    ----------
    variant : int
        1 to 7.
    function : callable, optional
        Another implementation with the variant's signature, to be lifted in its place.

    Returns
    -------
    lifted : callable
        ``lifted(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False)``,
        which returns ``(context, weights)`` as `multihead_attention_fused` does.

    Raises
    ------
    ValueError
        If there is no such variant.
    """
    attend = get_variant(variant) if function is None else function
    if variant == 7:
        return attend
    name = getattr(attend, "__name__", f"variant_{variant}")  # a functools.partial has none
    if variant <= 3:
        attend = _over_queries(attend, batched=variant == 3)
    if variant <= 4:
        attend = _over_heads(attend)

    def lifted(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        num_heads: int = 1,
        *,
        dropout_p: float = 0.0,
        need_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        check_inputs(None, q, k, v, mask, num_heads, dropout_p, caller=f"variant {variant}, lifted")
        if is_causal:
            mask = combine_masks(mask, causal_mask(q.shape[-2], k.shape[-2], device=q.device))
        context, weights = attend(q, k, v, mask, num_heads)
        if dropout_p > 0.0:
            context = _context_after_dropout(weights, v, dropout_p)
        return context, weights if need_weights else None

    lifted.__name__ = lifted.__qualname__ = f"lifted_{name}"
    return lifted


def _over_heads(attend: Callable) -> Callable:
    """Call ``attend(q, k, v, mask)`` once for each head."""

    def over_heads(q, k, v, mask, num_heads):
        *batch, T_q, d_model = q.shape
        d_k = d_model // num_heads
        if mask is not None:
            mask = mask.expand(*batch, num_heads, T_q, k.shape[-2])
        contexts, weights = [], []
        for h in range(num_heads):
            columns = slice(h * d_k, (h + 1) * d_k)
            mask_h = None if mask is None else mask[..., h, :, :]
            context_h, weights_h = attend(q[..., columns], k[..., columns], v[..., columns], mask_h)
            contexts.append(context_h)
            weights.append(weights_h)
        return torch.cat(contexts, dim=-1), torch.stack(weights, dim=-3)

    return over_heads


def _over_queries(attend: Callable, *, batched: bool) -> Callable:
    """Call ``attend(q, k, v)`` once for each item of the batch and, under a mask, once for each query."""

    def over_queries(q, k, v, mask):
        if batched and mask is None:
            return attend(q, k, v)
        context, weights = _attention_over_no_keys(q, k, v)
        for item in itertools.product(*map(range, q.shape[:-2])):
            if mask is None:
                context[item], weights[item] = attend(q[item], k[item], v[item])
                continue
            for i in range(q.shape[-2]):
                allowed = mask[item][i]  # (T_k)
                if allowed.any():
                    query = q[item][i : i + 1]  # (1, d_k)
                    context_i, weights_i = attend(query, k[item][allowed], v[item][allowed])
                    context[item][i] = context_i[0]
                    weights[item][i, allowed] = weights_i[0]
        return context, weights

    return over_queries


def _attention_over_no_keys(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros in the shapes of context and weights, which autograd still knows to be made of q, k and v."""
    no_scores = q @ k[..., :0, :].transpose(-2, -1)  # (..., T_q, d_k) @ (..., d_k, 0) -> (..., T_q, 0)
    context = no_scores @ v[..., :0, :]  # (..., T_q, 0) @ (..., 0, d_v) -> (..., T_q, d_v)
    weights = q[..., :0] @ k[..., :0].transpose(-2, -1)  # (..., T_q, 0) @ (..., 0, T_k) -> (..., T_q, T_k)
    return context, weights


def _context_after_dropout(weights: Tensor, v: Tensor, dropout_p: float) -> Tensor:
    """The merged context that weights give after dropout: (..., H, T_q, T_k) and (..., T_k, d_model)."""
    *batch, num_heads, T_q, T_k = weights.shape
    d_model = v.shape[-1]
    v = v.view(*batch, T_k, num_heads, d_model // num_heads).transpose(-3, -2)
    context = F.dropout(weights, dropout_p) @ v  # (..., H, T_q, T_k) @ (..., H, T_k, d_k) -> (..., H, T_q, d_k)
    return context.transpose(-3, -2).reshape(*batch, T_q, d_model)
