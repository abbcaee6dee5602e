"""Right code after the seven in many styles: none of it may be rejected."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import attention_variants as av

#: Function or class, and goal.
RIGHT: list[tuple[Any, str]] = []


def right(goal: str) -> Callable[[Any], Any]:
    """Register right code."""

    def register(made: Any) -> Any:
        RIGHT.append((made, goal))
        return made

    return register


# -------------------------------------------------------------------------------------------------------- rotary


@right("apply_rotary")
def rope_rotate_half_in_float32(x, positions):
    inv_freq = 1.0 / (10000 ** (torch.arange(0, x.shape[-1], 2).float() / x.shape[-1]))
    freqs = positions.float()[..., None] * inv_freq
    emb = torch.cat((freqs, freqs), dim=-1)
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return (x * emb.cos() + turned * emb.sin()).to(x.dtype)


@right("apply_rotary")
def rope_complex(x, positions, base=10_000.0, pairs="halves"):
    half = x.shape[-1] // 2
    angle = positions[..., None] * base ** (-torch.arange(half, dtype=torch.float64) / half)
    x64 = x.double()
    if pairs == "halves":
        z = torch.complex(x64[..., :half].contiguous(), x64[..., half:].contiguous()) * torch.exp(1j * angle)
        return torch.cat([z.real, z.imag], -1).to(x.dtype)
    z = torch.view_as_complex(x64.unflatten(-1, (half, 2)).contiguous()) * torch.exp(1j * angle)
    return torch.view_as_real(z).flatten(-2).to(x.dtype)


@right("apply_rotary")
def rope_table_lookup(x, positions):
    half = x.shape[-1] // 2
    table = torch.outer(torch.arange(4096).double(), 10000.0 ** (-torch.arange(half).double() / half))
    cos, sin = table.cos()[positions].to(x.dtype), table.sin()[positions].to(x.dtype)
    return torch.cat([x[..., :half] * cos - x[..., half:] * sin, x[..., half:] * cos + x[..., :half] * sin], -1)


@right("apply_rotary")
def rope_by_matrices(x, positions):
    half = x.shape[-1] // 2
    angle = positions[..., None] * 10000.0 ** (-torch.arange(half).double() / half)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # (..., half, 2, 2)
    planes = x.double().unflatten(-1, (2, half)).transpose(-2, -1).unsqueeze(-1)
    return (turn @ planes).squeeze(-1).transpose(-2, -1).flatten(-2).to(x.dtype)


@right("apply_rotary")
def rope_roll(x, positions):
    half = x.shape[-1] // 2
    angle = (positions[..., None] * 10000.0 ** (-torch.arange(half).double() / half)).repeat_interleave(1, -1)
    angle = torch.cat([angle, angle], -1)
    sign = torch.ones(x.shape[-1], dtype=x.dtype)
    sign[:half] = -1
    return x * angle.cos().to(x.dtype) + torch.roll(x, half, -1) * sign * angle.sin().to(x.dtype)


@right("apply_rotary")
def rope_in_loops(x, positions):
    where = positions.expand(x.shape[:-1])
    half, out = x.shape[-1] // 2, torch.empty_like(x)
    for index in np.ndindex(*x.shape[:-1]):
        for i in range(half):
            a = int(where[index]) * 10000.0 ** (-i / half)
            out[(*index, i)] = x[(*index, i)] * math.cos(a) - x[(*index, i + half)] * math.sin(a)
            out[(*index, i + half)] = x[(*index, i)] * math.sin(a) + x[(*index, i + half)] * math.cos(a)
    return out


# --------------------------------------------------------------------------------------------------- shared keys


@right("grouped_query_attention")
def gqa_repeat_interleave(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    q = q.unflatten(-1, (num_heads, -1)).transpose(-3, -2)
    k, v = (x.unflatten(-1, (num_kv_heads, -1)).transpose(-3, -2) for x in (k, v))
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=-3) for x in (k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, -1)
    weights = torch.nan_to_num(weights) if mask is not None else weights
    if mask is not None:
        weights = torch.where(mask.any(-1, keepdim=True), weights, 0.0)
    return (weights @ v).transpose(-3, -2).flatten(-2), weights


@right("grouped_query_attention")
def gqa_einsum(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    q = q.unflatten(-1, (num_kv_heads, num_heads // num_kv_heads, -1))
    k, v = (x.unflatten(-1, (num_kv_heads, -1)) for x in (k, v))
    s = torch.einsum("...qgrd,...kgd->...grqk", q, k).flatten(-4, -3) * q.shape[-1] ** -0.5
    if mask is not None:
        s = torch.where(mask, s, torch.finfo(s.dtype).min)
    w = s.softmax(-1)
    w = w if mask is None else w * mask
    out = torch.einsum("...grqk,...kgd->...qgrd", w.unflatten(-3, (num_kv_heads, -1)), v)
    return out.flatten(-3), w


@right("grouped_query_attention")
def gqa_in_loops(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    d, shared = q.shape[-1] // num_heads, num_heads // num_kv_heads
    contexts, maps = [], []
    if mask is not None:
        mask = mask.expand(*q.shape[:-2], num_heads, q.shape[-2], k.shape[-2])
    for h in range(num_heads):
        g = h // shared
        mine = None if mask is None else mask[..., h, :, :]
        kh, vh = k[..., g * d : (g + 1) * d], v[..., g * d : (g + 1) * d]
        context, weights = av.attention_masked(q[..., h * d : (h + 1) * d], kh, vh, mine)
        contexts.append(context)
        maps.append(weights)
    return torch.cat(contexts, -1), torch.stack(maps, -3)


@right("grouped_query_attention")
def gqa_sdpa(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    q = q.unflatten(-1, (num_heads, -1)).transpose(-3, -2)
    k, v = (x.unflatten(-1, (num_kv_heads, -1)).transpose(-3, -2) for x in (k, v))
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    if mask is not None:
        context = torch.where(mask.any(-1, keepdim=True), context, 0.0)
    eye = torch.eye(k.shape[-2], dtype=v.dtype).expand(*k.shape[:-1], k.shape[-2])
    weights = F.scaled_dot_product_attention(q, k, eye, attn_mask=mask, enable_gqa=True)
    if mask is not None:
        weights = torch.where(mask.any(-1, keepdim=True), weights, 0.0)
    return context.transpose(-3, -2).flatten(-2), weights


@right("grouped_query_attention")
def gqa_by_variant_6(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    times = num_heads // num_kv_heads
    k, v = (x.unflatten(-1, (num_kv_heads, -1)).repeat_interleave(times, -2).flatten(-2) for x in (k, v))
    return av.multihead_attention(q, k, v, mask, num_heads)


# -------------------------------------------------------------------------------------------------------- caches


@right("KVCache")
class CacheOfLists:
    def __init__(self):
        self.keys, self.values = [], []

    def append(self, k, v):
        self.keys.append(k)
        self.values.append(v)
        return torch.cat(self.keys, dim=-2), torch.cat(self.values, dim=-2)

    def __len__(self):
        return sum(k.shape[-2] for k in self.keys)

    def mask(self, T_new):
        T = len(self)
        return torch.ones(T_new, T + T_new, dtype=torch.bool).tril(T)


@right("KVCache")
class CacheWithAllThatThereIs:
    def __init__(self, max_len=None):
        self.max_len, self.k, self.v = max_len, None, None

    def append(self, k, v):
        self.k = k if self.k is None else torch.concat((self.k, k), -2)
        self.v = v if self.v is None else torch.concat((self.v, v), -2)
        return self.k, self.v

    def __len__(self):
        return 0 if self.k is None else self.k.size(-2)

    @property
    def bytes(self):
        return self.k.nbytes + self.v.nbytes

    def mask(self, T_new):
        rows = torch.arange(len(self), len(self) + T_new)
        return torch.arange(len(self) + T_new)[None, :] <= rows[:, None]

    def trim(self, length):
        self.k, self.v = self.k.narrow(-2, 0, length), self.v.narrow(-2, 0, length)

    def reorder(self, items):
        self.k, self.v = self.k.index_select(0, items), self.v.index_select(0, items)


@right("KVCache")
class CacheOfTokens:
    """One entry for each token, in a dict by position."""

    def __init__(self):
        self.tokens = {}

    def append(self, k, v):
        for pair in zip(k.unbind(-2), v.unbind(-2), strict=True):
            self.tokens[len(self.tokens)] = pair
        return tuple(torch.stack([self.tokens[i][n] for i in sorted(self.tokens)], -2) for n in (0, 1))

    def reorder(self, items):
        self.tokens = {i: (k[items], v[items]) for i, (k, v) in self.tokens.items()}


@right("KVCache")
class CacheThatDoublesItsRoom:
    def __init__(self):
        self.n, self.k, self.v = 0, None, None

    def append(self, k, v):
        T = k.shape[-2]
        if self.k is None:
            self.k, self.v = k[..., :0, :], v[..., :0, :]
        if self.n + T > self.k.shape[-2]:
            more = 2 * (self.n + T)
            self.k, self.v = (
                torch.cat([x[..., : self.n, :], x.new_zeros(*x.shape[:-2], more - self.n, x.shape[-1])], -2)
                for x in (self.k, self.v)
            )
        where = torch.arange(self.n, self.n + T)
        self.k, self.v = self.k.index_copy(-2, where, k), self.v.index_copy(-2, where, v)
        self.n += T
        return self.k[..., : self.n, :], self.v[..., : self.n, :]

    def __len__(self):
        return self.n

    def trim(self, length):
        self.n = length


@right("KVCache")
class CacheAsModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("k", None)
        self.register_buffer("v", None)

    def append(self, k, v):
        self.k = k if self.k is None else torch.hstack([self.k, k]) if k.ndim == 3 else torch.cat([self.k, k], 2)
        self.v = v if self.v is None else torch.hstack([self.v, v]) if v.ndim == 3 else torch.cat([self.v, v], 2)
        return [self.k, self.v]


@right("RollingKVCache")
class RollsByCat:
    def __init__(self, window, sinks=0):
        self.window, self.sinks, self.seen, self.pairs = window, sinks, 0, []

    def append(self, k, v):
        for pair in zip(k.unbind(-2), v.unbind(-2), strict=True):
            self.pairs.append((self.seen, *pair))
            self.seen += 1
        found = torch.stack([p[1] for p in self.pairs], -2), torch.stack([p[2] for p in self.pairs], -2)
        self.pairs = [p for p in self.pairs if p[0] < self.sinks or p[0] >= self.seen - self.window]
        return found

    def __len__(self):
        return len(self.pairs)


@right("RollingKVCache")
class RollsInARing:
    """The oldest is overwritten where it stands, so that keys come back in no order of the text."""

    def __init__(self, window):
        self.window, self.seen, self.k, self.v = window, 0, None, None

    def append(self, k, v):
        old = min(self.seen, self.window)
        if self.k is None:
            self.k, self.v = (x.new_zeros(*x.shape[:-2], self.window, x.shape[-1]) for x in (k, v))
        found = torch.cat([self.k[..., :old, :], k], -2), torch.cat([self.v[..., :old, :], v], -2)
        for i in range(k.shape[-2]):
            if self.window:
                self.k[..., self.seen % self.window, :] = k[..., i, :]
                self.v[..., self.seen % self.window, :] = v[..., i, :]
            self.seen += 1
        return found


@right("RollingKVCache")
class RollsByRoll:
    def __init__(self, window):
        self.window, self.seen, self.k, self.v = window, 0, None, None

    def append(self, k, v):
        T, old = k.shape[-2], min(self.seen, self.window)
        if self.k is None:
            self.k, self.v = (x.new_zeros(*x.shape[:-2], self.window, x.shape[-1]) for x in (k, v))
        found = (
            torch.cat([self.k[..., self.window - old :, :], k], -2),
            torch.cat([self.v[..., self.window - old :, :], v], -2),
        )
        new = min(T, self.window)
        if new:
            self.k, self.v = torch.roll(self.k, -new, -2), torch.roll(self.v, -new, -2)
            self.k[..., -new:, :], self.v[..., -new:, :] = k[..., -new:, :], v[..., -new:, :]
        self.seen += T
        return found


# ------------------------------------------------------------------------------------------------ masks, sampling


@right("causal_mask")
def mask_tril(T_q, T_k=None, align="top-left"):
    T_k = T_q if T_k is None else T_k
    return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q if align == "bottom-right" else 0)


@right("causal_mask")
def mask_in_loops(T_q, T_k):
    return torch.tensor([[j <= i for j in range(T_k)] for i in range(T_q)])


@right("causal_mask")
def mask_not_triu(T_q, T_k=None, **options):
    shift = (T_k - T_q) * (options.get("align") == "bottom-right")
    return (
        ~torch.triu(torch.ones(T_q, T_k)).bool() | torch.eye(T_q, T_k).bool()
        if not shift
        else (torch.arange(T_k)[None] <= torch.arange(T_q)[:, None] + shift)
    )


@right("sampling_probabilities")
def sample_filters(logits, temperature=1.0, top_k=None, top_p=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.size(-1)).to(logits)
    logits = logits / temperature
    if top_k is not None:
        keep = logits.argsort(dim=-1, descending=True, stable=True)[..., :top_k]
        logits = torch.full_like(logits, -torch.inf).scatter(-1, keep, logits.gather(-1, keep))
    if top_p is not None:
        s, i = logits.sort(dim=-1, descending=True, stable=True)
        p = s.softmax(-1)
        remove = torch.roll(p.cumsum(-1) >= top_p, 1, -1)
        remove[..., 0] = False
        logits = logits.masked_fill(torch.zeros_like(remove).scatter(-1, i, remove), -torch.inf)
    return logits.softmax(-1)


@right("sampling_probabilities")
def sample_numpy(logits, *, temperature=1.0, top_k=None, top_p=None):
    x = logits.detach().double().numpy()
    out = np.zeros_like(x)
    for at in np.ndindex(*x.shape[:-1]):
        row = x[at]
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        if temperature == 0:
            out[(*at, order[0])] = 1.0
            continue
        order = order[:top_k]
        p = np.exp((row[order] - row.max()) / temperature)
        p /= p.sum()
        if top_p is not None:
            n = 0
            while n < len(p) and p[:n].sum() < top_p:
                n += 1
            order, p = order[:n], p[:n] / p[:n].sum()
        out[at][order] = p
    return torch.from_numpy(out).to(logits.dtype)


@right("sampling_probabilities")
def sample_temperature_alone(logits, temperature=1.0):
    if temperature == 0:
        return (logits == logits.amax(-1, keepdim=True)).to(logits.dtype)
    return (logits.log_softmax(-1) / temperature).softmax(-1)


# ------------------------------------------------------------------------------------- around a cache, and a model


@right("attend_with_cache")
def step_by_hand(q, k, v, cache, num_heads=1, num_kv_heads=1):
    k, v = cache.append(k, v)
    T, T_k = q.shape[-2], k.shape[-2]
    q = q.unflatten(-1, (num_heads, -1)).transpose(-3, -2)
    k, v = (x.unflatten(-1, (num_kv_heads, -1)).transpose(-3, -2) for x in (k, v))
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=-3) for x in (k, v))
    s = q @ k.mT / math.sqrt(q.shape[-1])
    w = s.masked_fill(~torch.ones(T, T_k).tril(T_k - T).bool(), -torch.inf).softmax(-1)
    return (w @ v).transpose(-3, -2).flatten(-2), w


@right("attend_with_cache")
def step_with_the_mask_of_the_package(q, k, v, cache, num_heads, num_kv_heads):
    k, v = cache.append(k, v)
    mask = None if q.shape[-2] == 1 else av.causal_mask(q.shape[-2], k.shape[-2], align="bottom-right")
    return av.grouped_query_attention(q, k, v, mask, num_heads, num_kv_heads)


right("generate")(av.generate)


@right("generate")
def writes_after_the_beginning(model, tokens, max_new_tokens):
    if not max_new_tokens:
        return tokens
    cache = model.new_cache(tokens.shape[1] + max_new_tokens)
    logits, _ = model(tokens, cache)
    out = [tokens]
    for left in reversed(range(max_new_tokens)):
        out.append(logits[:, -1].argmax(-1, keepdim=True))
        if left:
            logits, _ = model(out[-1], cache)
    return torch.cat(out, -1)


@right("generate")
def writes_one_step_more(model, tokens, max_new_tokens):
    cache = [av.KVCache() for _ in model.layers]
    logits = model(tokens, cache)[0]
    for _ in range(max_new_tokens):
        new = logits[:, -1].topk(1).indices
        tokens = torch.cat([tokens, new], 1)
        logits = model(new, cache)[0]
    return tokens


@right("RotaryAttention")
class RotaryWithSdpa(av.RotaryAttention):
    def forward(self, x, cosine, sine, cache=None):
        B, T, _ = x.shape
        q, k = self.norm_q(self.w_q(x).view(B, T, -1, self.d_k)), self.norm_k(self.w_k(x).view(B, T, -1, self.d_k))
        q, k = ((y * torch.cat([cosine] * 2, -1) + self._half(y) * torch.cat([sine] * 2, -1)) for y in (q, k))
        k, v = k.flatten(2), self.w_v(x)
        if cache is not None:
            k, v = cache.append(k, v)
        T_k = k.shape[1]
        q, k, v = q.transpose(1, 2), *(y.view(B, T_k, -1, self.d_k).transpose(1, 2) for y in (k, v))
        mask = torch.ones(T, T_k, dtype=torch.bool).tril(T_k - T)
        if self.window is not None:
            mask = mask & torch.ones(T, T_k, dtype=torch.bool).triu(T_k - T - self.window)
        context = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        eye = torch.eye(T_k, dtype=x.dtype).expand(B, self.num_kv_heads, T_k, T_k)
        weights = F.scaled_dot_product_attention(q, k, eye, mask, enable_gqa=True)
        return self.w_o(context.transpose(1, 2).flatten(2)), weights

    def _half(self, y):
        a, b = y.chunk(2, -1)
        return torch.cat([-b, a], -1)


@right("LanguageModel")
class ModelWithoutWeights(av.LanguageModel):
    def forward(self, tokens, cache=None):
        x = self.embedding(tokens)
        start = len(cache[0]) if cache else 0
        angle = torch.outer(torch.arange(start, start + tokens.shape[1]).double(), self.speeds)[:, None]
        for i, layer in enumerate(self.layers):
            x, _ = layer(x, angle.cos().to(x.dtype), angle.sin().to(x.dtype), cache and cache[i])
        return F.linear(self.norm(x), self.head.weight)


# ---------------------------------------------------------------------------------------- layers of a Transformer


@right("AddNorm")
class AddNormByHand(av.AddNorm):
    def forward(self, x, computed):
        s = computed + x
        s = (s - s.mean(-1, keepdim=True)) / (s.var(-1, keepdim=True, correction=0) + self.norm.eps).sqrt()
        return s * self.norm.weight + self.norm.bias


@right("EncoderLayer")
class EncoderLayerByHand(av.EncoderLayer):
    def forward(self, x, mask=None):
        x = self.add_norm_1.norm(x + self.self_attention(x, x, x, mask)[0])
        return self.add_norm_2.norm(self.feed_forward(x) + x)


@right("DecoderLayer")
class DecoderLayerByHand(av.DecoderLayer):
    def forward(self, x, memory, mask=None, memory_mask=None):
        x = self.add_norm_1.norm(x + self.self_attention(x, x, x, mask, is_causal=True)[0])
        x = self.add_norm_2.norm(self.cross_attention(x, memory, memory, memory_mask)[0] + x)
        return self.add_norm_3.norm(self.feed_forward.w_2(self.feed_forward.w_1(x).clamp(min=0)) + x)


# ----------------------------------------------------------------------------------- the kernel, latent and linear


@right("flash_attention")
def flash_by_the_kernel(q, k, v, mask=None, *, is_causal=False):
    if is_causal:
        causal = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        mask = causal if mask is None else mask & causal
    context = F.scaled_dot_product_attention(q, k, v, mask)
    return (context if mask is None else torch.where(mask.any(-1, keepdim=True), context, 0.0)), None


@right("flash_attention")
def flash_one_key_at_a_time(q, k, v, mask=None):
    m = q.new_full((*q.shape[:-1], 1), -math.inf)
    total, out = torch.zeros_like(m), q.new_zeros(*q.shape[:-1], v.shape[-1])
    for j in range(k.shape[-2]):
        s = (q * k[..., j : j + 1, :]).sum(-1, keepdim=True) / math.sqrt(q.shape[-1])
        ok = torch.ones_like(s, dtype=torch.bool) if mask is None else mask[..., j : j + 1].expand_as(s)
        new = torch.where(ok, torch.maximum(m, s), m)
        e = torch.where(ok, torch.exp(torch.where(ok, s - new, 0.0)), 0.0)
        f = torch.where(torch.isinf(m), 0.0, torch.exp(torch.where(torch.isinf(m), 0.0, m - new)))
        total, out, m = total * f + e, out * f + e * v[..., j : j + 1, :], new
    return out / torch.where(total > 0, total, 1.0), None


@right("latent_attention")
def mla_expanded(q, latent, w_uk, w_uv, mask=None, num_heads=1):
    return av.multihead_attention(q, latent @ w_uk, latent @ w_uv, mask, num_heads)


@right("latent_attention")
def mla_absorbed_by_einsum(q, latent, w_uk, w_uv, mask=None, num_heads=1):
    q, uk, uv = (x.unflatten(-1, (num_heads, -1)) for x in (q, w_uk, w_uv))
    s = torch.einsum("...qhd,lhd,...kl->...hqk", q, uk, latent) / math.sqrt(q.shape[-1])
    w = (s if mask is None else s.masked_fill(~mask, -torch.inf)).softmax(-1)
    return torch.einsum("...hqk,...kl,lhd->...qhd", w, latent, uv).flatten(-2), w


@right("linear_attention")
def linear_by_cumsum(q, k, v, recurrent=False):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    state = (k.unsqueeze(-1) * v.unsqueeze(-2)).cumsum(-3)
    context = torch.einsum("...td,...tde->...te", q, state) / (q * k.cumsum(-2)).sum(-1, keepdim=True)
    w = (q @ k.mT).tril()
    return context, (None if recurrent else w / w.sum(-1, keepdim=True))


@right("linear_attention")
def linear_in_loops(q, k, v):
    f = lambda x: torch.where(x > 0, x + 1, torch.exp(x))  # noqa: E731
    q, k, T = f(q), f(k), q.shape[-2]
    rows = []
    for i in range(T):
        row = [(q[..., i, :] * k[..., j, :]).sum(-1) if j <= i else torch.zeros_like(q[..., 0, 0]) for j in range(T)]
        rows.append(torch.stack(row, -1) / sum(row)[..., None])
    w = torch.stack(rows, -2)
    return w @ v, w
