"""The right answers are right, by another hand's formula; and every knob that can be turned changes something."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_variants.classroom.contract import reference
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.contract.reference import differs, right, right_gradients, tolerances
from attention_variants.classroom.diagnosis.knobs import attend, turned
from attention_variants.classroom.diagnosis.slips import SLIPS, slips_of
from attention_variants.variants import VARIANTS
from grader_exam import bounds

CLASSROOM = Path(reference.__file__).parents[1]
JUDGING = [
    *CLASSROOM.glob("check*.py"),
    *(CLASSROOM / "contract").glob("*.py"),
    *(CLASSROOM / "diagnosis").glob("*.py"),
    Path(bounds.__file__).with_name("trials.py"),
]


def by_torch(s):
    """F.scaled_dot_product_attention with a mask, and its weights from an identity for the values."""
    q, k, v = (torch.tensor(x, requires_grad=True) for x in (s.q, s.k, s.v))

    def heads(x):
        return x if s.num_heads is None else x.unflatten(-1, (s.num_heads, -1)).transpose(-3, -2)

    allowed = torch.from_numpy(s.allowed)
    attention = torch.nn.functional.scaled_dot_product_attention
    empty = ~allowed.any(-1, keepdim=True)
    identity = torch.eye(s.k.shape[-2], dtype=torch.float64).expand(*s.weights_shape[:-2], -1, -1)
    weights = attention(heads(q), heads(k), identity, allowed | empty).masked_fill(empty, 0.0)
    context = attention(heads(q), heads(k), heads(v), allowed | empty).masked_fill(empty, 0.0)
    if s.num_heads is not None:
        context = context.transpose(-3, -2).flatten(-2)
    return (q, k, v), context, weights


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("number", [0, 5])
def test_the_right_answers_are_those_of_pytorch(variant, number):
    for s in Exam(variant, number).problems:
        leaves, context, weights = by_torch(s)
        for found, expected in zip(right(s), (context, weights), strict=True):
            np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-9, rtol=1e-9)
        if s.gradient and not s.large:
            of_context, of_weights = (torch.from_numpy(x) for x in s.cotangents)
            total = (context * of_context).sum() + (weights * of_weights).sum()
            for name, expected in zip("qkv", torch.autograd.grad(total, leaves), strict=True):
                np.testing.assert_allclose(right_gradients(s, "both")[name], expected.numpy(), atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_no_knob_turned_it_is_the_right_answer(variant):
    for s in Exam(variant).problems:
        for found, expected, allowed in zip(attend(s), right(s), tolerances(s), strict=True):
            assert found.shape == expected.shape
            assert (np.abs(found - expected) <= 0.01 * allowed).all()


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: f"{slip.knob}-{slip.setting}-{slip.name}")
def test_every_knob_changes_something_or_ends_in_an_error(slip):
    """A setting that nothing reads would count as right, and explain nothing."""
    here = [variant for variant in VARIANTS if slip in slips_of(Exam(variant).takes)]
    assert here
    for variant in here:
        outcomes = [(s, turned(s, (slip,))) for s in Exam(variant).problems if not s.random]
        assert any(outcome is None or differs(s, outcome) for s, outcome in outcomes), variant


def unnamed_tolerances(source):
    """Fractions that stand, without a name, in a comparison or in a call of what compares."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        called = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Compare) or called in ("allclose", "isclose", "agree", "far"):
            numbers = [leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)]
            found |= {x for x in numbers if isinstance(x, float) and x not in (0.0, 0.5, 1.0)}
    return found


@pytest.mark.parametrize("path", JUDGING, ids=lambda path: path.stem)
def test_every_tolerance_has_a_name(path):
    assert not unnamed_tolerances(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("line", ["abs(x - y) < 1e-3", "np.allclose(x, y, 1e-4)", "agree(x, y, tolerance=2e-2)"])
def test_a_tolerance_without_a_name_is_seen(line):
    assert unnamed_tolerances(line)
