"""Masks: boolean, True = may attend.

The same polarity as ``torch.nn.functional.scaled_dot_product_attention``. ``torch.nn.MultiheadAttention``
says the opposite (True = blocked): negate a mask with ``~`` when it travels between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from attention_variants.variants.checks import check_count, check_mask_dtype

Align = Literal["top-left", "bottom-right"]


def causal_mask(
    T_q: int, T_k: int | None = None, *, align: Align = "top-left", device: torch.device | str | None = None
) -> Bool[Tensor, "T_q T_k"]:
    """No query may attend to a later position.

    When T_q and T_k differ, "the same position" can be counted from either end, and libraries disagree:

    - ``"top-left"``: query i and key i are at the same position. Query i may attend to keys 0 to i. This is
      what ``is_causal=True`` means in variant 7, in the layer and in PyTorch's kernel.
    - ``"bottom-right"``: the last query and the last key are at the same position. Query i may attend to
      keys 0 to i + T_k - T_q. This is what decoding with a cache of earlier keys needs. If T_q > T_k,
      the first T_q - T_k queries have no key.

    Parameters
    ----------
    T_q : int
        The number of queries.
    T_k : int, optional
        The number of keys; by default T_q.
    align : {"top-left", "bottom-right"}, default "top-left"
        The corner from which positions are counted.
    device : torch.device, optional
        Where to build the mask.

    Returns
    -------
    mask : boolean Tensor of shape (T_q, T_k)
        True = may attend. Fits variants 4 to 7.

    Raises
    ------
    ValueError
        If a length is not a whole number of at least 0, or ``align`` is another word.

    Examples
    --------
    >>> causal_mask(2, 3).int()
    tensor([[1, 0, 0],
            [1, 1, 0]], dtype=torch.int32)
    >>> causal_mask(2, 3, align="bottom-right").int()
    tensor([[1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    return _distance(T_q, T_k, align, device, caller="causal_mask") >= 0


def sliding_window_mask(
    T_q: int,
    T_k: int | None = None,
    *,
    window: int,
    align: Align = "top-left",
    device: torch.device | str | None = None,
) -> Bool[Tensor, "T_q T_k"]:
    """A query may attend to the keys at most ``window`` positions away, before or after it.

    Combine it with `causal_mask` for a window that looks back only.

    Parameters
    ----------
    T_q : int
        The number of queries.
    T_k : int, optional
        The number of keys; by default T_q.
    window : int
        The largest distance, in positions; 0 leaves a query only the key at its own position.
    align : {"top-left", "bottom-right"}, default "top-left"
        How positions are counted when T_q and T_k differ, see `causal_mask`.
    device : torch.device, optional
        Where to build the mask.

    Returns
    -------
    mask : boolean Tensor of shape (T_q, T_k)
        True = may attend. Fits variants 4 to 7.

    Raises
    ------
    ValueError
        If a length or the window is not a whole number of at least 0, or ``align`` is another word.

    Examples
    --------
    >>> sliding_window_mask(3, 4, window=1).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 1, 0],
            [0, 1, 1, 1]], dtype=torch.int32)
    """
    check_count("sliding_window_mask", "window", window, least=0)
    return _distance(T_q, T_k, align, device, caller="sliding_window_mask").abs() <= window


def padding_mask(
    lengths: Sequence[int] | Tensor, T_k: int | None = None, *, head_axis: bool = False
) -> Bool[Tensor, "B *one T_k"]:
    """Every query may attend to the keys before the padding begins.

    Parameters
    ----------
    lengths : sequence of int or integer Tensor of shape (B,)
        How many keys of each sequence are real. 0 leaves its queries without a key.
    T_k : int, optional
        The padded length; by default the longest of ``lengths``.
    head_axis : bool, default False
        Whether to add the head axis that variants 5 to 7 and the layer need.

    Returns
    -------
    mask : boolean Tensor of shape (B, 1, T_k), or (B, 1, 1, T_k) with ``head_axis``
        True = may attend. On the device of ``lengths``.

    Raises
    ------
    TypeError
        If the lengths are not whole numbers.
    ValueError
        If the lengths are not one-dimensional, negative, or larger than T_k.

    Examples
    --------
    >>> padding_mask([3, 1], T_k=4).int()
    tensor([[[1, 1, 1, 0]],
    <BLANKLINE>
            [[1, 0, 0, 0]]], dtype=torch.int32)
    """
    lengths = torch.as_tensor(lengths)
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise TypeError(
            f"padding_mask: lengths must be whole numbers, one for each sequence; got {lengths.dtype}. "
            f"From a tokenizer's attention_mask of shape (B, T_k): attention_mask.sum(-1)."
        )
    if lengths.ndim != 1:
        raise ValueError(f"padding_mask: lengths must have shape (B,); got {tuple(lengths.shape)}.")
    longest = int(lengths.max()) if len(lengths) else 0
    T_k = longest if T_k is None else T_k
    if len(lengths) and int(lengths.min()) < 0:
        raise ValueError(f"padding_mask: lengths must be at least 0; got {lengths.tolist()}.")
    if longest > T_k:
        raise ValueError(f"padding_mask: lengths must be at most T_k = {T_k}; got {lengths.tolist()}.")
    mask = torch.arange(T_k, device=lengths.device) < lengths[:, None, None]  # (T_k) < (B, 1, 1) -> (B, 1, T_k)
    return mask[:, None] if head_axis else mask


def combine_masks(*masks: Bool[Tensor, "..."] | None) -> Bool[Tensor, "..."] | None:
    """Allow what every mask allows.

    Parameters
    ----------
    *masks : boolean Tensor or None
        Masks whose shapes broadcast together; None allows everything and is passed over.

    Returns
    -------
    mask : boolean Tensor or None
        True = may attend. None if there was no mask at all.

    Raises
    ------
    TypeError
        If a mask is not boolean; the error says how to convert it.
    ValueError
        If the shapes do not broadcast together.

    Examples
    --------
    >>> combine_masks(causal_mask(2), padding_mask([2, 1])).int()
    tensor([[[1, 0],
             [1, 1]],
    <BLANKLINE>
            [[1, 0],
             [1, 0]]], dtype=torch.int32)
    """
    given = [mask for mask in masks if mask is not None]
    for mask in given:
        check_mask_dtype("combine_masks", mask)
    try:
        return reduce(and_, given) if given else None
    except RuntimeError:
        came = ", ".join(str(tuple(mask.shape)) for mask in given)
        raise ValueError(f"combine_masks: the masks must broadcast together; got {came}.") from None


def _distance(T_q: int, T_k: int | None, align: str, device: torch.device | str | None, *, caller: str) -> Tensor:
    """How far each key lies before each query: (T_q, T_k), negative for a later key."""
    T_k = T_q if T_k is None else T_k
    check_count(caller, "T_q", T_q, least=0)
    check_count(caller, "T_k", T_k, least=0)
    if align not in ("top-left", "bottom-right"):
        raise ValueError(f'{caller}: align must be "top-left" or "bottom-right"; got {align!r}.')
    offset = T_k - T_q if align == "bottom-right" else 0
    positions_q = torch.arange(T_q, device=device) + offset
    positions_k = torch.arange(T_k, device=device)
    return positions_q[:, None] - positions_k  # (T_q, 1) - (T_k) -> (T_q, T_k)
