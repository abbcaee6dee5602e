"""Do functions give the same answer, in values and in gradients?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from attention_variants.lab.table import html_table, plain_text, rich_table

from .reference import TOLERANCES, relative_error


@dataclass(frozen=True, repr=False)
class SameAnswer:
    """What `same_answer` found; true if all agree.

    Attributes
    ----------
    errors : dict
        For each function, the relative difference from the first one in all that both return.
    tolerance : float
        How much counts as equal.
    """

    errors: dict[str, dict[str, float]]
    tolerance: float

    def __bool__(self) -> bool:
        return all(error <= self.tolerance for errors in self.errors.values() for error in errors.values())

    def __repr__(self) -> str:
        return plain_text(self.__rich__())

    def __rich__(self) -> Table:
        return rich_table(*self._cells())

    def _repr_html_(self) -> str:
        return html_table(*self._cells())

    def _cells(self) -> tuple[str, list[str], list[list[str]]]:
        first, *others = self.errors
        columns = list(self.errors[first])
        rows = [[name, *(self._word(self.errors[name].get(column)) for column in columns)] for name in others]
        title = f"Beside {first}: equal means a relative difference of at most {self.tolerance:.0e}"
        return title, ["", *columns], rows

    def _word(self, error: float | None) -> str:
        if error is None:
            return "not returned"
        if error != error:
            return "NaN"
        return "equal" if error <= self.tolerance else f"differs by {error:.2g}"


def same_answer(functions: Mapping[str, Callable], *inputs: Any, **options: Any) -> SameAnswer:
    """Call several functions on the same inputs and compare what they return, forwards and backwards.

    Parameters
    ----------
    functions : mapping of str to callable
        Name -> function. Each returns ``(context, weights)``, or the context alone. The first is what the
        others are compared with.
    *inputs, **options
        What each is called with. Gradients are taken with respect to the floating-point tensors in ``inputs``;
        the first three are called q, k and v, and one alone is called x.

    Returns
    -------
    same : SameAnswer
        A table in the terminal and in a notebook; true if all agree within the tolerance of the dtype, 1e-12
        in float64 and 1e-5 in float32.

    Raises
    ------
    ValueError
        If there are fewer than two functions.

    Notes
    -----
    The gradients are those of the sum of the sines of the context: of a plain sum, some would be 0 whatever
    the function does.
    """
    if len(functions) < 2:
        raise ValueError(f"same_answer: at least two functions are needed; got {len(functions)}.")
    (_, expected), *_ = found = [(name, _run(function, inputs, options)) for name, function in functions.items()]
    errors = {
        name: {part: relative_error(outcome[part], expected[part]) for part in expected if part in outcome}
        for name, outcome in found
    }
    return SameAnswer(errors, TOLERANCES[expected["context"].dtype])


def _run(function: Callable, inputs: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Tensor]:
    inputs = tuple(x.detach().clone() if isinstance(x, Tensor) else x for x in inputs)
    leaves = [x.requires_grad_() for x in inputs if isinstance(x, Tensor) and x.is_floating_point()]
    outputs = function(*inputs, **options)
    context, weights = outputs if isinstance(outputs, tuple) else (outputs, None)
    gradients = torch.autograd.grad(context.sin().sum(), leaves)
    parts = {"context": context.detach()} | ({} if weights is None else {"weights": weights.detach()})
    names = "x" if len(leaves) == 1 else "qkv"
    return parts | {f"gradient of {name}": grad for name, grad in zip(names, gradients, strict=False)}
