"""A task whose attention can be checked by eye: dates as people write them, into ISO 8601, character by character.

``"Mar 12th, '98"`` becomes ``"1998-03-12"``. Most characters of the answer stand somewhere in the question, so one can
see whether a head looks at the right place; the month must be understood.

Some ways to write a date are ambiguous. The rules here are these, and the data follows them throughout:

- In numbers alone, a year of four digits may come first (1998/3/12: year, month, day). Otherwise the day comes first:
  03/04/1998 is the 3rd of April.
- A year of two digits lies between 1930 and 2029: '30 is 1930, '29 is 2029. So do all dates.
- Upper and lower case are the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Split = Literal["train", "test"]

FIRST, LAST = date(1930, 1, 1), date(2029, 12, 31)
#: The token numbers that are not characters: padding, and what begins and ends an answer.
PAD, START, END = 0, 1, 2
#: What a question may be written with, in lower case; the token number of a character is its place here, from 1.
SOURCE_CHARACTERS = " ',-./0123456789abcdefghijklmnopqrstuvwxyzäéû"
#: What an answer is written with; token numbers from 3.
TARGET_CHARACTERS = "-0123456789"
#: How a token of an answer is shown, by its number: "▷" begins, "⏎" ends, "·" is padding.
TARGET_TOKENS = ["·", "▷", "⏎", *TARGET_CHARACTERS]
#: The longest question, in characters.
MAX_SOURCE = 40
#: The length of an answer with its end.
MAX_TARGET = len("1998-03-12") + 1

#: The names of the months, from January on.
MONTHS = {
    "English": "January February March April May June July August September October November December".split(),
    "German": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
    "French": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
    "Spanish": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split(),
}
#: The English names of the weekdays, from Monday on, as ``date.weekday()`` counts.
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def ordinal(day: int) -> str:
    """Write a day as an English ordinal number: 1st, 2nd, 3rd, 4th."""
    return f"{day}{'th' if 11 <= day <= 13 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


def _english(
    day: date, rng: random.Random, *, order: str = "either", weekday: bool = False, short: bool = False
) -> str:
    """Day and month in either order, long or short, with "st", "of" and commas or without: the writer's choice."""
    month = MONTHS["English"][day.month - 1]
    month = rng.choice((month, month[:3]))
    number = rng.choice((str(day.day), ordinal(day.day)))
    day_first = order == "day first" or (order == "either" and rng.random() < 0.5)
    both = f"{number}{rng.choice((' ', ' of '))}{month}" if day_first else f"{month} {number}"
    year = f"{rng.choice((chr(39), ''))}{day.year % 100:02}" if short else str(day.year)
    name = WEEKDAYS[day.weekday()]
    before = f"{rng.choice((name, name[:3]))}{rng.choice((' ', ', '))}" if weekday else ""
    return f"{before}{both}{rng.choice((' ', ', '))}{year}"


def _numbers(day: date, rng: random.Random, *, order: str = "day first", short: bool = False) -> str:
    """Numbers alone, parted by a sign, with leading zeros or without: the writer's choice."""
    width = rng.choice(("", "02"))
    year = f"{day.year % 100:02}" if short else str(day.year)
    parts = [format(day.day, width), format(day.month, width), year]
    return rng.choice("/.-").join(parts if order == "day first" else parts[::-1])


def _foreign(day: date, months: Sequence[str], after_day: str, before_year: str = " ") -> str:
    return f"{day.day}{after_day}{months[day.month - 1]}{before_year}{day.year}"


#: The ways to write a date, each named by an example: functions of the date and of a source of chance, for the details.
FORMATS: dict[str, Callable[[date, random.Random], str]] = {
    "12 March 1998": lambda day, rng: _english(day, rng, order="day first"),
    "March 12, 1998": lambda day, rng: _english(day, rng, order="month first"),
    "Thu, 12 March 1998": lambda day, rng: _english(day, rng, weekday=True),
    "Mar 12th, '98": lambda day, rng: _english(day, rng, short=True),
    "12/03/1998": lambda day, rng: _numbers(day, rng),
    "12.3.98": lambda day, rng: _numbers(day, rng, short=True),
    "1998-03-12": lambda day, rng: _numbers(day, rng, order="year first"),
    "12. März 1998": lambda day, rng: _foreign(day, MONTHS["German"], ". "),
    "12 mars 1998": lambda day, rng: _foreign(day, MONTHS["French"], " "),
    "12 de marzo de 1998": lambda day, rng: _foreign(day, MONTHS["Spanish"], " de ", " de "),
}


