"""The processes that run submissions, seen from here: have a job done, and hear how its process ended."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from .ends import End, How
from .job import ANSWERED
from .limits import GRACE_OF_SERVER, LONGEST_REPLY

#: The folder from which the package is imported, for the processes that are started.
HOME = Path(__file__).parents[3]


def do(folder: Path, seconds: float, draws: bool) -> How:
    """Have the job in a folder done in another process.

    Parameters
    ----------
    folder : Path
        Of the job.
    seconds : float
        When it is ended from outside.
    draws : bool
        Whether it looks as if it needs matplotlib, which is then loaded once for all jobs.

    Returns
    -------
    how : How
        How the process ended.
    """
    if sys.platform == "linux":
        return _FORK_SERVER.do(folder, seconds, draws)
    process = start("child", str(folder))
    try:
        process.communicate(timeout=seconds + GRACE_OF_SERVER)
        return How(End.BY_ITSELF)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return How(End.OUT_OF_TIME)


def start(module: str, *arguments: str) -> subprocess.Popen:
    """Start a module of `sandbox` as a process.

    Parameters
    ----------
    module : str
        Its name.
    *arguments : str
        For its command line.

    Returns
    -------
    process : subprocess.Popen
        With pipes for its standard input and output.
    """
    environment = environment_of_ours()
    environment["MPLBACKEND"] = "Agg"  # a figure opens no window
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        environment.pop(display, None)
    return subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.{module}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def environment_of_ours() -> dict[str, str]:
    """Make the environment of a process that is to import what this one can import.

    Returns
    -------
    environment : dict
    """
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), *filter(None, sys.path)])}


def end(process: subprocess.Popen) -> None:
    """End a process, and close the pipes to it.

    Parameters
    ----------
    process : subprocess.Popen
        It may have ended already.
    """
    with contextlib.suppress(OSError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


class ForkServer:
    """The process of `fork_server`; started when first needed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None
        self.lock = threading.Lock()

    def do(self, folder: Path, seconds: float, draws: bool) -> How:
        """Have a job done; once more, if the server is lost: an earlier job may have left something that ends it."""
        with self.lock:
            how = self._do(folder, seconds, draws)
            if how.end is End.LOST:
                (folder / ANSWERED).unlink(missing_ok=True)
                how = self._do(folder, seconds, draws)
            return how

    def _do(self, folder: Path, seconds: float, draws: bool) -> How:
        if self.process is None or self.process.poll() is not None:
            self.stop()
            self.process = start("fork_server")
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write((json.dumps([str(folder), seconds, draws]) + "\n").encode())
            process.stdin.flush()
            # A job that kills the server, or halts it, or writes rubbish to it, must not hold us up.
            return read_reply(process.stdout.fileno(), str(folder), seconds + GRACE_OF_SERVER)
        except (OSError, ValueError, TypeError) as error:
            self.stop()
            return How(End.OUT_OF_TIME if isinstance(error, TimeoutError) else End.LOST)

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            end(self.process)
            self.process = None


def read_reply(pipe: int, folder: str, seconds: float) -> How:
    """Read what the fork server says of a job; a reply that names another one is passed over.

    Parameters
    ----------
    pipe : int
        The descriptor of its standard output.
    folder : str
        Of the job.
    seconds : float
        How long it is waited for.

    Returns
    -------
    how : How
        How the job ended.

    Raises
    ------
    TimeoutError
        If nothing comes in this time.
    OSError, ValueError, TypeError
        If the server is gone, or what comes cannot be its words.
    """
    end, read = time.monotonic() + seconds, b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError
        more = os.read(pipe, LONGEST_REPLY)
        if not more:
            raise OSError("the fork server is gone")
        *lines, read = (read + more).split(b"\n")
        for line in lines:
            of, how, number = json.loads(line)
            if of == folder:
                return How(End(how), None if number is None else int(number))
        if len(read) > LONGEST_REPLY:
            raise OSError("the fork server does not write that")


_FORK_SERVER = ForkServer()
atexit.register(_FORK_SERVER.stop)
