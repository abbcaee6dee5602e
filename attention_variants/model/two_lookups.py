"""A task that needs two look-ups at once, and how one head fails at it.

A row of digits is given, and two places in it. The answer is the digit at the first place and the digit at the second,
in this order. A layer of attention gets the two places as one query, and a matrix makes both answers of its
output. With two heads, each can attend to one place. One head has one row of weights, so both answers are made of one
weighted sum. If the first place weighs more, its digit wins in both; if both weigh the same, nothing tells which was
first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from attention_variants.model import MultiHeadAttention

_PLACES, _DIGITS, _WIDTH = 8, 10, 32


class _TwoLookups(nn.Module):
    """One layer of attention between two embeddings and a matrix; one head or two, the parameters are as many."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.digit = nn.Embedding(_DIGITS, _WIDTH)
        self.place = nn.Embedding(_PLACES, _WIDTH)
        self.first, self.second = nn.Embedding(_PLACES, _WIDTH), nn.Embedding(_PLACES, _WIDTH)
        self.attention = MultiHeadAttention(_WIDTH, num_heads)
        self.output = nn.Linear(_WIDTH, 2 * _DIGITS)

    def forward(self, digits: Int[Tensor, "B places"], wanted: Int[Tensor, "B two"]) -> Float[Tensor, "B two digits"]:
        query = self.first(wanted[:, :1]) + self.second(wanted[:, 1:])  # (B, 1, d_model): both places in one vector
        key = self.digit(digits) + self.place.weight  # (B, T_k, d_model)
        found, _ = self.attention(query, key, need_weights=False)  # (B, 1, d_model)
        logits: Tensor = self.output(found)  # (B, 1, d_model) -> (B, 1, 2 * digits)
        return logits.view(-1, 2, _DIGITS)


@dataclass(frozen=True, eq=False)
class TwoLookups:
    """The result of one training.

    Attributes
    ----------
    num_heads, seed : int
        Which training.
    parameters : int
        How many numbers were trained.
    losses : list of float
        The cross-entropy of each step, in nats a digit.
    accuracy : float
        On fresh rows: how often both digits are right.
    """

    num_heads: int
    seed: int
    parameters: int
    losses: list[float]
    accuracy: float


def two_lookups(num_heads: int, *, seed: int = 0, steps: int = 400) -> TwoLookups:
    """Train one layer of attention to look up two digits at once.

    Parameters
    ----------
    num_heads : int
        1 or 2; the number of parameters is the same.
    seed : int, default 0
        The seed of the weights and of the data. Your own random numbers stay as you seeded them.
    steps : int, default 400
        How many steps the optimizer Adam takes, each with 128 new rows.

    Returns
    -------
    result : TwoLookups
        Losses and accuracy.
    """
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        model = _TwoLookups(num_heads)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(steps):
            digits, wanted, answer = _rows(128)
            loss = F.cross_entropy(model(digits, wanted).flatten(0, 1), answer.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        digits, wanted, answer = _rows(2000)
        with torch.no_grad():
            right = (model(digits, wanted).argmax(dim=-1) == answer).all(dim=-1)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return TwoLookups(num_heads, seed, parameters, losses, right.float().mean().item())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: for tensors this small, threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rows(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw rows of digits, two different places in each, and the digits there."""
    digits = torch.randint(_DIGITS, (count, _PLACES))
    wanted = torch.rand(count, _PLACES).topk(2).indices  # two different places, in a random order
    return digits, wanted, digits.gather(1, wanted)
