"""Variant 7: the fused kernel, which never stores the T_q x T_k matrix."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .checks import check_inputs, has_finite_scores, has_zeros, lacks_keys, lost_rows
from .registry import register


def multihead_attention_fused(
    q: Float[Tensor, "*batch T_q d_model"],
    k: Float[Tensor, "*batch T_k d_model"],
    v: Float[Tensor, "*batch T_k d_model"],
    mask: Bool[Tensor, "..."] | None = None,
    num_heads: int = 1,
    *,
    dropout_p: float = 0.0,
    need_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Float[Tensor, "*batch T_q d_model"], Float[Tensor, "*batch {num_heads} T_q T_k"] | None]:
    """Multi-head attention by PyTorch's fused kernel.

    The kernel visits the keys block by block and keeps only running sums (`attention_tiled` shows how), so that without
    weights the memory grows with T, not with T_q x T_k.
    Vaswani et al. (2017), section 3.2.2, arXiv:1706.03762; Dao et al. (2022), "FlashAttention", section 3,
    arXiv:2205.14135. Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_model)
    k, v : Tensor of shape (..., T_k, d_model)
    mask : boolean Tensor that broadcasts to (..., num_heads, T_q, T_k), optional
        True = may attend. One mask per batch item needs an axis for the heads: (B, 1, T_q, T_k).
    num_heads : int, default 1
        It divides d_model into d_k = d_model / num_heads columns for each head.
    dropout_p : float, default 0.0
        The probability of dropping a weight before it meets the values (the others are divided by 1 - dropout_p).
        It acts on every call: pass 0 in evaluation.
    need_weights : bool, default True
        Whether to compute the weights too, which takes the T_q x T_k matrix that the kernel avoids.
    is_causal : bool, default False
        As a causal mask aligned top-left, which is not built: query i may attend to keys 0 to i. Combines with mask.

    Returns
    -------
    context : Tensor of shape (..., T_q, d_model)
    weights : Tensor of shape (..., num_heads, T_q, T_k), or None
        Before dropout. None unless need_weights.
    """
    check_inputs(7, q, k, v, mask, num_heads, dropout_p)
    *batch, T_q, d_model = q.shape
    T_k, d_k = k.shape[-2], d_model // num_heads

    # split: (..., T, d_model) -> (..., T, H, d_k) -> (..., H, T, d_k)
    q = q.view(*batch, T_q, num_heads, d_k).transpose(-3, -2)
    k = k.view(*batch, T_k, num_heads, d_k).transpose(-3, -2)
    v = v.view(*batch, T_k, num_heads, d_k).transpose(-3, -2)

    if is_causal and (need_weights or mask is not None):  # the kernel takes is_causal or a mask
        causal = torch.ones(T_q, T_k, dtype=torch.bool, device=q.device).tril()
        mask = causal if mask is None else mask & causal

    weights = None
    if need_weights:  # the kernel hands out none
        scores = (q / math.sqrt(d_k)) @ k.transpose(-2, -1)  # (..., H, T_q, T_k)
        if mask is not None:
            # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
            scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
        if mask is not None and lacks_keys(mask):
            weights = weights.masked_fill(~mask, 0.0)  # a query with no key: 0 throughout, not uniform
    context = fused_kernel(q, k, v, mask, dropout_p=dropout_p, is_causal=is_causal)  # (..., H, T_q, d_k)

    # merge: (..., H, T_q, d_k) -> (..., T_q, H, d_k) -> (..., T_q, d_model)
    context = context.transpose(-3, -2).reshape(*batch, T_q, d_model)
    return context, weights


def fused_kernel(
    q: Float[Tensor, "*batch H T_q d_k"],
    k: Float[Tensor, "*batch H T_k d_k"],
    v: Float[Tensor, "*batch H T_k d_k"],
    mask: Bool[Tensor, "..."] | None,
    *,
    dropout_p: float,
    is_causal: bool,
) -> Float[Tensor, "*batch H T_q d_k"]:
    """Call ``scaled_dot_product_attention`` with what its fused kernels ask for.

    They want exactly one batch dimension; given none or several, PyTorch falls back to code that stores
    the T_q x T_k matrix. And they do not agree on a query with no key: here, where there is one, it may
    read every key, and what it has read becomes 0.

    Parameters
    ----------
    q : Tensor of shape (..., H, T_q, d_k)
        The queries, split into heads.
    k, v : Tensor of shape (..., H, T_k, d_k)
        The keys and values, likewise.
    mask : boolean Tensor that broadcasts to (..., H, T_q, T_k), or None
        True = may attend.
    dropout_p : float
        The probability with which a weight is dropped.
    is_causal : bool
        Whether query i may attend to keys 0 to i only; counts only if there is no mask.

    Returns
    -------
    context : Tensor of shape (..., H, T_q, d_k)
    """
    if k.shape[-2] == 0:  # no keys at all: sums of nothing, which are 0 even for a query that is NaN
        return q @ k.transpose(-2, -1) @ v  # (..., H, T_q, 0) @ (..., H, 0, d_k) -> (..., H, T_q, d_k)
    batch, B = q.shape[:-3], math.prod(q.shape[:-3])
    if len(batch) != 1:
        q, k, v = (x.reshape(B, *x.shape[-3:]) for x in (q, k, v))
    if mask is not None:
        mask = torch.atleast_2d(mask)
        if mask.ndim > 2:
            mask = mask.expand(*batch, *mask.shape[-3:]).reshape(B, *mask.shape[-3:])
    if mask is None or not lacks_keys(mask):
        is_causal = is_causal and mask is None
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=is_causal)
        if mask is None and context.is_cpu and has_zeros(context) and not has_finite_scores(q, k):
            # The CPU kernel may make a row of zeros of scores that are NaN or infinite. Under a mask it keeps the NaN.
            context = context.masked_fill(lost_rows(q, k, context, is_causal=is_causal), math.nan)
    else:
        no_key = ~mask.any(dim=-1, keepdim=True)
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask | no_key, dropout_p=dropout_p)
        context = context.masked_fill(no_key, 0.0)
    return context.view(*batch, *context.shape[-3:])


register(
    multihead_attention_fused,
    number=7,
    adds="fused kernel: weights only if asked",
    takes=("batch", "mask", "heads", "dropout", "is_causal", "need_weights"),
)
