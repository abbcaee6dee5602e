"""The one input check that all variants share, and a look at a mask.

Every error says what came, what was expected and, where a later variant can do it, which one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from .registry import CAPABILITIES, VARIANTS, describe_variant, variants_that_take

#: The dtypes in which there is arithmetic; torch has narrower ones, to store numbers.
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_inputs(
    variant: int | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    num_heads: int = 1,
    dropout_p: float = 0.0,
    *,
    caller: str | None = None,
    names: tuple[str, str, str] = ("q", "k", "v"),
    num_kv_heads: int | None = None,
) -> None:
    """Raise a helpful error unless the inputs fit the contract of a variant.

    Parameters
    ----------
    variant : int or None
        The variant that was called: what it takes decides what fits. None takes everything, as the layer does; it
        needs a caller.
    q, k, v : Tensor
        Queries, keys and values, as the variant takes them.
    mask : Tensor, optional
        Boolean, True = may attend.
    num_heads : int
        The number of heads that share ``d_model``.
    dropout_p : float
        The probability of dropping a weight.
    caller : str, optional
        The name that errors begin with; by default the variant's function.
    names : tuple of str
        What the caller calls its queries, keys and values.
    num_kv_heads : int, optional
        How many heads keys and values have, if several heads of queries share one; by default as many as the queries.

    Raises
    ------
    TypeError
        For something that is not a tensor, or a tensor of the wrong dtype.
    ValueError
        For a shape, device, number of heads or probability that does not fit.
    """
    takes: Collection[str] = CAPABILITIES
    if variant is not None:
        described = describe_variant(variant)
        caller, takes = caller or described.name, described.takes
    assert caller is not None
    tensors = dict(zip(names, (q, k, v), strict=True))

    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{caller}: {name} must be a torch.Tensor; got {type(x).__name__}.")
        if x.dtype not in FLOATING:
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

    _check_shapes(takes, caller, tensors, check_groups(caller, num_heads, num_kv_heads))
    if "heads" in takes:
        check_heads(caller, q.shape[-1], num_heads)
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"{caller}: dropout_p must be a probability, 0 to 1; got {dropout_p}.")
    if mask is not None:
        _check_mask(takes, caller, q, k, mask, num_heads)


def _check_shapes(takes: Collection[str], caller: str, tensors: dict[str, Tensor], group: int) -> None:
    (q_name, q), (k_name, k), (v_name, v) = tensors.items()
    widths = ("d_model",) * 3 if "heads" in takes else ("d_k", "d_k", "d_v")
    for (name, x), length, width in zip(tensors.items(), ("T_q", "T_k", "T_k"), widths, strict=True):
        if x.ndim < 2 or (x.ndim > 2 and "batch" not in takes):
            expected = f"of shape (..., {length}, {width})" if "batch" in takes else f"of shape ({length}, {width})"
            one = "" if "batch" in takes else "one sequence, "
            later = _arrives("Batches", "batch") if x.ndim > 2 else ""
            raise ValueError(f"{caller} takes {one}{name} {expected}; got {_shape(x)}.{later}")

    # What came is listed in the errors alone: a text made of sizes would be one that torch.compile cannot keep open.
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        raise ValueError(
            f"{caller}: {_and(tensors)} must share their leading (batch) dimensions; got {_listed(tensors)}."
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"{caller}: {k_name} and {v_name} must have the same length T_k; got {_listed(tensors)}.")
    if group > 1 and not q.shape[-1] == group * k.shape[-1] == group * v.shape[-1]:
        raise ValueError(
            f"{caller}: {group} heads of queries share one of keys and values, so {q_name} must be {group} times as "
            f"wide as {k_name} and {v_name}; got {_listed(tensors)}."
        )
    if group == 1 and "heads" in takes and not q.shape[-1] == k.shape[-1] == v.shape[-1]:
        without = ", ".join(str(number) for number in sorted(VARIANTS) if number not in variants_that_take("heads"))
        raise ValueError(
            f"{caller}: {_and(tensors)} must share the width d_model; got {_listed(tensors)}. "
            f"Values of another width work without heads: variants {without}."
        )
    if group == 1 and q.shape[-1] != k.shape[-1]:
        raise ValueError(f"{caller}: {q_name} and {k_name} must have the same width d_k; got {_listed(tensors)}.")
    if q.shape[-1] == 0:
        raise ValueError(f"{caller}: {q_name} and {k_name} need a width of at least 1; got {_listed(tensors)}.")


def check_groups(caller: str, num_heads: int, num_kv_heads: int | None) -> int:
    """Say how many heads of queries share one of keys and values; raise a ValueError unless it is a whole number.

    Parameters
    ----------
    caller : str
        The name that the error begins with.
    num_heads : int
        The heads of the queries.
    num_kv_heads : int or None
        Those of the keys and values; None for as many.

    Returns
    -------
    group : int
    """
    if num_kv_heads is None:
        return 1
    check_count(caller, "num_heads", num_heads)
    check_count(caller, "num_kv_heads", num_kv_heads)
    if num_heads % num_kv_heads:
        raise ValueError(
            f"{caller}: num_heads must be divisible by num_kv_heads, for each head of keys serves equally many of "
            f"queries; got num_heads = {num_heads} and num_kv_heads = {num_kv_heads}. "
            f"{num_heads} can share {_divisors(num_heads)}."
        )
    return num_heads // num_kv_heads


def check_count(caller: str, name: str, count: int, *, least: int = 1) -> None:
    """Raise a ValueError unless something is a whole number of at least 1.

    Parameters
    ----------
    caller, name : str
        The name that the error begins with, and what is counted.
    count : int
        What came.
    least : int, default 1
        The smallest that fits.
    """
    if not isinstance(count, int | torch.SymInt) or isinstance(count, bool) or count < least:
        raise ValueError(f"{caller}: {name} must be a whole number of at least {least}; got {_came(count)}.")


def check_number(
    caller: str,
    name: str,
    number: float,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    expected: str = "",
) -> None:
    """Raise an error unless something is a finite number within its limits.

    Parameters
    ----------
    caller, name : str
        The name that the error begins with, and that of the number.
    number : float
        What came.
    least, above, most : float, optional
        The smallest number that fits; a number that is just too small; the largest that fits.
    expected : str, optional
        What it must be, in words; by default what the smallest number says.

    Raises
    ------
    TypeError
        For something that is not a number; True and False are none.
    ValueError
        For NaN, an infinite number or one outside of the limits.
    """
    is_number = isinstance(number, float | Real) and not isinstance(number, bool)
    if is_number and math.isfinite(number) and number > above and least <= number <= most:
        return
    limit = f" of at least {least}" if least > -math.inf else f" above {above}" if above > -math.inf else ""
    message = f"{caller}: {name} must be {expected or 'a finite number' + limit}; got {_came(number)}."
    raise ValueError(message) if is_number else TypeError(message)


def check_seed(caller: str, seed: int) -> None:
    """Raise an error unless something can seed a `torch.Generator`.

    Parameters
    ----------
    caller : str
        The name that the error begins with.
    seed : int
        What came.

    Raises
    ------
    TypeError
        For something that is not a whole number.
    ValueError
        For a number of more than 64 bits.
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise TypeError(f"{caller}: seed must be a whole number; got {_came(seed)}.")
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"{caller}: seed must be a number of at most 64 bits; got {seed}.")


