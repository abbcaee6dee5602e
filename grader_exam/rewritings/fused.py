"""Mistakes around the fused kernel, in another hand."""
# ruff: noqa: D103
# mypy: ignore-errors

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._rewriting import apart, rewriting, shares, together, with_causal


def scores_of(q, k):
    """Give the scores, right."""
    return torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(q.shape[-1])


def kernel(q, k, v, mask, dropout_p=0.0):
    """Call the kernel so that a query with no key gets 0."""
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p)
    empty = ~mask.any(-1, keepdim=True)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask | empty, dropout_p=dropout_p)
    return torch.where(empty, 0.0, out)


@rewriting("dropout_in_evaluation", 7)
def dropout_in_evaluation(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(scores_of(q, k), with_causal(mask, q, k, is_causal))
    return together(torch.nn.Dropout(dropout_p or 0.1)(w) @ v), w if need_weights else None


@rewriting("dropout_ignored", 7)
def dropout_ignored(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(scores_of(q, k), with_causal(mask, q, k, is_causal))
    return together(F.dropout(w, dropout_p, training=False) @ v), w if need_weights else None


@rewriting("dropout_without_rescaling", 7)
def dropout_without_rescaling(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(scores_of(q, k), with_causal(mask, q, k, is_causal))
    kept = torch.rand(w.shape) >= dropout_p
    return together((w * kept) @ v), w if need_weights else None


@rewriting("dropout_on_the_scores", 7)
def dropout_on_the_scores(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = F.dropout(scores_of(q, k), dropout_p)
    w = shares(s, with_causal(mask, q, k, is_causal))
    return together(w @ v), w if need_weights else None


@rewriting("dropout_on_the_context", 7)
def dropout_on_the_context(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(scores_of(q, k), with_causal(mask, q, k, is_causal))
    return F.dropout(together(w @ v), dropout_p), w if need_weights else None


@rewriting("weights_returned_after_dropout", 7)
def weights_returned_after_dropout(
    q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False
):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = F.dropout(shares(scores_of(q, k), with_causal(mask, q, k, is_causal)), p=dropout_p)
    out = together(torch.einsum("...qk,...kd->...qd", w, v))
    if not need_weights:
        return out, None
    return out, w


@rewriting("is_causal_ignored", 7)
def is_causal_ignored(q, k, v, mask=None, num_heads=1, **options):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    out = together(kernel(q, k, v, mask, options.get("dropout_p", 0.0)))
    return out, shares(scores_of(q, k), mask) if options.get("need_weights", True) else None


@rewriting("is_causal_ignored_beside_a_mask", 7)
def is_causal_ignored_beside_a_mask(
    q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False
):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    if mask is None:
        mask = with_causal(None, q, k, is_causal)
    w = shares(scores_of(q, k), mask)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None


@rewriting("causal_replaces_the_mask", 7)
def causal_replaces_the_mask(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    if is_causal:
        i, j = torch.arange(q.shape[-2])[:, None], torch.arange(k.shape[-2])[None, :]
        mask = j <= i
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(scores_of(q, k), mask)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None


@rewriting("future_in_the_returned_weights", 7)
def future_in_the_returned_weights(
    q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False
):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    both = with_causal(mask, q, k, is_causal)
    context = together(kernel(q, k, v, both, dropout_p))
    if not need_weights:
        return context, None
    # for the picture
    return context, shares(scores_of(q, k), mask if mask is None else both)


@rewriting("causal_by_triu", 7)
def causal_by_triu(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    if is_causal:
        tri = torch.triu(torch.ones(q.shape[-2], k.shape[-2])) == 1
        mask = tri if mask is None else torch.logical_and(mask, tri)
    w = shares(scores_of(q, k), mask)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None


@rewriting("causal_sees_the_next_key", 7)
def causal_sees_the_next_key(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    if is_causal:
        i, j = torch.arange(q.shape[-2])[:, None], torch.arange(k.shape[-2])[None, :]
        mask = (j <= i + 1) if mask is None else (j <= i + 1) & mask
    w = shares(scores_of(q, k), mask)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None


@rewriting("causal_does_not_see_itself", 7)
def causal_does_not_see_itself(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    if is_causal:
        i, j = torch.arange(q.shape[-2])[:, None], torch.arange(k.shape[-2])[None, :]
        mask = (j < i) if mask is None else (j < i) & mask
    w = shares(scores_of(q, k), mask)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None


@rewriting("causal_from_the_bottom_right", 7)
def causal_from_the_bottom_right(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    T_q, T_k = q.shape[-2], k.shape[-2]
    if is_causal:
        last = torch.arange(T_k - T_q, T_k)[:, None]  # where each query stands among the keys
        past = torch.arange(T_k) <= last
        mask = past if mask is None else past & mask
    w = shares(scores_of(q, k), mask)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None


@rewriting("kernel_gets_the_mask_inverted", 7)
def kernel_gets_the_mask_inverted(
    q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False
):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    mask = with_causal(mask, q, k, is_causal)
    blocked = None if mask is None else torch.logical_not(mask)
    context = together(kernel(q, k, v, blocked, dropout_p))
    return context, shares(scores_of(q, k), mask) if need_weights else None


@rewriting("scaled_before_the_kernel", 7)
def scaled_before_the_kernel(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    mask = with_causal(mask, q, k, is_causal)
    context = together(kernel(q, k * k.shape[-1] ** -0.5, v, mask, dropout_p))
    return context, shares(scores_of(q, k), mask) if need_weights else None


@rewriting("weights_recomputed_without_scale", 7)
def weights_recomputed_without_scale(
    q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False
):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    mask = with_causal(mask, q, k, is_causal)
    context = together(kernel(q, k, v, mask, dropout_p))
    return context, shares(torch.einsum("...qd,...kd->...qk", q, k), mask) if need_weights else None


@rewriting("weights_recomputed_without_the_mask", 7)
def weights_recomputed_without_the_mask(
    q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False
):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    context = together(kernel(q, k, v, with_causal(mask, q, k, is_causal), dropout_p))
    # the map beside it knows of the causal mask only
    return context, shares(scores_of(q, k), with_causal(None, q, k, is_causal)) if need_weights else None


@rewriting("weights_made_though_not_needed", 7)
def weights_made_though_not_needed(q, k, v, mask=None, num_heads=1, *, is_causal=False, dropout_p=0.0, **_):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(scores_of(q, k), with_causal(mask, q, k, is_causal))
    return together(F.dropout(w, dropout_p) @ v), w


@rewriting("weights_never_returned", 7)
def weights_never_returned(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    return together(kernel(q, k, v, with_causal(mask, q, k, is_causal), dropout_p)), None
