"""Variant 4: a mask says which keys a query may attend to."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .checks import check_inputs, lacks_keys
from .registry import register


def attention_masked(
    q: Float[Tensor, "*batch T_q d_k"],
    k: Float[Tensor, "*batch T_k d_k"],
    v: Float[Tensor, "*batch T_k d_v"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*batch T_q d_v"], Float[Tensor, "*batch T_q T_k"]]:
    """Scaled dot-product attention over the keys that a mask allows.

    Vaswani et al. (2017), sections 3.2.1, 3.2.3, arXiv:1706.03762. Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
    k : Tensor of shape (..., T_k, d_k)
    v : Tensor of shape (..., T_k, d_v)
    mask : boolean Tensor that broadcasts to (..., T_q, T_k), optional
        True = may attend.

    Returns
    -------
    context : Tensor of shape (..., T_q, d_v)
    weights : Tensor of shape (..., T_q, T_k)
    """
    check_inputs(4, q, k, v, mask)
    d_k = q.shape[-1]

    scores = (q / math.sqrt(d_k)) @ k.transpose(-2, -1)  # (..., T_q, T_k)
    if mask is not None:
        # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
    if mask is not None and lacks_keys(mask):
        weights = weights.masked_fill(~mask, 0.0)  # a query with no key: 0 throughout, not uniform
    context = weights @ v  # (..., T_q, d_v)
    return context, weights


register(attention_masked, number=4, adds="a mask: which keys a query may see", takes=("batch", "mask"))
