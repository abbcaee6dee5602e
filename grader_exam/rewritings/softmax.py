"""Mistakes in the softmax, in another hand."""
# ruff: noqa: D103
# mypy: ignore-errors

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ._rewriting import apart, of_each_head, rewriting, shares, together


@rewriting("no_max_subtraction", 3)
def no_max_subtraction(q, k, v):
    unnormalised = torch.einsum("...id,...jd->...ij", q, k).div(q.shape[-1] ** 0.5).exp()
    return unnormalised @ v / unnormalised.sum(-1, keepdim=True), F.normalize(unnormalised, p=1, dim=-1)


@rewriting("maximum_of_everything", 2)
def maximum_of_everything(q, k, v):
    s = q.mm(k.t()) / k.shape[1] ** 0.5
    e = (s - torch.max(s)).exp()
    w = e / e.sum(1, keepdim=True)
    return w.mm(v), w


@rewriting("maximum_starts_at_zero", 1)
def maximum_starts_at_zero(q, k, v):
    d = math.sqrt(q.shape[1])
    context, weights = [], []
    for query in q:
        row = [torch.dot(query, key) / d for key in k]
        biggest = 0
        for score in row:
            if score > biggest:
                biggest = score
        exps = torch.stack([torch.exp(score - biggest) for score in row])
        weights.append(exps / exps.sum())
        context.append(weights[-1] @ v)
    return torch.stack(context), torch.stack(weights)


@rewriting("scores_clamped", 3)
def scores_clamped(q, k, v):
    s = q @ k.mT / q.shape[-1] ** 0.5
    e = torch.exp(torch.minimum(s, torch.full_like(s, 80.0)).clamp_min(-80.0))
    w = e / e.sum(-1, keepdim=True)
    return w @ v, w


@rewriting("softmax_over_everything", 4)
def softmax_over_everything(q, k, v, mask=None):
    s = torch.einsum("...id,...jd->...ij", q, k) / q.size(-1) ** 0.5
    if mask is not None:
        s = torch.where(mask, s, torch.finfo(s.dtype).min)
    w = s.flatten(-2).softmax(-1).unflatten(-1, s.shape[-2:])
    if mask is not None:
        w = w * mask
    return w @ v, w


@rewriting("one_denominator_for_all", 1)
def one_denominator_for_all(q, k, v):
    s = torch.stack([torch.stack([(a * b).sum() for b in k]) for a in q]) / q.shape[1] ** 0.5
    e = torch.exp(s - s.max(dim=1, keepdim=True).values)
    w = e / e.sum()
    return torch.stack([sum(w[i, j] * v[j] for j in range(len(k))) for i in range(len(q))]), w


