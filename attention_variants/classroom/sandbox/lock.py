"""What is closed to a student's code: in the process that runs it, the modules that know the answers cannot be had.

`OPEN` lists what may be imported of the classroom, and everything else is closed, so that a new module is closed until
somebody opens it. A closed module is not an error: in its place stands one that has every name, and whose every name
does nothing, for a notebook that calls ``check`` or ``grade`` in its cells is not to lose its points for that.

This closes the way through ``import``. The files themselves can be read, as on the student's own machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: The package whose modules are closed, but for those in `OPEN` and for `sandbox`, which runs the code.
CLASSROOM = __name__.rpartition(".sandbox")[0]
#: What the other process needs: the questions, and the form of an answer.
OPEN = frozenset(
    {
        *("", ".contract", ".contract.problems", ".contract.answer", ".contract.noted", ".sandbox"),
        *(".goals", ".goals.goal", ".goals.cache", ".goals.decoding", ".goals.kernel", ".goals.language_model"),
        *(".goals.latent", ".goals.linear", ".goals.masks", ".goals.rotary", ".goals.sampling", ".goals.shared_keys"),
        ".goals.transformer",
    }
)


def is_closed(module: str) -> bool:
    """Say whether student code is kept from a module.

    Parameters
    ----------
    module : str
        Its name, as in ``import``.

    Returns
    -------
    is_closed : bool
    """
    if module != CLASSROOM and not module.startswith(f"{CLASSROOM}."):
        return False
    inside = module[len(CLASSROOM) :]
    return inside not in OPEN and not inside.startswith(".sandbox.")


def lock() -> list[str]:
    """Close, in this process and for good, all that knows an answer.

    Returns
    -------
    loaded : list of str
        Closed modules that had been loaded. In the process that runs student code there must be none: what is loaded
        can be found in memory.
    """
    loaded = [name for name in sys.modules if is_closed(name)]
    for name in loaded:
        del sys.modules[name]
    sys.meta_path.insert(0, _Closed())
    return loaded


class _Closed(MetaPathFinder, Loader):
    """Finds something harmless wherever a closed module is asked for."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """Find a closed module, and leave all others to the finders after this one."""
        return ModuleSpec(name, self, is_package=True) if is_closed(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make what stands in its place."""
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing: there is no code in it."""


class _HasEveryName(type):
    """The class of `Nothing`, which answers for it where the class itself is used: ``MISCONCEPTIONS["no_scale"]``."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, key: Any) -> Any:
        return cls

    def __iter__(cls) -> Iterator[Any]:
        return iter(())

    def __len__(cls) -> int:
        return 0


class StandIn(ModuleType):
    """Stands for a closed module: whatever a student's cell takes from it is `Nothing`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class Nothing(metaclass=_HasEveryName):
    """What a student's own call of ``check`` or ``grade`` gives here: this process does not judge."""

    passed, score, misconceptions, looks_like, failed = True, 1.0, (), None, None

    def __init__(self, *things: Any, **options: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing

    def __call__(self, *things: Any, **options: Any) -> Any:
        """Give nothing."""
        return self

    def __str__(self) -> str:
        return "not judged here"

    def __float__(self) -> float:
        return 0.0
