"""Does a function keep the contract of a variant? If not: where does it first differ?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch
from rich.console import Group
from rich.panel import Panel
from rich.text import Text
from torch import Tensor

from attention_variants.model.masks import causal_mask, padding_mask
from attention_variants.variants import get_variant

from .misconceptions import MISCONCEPTIONS, Misconception


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` found; shows itself in the terminal and in a notebook, and is true if all is well.

    Attributes
    ----------
    name : str
        The function that was checked.
    variant : int
        The variant whose contract it should keep.
    situations : tuple of str
        The situations that it passed.
    failed : str or None
        The situation in which it first failed, if any.
    finding : tuple of str
        What was found there: shapes, numbers and what was expected.
    looks_like : Misconception or None
        The known mistake that gives the same output, if one does.
    """

    name: str
    variant: int
    situations: tuple[str, ...]
    failed: str | None = None
    finding: tuple[str, ...] = ()
    looks_like: Misconception | None = None

    @property
    def passed(self) -> bool:
        """Whether the function kept the contract in every situation."""
        return self.failed is None

    def __bool__(self) -> bool:
        return self.passed

    def lines(self) -> list[str]:
        """The report as lines of text, the verdict first."""
        right = get_variant(self.variant).__name__
        if self.passed:
            return [
                f"{self.name} computes what {right} (variant {self.variant}) does.",
                *map("passed: {}".format, self.situations),
            ]
        lines = [f"{self.name} is not yet {right} (variant {self.variant}).", f"It first fails with {self.failed}."]
        lines += self.finding
        if self.looks_like is not None:
            lines += [f"This looks like {self.looks_like.name.replace('_', ' ')}. {self.looks_like.explanation}"]
            lines += [f"Think about: {self.looks_like.hint}"]
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def __rich__(self) -> Panel:
        verdict, *rest = self.lines()
        style = "green" if self.passed else "red"
        return Panel(Group(*map(Text, rest)), title=Text(verdict), title_align="left", border_style=style)

    def _repr_html_(self) -> str:
        verdict, *rest = self.lines()
        colour = "#009E73" if self.passed else "#D55E00"
        body = "".join(
            f'<div style="font-family: monospace; white-space: pre-wrap;">{escape(line)}</div>' for line in rest
        )
        sign = "✓" if self.passed else "✗"
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 4px 12px;">'
            f"<div><b>{sign} {escape(verdict)}</b></div>{body}</div>"
        )


@dataclass(frozen=True)
class _Situation:
    title: str
    inputs: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4


def check(fn: Callable, variant: int) -> Report:
    """Compare a function with a variant, from the smallest problem on, and report where they first differ.

    Parameters
    ----------
    fn : callable
        With the signature of the variant: ``fn(q, k, v)`` for variants 1 to 3, ``fn(q, k, v, mask)`` for
        variant 4, ``fn(q, k, v, mask, num_heads)`` for 5 and 6, and for 7 ``need_weights`` and
        ``is_causal`` by keyword as well. It returns ``(context, weights)``.
    variant : int
        1 to 7.

    Returns
    -------
    report : Report
        True if nothing differs. Otherwise it holds the situation, the shapes, a worked example and, where
        the output is that of a known mistake, its explanation and a hint.

    Raises
    ------
    ValueError
        If there is no such variant.
    TypeError
        If ``fn`` cannot be called.

    Examples
    --------
    >>> from attention_variants import VARIANTS
    >>> bool(check(VARIANTS[2], 2))
    True
    """
    right = get_variant(variant)
    if not callable(fn):
        raise TypeError(f"check: fn must be a function; got {type(fn).__name__}. Pass it without calling it.")
    name = getattr(fn, "__name__", type(fn).__name__)
    passed: list[str] = []
    for situation in _situations(variant):
        with torch.random.fork_rng(devices=[]):  # code that draws random numbers leaves the caller's seed alone
            finding = _first_difference(fn, right, situation)
            looks_like = _known(fn, variant, situation) if finding else None
        if finding:
            return Report(name, variant, tuple(passed), situation.title, tuple(finding), looks_like)
        passed.append(situation.title)
    return Report(name, variant, tuple(passed))


