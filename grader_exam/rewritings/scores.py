"""Mistakes in the scores, in another hand."""
# ruff: noqa: D103
# mypy: ignore-errors

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._rewriting import apart, of_each_head, rewriting, shares, together


@rewriting("no_scale", 5)
def no_scale(q, k, v, mask=None, num_heads=1):
    width = q.size(-1) // num_heads
    outs, maps = [], []
    for h, allowed in enumerate(of_each_head(mask, q, k, num_heads)):
        own = slice(h * width, (h + 1) * width)
        maps.append(shares(torch.einsum("...qd,...kd->...qk", q[..., own], k[..., own]), allowed))
        outs.append(maps[-1] @ v[..., own])
    return torch.cat(outs, -1), torch.stack(maps, -3)


@rewriting("scale_by_d_k", 3)
def scale_by_d_k(q, k, v):
    """Attention of the paper, with the temperature of the paper."""
    temperature = k.shape[-1]
    attn = F.softmax(torch.einsum("...id,...jd->...ij", q, k / temperature), dim=-1)
    return torch.einsum("...ij,...jd->...id", attn, v), attn


@rewriting("scale_multiplied", 1)
def scale_multiplied(q, k, v):
    factor = q.shape[1] ** 0.5
    A = torch.stack([torch.stack([sum(a * b for a, b in zip(x, y, strict=True)) * factor for y in k]) for x in q])
    A = torch.stack([torch.exp(row - row.max()) / torch.exp(row - row.max()).sum() for row in A])
    return torch.stack([(row[:, None] * v).sum(0) for row in A]), A


@rewriting("scale_by_the_number_of_keys", 4)
def scale_by_the_number_of_keys(q, k, v, mask=None):
    energy = torch.einsum("...qd,...kd->...qk", q, k)
    attention = shares(energy / k.shape[-2] ** 0.5, mask)
    return torch.einsum("...qk,...kd->...qd", attention, v), attention


@rewriting("scale_by_the_number_of_queries", 2)
def scale_by_the_number_of_queries(q, k, v):
    d = q.size(0)
    w = (torch.mm(q, k.t()) * d**-0.5).softmax(1)
    return torch.mm(w, v), w


@rewriting("scale_by_the_width_of_the_values", 3)
def scale_by_the_width_of_the_values(q, k, v):
    logits = (q[..., :, None, :] * k[..., None, :, :]).sum(-1)
    prob = F.softmax(logits / v.shape[-1] ** 0.5, dim=-1)
    return prob @ v, prob


@rewriting("half_of_d_k", 6)
def half_of_d_k(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    attn = shares(q @ k.mT / (q.shape[-1] * 0.5), mask)
    return together(attn @ v), attn


@rewriting("root_cut_to_an_integer", 1)
def root_cut_to_an_integer(q, k, v):
    root = q.shape[1] ** 0.5 // 1
    w = torch.stack([F.softmax(torch.stack([query.dot(key) / root for key in k]), 0) for query in q])
    return torch.stack([sum(w[i, j] * v[j] for j in range(len(v))) for i in range(len(q))]), w


@rewriting("scale_after_the_softmax", 3)
def scale_after_the_softmax(q, k, v):
    alpha = F.softmax(q.matmul(k.mT), -1).mul(k.size(-1) ** -0.5)
    return alpha.matmul(v), alpha


@rewriting("queries_and_keys_swapped", 4)
def queries_and_keys_swapped(q, k, v, mask=None):
    sims = torch.einsum("...id,...jd->...ij", k, q) / math.sqrt(q.shape[-1])
    probs = shares(sims, mask)
    return torch.einsum("...ij,...jd->...id", probs, v), probs


@rewriting("values_for_keys", 2)
def values_for_keys(q, k, v):
    scores = torch.stack([(v * row).sum(1) for row in q]) / k.shape[1] ** 0.5
    w = F.softmax(scores, 1)
    return w.mm(v), w


@rewriting("cosine_similarity", 3)
def cosine_similarity(q, k, v):
    cos = F.cosine_similarity(q.unsqueeze(-2), k.unsqueeze(-3), dim=-1)
    w = (cos / q.size(-1) ** 0.5).softmax(-1)
    return w @ v, w


@rewriting("cosine_similarity", 6)
def cosine_similarity_of_each_head(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT / math.sqrt(q.size(-1)), mask)
    return together(w @ v), w


@rewriting("scores_returned_as_weights", 6)
def scores_returned_as_weights(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    att = torch.einsum("...qd,...kd->...qk", q, k) / q.shape[-1] ** 0.5
    return together(shares(att, mask) @ v), att


@rewriting("keys_reshaped", 3)
def keys_reshaped(q, k, v):
    k_t = k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2])  # (..., d_k, T_k)
    w = (torch.matmul(q, k_t) / math.sqrt(q.shape[-1])).softmax(-1)
    return w @ v, w


@rewriting("score_carried_on", 1)
def score_carried_on(q, k, v):
    dot, rows = 0.0, []
    for a in q:
        row = []
        for b in k:
            for x, y in zip(a, b, strict=True):
                dot = dot + x * y
            row.append(dot / len(a) ** 0.5)
        rows.append(F.softmax(torch.stack(row), dim=0))
    w = torch.stack(rows)
    return torch.stack([(row[:, None] * v).sum(0) for row in w]), w


@rewriting("last_key_never_scored", 1)
def last_key_never_scored(q, k, v):
    w = q.new_zeros(len(q), len(k))
    for i in range(len(q)):
        for j in range(len(k) - 1):
            w[i][j] = torch.dot(q[i], k[j]) / math.sqrt(k.shape[1])
    w = torch.exp(w - w.amax(1, keepdim=True))
    w = w / w.sum(1, keepdim=True)
    return torch.stack([sum(w[i, j] * v[j] for j in range(len(k))) for i in range(len(q))]), w
