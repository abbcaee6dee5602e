"""Attention with knobs: what it becomes when one or two things in it are turned the wrong way.

NumPy, in float64. With no knob turned it is what `contract.reference` computes. Each setting of a knob is one slip
(`slips`); two settings together are what code with two slips computes, so that both can be named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from attention_variants.classroom.contract.problems import Problem
from attention_variants.classroom.contract.reference import Pair, heads_of, merge_heads, split_heads

from .slips import Slip

#: Where float32, in which students compute, ends: exp of more than the first is infinite, less than the second is 0.
_LARGEST_EXPONENT, _SMALLEST = 88.7, 1e-45
#: An exponent that float64 still can, or not: what it gives is replaced by infinity anyway (`_LARGEST_EXPONENT`).
_OVERFLOWS = 1e4
#: In place of minus infinity, whose difference from itself is NaN; no score of a problem comes near it.
_NEARLY_MINUS_INFINITY = -1e30
#: What a length or a sum is divided by at least, as in `torch.nn.functional.normalize`; and as students write it.
_NOT_ZERO, _EPSILON_OF_A_STUDENT = 1e-12, 1e-9
#: What students add to blocked scores, or put in their place, with the sign lost.
_RAISED = 1e9


def attend(s: Problem, knobs: Mapping[str, str] | None = None) -> Pair:
    """Solve a problem, with some knobs turned.

    Parameters
    ----------
    s : Problem
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


@lru_cache(maxsize=4096)
def turned(s: Problem, slips: tuple[Slip, ...]) -> Pair | None:
    """The answer with these slips, or None where they end in an error."""
    try:
        return attend(s, {slip.knob: slip.setting for slip in slips})
    except (ValueError, IndexError):
        return None


#: What a wrong split makes of the merge, where that undoes it.
_MERGED_ALIKE = {"not_swapped": "reshape", "interleaved_throughout": "interleaved"}

# -------------------------------------------------------------------------------------------- the split into heads


def _view(x: np.ndarray, H: int) -> np.ndarray:
    return x.reshape(*x.shape[:-2], H, x.shape[-2], -1)


def _interleaved(x: np.ndarray, H: int) -> np.ndarray:
    return np.moveaxis(x.reshape(*x.shape[:-1], -1, H), -1, -3)


def _first_columns(x: np.ndarray, H: int) -> np.ndarray:
    return np.repeat(split_heads(x, H)[..., :1, :, :], H, axis=-3)


def _reversed(x: np.ndarray, H: int) -> np.ndarray:
    return split_heads(x, H)[..., ::-1, :, :]


def _shifted(x: np.ndarray, H: int) -> np.ndarray:
    return split_heads(np.roll(x, -1, axis=-1), H)


def _not_swapped(x: np.ndarray, H: int) -> np.ndarray:
    return np.swapaxes(split_heads(x, H), -3, -2)


def _whole(x: np.ndarray, H: int) -> np.ndarray:
    return np.repeat(x[..., None, :, :], H, axis=-3)


def _short(x: np.ndarray, H: int) -> np.ndarray:
    return split_heads(x, H)[..., :-1]


_Split = Callable[[np.ndarray, int], np.ndarray]

#: How queries, keys and values are split.
_SPLITS: dict[str, tuple[_Split, _Split, _Split]] = {
    "shifted": (_shifted,) * 3,
    "view": (_view,) * 3,
    "interleaved": (_interleaved,) * 3,
    "interleaved_throughout": (_interleaved,) * 3,
    "first": (_first_columns,) * 3,
    "reversed": (_reversed,) * 3,
    "not_swapped": (_not_swapped,) * 3,
    "none": (_whole, _whole, split_heads),
    "none_but_scaled": (_whole, _whole, split_heads),
    "short": (_short, _short, split_heads),
    "queries_first": (_first_columns, split_heads, split_heads),
    "keys_first": (split_heads, _first_columns, split_heads),
    "values_first": (split_heads, split_heads, _first_columns),
    "keys_reversed": (split_heads, _reversed, split_heads),
    "values_reversed": (split_heads, split_heads, _reversed),
    "queries_view": (_view, split_heads, split_heads),
    "keys_view": (split_heads, _view, split_heads),
    "values_view": (split_heads, split_heads, _view),
    "values_interleaved": (split_heads, split_heads, _interleaved),
}


