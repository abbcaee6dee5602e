"""A module around attention: right however it is written, and wrong by its name."""

from __future__ import annotations

import re
import time

import pytest
from torch import nn

import attention_variants as av
from attention_variants.classroom.check_module import check_module
from attention_variants.model import AddNorm, DecoderLayer, EncoderLayer

KNOWN = (AddNorm, EncoderLayer, DecoderLayer)


class OwnDecoderLayer(DecoderLayer):
    """The three sub-layers, written in another way; hands back the vectors alone."""

    def forward(self, x, memory, mask=None, memory_mask=None):
        x = self.add_norm_1.norm(x + self.self_attention(x, x, x, mask, is_causal=True)[0])
        x = self.add_norm_2.norm(self.cross_attention(x, memory, memory, memory_mask)[0] + x)
        return self.add_norm_3.norm(self.feed_forward.w_2(self.feed_forward.w_1(x).clamp(min=0)) + x)


@pytest.mark.parametrize(
    ("module", "like"),
    [
        *((known, known) for known in KNOWN),
        (OwnDecoderLayer, DecoderLayer),
        (type("Mine", (AddNorm,), {"forward": lambda self, x, computed: self.norm(computed + x)}), AddNorm),
    ],
)
def test_what_is_right_passes(module, like):
    report = check_module(module, like)
    assert report
    assert report.lines() == [f"{module.__name__} computes what {like.__name__} does."]
    assert "✓" in report._repr_html_()


def test_it_is_check_with_the_name_of_the_class():
    mistake = av.MISCONCEPTIONS["cross_attention_first"]
    report = check_module(mistake.function, DecoderLayer)
    assert report.looks_like is mistake
    assert repr(report) == repr(av.check(mistake.function, "DecoderLayer"))


def no_answer(self, *inputs):
    raise NotImplementedError


def test_an_empty_attempt_is_answered():
    report = check_module(type("Mine", (AddNorm,), {"forward": no_answer}), AddNorm)
    assert report.lines() == [
        "Mine is not yet AddNorm.",
        "Nothing is written there yet: it raises NotImplementedError.",
    ]


def writes_into_its_input(self, x, computed):
    x += computed
    return self.norm(x)


@pytest.mark.parametrize(
    ("forward", "code", "words"),
    [
        (
            lambda self, x, computed: (x + computed) @ x,
            "failed",
            r"It raised RuntimeError",
        ),
        (lambda self, x: x, "failed", "takes 2 positional arguments but 3 were given"),
        (lambda self, x, computed: None, "returned", "output is None; expected is torch.float64"),
        (
            lambda self, x, computed: (x + computed)[0],
            "shape",
            r"output has shape \(5, 8\); expected is \(2, 5, 8\)",
        ),
        (
            lambda self, x, computed: self.norm(x + 2 * computed),
            "values",
            r"80 of 80 numbers of output are wrong, first in output\[0\]\[0\]:",
        ),
        (writes_into_its_input, "inputs", "it writes into x"),
        (lambda self, x, computed: self.norm(x + computed.detach()), "gradients", "the gradient of computed is not"),
        (lambda self, x, computed: self.norm(x + computed).detach(), "gradients", "the gradient of x is not"),
    ],
)
def test_what_is_wrong_is_said(forward, code, words):
    report = check_module(type("Mine", (AddNorm,), {"forward": forward}), AddNorm)
    assert not report
    assert report.findings[0].code == code
    assert report.looks_like is None
    assert re.search(words, repr(report))
    assert "✗" in report._repr_html_()


def test_other_parameters_are_named():
    class Mine(nn.Module):
        def __init__(self, d_model):
            super().__init__()
            self.layer_norm = nn.LayerNorm(d_model)

    report = check_module(Mine, AddNorm)
    assert report.findings[0].numbers["failure"].kind == "parameters"
    assert (
        "missing: norm.bias and norm.weight; unknown: layer_norm.bias and layer_norm.weight; of another shape: -"
        in repr(report)
    )


def test_a_mask_that_is_not_handed_on_shows_with_padding_alone():
    class Mine(DecoderLayer):
        def forward(self, x, memory, mask=None, memory_mask=None):
            return super().forward(x, memory, mask)

    report = check_module(Mine, DecoderLayer)
    assert report.failed == "with padding on both sides"
    assert report.looks_like is av.MISCONCEPTIONS["mask_of_the_source_not_handed_on"]


def test_what_takes_too_long_is_stopped():
    class Mine(AddNorm):
        def forward(self, x, computed):
            time.sleep(30)

    report = check_module(Mine, AddNorm, seconds=0.2)
    assert "did not finish within 0.2 seconds" in repr(report)


def test_what_is_no_class_or_not_known_is_an_error():
    with pytest.raises(TypeError, match="must be a class of nn.Module, not called; got AddNorm"):
        check_module(AddNorm(8), AddNorm)
    with pytest.raises(ValueError, match="one of AddNorm, EncoderLayer, DecoderLayer; got 'Linear'"):
        check_module(AddNorm, nn.Linear)
