"""How far rounding may carry a right implementation: a bound for every number that attention and its gradients give.

A fixed relative error suits numbers of size 1. Elsewhere it is too strict (keys of size 30 multiply what rounding left
of a gradient that is 0) or too generous. `error_bounds` follows the rounding instead, through a forward and a backward
pass.

eps is twice the largest relative error of one operation: it pays for the variant and for the float64 reference, which
may round as much. A sum of n products, in whatever order, is off by at most n eps times the sum of their magnitudes
(Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1). Below, E_x is the bound of x, all is for one
head, and what an operation adds to the errors of what enters it stands last.

Forward::

    scores  s_ij = sum_c q_ic k_jc / sqrt(d_k)        E_s = (d_k + 5) eps sum_c |q_ic k_jc| / sqrt(d_k)
    weights w_ij = exp(s_ij - max) / sum of these     each exponent is shifted by at most
                                                      shift = E_s + eps |s - max| + the error of exp
    context o_i  = sum_j w_ij v_j                     E_o = sum_j E_w |v_j| + (T_k + 2) eps sum_j (w + E_w) |v_j|

E_w is exact for shifts of any size: w_j is largest if its exponent is shifted up and all others down. So a weight of 1
has next to no error however large its score is, since nothing competes with it. The sum of the exponentials, the
division and, block by block, the corrections of an online softmax add (2 T_k + 3) eps w.

Backward, of sum(context * C) + sum(weights * D)::

    to the weights    g_ij  = C_i . v_j + D_ij        E_g = (d_v + 2) eps (|C_i| . |v_j| + |D_ij|)
    their mean        m_i   = sum_j w_ij g_ij         E_m = sum_j E_w |g| + w E_g, and the sum's (T_k + d_v + 2) eps
    to the scores     t_ij  = w_ij (g_ij - m_i)       E_t = E_p |g - m| + w (E_g + E_m) + 3 eps w |g - m|
    to q              sum_j t_ij k_j / sqrt(d_k)      E   = sum_j E_t |k_j| / sqrt(d_k), and the sum's (T_k + 4) eps
    to k              sum_i t_ij q_i / sqrt(d_k)      E   = sum_i E_t |q_i| / sqrt(d_k), and the sum's (T_q + 4) eps
    to v              sum_i w_ij C_i                  E   = sum_i E_p |C_i|, and the sum's (T_q + 3) eps

- Where w meets an error it is w + E_w that does: after large scores the weights have errors as large as themselves.
- A fused kernel keeps no weights: its backward pass computes them a second time, from the logarithm of the sum of the
  exponentials, so that nothing ensures that they sum to 1. The errors of scores and logarithm then add up: E_p >= E_w.
- It also treats C and D apart, so |g - m| is the sum of what either of them contributes.
- Who differentiates through the maximum (variant 1, the tiled version) hands it a gradient that would be 0 but for
  rounding: the key with the largest score gets the errors of all the keys below it besides its own.

Numbers below the smallest normal one may be flushed to 0: each exponential may be off by that much. Nothing else comes
near it in float32, float64 and bfloat16; in float16 (6e-5) the bounds are for numbers whose size is about 1.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from reference import Problem

#: The relative error of exp, in eps. PyTorch's fused kernel takes one of 20 units in the last place in float32
#: (`Vectorized<float>::exp_u20`); in the short dtypes it computes in float32. Everything else has 1 unit.
ERROR_OF_EXP = {torch.float32: 20, torch.float64: 1, torch.float16: 1, torch.bfloat16: 1}
LARGEST_SHIFT = 100.0  # exp of it is finite, and a weight is unknown long before: it may be anything from 0 to 1


@functools.lru_cache(maxsize=8)  # the seven are measured one after the other
def error_bounds(problem: Problem, dtype: torch.dtype, *, weights: bool = True) -> dict[str, np.ndarray]:
    """Bound the error of each number that an implementation gives, in the shapes of those numbers.

    Parameters
    ----------
    problem : Problem
        What is solved; its numbers are exact in ``dtype``.
    dtype : torch.dtype
        In which arithmetic.
    weights : bool
        Whether the weights are part of what is differentiated.

    Returns
    -------
    bounds : dict
        float64 arrays: ``"context"`` (..., T_q, H * d_v), ``"weights"`` (..., H, T_q, T_k), and the gradients ``"q"``,
        ``"k"`` and ``"v"``.
    """
    eps, smallest = torch.finfo(dtype).eps, torch.finfo(dtype).smallest_normal
    Q, K, V, C = (_heads(x, problem.num_heads) for x in (problem.q, problem.k, problem.v, problem.cotangents[0]))
    D = problem.cotangents[1].numpy() if weights else np.zeros(problem.weights_shape)
    allowed = problem.allowed.numpy()
    (T_q, d_k), (T_k, d_v) = Q.shape[-2:], V.shape[-2:]
    absolute_Q, absolute_K, absolute_V, absolute_C = (np.abs(x) for x in (Q, K, V, C))

    # Forward.
    s = Q @ _t(K) / math.sqrt(d_k)
    w, below_max, log_of_sum = _softmax(s, allowed)
    E_s = (d_k + 5) * eps * (absolute_Q @ _t(absolute_K)) / math.sqrt(d_k)
    shift = np.minimum(E_s + eps * (below_max + ERROR_OF_EXP[dtype]), LARGEST_SHIFT)
    E_w = _error_of_softmax(w, shift) + (2 * T_k + 3) * eps * w + smallest * allowed
    E_o = E_w @ absolute_V + (T_k + 2) * eps * (w + E_w) @ absolute_V

    # Backward.
    shift_of_log = np.log((w * np.exp(shift)).sum(axis=-1, keepdims=True, initial=0) + ~allowed.any(-1, keepdims=True))
    E_p = E_w + w * np.expm1(np.minimum(shift + shift_of_log + eps * log_of_sum, LARGEST_SHIFT))
    g_of_C = C @ _t(V)
    E_g = (d_v + 2) * eps * (absolute_C @ _t(absolute_V) + np.abs(D))
    magnitude = np.abs(g_of_C) + np.abs(D)
    E_m = E_w * magnitude + (w + E_w) * (E_g + (T_k + d_v + 2) * eps * magnitude)
    E_m = E_m.sum(axis=-1, keepdims=True)
    from_mean = sum(np.abs(g - (w * g).sum(axis=-1, keepdims=True)) for g in (g_of_C, D))
    E_t = E_p * from_mean + (w + E_p) * (E_g + E_m + 3 * eps * from_mean)
    may_be_below = s[..., None, :] - E_s[..., None, :] <= s[..., :, None] + E_s[..., :, None]  # key l, of key j: [j, l]
    E_t = (may_be_below @ E_t[..., None])[..., 0] * allowed
    t = w * from_mean + E_t

    E_q = (E_t + (T_k + 4) * eps * t) @ absolute_K / math.sqrt(d_k)
    E_k = _t(E_t + (T_q + 4) * eps * t) @ absolute_Q / math.sqrt(d_k)
    E_v = _t(E_p + (T_q + 3) * eps * (w + E_p)) @ absolute_C
    return {"context": _merge(E_o), "weights": E_w, "q": _merge(E_q), "k": _merge(E_k), "v": _merge(E_v)}


def _softmax(s: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of the allowed keys; how far each score lies below the largest; |log of the sum of the exponentials|."""
    s = np.where(allowed, s, -np.inf)
    largest = s.max(axis=-1, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0.0)  # a query with no key
    exp = np.exp(s - largest)
    total = exp.sum(axis=-1, keepdims=True)
    total[total == 0] = 1
    below_max = np.where(allowed, largest - s, 0.0)
    return exp / total, below_max, np.abs(largest + np.log(total))


def _error_of_softmax(w: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Bound the change of softmax's results if each exponent is shifted by up to ``shift``, up or down.

    Of the key j with the others l: w_j e^x / (w_j e^x + sum_l w_l e^(y_l)) - w_j, where the weights sum to 1, is
    w_j sum_l w_l ((e^x - 1) - (e^(y_l) - 1)) / (the same denominator): no difference of nearly equal numbers is taken.
    """
    others = 1 - np.eye(w.shape[-1])  # x @ others: the sum over all but one

    def change(sign: float) -> np.ndarray:
        this, rest = sign * shift, -sign * shift
        denominator = w * np.exp(this) + (w * np.exp(rest)) @ others
        numerator = np.expm1(this) * (w @ others) - (w * np.expm1(rest)) @ others
        return w * np.abs(numerator) / np.where(denominator == 0, 1, denominator)

    return np.maximum(change(1), change(-1))


def _heads(x: Tensor, num_heads: int) -> np.ndarray:
    """(..., T, H * d) -> (..., H, T, d)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2).numpy()


def _merge(x: np.ndarray) -> np.ndarray:
    """(..., H, T, d) -> (..., T, H * d)."""
    x = np.swapaxes(x, -3, -2)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _t(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -2, -1)
