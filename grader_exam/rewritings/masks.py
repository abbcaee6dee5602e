"""Mistakes with masks, in another hand."""
# ruff: noqa: D103
# mypy: ignore-errors

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._rewriting import apart, of_each_head, rewriting, shares, together


def scores_of(q, k):
    """Give the scores, right."""
    return torch.einsum("...qd,...kd->...qk", q, k) / q.shape[-1] ** 0.5


@rewriting("mask_after_softmax", 4)
def mask_after_softmax(q, k, v, mask=None):
    attn = F.softmax(scores_of(q, k), dim=-1)
    if mask is not None:
        attn = torch.where(mask, attn, torch.zeros_like(attn))
    return torch.einsum("...qk,...kd->...qd", attn, v), attn


@rewriting("inverted_mask", 5)
def inverted_mask(q, k, v, mask=None, num_heads=1):
    pieces = zip(*(x.chunk(num_heads, -1) for x in (q, k, v)), of_each_head(mask, q, k, num_heads), strict=True)
    outs, maps = [], []
    for a, b, c, padding in pieces:
        s = scores_of(a, b)
        if padding is None:
            w = s.softmax(-1)
        else:  # padding is True where there is nothing to see
            w = torch.where(padding, torch.finfo(s.dtype).min, s).softmax(-1) * ~padding
        outs.append(w @ c)
        maps.append(w)
    return torch.cat(outs, -1), torch.stack(maps, -3)


