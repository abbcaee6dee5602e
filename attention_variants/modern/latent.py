"""Of each token a small vector is kept, from which keys and values are made."""

from __future__ import annotations

import math

from jaxtyping import Bool, Float
from torch import Tensor

from attention_variants.variants import attention_masked, multihead_attention

from .checks import check_flag, check_latent


def latent_attention(
    q: Float[Tensor, "*batch T_q d_model"],
    latent: Float[Tensor, "*batch T_k d_latent"],
    w_uk: Float[Tensor, "d_latent d_model"],
    w_uv: Float[Tensor, "d_latent d_model"],
    mask: Bool[Tensor, "..."] | None = None,
    num_heads: int = 1,
    *,
    absorbed: bool = True,
) -> tuple[Float[Tensor, "*batch T_q d_model"], Float[Tensor, "*batch {num_heads} T_q T_k"]]:
    """Multi-head latent attention: keys and values of all heads are two projections of one narrow vector.

    Kept of each token are the d_latent numbers of ``latent`` instead of 2 * d_model. Expanded, they become keys
    ``latent @ w_uk`` and values ``latent @ w_uv``, and variant 6 attends. Absorbed, they never do: since
    ``q (latent W)^T = (q W^T) latent^T``, the query goes through the matrix of the keys instead, and the context
    through that of the values at the end. The result is the same, and the keys that are looked at are the kept
    vectors themselves, the same ones for all heads.

    Rotary positions stand between the two: a turn of the key by its position is no part of one fixed matrix, so
    nothing could be absorbed. DeepSeek therefore gives each head some more columns, which alone are turned, with one
    key for all heads: ``torch.cat`` them to what this function takes as keys, and to the queries (`apply_rotary`).
    DeepSeek-AI (2024), "DeepSeek-V2", sections 2.1.2 and 2.1.3, arXiv:2405.04434.
    Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, num_heads * d_k)
    latent : Tensor of shape (..., T_k, d_latent)
        What is kept of the tokens (`KVCache`).
    w_uk, w_uv : Tensor of shape (d_latent, num_heads * d_k)
        They make the keys and the values: "up" from the latent vectors.
    mask : boolean Tensor that broadcasts to (..., num_heads, T_q, T_k), optional
        True = may attend.
    num_heads : int, default 1
    absorbed : bool, default True
        Whether to leave the keys and values out; the result is the same.

    Returns
    -------
    context : Tensor of shape (..., T_q, num_heads * d_k)
    weights : Tensor of shape (..., num_heads, T_q, T_k)
    """
    check_latent("latent_attention", q, latent, w_uk, w_uv, num_heads)
    check_flag("latent_attention", "absorbed", absorbed)
    if not absorbed:
        return multihead_attention(q, latent @ w_uk, latent @ w_uv, mask, num_heads)
    *batch, T_q, d_model = q.shape
    (d_latent, _), d_k = w_uk.shape, d_model // num_heads

    q = q.view(*batch, T_q, num_heads, d_k).transpose(-3, -2)  # (..., H, T_q, d_k)
    w_uk = w_uk.view(d_latent, num_heads, d_k).permute(1, 2, 0)  # (H, d_k, d_latent)
    w_uv = w_uv.view(d_latent, num_heads, d_k).transpose(0, 1)  # (H, d_latent, d_k)

    q = q @ w_uk  # (..., H, T_q, d_k) @ (H, d_k, d_latent) -> (..., H, T_q, d_latent)
    q = q * math.sqrt(d_latent / d_k)  # attention divides by the root of its width, which is d_latent here
    latent = latent.unsqueeze(-3).expand(*batch, num_heads, *latent.shape[-2:])  # a view: nothing is copied
    context, weights = attention_masked(q, latent, latent, mask)  # (..., H, T_q, d_latent)
    context = context @ w_uv  # (..., H, T_q, d_latent) @ (H, d_latent, d_k) -> (..., H, T_q, d_k)
    return context.transpose(-3, -2).reshape(*batch, T_q, d_model), weights
