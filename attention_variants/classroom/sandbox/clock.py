"""A clock that stops code which takes too long, in the same process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from .limits import RING_AGAIN


class TimeIsUp(BaseException):
    """The code took longer than it may; not an Exception, so that ``except Exception`` does not swallow it."""


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUp` in the block after so many seconds, where the system can: in the main thread on Unix.

    Parameters
    ----------
    seconds : float
        How long the block may take.
    """
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not able:
        yield
        return

    def ring(*_: Any) -> None:
        raise TimeIsUp

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, RING_AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
