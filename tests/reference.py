"""What attention is, written a second time, and the one check that everything is measured with.

The reference is NumPy in float64, one query at a time, over just the keys that the query may attend to: no
mask is ever filled in, and the gradients are the formulas worked out by hand, not autograd. It shares no line
and no method with the variants.

`check` runs an implementation on a `Problem` and compares context, weights and the gradients of q, k and v with
the reference. The error is ``max |a - b| / max |b|``, the largest deviation relative to the largest entry of the
reference: for the context, for the weights, and for the gradient, which is that of q, k and v taken together (a query
with a single key has a gradient of 0, to which nothing can be relative). Where the reference is 0 throughout, anything
but 0 is an infinite error.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from error_bounds import error_bounds
from torch import Tensor

from attention_variants.model.lift import lift
from attention_variants.model.masks import causal_mask, combine_masks, padding_mask, sliding_window_mask
from attention_variants.variants import attention_tiled

B, T_Q, T_K, H, D_MODEL = 2, 5, 7, 2, 8

#: The largest relative error that counts as the same function; the short dtypes carry 8 and 11 bits. Stated here again:
#: whoever loosens `attention_variants.lab.measure.reference.TOLERANCES` does not loosen these as well.
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 8 * torch.finfo(torch.float16).eps,
    torch.bfloat16: 8 * torch.finfo(torch.bfloat16).eps,
}

#: The largest relative error seen for each dtype, by its name, for the line at the end of the test run.
LARGEST: dict[str, float] = {}


# ---------------------------------------------------------------------------------------------- the reference


def reference(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    allowed: np.ndarray,
    cotangent_context: np.ndarray,
    cotangent_weights: np.ndarray,
) -> dict[str, Any]:
    """Multi-head attention and the gradients in q, k and v of ``sum(context * cotangent) + sum(weights * cotangent)``.

    ``allowed`` has the shape of the weights, (..., H, T_q, T_k); head h owns columns h*d_k:(h+1)*d_k of q and k and
    as many of v as fall to each head.
    """
    *batch, num_heads, T_q, _ = allowed.shape
    d_k, d_v = q.shape[-1] // num_heads, v.shape[-1] // num_heads
    context, weights = np.zeros((*batch, T_q, v.shape[-1])), np.zeros(allowed.shape)
    grad_q, grad_k, grad_v = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    for item in np.ndindex(*batch):
        for h in range(num_heads):
            columns, columns_v = slice(h * d_k, (h + 1) * d_k), slice(h * d_v, (h + 1) * d_v)
            for i in range(T_q):
                keys = np.flatnonzero(allowed[item][h, i])
                if not len(keys):
                    continue  # no key: everything stays 0
                query, K, V = q[item][i, columns], k[item][keys, columns], v[item][keys, columns_v]
                scores = np.array([math.fsum(query * key) for key in K]) / math.sqrt(d_k)
                exp = np.exp(scores - scores.max())
                w = exp / math.fsum(exp)
                weights[item][h, i, keys] = w
                context[item][i, columns_v] = w @ V

                from_context = cotangent_context[item][i, columns_v]
                to_weights = V @ from_context + cotangent_weights[item][h, i, keys]
                to_scores = w * (to_weights - w @ to_weights) / math.sqrt(d_k)
                grad_q[item][i, columns] = to_scores @ K
                grad_k[item][keys, columns] += np.outer(to_scores, query)
                grad_v[item][keys, columns_v] += np.outer(w, from_context)
    return {"context": context, "weights": weights, "gradients": (grad_q, grad_k, grad_v)}


# ---------------------------------------------------------------------------------------------------- problems


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything an implementation gets, and what its answer is weighed with.

    q (..., T_q, d_model), k and v (..., T_k, d_model) in float64, mask as the variants take it.
    """

    name: str
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None = None
    num_heads: int = H
    is_causal: bool = False
    dropout_p: float = 0.0

    @property
    def weights_shape(self) -> tuple[int, ...]:
        return (*self.q.shape[:-2], self.num_heads, self.q.shape[-2], self.k.shape[-2])

    @cached_property
    def allowed(self) -> Tensor:
        """Which key each query may attend to, in the shape of the weights."""
        allowed = torch.ones(self.weights_shape, dtype=torch.bool)
        if self.mask is not None:
            allowed &= self.mask
        if self.is_causal:  # key j is later than query i
            T_q, T_k = allowed.shape[-2:]
            for i in range(T_q):
                for j in range(i + 1, T_k):
                    allowed[..., i, j] = False
        return allowed

    @cached_property
    def cotangents(self) -> tuple[Tensor, Tensor]:
        """The fixed random factors of context and weights in the functional that is differentiated."""
        generator = seeded(self.name, "cotangents")
        context_shape = (*self.q.shape[:-1], self.v.shape[-1])
        return normal(*context_shape, generator=generator), normal(*self.weights_shape, generator=generator)

    @cached_property
    def expected(self) -> dict[str, Any]:
        return self._reference(self.cotangents[1])

    @cached_property
    def expected_of_context(self) -> dict[str, Any]:
        """The same, of a functional of the context alone."""
        return self._reference(torch.zeros(self.weights_shape, dtype=torch.float64))

    @cached_property
    def largest_logit(self) -> float:
        q, k = (x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2) for x in (self.q, self.k))
        logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return logits.abs().max().item() if logits.numel() else 0.0

    def tolerance(self, dtype: torch.dtype) -> float:
        """The largest relative error allowed: that of the grid, or what large logits cost any arithmetic.

        To round a logit s, or the logarithm of a sum of exponentials, which is as large, shifts it by up to eps * s / 2
        and so every weight, its exponential, by that ratio.
        """
        return max(TOLERANCE[dtype], 4 * torch.finfo(dtype).eps * self.largest_logit)

    def _reference(self, cotangent_weights: Tensor) -> dict[str, Any]:
        tensors = (self.q, self.k, self.v, self.allowed, self.cotangents[0], cotangent_weights)
        return reference(*(x.numpy() for x in tensors))

    def rounded_to(self, dtype: torch.dtype) -> Problem:
        """The problem whose numbers are exact in ``dtype``."""
        q, k, v = (x.to(dtype).double() for x in (self.q, self.k, self.v))
        return replace(self, q=q, k=k, v=v)


