"""The language model is transformers' Llama, Mistral and Qwen3, with a cache and without; and writes as told."""

from __future__ import annotations

import math
import re

import pytest
import torch

import attention_variants as av
from attention_variants.model.language_model import LanguageModelConfig

pytestmark = pytest.mark.numeric

B, T, VOCABULARY = 2, 9, 23
SIZES = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "d_ff": 24,
    "max_len": 64,
}
KINDS = {
    "Llama": {},
    "a tied head": {"tied": True},
    "one head of keys": {"num_kv_heads": 1},
    "heads of another width": {"d_k": 6},
    "another base": {"base": 500_000.0, "scaling": av.Llama3Scaling(original_length=8)},
    "Mistral": {"window": 3},
    "Qwen3": {"qk_norm": True, "tied": True},
    "Qwen3 with a window": {"qk_norm": True, "window": 3},
}


def model(kind="Llama", dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    model = av.LanguageModel(LanguageModelConfig(**{**SIZES, **KINDS[kind]}))
    for name, parameter in model.named_parameters():
        if "norm" in name:  # as after a training: at first, norms have a factor of 1
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.to(dtype).eval()


def tokens(*shape, seed=0):
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_has_the_same_logits_and_writes_the_same(kind, attention):
    ours, x = model(kind), tokens(B, T)
    theirs = ours.to_llama()
    theirs.config._attn_implementation = attention
    with torch.no_grad():
        found, expected = ours(x)[0], theirs(x).logits
        again, _ = av.LanguageModel.from_llama(theirs)(x)
    assert (found - expected).abs().max() < 5e-5
    assert torch.equal(again, found)
    written = theirs.generate(x, do_sample=False, max_new_tokens=12, pad_token_id=0, attention_mask=torch.ones_like(x))
    assert torch.equal(av.generate(ours, x, 12, temperature=0), written)


def test_the_configuration_comes_back():
    for kind in KINDS:
        ours = model(kind)
        assert av.LanguageModel.from_llama(ours.to_llama()).config == ours.config, kind


def test_a_llama_of_somebody_else():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    theirs = LlamaForCausalLM(
        LlamaConfig(vocab_size=30, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6)
    ).eval()
    ours, x = av.LanguageModel.from_llama(theirs), tokens(B, T)
    with torch.no_grad():
        assert (ours(x)[0] - theirs(x).logits).abs().max() < 5e-5


def test_gradients_are_those_of_transformers():
    ours, x = model("Llama"), tokens(B, T)
    theirs = ours.to_llama()
    ours(x)[0].sin().sum().backward()
    theirs(x).logits.sin().sum().backward()
    pairs = [
        (ours.layers[0].attention.w_k, theirs.model.layers[0].self_attn.k_proj),
        (ours.layers[1].feed_forward.w_gate, theirs.model.layers[1].mlp.gate_proj),
    ]
    for a, b in pairs:
        assert (a.weight.grad - b.weight.grad).abs().max() < 1e-4 * b.weight.grad.abs().max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [[1] * T, [4, 1, 4]])
def test_with_a_cache_it_is_the_same(kind, lengths):
    ours, x = model(kind, torch.float64), tokens(B, T)
    with torch.no_grad():
        whole, weights = ours(x)
        cache, start, parts = ours.new_cache(), 0, []
        for length in lengths:
            logits, last = ours(x[:, start : start + length], cache)
            parts.append(logits)
            start += length
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(last[-1], weights[-1][..., -lengths[-1] :, :], rtol=0, atol=1e-12)


@pytest.mark.parametrize("lengths", [[1] * T, [4, 1, 4]])
def test_a_rolling_cache_is_the_window(lengths):
    ours, x = model("Mistral", torch.float64), tokens(B, T)
    with torch.no_grad():
        whole, _ = ours(x)
        cache = [av.RollingKVCache(3) for _ in ours.layers]
        start, parts = 0, []
        for length in lengths:
            parts.append(ours(x[:, start : start + length], cache)[0])
            start += length
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)
    assert max(len(one) for one in cache) == 3


def test_later_tokens_change_nothing_before_them():
    ours, x = model(), tokens(B, T)
    other = x.clone()
    other[:, -1] = (other[:, -1] + 1) % VOCABULARY
    assert torch.equal(ours(x)[0][:, :-1], ours(other)[0][:, :-1])


