"""Variant 2: the loops become two matrix products."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import check_inputs
from .registry import register


def attention_matmul(
    q: Float[Tensor, "T_q d_k"], k: Float[Tensor, "T_k d_k"], v: Float[Tensor, "T_k d_v"]
) -> tuple[Float[Tensor, "T_q d_v"], Float[Tensor, "T_q T_k"]]:
    """Scaled dot-product attention as two matrix products with a softmax between them.

    The queries are divided by sqrt(d_k) before the product, not the scores after it: the result is the same, there are
    fewer numbers to divide if T_k > d_k, and in float16 the product does not overflow before it is divided.

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
    check_inputs(2, q, k, v)
    d_k = q.shape[-1]

    scores = (q / math.sqrt(d_k)) @ k.T  # (T_q, d_k) @ (d_k, T_k) -> (T_q, T_k)
    weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
    context = weights @ v  # (T_q, T_k) @ (T_k, d_v) -> (T_q, d_v)
    return context, weights


register(attention_matmul, number=2, adds="two matrix products, no Python loops")
