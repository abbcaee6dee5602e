"""Wrong code after the seven in hands other than the catalogue's, each with the names that are fair for it.

In the manner of what is on GitHub: tables and rotate_half, complex numbers, lists of tensors, preallocated buffers,
einsum, loops. `wrong` registers one with its goal; no name means that the catalogue has none, and none may be given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import attention_variants as av

#: Function or class, goal, and the names of which one must be given.
WRONG: list[tuple[Any, str, frozenset[str]]] = []


def wrong(goal: str, names: str = "") -> Callable[[Any], Any]:
    """Register wrong code."""

    def register(made: Any) -> Any:
        WRONG.append((made, goal, frozenset(names.split())))
        return made

    return register


# -------------------------------------------------------------------------------------------------------- rotary


def tables(positions, width, base=10000.0):
    inv_freq = 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.float64) / width))
    freqs = positions.double().unsqueeze(-1) * inv_freq
    emb = torch.cat((freqs, freqs), dim=-1)
    return emb.cos(), emb.sin()


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def rotate_every_two(x):
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)


@wrong("apply_rotary", "rotary_pairs_interleaved")
def rope_complex(x, positions):
    inv_freq = 10000.0 ** -(torch.arange(0, x.shape[-1], 2).double() / x.shape[-1])
    unit = torch.polar(torch.ones(1).double(), positions[..., None].double() * inv_freq)
    z = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(z * unit).flatten(-2).to(x.dtype)


@wrong("apply_rotary", "rotary_angles_interleaved_for_halves")
def rope_mixed_layout(x, positions):
    d = x.size(-1)
    theta = positions.unsqueeze(-1) / torch.pow(10000.0, torch.arange(0, d, 2).double() / d)
    cos, sin = (t.repeat_interleave(2, -1) for t in (theta.cos(), theta.sin()))
    return (x * cos + rotate_half(x) * sin).type_as(x)


@wrong("apply_rotary")
def rope_every_two_with_tables_of_halves(x, positions):
    cos, sin = tables(positions, x.shape[-1])
    return (x * cos + rotate_every_two(x) * sin).to(x.dtype)


@wrong("apply_rotary", "rotary_turned_backwards")
def rope_minus(x, positions):
    cos, sin = tables(positions, x.shape[-1])
    return (x * cos - rotate_half(x) * sin).to(x.dtype)


@wrong("apply_rotary", "rotary_both_signs_plus")
def rope_no_minus(x, positions):
    cos, sin = tables(positions, x.shape[-1])
    a, b = x.chunk(2, -1)
    return (x * cos + torch.cat((b, a), -1) * sin).to(x.dtype)


@wrong("apply_rotary", "rotary_positions_restart_at_0")
def rope_arange(x, positions, base=10000.0):
    cos, sin = tables(torch.arange(x.shape[-2]), x.shape[-1], base)
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


@wrong("apply_rotary", "rotary_speeds_not_spread")
def rope_wrong_exponent(x, positions):
    half = x.shape[-1] // 2
    inv_freq = 10000.0 ** (-torch.arange(half).double() / x.shape[-1])
    ang = positions[..., None] * inv_freq
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * ang.cos() - b * ang.sin(), b * ang.cos() + a * ang.sin()), -1).to(x.dtype)


@wrong("apply_rotary", "rotary_speeds_upside_down")
def rope_growing(x, positions):
    half = x.shape[-1] // 2
    ang = positions[..., None] * 10000.0 ** (torch.arange(half).double() / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * ang.cos() - b * ang.sin(), b * ang.cos() + a * ang.sin()), -1).to(x.dtype)


@wrong("apply_rotary", "rotary_sine_and_cosine_exchanged")
def rope_swapped(x, positions):
    sin, cos = tables(positions, x.shape[-1])
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


@wrong("apply_rotary", "rotary_positions_in_half_precision")
def rope_bf16_positions(x, positions):
    cos, sin = tables(positions.to(torch.bfloat16), x.shape[-1])
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


@wrong("apply_rotary", "rotary_positions_of_the_first_item")
def rope_one_row(x, positions):
    row = positions.reshape(-1, positions.shape[-1])[0]
    cos, sin = tables(row, x.shape[-1])
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


@wrong("apply_rotary", "rotary_positions_from_1")
def rope_one_based(x, positions):
    cos, sin = tables(positions + 1, x.shape[-1])
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


@wrong("apply_rotary")
def rope_degrees(x, positions):
    cos, sin = tables(positions * math.pi / 180.0, x.shape[-1])
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


@wrong("apply_rotary")
def rope_in_place(x, positions):
    cos, sin = tables(positions, x.shape[-1])
    with torch.no_grad():
        x.copy_((x * cos + rotate_half(x) * sin).to(x.dtype))
    return x


@wrong("apply_rotary", "rotary_interleaved_merged_in_halves")
def rope_even_odd_cat(x, positions, pairs="halves"):
    half = x.shape[-1] // 2
    ang = positions[..., None] * 10000.0 ** (-torch.arange(half).double() / half)
    cos, sin = ang.cos().to(x.dtype), ang.sin().to(x.dtype)
    if pairs == "interleaved":
        a, b = x[..., ::2], x[..., 1::2]
    else:
        a, b = x.tensor_split(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


@wrong("apply_rotary", "rotary_positions_added")
def rope_added(x, positions):
    width = x.shape[-1]
    angle = positions[..., None] / 10000.0 ** (torch.arange(0, width, 2).double() / width)
    table = x.new_zeros(*angle.shape[:-1], width)
    table[..., 0::2], table[..., 1::2] = angle.sin(), angle.cos()
    return x + table


@wrong("apply_rotary", "rotary_base_ignored")
def rope_fixed_base(x, positions, *, base=10000.0):
    cos, sin = tables(positions, x.shape[-1])
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


# --------------------------------------------------------------------------------------------------- shared keys


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def attend(q, k, v, mask):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), -1e30)
    weights = scores.softmax(-1)
    if mask is not None:
        weights = weights * mask
    return weights @ v, weights


def join(x):
    return x.transpose(-3, -2).flatten(-2)


@wrong("grouped_query_attention", "repeat_for_repeat_interleave")
def gqa_tiled(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    q, k, v = split(q, num_heads), split(k, num_kv_heads), split(v, num_kv_heads)
    times = num_heads // num_kv_heads
    k, v = torch.cat([k] * times, dim=-3), torch.cat([v] * times, dim=-3)
    context, weights = attend(q, k, v, mask)
    return join(context), weights


@wrong("grouped_query_attention", "scale_by_d_model")
def gqa_scaled_by_width(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    width = q.shape[-1]
    q, k, v = split(q, num_heads), split(k, num_kv_heads), split(v, num_kv_heads)
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=-3) for x in (k, v))
    scores = torch.einsum("...qd,...kd->...qk", q, k) * width**-0.5
    if mask is not None:
        scores = torch.where(mask, scores, torch.tensor(-1e30, dtype=scores.dtype))
    weights = torch.softmax(scores, -1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0)
    return join(weights @ v), weights


@wrong("grouped_query_attention", "first_kv_head_for_all")
def gqa_first_head(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    d = q.shape[-1] // num_heads
    q = split(q, num_heads)
    k, v = k[..., None, :, :d], v[..., None, :, :d]
    context, weights = attend(q, k, v, mask)
    return join(context), weights


@wrong("grouped_query_attention", "no_key_gives_nan")
def gqa_minus_infinity(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    q, k, v = split(q, num_heads), split(k, num_kv_heads), split(v, num_kv_heads)
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=-3) for x in (k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = F.softmax(scores, dim=-1)
    return join(weights @ v), weights


@wrong("grouped_query_attention", "view_without_transpose")
def gqa_viewed(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    def heads(x, n):
        return x.reshape(*x.shape[:-2], n, x.shape[-2], x.shape[-1] // n)

    q, k, v = heads(q, num_heads), heads(k, num_kv_heads), heads(v, num_kv_heads)
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=-3) for x in (k, v))
    context, weights = attend(q, k, v, mask)
    return join(context), weights


@wrong("grouped_query_attention")
def gqa_values_tiled(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    q, k, v = split(q, num_heads), split(k, num_kv_heads), split(v, num_kv_heads)
    times = num_heads // num_kv_heads
    k, v = k.repeat_interleave(times, dim=-3), torch.cat([v] * times, dim=-3)
    context, weights = attend(q, k, v, mask)
    return join(context), weights


@wrong("grouped_query_attention", "merge_without_transpose")
def gqa_not_transposed_back(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    shape = q.shape
    q, k, v = split(q, num_heads), split(k, num_kv_heads), split(v, num_kv_heads)
    k, v = (x.repeat_interleave(num_heads // num_kv_heads, dim=-3) for x in (k, v))
    context, weights = attend(q, k, v, mask)
    return context.reshape(shape), weights


@wrong("grouped_query_attention")
def gqa_heads_of_queries_among_keys(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    q, k, v = split(q, num_heads), split(k, num_heads), split(v, num_heads)
    context, weights = attend(q, k, v, mask)
    return join(context), weights


# -------------------------------------------------------------------------------------------------------- caches


@wrong("KVCache", "cache_joined_on_the_head_axis")
class CacheDim1:
    def __init__(self):
        self.keys = self.values = None

    def append(self, k, v):
        if self.keys is None:
            self.keys, self.values = k, v
        else:
            self.keys, self.values = torch.cat((self.keys, k), 1), torch.cat((self.values, v), 1)
        return self.keys, self.values


@wrong("KVCache", "cache_shared_by_instances")
class CacheOfTheClass:
    keys: list = []  # noqa: RUF012
    values: list = []  # noqa: RUF012

    def append(self, k, v):
        self.keys.append(k)
        self.values.append(v)
        return torch.cat(self.keys, -2), torch.cat(self.values, -2)


@wrong("KVCache", "cache_shared_by_instances")
class CacheByDefault:
    def __init__(self, kept={}):  # noqa: B006
        self.kept = kept

    def append(self, k, v):
        for name, new in (("k", k), ("v", v)):
            self.kept[name] = torch.cat([self.kept[name], new], -2) if name in self.kept else new
        return self.kept["k"], self.kept["v"]


@wrong("KVCache", "cache_puts_the_new_first")
class CacheBackwards:
    def __init__(self):
        self.pairs = []

    def append(self, k, v):
        self.pairs.insert(0, (k, v))
        return tuple(torch.cat(x, dim=-2) for x in zip(*self.pairs, strict=True))


@wrong("KVCache", "cache_returns_the_new_alone")
class CacheHandsBackWhatCame:
    def __init__(self):
        self.k, self.v = [], []

    def append(self, k, v):
        self.k.append(k)
        self.v.append(v)
        return k, v


@wrong("KVCache", "cache_without_gradient")
class CacheDetached:
    def __init__(self):
        self.k, self.v = [], []

    def append(self, k, v):
        self.k.append(k.detach().clone())
        self.v.append(v.detach().clone())
        return torch.cat(self.k, -2), torch.cat(self.v, -2)


@wrong("KVCache", "cache_not_reordered")
class CacheWithoutBeams:
    def __init__(self):
        self.k, self.v = [], []

    def append(self, k, v):
        self.k.append(k)
        self.v.append(v)
        return torch.cat(self.k, -2), torch.cat(self.v, -2)

    def reorder(self, items):
        return self


@wrong("KVCache", "cache_reordered_in_the_keys_alone")
class CacheOfBeamsByHalf:
    def __init__(self):
        self.k = self.v = None

    def append(self, k, v):
        self.k = k if self.k is None else torch.cat([self.k, k], -2)
        self.v = v if self.v is None else torch.cat([self.v, v], -2)
        return self.k, self.v

    def reorder(self, items):
        self.k = self.k.index_select(0, items)


@wrong("KVCache", "mask_from_the_top_left")
class CacheWithCornerMask:
    def __init__(self):
        self.k, self.v = [], []

    def append(self, k, v):
        self.k.append(k)
        self.v.append(v)
        return torch.cat(self.k, -2), torch.cat(self.v, -2)

    def mask(self, T_new):
        return torch.tril(torch.ones(T_new, sum(k.shape[-2] for k in self.k) + T_new)).bool()


@wrong("KVCache", "mask_of_the_new_tokens_alone")
class CacheWithNarrowMask:
    def __init__(self):
        self.k, self.v = [], []

    def append(self, k, v):
        self.k.append(k)
        self.v.append(v)
        return torch.cat(self.k, -2), torch.cat(self.v, -2)

    def mask(self, T_new):
        return torch.ones(T_new, T_new, dtype=torch.bool).tril()


@wrong("KVCache")
class CacheOverwritesItsRoom:
    """The place where the next one goes is never moved on."""

    def __init__(self, max_len=16):
        self.max_len, self.k, self.v, self.n = max_len, None, None, 0

    def append(self, k, v):
        T = k.shape[-2]
        if self.k is None:
            self.k, self.v = (x.new_zeros(*x.shape[:-2], self.max_len, x.shape[-1]) for x in (k, v))
        self.k[..., :T, :], self.v[..., :T, :] = k, v
        self.n += T
        return self.k[..., : self.n, :], self.v[..., : self.n, :]


@wrong("KVCache")
class CacheHandsBackAllItsRoom:
    def __init__(self, max_len=16):
        self.max_len, self.k, self.v, self.n = max_len, None, None, 0

    def append(self, k, v):
        T = k.shape[-2]
        if self.k is None:
            self.k, self.v = (x.new_zeros(*x.shape[:-2], self.max_len, x.shape[-1]) for x in (k, v))
        self.k[..., self.n : self.n + T, :], self.v[..., self.n : self.n + T, :] = k, v
        self.n += T
        return self.k, self.v


@wrong("KVCache", "cache_returns_the_new_alone")
class CacheOfTheLast:
    def append(self, k, v):
        self.k, self.v = k, v
        return self.k, self.v


@wrong("RollingKVCache", "sinks_dropped")
class RollsWithoutSinks:
    def __init__(self, window, sinks=0):
        self.window, self.k, self.v = window, None, None

    def append(self, k, v):
        k = k if self.k is None else torch.cat([self.k, k], -2)
        v = v if self.v is None else torch.cat([self.v, v], -2)
        first = max(k.shape[-2] - self.window, 0)
        self.k, self.v = k[..., first:, :], v[..., first:, :]
        return k, v


@wrong("RollingKVCache", "window_one_too_short")
class RollsMistral:
    def __init__(self, window):
        self.window, self.pairs = window, []

    def append(self, k, v):
        self.pairs += zip(k.unbind(-2), v.unbind(-2), strict=True)
        found = tuple(torch.stack(x, -2) for x in zip(*self.pairs, strict=True))
        self.pairs = self.pairs[max(len(self.pairs) - self.window + 1, 0) :]
        return found


@wrong("RollingKVCache", "dropped_before_the_queries_looked")
class RollsTooEarly:
    def __init__(self, window):
        self.window, self.k, self.v = window, None, None

    def append(self, k, v):
        self.k = k if self.k is None else torch.cat([self.k, k], -2)
        self.v = v if self.v is None else torch.cat([self.v, v], -2)
        if self.window:
            self.k, self.v = self.k[..., -self.window :, :], self.v[..., -self.window :, :]
        else:
            self.k, self.v = self.k[..., :0, :], self.v[..., :0, :]
        return self.k, self.v


@wrong("RollingKVCache", "nothing_dropped")
class RollsNot:
    def __init__(self, window, sinks=0):
        self.k, self.v = [], []

    def append(self, k, v):
        self.k.append(k)
        self.v.append(v)
        return torch.cat(self.k, -2), torch.cat(self.v, -2)


# --------------------------------------------------------------------------------------------------------- masks


@wrong("causal_mask", "causal_from_the_top_left")
def mask_tril(T_q, T_k=None, align="top-left"):
    return torch.ones(T_q, T_k or T_q).tril().bool()


@wrong("causal_mask", "causal_by_triu")
def mask_triu(T_q, T_k=None):
    return torch.triu(torch.ones(T_q, T_k or T_q, dtype=torch.bool))


@wrong("causal_mask", "mask_says_what_is_blocked")
def mask_blocked(T_q, T_k=None):
    return torch.triu(torch.ones(T_q, T_k or T_q, dtype=torch.bool), diagonal=1)


@wrong("causal_mask", "mask_of_numbers")
def mask_additive(T_q, T_k=None):
    return torch.full((T_q, T_k or T_q), float("-inf")).triu(1)


@wrong("causal_mask", "mask_of_numbers")
def mask_ones(T_q, T_k=None):
    return torch.tril(torch.ones(T_q, T_k or T_q))


@wrong("causal_mask", "causal_does_not_see_itself")
def mask_strict(T_q, T_k=None):
    T_k = T_k or T_q
    return torch.tensor([[j < i for j in range(T_k)] for i in range(T_q)])


@wrong("causal_mask", "causal_one_short_of_the_end")
def mask_short(T_q, T_k=None, align="top-left"):
    T_k = T_k or T_q
    return torch.ones(T_q, T_k).tril(T_k - T_q - 1 if align == "bottom-right" else 0).bool()


# ------------------------------------------------------------------------------------------------------ sampling


@wrong("sampling_probabilities", "temperature_after_softmax")
def sample_share_over_temperature(logits, temperature=1.0):
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    p = logits.softmax(-1) / temperature
    return p / p.sum(-1, keepdim=True)


@wrong("sampling_probabilities")
def sample_share_over_temperature_left_so(logits, temperature=1.0):
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return logits.softmax(-1) / temperature


@wrong("sampling_probabilities", "temperature_multiplied")
def sample_times(logits, temperature=1.0):
    return (logits * temperature).softmax(-1) if temperature else (logits * 1e6).softmax(-1)


@wrong("sampling_probabilities", "temperature_0_divides")
def sample_by_zero(logits, *, temperature=1.0):
    return torch.softmax(logits / temperature, dim=-1)


@wrong("sampling_probabilities", "top_p_without_renormalising")
def sample_nucleus_unnormalised(logits, *, top_p=None):
    p = logits.softmax(-1)
    if top_p is None:
        return p
    s, i = p.sort(-1, descending=True)
    s = s * ((s.cumsum(-1) - s) < top_p)
    return torch.empty_like(p).scatter(-1, i, s)


@wrong("sampling_probabilities", "top_p_may_leave_nothing")
def sample_nucleus_short(logits, top_p=1.0):
    p = logits.softmax(-1)
    s, i = p.sort(-1, descending=True)
    keep = s.cumsum(-1) <= top_p
    s = torch.where(keep, s, 0.0)
    s = s / s.sum(-1, keepdim=True)
    return s.gather(-1, i.argsort(-1))


@wrong("sampling_probabilities", "top_p_leaves_the_last_one_out")
def sample_nucleus_short_but_one(logits, top_p=1.0):
    s, i = logits.sort(-1, descending=True)
    remove = s.softmax(-1).cumsum(-1) > top_p
    remove[..., 0] = False
    s = s.masked_fill(remove, -float("inf"))
    return s.softmax(-1).gather(-1, i.argsort(-1))


@wrong("sampling_probabilities", "top_k_keeps_all_ties")
def sample_topk_threshold(logits, top_k=None):
    if top_k is not None:
        v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
        logits = logits.masked_fill(logits < v[..., [-1]], -float("inf"))
    return F.softmax(logits, dim=-1)


@wrong("sampling_probabilities", "top_p_before_top_k")
def sample_p_then_k(logits, top_k=None, top_p=None):
    order = logits.argsort(dim=-1, descending=True, stable=True)
    s = logits.gather(-1, order)
    if top_p is not None:
        p = s.softmax(-1)
        s = s.masked_fill(p.cumsum(-1) - p >= top_p, -float("inf"))
    if top_k is not None:
        s[..., top_k:] = -float("inf")
    return s.softmax(-1).gather(-1, order.argsort(-1))


@wrong("sampling_probabilities", "probabilities_in_sorted_order")
def sample_sorted(logits, top_k=None):
    s = logits.sort(-1, descending=True).values
    if top_k:
        s[..., top_k:] = -float("inf")
    return s.softmax(-1)


@wrong("sampling_probabilities", "top_k_without_renormalising")
def sample_topk_zeros(logits, top_k=None):
    p = logits.softmax(-1)
    if top_k is None:
        return p
    v, i = p.topk(min(top_k, p.shape[-1]))
    return torch.zeros_like(p).scatter(-1, i, v)


@wrong("sampling_probabilities")
def sample_topk_of_logits_as_zeros(logits, top_k=None):
    if top_k is None:
        return logits.softmax(-1)
    v, i = logits.topk(min(top_k, logits.shape[-1]))
    return torch.zeros_like(logits).scatter(-1, i, v).softmax(-1)


# ------------------------------------------------------------------------------------- around a cache, and a model


def heads_attend(q, k, v, mask, H, G):
    q, k, v = split(q, H), split(k, G).repeat_interleave(H // G, -3), split(v, G).repeat_interleave(H // G, -3)
    context, weights = attend(q, k, v, mask)
    return join(context), weights


@wrong("attend_with_cache", "is_causal_with_one_query")
def step_tril(q, k, v, cache, num_heads=1, num_kv_heads=1):
    k, v = cache.append(k, v)
    mask = torch.ones(q.shape[-2], k.shape[-2]).tril().bool()
    return heads_attend(q, k, v, mask, num_heads, num_kv_heads)


@wrong("attend_with_cache", "no_mask_for_a_chunk")
def step_unmasked(q, k, v, cache, num_heads=1, num_kv_heads=1):
    k, v = cache.append(k, v)
    return heads_attend(q, k, v, None, num_heads, num_kv_heads)


@wrong("attend_with_cache", "mask_of_the_new_tokens_alone")
def step_narrow_mask(q, k, v, cache, num_heads=1, num_kv_heads=1):
    T = q.shape[-2]
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    k, v = cache.append(k, v)
    return heads_attend(q, k, v, mask, num_heads, num_kv_heads)


@wrong("attend_with_cache", "heads_repeated_before_the_cache")
def step_repeats_early(q, k, v, cache, num_heads=1, num_kv_heads=1):
    T = q.shape[-2]
    k, v = (join(split(x, num_kv_heads).repeat_interleave(num_heads // num_kv_heads, -3)) for x in (k, v))
    k, v = cache.append(k, v)
    mask = torch.ones(T, k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - T)
    return heads_attend(q, k, v, mask, num_heads, num_heads)


@wrong("attend_with_cache", "looks_at_the_new_keys_alone")
def step_forgets(q, k, v, cache, num_heads=1, num_kv_heads=1):
    cache.append(k, v)
    return heads_attend(q, k, v, av.causal_mask(q.shape[-2]), num_heads, num_kv_heads)


@wrong("generate", "whole_text_into_a_filled_cache")
def writes_all_again(model, tokens, max_new_tokens):
    cache = model.new_cache()
    for _ in range(max_new_tokens):
        out = model(tokens, cache)[0]
        tokens = torch.cat((tokens, out[:, -1].argmax(-1)[:, None]), -1)
    return tokens


@wrong("generate", "everything_computed_again")
def writes_slowly(model, tokens, max_new_tokens):
    for _ in range(max_new_tokens):
        tokens = torch.cat((tokens, model(tokens)[0][:, -1:].argmax(-1)), 1)
    return tokens


@wrong("generate", "cache_not_cleared")
def writes_on(model, tokens, max_new_tokens):
    cache = model.__dict__.setdefault("my_cache", model.new_cache())
    step = tokens
    out = [tokens]
    for _ in range(max_new_tokens):
        step = model(step, cache)[0][:, -1].argmax(-1, keepdim=True)
        out.append(step)
    return torch.cat(out, 1)


@wrong("generate", "beginning_not_read")
def writes_from_the_last(model, tokens, max_new_tokens):
    cache, step, out = model.new_cache(), tokens[:, -1:], tokens
    while out.shape[1] < tokens.shape[1] + max_new_tokens:
        step = model(step, cache)[0].argmax(-1)
        out = torch.cat([out, step], 1)
    return out


@wrong("generate", "beginning_not_returned")
def writes_new_alone(model, tokens, max_new_tokens):
    cache, step, out = model.new_cache(), tokens, []
    for _ in range(max_new_tokens):
        step = model(step, cache)[0][:, -1].argmax(-1, keepdim=True)
        out.append(step)
    return torch.cat(out, 1)


@wrong("generate", "one_token_too_few")
def writes_one_less(model, tokens, max_new_tokens):
    cache, step = model.new_cache(), tokens
    for _ in range(1, max_new_tokens):
        step = model(step, cache)[0][:, -1].argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, step], 1)
    return tokens


class Turned(av.RotaryAttention):
    """The right layer, by hand: `turned` and `kept` are there to be written wrongly."""

    def turned(self, x, cosine, sine):
        a, b = x[..., : self.d_k // 2], x[..., self.d_k // 2 :]
        return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)

    def queries_keys_values(self, x, cosine, sine):
        q = self.turned(self.norm_q(self.w_q(x).unflatten(-1, (-1, self.d_k))), cosine, sine).flatten(2)
        k = self.turned(self.norm_k(self.w_k(x).unflatten(-1, (-1, self.d_k))), cosine, sine).flatten(2)
        return q, k, self.w_v(x)

    def forward(self, x, cosine, sine, cache=None):
        q, k, v = self.queries_keys_values(x, cosine, sine)
        if cache is not None:
            k, v = cache.append(k, v)
        T, T_k = q.shape[1], k.shape[1]
        mask = torch.ones(T, T_k, dtype=torch.bool).tril(T_k - T)
        if self.window is not None:
            mask = mask & ~torch.ones(T, T_k, dtype=torch.bool).tril(T_k - T - self.window - 1)
        context, weights = heads_attend(q, k, v, mask, self.num_heads, self.num_kv_heads)
        return self.w_o(context), weights


@wrong("RotaryAttention", "keys_not_turned")
class TurnsQueriesAlone(Turned):
    def queries_keys_values(self, x, cosine, sine):
        q, _, v = super().queries_keys_values(x, cosine, sine)
        return q, self.norm_k(self.w_k(x).unflatten(-1, (-1, self.d_k))).flatten(2), v


@wrong("RotaryAttention", "values_turned_too")
class TurnsEverything(Turned):
    def queries_keys_values(self, x, cosine, sine):
        q, k, v = super().queries_keys_values(x, cosine, sine)
        return q, k, self.turned(v.unflatten(-1, (-1, self.d_k)), cosine, sine).flatten(2)


@wrong("RotaryAttention", "rotary_pairs_interleaved")
class TurnsNeighbours(Turned):
    def turned(self, x, cosine, sine):
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cosine - b * sine, b * cosine + a * sine], -1).flatten(-2)


@wrong("RotaryAttention", "no_output_projection")
class HandsOutTheContext(Turned):
    def forward(self, x, cosine, sine, cache=None):
        w_o, self.w_o = self.w_o, nn.Identity()
        found = super().forward(x, cosine, sine, cache)
        self.w_o = w_o
        return found


@wrong("LanguageModel", "positions_restart_with_a_cache")
class CountsFromZero(av.LanguageModel):
    def forward(self, tokens, cache=None):
        x = self.embedding(tokens)
        angle = torch.arange(tokens.shape[1])[:, None, None] * self.speeds
        for i, layer in enumerate(self.layers):
            x, _ = layer(x, angle.cos().to(x.dtype), angle.sin().to(x.dtype), None if cache is None else cache[i])
        return self.head(self.norm(x)), []


# ---------------------------------------------------------------------------------------- layers of a Transformer


@wrong("AddNorm", "norm_of_what_was_computed")
class AddsAfterTheNorm(av.AddNorm):
    def forward(self, x, computed):
        return x + self.norm(computed)


@wrong("EncoderLayer", "mask_not_handed_on")
class EncoderWithoutItsMask(av.EncoderLayer):
    def forward(self, x, mask=None):
        x = self.add_norm_1(x, self.self_attention(x)[0])
        return self.add_norm_2(x, self.feed_forward(x))


@wrong("DecoderLayer", "cross_attention_first")
class DecoderOutOfOrder(av.DecoderLayer):
    def forward(self, x, memory, mask=None, memory_mask=None):
        x = self.add_norm_2(x, self.cross_attention(x, memory, memory, memory_mask)[0])
        x = self.add_norm_1(x, self.self_attention(x, x, x, mask, is_causal=True)[0])
        return self.add_norm_3(x, self.feed_forward(x))


# ----------------------------------------------------------------------------------- the kernel, latent and linear


def in_blocks(q, k, v, mask, is_causal, block_k, correct=True, divide=True, offset=True):
    """Online softmax over blocks of keys; what is off is left out."""
    q = q / math.sqrt(q.shape[-1])
    T_q, T_k = q.shape[-2], k.shape[-2]
    allowed = torch.ones(T_q, T_k, dtype=torch.bool) if mask is None else mask
    if is_causal:
        allowed = allowed & torch.ones(T_q, T_k, dtype=torch.bool).tril()
    allowed = allowed.expand(*q.shape[:-1], T_k)
    m = torch.full_like(q[..., :1], -1e30)
    total, out = torch.zeros_like(m), q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, T_k, block_k):
        now = slice(start, start + block_k)
        s = (q @ k[..., now, :].mT).masked_fill(~allowed[..., now], -1e30)
        new = torch.maximum(m, s.amax(-1, keepdim=True))
        e = torch.exp(s - new) * allowed[..., now]
        factor = torch.exp(m - new)
        total = total * factor + e.sum(-1, keepdim=True)
        out = out * (factor if correct else 1.0) + e @ v[..., now, :]
        m = new
    return (out / total.clamp(min=1e-30) if divide else out), None


@wrong("flash_attention", "context_of_blocks_not_corrected")
def flash_uncorrected(q, k, v, mask=None, *, is_causal=False, block_q=64, block_k=64):
    return in_blocks(q, k, v, mask, is_causal, block_k, correct=False)


@wrong("flash_attention", "context_not_divided_at_the_end")
def flash_undivided(q, k, v, mask=None, *, is_causal=False, block_q=64, block_k=64):
    return in_blocks(q, k, v, mask, is_causal, block_k, divide=False)


@wrong("flash_attention", "no_scale")
def flash_unscaled(q, k, v, mask=None):
    return in_blocks(q * math.sqrt(q.shape[-1]), k, v, mask, False, 4)


@wrong("flash_attention", "is_causal_ignored")
def flash_sees_the_future(q, k, v, mask=None, *, is_causal=False):
    return in_blocks(q, k, v, mask, False, 4)


@wrong("flash_attention", "inverted_mask")
def flash_of_what_is_blocked(q, k, v, mask=None):
    return in_blocks(q, k, v, None if mask is None else ~mask, False, 4)


@wrong("latent_attention", "values_from_the_matrix_of_the_keys")
def mla_one_matrix(q, latent, w_uk, w_uv, mask=None, num_heads=1):
    return heads_attend(q, latent @ w_uk, latent @ w_uk, mask, num_heads, num_heads)


@wrong("latent_attention", "latent_scaled_by_its_own_width")
def mla_latent_scale(q, latent, w_uk, w_uv, mask=None, num_heads=1):
    d_k = q.shape[-1] // num_heads
    q = q * math.sqrt(d_k / latent.shape[-1])
    return heads_attend(q, latent @ w_uk, latent @ w_uv, mask, num_heads, num_heads)


@wrong("linear_attention", "linear_not_causal")
def linear_bidirectional(q, k, v):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    w = torch.einsum("...id,...jd->...ij", q, k)
    w = w / w.sum(-1, keepdim=True)
    return w @ v, w


@wrong("linear_attention", "linear_with_relu")
def linear_relu(q, k, v):
    w = (q.relu() @ k.relu().mT).tril()
    w = w / w.sum(-1, keepdim=True)
    return w @ v, w


@wrong("linear_attention", "softmax_for_linear")
def linear_softmax(q, k, v):
    s = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~av.causal_mask(q.shape[-2]), float("-inf"))
    return s.softmax(-1) @ v, s.softmax(-1)


@wrong("linear_attention", "linear_normalised_by_all_keys")
def linear_wrong_sum(q, k, v):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    w = (q @ k.mT).tril() / (q @ k.sum(-2, keepdim=True).mT)
    return w @ v, w
