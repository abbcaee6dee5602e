"""How a process that ran a submission ended, as seen from outside."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum, auto

from attention_variants.classroom.contract.answer import Failure


class End(StrEnum):
    """The ways in which it can end."""

    BY_ITSELF = auto()
    OUT_OF_TIME = auto()
    WROTE_TOO_MUCH = auto()
    SIGNAL = auto()
    LOST = auto()


@dataclass(frozen=True)
class How:
    """How it ended.

    Attributes
    ----------
    end : End
        In which way.
    signal : int or None
        The number of the signal that ended it, if one did.
    """

    end: End
    signal: int | None = None

    @property
    def out_of_time(self) -> bool:
        """Whether it took too long, by our clock or by the processor's."""
        return self.end is End.OUT_OF_TIME

    def failure(self, seconds: float) -> Failure:
        """Say as data why there are no answers, if there are none; the function might have taken so many seconds."""
        if self.out_of_time:
            return Failure("time", seconds=seconds)
        if self.end is End.WROTE_TOO_MUCH:
            return Failure("wrote_too_much")
        if self.end in (End.SIGNAL, End.LOST):
            return Failure("stopped", more={"signal": self.signal if self.end is End.SIGNAL else None})
        return Failure("ended")

    @classmethod
    def by_signal(cls, number: int) -> How:
        """Say what a signal means: that of the processor's clock and that of the largest file are limits of ours."""
        if number == getattr(signal, "SIGXCPU", None):
            return cls(End.OUT_OF_TIME, number)
        if number == getattr(signal, "SIGXFSZ", None):
            return cls(End.WROTE_TOO_MUCH, number)
        return cls(End.SIGNAL, number)
