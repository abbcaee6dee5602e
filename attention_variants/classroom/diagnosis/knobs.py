"""Attention with knobs: what it should be, and what it becomes when one or two things in it are turned the wrong way.

NumPy, in float64. With no knob turned this is the reference that every answer is measured by. Each setting of a knob
is one slip; two settings together are what code with two slips computes, so that both can be named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from attention_variants.classroom.contract.problems import Situation

from .slips import Slip

Pair = tuple[np.ndarray, np.ndarray]


def attend(s: Situation, knobs: Mapping[str, str] | None = None) -> Pair:
    """Solve a problem, with some knobs turned.

    Parameters
    ----------
    s : Situation
        The problem; its dropout is left out.
    knobs : mapping, optional
        Knob to setting; what is not named is right.

    Returns
    -------
    context, weights : array
        In float64. Whatever goes wrong with a knob turned (shapes that do not fit) is raised as it comes.
    """
    knob = dict(knobs or {}).get
    q, k, v = _split(s, knob("split"))
    allowed = _allowed(s, knob("mask"), knob("causal"))
    with np.errstate(all="ignore"):
        raw = _raw_scores(s, knob("split"), knob("score"))
        width = s.q.shape[-1] // (s.num_heads or 1) if knob("split") == "none_but_scaled" else q.shape[-1]
        scores = _scaled(raw, s, knob("scale"), width)
        weights = _weights(scores, allowed, knob("mask"), knob("axis"))
        if knob("scale") == "after":
            weights = weights / math.sqrt(q.shape[-1])
        if weights.shape != s.weights_shape:
            raise ValueError("the shapes do not fit")
        used, shown = _used_and_shown(s, scores, weights, knob("mask"), knob("causal"), knob("axis"))
        context = _sum(used, scores, q, k, v, knob("sum"))
        if knob("mask") == "empty_mean" and allowed is not None:
            context = np.where(allowed.any(-1, keepdims=True), context, v.mean(-2, keepdims=True))
        shown = _shown(shown, scores, raw, knob("shown"))
        context = _merge(context, s, knob("merge") or _MERGED_ALIKE.get(knob("split") or ""))
        if knob("merge") == "last_skipped":
            shown = shown * (np.arange(s.num_heads or 1)[:, None, None] < (s.num_heads or 1) - 1)
    if context.shape != s.context_shape or shown.shape != s.weights_shape:
        raise ValueError("the shapes do not fit")
    return context, shown


#: What a wrong split makes of the merge, where that undoes it.
_MERGED_ALIKE = {"not_swapped": "reshape", "interleaved_throughout": "interleaved"}


@lru_cache(maxsize=4096)
def _raw_scores(s: Situation, split: str | None, score: str | None) -> np.ndarray:
    return _scores(*_split(s, split), score)


@lru_cache(maxsize=2048)
def _split(s: Situation, how: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if s.num_heads is None:
        return s.q, s.k, s.v
    H = s.num_heads

    def columns(x: np.ndarray) -> np.ndarray:
        return np.swapaxes(x.reshape(*x.shape[:-1], H, -1), -3, -2)

    def view(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-2], H, x.shape[-2], -1)

    def interleaved(x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x.reshape(*x.shape[:-1], -1, H), -1, -3)

    def first(x: np.ndarray) -> np.ndarray:
        return np.repeat(columns(x)[..., :1, :, :], H, axis=-3)

    def whole(x: np.ndarray) -> np.ndarray:
        return np.repeat(x[..., None, :, :], H, axis=-3)

    whose, _, which = (how or "").partition("_")
    if whose in ("queries", "keys", "values"):
        odd = {"view": view, "interleaved": interleaved, "first": first}.get(
            which, lambda x: columns(x)[..., ::-1, :, :]
        )
        q, k, v = (
            odd(x) if name == whose else columns(x) for name, x in (("queries", s.q), ("keys", s.k), ("values", s.v))
        )
        return q, k, v
    if how in ("none", "none_but_scaled"):
        return whole(s.q), whole(s.k), columns(s.v)
    if how == "short":
        return columns(s.q)[..., :-1], columns(s.k)[..., :-1], columns(s.v)
    if how == "not_swapped":
        q, k, v = (np.swapaxes(columns(x), -3, -2) for x in (s.q, s.k, s.v))
        return q, k, v

    def shifted(x: np.ndarray) -> np.ndarray:
        return columns(np.roll(x, -1, axis=-1))

    ways = {
        "shifted": shifted,
        "view": view,
        "interleaved": interleaved,
        "interleaved_throughout": interleaved,
        "first": first,
        "reversed": lambda x: columns(x)[..., ::-1, :, :],
    }
    split = ways.get(how or "", columns)
    return split(s.q), split(s.k), split(s.v)


def _scores(q: np.ndarray, k: np.ndarray, v: np.ndarray, how: str | None) -> np.ndarray:
    if how == "values":
        k = v
    elif how == "self_keys":
        q = k
    elif how == "self_queries":
        k = q
    elif how == "swapped":
        q, k = k, q
    elif how == "cosine":
        q, k = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (q, k))
    elif how == "first_item":
        k = np.broadcast_to(k[:1], k.shape)
    elif how == "next_item":
        k = np.roll(k, 1, axis=0)
    elif how == "only_first":
        k = np.broadcast_to(k[..., :1, :], k.shape)
    elif how == "first_query":
        q = np.broadcast_to(q[..., :1, :], q.shape)
    elif how == "no_last_column":
        q, k = q[..., :-1], k[..., :-1]
    elif how == "no_first_column":
        q, k = q[..., 1:], k[..., 1:]
    elif how == "euclid":
        return -np.sqrt(np.square(q[..., :, None, :] - k[..., None, :, :]).sum(-1))
    elif how == "distance":
        return -np.square(q[..., :, None, :] - k[..., None, :, :]).sum(-1)
    elif how == "reshaped":
        return q @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2])
    elif how == "zero":
        return np.zeros((*q.shape[:-1], k.shape[-2]))
    elif how == "elementwise":
        return (q[..., :, None, :] + k[..., None, :, :]).sum(-1)
    elif how == "first_two":
        return q @ np.swapaxes(k, 0, 1)
    elif how in ("not_transposed", "all_reversed"):
        return q @ (k if how == "not_transposed" else k.T)
    scores = q @ np.swapaxes(k, -2, -1)
    if how == "last_is_zero":
        return scores * (np.arange(scores.shape[-1]) < scores.shape[-1] - 1)
    if how == "carried_on":
        return scores.reshape(*scores.shape[:-2], -1).cumsum(-1).reshape(scores.shape)
    if how == "carried_on_in_a_row":
        return scores.cumsum(-1)
    return np.abs(scores) if how == "absolute" else scores


def _scaled(scores: np.ndarray, s: Situation, how: str | None, width: int) -> np.ndarray:
    d_k, d_model, H = s.q.shape[-1] // (s.num_heads or 1), s.q.shape[-1], s.num_heads or 1
    T_q, T_k = s.weights_shape[-2:]
    factors = {
        "one": 1.0,
        "after": 1.0,
        "d_k": 1 / d_k,
        "times_sqrt": math.sqrt(d_k),
        "times_d_k": d_k,
        "fourth_root": d_k**-0.25,
        "sqrt_T_k": 1 / math.sqrt(T_k),
        "sqrt_T_q": 1 / math.sqrt(T_q),
        "T_k": 1 / T_k,
        "batch": 1 / math.sqrt(s.q.shape[0]),
        "negative": -1 / math.sqrt(d_k),
        "sqrt_d_model": 1 / math.sqrt(d_model),
        "d_model": 1 / d_model,
        "sqrt_heads": 1 / math.sqrt(H),
        "half": 2 / d_k,
        "whole_root": 1 / int(math.sqrt(d_k)),
        "sqrt_d_v": 1 / math.sqrt(s.v.shape[-1] // H),
    }
    return scores * factors.get(how or "", 1 / math.sqrt(width))


def _allowed(s: Situation, how: str | None, causal: str | None) -> np.ndarray | None:
    mask, T_q, T_k = s.mask, *s.weights_shape[-2:]
    is_causal = bool(s.options.get("is_causal"))
    if is_causal or causal == "always":
        square = np.ones((T_q, T_k), bool)
        triangle = np.tril(square)
        other = {"upper": np.triu(square), "above": np.triu(square, 1)}
        diagonals = {"next": 1, "not_itself": -1, "bottom_right": T_k - T_q}
        if causal in diagonals:
            triangle = np.tril(np.ones((T_q, T_k), bool), diagonals[causal])
        triangle = other.get(causal or "", triangle)
        if causal == "replaces":
            return triangle
        if causal == "either" and mask is not None:
            return np.broadcast_to(mask | triangle, s.weights_shape)
        if causal != "ignored" and not (causal == "beside_mask" and mask is not None):
            mask = triangle if mask is None else mask & triangle
    if mask is None:
        return None
    mask = np.broadcast_to(mask, s.weights_shape)
    if how == "inverted":
        return ~mask
    if how == "transposed":
        return np.swapaxes(mask, -2, -1) if mask.shape[-2] == mask.shape[-1] else _impossible()
    if how == "transposed_square" and mask.shape[-2] == mask.shape[-1]:
        return np.swapaxes(mask, -2, -1)
    if how == "first_item" and len(s.q.shape) > 2:
        return np.broadcast_to(mask[:1], mask.shape)
    if how == "first_query":
        return np.broadcast_to(mask[..., :1, :], mask.shape)
    if how == "last_query":
        return np.broadcast_to(mask[..., -1:, :], mask.shape)
    if how == "last_item" and len(s.q.shape) > 2:
        return np.broadcast_to(mask[-1:], mask.shape)
    if how == "first_head":
        return np.broadcast_to(mask[..., :1, :, :], mask.shape)
    if how == "first_head_only":
        only = np.ones_like(mask)
        only[..., 0, :, :] = mask[..., 0, :, :]
        return only
    if how == "wrong_order" and len(s.q.shape) > 2:
        return np.swapaxes(mask, 0, -3).reshape(mask.shape)
    if how == "heads_reversed":
        return mask[..., ::-1, :, :]
    if how == "renormalised_queries":
        return mask & mask.all(-1, keepdims=True)
    return mask


def _impossible() -> Any:
    raise ValueError("the shapes do not fit")


_FILLS = {"multiplied": 0.0, "minus_ten": -10.0, "minus_100": -100.0, "minus_1000": -1e3, "minus_10000": -1e4}


def _weights(scores: np.ndarray, allowed: np.ndarray | None, mask: str | None, axis: str | None) -> np.ndarray:
    """Mask, softmax, mask: in this order unless a knob says otherwise."""
    if allowed is None or mask in ("ignored", "values"):
        return _softmax(scores, axis)
    if mask == "after":
        return np.where(allowed, _softmax(scores, axis), 0.0)
    if mask in ("added", "added_cleared"):
        weights = _softmax(scores + allowed, axis)
        return weights if mask == "added" else weights * allowed
    if mask in ("raised", "raised_and_cleared"):
        weights = _softmax(np.where(allowed, scores, 1e9), axis)
        return weights if mask == "raised" else weights * allowed
    if mask in ("renormalised", "renormalised_nan"):
        left = _softmax(scores, axis) * allowed
        left[left < 1e-45] = 0.0  # where float32 ends
        sums = left.sum(-1, keepdims=True)
        return left / (np.maximum(sums, 1e-9) if mask == "renormalised" else sums)
    if mask == "subtracted":
        return _softmax(scores - ~allowed, axis)
    fill = (mask or "").removesuffix("_cleared")
    if fill in _FILLS:
        weights = _softmax(np.where(allowed, scores, _FILLS[fill]), axis)
        return weights * allowed if fill != mask else weights
    if fill.startswith("lower_by_"):
        weights = _softmax(scores - ~allowed * float(fill.removeprefix("lower_by_")), axis)
        return weights * allowed if fill != mask else weights
    if mask == "uniform":
        return _softmax(np.where(allowed, scores, -1e30), axis)
    if mask == "nan":
        return _softmax(np.where(allowed, scores, -np.inf), axis)
    if axis in ("none", "linear", "relu", "unnormalised", "sigmoid", "hard", "overflow", "length"):
        low = -1e30 if axis in ("unnormalised", "sigmoid", "hard", "overflow") else 0.0
        return np.nan_to_num(_softmax(np.where(allowed, scores, low), axis)) * allowed
    return np.where(allowed, _softmax(np.where(allowed, scores, -1e30), axis), 0.0)


def _softmax(scores: np.ndarray, axis: str | None) -> np.ndarray:
    if axis in ("none", "log", "sigmoid", "hard", "linear", "relu", "unnormalised", "length"):
        return _no_softmax(scores, axis)
    if axis == "overflow":
        exp = np.exp(np.minimum(scores, 1e4))
        exp[scores > 88.7] = np.inf  # where float32 ends
        return exp / exp.sum(-1, keepdims=True)
    if axis == "whole_max":
        exp = np.exp(scores - scores.max())
        exp[exp < 1e-45] = 0.0
        return exp / exp.sum(-1, keepdims=True)
    if axis == "all_but_last":
        if scores.shape[-1] == 1:
            return np.zeros_like(scores)
        weights = _softmax(scores[..., :-1], None)
        return np.concatenate([weights, np.zeros_like(scores[..., :1])], axis=-1)
    if axis in ("all_but_last_row", "all_but_first_row"):
        rows = np.arange(scores.shape[-2])[:, None]
        return _softmax(scores, None) * (rows != (0 if axis == "all_but_first_row" else rows[-1]))
    if axis in ("minimum", "from_zero"):
        largest = scores.min(-1, keepdims=True) if axis == "minimum" else np.maximum(scores.max(-1, keepdims=True), 0)
        exp = np.exp(np.minimum(scores - largest, 1e4))
        exp[scores - largest > 88.7], exp[exp < 1e-45] = np.inf, 0.0  # where float32 ends
        return exp / exp.sum(-1, keepdims=True)
    if axis == "one_sum":
        exp = np.exp(scores - scores.max(-1, keepdims=True))
        return exp / exp.sum()
    if axis in ("sum_without_axis", "sum_across", "sum_without_axis_of_all", "sum_across_of_all"):
        # Beside the sum of another row it counts which maximum was taken off: that of the row, or one for all.
        exp = np.exp(scores - (scores.max() if axis.endswith("of_all") else scores.max(-1, keepdims=True)))
        across = axis.startswith("sum_across")
        return exp / (np.swapaxes(exp.sum(-1, keepdims=True), -2, -1) if across else exp.sum(-1))
    if axis == "max_without_axis":
        exp = np.exp(scores - scores.max(-1))
        return exp / exp.sum(-1, keepdims=True)
    if axis == "clamped":
        scores = np.clip(scores, -80, 80)
    elif axis == "softmin":
        scores = -scores
    elif axis == "base_two":
        scores = scores * math.log(2)
    elif axis == "everything":
        exp = np.exp(scores - scores.max((-2, -1), keepdims=True))
        return exp / exp.sum((-2, -1), keepdims=True)
    where = {"queries": -2, "heads": -3, "first": 0, "second": 1}.get(axis or "", -1)
    exp = np.exp(scores - scores.max(where, keepdims=True))
    weights = exp / exp.sum(where, keepdims=True)
    return _softmax(weights, None) if axis == "twice" else weights


def _no_softmax(scores: np.ndarray, how: str) -> np.ndarray:
    if how == "none":
        return scores
    if how == "sigmoid":
        return 1 / (1 + np.exp(-scores))
    if how == "hard":
        return (scores == scores.max(-1, keepdims=True)).astype(float)
    if how == "linear":
        return scores / scores.sum(-1, keepdims=True)
    if how == "relu":
        positive = np.maximum(scores, 0)
        return positive / np.maximum(positive.sum(-1, keepdims=True), 1e-12)
    exp = np.exp(scores) if how == "unnormalised" else np.exp(scores - scores.max(-1, keepdims=True))
    if how == "length":
        return exp / np.linalg.norm(exp, axis=-1, keepdims=True)
    return exp if how == "unnormalised" else np.log(exp / exp.sum(-1, keepdims=True))


def _used_and_shown(
    s: Situation, scores: np.ndarray, weights: np.ndarray, mask: str | None, causal: str | None, axis: str | None
) -> Pair:
    """The weights that meet the values, and those that are returned."""
    if mask in ("values", "shown_only", "shown_after", "summed_only") and s.mask is not None:
        if mask == "values":
            return weights * s.allowed, weights
        unmasked = _softmax(scores, axis)
        if mask == "shown_after":
            return unmasked, unmasked * s.allowed
        return (unmasked, weights) if mask == "shown_only" else (weights, unmasked)
    if causal in ("not_shown", "shown_only") and s.options.get("is_causal"):
        open_to_all = _weights(scores, _allowed(s, mask, "ignored"), mask, axis)
        return (weights, open_to_all) if causal == "not_shown" else (open_to_all, weights)
    return weights, weights


def _sum(w: np.ndarray, scores: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, how: str | None) -> np.ndarray:
    if how == "transposed" or (how == "transposed_square" and w.shape[-1] == w.shape[-2]):
        return np.swapaxes(w, -2, -1) @ v
    if how in ("keys", "queries"):
        return w @ (k if how == "keys" else q)
    if how == "scores":
        return scores @ v
    if how == "mean":
        return np.broadcast_to(v.mean(-2, keepdims=True), (*w.shape[:-1], v.shape[-1]))
    if how in ("last", "first"):
        j = -1 if how == "last" else 0
        return w[..., j, None] * v[..., j, None, :]
    if how == "twice":
        return _softmax(w, None) @ v
    if how == "all_but_last":
        return w[..., :-1] @ v[..., :-1, :]
    if how == "all_but_first":
        return w[..., 1:] @ v[..., 1:, :]
    if how == "first_item":
        return w @ np.broadcast_to(v[:1], v.shape)
    if how == "next_item":
        return w @ np.roll(v, 1, axis=0)
    if how == "diagonal":
        return w.sum(-1, keepdims=True) * v[..., np.arange(w.shape[-2]) % v.shape[-2], :]
    if how == "largest":
        return np.take_along_axis(v, w.argmax(-1)[..., None], axis=-2)
    context = w @ v
    if how == "last_row":
        return np.broadcast_to(context[..., -1:, :], context.shape)
    if how == "carried_on":
        return context.cumsum(-2)
    if how in ("divided", "root"):
        return context / (w.shape[-1] if how == "divided" else math.sqrt(q.shape[-1]))
    if how == "residual":
        return context + q
    if how == "batch_mean":
        return np.broadcast_to(context.mean(0, keepdims=True), context.shape)
    return context


def _shown(w: np.ndarray, scores: np.ndarray, raw: np.ndarray, how: str | None) -> np.ndarray:
    if how == "transposed":
        return np.swapaxes(w, -2, -1)
    if how in ("scores", "raw"):
        return scores if how == "scores" else raw
    if how == "zeros":
        return np.zeros_like(w)
    if how == "uniform":
        return np.full_like(w, 1 / w.shape[-1])
    if how == "mean":
        return np.broadcast_to(w.mean(-3, keepdims=True), w.shape)
    if how == "reversed":
        return w[..., ::-1, :, :]
    if how in ("first", "last"):
        one = w[..., :1, :, :] if how == "first" else w[..., -1:, :, :]
        return np.broadcast_to(one, w.shape)
    return w


def _merge(context: np.ndarray, s: Situation, how: str | None) -> np.ndarray:
    if s.num_heads is None:
        return context
    H = s.num_heads
    if how in ("reshape", "last_two"):
        return (context if how == "reshape" else np.swapaxes(context, -2, -1)).reshape(s.context_shape)
    if how == "reversed":
        context = context[..., ::-1, :, :]
    elif how in ("mean", "total", "first_only", "last_only"):
        one = {
            "mean": context.mean(-3, keepdims=True),
            "total": context.sum(-3, keepdims=True),
            "first_only": context[..., :1, :, :],
            "last_only": context[..., -1:, :, :],
        }[how]
        context = np.repeat(one, H, axis=-3)
    elif how == "last_skipped" or (how == "last_lost" and H > 1):
        context = context.copy()
        context[..., -1, :, :] = 0
    if how == "interleaved":
        return np.moveaxis(context, -3, -1).reshape(s.context_shape)
    return np.swapaxes(context, -3, -2).reshape(s.context_shape)


@lru_cache(maxsize=512)
def right(s: Situation) -> Pair:
    """The right answer to a problem."""
    return attend(s)


@lru_cache(maxsize=4096)
def turned(s: Situation, slips: tuple[Slip, ...]) -> Pair | None:
    """The answer with these slips, or None where they end in an error."""
    try:
        return attend(s, {slip.knob: slip.setting for slip in slips})
    except (ValueError, IndexError):
        return None


@lru_cache(maxsize=128)
def right_gradients(s: Situation, which: str) -> dict[str, np.ndarray]:
    """The gradients of the sum that `run` takes, by the formulas: "context" alone, or "both" with the weights."""
    q, k, v = _split(s, None)
    weights, scale = right(s)[1], 1 / math.sqrt(q.shape[-1])
    of_context, of_weights = s.cotangents
    if s.num_heads is not None:
        of_context = np.swapaxes(of_context.reshape(*of_context.shape[:-1], s.num_heads, -1), -3, -2)
    to_weights = of_context @ np.swapaxes(v, -2, -1) + (of_weights if which == "both" else 0.0)
    to_scores = weights * (to_weights - (weights * to_weights).sum(-1, keepdims=True)) * scale
    gradients = {
        "q": to_scores @ k,
        "k": np.swapaxes(to_scores, -2, -1) @ q,
        "v": np.swapaxes(weights, -2, -1) @ of_context,
    }
    if s.num_heads is None:
        return gradients
    return {name: np.swapaxes(x, -3, -2).reshape(getattr(s, name).shape) for name, x in gradients.items()}
