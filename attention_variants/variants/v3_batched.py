"""Variant 3: a batch of sequences at once."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ._check import check_inputs
from ._registry import register


def attention_batched(
    q: Float[Tensor, "*batch T_q d_k"],
    k: Float[Tensor, "*batch T_k d_k"],
    v: Float[Tensor, "*batch T_k d_v"],
) -> tuple[Float[Tensor, "*batch T_q d_v"], Float[Tensor, "*batch T_q T_k"]]:
    """Scaled dot-product attention on any number of leading batch dimensions.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
        One query for each position that looks, in each sequence of the batch.
    k : Tensor of shape (..., T_k, d_k)
        One key for each position that can be looked at; T_k may differ from T_q.
    v : Tensor of shape (..., T_k, d_v)
        The value that each key hands over.

    Returns
    -------
    context : Tensor of shape (..., T_q, d_v)
        For each query, the weighted sum of the values. 0 if there is no key (T_k = 0).
    weights : Tensor of shape (..., T_q, T_k)
        How much each query takes from each key: at least 0, each row sums to 1.

    Raises
    ------
    TypeError, ValueError
        If the inputs are not floating point, do not share dtype, device and leading dimensions, or do
        not fit these shapes. Leading dimensions are not broadcast: a silent broadcast hides mistakes.

    Notes
    -----
    A NaN passes through to every row that uses it.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.2.1, equation 1. arXiv:1706.03762
    """
    check_inputs(3, q, k, v)
    d_k = q.shape[-1]

    scores = (q / math.sqrt(d_k)) @ k.transpose(-2, -1)  # (..., T_q, T_k)
    weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
    context = weights @ v  # (..., T_q, d_v)
    return context, weights


register(attention_batched, number=3, adds="any number of sequences at once", takes=("batch",))
