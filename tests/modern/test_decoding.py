"""Layers, decoders and whole Transformers with caches give what they give without, token by token."""

from __future__ import annotations

import re

import pytest
import torch

import attention_variants as av
from attention_variants.model.dates import END, MAX_TARGET, START, date_test_set, encode_source

pytestmark = pytest.mark.numeric

B, T, T_S, D_MODEL, H = 2, 6, 7, 8, 2
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(variant=7, seed=0):
    torch.manual_seed(seed)
    return av.MultiHeadAttention(D_MODEL, H, variant=variant).double().eval()


def chunks(lengths):
    start = 0
    for length in lengths:
        yield slice(start, start + length)
        start += length


@pytest.mark.parametrize("variant", range(1, 8))
@pytest.mark.parametrize("lengths", [[1] * T, [2, 1, 3]])
@pytest.mark.parametrize("max_len", [None, T])
def test_self_attention_with_a_cache_is_the_causal_pass(variant, lengths, max_len):
    attend, x, cache = layer(variant), normal(B, T, D_MODEL), av.KVCache(max_len)
    expected, weights = attend(x, is_causal=True)
    with torch.no_grad():
        found = [attend(x[:, now], is_causal=True, cache=cache) for now in chunks(lengths)]
    torch.testing.assert_close(torch.cat([output for output, _ in found], dim=1), expected.detach(), **CLOSE)
    torch.testing.assert_close(found[-1][1], weights.detach()[..., -lengths[-1] :, :], **CLOSE)


def test_a_padding_mask_holds_for_all_that_is_kept():
    attend, x, cache = layer(), normal(B, T, D_MODEL), av.KVCache()
    mask = av.padding_mask([T, 4], T, head_axis=True)
    expected, _ = attend(x, mask=mask, is_causal=True)
    found = [attend(x[:, now], mask=mask[..., : now.stop], is_causal=True, cache=cache)[0] for now in chunks([2, 1, 3])]
    torch.testing.assert_close(torch.cat(found, dim=1), expected, **CLOSE)


@pytest.mark.parametrize("lengths", [[1] * T, [2, 1, 3]])
def test_a_rolling_cache_fits_the_layer_too(lengths):
    attend, x, cache = layer(), normal(B, T, D_MODEL), av.RollingKVCache(2, sinks=1)
    near = av.sliding_window_mask(T, window=2) | (torch.arange(T) < 1)
    expected, _ = attend(x, mask=near, is_causal=True)
    found = [attend(x[:, now], is_causal=True, cache=cache)[0] for now in chunks(lengths)]
    torch.testing.assert_close(torch.cat(found, dim=1), expected, **CLOSE)


def test_in_cross_attention_the_source_is_projected_once():
    attend, x, memory, cache = layer(), normal(B, T, D_MODEL), normal(B, T_S, D_MODEL, seed=1), av.KVCache()
    calls = []
    attend.w_k.register_forward_hook(lambda *_: calls.append(1))
    expected, _ = attend(x, memory)
    calls.clear()
    found = [attend(x[:, now], memory, cache=cache)[0] for now in chunks([1] * T)]
    torch.testing.assert_close(torch.cat(found, dim=1), expected, **CLOSE)
    assert len(calls) == 1
    assert len(cache) == T_S


def test_a_cache_of_another_layer_is_refused():
    cache, x = av.KVCache(), normal(B, 1, D_MODEL)
    layer()(x, is_causal=True, cache=cache)
    with pytest.raises(ValueError, match="this cache keeps the keys of another layer"):
        layer(seed=1)(x, is_causal=True, cache=cache)


def test_another_source_is_refused():
    attend, cache = layer(), av.KVCache()
    attend(normal(B, 1, D_MODEL), normal(B, T_S, D_MODEL), cache=cache)
    with pytest.raises(ValueError, match=re.escape("the cache keeps a key of shape (2, 7, 8); got (2, 5, 8)")):
        attend(normal(B, 1, D_MODEL), normal(B, 5, D_MODEL), cache=cache)


# ---------------------------------------------------------------------------------------------------- the decoder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return av.Transformer(11, 9, D_MODEL, H, num_layers=2, d_ff=16, dropout=0.0, max_len=12).double().eval()


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("lengths", [[1] * T, [2, 1, 3]])
def test_a_decoder_with_both_caches_gives_the_same_logits(norm_first, lengths):
    torch.manual_seed(1)
    model = av.Transformer(11, 9, D_MODEL, H, 2, 16, dropout=0.0, norm_first=norm_first).double().eval()
    source, target = torch.randint(1, 11, (B, T_S)), torch.randint(1, 9, (B, T))
    source[1, 4:] = 0
    with torch.no_grad():
        memory, _ = model.encode(source)
        mask = model.mask(source)
        expected, weights = model.decode(target, memory, mask, need_weights=True)
        cache = model.decoder.new_cache()
        found = [model.decode(target[:, : now.stop], memory, mask, cache=cache)[0] for now in chunks(lengths)]
        _, last = model.decode(target, memory, mask, need_weights=True, cache=_trimmed(cache, T - 1))
    torch.testing.assert_close(torch.cat(found, dim=1), expected, **CLOSE)
    for (own, cross), (own_now, cross_now) in zip(weights, last, strict=True):
        torch.testing.assert_close(own_now, own[..., -1:, :], **CLOSE)
        torch.testing.assert_close(cross_now, cross[..., -1:, :], **CLOSE)