@lru_cache(maxsize=2048)
def _split(s: Problem, how: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if s.num_heads is None or how is None:
        return heads_of(s)
    q, k, v = (split(x, s.num_heads) for split, x in zip(_SPLITS[how], (s.q, s.k, s.v), strict=True))
    return q, k, v


# ------------------------------------------------------------------------------------------------------ the scores


@lru_cache(maxsize=4096)
def _raw_scores(s: Problem, split: str | None, score: str | None) -> np.ndarray:
    q, k, v = _split(s, split)
    if score in _SCORES:
        return _SCORES[score](q, k)
    if score == "values":
        k = v
    elif score in _COMPARED:
        q, k = _COMPARED[score](q, k)
    scores = q @ np.swapaxes(k, -2, -1)
    return _CHANGED[score](scores) if score in _CHANGED else scores


def _of_length_one(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), _NOT_ZERO)


#: What is compared with what, where the product is as it should be.
_COMPARED: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "self_keys": lambda q, k: (k, k),
    "self_queries": lambda q, k: (q, q),
    "swapped": lambda q, k: (k, q),
    "cosine": lambda q, k: (_of_length_one(q), _of_length_one(k)),
    "first_item": lambda q, k: (q, np.broadcast_to(k[:1], k.shape)),
    "next_item": lambda q, k: (q, np.roll(k, 1, axis=0)),
    "only_first": lambda q, k: (q, np.broadcast_to(k[..., :1, :], k.shape)),
    "first_query": lambda q, k: (np.broadcast_to(q[..., :1, :], q.shape), k),
    "no_last_column": lambda q, k: (q[..., :-1], k[..., :-1]),
    "no_first_column": lambda q, k: (q[..., 1:], k[..., 1:]),
}

#: What stands in place of the product.
_SCORES: dict[str | None, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "euclid": lambda q, k: -np.sqrt(np.square(q[..., :, None, :] - k[..., None, :, :]).sum(-1)),
    "distance": lambda q, k: -np.square(q[..., :, None, :] - k[..., None, :, :]).sum(-1),
    "reshaped": lambda q, k: q @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2]),
    "zero": lambda q, k: np.zeros((*q.shape[:-1], k.shape[-2])),
    "elementwise": lambda q, k: (q[..., :, None, :] + k[..., None, :, :]).sum(-1),
    "first_two": lambda q, k: q @ np.swapaxes(k, 0, 1),
    "not_transposed": lambda q, k: q @ k,
    "all_reversed": lambda q, k: q @ k.T,
}

#: What becomes of the product.
_CHANGED: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    "last_is_zero": lambda scores: scores * (np.arange(scores.shape[-1]) < scores.shape[-1] - 1),
    "carried_on": lambda scores: scores.reshape(*scores.shape[:-2], -1).cumsum(-1).reshape(scores.shape),
    "carried_on_in_a_row": lambda scores: scores.cumsum(-1),
    "absolute": np.abs,
}


def _scaled(scores: np.ndarray, s: Problem, how: str | None, width: int) -> np.ndarray:
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


# ------------------------------------------------------------------------------------------------------- the mask


def _allowed(s: Problem, how: str | None, causal: str | None) -> np.ndarray | None:
    mask = _with_causal(s, causal)
    if mask is None:
        return None
    mask = np.broadcast_to(mask, s.weights_shape)
    return _READ[how](mask) if how in _READ and (how not in _OF_A_BATCH or s.q.ndim > 2) else mask


