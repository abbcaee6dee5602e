"""The grader names the mistake: the whole catalogue, slips in another hand, and two of them at once."""

import pytest

import attention_variants as av
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.diagnosis.fit import function_of
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, with_code
from grader_exam.program import SLIPS, TWO, make
from grader_exam.rewritings import REWRITINGS

#: Each entry in one of its variants, in turn: all of them take minutes.
ENTRIES = [
    (name, sorted(mistake.functions)[i % len(mistake.functions)])
    for i, (name, mistake) in enumerate(with_code().items())
]


@pytest.mark.parametrize(("name", "variant"), ENTRIES)
def test_each_mistake_fails_and_is_named(name, variant):
    report = av.check(function_of(MISCONCEPTIONS[name], Exam(variant)), variant)
    assert not report
    assert 0 <= report.score < 1
    assert [named.name for named in report.misconceptions] == [name]
    assert MISCONCEPTIONS[name].hint in str(report)


@pytest.mark.parametrize("one", REWRITINGS, ids=[f"{one.entry}-{one.function.__name__}" for one in REWRITINGS])
def test_each_mistake_is_named_in_another_hand(one):
    report = av.check(one.function, one.variant)
    assert not report
    assert one.entry in {named.name for named in report.misconceptions}


def test_each_mistake_is_written_in_another_hand():
    assert {one.entry for one in REWRITINGS} == set(with_code())
    assert all(one.variant in MISCONCEPTIONS[one.entry].variants for one in REWRITINGS)


REWRITTEN = [(one, variant) for one in SLIPS for variant in sorted({one.variant, 6})]


def test_the_program_without_a_slip_is_right():
    assert all(av.check(make(variant), variant) for variant in range(2, 7))


@pytest.mark.parametrize(("one", "variant"), REWRITTEN, ids=[f"{one.code[:50]}-{n}" for one, n in REWRITTEN])
def test_a_mistake_in_another_hand_is_named(one, variant):
    report = av.check(make(variant, one), variant)
    assert not report
    assert report.looks_like is not None
    assert report.looks_like.name in one.names


@pytest.mark.parametrize(("first", "second"), TWO, ids=[f"{a.code[:25]}-{b.code[:25]}" for a, b in TWO])
def test_two_mistakes_at_once_are_both_named(first, second):
    variant = max(4, first.variant, second.variant)
    report = av.check(make(variant, first, second), variant)
    names = {named.name for named in report.misconceptions}
    assert len(names) == 2
    assert names & first.names
    assert names & second.names