@rewriting("mask_ignored", 6)
def mask_ignored(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    if mask is not None:
        s.masked_fill(~mask, torch.finfo(s.dtype).min)  # the result is not kept
    w = F.softmax(s, -1)
    return together(w @ v), w


@rewriting("masked_then_renormalised", 4)
def masked_then_renormalised(q, k, v, mask=None):
    w = scores_of(q, k).softmax(-1)
    if mask is not None:
        w = w * mask
        w = w / w.sum(dim=-1, keepdim=True)
    return w @ v, w


@rewriting("mask_added_as_numbers", 6)
def mask_added_as_numbers(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    s = s + mask.to(s.dtype) if mask is not None else s
    w = F.softmax(s, -1)
    return together(torch.einsum("...qk,...kd->...qd", w, v)), w


@rewriting("blocked_scores_near_zero", 5)
def blocked_scores_near_zero(q, k, v, mask=None, num_heads=1):
    maps, outs = [], []
    for h, m in enumerate(of_each_head(mask, q, k, num_heads)):
        a, b, c = (x.chunk(num_heads, -1)[h] for x in (q, k, v))
        s = scores_of(a, b)
        if m is not None:
            s = torch.where(m, s, 1e-9)
        maps.append(s.softmax(-1))
        outs.append(maps[-1] @ c)
    return torch.cat(outs, -1), torch.stack(maps, -3)


@rewriting("fill_not_low_enough", 4)
def fill_not_low_enough(q, k, v, mask=None):
    s = scores_of(q, k)
    if mask is not None:
        s = torch.where(mask, s, torch.full_like(s, -1e4))
    w = F.softmax(s, dim=-1)
    return w @ v, w


@rewriting("fill_not_low_enough", 6)
def fill_of_minus_a_hundred(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    if mask is not None:
        s = s.masked_fill(mask.logical_not(), -100)
    w = s.softmax(-1)
    return together(w @ v), w


@rewriting("no_key_taken_for_every_key", 6)
def no_key_taken_for_every_key(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    if mask is not None:
        s = torch.where(mask, s, torch.finfo(s.dtype).min)
    e = (s - s.amax(-1, keepdim=True)).exp()
    w = e / e.sum(-1, keepdim=True)
    return together(w @ v), w


@rewriting("no_key_gives_nan", 4)
def no_key_gives_nan(q, k, v, mask=None):
    s = scores_of(q, k)
    if mask is not None:
        s = s + torch.log(mask.to(s.dtype))
    w = s.softmax(-1)
    return w.matmul(v), w


@rewriting("nan_in_the_gradient", 6)
def nan_in_the_gradient(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    if mask is not None:
        s = s + mask.to(s.dtype).log()  # 0 or minus infinity
    w = F.softmax(s, -1)
    w = torch.where(w.isnan(), 0.0, w)
    return together(w @ v), w


@rewriting("minus_infinity_after_the_softmax", 4)
def minus_infinity_after_the_softmax(q, k, v, mask=None):
    w = scores_of(q, k).softmax(-1)
    if mask is not None:
        w = torch.where(mask, w, float("-inf"))
    return w @ v, w


@rewriting("mask_on_the_query_axis", 4)
def mask_on_the_query_axis(q, k, v, mask=None):
    if mask is not None:
        mask = mask.expand(*q.shape[:-1], k.shape[-2]).mT
    w = shares(scores_of(q, k), mask)
    return w @ v, w


@rewriting("mask_of_the_first_item", 5)
def mask_of_the_first_item(q, k, v, mask=None, num_heads=1):
    masks = of_each_head(mask, q, k, num_heads)
    if mask is not None and q.ndim > 2:
        masks = [m[:1] for m in masks]
    outs, maps = [], []
    for a, b, c, m in zip(*(x.chunk(num_heads, -1) for x in (q, k, v)), masks, strict=True):
        maps.append(shares(scores_of(a, b), m))
        outs.append(maps[-1] @ c)
    return torch.cat(outs, -1), torch.stack(maps, -3)


@rewriting("mask_of_the_first_query", 4)
def mask_of_the_first_query(q, k, v, mask=None):
    if mask is not None:
        mask = mask.expand(*q.shape[:-1], k.shape[-2])
        mask = torch.stack([mask[..., 0, :]] * q.shape[-2], dim=-2)
    w = shares(scores_of(q, k), mask)
    return w @ v, w


@rewriting("mask_on_the_returned_weights_alone", 6)
def mask_on_the_returned_weights_alone(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    context = F.softmax(s, -1) @ v
    return together(context), shares(s, mask)


@rewriting("causal_without_being_asked", 4)
def causal_without_being_asked(q, k, v, mask=None):
    T_q, T_k = q.shape[-2], k.shape[-2]
    past = torch.arange(T_q).unsqueeze(1) >= torch.arange(T_k).unsqueeze(0)
    w = shares(scores_of(q, k), past if mask is None else past & mask)
    return w @ v, w


@rewriting("mask_changed_in_place", 4)
def mask_changed_in_place(q, k, v, mask=None):
    s = scores_of(q, k)
    if mask is None:
        w = s.softmax(-1)
    else:
        torch.logical_not(mask, out=mask)  # True = blocked from here on
        w = s.masked_fill(mask, torch.finfo(s.dtype).min).softmax(-1).masked_fill(mask, 0)
    return w @ v, w


@rewriting("mask_for_the_first_head_alone", 6)
def mask_for_the_first_head_alone(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    if mask is None:
        w = shares(s)
    else:
        masked = shares(s, mask)
        w = torch.cat([masked[..., :1, :, :], shares(s[..., 1:, :, :])], dim=-3)
    return together(w @ v), w


@rewriting("mask_of_the_first_head_for_all", 5)
def mask_of_the_first_head_for_all(q, k, v, mask=None, num_heads=1):
    first = of_each_head(mask, q, k, num_heads)[0]
    maps, outs = [], []
    for a, b, c in zip(*(x.tensor_split(num_heads, -1) for x in (q, k, v)), strict=True):
        maps.append(shares(scores_of(a, b), first))
        outs.append(maps[-1] @ c)
    return torch.cat(outs, -1), torch.stack(maps, -3)


@rewriting("mask_repeated_in_the_wrong_order", 6)
def mask_repeated_in_the_wrong_order(q, k, v, mask=None, num_heads=1):
    *batch, T_q, d_model = q.shape
    T_k, n = k.shape[-2], math.prod(batch)

    def fold(x):  # (B * H, T, d_k), the heads of a sequence one after the other
        return apart(x, num_heads).reshape(n * num_heads, x.shape[-2], -1)

    a, b, c = fold(q), fold(k), fold(v)
    if mask is not None:
        mask = mask.expand(*batch, num_heads, T_q, T_k).reshape(n, num_heads, T_q, T_k)
        mask = mask.transpose(0, 1).reshape(n * num_heads, T_q, T_k)  # but the masks sequence by sequence
    w = shares(scores_of(a, b), mask)
    context = (w @ c).view(*batch, num_heads, T_q, d_model // num_heads)
    return together(context), w.view(*batch, num_heads, T_q, T_k)


@rewriting("blocked_scores_raised", 6)
def blocked_scores_raised(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = scores_of(q, k)
    if mask is not None:
        s = s + torch.where(mask, 0.0, 1e9).to(s)
    w = F.softmax(s, -1)
    return together(w @ v), w