def _with_causal(s: Problem, causal: str | None) -> np.ndarray | None:
    """The mask, and that of is_causal."""
    if not (s.options.get("is_causal") or causal == "always"):
        return s.mask
    triangle = _triangle(s.weights_shape[-2], s.weights_shape[-1], causal)
    if causal == "replaces":
        return triangle
    if causal == "either" and s.mask is not None:
        return np.broadcast_to(s.mask | triangle, s.weights_shape)
    if causal == "ignored" or (causal == "beside_mask" and s.mask is not None):
        return s.mask
    return triangle if s.mask is None else s.mask & triangle


def _triangle(T_q: int, T_k: int, causal: str | None) -> np.ndarray:
    square = np.ones((T_q, T_k), bool)
    if causal in ("upper", "above"):
        return np.triu(square, 1 if causal == "above" else 0)
    diagonals = {"next": 1, "not_itself": -1, "bottom_right": T_k - T_q}
    return np.tril(square, diagonals.get(causal or "", 0))


def _transposed(mask: np.ndarray) -> np.ndarray:
    if mask.shape[-2] != mask.shape[-1]:
        raise ValueError("the shapes do not fit")
    return np.swapaxes(mask, -2, -1)


def _first_head_only(mask: np.ndarray) -> np.ndarray:
    only = np.ones_like(mask)
    only[..., 0, :, :] = mask[..., 0, :, :]
    return only


#: How a mask is read.
_READ: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": lambda mask: ~mask,
    "transposed": _transposed,
    "transposed_square": lambda mask: np.swapaxes(mask, -2, -1) if mask.shape[-2] == mask.shape[-1] else mask,
    "first_item": lambda mask: np.broadcast_to(mask[:1], mask.shape),
    "last_item": lambda mask: np.broadcast_to(mask[-1:], mask.shape),
    "first_query": lambda mask: np.broadcast_to(mask[..., :1, :], mask.shape),
    "last_query": lambda mask: np.broadcast_to(mask[..., -1:, :], mask.shape),
    "first_head": lambda mask: np.broadcast_to(mask[..., :1, :, :], mask.shape),
    "first_head_only": _first_head_only,
    "wrong_order": lambda mask: np.swapaxes(mask, 0, -3).reshape(mask.shape),
    "heads_reversed": lambda mask: mask[..., ::-1, :, :],
    "renormalised_queries": lambda mask: mask & mask.all(-1, keepdims=True),
}
#: Readings that need a batch.
_OF_A_BATCH = ("first_item", "last_item", "wrong_order")

# ---------------------------------------------------------------------------------------------------- the weights

_FILLS = {"multiplied": 0.0, "minus_ten": -10.0, "minus_100": -100.0, "minus_1000": -1e3, "minus_10000": -1e4}


def _weights(scores: np.ndarray, allowed: np.ndarray | None, mask: str | None, axis: str | None) -> np.ndarray:
    """Mask, softmax, mask: in this order unless a knob says otherwise."""
    if allowed is None or mask in ("ignored", "values"):
        return _softmax(scores, axis)
    if mask == "after":
        return np.where(allowed, _softmax(scores, axis), 0.0)
    if mask in ("renormalised", "renormalised_nan"):
        left = _softmax(scores, axis) * allowed
        left[left < _SMALLEST] = 0.0
        sums = left.sum(-1, keepdims=True)
        return left / (np.maximum(sums, _EPSILON_OF_A_STUDENT) if mask == "renormalised" else sums)
    fill = (mask or "").removesuffix("_cleared").removesuffix("_and")
    blocked = _blocked(scores, allowed, fill)
    if blocked is not None:
        weights = _softmax(blocked, axis)
        return weights if fill == mask else weights * allowed
    if axis in ("none", "linear", "relu", "unnormalised", "sigmoid", "hard", "overflow", "length"):
        low = _NEARLY_MINUS_INFINITY if axis in ("unnormalised", "sigmoid", "hard", "overflow") else 0.0
        return np.nan_to_num(_softmax(np.where(allowed, scores, low), axis)) * allowed
    return np.where(allowed, _softmax(np.where(allowed, scores, _NEARLY_MINUS_INFINITY), axis), 0.0)


