"""The data of the date task: what is written is the date, the halves share none, and what cannot be read says why."""

from __future__ import annotations

import random
import re
from collections import Counter
from datetime import date, timedelta

import pytest
import torch

from attention_variants.model.dates import (
    END,
    FIRST,
    FORMATS,
    LAST,
    MAX_SOURCE,
    MAX_TARGET,
    SOURCE_CHARACTERS,
    START,
    date_batch,
    date_test_set,
    dates,
    decode_target,
    encode_source,
    encode_target,
)

MONTHS = {  # by their beginnings, in four languages; read by this test alone
    1: ("jan", "ene"), 2: ("feb", "fév"), 3: ("mar", "mär"), 4: ("apr", "avr", "abr"), 5: ("may", "mai"),
    6: ("jun", "juin"), 7: ("jul", "juil"), 8: ("aug", "aoû", "ago"), 9: ("sep",), 10: ("oct", "okt"),
    11: ("nov",), 12: ("dec", "dez", "déc", "dic"),
}  # fmt: skip
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def year_of(digits: str) -> int:
    if len(digits) == 4:
        return int(digits)
    return 1900 + int(digits) if int(digits) >= 30 else 2000 + int(digits)


def read_by_rules(text: str) -> tuple[date, str | None]:
    """Read a date by the rules that the module states, without the module; and the weekday, if one is written."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    numbers = re.findall(r"\d+", text)
    weekday = next((word for word in words if word.startswith(WEEKDAYS) and word.endswith(("day", *WEEKDAYS))), None)
    months = [n for n, names in MONTHS.items() for word in words if word != weekday and word.startswith(names)]
    if not months:
        a, b, c = numbers
        day, month, year = (c, b, a) if len(a) == 4 else (a, b, c)
        return date(year_of(year), int(month), int(day)), weekday
    (month,) = months
    day, year = numbers
    return date(year_of(year), month, int(day)), weekday


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_the_date(name):
    rng = random.Random(1)
    for day in random.Random(2).sample(dates("train"), 300):
        text = FORMATS[name](day, rng)
        found, weekday = read_by_rules(text)
        assert found == day, text
        assert weekday is None or weekday[:3] == WEEKDAYS[day.weekday()], text


def test_every_name_of_a_format_is_a_way_to_write_its_date():
    day, rng = date(1998, 3, 12), random.Random(0)
    for name, write in FORMATS.items():
        assert name in {write(day, rng) for _ in range(500)}, name


def test_the_halves_share_no_date_and_miss_none():
    train, test = dates("train"), dates("test")
    assert not set(train) & set(test)
    assert len(train) + len(test) == len({*train, *test}) == (LAST - FIRST).days + 1
    assert {*train, *test} == {FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)}
    assert (FIRST, LAST) == (date(1930, 1, 1), date(2029, 12, 31))
    assert len(test) == len({*train, *test}) // 10
    assert dates("test") == test
    assert {day.month for day in test} == set(range(1, 13))
    assert len({day.year for day in test}) == 100


def test_another_split_is_an_error():
    with pytest.raises(ValueError, match=r'must be "train" or "test"; got \'valid\''):
        dates("valid")


def test_a_batch_depends_on_its_seed_alone():
    days = dates("train")
    source, target = date_batch(days, 16, seed="0/3")
    random.seed(5)
    torch.manual_seed(5)
    again = date_batch(days, 16, seed="0/3")
    assert torch.equal(source, again[0])
    assert torch.equal(target, again[1])
    assert not torch.equal(target, date_batch(days, 16, seed="0/4")[1])


def test_a_batch_pairs_questions_with_their_answers():
    source, target = date_batch(dates("train"), 200, seed=0)
    answers = decode_target(target)
    for row, answer in zip(source.tolist(), answers, strict=True):
        text = "".join(SOURCE_CHARACTERS[token - 1] for token in row if token)
        assert read_by_rules(text)[0] == date.fromisoformat(answer)
    assert (target[:, 0] == START).all()
    assert (target[:, -1] == END).all()
    assert target.shape == (200, MAX_TARGET + 1)


def test_padding_stands_at_the_end_only():
    source = encode_source(["1998-03-12", "Mar 12th, '98"])
    assert source.shape == (2, 13)
    assert source[0].tolist()[10:] == [0, 0, 0]
    assert (source[0, :10] > 0).all()
    assert (source[1] > 0).all()


def test_characters_have_numbers_of_their_own():
    assert len(set(SOURCE_CHARACTERS)) == len(SOURCE_CHARACTERS)
    tokens = encode_source([SOURCE_CHARACTERS[1:25], SOURCE_CHARACTERS[25:]])
    numbers = Counter(tokens.flatten().tolist())
    assert set(numbers) - {0} == set(range(2, len(SOURCE_CHARACTERS) + 1))


def test_upper_and_lower_case_and_spaces_around_are_the_same():
    assert torch.equal(encode_source(["  MÄR 12 "]), encode_source(["mär 12"]))


def test_the_longest_question_fits():
    rng = random.Random(0)
    long = max((write(day, rng) for day in dates("test") for write in FORMATS.values()), key=len)
    assert 30 < len(long) <= MAX_SOURCE
    encode_source([long])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least one character; got ''"),
        ("   ", "at least one character; got '   '"),
        ("12 Мар 98", "does not know the character 'м' in '12 Мар 98'; it knows ',-./0123456789abc"),
        ("12 March 1998\n13 March", r"does not know the character '\\n'"),
        ("1" * 41, "at most 40 characters; got 41: '111"),
    ],
)
def test_what_cannot_be_read_says_why(text, words):
    with pytest.raises(ValueError, match=words):
        encode_source(["12 March 1998", text])


def test_an_answer_there_and_back():
    days = [date(1998, 3, 12), date(2029, 12, 31)]
    tokens = encode_target(days)
    assert decode_target(tokens) == ["1998-03-12", "2029-12-31"]
    assert decode_target(tokens[:, 1:]) == ["1998-03-12", "2029-12-31"]
    assert decode_target(torch.tensor([[START, 4, END, 5, 6], [3, 0, 4, 0, 0]])) == ["0", "-0"]


def test_the_test_set_is_unseen_and_always_the_same():
    pairs = date_test_set(20)
    assert list(pairs) == list(FORMATS)
    assert pairs == date_test_set(20)
    unseen = set(dates("test"))
    for name, written in pairs.items():
        assert len(written) == 20
        for question, answer in written:
            assert date.fromisoformat(answer) in unseen
            assert read_by_rules(question)[0] == date.fromisoformat(answer), name
