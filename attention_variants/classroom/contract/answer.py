"""What a function made of a problem: numbers, and what went wrong, as data and not in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Of any words that another process hands over so much is kept; of the name of a dtype or a function so much.
LONGEST_WORDS, LONGEST_NAME = 1000, 100
#: Of a line, of what was printed or of code, so much is shown; of what one call printed so many lines.
LONGEST_LINE, MOST_LINES = 200, 10
#: Of the tensors in a line of code so many are named, each with so many of its axes.
MOST_TENSORS, MOST_AXES = 8, 8

#: What the process that runs a submission may say of a failure by itself.
_SAID_THERE = ("raised", "time", "signature", "parameters")
#: Whose signature is another one: that of a variant, of a layer's class, of the layer, or of what a goal asks for.
_CALLED = ("variant", "class", "layer", "goal")
#: The numbers of an answer that are single arrays, and groups of arrays.
_ARRAYS, _GROUPS = ("context", "weights"), ("after", "again", "gradients")
#: A larger whole number comes from no computation here.
_LARGEST = 2**53


@dataclass(frozen=True)
class Remark:
    """What is said of a submission as a whole, as a code and its numbers; `wording.sentence` says it.

    Attributes
    ----------
    code : str
        What it is.
    numbers : mapping
        Plain values: numbers, names, what an error says.
    """

    code: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, or no gradient.

    Attributes
    ----------
    kind : str
        "raised", an exception; "signature", it cannot be called as its variant is; "parameters", its parameters have
        other names or shapes than they should; "time", it took too long; "ended",
        its process ended; "wrote_too_much", into a file; "stopped", its process was stopped; "not_loaded", there is no
        such function.
    exception : str
        The type of what was raised, by name.
    message : str or None
        What that says; None if it cannot be printed.
    seconds : float
        How long it might have taken, if it took longer.
    more : mapping
        Of "raised", ``where`` it arose in the student's code, if that is known: the ``line``, a number; the ``cell``
        of a notebook, or None; the ``source`` of that line, or None; and the ``shapes`` of the tensors in it, by name.
        Of "signature": ``of`` what, "variant", "class", "layer" or "goal"; ``variant``, its number; the right ``call``
        as code; and what there is, ``takes``. Of "stopped", the ``signal`` that did it, or None. Of "not_loaded", if
        nothing was raised: ``kind``, "function" or "class", and ``name`` of what was looked for; its ``type`` if it is
        something else; the ``others`` of that kind that there are; ``is_notebook``; and the ``stop``, where its code
        ended, or None.
    """

    kind: str
    exception: str = ""
    message: str | None = ""
    seconds: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_not_written(self) -> bool:
        """Whether it says only that nothing is written there yet."""
        return self.kind == "raised" and self.exception == "NotImplementedError"

    @property
    def numbers(self) -> dict[str, Any]:
        """What there is to say beside the kind."""
        return {"exception": self.exception, "message": self.message, "seconds": self.seconds, **self.more}

    def to_dict(self) -> dict[str, Any]:
        """The failure as JSON has it: one that the process which runs a submission may tell of."""
        numbers = {"exception": self.exception, "message": self.message, "seconds": self.seconds}
        return {"kind": self.kind, **numbers, "more": dict(self.more)}

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

        Raises
        ------
        ValueError
            If it is a failure of which that process cannot know, or what should be a number is none.
        """
        if said is None:
            return None
        kind, seconds = str(said["kind"]), float(said["seconds"])
        if kind not in _SAID_THERE or not math.isfinite(seconds):
            came = f"{kind[:LONGEST_NAME]!r} after {seconds} seconds"
            raise ValueError(f"a failure is one of {_SAID_THERE}, after a finite number of seconds; got {came}.")
        more = _read_more(kind, said.get("more") or {})
        return cls(kind, str(said["exception"])[:LONGEST_WORDS], words_or_none(said["message"]), seconds, more)


def _read_more(kind: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What a failure has beside its words, wherever it comes from."""
    if kind == "signature":
        if said["of"] not in _CALLED:
            raise ValueError(f"a signature is one of {_CALLED}; got {str(said['of'])[:LONGEST_NAME]!r}.")
        call, takes = (one_line(said[name]) for name in ("call", "takes"))
        return {"of": said["of"], "variant": _whole(said["variant"]), "call": call, "takes": takes}
    if kind == "parameters":
        return {name: [one_line(x) for x in said[name][:MOST_TENSORS]] for name in ("missing", "unknown", "shapes")}
    if kind != "raised" or "where" not in said:
        return {}
    where = said["where"]
    shapes = list(where["shapes"].items())[:MOST_TENSORS]
    return {
        "where": {
            "line": _whole(where["line"]),
            "cell": None if where["cell"] is None else _whole(where["cell"]),
            "source": None if where["source"] is None else one_line(where["source"]),
            "shapes": {one_line(name): tuple(_whole(n) for n in shape[:MOST_AXES]) for name, shape in shapes},
        }
    }


