"""What the fused kernel of variant 7 does inside: softmax over blocks of keys, never over all of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .checks import check_inputs


def attention_tiled(
    q: Float[Tensor, "*batch T_q d_k"],
    k: Float[Tensor, "*batch T_k d_k"],
    v: Float[Tensor, "*batch T_k d_v"],
    mask: Bool[Tensor, "..."] | None = None,
    block_size: int = 4,
) -> tuple[Float[Tensor, "*batch T_q d_v"], None]:
    """Scaled dot-product attention, one block of keys at a time, by an online softmax.

    Three things are kept for each query: the largest score so far, the sum of the exponentials so far and the context
    so far. When a block brings a larger score, sum and context are corrected by ``exp(old maximum - new maximum)``. At
    no time are more than T_q x block_size scores in memory, unless gradients are asked for: then PyTorch keeps every
    block for the backward pass, where the fused kernel computes it anew.
    Milakov and Gimelshein (2018), "Online normalizer calculation for softmax", algorithm 3, arXiv:1805.02867;
    Dao et al. (2022), "FlashAttention", algorithm 1, arXiv:2205.14135.
    Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
    k : Tensor of shape (..., T_k, d_k)
    v : Tensor of shape (..., T_k, d_v)
    mask : boolean Tensor that broadcasts to (..., T_q, T_k), optional
        True = may attend.
    block_size : int, default 4
        How many keys to look at in one go; a ValueError if less than 1.

    Returns
    -------
    context : Tensor of shape (..., T_q, d_v)
        The same as that of `attention_masked`.
    weights : None
        They never exist in one piece.
    """
    check_inputs(4, q, k, v, mask, caller="attention_tiled")
    if block_size < 1:
        raise ValueError(f"attention_tiled: block_size must be at least 1; got {block_size}.")
    (*batch, T_q, d_k), T_k = q.shape, k.shape[-2]
    mask = torch.ones((), dtype=torch.bool, device=q.device) if mask is None else mask
    mask = mask.expand(*batch, T_q, T_k)

    running_max = q.new_full((*batch, T_q, 1), torch.finfo(q.dtype).min)
    running_sum = q.new_zeros(*batch, T_q, 1)
    context = q.new_zeros(*batch, T_q, v.shape[-1])
    for start in range(0, T_k, block_size):
        block = slice(start, start + block_size)
        scores = (q / math.sqrt(d_k)) @ k[..., block, :].transpose(-2, -1)  # (..., T_q, block_size)
        scores = scores.masked_fill(~mask[..., block], torch.finfo(scores.dtype).min)
        new_max = torch.maximum(running_max, scores.amax(dim=-1, keepdim=True))
        exp = torch.exp(scores - new_max).masked_fill(~mask[..., block], 0.0)
        correction = torch.exp(running_max - new_max)  # 1 unless this block holds a new maximum
        running_sum = running_sum * correction + exp.sum(dim=-1, keepdim=True)
        context = context * correction + exp @ v[..., block, :]
        running_max = new_max
    context = context / running_sum.clamp(min=1.0)  # the largest adds exp(0) = 1; less is no key
    return context, None
