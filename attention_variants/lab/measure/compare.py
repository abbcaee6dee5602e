"""All variants on the same problem: first whether they are equal, then what each costs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor
from torch.utils.benchmark import Timer

from attention_variants.lab.code.source import code_lines_if_any
from attention_variants.lab.table import html_table, plain_text, rich_table
from attention_variants.model.lift import lift
from attention_variants.model.masks import causal_mask, padding_mask
from attention_variants.variants import VARIANTS, describe_variant, takes
from attention_variants.variants.registry import name_of_function

from .memory import peak_memory
from .reference import TOLERANCES, reference_attention, relative_error

#: What is compared with the reference.
COMPARED = ("context", "weights", "grad q", "grad k", "grad v")


@dataclass(frozen=True)
class Row:
    """One variant in a comparison.

    Attributes
    ----------
    label : str
        How the table names it: the variant's number, with a star where it runs without weights.
    variant : int
        The variant whose signature it has.
    name : str
        The name of the function.
    need_weights : bool
        Whether it was asked for the weights too.
    errors : dict
        The relative error of each of ``COMPARED`` beside the float64 reference.
    equal : bool
        Whether all errors are within the tolerance of the dtype.
    failure : str or None
        What it raised, if it did.
    time : float or None
        Median seconds of a forward call; None where not timed.
    memory : int or None
        Peak bytes of a forward call, see `peak_memory`; None where not measured.
    lines : int or None
        Lines of code, without docstring, comments and blank lines; None where there is no source to read.
    """

    label: str
    variant: int
    name: str
    need_weights: bool
    errors: dict[str, float]
    equal: bool
    failure: str | None
    time: float | None
    memory: int | None
    lines: int | None

    @property
    def largest_error(self) -> float:
        """The largest of the errors (nan counts as the largest)."""
        return max(self.errors.values(), key=lambda error: (error != error, error), default=float("nan"))


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` found: a table in the terminal and in a notebook, and data by `to_dict`.

    Attributes
    ----------
    problem : dict
        The sizes, the mask, the dtype and the tolerance.
    rows : tuple of Row
        One for each variant, and one more without weights for each that can leave them out.
    """

    problem: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def all_equal(self) -> bool:
        """Whether every row equals the reference."""
        return all(row.equal for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, fit for JSON."""
        return {
            "problem": self.problem,
            "all_equal": self.all_equal,
            "rows": [{**asdict(row), "largest_error": row.largest_error} for row in self.rows],
        }

    def __rich__(self) -> Table:
        return rich_table(self._title(), *self._cells(), left=2, note=self._note())

    def _repr_html_(self) -> str:
        return html_table(self._title(), *self._cells(), left=2, note=self._note())

    def __repr__(self) -> str:
        return plain_text(self.__rich__())

    def _title(self) -> str:
        p = self.problem
        verdict = "all equal" if self.all_equal else "NOT all equal"
        return (
            f"B={p['batch']}, T_q={p['queries']}, T_k={p['keys']}, d_model={p['d_model']}, H={p['heads']}, "
            f"mask: {p['mask']}, {p['dtype']}: {verdict} within {p['tolerance']:.0e} of float64"
        )

    def _note(self) -> str:
        return "* need_weights=False: the context alone" if not all(row.need_weights for row in self.rows) else ""

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        timed = any(row.time is not None for row in self.rows)
        columns = ["", "function", "values", "grads", *(["time", "x"] if timed else []), "memory", "lines"]
        fastest = min((row.time for row in self.rows if row.time is not None), default=0.0)
        rows = []
        for row in self.rows:
            found = [_error(row, "context", "weights"), _error(row, "grad q", "grad k", "grad v")]
            times, memory = ["", ""] if timed else [], _bytes(row.memory)
            if row.time is not None:
                times = [_seconds(row.time), f"{row.time / fastest:,.1f}"]
            if not row.equal:
                verdict = row.failure or f"{max(row.errors, key=row.errors.__getitem__)} differs: not timed"
                times, memory = ([verdict, ""], "") if timed else ([], verdict)
            rows.append([row.label, row.name, *found, *times, memory, "-" if row.lines is None else str(row.lines)])
        return columns, rows


def compare(
    batch: int = 2,
    queries: int = 10,
    keys: int = 16,
    d_model: int = 32,
    heads: int = 4,
    mask: str | Tensor | None = "none",
    *,
    dtype: torch.dtype = torch.float32,
    variants: Mapping[int, Callable] | None = None,
    timed: bool = True,
    seed: int = 0,
) -> Comparison:
    """Run all variants, lifted, on one random problem and compare them.

    Each must first equal a float64 reference in values and gradients; only then is it timed.

    Parameters
    ----------
    batch : int, default 2
        How many sequences, B.
    queries : int, default 10
        How many queries each has, T_q.
    keys : int, default 16
        How many keys each has, T_k.
    d_model : int, default 32
        The width of a query, of all heads together.
    heads : int, default 4
        How many heads share it, H.
    mask : {"causal", "padding", "none"}, boolean Tensor or None
        "causal" is aligned top-left; "padding" gives every item of the batch another length; a tensor
        must broadcast to (B, H, T_q, T_k).
    dtype : torch.dtype, default torch.float32
        In which the variants compute.
    variants : mapping of int to callable, optional
        Implementations to compare in place of all variants: variant number -> function with its signature.
    timed : bool, default True
        Whether to measure the time. Memory and equality do not depend on the machine, times do.
    seed : int, default 0
        For the random problem.

    Returns
    -------
    comparison : Comparison
        Shows itself as a table; ``to_dict()`` gives the numbers.

    Raises
    ------
    ValueError
        If a size is less than 1, heads do not divide d_model, the mask is another word, or there is no such variant.

    Notes
    -----
    The time is the median of forward calls without gradients, on one thread; memory is
    the peak of ``attention_variants.lab.measure.memory.peak_memory`` for the same call. A bar shows the progress in a
    terminal.

    Examples
    --------
    >>> compare(mask="padding", timed=False).all_equal
    True
    """
    sizes = {"batch": batch, "queries": queries, "keys": keys, "d_model": d_model, "heads": heads}
    _check(sizes, dtype)
    allowed, kind = _mask(mask, batch, queries, keys)
    functions = VARIANTS if variants is None else variants
    for number in functions:
        describe_variant(number)  # raises for one that does not exist

    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(batch, T, d_model, generator=generator).to(dtype) for T in (queries, keys, keys))
    upstream = tuple(
        torch.randn(shape, generator=generator).to(dtype)  # the gradient that arrives at context and weights
        for shape in ((batch, queries, d_model), (batch, heads, queries, keys))
    )
    inputs = (q, k, v, allowed, heads)
    references = {
        need_weights: _values_and_gradients(partial(reference_attention, need_weights=need_weights), *inputs, upstream)
        for need_weights in (True, False)
    }

    jobs = [
        (number, function, need_weights)
        for number, function in functions.items()
        for need_weights in ((True, False) if takes(number, "need_weights") else (True,))
    ]
    rows = []
    with _progress(len(jobs)) as advance:
        for number, function, need_weights in jobs:
            row = _row(number, function, need_weights)
            advance(f"variant {row.label}")
            run = partial(lift(number, function), need_weights=need_weights)
            rows.append(_compared(row, run, inputs, upstream, references[need_weights], timed))
    problem = {**sizes, "mask": kind, "dtype": str(dtype).removeprefix("torch."), "tolerance": TOLERANCES[dtype]}
    return Comparison(problem, tuple(rows))


def _compared(
    row: Row,
    run: Callable,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None, int],
    upstream: tuple[Tensor, ...],
    reference: dict[str, Tensor],
    timed: bool,
) -> Row:
    """The row of one variant: its errors beside the reference, and, if it is equal, its time and its memory."""
    try:
        found = _values_and_gradients(run, *inputs, upstream)
    except Exception as error:  # a wrong implementation may raise anything; the table reports it
        return replace(row, failure=f"{type(error).__name__}: not timed")
    errors = {name: relative_error(found[name], reference[name]) for name in found}
    tolerance = TOLERANCES[inputs[0].dtype]
    row = replace(row, errors=errors, equal=all(error <= tolerance for error in errors.values()))
    if not row.equal:
        return row
    call = partial(run, *inputs)
    return replace(row, time=_median_time(call) if timed else None, memory=_peak(call))


def _check(sizes: Mapping[str, int], dtype: torch.dtype) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"compare: {name} must be at least 1; got {size}.")
    d_model, heads = sizes["d_model"], sizes["heads"]
    if d_model % heads:
        raise ValueError(f"compare: d_model must be divisible by heads; got d_model = {d_model} and heads = {heads}.")
    if dtype not in TOLERANCES:
        raise ValueError(f"compare: dtype must be one of {', '.join(map(str, TOLERANCES))}; got {dtype}.")


def _row(number: int, function: Callable, need_weights: bool) -> Row:
    """What is known of a variant before it runs."""
    return Row(
        label=f"{number}{'' if need_weights else '*'}",
        variant=number,
        name=name_of_function(function, number),
        need_weights=need_weights,
        errors={},
        equal=False,
        failure=None,
        time=None,
        memory=None,
        lines=code_lines_if_any(function),
    )


def _mask(mask: str | Tensor | None, batch: int, queries: int, keys: int) -> tuple[Tensor | None, str]:
    """The mask itself and the word for it."""
    if isinstance(mask, Tensor):
        return mask, f"of shape {tuple(mask.shape)}"
    if mask == "causal":
        return causal_mask(queries, keys), mask
    if mask == "padding":
        lengths = [keys - (b + 1) * keys // (batch + 1) for b in range(batch)]  # all different, none empty
        return padding_mask(lengths, keys, head_axis=True), mask
    if mask is None or mask == "none":
        return None, "none"
    raise ValueError(f"compare: mask must be causal, padding or none, or a boolean tensor; got {mask!r}.")


def _values_and_gradients(
    function: Callable,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    heads: int,
    upstream: tuple[Tensor, ...],
) -> dict[str, Tensor]:
    """Run forwards and backwards; where no weights come, the gradients are those of the context alone."""
    q, k, v = (x.detach().clone().requires_grad_() for x in (q, k, v))
    context, weights = function(q, k, v, mask, heads)
    outputs = {"context": context} if weights is None else {"context": context, "weights": weights}
    loss = sum((x * grad.to(x.dtype)).sum() for x, grad in zip(outputs.values(), upstream, strict=False))
    gradients = torch.autograd.grad(loss, (q, k, v))
    return outputs | dict(zip(("grad q", "grad k", "grad v"), gradients, strict=True))


def _median_time(call: Callable[[], Any]) -> float:
    with torch.no_grad():
        call()
        timer = Timer("call()", globals={"call": call})  # on one thread: steadier, also on a busy machine
        return statistics.median(timer.blocked_autorange(min_run_time=0.05).times)


def _peak(call: partial) -> int:
    with torch.no_grad():
        return peak_memory(call.func, *call.args, **call.keywords)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on stderr while work goes on, in a terminal only; it is gone when the work is done."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal or console.is_jupyter) as progress:
        task = progress.add_task("", total=total + 1)
        yield lambda description: progress.update(task, description=description, advance=1)


def _error(row: Row, *names: str) -> str:
    errors = [row.errors[name] for name in names if name in row.errors]
    return f"{max(errors, key=lambda error: (error != error, error)):.0e}" if errors else "-"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:,.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:,.1f} ms"


def _bytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1024:,.1f} KiB"