def _whole(x: Any) -> int:
    """A whole number that another process hands over."""
    if type(x) is not int or not abs(x) < _LARGEST:
        raise ValueError(f"a whole number was expected; got {str(x)[:LONGEST_NAME]}.")
    return x


def one_line(x: Any) -> str:
    """Make of a student's text a line that can be shown anywhere: without what is not printable, and cut.

    Parameters
    ----------
    x : object
        What it is a line of, as text.

    Returns
    -------
    line : str
        Of `LONGEST_LINE` characters at most; one that was cut ends in "...".
    """
    text = str(x)[: LONGEST_LINE + 1].expandtabs(4)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 4] + " ..."


@dataclass(frozen=True)
class Printed:
    """What was printed in one call.

    Attributes
    ----------
    lines : tuple of str
        The first lines, each cut.
    number : int
        How many lines there were.
    """

    lines: tuple[str, ...] = ()
    number: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether there were more lines than these."""
        return self.number > len(self.lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {"lines": list(self.lines), "number": self.number}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Printed:
        """Read what `to_dict` gave, wherever it comes from.

        Parameters
        ----------
        said : mapping

        Returns
        -------
        printed : Printed

        Raises
        ------
        ValueError
            If the number is none.
        """
        lines = tuple(map(one_line, said["lines"][:MOST_LINES]))
        return cls(lines, max(_whole(said["number"]), len(lines)))


def words_or_none(x: Any) -> str | None:
    """Words that another process hands over, cut; None stays None."""
    return None if x is None else str(x)[:LONGEST_WORDS]


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
        For context and weights: the dtype of a tensor, or what else it is by its type.
    sizes : dict
        For context and weights: how many numbers there are, if they are too many to be looked at.
    unreadable : dict
        For context and weights: what is raised when the numbers are read, if anything is.
    after : dict
        q, k, v and mask as the function left them.
    again : dict
        Context and weights of a second call, if there was one.
    gradients : dict
        Gradients of the context, "context.q" and so on, and of context and weights together, "both.q".
    no_gradient : Failure or None
        Why no gradient could be computed.
    printed : Printed
        What was printed in the first call.
    """

    error: Failure | None = None
    returned: str | None = None
    length: int | None = None
    context: np.ndarray | None = None
    weights: np.ndarray | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, Failure] = field(default_factory=dict)
    after: dict[str, np.ndarray] = field(default_factory=dict)
    again: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    no_gradient: Failure | None = None
    printed: Printed = Printed()

    def said(self) -> dict[str, Any]:
        """All but the numbers, as JSON has it."""
        failures = {"error": self.error, "no_gradient": self.no_gradient}
        return {
            **{name: None if failure is None else failure.to_dict() for name, failure in failures.items()},
            "returned": self.returned,
            "length": self.length,
            "kinds": self.kinds,
            "sizes": self.sizes,
            "unreadable": {name: failure.to_dict() for name, failure in self.unreadable.items()},
            "printed": self.printed.to_dict(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers, by keys."""
        alone = {name: getattr(self, name) for name in _ARRAYS}
        groups = {f"{group}/{name}": x for group in _GROUPS for name, x in getattr(self, group).items()}
        return {key: x for key, x in alone.items() if x is not None} | groups

    @classmethod
    def from_parts(cls, said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Answer:
        """Put together what `said` and `arrays` gave.

        Parameters
        ----------
        said : mapping
            From another process: nothing in it is believed to be shorter than it is read.
        arrays : mapping of str to array
            The numbers.

        Returns
        -------
        answer : Answer
        """
        return cls(
            error=Failure.from_dict(said["error"]),
            returned=None if said["returned"] is None else str(said["returned"])[:LONGEST_WORDS],
            length=None if said["length"] is None else int(said["length"]),
            kinds={str(name): str(kind)[:LONGEST_NAME] for name, kind in said["kinds"].items()},
            sizes={str(name): int(size) for name, size in said["sizes"].items()},
            unreadable={
                str(name): failure for name, x in said["unreadable"].items() if (failure := Failure.from_dict(x))
            },
            no_gradient=Failure.from_dict(said["no_gradient"]),
            printed=Printed.from_dict(said["printed"]),
            context=arrays.get("context"),
            weights=arrays.get("weights"),
            after=_group("after", arrays),
            again=_group("again", arrays),
            gradients=_group("gradients", arrays),
        )


def _group(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.partition("/")[2]: x for key, x in arrays.items() if key.startswith(f"{name}/")}


def is_dtype_unsupported(failure: Failure | None) -> bool:
    """Whether PyTorch lacks an operation in float16 on this device, which is not the function's fault.

    PyTorch has no type of error for this: its text is the only source.
    """
    return failure is not None and "not implemented for 'Half'" in (failure.message or "")


def is_written_into_after_use(failure: Failure | None) -> bool:
    """Whether autograd met a tensor that was changed in place after something was computed from it.

    PyTorch raises a plain RuntimeError for this: its text is the only source.
    """
    return failure is not None and "inplace operation" in (failure.message or "")
