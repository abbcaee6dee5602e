"""What a goal is: something that a function or a class of one's own is to compute, with the questions that ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.notes import Notes

#: How far from the right number counts as right: beside the largest number of its tensor, for the goals compute in
#: float64, and an implementation that computes tables in float32 on the way is right too.
TOLERANCE = 1e-5
#: In float32 itself.
TOLERANCE_IN_FLOAT32 = 1e-4


@dataclass(frozen=True)
class Question:
    """One question to a function or a class.

    Attributes
    ----------
    key : str
        Which one; `wording.goals` has its title.
    ask : callable
        Takes what is asked, and `Notes`: draws what goes in, makes the calls, and keeps what comes back. The same is
        done with the right one and with every known mistake.
    asks_for : tuple of str
        What it needs beside the least that the goal is: options of a function; methods, or arguments, of a class.
        Where one of them is not there, the question is not put.
    tolerance : float
        How far from the right numbers counts as right, beside the largest of its tensor.
    """

    key: str
    ask: Callable[[Any, Notes], None]
    asks_for: tuple[str, ...] = ()
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Goal:
    """Something that a function or a class of one's own is to compute: a public name of the package.

    Attributes
    ----------
    right : callable
        The package's own function or class.
    call : str
        How the least of it is called, as code.
    questions : tuple of Question
        What is asked.
    made_with : tuple
        Of a class: the arguments with which a first instance is made.
    called : str
        Its name, where that is not the one of ``right``.
    """

    right: Any
    call: str
    questions: tuple[Question, ...]
    made_with: tuple[Any, ...] = ()
    called: str = ""

    @property
    def name(self) -> str:
        """What `check` is asked for."""
        name: str = self.called or self.right.__name__
        return name

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return isinstance(self.right, type)

    @property
    def optional(self) -> tuple[str, ...]:
        """What is asked for only where it is there."""
        return tuple(dict.fromkeys(name for question in self.questions for name in question.asks_for))
