"""What speaks against an answer of the date model: a question of another kind than its data, no date, little trust.

The model cannot tell: it is sure of the 31st of February. So the question is held against the ways to write a date, and
the answer against the calendar.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .dates import FIRST, LAST, MONTHS, WEEKDAYS, fold, ordinal

#: A probability below which an answer is in doubt: of the answers to 3,000 test questions, both wrong ones are below
#: it, and 27 right ones.
UNSURE = 0.9

Code = Literal["unknown_way", "year_outside", "no_such_day", "wrong_weekday", "other_date", "no_date", "unsure"]

_SENTENCES: dict[Code, str] = {
    "unknown_way": "it is written in none of the ten ways of the training",
    "year_outside": "the year {year} is not between {first} and {last}, as in the training",
    "no_such_day": "there is no day {day} of month {month} in {year}",
    "wrong_weekday": "{date} is a {weekday}",
    "other_date": "the question means {date}",
    "no_date": "the answer is not a date",
    "unsure": "the probability is below {limit}",
}


@dataclass(frozen=True)
class Doubt:
    """One reason not to trust an answer; ``str`` makes a sentence of it.

    Attributes
    ----------
    code : str
        Of the question: ``"unknown_way"`` (none of the ten ways of the data), ``"year_outside"``, ``"no_such_day"``,
        ``"wrong_weekday"``. Of the answer: ``"other_date"`` (by the rules of the data, the question means another),
        ``"no_date"`` (not a date at all), ``"unsure"`` (the model gives it a probability below `UNSURE`).
    details : mapping of str to object
        The numbers and dates that belong to it.
    """

    code: Code
    details: Mapping[str, Any]

    def __str__(self) -> str:
        return _SENTENCES[self.code].format(**self.details)


@dataclass(frozen=True)
class Written:
    """What a question says, by the rules of the data; it need not be a date.

    Attributes
    ----------
    year, month, day : int
        The year in four digits; whatever stands in place of a month and a day.
    weekday : str or None
        Three letters, if it begins with a weekday.
    """

    year: int
    month: int
    day: int
    weekday: str | None = None

    @property
    def date(self) -> datetime.date | None:
        """The date, if there is such a day."""
        try:
            return datetime.date(self.year, self.month, self.day)
        except ValueError:
            return None


def read_by_rules(text: str) -> Written | None:
    """Read a question that is written in one of the ways of the data.

    Parameters
    ----------
    text : str
        A date as people write it.

    Returns
    -------
    written : Written or None
        None if it is written in another way.
    """
    found = next((match for pattern in _PATTERNS if (match := pattern.fullmatch(fold(text)))), None)
    if found is None:
        return None
    parts = found.groupdict()
    day = int(parts["day"])
    if parts.get("nth") and ordinal(day) != parts["day"] + parts["nth"]:  # 12st
        return None
    year, month = int(parts["year"]), parts["month"]
    if len(parts["year"]) == 2:
        year += 1900 if year >= FIRST.year % 100 else 2000
    weekday = parts.get("weekday")
    return Written(year, int(month) if month.isdigit() else _MONTH_NUMBERS[month], day, weekday and weekday[:3])


def find_doubts(text: str, answer: str, probability: float) -> tuple[Doubt, ...]:
    """Hold a question and its answer against the data and the calendar.

    Parameters
    ----------
    text, answer : str
        The question, and what a model wrote.
    probability : float
        Which the model gives to the answer.

    Returns
    -------
    doubts : tuple of Doubt
        Those about the question first; empty if nothing speaks against the answer.
    """
    return (*_of_the_question(read_by_rules(text)), *_of_the_answer(read_by_rules(text), answer, probability))


def as_date(answer: str) -> datetime.date | None:
    """Make a date of an answer in ISO 8601, if there is such a day.

    Parameters
    ----------
    answer : str
        What a model wrote.

    Returns
    -------
    date : datetime.date or None
    """
    whole = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", answer)
    return Written(int(whole[1]), int(whole[2]), int(whole[3])).date if whole else None


def _of_the_question(written: Written | None) -> Iterator[Doubt]:
    if written is None:
        yield Doubt("unknown_way", {})
        return
    if not FIRST.year <= written.year <= LAST.year:
        yield Doubt("year_outside", {"year": written.year, "first": FIRST.year, "last": LAST.year})
    day = written.date
    if day is None:
        yield Doubt("no_such_day", {"year": written.year, "month": written.month, "day": written.day})
    elif written.weekday and (weekday := WEEKDAYS[day.weekday()])[:3].lower() != written.weekday:
        yield Doubt("wrong_weekday", {"date": day, "weekday": weekday})


def _of_the_answer(written: Written | None, answer: str, probability: float) -> Iterator[Doubt]:
    means = written and written.date
    if means and answer != means.isoformat():
        yield Doubt("other_date", {"date": means})
    if as_date(answer) is None:
        yield Doubt("no_date", {})
    if not probability >= UNSURE:  # NaN is no trust either
        yield Doubt("unsure", {"probability": probability, "limit": UNSURE})


def _patterns() -> Iterator[str]:
    """The ways of `FORMATS` as regular expressions, of folded text."""
    names = {language: [month.lower() for month in months] for language, months in MONTHS.items()}
    english = _one_of("month", [*names["English"], *(month[:3] for month in names["English"])])
    weekday = _one_of("weekday", [short for name in WEEKDAYS for short in (name.lower(), name[:3].lower())])
    day, nth = r"(?P<day>[1-9]\d?)", "(?P<nth>st|nd|rd|th)?"
    year, short = r"(?P<year>\d{4})", r"'?(?P<year>\d\d)"
    for both in (f"{day}{nth}(?: | of ){english}", f"{english} {day}{nth}"):
        yield f"(?:{weekday},? )?{both},? {year}"
        yield f"{both},? {short}"
    for number in (r"\d\d", r"[1-9]\d?"):  # with leading zeros or without, but both alike
        day_first = rf"(?P<day>{number})(?P<sign>[/.-])(?P<month>{number})(?P=sign)"
        yield day_first + year
        yield day_first + r"(?P<year>\d\d)"
        yield rf"{year}(?P<sign>[/.-])(?P<month>{number})(?P=sign)(?P<day>{number})"
    yield rf"{day}\. {_one_of('month', names['German'])} {year}"
    yield f"{day} {_one_of('month', names['French'])} {year}"
    yield f"{day} de {_one_of('month', names['Spanish'])} de {year}"


def _one_of(name: str, words: list[str]) -> str:
    return f"(?P<{name}>{'|'.join(words)})"


_PATTERNS = [re.compile(pattern) for pattern in _patterns()]
_MONTH_NUMBERS = {
    written: number
    for language, months in MONTHS.items()
    for number, month in enumerate(months, start=1)
    for written in (month.lower(), *([month[:3].lower()] if language == "English" else []))
}
