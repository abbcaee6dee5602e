"""Mistakes in the weighted sum and with the batch, in another hand."""
# ruff: noqa: D103, PERF401
# mypy: ignore-errors

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._rewriting import apart, rewriting, shares, together


def rows_of(q, k):
    """Give the weights of each query, one after the other, right."""
    for a in q:
        s = torch.stack([(a * b).sum() for b in k]) / len(a) ** 0.5
        yield (s - s.logsumexp(0)).exp()


@rewriting("last_key_left_out", 1)
def last_key_left_out(q, k, v):
    w = torch.stack(list(rows_of(q, k)))
    out = []
    for i in range(len(q)):
        acc = torch.zeros_like(v[0])
        for j in range(len(k) - 1):
            acc = acc + w[i][j] * v[j]
        out.append(acc)
    return torch.stack(out), w


@rewriting("last_query_left_out", 1)
def last_query_left_out(q, k, v):
    n = len(q)
    weights, context = q.new_zeros(n, len(k)), v.new_zeros(n, v.shape[1])
    for i in range(n - 1):
        s = torch.stack([torch.dot(q[i], key) for key in k]) / math.sqrt(q.shape[1])
        weights[i] = F.softmax(s, 0)
    for i in range(n - 1):
        context[i] = weights[i].clone() @ v
    return context, weights


@rewriting("sum_overwritten", 1)
def sum_overwritten(q, k, v):
    w = torch.stack(list(rows_of(q, k)))
    out = []
    for i in range(len(q)):
        for j in range(len(k)):
            acc = w[i, j] * v[j]
        out.append(acc)
    return torch.stack(out), w


@rewriting("value_of_the_query", 1)
def value_of_the_query(q, k, v):
    w = torch.stack(list(rows_of(q, k)))
    context = [sum(w[i, j] * v[i] for j in range(len(k))) for i in range(len(q))]
    return torch.stack(context), w


@rewriting("context_carried_on", 1)
def context_carried_on(q, k, v):
    acc, out, ws = torch.zeros(v.shape[1], dtype=v.dtype), [], []
    for w in rows_of(q, k):
        for j in range(len(w)):
            acc = acc + w[j] * v[j]
        out.append(acc)
        ws.append(w)
    return torch.stack(out), torch.stack(ws)


@rewriting("context_as_wide_as_the_keys", 1)
def context_as_wide_as_the_keys(q, k, v):
    w = torch.stack(list(rows_of(q, k)))
    out = torch.zeros(q.shape, dtype=q.dtype)
    for i in range(q.shape[0]):
        for d in range(q.shape[1]):
            for j in range(k.shape[0]):
                out[i, d] = out[i, d] + w[i, j] * v[j, d]
    return out, w


@rewriting("keys_for_values", 4)
def keys_for_values(q, k, v, mask=None):
    w = shares(torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(k.size(-1)), mask)
    return torch.einsum("...qk,...kd->...qd", w, k), w


@rewriting("queries_for_values", 3)
def queries_for_values(q, k, v):
    w = F.softmax(torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(k.size(-1)), -1)
    return (w[..., None] * q[..., None, :, :]).sum(-2), w


@rewriting("weights_transposed", 3)
def weights_transposed(q, k, v):
    w = F.softmax(torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(k.size(-1)), -1)
    return w.mT @ v, w


@rewriting("weights_transposed", 2)
def weights_transposed_by_einsum(q, k, v):
    w = (torch.einsum("id,jd->ij", q, k) * k.size(1) ** -0.5).softmax(-1)
    return torch.einsum("ji,jd->id", w, v), w


@rewriting("context_averaged", 6)
def context_averaged(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    w = shares(q @ k.mT / q.shape[-1] ** 0.5, mask)
    return together((w.unsqueeze(-1) * v.unsqueeze(-3)).mean(-2)), w


@rewriting("weights_detached", 1)
def weights_detached(q, k, v):
    w = torch.stack(list(rows_of(q, k)))
    context = []
    for row in w:
        context.append(sum(x.item() * y for x, y in zip(row, v, strict=True)))
    return torch.stack(context), w


@rewriting("queries_detached", 4)
def queries_detached(q, k, v, mask=None):
    w = shares(torch.einsum("...qd,...kd->...qk", q.data, k) / math.sqrt(k.size(-1)), mask)
    return w @ v, w


@rewriting("keys_detached", 6)
def keys_detached(q, k, v, mask=None, num_heads=1):
    with torch.no_grad():
        keys = apart(k, num_heads) * 1.0
    w = shares(apart(q, num_heads) @ keys.mT / keys.shape[-1] ** 0.5, mask)
    return together(w @ apart(v, num_heads)), w


@rewriting("values_detached", 2)
def values_detached(q, k, v):
    w = (q @ k.T / math.sqrt(k.size(1))).softmax(-1)
    return torch.stack([row @ torch.from_numpy(v.detach().numpy()) for row in w]), w


@rewriting("no_gradients", 3)
def no_gradients(q, k, v):
    with torch.inference_mode():
        w = F.softmax(torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(k.size(-1)), -1)
        context = w @ v
    return context.clone(), w.clone()


@rewriting("no_gradients", 1)
def no_gradients_by_numbers(q, k, v):
    Q, K, V = q.tolist(), k.tolist(), v.tolist()
    W, C = [], []
    for a in Q:
        s = [sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(len(a)) for b in K]
        e = [math.exp(x - max(s)) for x in s]
        W.append([x / sum(e) for x in e])
        C.append([sum(W[-1][j] * V[j][d] for j in range(len(V))) for d in range(len(V[0]))])
    return torch.tensor(C, dtype=q.dtype), torch.tensor(W, dtype=q.dtype)


@rewriting("transpose_of_the_batch", 3)
def transpose_of_the_batch(q, k, v):
    d_k = k.shape[-1]
    attn = F.softmax(torch.matmul(q, torch.transpose(k, 0, 1)) / d_k**0.5, dim=-1)
    return torch.matmul(attn, v), attn


@rewriting("batch_as_one_sequence", 3)
def batch_as_one_sequence(q, k, v):
    Q, K, V = (x.flatten(0, -2) for x in (q, k, v))  # all tokens, one below the other
    w = (Q @ K.T / math.sqrt(Q.shape[1])).softmax(1)
    return (w @ V).view(*q.shape[:-1], v.shape[-1]), w.view(*q.shape[:-1], -1)


@rewriting("batch_averaged", 4)
def batch_averaged(q, k, v, mask=None):
    w = shares(torch.einsum("...qd,...kd->...qk", q, k) / math.sqrt(k.size(-1)), mask)
    c = w @ v
    if c.ndim > 2:
        c = torch.stack([c.mean(0)] * len(c))
    return c, w


@rewriting("only_the_first_item", 3)
def only_the_first_item(q, k, v):
    if q.ndim == 2:
        w = (q @ k.T / math.sqrt(q.shape[1])).softmax(-1)
        return w @ v, w
    pairs = [only_the_first_item(q[b], k[0], v[0]) for b in range(len(q))]
    return torch.stack([c for c, _ in pairs]), torch.stack([w for _, w in pairs])


@rewriting("batch_taken_for_the_sequence", 3)
def batch_taken_for_the_sequence(q, k, v):
    if q.ndim == 2:
        w = (q @ k.T / math.sqrt(q.shape[1])).softmax(-1)
        return w @ v, w
    w = (torch.einsum("sbd,tbd->bst", q, k) / math.sqrt(q.shape[-1])).softmax(-1)  # sequence, batch, width
    return torch.einsum("bst,tbd->sbd", w, v), w
