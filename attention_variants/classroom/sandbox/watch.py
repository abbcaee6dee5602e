"""Which operations run while a function is called? A torch function mode and a dispatch mode count them.

The first sees the calls as they are written (``F.scaled_dot_product_attention``), the second what they come down to
(``aten.bmm``).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from attention_variants.classroom.contract.problems import Problem
from attention_variants.variants import VARIANTS, attention_tiled

from .clock import TimeIsUp
from .run import call, tensors

#: Products of matrices, and of their rows, as PyTorch's inner operations are called.
PRODUCTS = frozenset("mm bmm addmm baddbmm mv dot vdot addmv addbmm".split())
WHOLE = frozenset("mm bmm addmm baddbmm addbmm".split())


class _Calls(TorchFunctionMode):
    """Counts what is called, by name."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(getattr(function, "__name__", function))
        self.counts["call " + name] += 1
        result = function(*args, **(kwargs or {}))
        if name == "scaled_dot_product_attention":
            self.counts["numbers from the kernel"] += result.numel()
        return result


class _Operations(TorchDispatchMode):
    """Counts what runs, by name, and notes whole matrices."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and PyTorch's compiler takes a second to load

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.__name__.split(".")[0].strip("_")
        self.counts[name] += 1
        self.counts["operations"] += 1
        shape = tuple(result.shape) if isinstance(result, Tensor) else ()
        if name in WHOLE or (name == "mul" and len(shape) == 3):
            self.counts["whole product"] += min(shape[-2:], default=0) > 1
        if name in ("softmax", "log_softmax"):
            self.counts["softmax of whole"] += len(shape) > 1 and shape[-2] > 1
        return result


def watched(fn: Callable, s: Problem) -> Counter[str]:
    """Count the operations of one call; what it raises is left aside, for the contract speaks of it.

    Parameters
    ----------
    fn : callable
        The function.
    s : Problem
        The problem.

    Returns
    -------
    counts : Counter
        By name: inner operations ("bmm"), "operations" of all kinds, calls as they are written ("call einsum"),
        "whole product" and "softmax of whole" of matrices, "numbers from the kernel", "library" for calls of the
        variants themselves, "failed" if it raised.
    """
    counts: Counter[str] = Counter()
    inputs = tensors(s)
    try:
        with _library(counts), _Operations(counts), _Calls(counts):
            call(fn, s, inputs)
    except (TimeIsUp, KeyboardInterrupt):
        raise
    except BaseException:
        counts["failed"] += 1
    return counts


@contextmanager
def _library(counts: Counter[str]) -> Iterator[None]:
    """Notice calls of the variants themselves: each checks its inputs first."""
    functions = [*VARIANTS.values(), attention_tiled]
    modules = list({sys.modules[function.__module__]: None for function in functions if _checks_inputs(function)})
    checks = [module.check_inputs for module in modules]

    def noticed(*args: Any, **options: Any) -> None:
        counts["library"] += 1
        checks[0](*args, **options)

    for module in modules:
        module.check_inputs = noticed  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, check in zip(modules, checks, strict=True):
            module.check_inputs = check  # type: ignore[attr-defined]


def _checks_inputs(function: Callable) -> bool:
    """Whether a variant stands in a module that imports the common check; one that was registered later may not."""
    return hasattr(sys.modules.get(function.__module__), "check_inputs")
