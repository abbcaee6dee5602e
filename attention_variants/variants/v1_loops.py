"""Variant 1: the definition, in Python loops."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._check import check_inputs
from ._registry import register


def attention_loops(
    q: Float[Tensor, "T_q d_k"], k: Float[Tensor, "T_k d_k"], v: Float[Tensor, "T_k d_v"]
) -> tuple[Float[Tensor, "T_q d_v"], Float[Tensor, "T_q T_k"]]:
    """Scaled dot-product attention, one number at a time.

    ``softmax(q k^T / sqrt(d_k)) v``: every query is compared with every key, the comparisons become
    weights that sum to 1, and the context is the sum of the values by those weights.

    Parameters
    ----------
    q : Tensor of shape (T_q, d_k)
        One query for each position that looks.
    k : Tensor of shape (T_k, d_k)
        One key for each position that can be looked at; T_k may differ from T_q.
    v : Tensor of shape (T_k, d_v)
        The value that each key hands over.

    Returns
    -------
    context : Tensor of shape (T_q, d_v)
        For each query, the weighted sum of the values. 0 if there is no key (T_k = 0).
    weights : Tensor of shape (T_q, T_k)
        How much each query takes from each key: at least 0, each row sums to 1.

    Raises
    ------
    TypeError, ValueError
        If the inputs are not floating point, do not share dtype and device, or do not fit these shapes.

    Notes
    -----
    A NaN passes through to every row that uses it.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.2.1, equation 1. arXiv:1706.03762
    """
    check_inputs(1, q, k, v)
    (T_q, d_k), (T_k, d_v) = q.shape, v.shape

    scores = q.new_zeros(T_q, T_k)
    for i in range(T_q):
        for j in range(T_k):
            scores[i, j] = (q[i] / math.sqrt(d_k)) @ k[j]  # (d_k) @ (d_k) -> one number

    weights = torch.zeros_like(scores)
    for i in range(T_q):
        exp = torch.exp(scores[i] - max(scores[i], default=0))  # the largest becomes exp(0): no overflow
        weights[i] = exp / exp.sum()

    context = v.new_zeros(T_q, d_v)
    for i in range(T_q):
        for j in range(T_k):
            context[i] += weights[i, j] * v[j]  # one number * (d_v) -> (d_v)
    return context, weights


register(attention_loops, number=1, adds="the definition, number by number")
