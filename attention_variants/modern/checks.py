"""What the pages after the seven check of their inputs: every error says what came, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attention_variants.variants.checks import (
    FLOATING,
    check_count,
    check_flag,
    check_heads,
    check_kind,
    check_number,
    kind_of,
    look,
)

if TYPE_CHECKING:
    from .kv_cache import KVCache
    from .sliding_window import RollingKVCache

__all__ = [
    "check_append",
    "check_base",
    "check_cache",
    "check_count",
    "check_flag",
    "check_floating",
    "check_items",
    "check_kind",
    "check_latent",
    "check_number",
    "check_pairs",
    "check_positions",
    "check_rotary",
    "check_turn",
    "check_width",
    "is_cache",
]


def check_floating(caller: str, **tensors: Any) -> None:
    """Raise a TypeError unless all are floating-point tensors of one dtype, a ValueError unless on one device.

    Parameters
    ----------
    caller : str
        The name that errors begin with.
    **tensors
        By their names.
    """
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{caller}: {name} must be a torch.Tensor; got {type(x).__name__}.")
        if x.dtype not in FLOATING:
            raise TypeError(f"{caller}: {name} must be floating point; got {x.dtype}. Convert it: {name}.float().")
    if len({x.dtype for x in tensors.values()}) > 1:
        raise TypeError(f"{caller}: {_listed(tensors, 'dtype')}: all must share one dtype. Convert one: x.to(dtype).")
    if len({x.device for x in tensors.values()}) > 1:
        raise ValueError(f"{caller}: {_listed(tensors, 'device')}: all must be on one device. Move one: x.to(device).")


def is_cache(thing: object) -> bool:
    """Whether something keeps keys and values as `KVCache` does: a class of one's own may."""
    methods = [getattr(thing, name, None) for name in ("append", "mask")]
    return not isinstance(thing, type) and all(map(callable, methods))


def check_cache(caller: str, cache: object) -> None:
    """Raise a TypeError unless something keeps keys and values as `KVCache` does."""
    if not is_cache(cache):
        raise TypeError(
            f"{caller}: cache must be a KVCache or a RollingKVCache, or have their methods; got {kind_of(cache)}."
        )


def check_append(cache: KVCache | RollingKVCache, k: Tensor, v: Tensor) -> None:
    """Raise an error unless new keys and values fit what a cache keeps."""
    caller = f"{type(cache).__name__}.append"
    if not (_is_like(k, cache.k) and _is_like(v, cache.v)):  # what is like the others is right: quick, for every token
        check_floating(caller, k=k, v=v)
    if k.ndim < 2 or k.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            f"{caller}: k must have shape (..., T_new, d_k) and v (..., T_new, d_v), alike but for the width; "
            f"got k {tuple(k.shape)} and v {tuple(v.shape)}."
        )
    for name, new, kept in (("k", k, cache.k), ("v", v, cache.v)):
        if kept is None:
            continue
        if not _is_like(new, kept):
            error = ValueError if new.dtype == kept.dtype else TypeError
            raise error(
                f"{caller}: the cache keeps {name} of {kept.dtype} on {kept.device}; got {new.dtype} on {new.device}. "
                f"A cache belongs to one layer of one model: begin with a new {type(cache).__name__}."
            )
        if (*new.shape[:-2], new.shape[-1]) != (*kept.shape[:-2], kept.shape[-1]):
            expected = ", ".join([*map(str, kept.shape[:-2]), "T_new", str(kept.shape[-1])])
            raise ValueError(
                f"{caller}: what is kept asks for {name} of shape ({expected}); got {tuple(new.shape)}. "
                f"For another batch, layer or model begin with a new {type(cache).__name__}."
            )
    max_len = getattr(cache, "max_len", None)
    if max_len is not None and len(cache) + k.shape[-2] > max_len:
        raise ValueError(
            f"{caller}: there is room for max_len = {max_len} positions, of which {len(cache)} are taken; "
            f"got {k.shape[-2]} more. Make more room, KVCache(max_len=...), or trim it first."
        )


def check_items(cache: KVCache, items: Tensor) -> None:
    """Raise an error unless these are numbers of items of a cache's batch."""
    caller = "KVCache.reorder"
    # Whole numbers of eight bits would be taken for a mask.
    is_integer = isinstance(items, Tensor) and items.dtype in (torch.int64, torch.int32)
    if not is_integer or items.ndim != 1:
        came = f"{items.dtype} of shape {tuple(items.shape)}" if isinstance(items, Tensor) else type(items).__name__
        error = ValueError if is_integer else TypeError
        raise error(f"{caller}: items must be an integer tensor (int64 or int32) of shape (B_new); got {came}.")
    if cache.k is None:
        return
    if cache.k.ndim < 3:
        raise ValueError(f"{caller}: what is kept has no batch: k has shape {tuple(cache.k.shape)}.")
    B = cache.k.shape[0]
    if look(items, lambda items: ((items < 0) | (items >= B)).any()):
        raise ValueError(f"{caller}: there are items 0 to {B - 1}; got {items.tolist()}.")


