"""Mistakes with heads, in another hand."""
# ruff: noqa: D103
# mypy: ignore-errors

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._rewriting import apart, of_each_head, rewriting, shares, together


def head_by_head(q, k, v, mask, num_heads):
    """Give context and weights of each head, right."""
    pieces = zip(*(x.chunk(num_heads, -1) for x in (q, k, v)), of_each_head(mask, q, k, num_heads), strict=True)
    for a, b, c, m in pieces:
        w = shares(a @ b.mT / a.shape[-1] ** 0.5, m)
        yield w @ c, w


@rewriting("scale_by_d_model", 5)
def scale_by_d_model(q, k, v, mask=None, num_heads=1):
    scale = q.size(-1) ** -0.5
    outs, maps = [], []
    for a, b, c, m in zip(
        *(x.chunk(num_heads, -1) for x in (q, k, v)), of_each_head(mask, q, k, num_heads), strict=True
    ):
        maps.append(shares(scale * torch.einsum("...id,...jd->...ij", a, b), m))
        outs.append(maps[-1] @ c)
    return torch.cat(outs, -1), torch.stack(maps, -3)


@rewriting("scale_by_the_number_of_heads", 6)
def scale_by_the_number_of_heads(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(torch.einsum("...id,...jd->...ij", q, k) / q.shape[-3] ** 0.5, mask)
    return together(w @ v), w


@rewriting("heads_averaged", 6)
def heads_averaged(q, k, v, mask=None, num_heads=1):
    contexts, weights = zip(*head_by_head(q, k, v, mask, num_heads), strict=True)
    return sum(contexts) / num_heads, torch.stack(weights, -3)


@rewriting("heads_summed", 5)
def heads_summed(q, k, v, mask=None, num_heads=1):
    total, maps = 0, []
    for c, w in head_by_head(q, k, v, mask, num_heads):
        total = total + c
        maps.append(w)
    return total, torch.stack(maps, -3)


@rewriting("heads_interleaved_in_the_merge", 6)
def heads_interleaved_in_the_merge(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(q @ k.mT / math.sqrt(q.shape[-1]), mask)
    return torch.einsum("...hqk,...khd->...qdh", w, v.transpose(-3, -2)).flatten(-2), w


@rewriting("every_hth_column_to_a_head", 5)
def every_hth_column_to_a_head(q, k, v, mask=None, num_heads=1):
    contexts, maps = [], []
    for h, m in enumerate(of_each_head(mask, q, k, num_heads)):
        a, b, c = (x[..., h::num_heads] for x in (q, k, v))
        maps.append(shares(a @ b.mT / a.shape[-1] ** 0.5, m))
        contexts.append(maps[-1] @ c)
    return torch.cat(contexts, -1), torch.stack(maps, -3)


@rewriting("every_head_reads_the_first_columns", 6)
def every_head_reads_the_first_columns(q, k, v, mask=None, num_heads=1):
    d = q.shape[-1] // num_heads
    q, k, v = (torch.stack([x[..., :d] for _ in range(num_heads)], -3) for x in (q, k, v))
    w = shares(q @ k.mT / d**0.5, mask)
    return together(w @ v), w


@rewriting("heads_in_reverse", 5)
def heads_in_reverse(q, k, v, mask=None, num_heads=1):
    contexts, weights = zip(*head_by_head(q, k, v, mask, num_heads), strict=True)
    return torch.cat([contexts[-1 - h] for h in range(num_heads)], -1), torch.stack(weights, -3)


@rewriting("last_head_left_out", 5)
def last_head_left_out(q, k, v, mask=None, num_heads=1):
    pairs = list(head_by_head(q, k, v, mask, num_heads))
    context = [pairs[h][0] for h in range(num_heads - 1)]
    weights = [pairs[h][1] for h in range(num_heads - 1)]
    return torch.cat(context, -1), torch.stack(weights, -3)


@rewriting("number_of_heads_ignored", 6)
def number_of_heads_ignored(q, k, v, mask=None, num_heads=1):
    s = torch.einsum("...id,...jd->...ij", q, k) / math.sqrt(q.shape[-1])
    s = s.unsqueeze(-3)  # a place for the heads
    w = shares(s, mask)
    return (w @ v.unsqueeze(-3)).squeeze(-3), w


@rewriting("weights_averaged_over_heads", 5)
def weights_averaged_over_heads(q, k, v, mask=None, num_heads=1):
    contexts, weights = zip(*head_by_head(q, k, v, mask, num_heads), strict=True)
    return torch.cat(contexts, dim=-1), sum(weights) / len(weights)


@rewriting("weights_of_the_last_head", 5)
def weights_of_the_last_head(q, k, v, mask=None, num_heads=1):
    context = []
    for h, m in enumerate(of_each_head(mask, q, k, num_heads)):
        a, b, c = (apart(x, num_heads)[..., h, :, :] for x in (q, k, v))
        attn = shares(a @ b.mT / a.shape[-1] ** 0.5, m)
        context.append(attn @ c)
    return torch.cat(context, dim=-1), attn


@rewriting("weights_stacked_before_the_batch", 5)
def weights_stacked_before_the_batch(q, k, v, mask=None, num_heads=1):
    contexts, weights = zip(*head_by_head(q, k, v, mask, num_heads), strict=True)
    return torch.cat(contexts, -1), torch.stack(weights)


@rewriting("view_without_transpose", 6)
def view_without_transpose(q, k, v, mask=None, num_heads=1):
    def split(x):
        *lead, T, D = x.shape
        return x.reshape(*lead, num_heads, T, D // num_heads)

    q, k, v = split(q), split(k), split(v)
    w = shares(torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5, mask)
    return together(w @ v), w


@rewriting("merge_without_transpose", 6)
def merge_without_transpose(q, k, v, mask=None, num_heads=1):
    Q, K, V = (apart(x, num_heads) for x in (q, k, v))
    w = shares(torch.einsum("...id,...jd->...ij", Q, K) / Q.shape[-1] ** 0.5, mask)
    return (w @ V).flatten(-3).unflatten(-1, q.shape[-2:]), w


@rewriting("merge_swaps_the_wrong_axes", 6)
def merge_swaps_the_wrong_axes(q, k, v, mask=None, num_heads=1):
    Q, K, V = (apart(x, num_heads) for x in (q, k, v))
    w = shares(torch.einsum("...id,...jd->...ij", Q, K) / Q.shape[-1] ** 0.5, mask)
    out = torch.einsum("...hqk,...hkd->...hdq", w, V).contiguous()
    return out.view(q.shape), w


@rewriting("heads_attend_to_heads", 6)
def heads_attend_to_heads(q, k, v, mask=None, num_heads=1):
    q, k, v = (x.unflatten(-1, (num_heads, -1)) for x in (q, k, v))  # (..., T, H, d_k)
    s = torch.einsum("...hd,...gd->...hg", q, k) / math.sqrt(q.size(-1))
    w = shares(s, mask)
    return torch.einsum("...hg,...gd->...hd", w, v).flatten(-2), w


@rewriting("heads_and_width_exchanged", 6)
def heads_and_width_exchanged(q, k, v, mask=None, num_heads=1):
    d_k = q.shape[-1] // num_heads
    a, b, c = (x.unflatten(-1, (d_k, num_heads)).transpose(-3, -2) for x in (q, k, v))
    w = shares(a @ b.mT / d_k**0.5, mask)
    return (w @ c).transpose(-3, -2).flatten(-2), w


@rewriting("softmax_over_heads", 7)
def softmax_over_heads(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = q @ k.mT / q.shape[-1] ** 0.5
    if is_causal:
        past = torch.ones(s.shape[-2:], dtype=torch.bool).tril()
        mask = past if mask is None else past & mask
    if mask is not None:
        s = s.masked_fill(~mask, torch.finfo(s.dtype).min)
    w = F.softmax(s, dim=-3)
    if mask is not None:
        w = w.masked_fill(~mask, 0.0)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None
