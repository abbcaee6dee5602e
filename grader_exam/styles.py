"""Attention written in many ways, all of them right: no check may reject one.

Each is registered with the variants whose signature it takes. They differ in what students, textbooks and libraries
differ in: loops and products, how the softmax is made stable, how masks are filled, how heads are split, and in which
arithmetic the sums are taken.
"""
# ruff: noqa: D102, D103, PERF401
# mypy: ignore-errors

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

#: Function and variant.
STYLES: list[tuple[Callable, int]] = []


def right(*variants: int) -> Callable:
    """Register a right implementation with the variants that it can stand for.

    Parameters
    ----------
    *variants : int
        Whose signature it takes.

    Returns
    -------
    register : callable
        The decorator.
    """

    def register(function: Callable) -> Callable:
        STYLES.extend((function, variant) for variant in variants)
        return function

    return register


# ------------------------------------------------------------------------------------------ variants 1, 2 and 3


@right(1)
def three_loops(q, k, v):
    rows, contexts = [], []
    for i in range(q.shape[0]):
        scores = []
        for j in range(k.shape[0]):
            total = q.new_zeros(())
            for d in range(q.shape[1]):
                total = total + q[i, d] * k[j, d]
            scores.append(total / q.shape[1] ** 0.5)
        scores = torch.stack(scores)
        exps = (scores - scores.max().detach()).exp()
        weights = exps / exps.sum()
        rows.append(weights)
        contexts.append(sum(weights[j] * v[j] for j in range(k.shape[0])))
    return torch.stack(contexts), torch.stack(rows)


@right(1)
def online_softmax_in_loops(q, k, v):
    contexts, rows = [], []
    for i in range(len(q)):
        m, total, context, scores = q.new_tensor(-math.inf), q.new_zeros(()), v.new_zeros(v.shape[1]), []
        for j in range(len(k)):
            s = q[i].dot(k[j]) * k.shape[1] ** -0.5
            scores.append(s)
            new = torch.maximum(m, s)
            total = total * (m - new).exp() + (s - new).exp()
            context = context * (m - new).exp() + (s - new).exp() * v[j]
            m = new
        contexts.append(context / total)
        rows.append((torch.stack(scores) - m).exp() / total)
    return torch.stack(contexts), torch.stack(rows)


@right(1)
def in_place_rows(q, k, v):
    weights = torch.empty(q.shape[0], k.shape[0], dtype=q.dtype)
    context = torch.empty(q.shape[0], v.shape[1], dtype=q.dtype)
    for i, query in enumerate(q):
        scores = torch.stack([(query * key).sum() for key in k]) / math.sqrt(len(query))
        row = F.softmax(scores, dim=0)
        weights[i] = row
        context[i] = (row.unsqueeze(1) * v).sum(0)
    return context, weights


@right(1, 2, 3)
def einsum(q, k, v):
    weights = torch.einsum("...id,...jd->...ij", q, k).div(math.sqrt(q.shape[-1])).softmax(-1)
    return torch.einsum("...ij,...jd->...id", weights, v), weights


@right(1, 2, 3)
def float64_inside(q, k, v):
    context, weights = einsum(q.double(), k.double(), v.double())
    return context.to(q.dtype), weights.to(q.dtype)


@right(2, 3)
def softmax_in_float32(q, k, v):
    scores = q @ k.transpose(-1, -2) / math.sqrt(k.size(-1))
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return torch.matmul(weights, v), weights


@right(2, 3)
def broadcast_products(q, k, v):
    scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) / q.shape[-1] ** 0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    return (weights.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2), weights


@right(2, 3)
def log_sum_exp(q, k, v):
    scores = q @ k.mT * k.shape[-1] ** -0.5
    weights = torch.exp(scores - scores.logsumexp(dim=-1, keepdim=True))
    return weights @ v, weights