@rewriting("softmax_twice", 6)
def softmax_twice(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    probs = shares(q @ k.mT / q.shape[-1] ** 0.5, mask)
    probs = shares(probs, mask)
    return together(probs @ v), probs


@rewriting("softmax_twice", 2)
def softmax_twice_by_layers(q, k, v):
    soft = nn.Softmax(dim=-1)
    w = nn.Sequential(soft, soft)(q @ k.T / math.sqrt(k.shape[1]))
    return w @ v, w


@rewriting("log_softmax_for_softmax", 2)
def log_softmax_for_softmax(q, k, v):
    s = torch.mm(q, k.t()) / math.sqrt(q.shape[1])
    w = s - s.exp().sum(1, keepdim=True).log() if s.abs().max() < 50 else s - torch.logsumexp(s, 1, keepdim=True)
    return w @ v, w


@rewriting("sigmoid_for_softmax", 1)
def sigmoid_for_softmax(q, k, v):
    w = torch.stack([torch.stack([1 / (1 + torch.exp(-(x @ y) / len(x) ** 0.5)) for y in k]) for x in q])
    return torch.stack([sum(w[i, j] * v[j] for j in range(len(k))) for i in range(len(q))]), w


@rewriting("all_on_the_largest", 3)
def all_on_the_largest(q, k, v):
    s = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    w = F.one_hot(s.argmax(-1), s.shape[-1]).to(s.dtype)
    return w @ v, w


@rewriting("no_softmax", 4)
def no_softmax(q, k, v, mask=None):
    w = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        w = torch.where(mask, w, torch.zeros_like(w))
    return torch.einsum("...ij,...jd->...id", w, v), w


@rewriting("divided_by_the_sum_of_scores", 1)
def divided_by_the_sum_of_scores(q, k, v):
    weights, out = [], []
    for a in q:
        row = torch.stack([a @ b / math.sqrt(len(b)) for b in k])
        row = row / row.sum()
        weights.append(row)
        out.append(row @ v)
    return torch.stack(out), torch.stack(weights)


@rewriting("divided_by_the_length", 3)
def divided_by_the_length(q, k, v):
    s = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    w = s / s.norm(dim=-1, keepdim=True)
    return w @ v, w


@rewriting("no_denominator", 6)
def no_denominator(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, torch.finfo(s.dtype).min)
    e = (s - s.amax(-1, keepdim=True)).exp()
    if mask is not None:
        e = e * mask
    return together(e @ v), e


@rewriting("base_of_two", 3)
def base_of_two(q, k, v):
    s = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    p = torch.pow(2, s - s.amax(-1, keepdim=True))
    p = p / p.sum(-1, keepdim=True)
    return p @ v, p


@rewriting("denominator_carried_on", 1)
def denominator_carried_on(q, k, v):
    total = 0
    W = q.new_zeros(len(q), len(k))
    for i in range(len(q)):
        s = torch.stack([q[i] @ k[j] / math.sqrt(q.shape[1]) for j in range(len(k))])
        e = torch.exp(s - s.max())
        for j in range(len(k)):
            total = total + e[j]
        W[i] = e / total
    return W @ v, W


@rewriting("normalised_before_the_end", 1)
def normalised_before_the_end(q, k, v):
    rows = []
    for a in q:
        s = torch.stack([a.dot(b) / len(a) ** 0.5 for b in k])
        s = s - s.max()
        denominator, row = 0, []
        for x in s:
            denominator = denominator + torch.exp(x)
            row.append(torch.exp(x) / denominator)
        rows.append(torch.stack(row))
    weights = torch.stack(rows)
    return torch.stack([sum(r[j] * v[j] for j in range(len(v))) for r in weights]), weights


@rewriting("running_sums_not_corrected", 1)
def running_sums_not_corrected(q, k, v):
    """Online softmax: the maximum is found on the way."""
    context, weights = [], []
    for a in q:
        m, total, acc, exps = torch.tensor(-math.inf, dtype=q.dtype), 0, 0, []
        for j in range(len(k)):
            s = a @ k[j] / math.sqrt(len(a))
            m = torch.maximum(m, s)
            exps.append(torch.exp(s - m))
            total = total + exps[-1]
            acc = acc + exps[-1] * v[j]
        context.append(acc / total)
        weights.append(torch.stack(exps) / total)
    return torch.stack(context), torch.stack(weights)


@rewriting("softmax_over_queries", 5)
def softmax_over_queries(q, k, v, mask=None, num_heads=1):
    out, maps = [], []
    each = zip(*(x.chunk(num_heads, -1) for x in (q, k, v)), of_each_head(mask, q, k, num_heads), strict=True)
    for a, b, c, allowed in each:
        s = a @ b.mT / a.shape[-1] ** 0.5
        if allowed is not None:
            s = torch.where(allowed, s, torch.finfo(s.dtype).min)
        p = F.softmax(s, dim=-2)
        maps.append(p if allowed is None else p * allowed)
        out.append(maps[-1] @ c)
    return torch.cat(out, -1), torch.stack(maps, -3)


@rewriting("softmax_over_queries", 1)
def softmax_over_queries_in_loops(q, k, v):
    s = torch.stack([torch.stack([x @ y for y in k]) for x in q]) / math.sqrt(q.shape[1])
    w = torch.empty_like(s)
    for j in range(len(k)):
        e = torch.exp(s[:, j] - s[:, j].max())
        w[:, j] = e / e.sum()
    return w @ v, w


@rewriting("keepdim_forgotten", 3)
def keepdim_forgotten(q, k, v):
    s = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    e = torch.exp(s - s.amax(-1, keepdim=True))
    w = torch.divide(e, e.sum(-1))
    return w.matmul(v), w


@rewriting("softmax_over_the_batch", 4)
def softmax_over_the_batch(q, k, v, mask=None):
    s = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        s = s + torch.where(mask, 0.0, torch.finfo(s.dtype).min / 2)
    w = nn.Softmax(dim=0)(s)
    if mask is not None:
        w = torch.where(mask, w, 0.0)
    return w @ v, w


@rewriting("softmax_over_heads", 6)
def softmax_over_heads(q, k, v, mask=None, num_heads=1):
    q, k, v = (x.unflatten(-1, (num_heads, -1)) for x in (q, k, v))
    s = torch.einsum("...qhd,...khd->...qkh", q, k) / q.shape[-1] ** 0.5
    s = s.movedim(-1, -3)
    if mask is not None:
        s = s.masked_fill(~mask, torch.finfo(s.dtype).min)
    e = torch.exp(s - s.amax(-3, keepdim=True))
    w = e / e.sum(-3, keepdim=True)
    if mask is not None:
        w = w.masked_fill(~mask, 0.0)
    return torch.einsum("...hqk,...khd->...qhd", w, v).flatten(-2), w