def seeded(*words: object) -> torch.Generator:
    """A generator whose seed is made of words, the same on every machine."""
    return torch.Generator().manual_seed(zlib.crc32(" ".join(map(str, words)).encode()))


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, exact in float32, as float64."""
    return torch.randn(*shape, generator=generator).double()


def make_problem(
    name: str = "plain",
    *,
    batch: tuple[int, ...] = (B,),
    T_q: int = T_Q,
    T_k: int = T_K,
    num_heads: int = H,
    d_model: int = D_MODEL,
    d_v: int | None = None,
    mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
) -> Problem:
    """A problem of random numbers; the same name gives the same numbers."""
    generator = seeded(name, batch, T_q, T_k, num_heads, d_model)
    q = normal(*batch, T_q, d_model, generator=generator)
    k = normal(*batch, T_k, d_model, generator=generator)
    v = normal(*batch, T_k, d_model if d_v is None else d_v, generator=generator)
    return Problem(name, q, k, v, mask, num_heads, is_causal, dropout_p)


# -------------------------------------------------------------------------------------------------- the grid

BATCHES, HEADS = (1, 2, 3), (1, 2, 4)
LENGTHS = ((2, 4), (4, 2), (3, 3))  # T_q < T_k, T_q > T_k and equal: each meets each batch, head and mask


def _random(*shape: int, name: str) -> Tensor:
    return torch.rand(shape, generator=seeded(name, shape)) < 0.6


def _lengths(batch: int, T_k: int) -> list[int]:
    return [max(T_k - item, 1) for item in range(batch)]


#: name of a mask -> mask for (batch, heads, T_q, T_k)
MASKS: dict[str, Callable[[int, int, int, int], Tensor | None]] = {
    "none": lambda b, h, m, n: None,
    "causal top-left": lambda b, h, m, n: causal_mask(m, n),
    "causal bottom-right": lambda b, h, m, n: causal_mask(m, n, align="bottom-right"),
    "padding": lambda b, h, m, n: padding_mask(_lengths(b, n), n, head_axis=True),
    "sliding window": lambda b, h, m, n: sliding_window_mask(m, n, window=1),
    "causal and padding": lambda b, h, m, n: combine_masks(
        causal_mask(m, n), padding_mask(_lengths(b, n), n, head_axis=True)
    ),
    "random (T_k)": lambda b, h, m, n: _random(n, name="keys"),
    "random (T_q, 1)": lambda b, h, m, n: torch.ones(m, 1, dtype=torch.bool),
    "random (T_q, T_k)": lambda b, h, m, n: _random(m, n, name="both"),
    "random (B, 1, T_q, T_k)": lambda b, h, m, n: _random(b, 1, m, n, name="batch"),
    "random (1, H, T_q, T_k)": lambda b, h, m, n: _random(1, h, m, n, name="heads"),
    "random (B, H, T_q, T_k)": lambda b, h, m, n: _random(b, h, m, n, name="all"),
}


def _with_empty_row(mask: Tensor) -> Tensor:
    """Block every key for the first query (of the last item and head, where the mask tells them apart)."""
    mask = mask.clone()
    mask[(-1,) * (mask.ndim - 2) + (0,) * (mask.ndim > 1)] = False
    return mask


def _without_empty_rows(mask: Tensor) -> Tensor:
    """Allow the first key to queries that have none."""
    mask = mask.clone()
    mask[..., 0] |= ~mask.any(dim=-1)
    return mask


def _grid(name: str, *, empty_rows: bool, is_causal: bool = False) -> Iterator[Problem]:
    full_name = name + ", is_causal" * is_causal + ", empty rows" * empty_rows
    for i, batch in enumerate(BATCHES):
        for j, num_heads in enumerate(HEADS):
            T_q, T_k = LENGTHS[(i + j) % len(LENGTHS)]
            mask = MASKS[name](batch, num_heads, T_q, T_k)
            if mask is not None:
                mask = _with_empty_row(mask) if empty_rows else _without_empty_rows(mask)
            yield make_problem(
                f"{full_name}, B={batch}, H={num_heads}, T_q={T_q}, T_k={T_k}",
                batch=(batch,),
                T_q=T_q,
                T_k=T_k,
                num_heads=num_heads,
                mask=mask,
                is_causal=is_causal,
            )


def _large_logits() -> Iterator[Problem]:
    """Logits of +-1e4 and more, in whole numbers so that they are exact in float32 too."""
    d_k, num_heads = 4, 2  # sqrt(d_k) is exact
    for sign, mask in ((1, None), (-1, _without_empty_rows(_random(T_Q, T_K, name="large"))), (0, None)):
        generator = seeded("large", sign)
        low = -2 if sign == 0 else 1
        q = 100.0 * torch.randint(low, 3, (B, T_Q, num_heads * d_k), generator=generator).double()
        k = 50.0 * torch.randint(low, 3, (B, T_K, num_heads * d_k), generator=generator).double() * (sign or 1)
        v = normal(B, T_K, num_heads * d_k, generator=generator)
        yield Problem(f"large logits {sign:+}", q, k, v, mask, num_heads)


def _dropout() -> Iterator[Problem]:
    """The context is random then; the weights are those before dropout."""
    yield make_problem("dropout", dropout_p=0.5)
    yield make_problem("dropout, mask", dropout_p=0.5, mask=causal_mask(T_Q, T_K))


#: kind -> its problems: every mask with and without empty rows, `is_causal` alone and with masks.
GRID: dict[str, list[Problem]] = {
    **{name: list(_grid(name, empty_rows=False)) for name in MASKS},
    **{f"{name}, empty rows": list(_grid(name, empty_rows=True)) for name in MASKS if name != "none"},
    "is_causal": list(_grid("none", empty_rows=False, is_causal=True)),
    "is_causal and padding": list(_grid("padding", empty_rows=False, is_causal=True)),
    "is_causal and random, empty rows": list(_grid("random (B, H, T_q, T_k)", empty_rows=True, is_causal=True)),
}
#: Beside the grid: logits that overflow an exponential, and dropout, where only the weights are comparable.
LARGE_LOGITS = list(_large_logits())
DROPOUT = list(_dropout())
PROBLEMS = [*(problem for problems in GRID.values() for problem in problems), *LARGE_LOGITS, *DROPOUT]


# ------------------------------------------------------------------------------------------------- the check


class FaultError(AssertionError):
    """An implementation was caught; ``kind`` says by what.

    ``"error"`` it raised, ``"shape"`` a wrong type, shape or dtype came out, ``"input changed"``, ``"nan"`` a value or
    gradient is not finite, or ``"context"``, ``"weights"``, ``"gradient"`` is off by more than the tolerance.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