@right(2, 3)
def log_softmax_then_exp(q, k, v):
    weights = F.log_softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1).exp()
    return weights @ v, weights


@right(2)
def columns_then_transposed(q, k, v):
    weights = torch.softmax(k @ q.T / math.sqrt(q.shape[1]), dim=0).T
    return (v.T @ weights.T).T, weights


@right(2)
def addmm_and_fourth_roots(q, k, v):
    root = q.shape[1] ** 0.25
    scores = torch.addmm(torch.zeros(len(q), len(k), dtype=q.dtype), q / root, (k / root).t())
    weights = nn.Softmax(dim=1)(scores)
    return weights.mm(v), weights


@right(2, 3)
def fused_kernel_beside_weights(q, k, v):
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
    return F.scaled_dot_product_attention(q, k, v), weights


@right(3)
def bmm_on_a_flat_batch(q, k, v):
    batch = q.shape[:-2]
    q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    weights = torch.bmm(q / math.sqrt(q.shape[-1]), k.transpose(1, 2)).softmax(dim=2)
    context = torch.bmm(weights, v)
    return context.reshape(*batch, *context.shape[1:]), weights.reshape(*batch, *weights.shape[1:])


@right(3)
def baddbmm_with_alpha(q, k, v):
    batch = q.shape[:-2]
    q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    nothing = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
    scores = torch.baddbmm(nothing, q, k.transpose(1, 2), beta=0, alpha=1 / math.sqrt(q.shape[-1]))
    weights = F.softmax(scores, -1)
    context = torch.bmm(weights, v)
    return context.view(*batch, *context.shape[1:]), weights.view(*batch, *weights.shape[1:])


@right(3)
def recursion_over_the_batch(q, k, v):
    if q.ndim == 2:
        return einsum(q, k, v)
    pairs = [recursion_over_the_batch(*item) for item in zip(q, k, v, strict=True)]
    return torch.stack([c for c, _ in pairs]), torch.stack([w for _, w in pairs])


@right(3)
def vmap_over_the_batch(q, k, v):
    function = einsum
    for _ in range(q.ndim - 2):
        function = torch.func.vmap(function)
    return function(q, k, v)


@right(1)
def nested_functions(q, k, v):
    def score(i, j):
        return sum(q[i, d] * k[j, d] for d in range(q.shape[1])) / math.sqrt(q.shape[1])

    def row(i):
        scores = torch.stack([score(i, j) for j in range(k.shape[0])])
        return F.softmax(scores, dim=-1)

    weights = torch.stack([row(i) for i in range(q.shape[0])])
    return torch.stack([sum(w * x for w, x in zip(row, v, strict=True)) for row in weights]), weights


@right(1)
def max_by_hand_and_three_passes(q, k, v):
    """First the scores, then their exponentials, then the sums."""
    n, m, d = len(q), len(k), q.shape[1]
    context, weights = [], []
    for i in range(n):
        s = []
        for j in range(m):
            s.append(torch.dot(q[i], k[j]) / d**0.5)
        largest = s[0]
        for x in s[1:]:
            if x > largest:
                largest = x
        e = [torch.exp(x - largest) for x in s]
        total = e[0]
        for x in e[1:]:
            total = total + x
        w = [x / total for x in e]
        c = w[0] * v[0]
        for j in range(1, m):
            c = c + w[j] * v[j]
        context.append(c)
        weights.append(torch.stack(w))
    return torch.stack(context), torch.stack(weights)


@right(1, 2)
def one_query_after_the_other(q, k, v):
    if q.shape[0] == 0:
        return v.new_zeros(0, v.shape[1]), q.new_zeros(0, k.shape[0])
    head = torch.softmax(k.mv(q[0]) / math.sqrt(q.shape[1]), dim=0)
    context, weights = one_query_after_the_other(q[1:], k, v)
    return torch.cat([v.T.mv(head)[None], context]), torch.cat([head[None], weights])


