"""Leave the process as it was: put back what code that ran in it may have changed."""

from __future__ import annotations

import builtins
import contextlib
import io
import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from attention_variants.classroom.contract.answer import MOST_LINES, Printed, one_line

from .limits import MOST_PRINTED


class Output(io.TextIOBase):
    """Takes what is printed: counts all of it, and keeps the beginning of what was printed since `begin`.

    Attributes
    ----------
    count : int
        How many characters were printed.
    """

    def __init__(self) -> None:
        self.count = 0
        self.begin()

    def begin(self) -> None:
        """Forget what was printed so far, but for the count."""
        self._text, self._ends, self._is_open = "", 0, False

    def printed(self) -> Printed:
        """Give what was printed since `begin`: the first lines, and how many there are."""
        number = self._ends + self._is_open
        return Printed(tuple(map(one_line, self._text.split("\n")[: min(number, MOST_LINES)])), number)

    def writable(self) -> bool:
        """It is written to."""
        return True

    def write(self, text: str) -> int:
        """Take a piece of text."""
        self.count += len(text)
        self._ends += text.count("\n")
        self._is_open = not text.endswith("\n") if text else self._is_open
        self._text += text[: MOST_PRINTED - len(self._text)]
        return len(text)


@contextlib.contextmanager
def unharmed() -> Iterator[Output]:
    """Put back what a function may have changed: random states, defaults, modes, limits, and names in modules.

    What is printed in the block does not appear, and what is random there is so in the same way each time.

    Yields
    ------
    output : Output
        What was printed.
    """
    restores = [_names(), _settings_of_torch(), _settings_of_python(), _random_states()]
    output = Output()
    try:
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            torch.default_generator.manual_seed(0)
            torch.set_num_threads(1)  # the tensors are tiny: handing them to more threads costs more than it saves
            yield output
    finally:
        for restore in restores:
            restore()


def _random_states() -> Callable[[], None]:
    numpy_state, python_state, torch_state = np.random.get_state(), random.getstate(), torch.get_rng_state()  # noqa: NPY002

    def restore() -> None:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)

    return restore


def _settings_of_torch() -> Callable[[], None]:
    dtype, grad, threads = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    device = torch.get_default_device()
    deterministic = torch.are_deterministic_algorithms_enabled()
    errors = np.geterr()

    def restore() -> None:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled() != deterministic:
            torch.use_deterministic_algorithms(deterministic)
        np.seterr(**errors)

    return restore


def _settings_of_python() -> Callable[[], None]:
    trace, profile, recursion = sys.gettrace(), sys.getprofile(), sys.getrecursionlimit()
    folder, environment, argv, path = Path.cwd(), dict(os.environ), list(sys.argv), list(sys.path)

    def restore() -> None:
        if sys.gettrace() is not trace:
            sys.settrace(trace)
        if sys.getprofile() is not profile:
            sys.setprofile(profile)
        sys.setrecursionlimit(recursion)
        sys.argv[:], sys.path[:] = argv, path
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)
        if Path.cwd() != folder:
            os.chdir(folder)

    return restore


def _names() -> Callable[[], None]:
    """Keep the names in the modules on which the judging, or a later check, leans."""
    places: list[Any] = [builtins, math, np, np.linalg, torch, torch._C, F, torch.autograd, Tensor, torch.nn.Module]
    ours = __name__.partition(".")[0]
    places += [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == ours]
    before = [(place, dict(vars(place))) for place in places if place is not None]

    def restore() -> None:
        for place, names in before:
            _put_back(place, names)

    return restore


def _put_back(place: Any, before: dict[str, Any]) -> None:
    now, of_a_class = vars(place), isinstance(place, type)
    if of_a_class:  # a new name in a class hides the one it inherits
        for name in now.keys() - before.keys():
            type.__delattr__(place, name)
    for name, value in before.items():
        if name not in now or now[name] is not value:
            with contextlib.suppress(AttributeError, TypeError):
                type.__setattr__(place, name, value) if of_a_class else setattr(place, name, value)