def relative_error(actual: Tensor, expected: np.ndarray | Tensor) -> float:
    """``max |actual - expected| / max |expected|``; 0 for two empty tensors, infinite for a non-zero beside zeros."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    if not expected.numel():
        return 0.0
    deviation = (actual.detach().double() - expected).abs().max().item()
    scale = expected.abs().max().item()
    return deviation / scale if scale else (math.inf if deviation else 0.0)


def check(
    function: Callable, problem: Problem, dtype: torch.dtype = torch.float64, *, weights: bool = True
) -> dict[str, float]:
    """Run an implementation on a problem and compare everything with the reference.

    Parameters
    ----------
    function : callable
        ``function(q, k, v, mask, num_heads, is_causal=..., dropout_p=...)``, what `lift` returns.
    problem : Problem
        What to solve.
    dtype : torch.dtype
        In which arithmetic.
    weights : bool
        False for an implementation that returns None in place of weights.

    Returns
    -------
    errors : dict
        The relative error of ``"weights"``, ``"context"`` and ``"gradient"``.

    Raises
    ------
    FaultError
        At the first thing that is wrong, the weights before the context.
    """
    expected = problem.expected if weights else problem.expected_of_context
    actual, gradients = _run(function, problem, dtype, weights)
    errors = {name: relative_error(x, expected[name]) for name, x in actual.items()}
    errors["gradient"] = relative_error(_flat(gradients), _flat(map(torch.as_tensor, expected["gradients"])))
    if problem.dropout_p:
        errors = {"weights": errors["weights"]}
    for name, error in errors.items():
        if not error <= problem.tolerance(dtype):
            raise FaultError(name, f"off by {error:.1e}, more than {problem.tolerance(dtype):.0e}, in {problem.name}")
    return errors


def check_within_bounds(
    function: Callable, problem: Problem, dtype: torch.dtype = torch.float64, *, weights: bool = True
) -> dict[str, float]:
    """Run an implementation and compare each number with the reference, within what rounding explains.

    Parameters
    ----------
    function, problem, dtype, weights
        As for `check`; the numbers of the problem are exact in ``dtype``, and nothing is dropped.

    Returns
    -------
    shares : dict
        The largest error of ``"weights"``, ``"context"`` and ``"gradient"`` as a share of its bound, at most 1.

    Raises
    ------
    FaultError
        At the first thing that is wrong, the weights before the context.
    """
    expected = problem.expected if weights else problem.expected_of_context
    bounds = error_bounds(problem, dtype, weights=weights)
    actual, gradients = _run(function, problem, dtype, weights)
    shares = {name: _share(x, expected[name], bounds[name]) for name, x in actual.items()}
    parts = zip(gradients, expected["gradients"], [bounds[name] for name in ("q", "k", "v")], strict=True)
    shares["gradient"] = max(_share(*part) for part in parts)
    for name, share in shares.items():
        if not share <= 1:
            raise FaultError(name, f"off by {share:.3g} times what rounding explains, in {problem.name}, {dtype}")
    return shares


def _run(
    function: Callable, problem: Problem, dtype: torch.dtype, weights: bool
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Return the weights (if any) and the context, in this order: where weights are wrong, the context is too.

    And the gradients in q, k and v. Raises FaultError for everything that is wrong before numbers are compared.
    """
    leaves = {name: getattr(problem, name).to(dtype, copy=True).requires_grad_() for name in ("q", "k", "v")}
    torch.default_generator.manual_seed(0)  # torch.manual_seed would also format a stack for each device: slow
    try:
        actual = _call(function, problem, leaves, weights)
        terms = [(x * c.to(dtype)).sum() for x, c in zip(actual.values(), problem.cotangents, strict=False)]
        functional = torch.stack(terms).sum()
        gradients = torch.autograd.grad(functional, list(leaves.values()), materialize_grads=True)
    except FaultError:
        raise
    except Exception as raised:
        raise FaultError("error", f"{type(raised).__name__} in {problem.name}: {raised}") from raised
    for name, x in {**actual, "gradient": _flat(gradients)}.items():
        if not x.isfinite().all():
            raise FaultError("nan", f"{name} in {problem.name}")
    return dict(reversed(actual.items())), gradients