class Attention:
    """Attention as an object that is called."""

    def __init__(self, axis=-1):
        self.softmax = nn.Softmax(dim=axis)

    def scores(self, q, k):
        return torch.matmul(q, k.transpose(-2, -1)) * (1.0 / math.sqrt(q.size(-1)))

    def __call__(self, q, k, v):
        weights = self.softmax(self.scores(q, k))
        return torch.matmul(weights, v), weights


STYLES += [(Attention(), 2), (Attention(), 3)]


def with_its_power(q, k, v, *, power):
    weights = torch.softmax(torch.tensordot(q, k, dims=([1], [1])) * q.shape[1] ** power, dim=1)
    return torch.tensordot(weights, v, dims=1), weights


STYLES.append((functools.partial(with_its_power, power=-0.5), 2))


@right(2)
def kernel_with_the_identity_for_weights(q, k, v):
    """Whoever wants to see the weights can ask with values that are the identity."""
    eye = torch.eye(len(k), dtype=q.dtype)
    ask = F.scaled_dot_product_attention
    return ask(q[None], k[None], v[None])[0], ask(q[None], k[None], eye[None])[0]


@right(3)
def stacked_comprehension(q, k, v):
    flat = [x.reshape(-1, *x.shape[-2:]) for x in (q, k, v)]
    pairs = [einsum(a, b, c) for a, b, c in zip(*flat, strict=True)]
    context, weights = (torch.stack(x) for x in zip(*pairs, strict=True))
    return context.view(*q.shape[:-1], v.shape[-1]), weights.view(*q.shape[:-1], k.shape[-2])


# --------------------------------------------------------------------------------------------- variant 4, a mask


