"""Lifting: every variant on the same problem, by plain loops around it."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_variants.variants import CAPABILITIES, Attention, describe_variant, get_variant
from attention_variants.variants.checks import check_inputs
from attention_variants.variants.registry import name_of_function

from .masks import causal_mask, combine_masks


def lift(variant: int, function: Attention | None = None) -> Attention:
    """Give a variant the signature and the abilities of one that takes everything, such as variant 7.

    What the variant takes itself is handed on. What it does not is done around it, in the plainest way:

    - heads (variants 1 to 4): one call for each head, on its columns;
    - a batch (variants 1 and 2): one call for each item;
    - a mask (variants 1 to 3): one call for each query, with just the keys that it may attend to. That is
      what a mask means. A query with no key is left at 0;
    - ``is_causal`` (variants 1 to 6): a causal mask;
    - dropout (variants 1 to 6): the dropped weights meet the values once more;
    - ``need_weights`` (variants 1 to 6): the weights are made, and not returned.

    Parameters
    ----------
    variant : int
        The number of the variant; what it takes, it says itself (`describe_variant`).
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
    takes = frozenset(describe_variant(variant).takes)
    if takes.issuperset(CAPABILITIES):
        return attend
    all_heads = _over_items_and_queries(_handing_on(attend, takes), takes)
    head_by_head = _over_heads(_over_items_and_queries(_one_head(_handing_on(attend, takes), takes), takes - {"heads"}))

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
        options: dict[str, float] = {}
        if "is_causal" in takes and ("mask" in takes or mask is None):
            options["is_causal"] = is_causal
        elif is_causal:
            mask = combine_masks(mask, causal_mask(q.shape[-2], k.shape[-2], device=q.device))
        if "dropout" in takes:
            options["dropout_p"] = dropout_p
            dropout_p = 0.0
        if "need_weights" in takes:
            options["need_weights"] = need_weights or dropout_p > 0.0
        # Each query has keys of its own in each head: of a mask that the variant does not take.
        at_once = "heads" in takes and ("mask" in takes or mask is None)
        context, weights = (all_heads if at_once else head_by_head)(q, k, v, mask, num_heads, **options)
        if dropout_p > 0.0:
            context = _context_after_dropout(_asked_for(weights), v, dropout_p)
        return context, weights if need_weights else None

    lifted.__name__ = lifted.__qualname__ = f"lifted_{name_of_function(attend, variant)}"
    return lifted


def _handing_on(attend: Attention, takes: frozenset[str]) -> Attention:
    """Hand the mask and the number of heads to a variant that takes them."""

    def handing_on(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, **options: float
    ) -> tuple[Tensor, Tensor | None]:
        taken = [*([mask] if "mask" in takes else []), *([num_heads] if "heads" in takes else [])]
        return attend(q, k, v, *taken, **options)

    return handing_on


def _one_head(attend: Attention, takes: frozenset[str]) -> Attention:
    """Leave out the axis for heads in what comes from a variant that makes one."""

    def one_head(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, **options: float
    ) -> tuple[Tensor, Tensor | None]:
        context, weights = attend(q, k, v, mask, 1, **options)
        return context, weights.squeeze(-3) if weights is not None and "heads" in takes else weights

    return one_head


def _over_heads(attend: Attention) -> Attention:
    """Call ``attend`` once for each head."""

    def over_heads(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, **options: float
    ) -> tuple[Tensor, Tensor | None]:
        *batch, T_q, d_model = q.shape
        d_k = d_model // num_heads
        if mask is not None:
            mask = mask.expand(*batch, num_heads, T_q, k.shape[-2])
        contexts, weights = [], []
        for h in range(num_heads):
            columns = slice(h * d_k, (h + 1) * d_k)
            mask_h = None if mask is None else mask[..., h, :, :]
            context_h, weights_h = attend(q[..., columns], k[..., columns], v[..., columns], mask_h, 1, **options)
            contexts.append(context_h)
            weights.append(weights_h)
        context = torch.cat(contexts, dim=-1)
        if not options.get("need_weights", True):
            return context, None
        return context, torch.stack([_asked_for(weights_h) for weights_h in weights], dim=-3)

    return over_heads


