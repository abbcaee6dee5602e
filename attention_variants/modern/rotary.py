"""Positions that turn queries and keys, instead of being added to what comes in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .checks import check_base, check_count, check_kind, check_number, check_positions, check_rotary, check_turn

Pairs = Literal["halves", "interleaved"]


def apply_rotary(
    x: Float[Tensor, "*batch T d_k"],
    positions: Int[Tensor, "..."],
    *,
    base: float = 10_000.0,
    pairs: Pairs = "halves",
    scaling: Llama3Scaling | None = None,
    rotary_dim: int | None = None,
) -> Float[Tensor, "*batch T d_k"]:
    """Turn each pair of columns by an angle that grows with the position.

    A query and a key are turned before their dot product is taken. A turn changes no length, and two turns leave of
    their angles only the difference: the score of a query at position m and a key at position n depends on m - n.
    Su et al. (2021), "RoFormer", section 3.2.2, arXiv:2104.09864.

    Parameters
    ----------
    x : Tensor of shape (..., T, d_k)
        Queries or keys of a head; d_k is even.
    positions : integer Tensor that broadcasts to x.shape[:-1]
        Where each row stands, from 0: (T), or (B, 1, T) for positions of its own for each item of a batch of heads.
        It has at least one axis: one number for all rows would turn them alike.
    base : float, default 10_000.0
        Pair i turns by ``base ** (-2i / width)`` radians from one position to the next, where ``width`` is
        ``rotary_dim`` or d_k. Llama 3 has 500_000.
    pairs : {"halves", "interleaved"}, default "halves"
        Which columns are a pair: i and i + d_k / 2, as in transformers' Llama; or 2i and 2i + 1, as in the paper. One
        is the other with its columns in another order, so weights trained with one give nonsense with the other.
    scaling : Llama3Scaling, optional
        Slower turns, for texts longer than those of the training.
    rotary_dim : int, optional
        How many columns are turned, the first ones; the others are left as they are. By default all.

    Returns
    -------
    turned : Tensor of shape (..., T, d_k)
        Of the same dtype. Angles, sines and cosines are computed in float64: in float32 an angle of 100,000 radians
        is wrong by up to 0.004.

    Raises
    ------
    TypeError
        If x is not a floating-point tensor, or the positions are not whole numbers.
    ValueError
        If the number of columns to turn is odd or larger than d_k, a position is negative, shapes do not fit, or
        base or pairs are not as above.
    """
    width = x.shape[-1] if rotary_dim is None else rotary_dim
    check_rotary("apply_rotary", x, width, base, pairs)
    check_positions("apply_rotary", positions, x)
    _check_scaling("apply_rotary", scaling)
    speeds = rotary_speeds(width, base=base, scaling=scaling, device=x.device)  # (width / 2), in radians
    angle = positions[..., None] * speeds  # (..., T, 1) * (width / 2) -> (..., T, width / 2)
    turned = turn(x[..., :width], angle.cos().to(x.dtype), angle.sin().to(x.dtype), pairs=pairs)
    return turned if width == x.shape[-1] else torch.cat([turned, x[..., width:]], dim=-1)


def turn(
    x: Float[Tensor, "*batch T d_k"],
    cosine: Float[Tensor, "... pairs"],
    sine: Float[Tensor, "... pairs"],
    *,
    pairs: Pairs = "halves",
) -> Float[Tensor, "*batch T d_k"]:
    """Turn each pair of columns, a point in a plane, by the angle that has this cosine and sine.

    Parameters
    ----------
    x : Tensor of shape (..., T, d_k)
    cosine, sine : Tensor that broadcasts to (..., T, d_k / 2)
        They may be more exact than x: they are brought to its dtype.
    pairs
        As in `apply_rotary`.

    Returns
    -------
    turned : Tensor of shape (..., T, d_k)
        Of the dtype of x.

    Raises
    ------
    TypeError
        If something is not a floating-point tensor.
    ValueError
        If d_k is odd, shapes do not fit, or pairs are not as above.
    """
    check_turn(x, cosine, sine, pairs)
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    if pairs == "halves":
        first, second = x.chunk(2, dim=-1)
    else:
        first, second = x[..., 0::2], x[..., 1::2]
    turned = first * cosine - second * sine, first * sine + second * cosine
    return torch.cat(turned, dim=-1) if pairs == "halves" else torch.stack(turned, dim=-1).flatten(-2)


def rotary_speeds(
    width: int,
    *,
    base: float = 10_000.0,
    scaling: Llama3Scaling | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, " pairs"]:
    """By how many radians each pair turns from one position to the next: 1 for the first, less for each further one.

    Parameters
    ----------
    width : int
        How many columns are turned; even.
    base, scaling
        As in `apply_rotary`.
    device : torch.device, optional
        Where to compute it.

    Returns
    -------
    speeds : Tensor of shape (width / 2)
        Of float64.

    Raises
    ------
    TypeError, ValueError
        If the width is not an even number, or base or scaling are not as in `apply_rotary`.
    """
    check_count("rotary_speeds", "width", width, least=2)
    if width % 2:
        raise ValueError(f"rotary_speeds: columns are turned in pairs, so width must be even; got {width}.")
    check_base("rotary_speeds", base)
    _check_scaling("rotary_speeds", scaling)
    speeds = base ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)
    return speeds if scaling is None else scaling(speeds)


@dataclass(frozen=True)
class Llama3Scaling:
    """Slow pairs turn slower still, so that a longer text has no angles that the training has not seen.

    Pairs that go round ``high_freq_factor`` times or more within the length of the training keep their speed: they
    tell near positions apart. Those that go round at most ``low_freq_factor`` times are slowed by ``factor``. Between
    the two the speed goes over linearly.
    Llama Team (2024), "The Llama 3 Herd of Models", section 3.4.2, arXiv:2407.21783; the formula as in the code of
    Llama 3.1 (``apply_scaling``), with its numbers as defaults.

    Parameters
    ----------
    factor : float, default 8.0
        By how much the slow pairs are slowed.
    low_freq_factor, high_freq_factor : float, default 1.0 and 4.0
        Turns within the length of the training.
    original_length : int, default 8192
        The length of the training, in positions.

    Raises
    ------
    TypeError, ValueError
        If one is not a number above 0, or high_freq_factor is not above low_freq_factor.
    """

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 8192

    def __post_init__(self) -> None:
        check_number("Llama3Scaling", "factor", self.factor, above=0.0)
        check_number("Llama3Scaling", "low_freq_factor", self.low_freq_factor, above=0.0)
        check_number("Llama3Scaling", "high_freq_factor", self.high_freq_factor, above=self.low_freq_factor)
        check_count("Llama3Scaling", "original_length", self.original_length)

    def __call__(self, speeds: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
        """Return the speeds, those of slow pairs smaller."""
        turns = speeds * self.original_length / (2 * math.pi)
        kept = ((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)).clamp(0.0, 1.0)
        return speeds * (kept + (1.0 - kept) / self.factor)


def _check_scaling(caller: str, scaling: Llama3Scaling | None) -> None:
    if scaling is not None:
        check_kind(caller, "scaling", scaling, Llama3Scaling)