@right(4)
def minus_infinity_and_safe_rows(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        weights = scores.softmax(-1)
        return weights @ v, weights
    mask = mask.expand_as(scores)
    empty = ~mask.any(-1, keepdim=True)
    scores = scores.masked_fill(~(mask | empty), float("-inf"))
    weights = torch.where(empty, 0.0, scores.softmax(-1))
    return weights @ v, weights


@right(4)
def additive_mask(q, k, v, mask=None):
    scores = torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(q.size(-1))
    if mask is not None:
        bias = torch.zeros(mask.shape, dtype=scores.dtype)
        bias[~mask] = -1e9 if scores.dtype != torch.float16 else -6e4
        scores = scores + bias
    weights = F.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
    return weights @ v, weights


@right(4)
def exponentials_times_mask(q, k, v, mask=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    highest = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).amax(-1, keepdim=True)
    exps = torch.where(mask, (torch.where(mask, scores, highest) - highest).exp(), 0.0)
    weights = exps / exps.sum(-1, keepdim=True).clamp(min=1e-9)
    return weights @ v, weights


@right(4)
def chunked_online_softmax(q, k, v, mask=None):
    T_q, T_k = q.shape[-2], k.shape[-2]
    mask = torch.ones((), dtype=torch.bool) if mask is None else mask
    mask = mask.expand(*q.shape[:-2], T_q, T_k)
    q = q / math.sqrt(q.shape[-1])
    highest = q.new_full((*q.shape[:-1], 1), torch.finfo(q.dtype).min)
    total, context, parts = torch.zeros_like(highest), v.new_zeros(*q.shape[:-1], v.shape[-1]), []
    for start in range(0, T_k, 2):
        allowed = mask[..., start : start + 2]
        scores = (q @ k[..., start : start + 2, :].mT).masked_fill(~allowed, torch.finfo(q.dtype).min)
        parts.append(scores)
        new = torch.maximum(highest, scores.amax(-1, keepdim=True))
        exps = (scores - new).exp() * allowed
        factor = (highest - new).exp()
        total = total * factor + exps.sum(-1, keepdim=True)
        context = context * factor + exps @ v[..., start : start + 2, :]
        highest = new
    safe = total.clamp(min=1e-6)
    return context / safe, (torch.cat(parts, -1) - highest).exp() * mask / safe


@right(4)
def one_query_at_a_time(q, k, v, mask=None):
    weights = torch.zeros(*q.shape[:-1], k.shape[-2], dtype=q.dtype)
    mask = torch.ones(weights.shape, dtype=torch.bool) if mask is None else mask.expand(weights.shape)
    rows = []
    for i in range(q.shape[-2]):
        scores = (k @ q[..., i, :, None]).squeeze(-1) / math.sqrt(q.shape[-1])
        allowed = mask[..., i, :]
        scores = torch.where(allowed, scores, torch.tensor(-1e30).to(scores.dtype).clamp(min=torch.finfo(q.dtype).min))
        rows.append(torch.softmax(scores, -1) * allowed)
    weights = torch.stack(rows, dim=-2)
    return weights @ v, weights


@right(4)
def cast_and_cast_back(q, k, v, mask=None):
    dtype = q.dtype
    q, k, v = q.to(torch.float64), k.to(torch.float64), v.to(torch.float64)
    scores = torch.matmul(q, k.mT) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = torch.where(mask, scores, -1e300)
    attn = torch.softmax(scores, dim=-1)
    if mask is not None:
        attn = torch.where(mask, attn, 0.0)
    return torch.matmul(attn, v).to(dtype), attn.to(dtype)


@right(4)
def two_ways_out(q, k, v, mask=None):
    if mask is None:
        return einsum(q, k, v)
    scores = torch.einsum("...id,...jd->...ij", q, k) / math.sqrt(q.shape[-1])
    blocked = torch.logical_not(mask)
    scores = scores.masked_fill(blocked, torch.finfo(scores.dtype).min)
    exps = torch.exp(scores - scores.max(dim=-1, keepdim=True).values) * mask
    total = exps.sum(dim=-1, keepdim=True)
    weights = exps / torch.where(total == 0, torch.ones_like(total), total)
    return weights.matmul(v), weights


@right(4)
def only_the_allowed_keys(q, k, v, mask=None):
    """Each query attends over the keys that it may see, and over no others."""
    if mask is None:
        return einsum(q, k, v)
    mask = mask.expand(*q.shape[:-1], k.shape[-2])
    flat_q, flat_k, flat_v = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    flat_mask = mask.reshape(-1, *mask.shape[-2:])
    context, weights = [], []
    for b in range(len(flat_q)):
        for i in range(q.shape[-2]):
            keys = flat_mask[b, i].nonzero().squeeze(1)
            row = torch.softmax(flat_k[b, keys] @ flat_q[b, i] / math.sqrt(q.shape[-1]), dim=0)
            weights.append(q.new_zeros(k.shape[-2]).index_add(0, keys, row))
            context.append(row @ flat_v[b, keys])
    context, weights = torch.stack(context), torch.stack(weights)
    return context.view(*q.shape[:-1], v.shape[-1]), weights.view(mask.shape)


@right(4)
def kernel_beside_weights(q, k, v, mask=None):
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v), einsum(q, k, v)[1]
    seen = mask.any(-1, keepdim=True)
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~seen) * seen
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~(mask | ~seen), -math.inf).softmax(-1) * seen
    return context, weights


# ------------------------------------------------------------------------------------------ variants 5, 6 and 7


def mask_rows(scores, mask):
    if mask is None:
        return F.softmax(scores, dim=-1)
    return F.softmax(scores.masked_fill(mask.logical_not(), torch.finfo(scores.dtype).min), -1).masked_fill(~mask, 0)


@right(5, 6)
def split_by_einsum(q, k, v, mask=None, num_heads=1):
    q, k, v = (x.unflatten(-1, (num_heads, -1)) for x in (q, k, v))
    scores = torch.einsum("...qhd,...khd->...hqk", q, k) / math.sqrt(q.shape[-1])
    weights = mask_rows(scores, mask)
    return torch.einsum("...hqk,...khd->...qhd", weights, v).flatten(-2), weights


