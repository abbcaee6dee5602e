"""A state instead of keys: attention without a softmax, which is another function."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from attention_variants.variants.checks import check_flag, check_inputs


def linear_attention(
    q: Float[Tensor, "*batch T d_k"],
    k: Float[Tensor, "*batch T d_k"],
    v: Float[Tensor, "*batch T d_v"],
    *,
    recurrent: bool = False,
) -> tuple[Float[Tensor, "*batch T d_v"], Float[Tensor, "*batch T T"] | None]:
    """Causal attention whose weights are dot products of positive numbers, not exponentials.

    With ``f(x) = elu(x) + 1``, which is above 0, the weight of key j for query i is ``f(q_i) f(k_j)``, divided by the
    sum over the keys up to i. The exponential of a dot product cannot be taken apart; this can: the sum over the keys
    of ``f(k_j) v_j`` is made once and carried on, a d_k x d_v matrix whatever T is. So it can be computed in two
    ways: ``recurrent``, one token after the other with a state of constant size, or in parallel, as the variants do.
    The two are the same function. It is *not* that of the seven, and no choice of weights makes it so: a softmax can
    give one key nearly all of the weight, this cannot.
    Katharopoulos et al. (2020), "Transformers are RNNs", sections 3.2 to 3.4, arXiv:2006.16236.

    Parameters
    ----------
    q, k : Tensor of shape (..., T, d_k)
    v : Tensor of shape (..., T, d_v)
        Of the same T positions: query i looks at keys 0 to i.
    recurrent : bool, default False
        Whether to go from token to token. The weights are then never made.

    Returns
    -------
    context : Tensor of shape (..., T, d_v)
    weights : Tensor of shape (..., T, T), or None if recurrent
        They sum to 1 and are above 0 up to the diagonal.
    """
    check_inputs(3, q, k, v, caller="linear_attention")
    if q.shape[-2] != k.shape[-2]:
        raise ValueError(
            f"linear_attention: query i looks at keys 0 to i, so q and k must be equally long; "
            f"got q {tuple(q.shape)} and k {tuple(k.shape)}."
        )
    check_flag("linear_attention", "recurrent", recurrent)
    dtype, exact = q.dtype, torch.promote_types(q.dtype, torch.float32)  # a float16 does not hold a sum over T keys
    q, k, v = _above_zero(q.to(exact)), _above_zero(k.to(exact)), v.to(exact)
    if not recurrent:
        scores = (q @ k.transpose(-2, -1)).tril()  # (..., T, T): what lies in the future is 0
        weights = scores / scores.sum(dim=-1, keepdim=True)
        return (weights @ v).to(dtype), weights.to(dtype)

    state = v.new_zeros(*k.shape[:-2], k.shape[-1], v.shape[-1])  # (..., d_k, d_v): the sum of k_j v_j
    total = k.new_zeros(*k.shape[:-2], k.shape[-1])  # (..., d_k): the sum of k_j
    contexts = []
    for t in range(q.shape[-2]):
        state = state + k[..., t, :, None] * v[..., t, None, :]  # (..., d_k, 1) * (..., 1, d_v)
        total = total + k[..., t, :]
        found = (q[..., t, None, :] @ state).squeeze(-2)  # (..., 1, d_k) @ (..., d_k, d_v) -> (..., d_v)
        contexts.append(found / (q[..., t, :] * total).sum(dim=-1, keepdim=True))
    context = torch.stack(contexts, dim=-2) if contexts else v  # (..., T, d_v), also of no positions
    return context.to(dtype), None


def _above_zero(x: Tensor) -> Tensor:
    """elu(x) + 1, which is x + 1 or exp(x): elu takes the 1 off, and what a number near 0 loses never comes back."""
    return torch.relu(x) + torch.exp(x.clamp(max=0.0))
