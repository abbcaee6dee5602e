"""Questions about caches of keys and values: call after call, with a look at what comes back after each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attention_variants.modern import KVCache, RollingKVCache

from .goal import Goal, Question

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

_B, _H, _D_K, _D_V = 2, 3, 4, 5


def _new(
    notes: Notes, T: int, *, heads: bool = True, batch: int = _B, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Keys and values of T positions."""
    shape = (batch, _H, T) if heads else (batch, T)
    return notes.draw(*shape, _D_K, dtype=dtype), notes.draw(*shape, _D_V, dtype=dtype)


def _append(notes: Notes, cache: Any, number: str, k: Tensor, v: Tensor, name: str = "cache") -> tuple[Any, Any]:
    k, v = notes.keep_all([f"k {number}", f"v {number}"], notes.call(f"{name}.append(k, v)", cache.append, k, v))
    return k, v


def _made(mine: Any, notes: Notes, name: str = "cache", **options: Any) -> Any:
    inside = ", ".join(f"{option}={x}" for option, x in options.items())
    return notes.call(f"{name} = KVCache({inside})", mine, **options)


def _one_at_a_time(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    for t in range(1, 4):
        k, v = _new(notes, 1)
        _append(notes, cache, str(t), notes.leaf(f"k {t}", k), notes.leaf(f"v {t}", v))
    notes.keep_inputs()


def _in_chunks(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    for number, T in enumerate((3, 2, 1), start=1):
        _append(notes, cache, str(number), *_new(notes, T, heads=False))


def _two_instances(mine: Any, notes: Notes) -> None:
    first = _made(mine, notes, "first")
    _append(notes, first, "1", *_new(notes, 2), "first")
    second = _made(mine, notes, "second")
    _append(notes, second, "2", *_new(notes, 3), "second")
    _append(notes, first, "3", *_new(notes, 1), "first")


def _in_float32(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    for t in range(1, 3):
        _append(notes, cache, str(t), *_new(notes, 1, dtype=torch.float32))


def _gradients(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    for t in range(1, 3):
        k, v = _new(notes, 2)
        k, v = _append(notes, cache, str(t), notes.leaf(f"k {t}", k), notes.leaf(f"v {t}", v))
    notes.keep_gradients(torch.cat([k, v], dim=-1))


def _length(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    notes.keep("len(cache) 0", notes.call("len(cache)", lambda: len(cache)))
    for number, T in enumerate((3, 1), start=1):
        _append(notes, cache, str(number), *_new(notes, T))
        notes.keep(f"len(cache) {number}", notes.call("len(cache)", lambda: len(cache)))


def _mask(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    notes.keep("mask 1", notes.call("cache.mask(3)", cache.mask, 3))
    _append(notes, cache, "1", *_new(notes, 3))
    notes.keep("mask 2", notes.call("cache.mask(1)", cache.mask, 1))
    notes.keep("mask 3", notes.call("cache.mask(2)", cache.mask, 2))


def _trim(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    _append(notes, cache, "1", *_new(notes, 5))
    notes.call("cache.trim(3)", cache.trim, 3)
    _append(notes, cache, "2", *_new(notes, 1))
    notes.call("cache.trim(0)", cache.trim, 0)
    _append(notes, cache, "3", *_new(notes, 2))


def _reorder(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    _append(notes, cache, "1", *_new(notes, 2, batch=3))
    notes.call("cache.reorder(tensor([2, 0, 0]))", cache.reorder, torch.tensor([2, 0, 0]))
    _append(notes, cache, "2", *_new(notes, 1, batch=3))
    notes.call("cache.reorder(tensor([1, 2, 0]))", cache.reorder, torch.tensor([1, 2, 0]))
    _append(notes, cache, "3", *_new(notes, 1, batch=3))


def _room(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes, max_len=6)
    for number, T in enumerate((3, 1, 2), start=1):
        _append(notes, cache, str(number), *_new(notes, T))


def _bytes(mine: Any, notes: Notes) -> None:
    cache = _made(mine, notes)
    _append(notes, cache, "1", *_new(notes, 3, dtype=torch.float32))
    notes.keep("cache.bytes", notes.call("cache.bytes", lambda: cache.bytes))


# ------------------------------------------------------------------------------- what a window leaves of the text


def _numbered(notes: Notes, start: int, T: int) -> tuple[Tensor, Tensor]:
    """Keys and values of T positions; the first number of each is its position."""
    k, v = _new(notes, T)
    k[..., 0] = v[..., 0] = torch.arange(start, start + T)
    return k, v


def _roll(mine: Any, notes: Notes, lengths: tuple[int, ...], *, masks: bool = False, **options: Any) -> None:
    """Append chunks to a rolling cache, and keep what comes back, in the order of the text whatever its own is."""
    inside = ", ".join(f"{name}={x}" for name, x in options.items())
    cache = notes.call(f"cache = RollingKVCache({inside})", mine, **options)
    start = 0
    for number, T in enumerate(lengths, start=1):
        k, v = _numbered(notes, start, T)
        mask = notes.call(f"cache.mask({T})", cache.mask, T) if masks else None
        found = notes.call("cache.append(k, v)", cache.append, k, v)
        k, v = notes.keep_all([f"k {number}", f"v {number}"], found)
        positions, order = k[0, 0, :, 0].sort()
        notes.keep(f"positions_kept {number}", positions)
        for name, x in (("k", k), ("v", v)):
            notes.keep(f"{name} {number}", x[..., order, :])
        if masks:
            notes.keep(f"mask {number}", mask[..., order] if isinstance(mask, Tensor) else mask)
        start += T


def _rolling_one_at_a_time(mine: Any, notes: Notes) -> None:
    _roll(mine, notes, (1,) * 6, window=2)


def _rolling_sinks(mine: Any, notes: Notes) -> None:
    _roll(mine, notes, (1,) * 7, window=2, sinks=2)


def _rolling_prompt(mine: Any, notes: Notes) -> None:
    _roll(mine, notes, (5, 1, 1), window=2)


def _rolling_prompt_and_sinks(mine: Any, notes: Notes) -> None:
    _roll(mine, notes, (5, 1, 2), window=2, sinks=1)


def _rolling_window_of_0(mine: Any, notes: Notes) -> None:
    _roll(mine, notes, (1, 1, 2), window=0)


def _rolling_masks(mine: Any, notes: Notes) -> None:
    _roll(mine, notes, (4, 2, 3), masks=True, window=2)


def _rolling_masks_and_sinks(mine: Any, notes: Notes) -> None:
    _roll(mine, notes, (4, 2, 3), masks=True, window=2, sinks=1)


def _rolling_two_instances(mine: Any, notes: Notes) -> None:
    for number, name in enumerate(("first", "second")):
        cache = notes.call(f"{name} = RollingKVCache(window=2)", mine, window=2)
        for t in range(2):
            found = notes.call(f"{name}.append(k, v)", cache.append, *_numbered(notes, t, 1))
            notes.keep_all([f"k {number} {t}", f"v {number} {t}"], found)


def _rolling_length(mine: Any, notes: Notes) -> None:
    cache = notes.call("cache = RollingKVCache(window=2)", mine, window=2)
    for number, T in enumerate((1, 3, 1)):
        notes.call("cache.append(k, v)", cache.append, *_new(notes, T))
        notes.keep(f"len(cache) {number}", notes.call("len(cache)", lambda: len(cache)))


def _rolling_seen(mine: Any, notes: Notes) -> None:
    cache = notes.call("cache = RollingKVCache(window=2)", mine, window=2)
    for number, T in enumerate((1, 3, 1)):
        notes.call("cache.append(k, v)", cache.append, *_new(notes, T))
        notes.keep(f"cache.seen {number}", notes.call("cache.seen", lambda: cache.seen))


GOALS = (
    Goal(
        KVCache,
        "KVCache()",
        (
            Question("two_instances", _two_instances),  # first: nothing else has been kept yet
            Question("one_at_a_time", _one_at_a_time),
            Question("in_chunks", _in_chunks),
            Question("in_float32", _in_float32),
            Question("gradients", _gradients),
            Question("length", _length, ("__len__",)),
            Question("mask", _mask, ("mask",)),
            Question("trim", _trim, ("trim",)),
            Question("reorder", _reorder, ("reorder",)),
            Question("room", _room, ("max_len",)),
            Question("bytes", _bytes, ("bytes",)),
        ),
    ),
    Goal(
        RollingKVCache,
        "RollingKVCache(window)",
        (
            Question("two_instances", _rolling_two_instances),
            Question("one_at_a_time", _rolling_one_at_a_time),
            Question("prompt", _rolling_prompt),
            Question("window_of_0", _rolling_window_of_0),
            Question("sinks", _rolling_sinks, ("sinks",)),
            Question("prompt_and_sinks", _rolling_prompt_and_sinks, ("sinks",)),
            Question("masks", _rolling_masks, ("mask",)),
            Question("masks_and_sinks", _rolling_masks_and_sinks, ("mask", "sinks")),
            Question("length", _rolling_length, ("__len__",)),
            Question("seen", _rolling_seen, ("seen",)),
        ),
        made_with=(2,),
    ),
)
