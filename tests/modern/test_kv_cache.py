"""One query at a time, with keys and values kept, is the whole causal pass; and what may go wrong."""

from __future__ import annotations

import re

import pytest
import torch

import attention_variants as av

pytestmark = pytest.mark.numeric

B, T, D_K, D_V = 2, 7, 4, 6
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def qkv(seed=0, *, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    widths = (D_K, D_K, D_V)
    return [
        torch.randn(B, T, width, generator=generator, dtype=torch.float64, requires_grad=requires_grad)
        for width in widths
    ]


def piece_by_piece(cache, q, k, v, lengths, mask=None):
    """Attend in chunks of the given lengths; ``mask(T_new, T)`` is the mask of a chunk."""
    contexts, start = [], 0
    for length in lengths:
        now = slice(start, start + length)
        kept_k, kept_v = cache.append(k[:, now], v[:, now])
        chunk = av.causal_mask(length, kept_k.shape[-2], align="bottom-right") if mask is None else mask
        contexts.append(av.attention_masked(q[:, now], kept_k, kept_v, chunk)[0])
        start += length
    return torch.cat(contexts, dim=1)


@pytest.mark.parametrize("max_len", [None, T, T + 5])
@pytest.mark.parametrize("lengths", [[1] * T, [3, 4], [4, 1, 2], [T]])
def test_chunks_are_the_whole_pass(max_len, lengths):
    q, k, v = qkv()
    whole, _ = av.attention_masked(q, k, v, av.causal_mask(T))
    cache = av.KVCache(max_len)
    torch.testing.assert_close(piece_by_piece(cache, q, k, v, lengths), whole, **CLOSE)
    assert torch.equal(cache.k, k)
    assert torch.equal(cache.v, v)
    assert len(cache) == T


@pytest.mark.parametrize("lengths", [[1] * T, [3, 4]])
def test_gradients_flow_through_a_cache_that_grows(lengths):
    inputs = qkv(requires_grad=True)
    whole, _ = av.attention_masked(*inputs, av.causal_mask(T))
    expected = torch.autograd.grad(whole.sin().sum(), inputs)
    found = torch.autograd.grad(piece_by_piece(av.KVCache(), *inputs, lengths).sin().sum(), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_a_top_left_mask_is_another_function():
    """The mistake that ``align`` is there for: the last query would see as many keys as the chunk is long."""
    q, k, v = qkv()
    cache = av.KVCache()
    cache.append(k[:, :4], v[:, :4])
    kept = cache.append(k[:, 4:], v[:, 4:])
    wrong, _ = av.attention_masked(q[:, 4:], *kept, av.causal_mask(3, T))
    whole, _ = av.attention_masked(q, k, v, av.causal_mask(T))
    assert (wrong - whole[:, 4:]).abs().max() > 0.1


def test_what_came_in_is_not_changed_and_what_is_returned_is_not_a_copy_of_the_room():
    _, k, v = qkv()
    before = k.clone()
    cache = av.KVCache(max_len=T)
    kept, _ = cache.append(k[:, :3], v[:, :3])
    cache.append(k[:, 3:], v[:, 3:])
    assert torch.equal(k, before)
    assert cache.k.data_ptr() == kept.data_ptr(), "no key is copied a second time"


@pytest.mark.parametrize("max_len", [None, T])
def test_trim_forgets_what_came_last(max_len):
    q, k, v = qkv()
    cache = av.KVCache(max_len)
    cache.append(k, v)
    cache.trim(3)
    assert len(cache) == 3
    other_k, other_v = -k[:, 3:4], -v[:, 3:4]
    kept = cache.append(other_k, other_v)
    context, _ = av.attention_masked(q[:, 3:4], *kept)
    expected, _ = av.attention_masked(
        q[:, 3:4], torch.cat([k[:, :3], other_k], dim=1), torch.cat([v[:, :3], other_v], dim=1)
    )
    torch.testing.assert_close(context, expected, **CLOSE)
    cache.trim(0)
    assert len(cache) == 0


@pytest.mark.parametrize("max_len", [None, T])
@pytest.mark.parametrize("items", [[1, 0], [1, 1, 0], [0]])
def test_reorder_lets_each_beam_go_on_from_its_own(max_len, items):
    _, k, v = qkv()
    cache = av.KVCache(max_len)
    cache.append(k[:, :3], v[:, :3])
    cache.reorder(torch.tensor(items))
    cache.append(k[items][:, 3:], v[items][:, 3:])
    assert torch.equal(cache.k, k[items])
    assert torch.equal(cache.v, v[items])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_bytes_are_those_of_the_numbers_kept(dtype):
    _, k, v = (x.to(dtype) for x in qkv())
    grown, with_room = av.KVCache(), av.KVCache(max_len=100)
    assert grown.bytes == with_room.bytes == 0
    for cache in (grown, with_room):
        cache.append(k, v)
        assert cache.k.dtype == dtype
    size = torch.finfo(dtype).bits // 8
    assert grown.bytes == B * T * (D_K + D_V) * size
    assert with_room.bytes == B * 100 * (D_K + D_V) * size, "the whole room is taken"
    grown.trim(2)
    assert f"{grown!r}".startswith("<KVCache: 2 positions, ")
    assert f"{with_room!r}".startswith("<KVCache: 7 of 100 positions, ")


def test_heads_may_have_an_axis():
    k = torch.randn(B, 2, 3, D_K)
    cache = av.KVCache()
    cache.append(k, k)
    cache.append(k, k)
    assert cache.k.shape == (B, 2, 6, D_K)


def x(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


BAD = {
    "no room": (ValueError, "room for max_len = 4 positions, of which 3 are taken; got 2 more", x(2, 2, 4), x(2, 2, 4)),
    "another batch": (ValueError, "k of shape (2, T_new, 4); got (3, 1, 4)", x(3, 1, 4), x(3, 1, 4)),
    "another width": (ValueError, "k of shape (2, T_new, 4); got (2, 1, 8)", x(2, 1, 8), x(2, 1, 8)),
    "an axis for heads": (ValueError, "k of shape (2, T_new, 4); got (2, 2, 1, 4)", x(2, 2, 1, 4), x(2, 2, 1, 4)),
    "another width of v": (ValueError, "v of shape (2, T_new, 4); got (2, 1, 5)", x(2, 1, 4), x(2, 1, 5)),
    "another dtype": (
        TypeError,
        "keeps k of torch.float32 on cpu; got torch.float64",
        *[x(2, 1, 4, dtype=torch.float64)] * 2,
    ),
    "two dtypes": (
        TypeError,
        "k torch.float32, v torch.float64: all must share one dtype",
        x(2, 1, 4),
        x(2, 1, 4, dtype=torch.float64),
    ),
    "integers": (TypeError, "k must be floating point; got torch.int64", *[x(2, 1, 4, dtype=torch.int64)] * 2),
    "no tensor": (TypeError, "v must be a torch.Tensor; got list", x(2, 1, 4), [1.0]),
    "no length": (ValueError, "k must have shape (..., T_new, d_k)", x(4), x(4)),
    "other lengths": (ValueError, "alike but for the width; got k (2, 1, 4) and v (2, 2, 4)", x(2, 1, 4), x(2, 2, 4)),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_told_and_changes_nothing(case):
    error, message, k, v = BAD[case]
    cache = av.KVCache(max_len=4)
    cache.append(x(2, 3, 4), x(2, 3, 4))
    with pytest.raises(error, match=re.escape(message)):
        cache.append(k, v)
    assert len(cache) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda cache: av.KVCache(max_len=0), ValueError, "max_len must be a whole number of at least 1; got 0"),
        (lambda cache: av.KVCache(max_len=2.0), ValueError, "max_len must be a whole number of at least 1; got 2.0"),
        (lambda cache: cache.trim(4), ValueError, "only 3 positions are kept; got length = 4"),
        (lambda cache: cache.trim(-1), ValueError, "length must be a whole number of at least 0; got -1"),
        (
            lambda cache: cache.reorder([0, 1]),
            TypeError,
            "items must be an integer tensor (int64 or int32) of shape (B_new); got list",
        ),
        (lambda cache: cache.reorder(torch.tensor([True, False])), TypeError, "got torch.bool of shape (2,)"),
        (lambda cache: cache.reorder(torch.tensor([2])), ValueError, "there are items 0 to 1; got [2]"),
        (lambda cache: cache.reorder(torch.tensor([-1])), ValueError, "there are items 0 to 1; got [-1]"),
    ],
)
def test_a_wrong_call_is_told(call, error, message):
    cache = av.KVCache()
    cache.append(x(2, 3, 4), x(2, 3, 4))
    with pytest.raises(error, match=re.escape(message)):
        call(cache)


def test_without_a_batch_there_is_nothing_to_reorder():
    cache = av.KVCache()
    cache.append(x(3, 4), x(3, 4))
    with pytest.raises(ValueError, match="has no batch"):
        cache.reorder(torch.tensor([0]))


# ----------------------------------------------------------------------------------------------- a window that rolls


def window_mask(length, window, sinks):
    """The mask that says the same: a window that looks back, and the columns of the sinks."""
    near = av.sliding_window_mask(length, window=window) | (torch.arange(length) < sinks)
    return av.combine_masks(av.causal_mask(length), near)


@pytest.mark.parametrize(("window", "sinks"), [(2, 0), (2, 1), (0, 0), (3, 2), (20, 3), (1, 20)])
@pytest.mark.parametrize("lengths", [[1] * T, [3, 4], [4, 1, 2], [T]])
def test_a_rolling_cache_is_a_sliding_window_with_sinks(window, sinks, lengths):
    inputs = qkv(requires_grad=True)
    q, k, v = inputs
    whole, _ = av.attention_masked(q, k, v, window_mask(T, window, sinks))
    cache, contexts, start = av.RollingKVCache(window, sinks), [], 0
    for length in lengths:
        now = slice(start, start + length)
        mask = cache.mask(length)
        kept = cache.append(k[:, now], v[:, now])
        assert mask.shape == (length, kept[0].shape[-2])
        contexts.append(av.attention_masked(q[:, now], *kept, mask)[0])
        start += length
    found = torch.cat(contexts, dim=1)
    torch.testing.assert_close(found, whole, **CLOSE)
    gradients = (torch.autograd.grad(one.sin().sum(), inputs, retain_graph=True) for one in (found, whole))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_one_query_may_look_at_all_that_is_returned():
    cache = av.RollingKVCache(2, sinks=1)
    _, k, v = qkv()
    for t in range(T):
        mask = cache.mask(1)
        cache.append(k[:, t : t + 1], v[:, t : t + 1])
        assert mask.all()


def test_memory_does_not_grow_with_the_text():
    cache = av.RollingKVCache(window=3, sinks=2)
    taken = []
    for _ in range(50):
        cache.append(torch.zeros(B, 1, D_K), torch.zeros(B, 1, D_V))
        taken.append(cache.bytes)
    assert set(taken[10:]) == {B * (3 + 2) * (D_K + D_V) * 4}
    assert cache.positions.tolist() == [0, 1, 47, 48, 49]
    assert (cache.seen, len(cache)) == (50, 5)
    assert f"{cache!r}" == "<RollingKVCache: 5 of 50 positions, 400 bytes>"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: av.RollingKVCache(-1),
            ValueError,
            "RollingKVCache: window must be a whole number of at least 0; got -1",
        ),
        (lambda: av.RollingKVCache(2, sinks=-1), ValueError, "sinks must be a whole number of at least 0; got -1"),
        (
            lambda: _appended(x(2, 1, 5)),
            ValueError,
            "RollingKVCache.append: what is kept asks for k of shape (2, T_new, 4)",
        ),
    ],
)
def test_a_wrong_call_of_a_rolling_cache_is_told(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


def _appended(k):
    cache = av.RollingKVCache(2)
    cache.append(x(2, 1, 4), x(2, 1, 4))
    cache.append(k, k)


# ------------------------------------------------------------------------------------------- as callers treat them

CACHES = {
    "growing": av.KVCache,
    "with room": lambda: av.KVCache(max_len=T),
    "rolling": lambda: av.RollingKVCache(window=T),
}


@pytest.mark.parametrize("kind", CACHES)
def test_what_is_kept_does_not_change_with_the_tensor_that_came(kind):
    """A caller may write each new key into one and the same tensor."""
    _, k, v = qkv()
    cache, buffer_k, buffer_v = CACHES[kind](), k[:, :1].clone(), v[:, :1].clone()
    for t in range(3):
        buffer_k.copy_(k[:, t : t + 1])
        buffer_v.copy_(v[:, t : t + 1])
        kept_k, kept_v = cache.append(buffer_k, buffer_v)
    assert torch.equal(kept_k, k[:, :3])
    assert torch.equal(kept_v, v[:, :3])


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize("kind", CACHES)
def test_what_began_in_inference_mode_goes_on_outside_of_it(kind, reordered):
    _, k, v = qkv()
    cache = CACHES[kind]()
    with torch.inference_mode():
        cache.append(k[:, :3], v[:, :3])
        if reordered and kind != "rolling":
            cache.reorder(torch.arange(B))
    cache.append(k[:, 3:5], v[:, 3:5])
    with torch.inference_mode():
        kept_k, kept_v = cache.append(k[:, 5:], v[:, 5:])
    assert torch.equal(kept_k, k)
    assert torch.equal(kept_v, v)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("max_len", [None, T])
def test_items_are_whole_numbers_and_never_a_mask(max_len, dtype):
    """Numbers of type uint8 in brackets would be a mask."""
    _, k, v = qkv()
    cache = av.KVCache(max_len)
    cache.append(k, v)
    items = torch.tensor([1, 0, 1], dtype=dtype)
    if dtype == torch.int32:
        cache.reorder(items)
        assert torch.equal(cache.k, k[[1, 0, 1]])
    else:
        with pytest.raises(TypeError, match=r"items must be an integer tensor \(int64 or int32\)"):
            cache.reorder(items)


@pytest.mark.parametrize("sinks", [0, 2])
def test_no_query_needs_a_mask_of_no_rows(sinks):
    cache = av.RollingKVCache(window=2, sinks=sinks)
    cache.append(*qkv()[1:])
    assert cache.mask(0).shape == (0, len(cache))
