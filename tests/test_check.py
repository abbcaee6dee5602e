"""check: right functions pass however they are written, wrong ones fail with words that help."""

import functools
import inspect
import json
import math
import os
import random
import re
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

import attention_variants as av
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, rewrite
from attention_variants.classroom.nbgrader import points
from attention_variants.classroom.sandbox.run import tensors
from grader_exam.styles import STYLES, einsum


@pytest.mark.numeric
@pytest.mark.parametrize("variant", range(1, 8))
def test_the_variants_pass(variant):
    report = av.check(av.VARIANTS[variant], variant)
    assert report, str(report)
    assert report.passed
    assert report.score == 1.0
    assert sum(worth for _, worth in report.parts.values()) == pytest.approx(1.0)
    assert len(report.solved) == len(Exam(variant).problems)


@pytest.mark.parametrize(("function", "variant"), STYLES, ids=[f"{i}-{n}" for i, (_, n) in enumerate(STYLES)])
def test_no_right_function_is_rejected(function, variant):
    report = av.check(function, variant)
    assert report, str(report)


def test_there_are_many_right_styles():
    assert len({function for function, _ in STYLES}) >= 25
    assert len(STYLES) >= 45
    assert {variant for _, variant in STYLES} == set(range(1, 8))


# ------------------------------------------------------------------------------------------------ naming mistakes

#: What the notebooks show; tests/classroom names the whole catalogue, and mistakes written in another hand.
SHOWN = (
    "no_max_subtraction softmax_over_queries transpose_of_the_batch mask_after_softmax inverted_mask scale_by_d_model "
    "view_without_transpose merge_without_transpose dropout_in_evaluation"
).split()


@pytest.mark.parametrize("name", SHOWN)
def test_the_mistakes_of_the_notebooks_fail_and_are_named(name):
    mistake = MISCONCEPTIONS[name]
    report = av.check(mistake.function, mistake.variant)
    assert not report
    assert 0 <= report.score < 1
    assert [named.name for named in report.misconceptions] == [name]
    assert mistake.hint in str(report)


def test_what_no_catalogue_knows_is_still_put_into_words():
    def odd_scale(q, k, v):
        weights = torch.softmax(0.123 * q @ k.T, dim=-1)
        return weights @ v, weights

    report = av.check(odd_scale, 2)
    assert "the weights are those of scores 0.123 * (q . k); expected 0.500 * (q . k)" in str(report)
    assert report.looks_like.name == "wrong_scale"

    def odd_axis(q, k, v):
        weights = torch.softmax(torch.cosine_similarity(q[:, None], k[None], dim=-1) * 3, dim=0)
        return weights @ v, weights

    report = av.check(odd_axis, 2)
    assert "the columns do sum to 1" in str(report)
    assert report.looks_like.name == "softmax_over_queries"

    def one_batch_axis(q, k, v):
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[2]), dim=2)
        return torch.bmm(weights, v), weights

    assert av.check(one_batch_axis, 3).looks_like.name == "one_batch_axis_only"


# ------------------------------------------------------------------------------------------------------ the report


def test_a_report_shows_shapes_and_a_worked_example():
    report = av.check(MISCONCEPTIONS["softmax_over_queries"].function, 2)
    text = str(report)
    assert "q (3, 4), k (3, 4), v (3, 4)" in text
    assert "found     [" in text
    assert "expected  [" in text
    assert report._repr_html_().startswith("<section")
    assert "\033" not in text
    console = Console(width=100)
    with console.capture() as capture:
        console.print(report)
    assert "softmax over queries" in capture.get()


def test_a_report_is_ready_for_json():
    report = av.check(MISCONCEPTIONS["softmax_over_queries"].function, 2)
    told = json.loads(json.dumps(report.to_dict()))
    assert told["passed"] is False
    assert told["score"] == report.score
    assert told["misconceptions"][0]["name"] == "softmax_over_queries"
    assert told["findings"][0]["lines"]
    assert told["text"] == str(report)


def test_a_slip_in_one_part_leaves_the_points_of_the_others():
    parts = av.check(MISCONCEPTIONS["no_scale"].function, 2).parts
    assert parts["softmax"][0] == parts["weighted_sum"][0] == parts["shapes"][0] == 1.0
    assert parts["scores"][0] < 1
    assert parts["same_answer"][0] < 1