def check_latent(caller: str, q: Tensor, latent: Tensor, w_uk: Tensor, w_uv: Tensor, num_heads: int) -> None:
    """Raise an error unless queries, latent vectors and the matrices of keys and values fit together."""
    check_floating(caller, q=q, latent=latent, w_uk=w_uk, w_uv=w_uv)
    for name, x in (("q", q), ("latent", latent)):
        if x.ndim < 2:
            raise ValueError(f"{caller}: {name} must have shape (..., T, width); got {tuple(x.shape)}.")
    if q.shape[:-2] != latent.shape[:-2]:
        raise ValueError(
            f"{caller}: q and latent must share their leading (batch) dimensions; "
            f"got q {tuple(q.shape)} and latent {tuple(latent.shape)}."
        )
    expected = (latent.shape[-1], q.shape[-1])
    for name, w in (("w_uk", w_uk), ("w_uv", w_uv)):
        if tuple(w.shape) != expected:
            raise ValueError(
                f"{caller}: {name} must have shape (d_latent, d_model) = {expected}; got {tuple(w.shape)}."
            )
    check_heads(caller, q.shape[-1], num_heads)


def check_width(caller: str, x: Tensor, width: int) -> None:
    """Raise an error unless the vectors of x are as wide as a layer; quick, for it is asked for every token."""
    if not (isinstance(x, Tensor) and x.dtype in FLOATING):
        check_floating(caller, x=x)
    if x.ndim == 0 or x.shape[-1] != width:
        raise ValueError(f"{caller}: x must have shape (..., {width}), as wide as the layer; got {tuple(x.shape)}.")


def check_base(caller: str, base: float) -> None:
    """Raise an error unless a number can be the base of the speeds."""
    check_number(caller, "base", base, above=1.0, expected="a number above 1, such as 10_000.0")


def check_pairs(caller: str, pairs: str) -> None:
    """Raise a ValueError unless it is said which columns are a pair."""
    if pairs not in ("halves", "interleaved"):
        raise ValueError(f'{caller}: pairs must be "halves" or "interleaved"; got {pairs!r}.')


def check_turn(x: Tensor, cosine: Tensor, sine: Tensor, pairs: str) -> None:
    """Raise an error unless there is a cosine and a sine for each pair of columns of x; quick as well."""
    for name, tensor in (("x", x), ("cosine", cosine), ("sine", sine)):
        if not (isinstance(tensor, Tensor) and tensor.dtype in FLOATING):
            check_floating("turn", **{name: tensor})  # one by one: cosine and sine may be more exact
    check_pairs("turn", pairs)
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ValueError(f"turn: x must have shape (..., T, d_k), and d_k be even; got {tuple(x.shape)}.")
    expected = (*x.shape[:-1], x.shape[-1] // 2)
    if not _fits(cosine, expected) or (sine.shape != cosine.shape and not _fits(sine, expected)):
        raise ValueError(
            f"turn: cosine and sine must broadcast to (..., T, d_k / 2) = {tuple(expected)}; "
            f"got {tuple(cosine.shape)} and {tuple(sine.shape)}."
        )


def check_rotary(caller: str, x: Tensor, width: int, base: float, pairs: str) -> None:
    """Raise an error unless columns of x can be turned in pairs."""
    check_floating(caller, x=x)
    if x.ndim < 2:
        raise ValueError(f"{caller}: x must have shape (..., T, d_k); got {tuple(x.shape)}.")
    if isinstance(width, bool) or not isinstance(width, int) or width < 2 or width % 2 or width > x.shape[-1]:
        raise ValueError(
            f"{caller}: columns are turned in pairs, so their number must be even, at least 2 and at most "
            f"d_k = {x.shape[-1]}; got {width!r}."
        )
    check_base(caller, base)
    check_pairs(caller, pairs)


def check_positions(caller: str, positions: Tensor, x: Tensor) -> None:
    """Raise an error unless there is a position, a whole number from 0, for each row of x."""
    if not isinstance(positions, Tensor) or positions.is_floating_point() or positions.dtype == torch.bool:
        came = positions.dtype if isinstance(positions, Tensor) else type(positions).__name__
        raise TypeError(
            f"{caller}: positions must be an integer tensor, such as torch.arange({x.shape[-2]}); got {came}."
        )
    if positions.device != x.device:
        raise ValueError(f"{caller}: positions must be on the device of x, {x.device}; got {positions.device}.")
    rows = x.shape[:-1]
    if not _fits(positions, rows) or positions.ndim == 0:
        hint = " For positions of each item of a batch of heads, pass positions[:, None]." * (positions.ndim == 2)
        raise ValueError(
            f"{caller}: positions must broadcast to the rows of x, {tuple(rows)}; got {tuple(positions.shape)}.{hint}"
        )
    if look(positions, lambda positions: (positions < 0).any()):
        raise ValueError(f"{caller}: positions count from 0; the smallest that came is {int(positions.min())}.")


def _fits(x: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a tensor broadcasts to a shape."""
    sizes = zip(reversed(x.shape), reversed(shape), strict=False)
    return x.ndim <= len(shape) and all(size in (1, full) for size, full in sizes)


def _listed(tensors: dict[str, Tensor], what: str) -> str:
    came: Sequence[str] = [f"{name} {getattr(x, what)}" for name, x in tensors.items()]
    return ", ".join(came)


def _is_like(x: Any, kept: Tensor | None) -> bool:
    """Whether a tensor has the dtype and the device of what is kept."""
    return isinstance(x, Tensor) and kept is not None and x.dtype == kept.dtype and x.device == kept.device