def _blocked(scores: np.ndarray, allowed: np.ndarray, how: str) -> np.ndarray | None:
    """The scores once the mask has met them the wrong way; None if it meets them the right way."""
    if how in _FILLS:
        return np.where(allowed, scores, _FILLS[how])
    if how.startswith("lower_by_"):
        return scores - ~allowed * float(how.removeprefix("lower_by_"))
    others = {
        "added": lambda: scores + allowed,
        "subtracted": lambda: scores - ~allowed,
        "raised": lambda: np.where(allowed, scores, _RAISED),
        "uniform": lambda: np.where(allowed, scores, _NEARLY_MINUS_INFINITY),
        "nan": lambda: np.where(allowed, scores, -np.inf),
    }
    return others[how]() if how in others else None


def _softmax(scores: np.ndarray, axis: str | None) -> np.ndarray:
    if axis in _SOFTMAXES:
        return _SOFTMAXES[axis](scores)
    if axis in _CHANGED_BEFORE:
        scores = _CHANGED_BEFORE[axis](scores)
    where = {"queries": -2, "heads": -3, "first": 0, "second": 1}.get(axis or "", -1)
    exp = np.exp(scores - scores.max(where, keepdims=True))
    weights = exp / exp.sum(where, keepdims=True)
    return _softmax(weights, None) if axis == "twice" else weights


#: What becomes of the scores before a softmax.
_CHANGED_BEFORE: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    "clamped": lambda scores: np.clip(scores, -80, 80),
    "softmin": lambda scores: -scores,
    "base_two": lambda scores: scores * math.log(2),
}


def _exp(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores - scores.max(-1, keepdims=True))


def _over_everything(scores: np.ndarray) -> np.ndarray:
    exp = np.exp(scores - scores.max((-2, -1), keepdims=True))
    return exp / exp.sum((-2, -1), keepdims=True)


def _relu(scores: np.ndarray) -> np.ndarray:
    positive = np.maximum(scores, 0)
    return positive / np.maximum(positive.sum(-1, keepdims=True), _NOT_ZERO)


def _overflow(scores: np.ndarray) -> np.ndarray:
    exp = np.exp(np.minimum(scores, _OVERFLOWS))
    exp[scores > _LARGEST_EXPONENT] = np.inf
    return exp / exp.sum(-1, keepdims=True)


def _whole_max(scores: np.ndarray) -> np.ndarray:
    exp = np.exp(scores - scores.max())
    exp[exp < _SMALLEST] = 0.0
    return exp / exp.sum(-1, keepdims=True)


def _against(scores: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """A softmax that takes off something else than the largest score."""
    exp = np.exp(np.minimum(scores - largest, _OVERFLOWS))
    exp[scores - largest > _LARGEST_EXPONENT], exp[exp < _SMALLEST] = np.inf, 0.0
    return exp / exp.sum(-1, keepdims=True)


def _all_but_last(scores: np.ndarray) -> np.ndarray:
    if scores.shape[-1] == 1:
        return np.zeros_like(scores)
    weights = _softmax(scores[..., :-1], None)
    return np.concatenate([weights, np.zeros_like(scores[..., :1])], axis=-1)


def _without_row(scores: np.ndarray, row: int) -> np.ndarray:
    rows = np.arange(scores.shape[-2])[:, None]
    return _softmax(scores, None) * (rows != rows[row])


def _across(exp: np.ndarray) -> np.ndarray:
    return exp / np.swapaxes(exp.sum(-1, keepdims=True), -2, -1)


#: What stands in place of the softmax over the keys. Beside the sum of another row it counts which maximum was taken
#: off: that of the row, or one for all.
_SOFTMAXES: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda scores: scores,
    "sigmoid": lambda scores: 1 / (1 + np.exp(-scores)),
    "hard": lambda scores: (scores == scores.max(-1, keepdims=True)).astype(float),
    "linear": lambda scores: scores / scores.sum(-1, keepdims=True),
    "relu": _relu,
    "unnormalised": np.exp,
    "length": lambda scores: _exp(scores) / np.linalg.norm(_exp(scores), axis=-1, keepdims=True),
    "log": lambda scores: np.log(_exp(scores) / _exp(scores).sum(-1, keepdims=True)),
    "everything": _over_everything,
    "overflow": _overflow,
    "whole_max": _whole_max,
    "minimum": lambda scores: _against(scores, scores.min(-1, keepdims=True)),
    "from_zero": lambda scores: _against(scores, np.maximum(scores.max(-1, keepdims=True), 0)),
    "all_but_last": _all_but_last,
    "all_but_last_row": lambda scores: _without_row(scores, -1),
    "all_but_first_row": lambda scores: _without_row(scores, 0),
    "one_sum": lambda scores: _exp(scores) / _exp(scores).sum(),
    "sum_without_axis": lambda scores: _exp(scores) / _exp(scores).sum(-1),
    "sum_without_axis_of_all": lambda scores: np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum(-1),
    "sum_across": lambda scores: _across(_exp(scores)),
    "sum_across_of_all": lambda scores: _across(np.exp(scores - scores.max())),
    "max_without_axis": lambda scores: (exp := np.exp(scores - scores.max(-1))) / exp.sum(-1, keepdims=True),
}


