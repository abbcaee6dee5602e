"""What enters a Transformer: a vector for each token, and one for each position."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def positional_encoding(T: int, d_model: int) -> Float[Tensor, "T d_model"]:
    """Give each position its own vector of sines and cosines.

    ``PE[t, 2i] = sin(t / 10000^(2i / d_model))`` and ``PE[t, 2i + 1] = cos(t / 10000^(2i / d_model))``: each pair of
    columns is a point on a circle, which moves on by one radian per position in the first pair, and by less in each
    further pair.

    Parameters
    ----------
    T : int
        The number of positions, counted from 0.
    d_model : int
        The width; even, because columns come in pairs.

    Returns
    -------
    encoding : Tensor of shape (T, d_model)
        Of float64, between -1 and 1.

    Raises
    ------
    ValueError
        If T is negative, or d_model is not an even number of at least 2.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.5. arXiv:1706.03762
    """
    if T < 0 or d_model < 2 or d_model % 2:
        raise ValueError(
            f"positional_encoding: T must be at least 0 and d_model even, for columns come in pairs of a sine and a "
            f"cosine; got T = {T} and d_model = {d_model}."
        )
    position = torch.arange(T, dtype=torch.float64)
    speed = 10_000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)  # (d_model / 2), in radians
    angle = position[:, None] * speed  # (T, 1) * (d_model / 2) -> (T, d_model / 2)
    sine, cosine = angle.sin(), angle.cos()
    return torch.stack([sine, cosine], dim=-1).flatten(-2)  # by turns: (T, d_model)


class TokenEmbedding(nn.Embedding):
    """A learned vector for each token of the vocabulary, times sqrt(d_model).

    The vectors are drawn with a variance of 1 / d_model, so that the same matrix can serve as output projection; the
    factor brings them to the size of the positional encoding that is added.

    Parameters
    ----------
    vocab_size : int
        How many different tokens there are.
    d_model : int
        The width of the vectors.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.4. arXiv:1706.03762
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)

    def reset_parameters(self) -> None:
        """Draw the vectors anew."""
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)

    def forward(self, tokens: Int[Tensor, "*batch T"]) -> Float[Tensor, "*batch T d_model"]:
        """Look up the vectors of token numbers."""
        vectors = F.embedding(tokens, self.weight)  # a row of the table for each token: (..., T) -> (..., T, d_model)
        return vectors * math.sqrt(self.embedding_dim)


class PositionalEncoding(nn.Module):
    """Add to each vector the encoding of its position, which is computed, not learned.

    Parameters
    ----------
    d_model : int
        The width, an even number.
    max_len : int
        The longest sequence.
    dropout : float, default 0.0
        The probability of dropping a number of the sum, in training mode only.
    """

    def __init__(self, d_model: int, max_len: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        # Computed, so neither parameter nor buffer: whatever the model is converted to, the encoding stays exact.
        self.encoding = positional_encoding(max_len, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*batch T d_model"], start: int = 0) -> Float[Tensor, "*batch T d_model"]:
        """Add the encodings of T positions.

        Parameters
        ----------
        x : Tensor of shape (..., T, d_model)
            A vector for each position.
        start : int, default 0
            The position of the first; those before it came in another call.

        Raises
        ------
        ValueError
            If there are more positions than ``max_len``.
        """
        T, max_len = start + x.shape[-2], len(self.encoding)
        if T > max_len:
            raise ValueError(f"PositionalEncoding: at most {max_len} positions, its max_len; got {T}.")
        encoded: Tensor = self.dropout(x + self.encoding[start:T].to(x))  # (..., T, d_model) + (T, d_model)
        return encoded