@right(5, 6)
def chunk_and_stack(q, k, v, mask=None, num_heads=1):
    q, k, v = (torch.stack(x.chunk(num_heads, dim=-1), dim=-3) for x in (q, k, v))
    weights = mask_rows(q @ k.mT / math.sqrt(q.size(-1)), mask)
    return torch.cat((weights @ v).unbind(-3), dim=-1), weights


@right(5, 6)
def heads_in_the_batch(q, k, v, mask=None, num_heads=1):
    batch, T_q, d_k = q.shape[:-2], q.shape[-2], q.shape[-1] // num_heads

    def fold(x):
        x = x.reshape(-1, x.shape[-2], num_heads, d_k).permute(0, 2, 1, 3)
        return x.reshape(-1, x.shape[-2], d_k)

    q, k, v = fold(q), fold(k), fold(v)
    T_k = k.shape[1]
    scores = torch.bmm(q, k.transpose(1, 2)) / math.sqrt(d_k)
    if mask is not None:
        mask = mask.expand(*batch, num_heads, T_q, T_k).reshape(-1, T_q, T_k)
    weights = mask_rows(scores, mask)
    context = torch.bmm(weights, v).reshape(-1, num_heads, T_q, d_k).permute(0, 2, 1, 3).contiguous()
    return context.view(*batch, T_q, num_heads * d_k), weights.view(*batch, num_heads, T_q, T_k)


@right(5)
def loop_into_slices(q, k, v, mask=None, num_heads=1):
    d_k = q.shape[-1] // num_heads
    context = torch.zeros_like(q)
    weights = q.new_zeros(*q.shape[:-2], num_heads, q.shape[-2], k.shape[-2])
    everything = mask is None
    mask = torch.ones_like(weights, dtype=torch.bool) if everything else mask.expand_as(weights)
    for h in range(num_heads):
        own = slice(h * d_k, (h + 1) * d_k)
        scores = q[..., own] @ k[..., own].transpose(-1, -2) / d_k**0.5
        weights[..., h, :, :] = mask_rows(scores, mask[..., h, :, :])
        context[..., own] = weights[..., h, :, :].clone() @ v[..., own]
    return context, weights


@right(5, 6)
def multihead_attention_module_with_identities(q, k, v, mask=None, num_heads=1):
    batch, d_model = q.shape[:-2], q.shape[-1]
    q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    module = nn.MultiheadAttention(d_model, num_heads, bias=False, batch_first=True, dtype=q.dtype)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.eye(d_model).repeat(3, 1))
        module.out_proj.weight.copy_(torch.eye(d_model))
    blocked, empty = None, None
    if mask is not None:
        mask = mask.expand(*batch, num_heads, q.shape[1], k.shape[1]).reshape(-1, num_heads, q.shape[1], k.shape[1])
        empty = ~mask.any(-1, keepdim=True)
        blocked = ~(mask | empty).flatten(0, 1)
    context, weights = module(q, k, v, attn_mask=blocked, average_attn_weights=False)
    if empty is not None:
        weights = weights.masked_fill(empty, 0.0)
        context = context.unflatten(-1, (num_heads, -1)).masked_fill(empty.transpose(1, 2), 0.0).flatten(-2)
    return context.reshape(*batch, *context.shape[1:]), weights.reshape(*batch, *weights.shape[1:])


@right(6)
def vmap_over_the_heads(q, k, v, mask=None, num_heads=1):
    q, k, v = (x.unflatten(-1, (num_heads, -1)) for x in (q, k, v))
    scores = torch.func.vmap(lambda a, b: a @ b.mT / math.sqrt(a.shape[-1]), in_dims=-2, out_dims=-3)(q, k)
    weights = mask_rows(scores, mask)
    return torch.func.vmap(torch.matmul, in_dims=(-3, -2), out_dims=-2)(weights, v).flatten(-2), weights


