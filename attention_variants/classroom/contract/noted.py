"""What came of one question about a goal: every value under its name, copied when it came, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .answer import LONGEST_NAME, Failure, Printed

#: What the names of values begin with that were not handed back: an input as the call left it, and a gradient.
AFTER, GRADIENT = "after/", "gradient/"


@dataclass
class Noted:
    """What a function or a class made of one question.

    Attributes
    ----------
    error : Failure or None
        Why it did not come to its end.
    calls : list of str
        The calls that were made, as code, with the shapes of what went in; the last one failed, if there is an error.
    values : dict
        The numbers, in float64, by name, in the order in which they came.
    kinds : dict
        By name: the dtype of a tensor, or what else it is by its type.
    after_call : dict
        By name: how many calls had been made when it came.
    printed : Printed
        What was printed.
    """

    error: Failure | None = None
    calls: list[str] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    after_call: dict[str, int] = field(default_factory=dict)
    printed: Printed = field(default_factory=Printed)

    def said(self) -> dict[str, Any]:
        """All but the numbers, as JSON has it; the calls are known to who asked."""
        return {
            "error": None if self.error is None else self.error.to_dict(),
            "kinds": self.kinds,
            "after_call": self.after_call,
            "number_of_calls": len(self.calls),
            "printed": self.printed.to_dict(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers, by keys."""
        return {f"values/{name}": x for name, x in self.values.items()}

    @classmethod
    def from_parts(cls, said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Noted:
        """Put together what `said` and `arrays` gave, wherever it comes from.

        Parameters
        ----------
        said : mapping
            From another process: nothing in it is believed to be shorter than it is read.
        arrays : mapping
            The numbers.

        Returns
        -------
        noted : Noted
        """
        start = "values/"
        return cls(
            error=Failure.from_dict(said["error"]),
            calls=[""] * min(int(said["number_of_calls"]), LONGEST_NAME),
            values={key[len(start) :]: x for key, x in arrays.items() if key.startswith(start)},
            kinds={str(name)[:LONGEST_NAME]: str(kind)[:LONGEST_NAME] for name, kind in said["kinds"].items()},
            after_call={str(name)[:LONGEST_NAME]: int(number) for name, number in said["after_call"].items()},
            printed=Printed.from_dict(said["printed"]),
        )
