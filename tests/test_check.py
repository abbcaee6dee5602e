"""check: right functions pass however they are written, wrong ones fail with words that help."""

import math

import pytest
import torch
import torch.nn.functional as F

import attention_variants as av
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, rewrite


@pytest.mark.parametrize("variant", range(1, 8))
def test_the_variants_pass(variant):
    report = av.check(av.VARIANTS[variant], variant)
    assert report
    assert report.passed
    assert len(report.situations) >= 4


def einsum(q, k, v):
    weights = torch.einsum("...id,...jd->...ij", q, k).div(math.sqrt(q.shape[-1])).softmax(-1)
    return torch.einsum("...ij,...jd->...id", weights, v), weights


def in_float64(q, k, v):
    context, weights = einsum(q.double(), k.double(), v.double())
    return context.to(q.dtype), weights.to(q.dtype)


def through_torch_module(q, k, v, mask=None, num_heads=1):
    split = [x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v)]
    bias = None if mask is None else torch.zeros(()).where(mask, -1e30)
    scores = split[0] @ split[1].mT / math.sqrt(split[0].shape[-1]) + (0 if bias is None else bias)
    weights = scores.softmax(-1) * (1 if mask is None else mask)
    context = F.scaled_dot_product_attention(*split, attn_mask=mask)
    if mask is not None:
        context = context.masked_fill(~mask.any(-1, keepdim=True), 0)
    return context.transpose(-3, -2).flatten(-2), weights


@pytest.mark.parametrize(
    ("function", "variant"),
    [(einsum, 1), (einsum, 2), (einsum, 3), (in_float64, 3), (through_torch_module, 5), (through_torch_module, 6)],
)
def test_other_ways_of_writing_it_pass(function, variant):
    report = av.check(function, variant)
    assert report, str(report)


@pytest.mark.parametrize("mistake", MISCONCEPTIONS.values(), ids=MISCONCEPTIONS)
def test_each_mistake_fails_and_is_named(mistake):
    report = av.check(mistake.function, mistake.variant)
    assert not report
    if mistake.name == "dropout_in_evaluation":  # random: no output to recognise it by
        assert "something in it is random" in str(report)
    else:
        assert report.looks_like is mistake
        assert mistake.hint in str(report)


def test_a_report_shows_shapes_and_a_worked_example():
    report = av.check(MISCONCEPTIONS["softmax_over_queries"].function, 2)
    text = str(report)
    assert "q (3, 4), k (3, 4), v (3, 4)" in text
    assert "found     [" in text
    assert "expected  [" in text
    assert report._repr_html_().startswith("<div")


def wrong(change):
    def function(q, k, v):
        if change == "returns None":
            return None
        if change == "not written":
            raise NotImplementedError
        if change == "raises":
            raise KeyError("oops")
        if change == "input":
            q *= 1.0 + 1e-3
        context, weights = einsum(q, k, v.detach() if change == "gradient" else v)
        if change == "gradient":
            context = context + 0 * v.sum()
        if change == "dtype":
            return context.double(), weights.double()
        if change == "shape":
            return context.T, weights
        if change == "list":
            return context, weights.tolist()
        if change == "no gradient":
            return context.detach(), weights.detach()
        return context, weights

    return function


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("returns None", "returned NoneType; expected the pair (context, weights)"),
        ("not written", "Nothing is written there yet"),
        ("raises", "it raised KeyError: 'oops'"),
        ("input", "it changed its input q"),
        ("gradient", "the gradient of v differs"),
        ("dtype", "context has dtype torch.float64; expected torch.float32"),
        ("shape", "context has shape (4, 3); expected (3, 4)"),
        ("list", "weights is a list; expected a tensor of shape (3, 3)"),
        ("no gradient", "no gradient can be computed"),
    ],
)
def test_what_else_goes_wrong_is_said(change, words):
    report = av.check(wrong(change), 2)
    assert not report
    assert words in str(report)


@pytest.mark.parametrize(("part", "failed"), [("keys", "2 queries and 3 keys"), ("queries", "3 queries and 2 keys")])
def test_code_that_needs_as_many_queries_as_keys_is_found(part, failed):
    def function(q, k, v):
        T = min(len(q), len(k))
        return av.attention_matmul(q[:T] if part == "queries" else q, *((k[:T], v[:T]) if part == "keys" else (k, v)))

    report = av.check(function, 2)
    assert report.failed == failed
    assert report.situations[0] == "as many queries as keys"


def test_checking_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    av.check(MISCONCEPTIONS["dropout_in_evaluation"].function, 7)
    assert torch.equal(torch.rand(3), expected)


def test_bad_arguments():
    with pytest.raises(ValueError, match="1 to 7"):
        av.check(einsum, 8)
    with pytest.raises(TypeError, match="must be a function; got NoneType"):
        av.check(None, 1)


def test_a_mistake_must_stand_in_the_source():
    with pytest.raises(ValueError, match="does not stand in attention_matmul"):
        rewrite(av.attention_matmul, "wrong", ("no such line", ""))


def test_a_rewritten_function_has_source():
    mistake = MISCONCEPTIONS["softmax_over_queries"]
    assert "def softmax_over_queries(" in av.show(mistake.function).text
    assert "dim=0" in str(av.diff(2, mistake.function))