# ------------------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"seed": 3}, {"seed": 3, "temperature": 0.7, "top_k": 5, "top_p": 0.9}]
)
def test_with_and_without_a_cache_the_same_text(options):
    ours, x = model(dtype=torch.float64), tokens(B, 4)
    with_cache, without = (av.generate(ours, x, 20, **options, use_cache=use) for use in (True, False))
    assert torch.equal(with_cache, without)
    assert with_cache.shape == (B, 24)
    assert torch.equal(with_cache[:, :4], x)


def test_a_stream_hands_over_each_token_with_what_it_was_drawn_from():
    ours, x = model(), tokens(B, 4)
    found = list(av.stream(ours, x, 6, seed=1, top_k=3))
    written = av.generate(ours, x, 6, seed=1, top_k=3)
    assert torch.equal(torch.stack([one.token for one in found], dim=1), written[:, 4:])
    logits, weights = ours(written[:, :-1])
    for t, one in enumerate(found, start=3):
        assert ((one.probabilities > 0).sum(dim=-1) == 3).all()
        assert (one.probabilities.gather(1, one.token[:, None]) > 0).all()
        torch.testing.assert_close(one.logits, logits[:, t])
        assert len(one.weights) == len(weights)
        for row, whole in zip(one.weights, weights, strict=True):  # of the query at position t
            torch.testing.assert_close(row, whole[:, :, t, : t + 1])