def _situations(variant: int) -> Iterator[_Situation]:
    """From the smallest problem to the hardest."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def problem(T_q: int, T_k: int, d_k: int, d_v: int) -> tuple[Tensor, Tensor, Tensor]:
        batch = () if variant < 3 else (2,)
        return randn(*batch, T_q, d_k), randn(*batch, T_k, d_k), randn(*batch, T_k, d_v)

    heads: tuple[Any, ...] = (2,) if variant >= 5 else ()
    no_mask: tuple[Any, ...] = (None,) if variant >= 4 else ()
    yield _Situation("as many queries as keys", (*problem(3, 3, 4, 4), *no_mask, *heads))
    yield _Situation("2 queries and 3 keys", (*problem(2, 3, 4, 4), *no_mask, *heads))
    yield _Situation("3 queries and 2 keys", (*problem(3, 2, 4, 4), *no_mask, *heads))
    if variant <= 4:
        yield _Situation("values wider than the keys", (*problem(2, 3, 4, 6), *no_mask))
    if variant >= 3:
        yield _Situation(
            "two batch dimensions", (randn(2, 3, 2, 4), randn(2, 3, 5, 4), randn(2, 3, 5, 4), *no_mask, *heads)
        )
    if variant >= 4:
        padding = padding_mask([3, 1], 3, head_axis=variant >= 5)
        nothing = padding_mask([3, 0], 3, head_axis=variant >= 5)
        yield _Situation("a causal mask", (*problem(3, 3, 4, 4), causal_mask(3), *heads))
        yield _Situation("a padding mask", (*problem(2, 3, 4, 4), padding, *heads))
        yield _Situation("queries that may attend to nothing", (*problem(2, 3, 4, 4), nothing, *heads))
    if variant == 7:
        yield _Situation("is_causal=True", (*problem(3, 4, 4, 4), None, 2), {"is_causal": True})
        yield _Situation("need_weights=False", (*problem(3, 4, 4, 4), None, 2), {"need_weights": False})
    q, k, v = problem(2, 3, 4, 4)
    yield _Situation("scores of about 10,000", (q * 1e2, k * 1e2, v, *no_mask, *heads), tolerance=1e-2)


def _first_difference(fn: Callable, right: Callable, situation: _Situation) -> list[str]:
    """What differs, in words and numbers; empty if nothing does."""
    given = "given " + ", ".join(
        _name_shape(name, x) for name, x in zip(("q", "k", "v", "mask"), situation.inputs, strict=False)
    )
    expected, expected_gradients = _run(right, situation)
    inputs = _copy(situation.inputs)
    try:
        found = fn(*inputs, **situation.options)
        again = fn(*inputs, **situation.options)
    except NotImplementedError:
        return ["Nothing is written there yet: it raises NotImplementedError."]
    except Exception as error:  # a student's function may raise anything: it is reported, not passed on
        return [given, f"it raised {type(error).__name__}: {error}"]
    if not (isinstance(found, tuple) and len(found) == 2):
        return [given, f"it returned {type(found).__name__}; expected the pair (context, weights)"]
    for x, before, name in zip(inputs, situation.inputs, ("q", "k", "v", "mask"), strict=False):
        if isinstance(x, Tensor) and not torch.equal(x, before):
            return [given, f"it changed its input {name}; the caller's tensors must stay as they are"]
    for name, x, y in zip(("context", "weights"), found, again, strict=False):
        if isinstance(x, Tensor) and isinstance(y, Tensor) and not torch.equal(x, y) and not x.isnan().any():
            return [given, f"two calls on the same input give a different {name}: something in it is random"]
    for name, x, y in zip(("context", "weights"), found, expected, strict=True):
        difference = _tensor_difference(name, x, y, situation.tolerance)
        if difference:
            return [given, *difference]
    try:
        _, gradients = _run(fn, situation)
    except RuntimeError as error:
        return [
            given,
            "the output is right, but no gradient can be computed from it",
            f"{type(error).__name__}: {error}",
        ]
    for name, x, y in zip(("q", "k", "v"), gradients, expected_gradients, strict=True):
        difference = _tensor_difference(f"the gradient of {name}", x, y, situation.tolerance * 10)
        if difference:
            return [given, *difference]
    return []


def _run(fn: Callable, situation: _Situation) -> tuple[tuple[Tensor, Tensor | None], tuple[Tensor, ...]]:
    """The outputs, and the gradients of the sum of their sines (of a plain sum, those of weights would be 0)."""
    inputs = _copy(situation.inputs)
    leaves = [x.requires_grad_() for x in inputs[:3]]
    outputs = fn(*inputs, **situation.options)
    loss = torch.stack([x.sin().sum() for x in outputs if x is not None]).sum()
    return outputs, torch.autograd.grad(loss, leaves)


def _tensor_difference(name: str, found: Any, expected: Tensor | None, tolerance: float) -> list[str]:
    if expected is None:
        return [] if found is None else [f"{name} is a {type(found).__name__}; expected None"]
    if not isinstance(found, Tensor):
        return [f"{name} is a {type(found).__name__}; expected a tensor of shape {tuple(expected.shape)}"]
    if found.shape != expected.shape:
        return [f"{name} has shape {tuple(found.shape)}; expected {tuple(expected.shape)}"]
    if found.dtype != expected.dtype:
        return [f"{name} has dtype {found.dtype}; expected {expected.dtype}, as q, k and v"]
    wrong = ~torch.isclose(found, expected, rtol=tolerance, atol=tolerance)
    if not wrong.any():
        return []
    *where, _ = wrong.nonzero()[0].tolist()
    row = "".join(f"[{i}]" for i in where)
    return [
        f"{name} differs in {int(wrong.sum())} of {wrong.numel()} numbers, first in {name}{row}:",
        f"  found     {_numbers(found[tuple(where)])}",
        f"  expected  {_numbers(expected[tuple(where)])}",
    ]


def _known(fn: Callable, variant: int, situation: _Situation) -> Misconception | None:
    """The mistake, of this variant or one before it, that has the same outcome, if there is one."""
    found = _outcome(fn, situation)
    for mistake in MISCONCEPTIONS.values():
        if mistake.variant <= variant and _same_outcome(found, _outcome(mistake.function, situation)):
            return mistake
    return None


def _outcome(fn: Callable, situation: _Situation) -> Any:
    """What a function returns, or the words of the error that it raises."""
    try:
        return fn(*_copy(situation.inputs), **situation.options)
    except Exception as error:  # the outcome of wrong code may be any error
        return f"{type(error).__name__}: {error}"


def _same_outcome(found: Any, other: Any) -> bool:
    if not (isinstance(found, tuple) and isinstance(other, tuple) and len(found) == len(other)):
        return isinstance(found, str) and found == other
    return all(
        isinstance(x, Tensor)
        and (x.shape, x.dtype) == (y.shape, y.dtype)
        and torch.allclose(x, y, rtol=1e-4, atol=1e-4, equal_nan=True)
        for x, y in zip(found, other, strict=True)
        if y is not None
    )


def _copy(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)


def _name_shape(name: str, x: Any) -> str:
    return f"{name} {tuple(x.shape)}" if isinstance(x, Tensor) else f"{name} {x}"


def _numbers(x: Tensor) -> str:
    return "[" + "  ".join(f"{number:.3f}" for number in x.tolist()) + "]"