def check_flag(caller: str, name: str, flag: bool) -> None:
    """Raise a TypeError unless something is True or False: a word such as "no" would count as True.

    Parameters
    ----------
    caller, name : str
        The name that the error begins with, and that of the flag.
    flag : bool
        What came.
    """
    if not isinstance(flag, bool):
        raise TypeError(f"{caller}: {name} must be True or False; got {_came(flag)}.")


def check_kind(caller: str, name: str, thing: object, *kinds: type) -> None:
    """Raise a TypeError unless something is of one of some classes.

    Parameters
    ----------
    caller, name : str
        The name that the error begins with, and that of the thing.
    thing : object
        What came.
    *kinds : type
        The classes that fit.
    """
    if not isinstance(thing, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{caller}: {name} must be of class {expected}; got {kind_of(thing)}.")


def kind_of(thing: object) -> str:
    """Name the class of something, or say that it is a class itself.

    Parameters
    ----------
    thing : object
        What came.

    Returns
    -------
    words : str
        For an error.
    """
    return f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__


def check_tokens(caller: str, name: str, tokens: Tensor, vocab_size: int) -> None:
    """Raise an error unless these are numbers of tokens that there are.

    Parameters
    ----------
    caller, name : str
        The name that the error begins with, and that of the tokens.
    tokens : integer Tensor of shape (B, T)
        What came.
    vocab_size : int
        How many different tokens there are.

    Raises
    ------
    TypeError
        For something that is not an integer tensor.
    ValueError
        For another shape, or a token that there is not.
    """
    if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dtype == torch.bool:
        came = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
        raise TypeError(f"{caller}: {name} must be an integer tensor of shape (B, T); got {came}.")
    if tokens.ndim != 2 or tokens.shape[1] == 0:
        raise ValueError(
            f"{caller}: {name} must have shape (B, T), with at least one token; got {tuple(tokens.shape)}."
        )

    def are_unknown(tokens: Tensor) -> bool:
        least, most = (int(x) for x in tokens.aminmax())  # one operation: it is asked for every token
        return least < 0 or most >= vocab_size

    if tokens.numel() and look(tokens, are_unknown):
        least, most = int(tokens.min()), int(tokens.max())
        raise ValueError(f"{caller}: there are tokens 0 to {vocab_size - 1}; got {least} to {most}.")


def check_heads(caller: str, d_model: int, num_heads: int) -> None:
    """Raise a ValueError unless a number of heads divides the width that they share.

    Parameters
    ----------
    caller : str
        The name that the error begins with.
    d_model, num_heads : int
        The width, and how many heads share it.
    """
    check_count(caller, "num_heads", num_heads)
    if d_model % num_heads:
        raise ValueError(
            f"{caller}: d_model must be divisible by num_heads; got d_model = {d_model} and num_heads = {num_heads}. "
            f"{d_model} can be split into {_divisors(d_model)} heads."
        )


def _check_mask(takes: Collection[str], caller: str, q: Tensor, k: Tensor, mask: Tensor, num_heads: int) -> None:
    check_mask_dtype(caller, mask)
    if mask.device != q.device:
        raise ValueError(f"{caller}: mask must be on the device of the queries, {q.device}; got {mask.device}.")

    has_heads = "heads" in takes
    heads = (num_heads,) if has_heads else ()
    weights_shape = (*q.shape[:-2], *heads, q.shape[-2], k.shape[-2])
    words = "(..., num_heads, T_q, T_k)" if has_heads else "(..., T_q, T_k)"
    if has_heads and 2 < mask.ndim < len(weights_shape) and any(size != 1 for size in mask.shape[:-2]):
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
            axes = "a head and a query axis: mask[:, None, None, :]" if has_heads else "a query axis: mask[:, None, :]"
            hint = f" A padding mask of shape (B, T_k) needs {axes}."
        elif not has_heads and mask.ndim > len(weights_shape):
            hint = _arrives("Heads", "heads")
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


def look(x: Tensor, question: Callable[[Tensor], Tensor | bool]) -> bool | None:
    """Ask a question of the numbers of a tensor, where that is possible and costs no waiting.

    Parameters
    ----------
    x : Tensor
        Whose numbers to look at.
    question : callable
        ``question(x)`` is a bool, or a boolean tensor of one element.

    Returns
    -------
    answer : bool or None
        None where a look is impossible (under ``torch.compile`` and ``torch.export``, for a tensor of ``torch.vmap``
        or one without numbers) or would wait for another device.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or not x.is_cpu:
        return None
    try:
        return bool(question(x))
    except RuntimeError:  # it stands for many tensors, or for none yet
        return None


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
        Also True, for "maybe", where `look` has no answer.
    """
    return look(mask, lambda mask: mask.any(dim=-1).all()) is not True


def mapped_with(q: Tensor, mask: Tensor | None) -> Tensor:
    """Return the queries, mapped where ``torch.func.vmap`` maps the mask.

    Variants 4 to 7 fill the scores in place. Under a map over the mask alone there would be one tensor of scores and
    many fillings, which is an error; with queries that stand for as many tensors there are as many scores.

    Parameters
    ----------
    q : Tensor
        The queries.
    mask : boolean Tensor or None
        True = may attend.

    Returns
    -------
    q : Tensor
        The same numbers; the tensor itself outside of ``torch.func``, and under ``torch.compile``.
    """
    if mask is None or torch.compiler.is_compiling() or not is_functorch_wrapped_tensor(mask):
        return q
    return torch.where(mask.any(), q, q)


def has_zeros(context: Tensor) -> bool:
    """Whether some row of a context may be 0.

    It looks at the first column, which is enough to rule it out: a small part of what attention has read.

    Parameters
    ----------
    context : Tensor of shape (..., T_q, d_v)
        What attention has computed.

    Returns
    -------
    has : bool
        Also True, for "maybe", where `look` has no answer.
    """

    def is_full(context: Tensor) -> bool:
        if context.shape[-1] == 0:  # no numbers at all, so no zeros
            return True
        column = context.select(-1, 0)
        return torch.count_nonzero(column).item() == column.numel()  # cheaper than .all() on few numbers

    return look(context, is_full) is not True


def has_finite_scores(q: Tensor, k: Tensor) -> bool:
    """Whether every score is sure to be a finite number: none is larger than the product of the norms of q and k.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
        The queries.
    k : Tensor of shape (..., T_k, d_k)
        The keys.

    Returns
    -------
    has : bool
        Also False, for "maybe", where `look` has no answer.
    """

    def norm(x: Tensor) -> Tensor:
        result: Tensor = torch.linalg.vector_norm(x, dtype=torch.promote_types(x.dtype, torch.float32))
        return result

    return look(q, lambda q: (norm(q) * norm(k)).isfinite()) is True


def lost_rows(q: Tensor, k: Tensor, context: Tensor, *, is_causal: bool) -> Tensor:
    """Which rows of a context should be NaN, because the largest score of the query is not a finite number.

    The mean of the scores of a query, which is its score with the mean of the keys, tells without a T_q x T_k matrix: a
    NaN or +inf in some score is still one in the mean, or makes it NaN. Where the mean is -inf, some score is; all of
    them are if nothing has been read. Where `look` has no answer, so that every call pays, only a NaN in the score of
    the first key counts, which every query reads.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_k)
        The queries.
    k : Tensor of shape (..., T_k, d_k)
        The keys, at least one.
    context : Tensor of shape (..., T_q, d_v)
        What a kernel that may lose a NaN has computed.
    is_causal : bool
        Whether query i reads keys 0 to i only.

    Returns
    -------
    lost : boolean Tensor of shape (..., T_q, 1)
    """
    if look(context, torch.any) is None:
        return (q @ k[..., :1, :].transpose(-2, -1)).isnan()  # (..., T_q, 1)
    T_q, T_k = q.shape[-2], k.shape[-2]
    exact = torch.promote_types(q.dtype, torch.float32)  # a score of float16 numbers may be more than float16 holds
    q, k = q.detach().to(exact), k.detach().to(exact) / T_k  # divided first: the sum of large numbers is finite too
    if is_causal:
        k = k.cumsum(dim=-2)[..., torch.arange(T_q, device=q.device).clamp(max=T_k - 1), :]  # (..., T_q, d_k)
    else:
        k = k.sum(dim=-2, keepdim=True)  # (..., 1, d_k)
    mean = (q * k).sum(dim=-1, keepdim=True)  # (..., T_q, 1)
    is_zero = (context.nan_to_num() == 0).all(dim=-1, keepdim=True)  # 0 * inf, of a value, is NaN
    return mean.isnan() | (mean == torch.inf) | ((mean == -torch.inf) & is_zero)


def _came(thing: Any) -> str:
    """What came, or its class if that is long: a tensor in place of a number."""
    text = repr(thing)
    return text if len(text) <= 40 else type(thing).__name__


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)


def _listed(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {_shape(x)}" for name, x in tensors.items())


def _arrives(what: str, capability: str) -> str:
    """Name the first variant that takes what this one does not; "" if none does."""
    later = variants_that_take(capability)
    return f" {what} arrive in variant {later[0]}, {describe_variant(later[0]).name}." if later else ""


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)


def _and(names: Iterable[str]) -> str:
    first, second, third = names
    return f"{first}, {second} and {third}"
