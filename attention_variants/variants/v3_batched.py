"""Variant 3: a batch of sequences at once."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import check_inputs
from .registry import register


def attention_batched(
    q: Float[Tensor, "*batch T_q d_k"],
    k: Float[Tensor, "*batch T_k d_k"],
    v: Float[Tensor, "*batch T_k d_v"],
) -> tuple[Float[Tensor, "*batch T_q d_v"], Float[Tensor, "*batch T_q T_k"]]:
    """Scaled dot-product attention on any number of leading batch dimensions.

    Vaswani et al. (2017), equation 1, arXiv:1706.03762. Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
    k : Tensor of shape (..., T_k, d_k)
    v : Tensor of shape (..., T_k, d_v)

    Returns
    -------
    context : Tensor of shape (..., T_q, d_v)
    weights : Tensor of shape (..., T_q, T_k)
    """
    check_inputs(3, q, k, v)
    d_k = q.shape[-1]

    scores = (q / math.sqrt(d_k)) @ k.transpose(-2, -1)  # (..., T_q, T_k)
    weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
    context = weights @ v  # (..., T_q, d_v)
    return context, weights


register(attention_batched, number=3, adds="any number of sequences at once", takes=("batch",))
