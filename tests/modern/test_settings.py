"""What is not a setting is refused where it comes in, by a sentence that says what came and what was expected."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

import attention_variants as av
from attention_variants.variants.checks import check_count, check_number

B, T, D_K = 2, 5, 4
X = torch.zeros(B, T, D_K)
SIZES = {"vocab_size": 11, "d_model": 8, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "d_ff": 12}
TOKENS = torch.ones(B, 3, dtype=torch.int64)


def model(**changed):
    return av.LanguageModel(av.LanguageModelConfig(**{**SIZES, **changed})).eval()


def transformer():
    return av.Transformer(source_vocab=9, target_vocab=7, d_model=8, num_heads=2, num_layers=1, d_ff=16).eval()


def decode(**changed):
    settings = {"model": transformer(), "source": TOKENS, "start": 1, "end": 2, "max_len": 3}
    return lambda: av.greedy_decode(**{**settings, **changed})


FLAGS = {
    "flash_attention: is_causal": lambda flag: av.flash_attention(X, X, X, is_causal=flag),
    "latent_attention: absorbed": lambda flag: av.latent_attention(
        X, X, torch.zeros(4, 4), torch.zeros(4, 4), absorbed=flag
    ),
    "linear_attention: recurrent": lambda flag: av.linear_attention(X, X, X, recurrent=flag),
    "LanguageModel: tied": lambda flag: model(tied=flag),
    "LanguageModel: qk_norm": lambda flag: model(qk_norm=flag),
    "generate: use_cache": lambda flag: av.generate(model(), TOKENS, 1, use_cache=flag),
    "greedy_decode: use_cache": lambda flag: decode(use_cache=flag)(),
}


@pytest.mark.parametrize("flag", ["no", 1, None])
@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_true_or_false(name, flag):
    with pytest.raises(TypeError, match=re.escape(f"{name} must be True or False; got {flag!r}")):
        FLAGS[name](flag)


COUNTS = {
    "causal_mask: T_q": lambda count: av.causal_mask(count),
    "causal_mask: T_k": lambda count: av.causal_mask(3, count) if count is not None else av.causal_mask(count, 3),
    "sliding_window_mask: window": lambda count: av.sliding_window_mask(3, window=count),
    "KVCache.mask: T_new": lambda count: av.KVCache().mask(count),
    "RollingKVCache.mask: T_new": lambda count: av.RollingKVCache(2).mask(count),
    "rotary_speeds: width": lambda count: av.rotary_speeds(count),
    "Llama3Scaling: original_length": lambda count: av.Llama3Scaling(original_length=count),
    "RMSNorm: d_model": lambda count: av.RMSNorm(count),
    "SwiGLU: d_ff": lambda count: av.SwiGLU(4, count),
    "RotaryAttention: d_k": lambda count: av.RotaryAttention(8, 2, 1, count),
    "RotaryAttention: num_kv_heads": lambda count: av.RotaryAttention(8, 2, count, 4),
    "LanguageModel: window": lambda count: model(window=-1 if count is None else count),
    "beam_search: beam_size": lambda count: av.beam_search(
        transformer(), TOKENS, start=1, end=2, max_len=3, beam_size=count
    ),
    "greedy_decode: max_len": lambda count: decode(max_len=count)(),
    "write_story: words": lambda count: next(av.write_story(words=count)),
    "story_recall: count": lambda count: av.story_recall(av.load_story_model(), count),
    "induction_scores: period": lambda count: av.induction_scores(av.load_story_model(), 2, period=count),
    "train_stories: batch_size": lambda count: next(av.train_stories(av.story_model(), batch_size=count)),
}


@pytest.mark.parametrize("count", [-1, 2.0, True, "2", torch.zeros(2, 5, 8)])
@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_a_whole_number(name, count):
    came = "Tensor" if isinstance(count, torch.Tensor) else repr(count)
    name = name.replace("T_k", "T_[qk]")
    with pytest.raises(ValueError, match=rf"{name} must be a whole number of at least \d; got {re.escape(came)}"):
        COUNTS[name.replace("T_[qk]", "T_k")](count)


def test_a_length_that_is_traced_is_a_whole_number():
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    length = torch._subclasses.FakeTensorMode(shape_env=ShapeEnv()).from_tensor(torch.zeros(9, 3)).shape[0]
    assert isinstance(length, torch.SymInt)
    check_count("here", "T", length)


NUMBERS = {
    "apply_rotary: base": lambda number: av.apply_rotary(X, torch.arange(T), base=number),
    "rotary_speeds: base": lambda number: av.rotary_speeds(4, base=number),
    "Llama3Scaling: factor": lambda number: av.Llama3Scaling(factor=number),
    "Llama3Scaling: high_freq_factor": lambda number: av.Llama3Scaling(high_freq_factor=number),
    "LanguageModel: base": lambda number: model(base=number),
    "LanguageModel: eps": lambda number: model(eps=number),
    "RMSNorm: eps": lambda number: av.RMSNorm(4, eps=number),
    "sampling_probabilities: temperature": lambda number: av.sampling_probabilities(X, temperature=number),
    "sampling_probabilities: top_p": lambda number: av.sampling_probabilities(
        X, top_p=-1 if number is None else number
    ),
    "train_stories: learning_rate": lambda number: next(av.train_stories(av.story_model(), learning_rate=number)),
}


@pytest.mark.parametrize("number", ["1.0", True, math.nan, -1.0])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_a_number(name, number):
    error = ValueError if isinstance(number, float) else TypeError
    with pytest.raises(error, match=re.escape(name)):
        NUMBERS[name](number)


def test_numbers_of_other_libraries_are_numbers():
    for number in (1, np.float32(1.0), np.int64(1)):
        check_number("here", "x", number, above=0.0)
    with pytest.raises(ValueError, match=r"here: x must be a finite number of at least 2; got 1"):
        check_number("here", "x", 1, least=2)


def caches(lengths):
    made = [av.KVCache() for _ in lengths]
    for cache, length in zip(made, lengths, strict=True):
        cache.append(torch.zeros(B, length, 4), torch.zeros(B, length, 4))
    return made


ONE = av.KVCache()
OTHERS = {
    "a class": (
        lambda: av.apply_rotary(X, torch.arange(T), scaling=av.Llama3Scaling),
        TypeError,
        "scaling must be of class Llama3Scaling; got the class Llama3Scaling",
    ),
    "a factor": (lambda: model(scaling=8.0), TypeError, "scaling must be of class Llama3Scaling; got float"),
    "factors in order": (
        lambda: av.Llama3Scaling(low_freq_factor=4.0),
        ValueError,
        "high_freq_factor must be a finite number above 4.0; got 4.0",
    ),
    "an odd width": (lambda: av.rotary_speeds(7), ValueError, "width must be even; got 7"),
    "a dict": (lambda: av.LanguageModel(SIZES), TypeError, "config must be of class LanguageModelConfig; got dict"),
    "an odd head": (lambda: av.RotaryAttention(8, 2, 1, 3), ValueError, "d_k must be even; got 3"),
    "a cosine for each column": (
        lambda: av.turn(X, X, X),
        ValueError,
        "turn: cosine and sine must broadcast to (..., T, d_k / 2) = (2, 5, 2); got (2, 5, 4) and (2, 5, 4)",
    ),
    "a sine that would enlarge x": (
        lambda: av.turn(X, torch.zeros(T, 2), torch.zeros(3, B, T, 2)),
        ValueError,
        "got (5, 2) and (3, 2, 5, 2)",
    ),
    "an array": (lambda: av.turn(X, np.zeros((T, 2)), np.zeros((T, 2))), TypeError, "cosine must be a torch.Tensor"),
    "an odd x": (lambda: av.turn(X[..., :3], X[..., :1], X[..., :1]), ValueError, "d_k be even; got (2, 5, 3)"),
    "a narrow vector": (
        lambda: av.RMSNorm(4)(X[..., :1]),
        ValueError,
        "RMSNorm: x must have shape (..., 4), as wide as the layer; got (2, 5, 1)",
    ),
    "whole numbers to a norm": (lambda: av.RMSNorm(4)(X.long()), TypeError, "RMSNorm: x must be floating point"),
    "a wide vector": (lambda: av.SwiGLU(8, 3)(X), ValueError, "SwiGLU: x must have shape (..., 8)"),
    "a number format for storage": (
        lambda: av.grouped_query_attention(*[X.to(torch.float8_e4m3fn)] * 3),
        TypeError,
        "q must be floating point (float16, bfloat16, float32 or float64); got torch.float8_e4m3fn",
    ),
    "no cache": (
        lambda: av.MultiHeadAttention(D_K, 2)(X, cache=True),
        TypeError,
        "cache must be a KVCache or a RollingKVCache, or have their methods; got bool",
    ),
    "a cache that drops the source": (
        lambda: av.MultiHeadAttention(D_K, 2)(X, X.clone(), cache=av.RollingKVCache(1)),
        TypeError,
        "in cross-attention no key may be dropped; got a RollingKVCache. Pass a KVCache.",
    ),
    "one cache": (lambda: model()(TOKENS, av.KVCache()), TypeError, "cache must be one for each of 2 layers"),
    "no caches": (lambda: model()(TOKENS, [None, None]), TypeError, "got ['NoneType', 'NoneType']"),
    "a cache twice": (
        lambda: model()(TOKENS, [ONE, ONE]),
        ValueError,
        "got 1 caches, which have seen [0, 0] positions",
    ),
    "caches of two texts": (lambda: model()(TOKENS, caches([3, 2])), ValueError, "which have seen [3, 2] positions"),
    "another device": (
        lambda: model()(TOKENS.to("meta")),
        ValueError,
        "tokens must be on the device of the model, cpu; got meta",
    ),
    "a cache of another device": (
        lambda: caches([1])[0].append(*[torch.zeros(B, 1, 4, device="meta")] * 2),
        ValueError,
        "the cache keeps k of torch.float32 on cpu; got torch.float32 on meta",
    ),
    "two axes of items": (
        lambda: caches([1])[0].reorder(torch.tensor([[0]])),
        ValueError,
        "items must be an integer tensor (int64 or int32) of shape (B_new); got torch.int64 of shape (1, 1)",
    ),
    "logits of whole numbers": (lambda: av.sampling_probabilities(TOKENS), TypeError, "logits must be floating point"),
    "no vocabulary": (
        lambda: av.sampling_probabilities(X[..., :0]),
        ValueError,
        "of at least one token; got (2, 5, 0)",
    ),
    "NaN": (lambda: av.sampling_probabilities(X * math.nan), ValueError, "the highest logit must be a finite number"),
    "nothing to choose": (lambda: av.sampling_probabilities(X - math.inf), ValueError, "-inf throughout"),
    "a list of tokens": (
        lambda: av.generate(model(), [[1, 2]], 1),
        TypeError,
        "generate: tokens must be an integer tensor of shape (B, T); got list",
    ),
    "another model": (
        lambda: av.generate(transformer(), TOKENS, 1),
        TypeError,
        "generate: model must be of class LanguageModel; got Transformer",
    ),
    "a temperature that nothing can be divided by": (
        lambda: av.sampling_probabilities(X, temperature=1e-300),
        ValueError,
        "temperature must be 0, which takes the likeliest token, or more; got 1e-300",
    ),
    "a word as a seed": (lambda: av.generate(model(), TOKENS, 1, seed="a"), TypeError, "seed must be a whole number"),
    "a long seed": (lambda: av.generate(model(), TOKENS, 1, seed=2**70), ValueError, "at most 64 bits"),
    "sources of fractions": (decode(source=X[0]), TypeError, "source must be an integer tensor of shape (B, T)"),
    "an unknown source": (decode(source=TOKENS + 9), ValueError, "there are tokens 0 to 8; got 10 to 10"),
    "an unknown start": (decode(start=7), ValueError, "start must be one of the tokens 0 to 6; got 7"),
    "a model that reads nothing": (decode(model=model()), TypeError, "model must be of class Transformer"),
    "caches of the wrong kind": (
        lambda: transformer().decode(TOKENS, torch.zeros(B, 3, 8), torch.ones(B, 1, 1, 3).bool(), cache=[av.KVCache()]),
        TypeError,
        "Transformer: each cache must be of class DecoderLayerCache; got KVCache",
    ),
    "no text": (lambda: next(av.write_story(None)), TypeError, "text must be of class str; got NoneType"),
    "a model of another language": (
        lambda: next(av.write_story("we", model())),
        ValueError,
        "model must know the 64 words of the language of stories, as story_model() does; this one has 11 tokens",
    ),
    "an odd period": (
        lambda: av.induction_scores(av.load_story_model(), 2, period=5),
        ValueError,
        "period must be even",
    ),
    "a head by itself": (lambda: av.without_heads(model(), (0, 1)), TypeError, "pairs of a layer and a head"),
    "no heads": (lambda: av.without_heads(model(), [(True, 0)]), TypeError, "such as [(1, 0)]; got (True, 0)"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_does_not_fit_is_told(case):
    call, error, message = OTHERS[case]
    with pytest.raises(error, match=re.escape(message)):
        call()


class Own:
    """A cache of one's own: lists of pieces."""

    def __init__(self):
        self.pieces, self.k, self.v, self.seen = [], None, None, 0

    def append(self, k, v):
        self.pieces.append((k, v))
        self.seen += k.shape[-2]
        self.k, self.v = (torch.cat(pieces, dim=-2) for pieces in zip(*self.pieces, strict=True))
        return self.k, self.v

    def mask(self, T_new):
        return av.causal_mask(T_new, self.seen + T_new, align="bottom-right")


def test_a_cache_of_ones_own_fits():
    ours, own, tokens = model(), [Own(), Own()], torch.arange(B * 5).view(B, 5)
    whole, _ = ours(tokens)
    pieces = [ours(tokens[:, :3], own)[0], ours(tokens[:, 3:], own)[0]]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
    layer, mine, x = av.MultiHeadAttention(D_K, 2), Own(), torch.randn(B, 5, D_K)
    expected, _ = layer(x, is_causal=True)
    found = [layer(piece, cache=mine, is_causal=True)[0] for piece in (x[:, :3], x[:, 3:])]
    torch.testing.assert_close(torch.cat(found, dim=1), expected)
