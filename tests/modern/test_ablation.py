"""One head's share is taken from one projection of the next layer, and from nothing else."""

from __future__ import annotations

import pytest
import torch

import attention_variants as av
from attention_variants.model.ablation import without_path
from attention_variants.modern import grouped_query_attention, turn


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = av.LanguageModelConfig(
        vocab_size=20, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=24, max_len=16
    )
    model = av.LanguageModel(config).double().eval()
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data.normal_(std=0.5)
    return model


TOKENS = torch.tensor([[1, 5, 2, 5, 2], [7, 7, 3, 0, 19]])


@torch.no_grad()
def by_hand(model, head, projection):
    """The logits, with layer 1 written out."""
    one, other = model.layers
    x = model.embedding(TOKENS)
    angle = torch.arange(5)[:, None, None] * model.speeds
    cosine, sine = angle.cos(), angle.sin()
    lacking = av.without_heads(model, [(0, head)]).layers[0]
    whole, less = one(x, cosine, sine)[0], lacking(x, cosine, sine)[0]
    entered = {name: other.norm_1(less if name == projection else whole) for name in ("w_q", "w_k", "w_v")}
    attention = other.attention
    q, k, v = (getattr(attention, name)(x) for name, x in entered.items())
    q = turn(q.view(2, 5, 4, 4), cosine, sine).flatten(-2)
    k = turn(k.view(2, 5, 2, 4), cosine, sine).flatten(-2)
    context, weights = grouped_query_attention(q, k, v, av.causal_mask(5), 4, 2)
    x = whole + attention.w_o(context)
    x = x + other.feed_forward(other.norm_2(x))
    return model.head(model.norm(x)), weights


@pytest.mark.parametrize("projection", ["w_q", "w_k", "w_v"])
@pytest.mark.parametrize("head", [0, 3])
def test_one_projection_goes_without_one_head(model, head, projection):
    with torch.no_grad():
        logits, weights = without_path(model, 0, head, projection)(TOKENS)
        whole, whole_weights = model(TOKENS)
    expected, expected_weights = by_hand(model, head, projection)
    torch.testing.assert_close(logits, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(weights[1], expected_weights, atol=1e-12, rtol=0)
    torch.testing.assert_close(weights[0], whole_weights[0], atol=0, rtol=0)
    assert not torch.allclose(logits, whole)
    assert torch.equal(weights[1], whole_weights[1]) == (projection == "w_v")


def test_the_model_stays_as_it_was(model):
    with torch.no_grad():
        before, _ = model(TOKENS)
        without_path(model, 0, 1, "w_k")(TOKENS)
        after, _ = model(TOKENS)
    assert torch.equal(before, after)


def test_keys_need_the_word_before_and_queries_the_word_itself():
    model = av.load_story_model()
    found = {
        (head, part): av.induction_scores(without_path(model, 0, head, part), 16).pairs[1].max().item()
        for head in (0, 1)
        for part in ("w_q", "w_k", "w_v")
    }
    before = int(av.induction_scores(model, 16).previous[0].argmax())
    itself = 1 - before
    assert found[before, "w_k"] < 0.2
    assert found[itself, "w_q"] < 0.4
    assert min(found[before, "w_q"], found[itself, "w_k"], found[before, "w_v"], found[itself, "w_v"]) > 0.8


def test_a_cache_would_be_filled_twice_and_is_refused(model):
    with pytest.raises(ValueError, match="no cache"):
        without_path(model, 0, 1, "w_k")(TOKENS, model.new_cache())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, "w_o"), "w_q, w_k or w_v; got 'w_o'"),
        ((1, 0, "w_q"), "another after it, 0 to 0; got 1"),
        ((-1, 0, "w_q"), "another after it, 0 to 0; got -1"),
        ((0, 4, "w_q"), "got layer 0, head 4"),
    ],
)
def test_what_there_is_not_is_told(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        without_path(model, *arguments)
