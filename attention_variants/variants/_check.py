"""The one input check that all seven variants share, and a look at a mask.

Every error says what came, what was expected and, where a later variant can do it, which one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

#: The functions of the staircase by number: errors name them, the registry collects them.
NAMES = {
    1: "attention_loops",
    2: "attention_matmul",
    3: "attention_batched",
    4: "attention_masked",
    5: "multihead_attention_loop",
    6: "multihead_attention",
    7: "multihead_attention_fused",
}


def check_inputs(
    variant: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    num_heads: int = 1,
    dropout_p: float = 0.0,
    *,
    caller: str | None = None,
    names: tuple[str, str, str] = ("q", "k", "v"),
) -> None:
    """Raise a helpful error unless the inputs fit the contract of a variant.

    Parameters
    ----------
    variant : int
        The variant whose contract applies, 1 to 7.
    q, k, v : Tensor
        Queries, keys and values, as the variant takes them.
    mask : Tensor, optional
        Boolean, True = may attend (variants 4 to 7).
    num_heads : int
        The number of heads that share ``d_model`` (variants 5 to 7).
    dropout_p : float
        The probability of dropping a weight (variant 7).
    caller : str, optional
        The name that errors begin with; by default the variant's function.
    names : tuple of str
        What the caller calls its queries, keys and values.

    Raises
    ------
    TypeError
        For something that is not a tensor, or a tensor of the wrong dtype.
    ValueError
        For a shape, device, number of heads or probability that does not fit.
    """
    caller = caller or NAMES[variant]
    tensors = dict(zip(names, (q, k, v), strict=True))

    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{caller}: {name} must be a torch.Tensor; got {type(x).__name__}.")
        if not x.is_floating_point():
            raise TypeError(
                f"{caller}: {name} must be floating point (float16, bfloat16, float32 or float64); got {x.dtype}. "
                f"Convert it: {name}.float()."
            )
    if not q.dtype == k.dtype == v.dtype:
        came = ", ".join(f"{name} {x.dtype}" for name, x in tensors.items())
        raise TypeError(f"{caller}: {_and(names)} must share one dtype; got {came}.")
    if not q.device == k.device == v.device:
        came = ", ".join(f"{name} on {x.device}" for name, x in tensors.items())
        raise ValueError(f"{caller}: {_and(names)} must be on one device; got {came}.")

    _check_shapes(variant, caller, tensors)
    if variant >= 5:
        _check_heads(caller, q.shape[-1], num_heads)
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"{caller}: dropout_p must be a probability, 0 to 1; got {dropout_p}.")
    if mask is not None:
        _check_mask(variant, caller, q, k, mask, num_heads)


def _check_shapes(variant: int, caller: str, tensors: dict[str, Tensor]) -> None:
    (q_name, q), (k_name, k), (v_name, v) = tensors.items()
    widths = ("d_model",) * 3 if variant >= 5 else ("d_k", "d_k", "d_v")
    lead = "..., " if variant >= 3 else ""
    for (name, x), length, width in zip(tensors.items(), ("T_q", "T_k", "T_k"), widths, strict=True):
        expected = f"{name} of shape ({lead}{length}, {width})"
        if variant < 3 and x.ndim != 2:
            later = f" Batches arrive in variant 3, {NAMES[3]}." if x.ndim > 2 else ""
            raise ValueError(f"{caller} takes one sequence, {expected}; got {_shape(x)}.{later}")
        if x.ndim < 2:
            raise ValueError(f"{caller} takes {expected}; got {_shape(x)}.")

    came = ", ".join(f"{name} {_shape(x)}" for name, x in tensors.items())
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        raise ValueError(f"{caller}: {_and(tensors)} must share their leading (batch) dimensions; got {came}.")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"{caller}: {k_name} and {v_name} must have the same length T_k; got {came}.")
    if variant >= 5 and not q.shape[-1] == k.shape[-1] == v.shape[-1]:
        raise ValueError(
            f"{caller}: {_and(tensors)} must share the width d_model; got {came}. "
            f"Values of another width work in variants 1 to 4."
        )
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"{caller}: {q_name} and {k_name} must have the same width d_k; got {came}.")
    if q.shape[-1] == 0:
        raise ValueError(f"{caller}: {q_name} and {k_name} need a width of at least 1; got {came}.")


def _check_heads(caller: str, d_model: int, num_heads: int) -> None:
    if not isinstance(num_heads, int) or isinstance(num_heads, bool) or num_heads < 1:
        raise ValueError(f"{caller}: num_heads must be a whole number of at least 1; got {num_heads!r}.")
    if d_model % num_heads:
        fits = ", ".join(str(n) for n in range(1, d_model + 1) if d_model % n == 0)
        raise ValueError(
            f"{caller}: d_model must be divisible by num_heads; got d_model = {d_model} and num_heads = {num_heads}. "
            f"{d_model} can be split into {fits} heads."
        )


def _check_mask(variant: int, caller: str, q: Tensor, k: Tensor, mask: Tensor, num_heads: int) -> None:
    check_mask_dtype(caller, mask)
    if mask.device != q.device:
        raise ValueError(f"{caller}: mask must be on the device of the queries, {q.device}; got {mask.device}.")

    heads = (num_heads,) if variant >= 5 else ()
    weights_shape = (*q.shape[:-2], *heads, q.shape[-2], k.shape[-2])
    words = "(..., num_heads, T_q, T_k)" if variant >= 5 else "(..., T_q, T_k)"
    if variant >= 5 and 2 < mask.ndim < len(weights_shape) and any(size != 1 for size in mask.shape[:-2]):
        raise ValueError(
            f"{caller}: a mask of shape {_shape(mask)} is ambiguous beside weights of shape {weights_shape}: are its "
            f"leading dimensions batches or heads? Say so with an axis of length 1: mask.unsqueeze(-3) for one mask "
            f"per batch item, mask.unsqueeze(0) for one mask per head."
        )
    # Not torch.broadcast_shapes: its first call loads SymPy, which takes half a second.
    sizes = zip(reversed(mask.shape), reversed(weights_shape), strict=False)
    if mask.ndim > len(weights_shape) or any(size not in (1, full) for size, full in sizes):
        hint = ""
        if mask.ndim == 2 and mask.shape == (*q.shape[:-2], k.shape[-2]):
            axes = (
                "a head and a query axis: mask[:, None, None, :]" if variant >= 5 else "a query axis: mask[:, None, :]"
            )
            hint = f" A padding mask of shape (B, T_k) needs {axes}."
        elif variant == 4 and mask.ndim > len(weights_shape):
            hint = f" Heads arrive in variant 5, {NAMES[5]}."
        raise ValueError(
            f"{caller}: mask must broadcast to the shape of the weights, {words} = {weights_shape}; "
            f"got {_shape(mask)}.{hint}"
        )


def check_mask_dtype(caller: str, mask: Tensor) -> None:
    """Raise a TypeError that says how to convert unless the mask is a boolean tensor.

    Parameters
    ----------
    caller : str
        The name that the error begins with.
    mask : Tensor
        What was given as a mask.
    """
    if not isinstance(mask, Tensor):
        raise TypeError(f"{caller}: mask must be a boolean torch.Tensor, True = may attend; got {type(mask).__name__}.")
    if mask.is_floating_point():
        raise TypeError(
            f"{caller}: mask must be boolean, True = may attend; got {mask.dtype}. If it is meant to be added to the "
            f"scores (0 = may attend, -inf or a large negative number = blocked), pass mask > -1; if it holds 1 for "
            f"may attend and 0 for blocked, pass mask == 1."
        )
    if mask.dtype != torch.bool:
        raise TypeError(
            f"{caller}: mask must be boolean, True = may attend; got {mask.dtype}. If 1 means may attend, pass "
            f"mask.bool(); if 1 means blocked, pass mask == 0. (MultiHeadAttention takes masks of 0 and 1 as they are.)"
        )


def lacks_keys(mask: Tensor) -> bool:
    """Whether some query may have no key.

    It looks at the mask, which is small, so that the weights, which are large, are copied only where it is needed.

    Parameters
    ----------
    mask : boolean Tensor
        True = may attend; its last axis is that of the keys.

    Returns
    -------
    lacks : bool
        Also True, for "maybe", where a look is impossible (under ``torch.compile``, for a tensor of ``torch.vmap`` or
        one without numbers) or would wait for another device.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or mask.device.type != "cpu":
        return True
    try:
        return not bool(mask.any(dim=-1).all())
    except RuntimeError:  # it stands for many masks, or for none yet
        return True


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)


def _and(names: Iterable[str]) -> str:
    first, second, third = names
    return f"{first}, {second} and {third}"