def test_a_seed_gives_the_same_text_and_another_another():
    ours, x = model(), tokens(B, 4)
    one, two, other = (av.generate(ours, x, 20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


LOGITS = torch.tensor([[2.0, 1.0, 1.0, 0.0, -1.0], [0.0, 3.0, 0.0, 0.0, 0.0]], dtype=torch.float64)


def test_a_temperature_divides_the_logits():
    for temperature in (0.5, 1.0, 3.0):
        expected = (LOGITS / temperature).softmax(dim=-1)
        torch.testing.assert_close(av.sampling_probabilities(LOGITS, temperature=temperature), expected)
    cold = av.sampling_probabilities(LOGITS, temperature=0.01)
    torch.testing.assert_close(cold, av.sampling_probabilities(LOGITS, temperature=0))
    assert av.sampling_probabilities(LOGITS, temperature=0).tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]


def test_top_p_1_and_top_k_of_all_are_plain_sampling():
    plain = LOGITS.softmax(dim=-1)
    for options in ({"top_p": 1.0}, {"top_k": 5}, {"top_k": 99}, {}):
        torch.testing.assert_close(av.sampling_probabilities(LOGITS, **options), plain)


def test_top_k_keeps_so_many_even_where_several_are_equal():
    found = av.sampling_probabilities(LOGITS, top_k=2)
    assert (found > 0).tolist() == [[True, True, False, False, False], [True, True, False, False, False]]
    kept = LOGITS[0, :2].softmax(dim=-1)
    torch.testing.assert_close(found[0, :2], kept)


def test_top_p_keeps_the_fewest_that_have_so_much_and_makes_them_sum_to_1():
    p = LOGITS.softmax(dim=-1)  # 0.53 0.19 0.19 0.07 0.03
    for top_p, kept in ((0.5, 1), (0.54, 2), (0.7, 2), (0.8, 3), (0.98, 5)):
        found = av.sampling_probabilities(LOGITS, top_p=top_p)[0]
        assert (found > 0).sum() == kept
        torch.testing.assert_close(found[:kept], p[0, :kept] / p[0, :kept].sum())


def test_top_p_counts_what_top_k_has_left():
    found = av.sampling_probabilities(LOGITS, top_k=3, top_p=0.75)[0]
    three = LOGITS[0, :3].softmax(dim=-1)  # 0.58 0.21 0.21
    assert (found > 0).sum() == 2
    torch.testing.assert_close(found[:2], three[:2] / three[:2].sum())


def test_what_is_drawn_has_these_probabilities():
    """Of 20,000 draws, each share is within five standard deviations."""
    ours, x = model(), tokens(1, 4)
    (written,) = av.stream(ours, x, 1, temperature=1.5)
    drawn = av.generate(ours, x.expand(20_000, -1), 1, temperature=1.5, seed=0)[:, -1]
    share = torch.bincount(drawn, minlength=VOCABULARY) / len(drawn)
    expected = written.probabilities[0]
    assert ((share - expected).abs() < 5 * (expected / len(drawn)).sqrt() + 1e-4).all()


# ------------------------------------------------------------------------------------------------------ bad input

BAD = {
    "a negative temperature": ({"temperature": -1.0}, "temperature must be a number of at least 0"),
    "no temperature": ({"temperature": math.nan}, "temperature must be a number of at least 0"),
    "an infinite temperature": ({"temperature": math.inf}, "temperature must be a number of at least 0"),
    "top_p 0": ({"top_p": 0.0}, "top_p must be above 0 and at most 1, or None for all; got 0.0"),
    "top_p above 1": ({"top_p": 1.5}, "top_p must be above 0 and at most 1"),
    "top_k 0": ({"top_k": 0}, "top_k must be a whole number of at least 1"),
    "a negative number of tokens": (
        {"max_new_tokens": -1},
        "max_new_tokens must be a whole number of at least 0; got -1",
    ),
    "an empty prompt": ({"tokens": torch.zeros(1, 0, dtype=torch.long)}, "with at least one token; got (1, 0)"),
    "one sequence": ({"tokens": torch.zeros(3, dtype=torch.long)}, "tokens must have shape (B, T)"),
    "a token beyond the vocabulary": ({"tokens": torch.tensor([[1, 23]])}, "there are tokens 0 to 22; got 1 to 23"),
    "a negative token": ({"tokens": torch.tensor([[1, -1]])}, "there are tokens 0 to 22; got -1 to 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_told(case):
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        av.generate(model(), **{"tokens": tokens(1, 3), "max_new_tokens": 2, **changed})


def test_tokens_that_are_no_numbers_are_told():
    with pytest.raises(TypeError, match="tokens must be an integer tensor of shape .B, T.; got torch.float32"):
        model()(torch.zeros(1, 3))


def test_past_the_length_of_the_training_it_says_so():
    with pytest.warns(UserWarning, match="grows past 64 tokens, the length of the training"):
        assert av.generate(model(), tokens(1, 60), 10, seed=0).shape == (1, 70)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_kv_heads": 3}, "num_heads must be divisible by num_kv_heads"),
        ({"num_heads": 3, "num_kv_heads": 3}, "d_model must be divisible by num_heads, or d_k be given"),
        ({"d_k": 3}, "d_k must be even; got 3"),
        ({"num_layers": 0}, "num_layers must be a whole number of at least 1; got 0"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(changed, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelConfig(**{**SIZES, **changed})


def test_another_model_is_told():
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(TypeError, match="from_llama takes LlamaForCausalLM, .*; got GPT2LMHeadModel"):
        av.LanguageModel.from_llama(gpt)


def test_a_cache_of_another_model_is_told():
    ours = model()
    with pytest.raises(
        ValueError, match="cache must be one for each of 2 layers, as model.new_cache.. makes them; got 1"
    ):
        ours(tokens(1, 3), ours.new_cache()[:1])
    cache = model("one head of keys").new_cache()
    model("one head of keys")(tokens(1, 3), cache)
    with pytest.raises(ValueError, match="begin with a new KVCache"):
        ours(tokens(1, 3), cache)


@pytest.mark.parametrize(("first", "expected"), [(0, 3), (1, None), (2, None)])
def test_from_which_layer_on_qwen3_has_a_window(first, expected):
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=first,
    )
    theirs = transformers.Qwen3ForCausalLM(config)
    if first == 1:
        with pytest.raises(
            ValueError, match=r"all layers must look equally far back; this model has \['full_attention'"
        ):
            av.LanguageModel.from_llama(theirs)
    else:
        assert av.LanguageModel.from_llama(theirs).config.window == expected


def test_a_norm_of_large_numbers_in_half_precision():
    """The square of 500 is more than a float16 holds."""
    x = torch.full((B, 8), 500.0, dtype=torch.float16)
    torch.testing.assert_close(av.RMSNorm(8).half()(x), torch.ones_like(x))


@pytest.mark.parametrize("temperature", [1e-3, 1e-8, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_towards_0_the_likeliest_remains(dtype, temperature):
    logits = torch.tensor([[1.0, 2.0, -torch.inf], [500.0, 480.0, -500.0]], dtype=dtype)
    expected = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=dtype)
    assert torch.equal(av.sampling_probabilities(logits, temperature=temperature), expected)
