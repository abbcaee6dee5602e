"""Peak memory of a call, counted in tensors: the same number on every machine."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(function: Callable, *args: Any, **kwargs: Any) -> int:
    """Count the most bytes that tensors hold at once while a function runs, beyond its inputs.

    Every tensor that an operation makes is counted from its birth until nothing refers to it any more;
    a view shares the memory of its base and counts once. What a kernel allocates and frees inside one
    operation is not seen.

    Parameters
    ----------
    function : callable
        What to run.
    *args, **kwargs
        Its arguments; tensors among them are not counted.

    Returns
    -------
    peak : int
        Bytes.
    """
    with _LiveBytes(tree_leaves((args, kwargs))) as counter:
        result = function(*args, **kwargs)
    del result  # kept alive until here: what a call returns belongs to its memory
    return counter.peak


class _LiveBytes(TorchDispatchMode):
    """Watch each operation's outputs, and when their storages are freed."""

    def __init__(self, inputs: list[Any]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known = weakref.WeakSet(x.untyped_storage() for x in inputs if isinstance(x, Tensor))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # PyTorch's default imports its compiler at the first operation, which takes over a second

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for x in tree_leaves(outputs):
            if isinstance(x, Tensor):
                self._count(x.untyped_storage())
        return outputs

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.live -= size
