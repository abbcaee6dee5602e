"""Variant 1: the definition, in Python loops."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import check_inputs
from .registry import register


def attention_loops(
    q: Float[Tensor, "T_q d_k"], k: Float[Tensor, "T_k d_k"], v: Float[Tensor, "T_k d_v"]
) -> tuple[Float[Tensor, "T_q d_v"], Float[Tensor, "T_q T_k"]]:
    """Scaled dot-product attention, one number at a time.

    - ``scores = q k^T / sqrt(d_k)``: every query is compared with every key;
    - ``weights = softmax(scores)``: the scores of each query become weights that sum to 1;
    - ``context = weights v``: for each query, the sum of the values by these weights.

    Vaswani et al. (2017), equation 1, arXiv:1706.03762. Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (T_q, d_k)
    k : Tensor of shape (T_k, d_k)
    v : Tensor of shape (T_k, d_v)

    Returns
    -------
    context : Tensor of shape (T_q, d_v)
    weights : Tensor of shape (T_q, T_k)
    """
    check_inputs(1, q, k, v)
    (T_q, d_k), (T_k, d_v) = q.shape, v.shape

    scores = q.new_zeros(T_q, T_k)
    for i in range(T_q):
        for j in range(T_k):
            scores[i, j] = q[i] @ k[j] / math.sqrt(d_k)  # (d_k) @ (d_k) -> one number

    weights = torch.zeros_like(scores)
    for i in range(T_q):
        largest = max(scores[i], default=0)  # 0 if there is no key
        exp = torch.exp(scores[i] - largest)  # the largest becomes exp(0) = 1: no overflow
        weights[i] = exp / exp.sum()

    context = v.new_zeros(T_q, d_v)
    for i in range(T_q):
        for j in range(T_k):
            context[i] += weights[i, j] * v[j]  # one number * (d_v) -> (d_v)
    return context, weights


register(attention_loops, number=1, adds="the definition, number by number")