def _over_items_and_queries(attend: Attention, takes: frozenset[str]) -> Attention:
    """Call ``attend`` once for each item of the batch and, under a mask, once for each query, if it takes neither."""
    batched, masked, heads = (capability in takes for capability in ("batch", "mask", "heads"))

    def over_items_and_queries(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, **options: float
    ) -> tuple[Tensor, Tensor | None]:
        if batched and (masked or mask is None):
            return attend(q, k, v, mask, num_heads, **options)
        *batch, T_q, _ = q.shape
        if mask is not None:
            mask = mask.expand(*batch, *([num_heads] if heads else []), T_q, k.shape[-2])
        context, weights = _context_of_no_keys(q, k, v), None
        if options.get("need_weights", True):
            weights = _weights_of_no_keys(q, k, num_heads if heads else None)
        for item in itertools.product(*map(range, batch)):
            one = (q[item], k[item], v[item])
            if masked or mask is None:
                context[item], found = attend(*one, None if mask is None else mask[item], num_heads, **options)
                if weights is not None:
                    weights[item] = _asked_for(found)
            else:
                rows = context[item], None if weights is None else weights[item]
                _fill_row_by_row(rows, attend, one, mask[item], options)
        return context, weights

    return over_items_and_queries


def _fill_row_by_row(
    rows: tuple[Tensor, Tensor | None],
    attend: Attention,
    one: tuple[Tensor, Tensor, Tensor],
    mask: Tensor,
    options: dict[str, float],
) -> None:
    """Fill context and weights, where they are asked for, query by query; one with no key keeps its zeros."""
    context, weights = rows
    q, k, v = one
    for i in range(q.shape[-2]):
        allowed = mask[i]  # (T_k)
        if allowed.any():
            context_i, weights_i = attend(q[i : i + 1], k[allowed], v[allowed], None, 1, **options)
            context[i] = context_i[0]
            if weights is not None:
                weights[i, allowed] = _asked_for(weights_i)[0]


def _asked_for(weights: Tensor | None) -> Tensor:
    if weights is None:
        raise TypeError("lift: the variant returned no weights (None), although they were asked for.")
    return weights


def _context_of_no_keys(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Zeros in the shape of the context, which autograd still knows to be made of q, k and v."""
    no_scores = q @ k[..., :0, :].transpose(-2, -1)  # (..., T_q, d_k) @ (..., d_k, 0) -> (..., T_q, 0)
    return no_scores @ v[..., :0, :]  # (..., T_q, 0) @ (..., 0, d_v) -> (..., T_q, d_v)


def _weights_of_no_keys(q: Tensor, k: Tensor, num_heads: int | None) -> Tensor:
    """Zeros in the shape of the weights, with an axis for heads or without, likewise."""
    q, k = q[..., :0], k[..., :0]
    if num_heads is not None:  # (..., T, 0) -> (..., H, T, 0)
        q, k = (x.unsqueeze(-3).expand(*x.shape[:-2], num_heads, *x.shape[-2:]) for x in (q, k))
    return q @ k.transpose(-2, -1)  # (..., T_q, 0) @ (..., 0, T_k) -> (..., T_q, T_k)


def _context_after_dropout(weights: Tensor, v: Tensor, dropout_p: float) -> Tensor:
    """The merged context that weights give after dropout: (..., H, T_q, T_k) and (..., T_k, d_model)."""
    *batch, num_heads, T_q, T_k = weights.shape
    d_model = v.shape[-1]
    v = v.view(*batch, T_k, num_heads, d_model // num_heads).transpose(-3, -2)
    context = F.dropout(weights, dropout_p) @ v  # (..., H, T_q, T_k) @ (..., H, T_k, d_k) -> (..., H, T_q, d_k)
    return context.transpose(-3, -2).reshape(*batch, T_q, d_model)
