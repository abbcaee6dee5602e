"""An eighth variant is asked all that it takes and nothing else, is called as it says, and its mistakes are named."""

from __future__ import annotations

import functools
import math
from contextlib import contextmanager

import pytest
import torch

import attention_variants as av
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.grading.grade import grade
from attention_variants.classroom.grading_scheme import BROUGHT_BY, LESSON_COUNTS, shares
from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.variants import VARIANTS, register, unregister
from attention_variants.variants.registry import CAPABILITIES

EIGHTH = 8


@contextmanager
def registered(function, takes):
    register(function, number=EIGHTH, adds="something", takes=takes)
    try:
        yield
    finally:
        unregister(EIGHTH)


def attention(q, k, v, allowed=None, dropout_p=0.0):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if allowed is None:
        weights = scores.softmax(-1)
    else:
        weights = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1) * allowed
    return torch.dropout(weights, dropout_p, train=True) @ v, weights


def causal(q, k):
    return torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()


def all_of_it(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    options = {"dropout_p": dropout_p, "need_weights": need_weights, "is_causal": is_causal}
    return av.multihead_attention_fused(q, k, v, mask, num_heads, **options)


def without_options(q, k, v, mask=None, num_heads=1):
    return av.multihead_attention(q, k, v, mask, num_heads)


def mask_alone(q, k, v, mask=None):
    return attention(q, k, v, mask)


def heads_without_mask(q, k, v, num_heads=1):
    return av.multihead_attention(q, k, v, None, num_heads)


def causal_alone(q, k, v, *, is_causal=False):
    return attention(q, k, v, causal(q, k) if is_causal else None)


def dropout_alone(q, k, v, *, dropout_p=0.0):
    return attention(q, k, v, None, dropout_p)


def mask_and_no_weights(q, k, v, mask=None, *, need_weights=True):
    context, weights = attention(q, k, v, mask)
    return context, weights if need_weights else None


#: A right function, and what it takes.
RIGHT = [
    (all_of_it, CAPABILITIES),
    (without_options, ("batch", "mask", "heads")),
    (mask_alone, ("batch", "mask")),
    (mask_alone, ("mask",)),
    (heads_without_mask, ("batch", "heads")),
    (heads_without_mask, ("heads",)),
    (causal_alone, ("batch", "is_causal")),
    (dropout_alone, ("batch", "dropout")),
    (mask_and_no_weights, ("mask", "need_weights")),
    (all_of_it, tuple(set(CAPABILITIES) - {"dropout"})),
    (all_of_it, tuple(set(CAPABILITIES) - {"batch"})),
]
IDS = ["-".join(one for one in CAPABILITIES if one in takes) for _, takes in RIGHT]


@pytest.mark.parametrize(("function", "takes"), RIGHT, ids=IDS)
def test_a_right_function_passes_every_exam(function, takes):
    with registered(function, takes):
        report = av.check(function, EIGHTH)
        assert report, str(report)
        assert av.check(function, EIGHTH, exam=5)
        assert "variant 8" in str(report)


@pytest.mark.parametrize(("function", "takes"), RIGHT, ids=IDS)
def test_it_is_asked_what_it_takes_and_nothing_else(function, takes):
    with registered(function, takes):
        problems = Exam(EIGHTH).problems
        parts = av.check(function, EIGHTH).parts
    asked = {
        "batch": any(s.q.ndim > 2 for s in problems),
        "mask": any(s.mask is not None for s in problems),
        "heads": any(s.num_heads is not None for s in problems),
        "dropout": any("dropout_p" in s.options for s in problems),
        "is_causal": any("is_causal" in s.options for s in problems),
        "need_weights": any("need_weights" in s.options for s in problems),
    }
    assert {name for name, is_asked in asked.items() if is_asked} == set(takes)
    assert {BROUGHT_BY[one] for one in takes} == set(parts) & set(BROUGHT_BY.values())


def with_mistake(name, variant):
    return MISCONCEPTIONS[name].functions[variant]


def ignoring(name, function):
    def student(*inputs, **options):
        options.pop(name, None)
        return function(*inputs, **options)

    return student


def unscaled_heads(q, k, v, num_heads=1):
    return heads_without_mask(q * math.sqrt(q.shape[-1] // num_heads), k, v, num_heads)


def averaged(q, k, v, num_heads=1):
    context, weights = heads_without_mask(q, k, v, num_heads)
    return context, weights.mean(-3)


#: What takes something, a wrong implementation of it, and the name.
WRONG = [
    *(
        (CAPABILITIES, with_mistake(name, 7), name)
        for name in (
            "no_scale",
            "inverted_mask",
            "softmax_over_heads",
            "scale_by_d_model",
            "is_causal_ignored",
            "dropout_ignored",
            "dropout_in_evaluation",
            "weights_never_returned",
        )
        if 7 in MISCONCEPTIONS[name].variants
    ),
    *(
        (("batch", "mask", "heads"), with_mistake(name, 6), name)
        for name in ("no_scale", "mask_after_softmax", "view_without_transpose", "weights_averaged_over_heads")
    ),
    *(
        (takes, with_mistake(name, 4), name)
        for takes in (("batch", "mask"), ("mask",))
        for name in ("no_key_taken_for_every_key", "inverted_mask", "keys_for_values")
    ),
    ((), with_mistake("softmax_over_queries", 2), "softmax_over_queries"),
    (("batch", "heads"), unscaled_heads, "no_scale"),
    (("heads",), unscaled_heads, "no_scale"),
    (("batch", "heads"), averaged, "weights_averaged_over_heads"),
    (("batch", "is_causal"), ignoring("is_causal", causal_alone), "is_causal_ignored"),
]


@pytest.mark.parametrize(
    ("takes", "wrong", "name"), WRONG, ids=[f"{name}-{'-'.join(takes) or 'nothing'}" for takes, _, name in WRONG]
)
def test_its_mistakes_are_named_as_those_of_the_seven(takes, wrong, name):
    with registered(wrong, takes):
        report = av.check(wrong, EIGHTH)
        assert not report
        assert name in {named.name for named in report.misconceptions}


@pytest.mark.parametrize(
    ("function", "takes", "option"),
    [
        (all_of_it, CAPABILITIES, "is_causal"),
        (all_of_it, CAPABILITIES, "need_weights"),
        (all_of_it, CAPABILITIES, "dropout_p"),
        (dropout_alone, ("batch", "dropout"), "dropout_p"),
        (mask_and_no_weights, ("mask", "need_weights"), "need_weights"),
    ],
)
def test_an_option_that_is_ignored_is_found(function, takes, option):
    with registered(function, takes):
        report = av.check(ignoring(option, function), EIGHTH)
        assert not report
        assert report.parts["options"][0] < 1


def test_it_is_checked_in_another_process_too():
    with registered(all_of_it, CAPABILITIES):
        assert av.check(all_of_it, EIGHTH, isolated=True)
        wrong = av.check(with_mistake("inverted_mask", 7), EIGHTH, isolated=True)
        assert wrong.looks_like is MISCONCEPTIONS["inverted_mask"]


class Callable:
    def __call__(self, q, k, v, mask=None):
        return mask_alone(q, k, v, mask)


@pytest.mark.parametrize("function", [functools.partial(mask_alone, mask=None), Callable()], ids=["partial", "object"])
def test_one_without_a_name_is_checked_and_graded_under_its_number(function, tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / "ada.py").write_text("def variant_8(q, k, v):\n    return (w := (q @ k.mT).softmax(-1)) @ v, w\n")
    with registered(function, ("batch",)):
        right, wrong = av.check(function, EIGHTH, rules=True), av.check(with_mistake("no_scale", 3), EIGHTH)
        assert right, str(right)
        assert "variant_8 (variant 8)" in str(right)
        assert "no rules for variant 8, variant_8" in str(right)
        assert "not yet variant_8 (variant 8)" in str(wrong)
        result = grade(folder, EIGHTH, rules=True, jobs=1)
    assert result.function == "variant_8"
    assert result.rows[0].misconceptions == ["no_scale"]
    (note,) = result.notes
    assert (note.code, note.numbers) == ("no_rules", {"variant": 8, "name": "variant_8"})


def test_a_name_of_the_package_brings_no_rules_of_the_package():
    def attention_masked(q, k, v, mask=None):
        return mask_alone(q, k, v, mask)

    @functools.wraps(av.attention_masked)
    def wrapping(q, k, v, mask=None):
        return mask_alone(q, k, v, mask)

    for function in (attention_masked, wrapping):
        with registered(function, ("mask",)):
            report = av.check(function, EIGHTH, rules=True)
            assert report, str(report)
            assert report.has_no_rules
            assert av.check(function, EIGHTH, rules=True, isolated=True)


def test_a_number_that_is_free_again_keeps_nothing_of_the_one_before():
    with registered(mask_alone, ("mask",)):
        before = len(Exam(EIGHTH).problems)
    with registered(all_of_it, CAPABILITIES):
        assert len(Exam(EIGHTH).problems) > before
        assert av.check(all_of_it, EIGHTH)
    with pytest.raises(ValueError, match="variant must be one of 1 to 7"):
        av.check(all_of_it, EIGHTH)


def test_the_lesson_of_a_variant_is_what_it_adds():
    lessons = {}
    for variant in VARIANTS:
        parts = ("scores", "softmax", "batch", "mask", "heads", "options")
        weights = {part: worth for part, (_, worth) in shares(Exam(variant), {part: [True] for part in parts}).items()}
        lessons[variant] = [
            part for part in parts[2:] if weights[part] / weights["scores"] > LESSON_COUNTS * 0.5 * 0.99
        ]
    assert lessons == {1: [], 2: [], 3: ["batch"], 4: ["mask"], 5: ["heads"], 6: ["heads"], 7: ["options"]}