def _trimmed(cache, length):
    for one in cache:
        one.target.trim(length)
    return cache


def test_the_date_model_decodes_through_its_caches():
    dates = [pair for pairs in date_test_set(3).values() for pair in pairs]
    source = encode_source([question for question, _ in dates])
    model = av.load_date_model()
    options = {"start": START, "end": END, "max_len": MAX_TARGET}
    plain = av.greedy_decode(model, source, **options, use_cache=False)
    assert torch.equal(av.greedy_decode(model, source, **options), plain)
    model = model.double()
    target = torch.cat([torch.full((len(source), 1), START), plain[:, :-1]], dim=1)
    with torch.no_grad():
        memory, _ = model.encode(source)
        whole, _ = model.decode(target, memory, model.mask(source))
        cache = model.decoder.new_cache()
        steps = [
            model.decode(target[:, : t + 1], memory, model.mask(source), cache=cache)[0] for t in range(target.shape[1])
        ]
    real = (target != 0)[..., None]  # behind its end a sequence is padding, which means nothing
    torch.testing.assert_close(torch.cat(steps, dim=1) * real, whole * real, rtol=0, atol=1e-11)


def test_each_token_is_computed_once(monkeypatch):
    """66 positions of the decoder for 11 characters without a cache, 11 with one."""
    model, source = av.load_date_model(), encode_source(["Mar 12th, '98"])
    positions = []
    embed = model.target_embedding.forward
    monkeypatch.setattr(
        model.target_embedding, "forward", lambda tokens: (positions.append(tokens.shape[1]), embed(tokens))[1]
    )
    for use_cache, expected in ((False, 66), (True, 11)):
        positions.clear()
        av.greedy_decode(model, source, start=START, end=END, max_len=MAX_TARGET, use_cache=use_cache)
        assert sum(positions) == expected


@pytest.mark.parametrize("beam_size", [1, 3, 5])
def test_beams_go_on_from_their_own_caches(model, beam_size):
    source = torch.randint(1, 11, (3, T_S), generator=torch.Generator().manual_seed(2))
    options = {"start": 1, "end": 2, "max_len": 8, "beam_size": beam_size}
    with_cache, without = (av.beam_search(model, source, **options, use_cache=use_cache) for use_cache in (True, False))
    assert torch.equal(with_cache[0], without[0])
    torch.testing.assert_close(with_cache[1], without[1], **CLOSE)


def test_a_cache_that_is_not_reordered_gives_other_beams(model, monkeypatch):
    """The mistake: each beam goes on from the keys of another."""
    source = torch.randint(1, 11, (3, T_S), generator=torch.Generator().manual_seed(2))
    options = {"start": 1, "end": 2, "max_len": 8, "beam_size": 5}
    right, _ = av.beam_search(model, source, **options)
    monkeypatch.setattr(av.KVCache, "reorder", lambda cache, items: None)
    wrong, _ = av.beam_search(model, source, **options)
    assert not torch.equal(wrong, right)


def test_a_cache_that_keeps_the_whole_target_is_told(model):
    source, target = torch.ones(1, 3, dtype=torch.long), torch.ones(1, 2, dtype=torch.long)
    memory, _ = model.encode(source)
    cache = model.decoder.new_cache()
    model.decode(target, memory, model.mask(source), cache=cache)
    with pytest.raises(ValueError, match="the cache keeps 2 positions, and target has no more: 2"):
        model.decode(target, memory, model.mask(source), cache=cache)
    with pytest.raises(ValueError, match="cache must be one for each of 2 layers; got 1"):
        model.decode(torch.ones(1, 3, dtype=torch.long), memory, model.mask(source), cache=cache[:1])


def test_positions_go_on_where_they_were(model):
    x = normal(B, T, D_MODEL)
    whole = model.position(x)
    torch.testing.assert_close(torch.cat([model.position(x[:, :4]), model.position(x[:, 4:], 4)], dim=1), whole)
    with pytest.raises(ValueError, match="at most 12 positions, its max_len; got 13"):
        model.position(x, 7)
