"""What there is to judge by, the answers of one function, and what was found wrong with them: codes and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .answer import Answer
from .problems import Exam, Problem
from .reference import same_in_two_calls

#: Of a row, so many numbers are kept: one more than is ever shown.
KEPT = 9
#: The part in which each answer is compared with the right one: a function that keeps it is right.
SAME_ANSWER = "same_answer"


@dataclass(frozen=True)
class Breach:
    """What was found, as a code and its numbers; `wording` makes sentences of it.

    Attributes
    ----------
    code : str
        What it is.
    numbers : mapping
        Plain values: numbers, names, shapes, the first numbers of rows.
    """

    code: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One guarantee of the contract that was not kept, as data; `wording.lines` makes sentences of it.

    Attributes
    ----------
    code : str
        What was found.
    part : str
        The part of the contract.
    guarantee : str
        What should have been kept.
    problem : Problem
        The smallest problem that shows it.
    numbers : mapping
        What was found there, in plain values: shapes, the first numbers of rows, sums, names, places.
    """

    code: str
    part: str
    guarantee: str
    problem: Problem
    numbers: Mapping[str, Any] = field(default_factory=dict)


class Missing(Exception):  # noqa: N818 (no error of ours: it carries what was found in place of numbers)
    """There is no answer to look at; the breach says what came."""

    def __init__(self, code: str, **numbers: Any) -> None:
        super().__init__(code)
        self.breach = Breach(code, numbers)


@dataclass
class Evidence:
    """The answers of one function.

    Attributes
    ----------
    exam : Exam
        What was asked.
    answers : dict
        Key of a problem to the answer.
    """

    exam: Exam
    answers: dict[str, Answer]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was asked, the smallest first."""
        return self.exam.problems

    def answer(self, s: Problem) -> Answer:
        """What was answered."""
        return self.answers[s.key]

    def pair(self, s: Problem) -> tuple[np.ndarray, np.ndarray | None]:
        """Context and weights of the right shape, or `Missing`."""
        answer = self.answers[s.key]
        if answer.error is not None:
            raise Missing(answer.error.kind, **answer.error.numbers)
        if answer.returned is not None:
            raise Missing("no_pair", type=answer.returned, length=answer.length)
        if s.asks_for_weights:
            _of_shape("weights", answer, s.weights_shape, other=answer.context)
            _of_shape("context", answer, s.context_shape)
        else:
            _of_shape("context", answer, s.context_shape)
            if answer.kinds["weights"] != "None":
                raise Missing("weights_not_asked_for", kind=answer.kinds["weights"])
        assert answer.context is not None
        return answer.context, answer.weights

    def full(self, s: Problem) -> tuple[np.ndarray, np.ndarray]:
        """As `pair`, of a problem that asks for weights."""
        context, weights = self.pair(s)
        assert weights is not None
        return context, weights

    def failed(self, s: Problem) -> bool:
        """Whether no pair of the right shapes came."""
        try:
            self.pair(s)
        except Missing:
            return True
        return False

    def masked(self) -> list[Problem]:
        """The problems with a mask and ordinary scores."""
        return [s for s in self.problems if s.is_masked]

    @cached_property
    def random(self) -> bool:
        """Whether the answers differ from call to call: then they are judged only where there were two calls."""
        return any(unequal(self.answers[s.key]) for s in self.problems if s.twice)

    def __getitem__(self, key: str) -> Problem:
        return self.exam[key]


def unequal(answer: Answer) -> set[str]:
    """Which of context and weights differ from call to call."""
    return {name for name, again in answer.again.items() if not same_in_two_calls(getattr(answer, name), again)}


def _of_shape(name: str, answer: Answer, shape: tuple[int, ...], other: np.ndarray | None = None) -> None:
    x, kind = getattr(answer, name), answer.kinds[name]
    if name in answer.sizes:
        raise Missing("no_tensor_too_large", name=name, count=answer.sizes[name], expected=shape)
    if name in answer.unreadable:
        raise Missing("no_tensor_unreadable", name=name, kind=kind, expected=shape, **answer.unreadable[name].numbers)
    if x is None:
        raise Missing("no_tensor", name=name, kind=kind, expected=shape)
    if x.shape != shape:
        swapped = other is not None and other.shape == shape and other.shape != x.shape
        raise Missing("other_shape", name=name, found=x.shape, expected=shape, swapped=swapped)


def row(x: np.ndarray) -> tuple[float, ...]:
    """The first numbers of a row, as plain values."""
    return tuple(float(number) for number in x[:KEPT])


def first_row(wrong: np.ndarray) -> tuple[int, ...]:
    """The place of the first row in which anything is wrong."""
    return tuple(int(i) for i in np.argwhere(wrong)[0][:-1])
