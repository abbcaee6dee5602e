"""What a function asks of PyTorch: how many operations it starts, and how many multiplications its products hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Operations:
    """What `count_operations` counted.

    Attributes
    ----------
    started : int
        Operations, views included. Each costs some microseconds before it computes anything.
    multiplications : int
        Those of matrix products, inner products and weighted vectors; what fused kernels multiply is counted by
        their shapes. A softmax, a division and a mask multiply nothing.
    """

    started: int
    multiplications: int


def count_operations(function: Callable, *args: Any, **kwargs: Any) -> Operations:
    """Run a function and count what it asks of PyTorch.

    Parameters
    ----------
    function : callable
        What to run.
    *args, **kwargs
        Its arguments.

    Returns
    -------
    operations : Operations
        How many were started, and how many multiplications they did.
    """
    with _Counter() as counter:
        function(*args, **kwargs)
    return Operations(counter.started, counter.multiplications)


def loops_over_numbers(lifted: Callable) -> bool:
    """Say whether an attention starts more operations for a longer sequence: Python loops, which take minutes.

    Parameters
    ----------
    lifted : callable
        ``lifted(q, k, v)``; it is run on sequences of two and of four.

    Returns
    -------
    loops : bool
    """
    few, many = (count_operations(lifted, *(torch.zeros(T, 4) for _ in range(3))).started for T in (2, 4))
    return many > few


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.started = self.multiplications = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # PyTorch's default imports its compiler at the first operation, which takes over a second

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.started += 1
        self.multiplications += _multiplications(func.overloadpacket.__name__, args, result)
        return result


def _multiplications(name: str, args: tuple, result: Any) -> int:
    if name in ("mm", "bmm", "mv", "dot"):
        summed_over = args[0].shape[-1]
        return result.numel() * summed_over
    if name in ("addmm", "baddbmm"):
        return result.numel() * args[1].shape[-1]
    if name == "mul":
        return result.numel()
    if name.startswith("_scaled_dot_product") and "backward" not in name:
        q, k, v = (x for x in args[:3] if isinstance(x, Tensor))
        pairs = math.prod(q.shape[:-1]) * k.shape[-2]  # (B, H, T_q) x T_k
        return pairs * (q.shape[-1] + v.shape[-1])
    return 0
