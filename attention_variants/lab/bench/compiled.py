"""Does ``torch.compile`` make one graph of a variant, and does the graph compute the same?"""

from __future__ import annotations

import time
from functools import partial

import torch

from attention_variants.lab.measure.operations import loops_over_numbers
from attention_variants.lab.measure.reference import relative_error
from attention_variants.model.lift import lift
from attention_variants.model.masks import causal_mask
from attention_variants.variants import VARIANTS, get_variant, takes

from .result import Compiled


def compiled_variants() -> tuple[int, ...]:
    """The variants to compile: all but those that loop over numbers, whose graph would be as long as the loops.

    Returns
    -------
    numbers : tuple of int
    """
    return tuple(number for number in VARIANTS if not loops_over_numbers(lift(number)))


def compile_variant(variant: int) -> Compiled:
    """Compile a variant with ``fullgraph=True`` and hold the kernels that come out against the variant itself.

    Parameters
    ----------
    variant : int
        Its number. If it takes a mask it gets a causal one, in which one query has no key.

    Returns
    -------
    compiled : Compiled
    """
    function = get_variant(variant)
    generator = torch.Generator().manual_seed(0)
    batch = (2,) if takes(variant, "batch") else ()
    q, k, v = (torch.randn(*batch, T, 64, generator=generator) for T in (50, 70, 70))
    if takes(variant, "mask"):
        mask = causal_mask(50, 70)
        mask[3] = False
        function = partial(function, mask=mask)
    if takes(variant, "heads"):
        function = partial(function, num_heads=4)
    torch.compiler.reset()
    begin = time.perf_counter()
    try:
        actual = torch.compile(function, fullgraph=True)(q, k, v)
    except Exception as error:  # no compiler on this machine, or a variant that does not compile: the table says so
        return Compiled(variant, None, 0.0, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
    seconds = time.perf_counter() - begin
    pairs = zip(actual, function(q, k, v), strict=True)
    largest = max(relative_error(a, b) for a, b in pairs if a is not None and b is not None)
    return Compiled(variant, largest, seconds)
