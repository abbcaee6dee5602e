"""What a function made of a problem: numbers, and what went wrong, as data and not in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

#: Of any words that another process hands over so much is kept; of the name of a dtype or a function so much.
LONGEST_WORDS, LONGEST_NAME = 1000, 100


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, or no gradient.

    Attributes
    ----------
    kind : str
        "raised", an exception; "time", it took too long; "ended", its process ended; "wrote_too_much", into a file;
        "stopped", its process was stopped; "not_loaded", there is no such function.
    exception : str
        The type of what was raised, by name.
    message : str
        What that says; or what stopped the process; or what is there in place of the function.
    seconds : float
        How long it might have taken, if it took longer.
    """

    kind: str
    exception: str = ""
    message: str = ""
    seconds: float = 0.0

    @property
    def is_not_written(self) -> bool:
        """Whether it says only that nothing is written there yet."""
        return self.kind == "raised" and self.exception == "NotImplementedError"

    @property
    def numbers(self) -> dict[str, Any]:
        """What there is to say beside the kind."""
        return {"exception": self.exception, "message": self.message, "seconds": self.seconds}

    def to_dict(self) -> dict[str, Any]:
        """The failure as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any] | None) -> Failure | None:
        """Read what `to_dict` gave, wherever it comes from: nothing in it may be longer than is read.

        Parameters
        ----------
        said : mapping or None
            None stays None.

        Returns
        -------
        failure : Failure or None
        """
        if said is None:
            return None
        kind, exception, message = (str(said[name])[:LONGEST_WORDS] for name in ("kind", "exception", "message"))
        return cls(kind, exception, message, float(said["seconds"]))


@dataclass
class Answer:
    """What a function made of one problem.

    Attributes
    ----------
    error : Failure or None
        Why there is nothing.
    returned : str or None
        What came in place of a pair, by its type.
    length : int or None
        Of how many things, if it was a tuple or a list.
    context, weights : array or None
        The numbers, in float64.
    kinds : dict
        For context and weights: the dtype of a tensor, or what else it is.
    after : dict
        q, k, v and mask as the function left them.
    again : dict
        Context and weights of a second call, if there was one.
    gradients : dict
        Gradients of the context, "context.q" and so on, and of context and weights together, "both.q".
    no_gradient : Failure or None
        Why no gradient could be computed.
    """

    error: Failure | None = None
    returned: str | None = None
    length: int | None = None
    context: np.ndarray | None = None
    weights: np.ndarray | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    after: dict[str, np.ndarray] = field(default_factory=dict)
    again: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    no_gradient: Failure | None = None

    def said(self) -> dict[str, Any]:
        """All but the numbers, as JSON has it."""
        failures = {"error": self.error, "no_gradient": self.no_gradient}
        return {
            **{name: None if failure is None else failure.to_dict() for name, failure in failures.items()},
            "returned": self.returned,
            "length": self.length,
            "kinds": self.kinds,
        }

    @classmethod
    def from_said(cls, said: Mapping[str, Any], **numbers: Any) -> Answer:
        """Put together what `said` gave and the numbers.

        Parameters
        ----------
        said : mapping
            From another process: nothing in it is believed to be shorter than it is read.
        **numbers : array or dict of arrays
            The other attributes.

        Returns
        -------
        answer : Answer
        """
        return cls(
            error=Failure.from_dict(said["error"]),
            returned=None if said["returned"] is None else str(said["returned"])[:LONGEST_WORDS],
            length=None if said["length"] is None else int(said["length"]),
            kinds={str(name): str(kind)[:LONGEST_NAME] for name, kind in said["kinds"].items()},
            no_gradient=Failure.from_dict(said["no_gradient"]),
            **numbers,
        )


def is_dtype_unsupported(failure: Failure | None) -> bool:
    """Whether PyTorch lacks an operation in float16 on this device, which is not the function's fault.

    PyTorch has no type of error for this: its text is the only source.
    """
    return failure is not None and "not implemented for 'Half'" in failure.message


def is_written_into_after_use(failure: Failure | None) -> bool:
    """Whether autograd met a tensor that was changed in place after something was computed from it.

    PyTorch raises a plain RuntimeError for this: its text is the only source.
    """
    return failure is not None and "inplace operation" in failure.message
