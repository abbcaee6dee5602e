"""Why a contender takes no part in a race, or is not timed there: a code, and the sentence that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any


class Why(StrEnum):
    """What kept a contender from being timed."""

    NOT_INSTALLED = auto()
    GIVES_NO_WEIGHTS = auto()
    ALWAYS_CAUSAL = auto()
    OUTSIDE_THE_FAST_PATH = auto()
    NOT_EQUAL = auto()
    NOT_EQUAL_COMPILED = auto()
    RAISED = auto()
    STORES_EVERY_SCORE = auto()
    NOT_COMPILED = auto()
    LOOPS_OVER_NUMBERS = auto()
    LOOPS_OVER_QUERIES = auto()
    LOOPS_OUTSIDE = auto()
    TAKES_TOO_LONG = auto()


#: Those that the workload does not explain: something is missing or wrong, and a reader should see it at once.
FAILURES = frozenset({Why.NOT_INSTALLED, Why.NOT_EQUAL, Why.NOT_EQUAL_COMPILED, Why.RAISED})

#: The sentences; the names in braces are those of ``Reason.details``.
_SENTENCES: dict[Why, str] = {
    Why.NOT_INSTALLED: "not installed ({error}): pip install {install}",
    Why.GIVES_NO_WEIGHTS: "gives no weights of its heads",
    Why.ALWAYS_CAUSAL: "is always causal",
    Why.OUTSIDE_THE_FAST_PATH: "its fast path is for self-attention without gradients, and an even number of heads",
    Why.NOT_EQUAL: "not equal: not timed",
    Why.NOT_EQUAL_COMPILED: "not equal when compiled: not timed",
    Why.RAISED: "{error}: {message}",
    Why.STORES_EVERY_SCORE: "stores every score; see the workloads with weights, and the smaller ones",
    Why.NOT_COMPILED: "is not compiled here",
    Why.LOOPS_OVER_NUMBERS: "minutes a call; see how it grows",
    Why.LOOPS_OVER_QUERIES: "one call for each query; see how it grows",
    Why.LOOPS_OUTSIDE: "Python loops around it; see how it grows",
    Why.TAKES_TOO_LONG: "would take about {seconds} s",
}


@dataclass(frozen=True)
class Reason:
    """Why a contender was not timed; ``str`` makes a sentence of it.

    Attributes
    ----------
    code : Why
        What it is.
    details : mapping of str to str
        What only this run knows: "error" and "install" if something is not installed, "error" and "message" if
        something was raised; "seconds" if it would take too long; else nothing.
    """

    code: Why
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def raised(cls, error: Exception) -> Reason:
        """Make a reason of an exception, of whose message the first line is kept."""
        return cls(Why.RAISED, {"error": type(error).__name__, "message": (str(error).splitlines() or [""])[0]})

    @property
    def is_failure(self) -> bool:
        """Whether something is missing or wrong, whatever the workload."""
        return self.code in FAILURES

    def __str__(self) -> str:
        return _SENTENCES[self.code].format(**self.details)

    def to_dict(self) -> dict[str, Any]:
        """Code, details and the sentence, fit for JSON."""
        return {"code": self.code.value, "details": dict(self.details), "sentence": str(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reason:
        """Read what `to_dict` wrote; the sentence is made anew."""
        return cls(Why(data["code"]), data["details"])
