"""The equality check catches every wrong implementation that we could think of, and none of the right ones."""

from __future__ import annotations

import inspect
import random
import re
from pathlib import Path

import pytest
import torch
import wrong_implementations
from reference import DROPOUT, LARGE_LOGITS, LIFTED, PROBLEMS, FaultError, check
from wrong_implementations import KINDS, NOT_SHOWN, RAISES, WRONG

from attention_variants.classroom.misconceptions import MISCONCEPTIONS, with_code
from attention_variants.model.lift import lift
from attention_variants.variants import VARIANTS

pytestmark = pytest.mark.numeric

#: The problems in an order in which a mistake soon shows, whatever kind of problem it needs.
SHUFFLED = [*LARGE_LOGITS, *DROPOUT, *random.Random(0).sample(PROBLEMS, len(PROBLEMS))]


def faults(function, dtype=torch.float64):
    """The kind of fault on each problem, None where the function is right."""
    for problem in SHUFFLED:
        try:
            check(function, problem, dtype)
        except FaultError as fault:
            yield fault.kind
        else:
            yield None


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.variant}-{wrong.name}")
def test_every_wrong_implementation_is_caught(wrong):
    seen = set()
    for kind in faults(lift(wrong.variant, wrong.function), wrong.dtype):
        assert kind != "error" or wrong.raises, "it raised, which is not the mistake it stands for"
        seen.add(kind)
        if wrong.kind in seen:
            break
    assert wrong.kind in seen


@pytest.mark.parametrize("variant", LIFTED)
def test_no_right_implementation_is_caught(variant):
    problems = SHUFFLED[:25] if variant <= 3 else SHUFFLED  # test_equality runs the slow ones on all of them
    assert [kind for _, kind in zip(problems, faults(LIFTED[variant]), strict=False) if kind] == []


def test_the_right_pieces_are_right():
    """What the wrong implementations are made of: without its mistake, each would pass."""
    assert set(faults(lift(6, wrong_implementations.right))) == {None}
    assert set(faults(lift(7, wrong_implementations.fused))) == {None}


def test_there_are_enough_of_them_and_each_is_its_own():
    assert len(WRONG) >= 30
    assert len({wrong.name for wrong in WRONG}) == len(WRONG)
    assert {wrong.variant for wrong in WRONG} == set(VARIANTS)
    for wrong in WRONG:
        assert wrong.function.__doc__, wrong.name
        names = list(inspect.signature(wrong.function).parameters)[:5]
        right_names = list(inspect.signature(VARIANTS[wrong.variant]).parameters)[:5]
        assert names == right_names, wrong.name


def test_the_catalogue_is_among_them():
    names = [wrong.name for wrong in WRONG]
    assert set(with_code()) - set(names) == set(NOT_SHOWN)
    assert set(" ".join(KINDS.values()).split()) | set(RAISES) <= set(names)


@pytest.mark.parametrize(
    ("file", "words", "count"),
    [
        ("README.md", r"(\d+) deliberately wrong versions", len(WRONG)),
        ("README.md", r"names the misconception: one of (\d+)", len(MISCONCEPTIONS)),
        ("CHANGELOG.md", r"(\d+) named misconceptions", len(MISCONCEPTIONS)),
    ],
)
def test_the_numbers_in_the_readme_are_those_of_the_code(file, words, count):
    text = " ".join((Path(__file__).parents[1] / file).read_text(encoding="utf-8").split())
    assert [int(number) for number in re.findall(words, text)] == [count]
