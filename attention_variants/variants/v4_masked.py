"""Variant 4: a mask says which keys a query may attend to."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._check import check_inputs, lacks_keys
from ._registry import register


def attention_masked(
    q: Float[Tensor, "*batch T_q d_k"],
    k: Float[Tensor, "*batch T_k d_k"],
    v: Float[Tensor, "*batch T_k d_v"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*batch T_q d_v"], Float[Tensor, "*batch T_q T_k"]]:
    """Scaled dot-product attention over the keys that a mask allows.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
        One query for each position that looks, in each sequence of the batch.
    k : Tensor of shape (..., T_k, d_k)
        One key for each position that can be looked at; T_k may differ from T_q.
    v : Tensor of shape (..., T_k, d_v)
        The value that each key hands over.
    mask : boolean Tensor that broadcasts to (..., T_q, T_k), optional
        True = may attend. By default every query may attend to every key.

    Returns
    -------
    context : Tensor of shape (..., T_q, d_v)
        For each query, the weighted sum of the allowed values. 0 if no key is allowed.
    weights : Tensor of shape (..., T_q, T_k)
        How much each query takes from each key: exactly 0 where blocked; a row sums to 1, or is 0
        throughout if no key is allowed.

    Raises
    ------
    TypeError, ValueError
        If q, k and v are not floating point, do not share dtype, device and leading dimensions, or do
        not fit these shapes; if the mask is not boolean or does not broadcast.

    Notes
    -----
    A NaN passes through to every row that uses it, and a NaN in a blocked value does too (0 * NaN is NaN).

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", sections 3.2.1 and 3.2.3. arXiv:1706.03762
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