def test_html_in_a_report_is_text():
    def function(q, k, v):
        raise ValueError("<b>bold</b>")

    html = av.check(function, 2)._repr_html_()
    assert "<b>bold</b>" not in html
    assert "&lt;b&gt;bold" in html


def raising(error):
    def function(q, k, v):
        raise error

    return function


def changed(change):
    """A right function, and what is made of its context and weights."""
    return lambda q, k, v: change(*einsum(q, k, v))


def input_changed(q, k, v):
    q *= 1.0 + 1e-3
    return einsum(q, k, v)


def gradient_cut(q, k, v):
    context, weights = einsum(q, k, v.detach())
    return context + 0 * v.sum(), weights


def written_in_place(q, k, v):
    weights = einsum(q, k, v)[1]
    rows, context = torch.zeros_like(weights), torch.zeros_like(q)
    for i in range(len(q)):
        rows[i] = weights[i]
        context[i] = rows[i] @ v
    return context, rows


WRONG = {
    "returns None": lambda q, k, v: None,
    "not written": raising(NotImplementedError),
    "raises": raising(KeyError("oops")),
    "input": input_changed,
    "gradient": gradient_cut,
    "dtype": changed(lambda context, weights: (context.double(), weights.double())),
    "shape": changed(lambda context, weights: (context.T, weights)),
    "list": changed(lambda context, weights: (context, weights.tolist())),
    "three": changed(lambda context, weights: (context, weights, None)),
    "swapped": changed(lambda context, weights: (weights, context)),
    "no gradient": changed(lambda context, weights: (context.detach(), weights.detach())),
    "random": changed(lambda context, weights: (context + torch.randn(()), weights)),
    "in place": written_in_place,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("returns None", "returned NoneType; expected the pair (context, weights)"),
        ("not written", "Nothing is written there yet"),
        ("raises", "it raised KeyError: 'oops'"),
        ("input", "it changed its input q"),
        ("gradient", "the gradient of v"),
        ("dtype", "context has dtype torch.float64; expected torch.float32"),
        ("shape", "context has shape (4, 3); expected (3, 4)"),
        ("list", "weights is a list; expected a tensor of shape (3, 3)"),
        ("three", "returned a tuple of 3; expected the pair"),
        ("swapped", "Are the two swapped?"),
        ("no gradient", "no gradient can be computed"),
        ("random", "two calls on the same input give a different context"),
        ("in place", "written into after use"),
    ],
)
def test_what_else_goes_wrong_is_said(change, words):
    report = av.check(WRONG[change], 2)
    assert not report
    assert words in str(report)


@pytest.mark.parametrize(("part", "failed"), [("keys", "2 queries and 3 keys"), ("queries", "3 queries and 2 keys")])
def test_code_that_needs_as_many_queries_as_keys_is_found(part, failed):
    def function(q, k, v):
        T = min(len(q), len(k))
        return av.attention_matmul(q[:T] if part == "queries" else q, *((k[:T], v[:T]) if part == "keys" else (k, v)))

    report = av.check(function, 2)
    assert report.failed == failed
    assert report.solved[0] == "as many queries as keys"


def test_scores_of_forty_thousand_are_judged_by_their_arithmetic():
    """Right styles differ by a thousandth there; the mistake of a percent in the scale is still found."""

    def nearly(q, k, v):
        weights = torch.softmax(q @ k.T / math.sqrt(q.shape[1]) * 1.01, dim=-1)
        return weights @ v, weights

    assert not av.check(nearly, 2)


# ------------------------------------------------------------------------------------- what a function may not break


