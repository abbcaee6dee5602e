"""av.check_layer: right layers pass however they are written, and a wrong one hears what it looks like."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import attention_variants as av
from attention_variants.classroom.check import Submission
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, of_the_layer


class Base(nn.Module):
    """Four projections, and the work left to `attend`."""

    def __init__(self, d_model, num_heads):
        super().__init__()
        self.H = num_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, query, key=None, value=None, mask=None):
        key = query if key is None else key
        value = key if value is None else value
        context, weights = self.attend(self.w_q(query), self.w_k(key), self.w_v(value), mask)
        return self.w_o(context), weights


class ByOurVariant(Base):
    def attend(self, q, k, v, mask):
        return av.multihead_attention(q, k, v, mask, self.H)


class ByEinsum(Base):
    def attend(self, q, k, v, mask):
        q, k, v = (x.reshape(*x.shape[:-1], self.H, -1) for x in (q, k, v))
        scores = torch.einsum("...ihd,...jhd->...hij", q, k) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        if mask is not None:
            weights = weights * mask
        return torch.einsum("...hij,...jhd->...ihd", weights, v).flatten(-2), weights


class ByKernel(Base):
    def attend(self, q, k, v, mask):
        context, _ = av.multihead_attention_fused(q, k, v, mask, self.H, need_weights=False)
        _, weights = av.multihead_attention(q, k, v, mask, self.H)
        return context, weights


@pytest.mark.parametrize("layer", [av.MultiHeadAttention, ByOurVariant, ByEinsum, ByKernel], ids=lambda x: x.__name__)
def test_a_right_layer_passes(layer):
    report = av.check_layer(layer)
    assert report, report
    assert report.score == 1
    assert av.check_layer(layer, exam=5)
    assert str(report).startswith(f"{layer.__name__} computes what the layer MultiHeadAttention does.")


@pytest.mark.parametrize("name", of_the_layer())
def test_each_mistake_of_a_layer_is_named(name):
    mistake = MISCONCEPTIONS[name]
    report = av.check_layer(mistake.layer)
    assert not report
    assert 0 < report.score < 0.8
    assert report.misconceptions == (mistake,)
    assert mistake.hint in str(report)
    assert report.to_dict()["misconceptions"][0]["name"] == name


class InAnotherHand(ByEinsum):
    """The values go through w_k."""

    def forward(self, query, key=None, value=None, mask=None):
        key = query if key is None else key
        value = key if value is None else value
        context, weights = self.attend(self.w_q(query), self.w_k(key), self.w_k(value), mask)
        return self.w_o(context), weights


def test_a_mistake_in_another_hand_is_named_too():
    assert av.check_layer(InAnotherHand).looks_like is MISCONCEPTIONS["values_projected_as_keys"]


class WrongScale(Base):
    def attend(self, q, k, v, mask):
        wide = math.sqrt(q.shape[-1] / (q.shape[-1] // self.H))
        return av.multihead_attention(q / wide, k, v, mask, self.H)


def test_a_mistake_of_the_heads_is_named_as_in_a_variant():
    report = av.check_layer(WrongScale)
    assert report.looks_like is MISCONCEPTIONS["scale_by_d_model"]
    assert report.parts["projections"][0] == 0


class OtherNames(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        self.query, self.key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, *inputs):
        return inputs


class NotWritten(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        raise NotImplementedError


class NoDefaults(ByEinsum):
    def forward(self, query, key, value, mask):
        return super().forward(query, key, value, mask)


def test_key_and_value_may_be_left_out():
    report = av.check_layer(NoDefaults)
    assert not report
    assert report.parts["projections"][0] == 0.8
    assert "with a real sentence that is passed as the query alone" in str(report)
    assert "the layer is called as layer(query); this one takes (query, key, value, mask)" in str(report)


def test_a_layer_without_its_projections_hears_which_are_missing():
    assert "w_q" in str(av.check_layer(OtherNames))


def test_an_empty_layer_is_told_so():
    report = av.check_layer(NotWritten)
    assert str(report) == (
        "NotWritten is not yet the layer MultiHeadAttention.\nNothing is written there yet: it raises "
        "NotImplementedError."
    )
    assert report.score == 0


def test_a_layer_that_is_made_already_is_no_class():
    with pytest.raises(TypeError, match=r"must be a class, such as MultiHeadAttention, not called; got a layer"):
        av.check_layer(av.MultiHeadAttention(8, 2))
    with pytest.raises(TypeError, match="got 3"):
        av.check_layer(3)


SOURCE = """
import math, torch
from torch import nn
class Layer(nn.Module):
    def __init__(self, d_model, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))
    def forward(self, query, key=None, value=None, mask=None):
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = (w(x).unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)
                   for w, x in ((self.w_q, query), (self.w_k, key), (self.w_v, value)))
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        if mask is not None:
            weights = weights * mask
        return self.w_o((weights @ v).transpose(-3, -2).flatten(-2)), weights
"""


def test_a_submission_is_run_in_another_process():
    assert av.check_layer(Submission(SOURCE, "Layer"), rules=True)
    report = av.check_layer(Submission(SOURCE.replace("self.w_o((", "(("), "Layer"))
    assert report.looks_like is MISCONCEPTIONS["no_output_projection"]
    assert report.name == "Layer"
    report = av.check_layer(Submission(SOURCE, "Layers"))
    assert not report
    assert report.score == 0
    assert "there is no class Layers; the file defines Layer. Is it renamed?" in str(report)


def test_ready_made_attention_breaks_the_rules():
    source = SOURCE + "\nimport attention_variants as av\nLayer = av.MultiHeadAttention\n"
    assert av.check_layer(Submission(source, "Layer"))
    report = av.check_layer(Submission(source, "Layer"), rules=True)
    assert "it calls a variant of this library" in str(report)
    assert report.score == 0
