"""A module around attention: right however it is written, and wrong by its name."""

from __future__ import annotations

import re
import time

import pytest
from torch import nn

from attention_variants.classroom import wording
from attention_variants.classroom.check_module import KNOWN, check_module
from attention_variants.model import AddNorm, DecoderLayer

BY_NAME = {known.__name__: known for known in KNOWN}
EVERY_MISTAKE = [tuple(name.split(".")) for name in wording.MODULE_MISTAKES]


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
    assert report.lines() == [f"{module.__name__} computes what {like.__name__} does, in values and gradients."]
    assert "✓" in report._repr_html_()


@pytest.mark.parametrize(("goal", "code"), EVERY_MISTAKE)
def test_every_mistake_is_wrong_and_named(goal, code):
    like = BY_NAME[goal]
    mistaken = KNOWN[like].mistakes[code]
    report = check_module(type("Mine", (like,), {"forward": lambda self, *inputs: mistaken(self, *inputs)}), like)
    assert not report
    assert report.finding.code == "values"
    assert report.looks_like == code
    assert wording.MODULE_MISTAKES[f"{goal}.{code}"] in repr(report)


def test_every_mistake_has_its_words_and_its_code():
    known = {f"{goal}.{code}" for goal, known in zip(BY_NAME, KNOWN.values(), strict=True) for code in known.mistakes}
    assert known == set(wording.MODULE_MISTAKES)


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
            r"It does not come to its end: it raised RuntimeError",
        ),
        (lambda self, x: x, "failed", "TypeError"),
        (lambda self, x, computed: None, "returned", "It returns NoneType; expected is a tensor"),
        (
            lambda self, x, computed: (x + computed)[0],
            "shape",
            r"It returns the shape \(5, 8\); expected is \(2, 5, 8\)",
        ),
        (lambda self, x, computed: self.norm(x + 2 * computed), "values", r"80 of 80 numbers are wrong. At \(0, 0\):"),
        (writes_into_its_input, "inputs", "it writes into the tensors"),
        (lambda self, x, computed: self.norm(x + computed.detach()), "gradients", "the gradients of input 2 are not"),
        (lambda self, x, computed: self.norm(x + computed).detach(), "gradients", "input 1, input 2, norm.weight and"),
    ],
)
def test_what_is_wrong_is_said(forward, code, words):
    report = check_module(type("Mine", (AddNorm,), {"forward": forward}), AddNorm)
    assert not report
    assert report.finding.code == code
    assert report.looks_like is None
    assert re.search(words, repr(report))
    assert "✗" in report._repr_html_()


def test_other_parameters_are_named():
    class Mine(nn.Module):
        def __init__(self, d_model):
            super().__init__()
            self.layer_norm = nn.LayerNorm(d_model)

    report = check_module(Mine, AddNorm)
    assert report.finding.code == "parameters"
    assert "Missing: norm.bias and norm.weight; unknown: layer_norm.bias and layer_norm.weight" in repr(report)


def test_a_mask_that_is_not_handed_on_shows_with_padding_alone():
    class Mine(DecoderLayer):
        def forward(self, x, memory, mask=None, memory_mask=None):
            return super().forward(x, memory, mask)

    assert "numbers are wrong with padding on both sides" in repr(check_module(Mine, DecoderLayer))


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