def _call(function: Callable, problem: Problem, leaves: dict[str, Tensor], weights: bool) -> dict[str, Tensor]:
    """Return the context and the weights (if any): of the right shape and dtype, and nothing else has changed."""
    inputs = {name: leaf.clone() for name, leaf in leaves.items()}  # autograd would guard the leaves themselves
    mask = None if problem.mask is None else problem.mask.clone()
    given = {"is_causal": problem.is_causal, "dropout_p": problem.dropout_p}
    options = {name: value for name, value in given.items() if value}
    context, attention = function(*inputs.values(), mask, problem.num_heads, **options)

    actual = {"context": context} | ({"weights": attention} if weights else {})
    shapes = {"context": (*problem.q.shape[:-1], problem.v.shape[-1]), "weights": problem.weights_shape}
    dtype = leaves["q"].dtype
    for name, x in actual.items():
        if x.shape != shapes[name] or x.dtype != dtype:
            came, wanted = f"{tuple(x.shape)} {x.dtype}", f"{shapes[name]} {dtype}"
            raise FaultError("shape", f"{name} is {came}, not {wanted}, in {problem.name}")
    if not weights and attention is not None:
        raise FaultError("shape", f"weights are not None in {problem.name}")
    for name, x in {**inputs, "mask": mask}.items():
        if x is not None and not torch.equal(x, getattr(problem, name).to(x.dtype)):
            raise FaultError("input changed", f"{name} in {problem.name}")
    return actual


def _share(actual: Tensor, expected: np.ndarray, bound: np.ndarray) -> float:
    """Return the largest error as a share of its bound; of the bound 0, any error is infinitely much."""
    error = np.abs(actual.detach().double().numpy() - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / bound).max(initial=0.0).item()


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([x.flatten() for x in tensors])


# ------------------------------------------------------------------------------------------ what is to be checked

#: The seven, on any problem.
LIFTED = {variant: lift(variant) for variant in range(1, 8)}


def tiled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    num_heads: int = 1,
    *,
    is_causal: bool = False,
    block_size: int = 4,
) -> tuple[Tensor, None]:
    """The tiled version on any problem: its heads are one more batch dimension."""
    if is_causal:
        mask = combine_masks(mask, causal_mask(q.shape[-2], k.shape[-2]))
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v))
    context, weights = attention_tiled(q, k, v, mask, block_size)
    return context.transpose(-3, -2).flatten(-2), weights