def test_checking_leaves_no_trace(capsys):
    def vandal(q, k, v):
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002
        random.seed(3)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.allclose = torch.equal = torch.isclose = lambda *_, **__: True
        np.allclose = np.isclose = np.array_equal = lambda *_, **__: True
        np.abs = lambda x: np.zeros(np.shape(x))
        F.softmax = torch.softmax = None
        math.sqrt = lambda x: 1.0
        av.attention_matmul = None
        sys.settrace(lambda *_: None)
        sys.setrecursionlimit(5000)
        os.environ["ATTENTION"] = "1"
        torch.Tensor.sum = lambda self: 0
        print("x" * 100_000)
        return torch.zeros(3, 4), torch.zeros(3, 3)

    def state():
        modules = (torch, np, math, F, av)
        names = [[vars(m)[n] for n in ("allclose", "equal", "sqrt", "softmax") if n in vars(m)] for m in modules]
        return (
            *(id(x) for found in names for x in found),
            id(torch.Tensor.sum),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.rand(2).tolist(),
            np.random.rand(),  # noqa: NPY002
            random.random(),
            sys.getrecursionlimit(),
            os.environ.get("ATTENTION"),
            id(av.attention_matmul),
        )

    def seeded():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)

    trace = sys.gettrace()
    seeded()
    before = state()
    seeded()
    report = av.check(vandal, 2)
    assert sys.gettrace() is trace
    assert state() == before
    assert not report
    assert report.printed >= 100_000
    assert capsys.readouterr().out == ""
    assert av.check(einsum, 2)


@pytest.mark.parametrize("how", ["recursion", "exit", "bad words", "interrupt-proof loop"])
def test_what_a_function_raises_stays_inside(how):
    class RudeError(Exception):
        def __str__(self):
            raise ValueError

    def function(q, k, v):
        if how == "recursion":
            return function(q, k, v)
        if how == "exit":
            sys.exit(0)
        if how == "bad words":
            raise RudeError
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass

    report = av.check(function, 2, seconds=0.5)
    assert not report
    assert report.score == 0


def test_tensors_that_lie_are_read_as_what_they_are():
    class Liar(torch.Tensor):
        shape = (3, 3)

        def __eq__(self, other):
            return True

        __hash__ = None

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return torch.ones((), dtype=torch.bool)

    class Pair(tuple):
        def __iter__(self):
            return iter(einsum(torch.ones(3, 4), torch.ones(3, 4), torch.ones(3, 4)))

    assert not av.check(lambda q, k, v: (torch.zeros(3, 4).as_subclass(Liar), torch.zeros(3, 3).as_subclass(Liar)), 2)
    assert not av.check(lambda q, k, v: Pair((torch.zeros(3, 4), torch.zeros(3, 3))), 2)


def test_a_tensor_changed_after_the_return_changes_nothing():
    kept = []

    def function(q, k, v):
        for x in kept:
            x.zero_()
        kept[:] = [x.clone() for x in einsum(q, k, v)]
        return tuple(kept)

    with torch.no_grad():
        report = av.check(function, 2)
    assert all(finding.part == "gradients" for finding in report.findings)


# ------------------------------------------------------------------------------------------------------ the rules


def loops(q, k, v):
    scores = torch.stack([torch.stack([q[i] @ k[j] for j in range(len(k))]) for i in range(len(q))]) / q.shape[1] ** 0.5
    weights = torch.stack([row.softmax(0) for row in scores])
    return torch.stack([sum(w[j] * v[j] for j in range(len(v))) for w in weights]), weights


def product(q, k, v):
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
    return weights @ v, weights


def product_with_mask(q, k, v, mask=None):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is None:
        return scores.softmax(-1) @ v, scores.softmax(-1)
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask
    return weights @ v, weights


STYLE = {(getattr(f, "__name__", type(f).__name__), n): f for f, n in STYLES}


@pytest.mark.parametrize(
    ("function", "variant"),
    [
        (loops, 1),
        (product, 2),
        (product, 3),
        (product_with_mask, 4),
        (STYLE["loop_into_slices", 5], 5),
        (STYLE["split_by_einsum", 6], 6),
        (STYLE["heads_in_the_batch", 6], 6),
        (STYLE["kernel_with_one_mask", 7], 7),
        (STYLE["kernel_with_an_additive_mask", 7], 7),
    ],
)
def test_who_keeps_the_rules_passes(function, variant):
    report = av.check(function, variant, rules=True)
    assert report, str(report)


