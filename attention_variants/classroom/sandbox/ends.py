"""How a process that ran a submission ended, as seen from outside."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum


class End(StrEnum):
    """The ways in which it can end."""

    BY_ITSELF = "by itself"
    OUT_OF_TIME = "out of time"
    WROTE_TOO_MUCH = "wrote too much"
    SIGNAL = "signal"
    LOST = "lost"


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

    @classmethod
    def by_signal(cls, number: int) -> How:
        """Say what a signal means: that of the processor's clock and that of the largest file are limits of ours."""
        if number == getattr(signal, "SIGXCPU", None):
            return cls(End.OUT_OF_TIME, number)
        if number == getattr(signal, "SIGXFSZ", None):
            return cls(End.WROTE_TOO_MUCH, number)
        return cls(End.SIGNAL, number)
