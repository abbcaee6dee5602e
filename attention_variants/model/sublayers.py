"""What stands around attention in every layer of a Transformer: the feed-forward network, and Add & Norm."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Two matrix products and a function between them, for each position on its own: ``w_2(activation(w_1(x)))``.

    Parameters
    ----------
    d_model : int
        The width of what goes in and comes out.
    d_ff : int
        The width between, four times as wide in the paper.
    dropout : float, default 0.0
        The probability of dropping a number between the two, in training mode only.
    activation : callable, default torch.nn.functional.relu
        The function between the two: without one, they would be a single matrix product.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.3. arXiv:1706.03762
    """

    def __init__(
        self, d_model: int, d_ff: int, *, dropout: float = 0.0, activation: Callable[[Tensor], Tensor] = F.relu
    ) -> None:
        super().__init__()
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, x: Float[Tensor, "*batch T d_model"]) -> Float[Tensor, "*batch T d_model"]:
        """Compute; no position sees another."""
        hidden = self.activation(self.w_1(x))  # (..., T, d_model) -> (..., T, d_ff)
        output: Tensor = self.w_2(self.dropout(hidden))  # (..., T, d_ff) -> (..., T, d_model)
        return output


def add_and_norm(
    x: Float[Tensor, "*batch T d_model"],
    computed: Float[Tensor, "*batch T d_model"],
    gamma: Float[Tensor, " d_model"],
    beta: Float[Tensor, " d_model"],
    eps: float = 1e-5,
) -> Float[Tensor, "*batch T d_model"]:
    """Spell out what `AddNorm` computes where the norm comes last, one step a line, to be read and watched.

    `AddNorm` itself calls ``torch.nn.LayerNorm``, which computes the same in one go.

    Parameters
    ----------
    x : Tensor of shape (..., T, d_model)
        What entered the sub-layer.
    computed : Tensor of shape (..., T, d_model)
        What it computed.
    gamma, beta : Tensor of shape (d_model,)
        The learned factor and shift of each column: ``norm.weight`` and ``norm.bias``.
    eps : float, default 1e-5
        Keeps a vector of equal numbers from being divided by 0.

    Returns
    -------
    normalised : Tensor of shape (..., T, d_model)
        With mean 0 and variance 1 in each vector, before ``gamma`` and ``beta``.

    References
    ----------
    Ba et al. (2016), "Layer Normalization", equation 4. arXiv:1607.06450
    """
    total = x + computed
    mean = total.mean(dim=-1, keepdim=True)  # over the columns of each vector: (..., T, d_model) -> (..., T, 1)
    variance = total.var(dim=-1, keepdim=True, correction=0)
    normalised = (total - mean) / torch.sqrt(variance + eps)
    return normalised * gamma + beta


class AddNorm(nn.Module):
    """Add what a sub-layer computed to what entered it, and bring the sum to one scale.

    Post-norm, as in the paper, is ``norm(x + sublayer(x))``; pre-norm is ``x + sublayer(norm(x))``, in
    which the gradients of a deep stack reach its first layer through sums alone. Both read the same in a layer::

        x = add_norm(x, sublayer(add_norm.entrance(x)))

    Parameters
    ----------
    d_model : int
        The width.
    dropout : float, default 0.0
        The probability of dropping a number of what the sub-layer computed, in training mode only.
    norm_first : bool, default False
        Whether to normalise before the sub-layer (pre-norm) instead of after the sum (post-norm).

    References
    ----------
    - He et al. (2015), "Deep Residual Learning for Image Recognition". arXiv:1512.03385
    - Ba et al. (2016), "Layer Normalization". arXiv:1607.06450
    - Xiong et al. (2020), "On Layer Normalization in the Transformer Architecture". arXiv:2002.04745
    """

    def __init__(self, d_model: int, *, dropout: float = 0.0, norm_first: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.norm_first = norm_first

    def entrance(self, x: Float[Tensor, "*batch T d_model"]) -> Float[Tensor, "*batch T d_model"]:
        """Say what the sub-layer is to work on: ``x``, normalised if the norm comes first."""
        return self.norm(x) if self.norm_first else x

    def forward(
        self, x: Float[Tensor, "*batch T d_model"], computed: Float[Tensor, "*batch T d_model"]
    ) -> Float[Tensor, "*batch T d_model"]:
        """Add what the sub-layer computed to ``x``, and normalise the sum if the norm comes last."""
        x = x + self.dropout(computed)
        return x if self.norm_first else self.norm(x)