@pytest.mark.parametrize(
    ("function", "variant", "words"),
    [
        (product, 1, "multiplies whole matrices"),
        (STYLE["broadcast_products", 2], 1, "multiplies whole matrices"),
        (lambda q, k, v: (loops(q, k, v)[0], product(q, k, v)[1]), 1, "softmax of a whole matrix"),
        (loops, 2, "there is a loop"),
        (STYLE["recursion_over_the_batch", 3], 3, "perhaps over the batch"),
        (STYLE["fused_kernel_beside_weights", 2], 2, "calls the fused kernel"),
        (STYLE["loop_into_slices", 5], 6, "perhaps over heads"),
        (STYLE["multihead_attention_module_with_identities", 6], 6, "ready-made layer"),
        (STYLE["dropout_by_hand", 7], 7, "never calls the fused kernel"),
        (lambda q, k, v: av.attention_matmul(q, k, v), 2, "calls a variant of this library"),
    ],
)
def test_who_breaks_a_rule_hears_which(function, variant, words):
    assert av.check(function, variant), "without the rules it is right"
    report = av.check(function, variant, rules=True)
    assert not report
    assert report.score == (0 if "yourself" in words or "ready-made" in words or "library" in words else 0.5)
    assert words in str(report)


def test_code_that_never_ends_breaks_no_rule_and_ends():
    def for_ever(q, k, v):
        while True:
            pass

    report = av.check(for_ever, 2, rules=True, seconds=0.2)
    assert report.score == 0
    assert not report.broken_rules
    assert "it did not finish within 0.2 seconds" in str(report)


def test_code_that_does_not_end_when_it_is_watched_breaks_a_rule():
    def function(q, k, v):
        while torch._C._len_torch_function_stack():
            pass
        return product(q, k, v)

    report = av.check(function, 2, rules=True, seconds=1.0)
    assert "it fails when its operations are watched, and only then" in str(report)


# --------------------------------------------------------------------------------------------------- the arguments


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
    function = mistake.functions[2]
    assert f"def {function.__name__}(" in av.show(function).text
    assert "dim=0" in str(av.diff(2, function))
    assert inspect.getsource(function)


# -------------------------------------------------------------------------------------------------- other exams


@pytest.mark.parametrize("variant", range(1, 8))
def test_another_exam_asks_the_same_with_other_numbers_and_lengths(variant):
    first, other = Exam(variant).problems, Exam(variant, 5).problems
    assert len(first) == len(other)
    square, larger = first[0], other[0]
    assert larger.q.shape[-2:] > square.q.shape[-2:]
    assert not set(square.q.ravel()) & set(larger.q.ravel())
    assert all(av.check(av.VARIANTS[variant], variant, exam=exam) for exam in range(1, 7))


NO_EXAMS = [(-1, ValueError), (-2, ValueError), (2**32, ValueError), (1.5, TypeError), (True, TypeError)]


@pytest.mark.parametrize(("exam", "error"), [*NO_EXAMS, ("real", TypeError), (None, TypeError)])
@pytest.mark.parametrize("variant", [1, 6])
def test_what_is_no_number_of_an_exam_is_refused(exam, error, variant):
    words = rf": exam must be a whole number from 0 to 4294967295; got {re.escape(repr(exam))}\."
    function = av.VARIANTS[variant]
    with pytest.raises(error, match="^check" + words):
        av.check(function, variant, exam=exam)
    with pytest.raises(error, match="^check" + words):
        points.grade(function, variant, points=1, exam=exam)
    for ask in (av.check_layer, functools.partial(points.grade_layer, points=1)):
        with pytest.raises(error, match="^check_layer" + words):
            ask(av.MultiHeadAttention, exam=exam)


def test_the_last_exam_is_one():
    assert av.check(av.VARIANTS[1], 1, exam=2**32 - 1)


def test_what_is_learnt_by_heart_fails_in_another_exam():
    def key(*inputs):
        return b"".join(x.detach().float().numpy().tobytes() for x in inputs)

    known = [tensors(s)[:3] for s in Exam(2).problems]
    answers = {key(*inputs): av.VARIANTS[2](*inputs) for inputs in known}

    def by_heart(q, k, v):
        context, weights = answers.get(key(q, k, v), (v[:1], v[:1]))
        return context.to(q.dtype), weights.to(q.dtype)

    learnt = av.check(by_heart, 2)
    assert {finding.part for finding in learnt.findings} <= {"gradients", "same_answer", "shapes"}
    assert av.check(by_heart, 2, exam=5).score < learnt.score / 2


def test_another_exam_names_the_mistake_too():
    mistake = MISCONCEPTIONS["softmax_over_queries"]
    report = av.check(mistake.functions[4], 4, exam=31, isolated=True)
    assert report.looks_like is mistake