def dates(split: Split) -> list[date]:
    """List the dates of one half of the data: no date is in both.

    Parameters
    ----------
    split : {"train", "test"}
        One date in ten, drawn by chance from all between 1930 and 2029, is kept for the test.

    Returns
    -------
    dates : list of date
        Always the same, in the same order.

    Raises
    ------
    ValueError
        If ``split`` is another word.
    """
    if split not in ("train", "test"):
        raise ValueError(f'dates: split must be "train" or "test"; got {split!r}.')
    days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    random.Random(0).shuffle(days)
    count = len(days) // 10
    return days[:count] if split == "test" else days[count:]


def date_batch(
    days: Sequence[date], size: int, *, seed: int | str
) -> tuple[Int[Tensor, "size T_s"], Int[Tensor, "size T_t"]]:
    """Draw dates, write each in a way of its own, and make tensors of them.

    Before some of the questions stand spaces, up to six. So the model meets digits at every position, not just where
    most dates have them, and reads the longest as well.

    Parameters
    ----------
    days : sequence of date
        What to draw from, such as ``dates("train")``.
    size : int
        How many pairs.
    seed : int or str
        The same seed gives the same batch.

    Returns
    -------
    source, target : integer Tensor of shape (size, T_s) and (size, 12)
        Questions, padded to the longest; answers between ``START`` and ``END``.
    """
    rng = random.Random(seed)
    writers = list(FORMATS.values())
    drawn = rng.choices(days, k=size)
    texts = [rng.choice((0, 0, 1, 2, 3, 4, 5, 6)) * " " + rng.choice(writers)(day, rng) for day in drawn]
    return _source([text.lower() for text in texts]), encode_target(drawn)


def date_test_set(count: int = 300) -> dict[str, list[tuple[str, str]]]:
    """Write ``count`` dates of the test half in every way there is.

    Parameters
    ----------
    count : int, default 300
        How many dates.

    Returns
    -------
    pairs : dict of str to list of (question, answer)
        By the name of the format; always the same.

    Raises
    ------
    ValueError
        If there are not so many, or less than one is asked for.
    """
    rng, days = random.Random("test"), dates("test")
    if not 1 <= count <= len(days):
        raise ValueError(f"date_test_set: count must be 1 to {len(days)}; got {count}.")
    days = days[:count]
    return {name: [(write(day, rng), day.isoformat()) for day in days] for name, write in FORMATS.items()}


def fold(text: str) -> str:
    """Leave out what makes no difference: spaces around the date, and upper case."""
    return text.strip().lower()


def encode_source(texts: Sequence[str]) -> Int[Tensor, "B T_s"]:
    """Make token numbers of questions.

    Parameters
    ----------
    texts : sequence of str
        Dates as people write them.

    Returns
    -------
    source : integer Tensor of shape (B, T_s)
        Padded with 0 to the longest.

    Raises
    ------
    ValueError
        If a text is empty, longer than ``MAX_SOURCE``, or has a character that the model does not know.
    """
    questions = [fold(text) for text in texts]
    for text, folded in zip(texts, questions, strict=True):
        if not folded:
            raise ValueError(f"a date must have at least one character; got {text!r}.")
        if len(folded) > MAX_SOURCE:
            raise ValueError(f"a date must have at most {MAX_SOURCE} characters; got {len(folded)}: {text!r}.")
        for character in folded:
            if character not in SOURCE_CHARACTERS:
                raise ValueError(
                    f"the model does not know the character {character!r} in {text!r}; "
                    f"it knows {SOURCE_CHARACTERS.strip()} and the space."
                )
    return _source(questions)


def _source(texts: Sequence[str]) -> Int[Tensor, "B T_s"]:
    rows = [torch.tensor([SOURCE_CHARACTERS.index(character) + 1 for character in text]) for text in texts]
    return pad_sequence(rows, batch_first=True)


def encode_target(days: Sequence[date]) -> Int[Tensor, "B T_t"]:
    """Make token numbers of answers: ``START``, ten characters, ``END``."""
    return torch.tensor(
        [[START, *(TARGET_CHARACTERS.index(character) + 3 for character in day.isoformat()), END] for day in days]
    )


def decode_target(tokens: Int[Tensor, "B T_t"]) -> list[str]:
    """Read token numbers as text, up to ``END``; START and padding are left out."""
    texts = []
    for row in tokens.tolist():
        row = row[: row.index(END)] if END in row else row
        texts.append("".join(TARGET_CHARACTERS[token - 3] for token in row if token > END))
    return texts