def _used_and_shown(
    s: Problem, scores: np.ndarray, weights: np.ndarray, mask: str | None, causal: str | None, axis: str | None
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


# ------------------------------------------------------------------------------------------- the weighted sum


def _sum(w: np.ndarray, scores: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, how: str | None) -> np.ndarray:
    if how in ("keys", "queries"):
        v = k if how == "keys" else q
    elif how in _USED:
        w = _USED[how](w, scores)
    elif how in _SUMMED:
        return _SUMMED[how](w, v)
    context = w @ v
    if how == "root":
        return context / math.sqrt(q.shape[-1])
    if how == "residual":
        return context + q
    return _AFTERWARDS[how](context, w) if how in _AFTERWARDS else context


#: What weighs the values.
_USED: dict[str | None, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "transposed": lambda w, scores: np.swapaxes(w, -2, -1),
    "transposed_square": lambda w, scores: np.swapaxes(w, -2, -1) if w.shape[-1] == w.shape[-2] else w,
    "scores": lambda w, scores: scores,
    "twice": lambda w, scores: _softmax(w, None),
}


def _by_diagonal(w: np.ndarray, v: np.ndarray) -> np.ndarray:
    return w.sum(-1, keepdims=True) * v[..., np.arange(w.shape[-2]) % v.shape[-2], :]


#: What stands in place of the sum.
_SUMMED: dict[str | None, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": lambda w, v: np.broadcast_to(v.mean(-2, keepdims=True), (*w.shape[:-1], v.shape[-1])),
    "last": lambda w, v: w[..., -1, None] * v[..., -1, None, :],
    "first": lambda w, v: w[..., 0, None] * v[..., 0, None, :],
    "all_but_last": lambda w, v: w[..., :-1] @ v[..., :-1, :],
    "all_but_first": lambda w, v: w[..., 1:] @ v[..., 1:, :],
    "first_item": lambda w, v: w @ np.broadcast_to(v[:1], v.shape),
    "next_item": lambda w, v: w @ np.roll(v, 1, axis=0),
    "diagonal": _by_diagonal,
    "largest": lambda w, v: np.take_along_axis(v, w.argmax(-1)[..., None], axis=-2),
}

#: What becomes of the sum.
_AFTERWARDS: dict[str | None, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "last_row": lambda context, w: np.broadcast_to(context[..., -1:, :], context.shape),
    "carried_on": lambda context, w: context.cumsum(-2),
    "divided": lambda context, w: context / w.shape[-1],
    "batch_mean": lambda context, w: np.broadcast_to(context.mean(0, keepdims=True), context.shape),
}


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


def _merge(context: np.ndarray, s: Problem, how: str | None) -> np.ndarray:
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
    return merge_heads(context, H).reshape(s.context_shape)
