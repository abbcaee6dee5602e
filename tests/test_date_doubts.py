"""What speaks against an answer: the rules read what the data writes and nothing else, and each doubt has its case."""

from __future__ import annotations

import random
from datetime import date

import pytest

from attention_variants.model.date_doubts import UNSURE, Doubt, as_date, find_doubts, read_by_rules
from attention_variants.model.dates import FORMATS, dates


@pytest.mark.parametrize("name", FORMATS)
def test_the_rules_read_all_that_the_data_writes(name):
    rng = random.Random(name)
    for day in [date(1930, 1, 1), date(2029, 12, 31), *rng.sample(dates("train"), 500)]:
        text = FORMATS[name](day, rng)
        written = read_by_rules(text)
        assert written is not None, text
        assert written.date == day, text
        assert find_doubts(text, day.isoformat(), 1.0) == (), text


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "1998", "March 1998", "12 marzec 1998", "12march 1998", "12  March 1998", "12st March 1998",
        "012/03/1998",
        "03/4/1998", "3/04/1998", "12/3.1998", "1998-3/12", "12 März 1998", "12. mars 1998", "12 de March de 1998",
        "the 12 March 1998", "012 March 1998", "12 March '1998", "12 Marchs 1998",
        "Thursday12 March 1998", "Thu, 12 March 98",
    ],
)  # fmt: skip
def test_what_the_data_never_writes_is_none_of_its_ways(text):
    assert read_by_rules(text) is None


def codes(text, answer, probability=1.0):
    return [doubt.code for doubt in find_doubts(text, answer, probability)]


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("12 March 1998", "1998-03-12", []),
        ("THU, 12 March 1998", "1998-03-12", []),
        ("Thursday 12 March 1998", "1998-03-12", []),
        ("Fri 12 March 1998", "1998-03-12", ["wrong_weekday"]),
        ("12 March 1929", "1929-03-12", ["year_outside"]),
        ("12 March 2030", "2030-03-12", ["year_outside"]),
        ("29 Feb 2023", "2023-02-28", ["no_such_day"]),
        ("29 Feb 2024", "2024-02-29", []),
        ("31 Feb 1850", "1950-02-28", ["year_outside", "no_such_day"]),
        ("12 March 1998", "1998-03-13", ["other_date"]),
        ("12 March 1998", "1998-03-32", ["other_date", "no_date"]),
        ("12 March 1998", "", ["other_date", "no_date"]),
        ("12 March 1998", "1998-03-12-1", ["other_date", "no_date"]),
        ("hello", "1998-03-12", ["unknown_way"]),
        ("hello", "1998-13-12", ["unknown_way", "no_date"]),
    ],
)
def test_each_doubt_has_its_case(text, answer, found):
    assert codes(text, answer) == found


def test_an_unlikely_answer_is_in_doubt():
    right = ("12 March 1998", "1998-03-12")
    assert codes(*right, UNSURE) == []
    assert codes(*right, UNSURE - 1e-6) == ["unsure"]
    assert codes(*right, float("nan")) == ["unsure"]


def test_an_answer_as_a_date():
    assert as_date("1998-03-12") == date(1998, 3, 12)
    assert [as_date(text) for text in ("1998-02-31", "1998-3-12", "0000-01-01", "1998-03-12 ", "")] == [None] * 5


def test_a_doubt_is_a_sentence_with_its_numbers():
    assert str(Doubt("year_outside", {"year": 1850, "first": 1930, "last": 2029})).startswith("the year 1850 is not")
    for doubt in find_doubts("Fri, 31 Feb 1850", "x", 0.1):
        assert "{" not in str(doubt)
