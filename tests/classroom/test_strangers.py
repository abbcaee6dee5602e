"""Wrong functions that stand nowhere in the catalogue are caught, and called what they may fairly be called."""

import pytest
from strangers import STRANGERS

import attention_variants as av


@pytest.mark.parametrize(
    ("function", "variant", "names"), STRANGERS, ids=[f"{n}-{f.__name__}" for f, n, _ in STRANGERS]
)
def test_a_stranger_is_caught_and_named(function, variant, names):
    report = av.check(function, variant)
    assert not report
    assert names & {named.name for named in report.misconceptions}


def test_there_are_strangers_for_all_seven_variants():
    assert len(STRANGERS) >= 40
    assert {variant for _, variant, _ in STRANGERS} == set(range(1, 8))
