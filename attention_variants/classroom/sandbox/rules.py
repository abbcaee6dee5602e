"""Which operations run while a function is called? The rules of a variant are held by watching, not by reading code.

A torch function mode sees the calls as they are written (``F.scaled_dot_product_attention``), a dispatch mode what
they come down to (``aten.bmm``). What a rule counts is compared between a small problem and a larger one: code without
a loop over heads makes as many products for four heads as for two.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from attention_variants.classroom.contract.problems import Situation, situations
from attention_variants.variants import VARIANTS, attention_tiled

from .run import TimeIsUp, call, tensors

#: Products of matrices, and of their rows, as PyTorch's inner operations are called.
PRODUCTS = frozenset("mm bmm addmm baddbmm mv dot vdot addmv addbmm".split())
WHOLE = frozenset("mm bmm addmm baddbmm addbmm".split())

#: What is said of work that was left to somebody else's attention, whatever the variant.
READY_MADE = (
    "it calls a variant of this library; write the steps yourself.",
    "it calls a ready-made layer, nn.MultiheadAttention; write the steps yourself.",
)


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


def watched(fn: Callable, s: Situation) -> Counter[str]:
    """Count the operations of one call; what it raises is left aside, for the contract speaks of it."""
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


def watch(fn: Callable, variant: int) -> list[dict[str, int]]:
    """Count the operations of a function on two problems, a small one and a larger one.

    Parameters
    ----------
    fn : callable
        The function.
    variant : int
        1 to 7.

    Returns
    -------
    counts : list of dict
        For the small and for the larger problem.
    """
    return [dict(watched(fn, s)) for s in _two(variant)]


def _two(variant: int) -> tuple[Situation, Situation]:
    by_title = {s.title: s for s in situations(variant)}
    small, large = "2 queries and 3 keys", "all lengths different"
    if variant in (3, 4):
        small, large = "as many queries as keys", "two batch dimensions"
    elif variant == 6:
        large = "three heads"
    elif variant == 7:
        large = "need_weights=False"
    return by_title[small], by_title[large]


def broken_rules(variant: int, counts: Sequence[dict[str, int]], answered: Sequence[bool]) -> list[str]:
    """Say which rules of a variant were broken.

    Parameters
    ----------
    variant : int
        1 to 7.
    counts : sequence of dict
        What `watch` counted.
    answered : sequence of bool
        Whether problems like these two were answered while nobody watched.

    Returns
    -------
    rules : list of str
        Sentences for the student; empty if all is well.
    """
    small, large = (Counter(x) for x in counts)
    failed = bool(small["failed"]), bool(large["failed"])
    if any(failed):
        hides = any(f and a for f, a in zip(failed, answered, strict=True))
        return ["it fails when its operations are watched, and only then."] if hides else []
    both = small + large
    broken = [READY_MADE[0]] if both["library"] else []
    if both["call multi_head_attention_forward"] or both["call _native_multi_head_attention"]:
        broken.append(READY_MADE[1])
    fused = any("scaled_dot_product" in name for name in both)
    if variant == 1:
        if both["whole product"]:
            broken.append("it multiplies whole matrices; here each score is computed for one query and one key.")
        if both["softmax of whole"]:
            broken.append("it takes the softmax of a whole matrix; here it is taken of one row at a time.")
    if variant < 7 and fused:
        broken.append("it calls the fused kernel, scaled_dot_product_attention; that is variant 7.")
    if variant == 7 and not fused:
        broken.append("it never calls the fused kernel, scaled_dot_product_attention.")
    elif variant == 7 and large["numbers from the kernel"] < math.prod(_two(7)[1].context_shape):
        broken.append("what it returns is not the context that the fused kernel computes.")
    products = [sum(x[name] for name in PRODUCTS) for x in (small, large)]
    if variant == 5 and products[1] <= products[0]:
        broken.append("it takes all heads in one product; here they come one after the other. At once is variant 6.")
    if variant in (2, 3, 4, 6):
        over = {2: "queries or keys", 3: "the batch", 4: "the batch", 6: "heads"}[variant]
        few, many = (x["operations"] for x in (small, large))
        more = [("products of matrices", products[0], products[1])] if products[1] > products[0] else []
        if many > 1.5 * few + 4:  # some more are no loop
            more.append(("operations", few, many))
        for what, once, then in more[:1]:
            broken.append(
                f"a larger problem takes more {what} ({once}, then {then}): there is a loop, perhaps over {over}."
            )
    return broken


def watched_problems(variant: int) -> tuple[int, int]:
    """Find the places of the two problems that `watch` gives, which are the same in every paper.

    Parameters
    ----------
    variant : int
        1 to 7.

    Returns
    -------
    small, large : int
    """
    titles = [s.title for s in situations(variant)]
    small, large = (titles.index(s.title) for s in _two(variant))
    return small, large