@right(5, 6)
def rearranged(q, k, v, mask=None, num_heads=1):
    """From "b t (h d)" to "b h t d", and back."""

    def rearrange(x):
        *batch, T, width = x.shape
        return x.reshape(*batch, T, num_heads, width // num_heads).permute(*range(len(batch)), -2, -3, -1)

    q, k, v = rearrange(q), rearrange(k), rearrange(v)
    weights = mask_rows(torch.matmul(q, k.transpose(-1, -2)) * (q.shape[-1] ** -0.5), mask)
    return torch.matmul(weights, v).movedim(-3, -2).flatten(start_dim=-2), weights


class MultiHead(nn.Module):
    """A module without parameters."""

    def forward(self, q, k, v, mask=None, num_heads=1):
        heads = [self.attend(*x) for x in zip(*(x.split(x.shape[-1] // num_heads, -1) for x in (q, k)), strict=True)]
        weights = mask_rows(torch.stack(heads, dim=-3), mask)
        values = v.unflatten(-1, (num_heads, v.shape[-1] // num_heads))
        return torch.einsum("...hij,...jhd->...ihd", weights, values).flatten(-2), weights

    def attend(self, q, k):
        return q @ k.mT / math.sqrt(q.shape[-1])


STYLES += [(MultiHead(), 5), (MultiHead(), 6)]


@right(5)
def recursion_over_the_heads(q, k, v, mask=None, num_heads=1):
    d_k = q.shape[-1] // num_heads
    if mask is not None:
        mask = mask.expand(*q.shape[:-2], num_heads, q.shape[-2], k.shape[-2])
    own = None if mask is None else mask[..., 0, :, :]
    weights = mask_rows(q[..., :d_k] @ k[..., :d_k].mT / d_k**0.5, own)
    context, weights = weights @ v[..., :d_k], weights.unsqueeze(-3)
    if num_heads == 1:
        return context, weights
    rest = (x[..., d_k:] for x in (q, k, v))
    others = recursion_over_the_heads(*rest, None if mask is None else mask[..., 1:, :, :], num_heads - 1)
    return torch.cat([context, others[0]], dim=-1), torch.cat([weights, others[1]], dim=-3)


@right(6)
def scores_as_a_broadcast_sum(q, k, v, mask=None, num_heads=1):
    q, k, v = (x.unflatten(-1, (num_heads, -1)).movedim(-2, -3) for x in (q, k, v))
    scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(dim=-1).div(math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores + torch.zeros_like(scores).masked_fill(~mask, torch.finfo(scores.dtype).min / 2)
    exps = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    if mask is not None:
        exps = torch.where(mask.expand_as(exps), exps, torch.zeros_like(exps))
    weights = exps / exps.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(exps.dtype).tiny)
    return (weights.unsqueeze(-1) * v.unsqueeze(-3)).sum(dim=-2).movedim(-3, -2).flatten(-2), weights


def fused(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False, kernel=True):
    causal = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril() if is_causal else None
    if causal is not None:
        mask = causal if mask is None else mask & causal
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v))
    weights = mask_rows(q @ k.mT / math.sqrt(q.shape[-1]), mask) if need_weights or not kernel else None
    if kernel:
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p)
        if mask is not None:
            context = torch.where(mask.any(-1, keepdim=True), context, 0.0)
    else:
        context = F.dropout(weights, dropout_p) @ v
    return context.transpose(-3, -2).flatten(-2), weights if need_weights else None


@right(7)
def kernel_with_one_mask(q, k, v, mask=None, num_heads=1, **options):
    return fused(q, k, v, mask, num_heads, **options)


@right(7)
def dropout_by_hand(q, k, v, mask=None, num_heads=1, **options):
    return fused(q, k, v, mask, num_heads, **options, kernel=False)


@right(7)
def kernel_with_an_additive_mask(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    if is_causal:
        causal = torch.triu(torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool), diagonal=1).logical_not()
        mask = causal if mask is None else torch.logical_and(mask, causal)
    *batch, T_q, d_model = q.shape
    q, k, v = (x.view(*batch, -1, num_heads, d_model // num_heads).transpose(-3, -2) for x in (q, k, v))
    bias = empty = None
    if mask is not None:
        empty = ~mask.any(dim=-1, keepdim=True)
        bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~(mask | empty), float("-inf"))
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout_p)
    if empty is not None:
        context = context.masked_fill(empty, 0.0)
    weights = None
    if need_weights:
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.size(-1))
        weights = torch.softmax(scores if bias is None else scores + bias, dim=-1)
        if empty is not None:
            weights = weights.masked_fill(empty, 0.0)
    return context.transpose(-3, -2).reshape(*batch, T_q, d_model), weights


@right(7)
def kernel_called_with_all_its_keywords(
    q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False
):
    heads = [x.unflatten(-1, (num_heads, -1)).movedim(-2, -3) for x in (q, k, v)]
    scores = heads[0] @ heads[1].mT * heads[0].shape[-1] ** -0.5
    allowed = torch.ones(scores.shape[-2:], dtype=torch.bool)
    if is_causal:
        allowed = allowed.tril()
    if mask is not None:
        allowed = allowed & mask
    lost = torch.logical_not(allowed.any(dim=-1, keepdim=True))
    context = F.scaled_dot_product_attention(
        *heads,
        attn_mask=torch.where(allowed | lost, 0.0, -math.inf).to(q.dtype),
        dropout_p=dropout_p,
        is_causal=False,
        scale=1 / math.sqrt(heads[0].shape[-1]),
        enable_gqa=False,
    )
    context = context.masked_fill(lost, 0).movedim(-3, -2).flatten(-2)
    return (context, mask_rows(scores, allowed)) if need_weights else (context, None)


@right(7)
def bernoulli_by_hand(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    if is_causal:
        past = torch.arange(q.shape[-2])[:, None] >= torch.arange(k.shape[-2])[None, :]
        mask = past if mask is None else past & mask
    context, weights = split_by_einsum(q, k, v, mask, num_heads)
    if dropout_p > 0:
        keep = torch.bernoulli(torch.full_like(weights, 1 - dropout_p)) / (1 - dropout_p)
        values = v.unflatten(-1, (num_heads, -1))
        context = torch.einsum("...hqk,...khd->...qhd", weights * keep, values).flatten(-2)
    return context, weights if need_weights else None


@right(7)
def head_by_head_in_the_kernel(q, k, v, mask=None, num_heads=1, **options):
    """One call of the kernel for each head, and the options passed on as they come."""
    d_k, T_q, T_k = q.shape[-1] // num_heads, q.shape[-2], k.shape[-2]
    causal = torch.ones(T_q, T_k, dtype=torch.bool).tril() if options.get("is_causal") else None
    if causal is not None:
        mask = causal if mask is None else causal & mask
    masks = [None] * num_heads if mask is None else mask.expand(*q.shape[:-2], num_heads, T_q, T_k).unbind(-3)
    contexts, weights = [], []
    for a, b, c, own in zip(*(x.split(d_k, dim=-1) for x in (q, k, v)), masks, strict=True):
        seen = torch.ones(T_q, 1, dtype=torch.bool) if own is None else own.any(-1, keepdim=True)
        bias = None if own is None else own | ~seen
        out = F.scaled_dot_product_attention(a, b, c, attn_mask=bias, dropout_p=options.get("dropout_p", 0.0))
        contexts.append(out * seen)
        if options.get("need_weights", True):
            weights.append(mask_rows(a @ b.mT / math.sqrt(d_k), own))
    return torch.cat(contexts, dim=-1), torch.stack(weights, dim=-3) if weights else None
