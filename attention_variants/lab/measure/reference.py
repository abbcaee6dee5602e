"""A float64 reference that shares nothing with the variants, and how far from it counts as equal."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: The largest relative error that counts as equal: what rounding leaves, with room for many keys.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}

#: How far apart two numbers may be that a picture calls the same: relative, and a tenth of it absolute. It is looser,
#: for each number stands alone and may be small beside those that it was made of.
LOOKS_EQUAL = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-2}

#: How far the weights of a model, which it computed in its own way, may be from the softmax of its queries and keys.
WEIGHTS_OF_A_MODEL = 1e-3


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, num_heads: int = 1, *, need_weights: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention in float64, written with named axes and no softmax.

    Parameters
    ----------
    q, k, v : Tensor of shape (B, T, d_model)
        Any floating dtype.
    mask : boolean Tensor that broadcasts to (B, num_heads, T_q, T_k), optional
        True = may attend.
    num_heads : int, default 1
        The number of heads.
    need_weights : bool, default True
        Whether to return the weights.

    Returns
    -------
    context : float64 Tensor of shape (B, T_q, d_model)
    weights : float64 Tensor of shape (B, num_heads, T_q, T_k), or None
    """
    q, k, v = (x.double().unflatten(-1, (num_heads, x.shape[-1] // num_heads)) for x in (q, k, v))  # (B, T, H, d_k)
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(q.shape[-1])
    allowed = torch.ones_like(scores) if mask is None else mask.double().expand_as(scores)
    largest = (scores + allowed.log()).amax(dim=-1, keepdim=True).detach().clamp(min=-1e300)  # log(0) = -inf: blocked
    exp = allowed * torch.exp((scores - largest).where(allowed > 0, 0.0))
    total = exp.sum(dim=-1, keepdim=True)
    weights = exp / total.where(total > 0, 1.0)  # a query with no key: 0 / 1
    context = torch.einsum("bhij,bjhd->bihd", weights, v).flatten(-2)
    return context, weights if need_weights else None


def relative_error(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors beside the largest number in the second.

    Parameters
    ----------
    a, b : Tensor
        Of one shape; compared in float64.

    Returns
    -------
    error : float
        ``max |a - b| / max |b|``, or ``max |a - b|`` where b is 0 throughout; 0 for empty tensors, inf
        if the shapes differ, nan if a holds a NaN.
    """
    if a.shape != b.shape:
        return math.inf
    if not b.numel():
        return 0.0
    difference = (a.double() - b.double()).abs().max().item()
    return difference / (b.double().abs().max().item() or 1.0)


def looks_equal(a: np.ndarray, b: np.ndarray, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """Say of each number whether it is the same in both, up to rounding.

    Parameters
    ----------
    a, b : float array
        Of one shape.
    dtype : torch.dtype, default torch.float32
        In which they were computed.

    Returns
    -------
    equal : boolean array of the same shape
        NaN equals NaN.
    """
    rounding = LOOKS_EQUAL.get(dtype, LOOKS_EQUAL[torch.float32])
    return np.isclose(a, b, rtol=rounding, atol=rounding / 10, equal_nan=True)
