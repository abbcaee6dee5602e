"""``compare`` and ``bench``: all variants on one problem, and beside what one would pick instead."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import typer

from .options import Mask, more_than_zero

_PARTS = ("races", "growth", "shares", "decoding", "training", "compile")
_OWN = "One problem of your own"


class Sizes(NamedTuple):
    """A problem of one's own, as B,T,N,H."""

    batch: int
    length: int
    d_model: int
    heads: int


class Parts(tuple[str, ...]):
    """Parts of the benchmark, as races,growth."""


def _sizes(text: str) -> Sizes:
    try:
        return Sizes(*map(int, text.split(",")))
    except (ValueError, TypeError):
        raise ValueError(f"must be four whole numbers, such as 4,512,512,8; got {text!r}") from None


def _parts(text: str) -> Parts:
    parts = Parts(text.split(","))
    if not set(parts) <= set(_PARTS):
        raise ValueError(f"must be of {', '.join(_PARTS)}, with commas between them; got {text!r}")
    return parts


def compare(
    batch: Annotated[int, typer.Option(metavar="B", help="Sequences in the batch.")] = 2,
    queries: Annotated[int, typer.Option(metavar="T_q", help="Queries in each.")] = 10,
    keys: Annotated[int, typer.Option(metavar="T_k", help="Keys in each.")] = 16,
    d_model: Annotated[int, typer.Option("--d-model", metavar="N", help="Width of all heads together.")] = 32,
    heads: Annotated[int, typer.Option(metavar="H", help="Heads; must divide d_model.")] = 4,
    mask: Annotated[Mask, typer.Option(help="What the queries may attend to.")] = "none",
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
) -> int:
    """Run all seven on one problem: differences, time, memory, lines of code.

    Each is first compared with a float64 reference, in values and gradients;
    only if it is equal is it timed. What a variant cannot do itself (a batch,
    a mask, heads) is done by plain loops around it.

    Exit status: 0 if all are equal, 1 if not, 2 for a wrong argument.

    Example: attention-variants compare --mask padding --queries 8 --keys 100
    """
    from json import dumps

    from rich.console import Console

    from attention_variants.lab.measure.compare import compare

    comparison = compare(batch, queries, keys, d_model, heads, mask)
    if json:
        print(dumps(comparison.to_dict(), indent=2))
    else:
        Console().print(comparison)
    return 0 if comparison.all_equal else 1


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, one minute: to see that it works.")] = False,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where to write.")] = "bench-results",
    parts: Annotated[
        Parts | None,
        typer.Option(metavar="PART,...", parser=_parts, help=f"Of {','.join(_PARTS)}: only these."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Rounds of a race; by default what fits, at least 6.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S", callback=more_than_zero, help="About how long a race may take; by default 6, or 1 if quick."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="Where the races run, cpu or cuda.")] = "cpu",
    sizes: Annotated[
        Sizes | None,
        typer.Option(metavar="B,T,N,H", parser=_sizes, rich_help_panel=_OWN, help="Batch, length, d_model and heads."),
    ] = None,
    keys: Annotated[
        int | None,
        typer.Option(metavar="T_k", rich_help_panel=_OWN, help="Another length of the keys: cross-attention."),
    ] = None,
    mask: Annotated[Mask, typer.Option(rich_help_panel=_OWN, help="What the queries may attend to.")] = "none",
    backward: Annotated[bool, typer.Option("--backward", rich_help_panel=_OWN, help="With the gradients.")] = False,
    weights: Annotated[
        bool, typer.Option("--weights", rich_help_panel=_OWN, help="With the weights of each head.")
    ] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(rich_help_panel=_OWN, help="In which precision.")
    ] = "float32",
    compile: Annotated[bool, typer.Option("--compile", rich_help_panel=_OWN, help="Through torch.compile.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the tables.")] = False,
) -> int:
    """Measure the seven beside what you would pick instead.

    That is torch.nn, transformers, x-transformers, labml-nn and
    llms-from-scratch, all with the same weights, and each first held against a
    float64 reference. Times are medians of interleaved rounds (A B C A B C ...),
    as multiples of the time of the bare operations: four matrix products and
    the fused kernel, with nothing around them. Then how time and memory grow
    with T, and where the time goes; how many tokens a second a language model
    writes, with a cache, without, and in transformers (decoding); and what
    forward and backward hold (training). Written are bench.json and each
    figure as .png and .svg. Leave the machine alone while it runs.

    Exit status: 0 if all are equal to the reference, 1 if not, 2 for a wrong
    argument.

    Example: attention-variants bench --sizes 4,512,512,8 --mask causal --backward
    """
    from rich.console import Console

    from attention_variants.lab.bench.run import bench

    only = None if parts is None else list(parts)
    own: dict[str, Any] = {"mask": mask, "backward": backward, "weights": weights, "dtype": dtype, "compiled": compile}
    own |= {} if keys is None else {"keys": keys}
    result = bench(
        _workloads(sizes, only, own), is_quick=quick, parts=only, rounds=rounds, budget=seconds, device=device
    )
    files = result.save(out)  # first of all: nothing measured is to be lost
    if json:
        print(files[0].read_text(encoding="utf-8"), end="")
        return 0 if result.all_equal else 1
    console = Console()
    console.print(result)
    for path in files:
        console.print(str(path), soft_wrap=True, markup=False, highlight=False)
    return 0 if result.all_equal else 1


def _workloads(sizes: Sizes | None, parts: list[str] | None, own: dict[str, Any]) -> list[Any] | None:
    """The one problem that was asked for, if one was."""
    if sizes is None:
        if any(value not in (False, "none", "float32") for value in own.values()):
            raise ValueError("--keys, --mask, --backward, --weights, --dtype and --compile go with --sizes B,T,N,H.")
        return None
    if parts not in (None, ["races"]):
        raise ValueError("--sizes is for the races; leave --parts out.")
    from attention_variants.lab.bench.workloads import of_size

    return [of_size(sizes, **own)]
