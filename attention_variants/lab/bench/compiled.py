"""Does ``torch.compile`` make one graph of a variant, and does the graph compute the same?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import torch

from attention_variants.lab.measure.reference import TOLERANCES, relative_error
from attention_variants.model.masks import causal_mask
from attention_variants.variants import VARIANTS

#: Variant 1 loops over every number: as a graph it would be as long as the loops.
COMPILED = (2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Compiled:
    """What became of one variant.

    Attributes
    ----------
    variant : int
        2 to 7.
    error : float or None
        The largest relative difference from the variant as it is; None if it failed.
    seconds : float
        How long the first call took, compilation included.
    failure : str
        What was raised; "" if it works.
    """

    variant: int
    error: float | None
    seconds: float
    failure: str = ""

    @property
    def works(self) -> bool:
        """Whether it compiled to one graph that computes the same."""
        return self.error is not None and self.error <= TOLERANCES[torch.float32]


def compile_variant(variant: int) -> Compiled:
    """Compile a variant with ``fullgraph=True`` and hold the kernels that come out against the variant itself.

    Parameters
    ----------
    variant : int
        2 to 7; from variant 4 on it gets a causal mask, in which one query has no key.

    Returns
    -------
    compiled : Compiled
    """
    function = VARIANTS[variant]
    generator = torch.Generator().manual_seed(0)
    batch = () if variant == 2 else (2,)
    q, k, v = (torch.randn(*batch, T, 64, generator=generator) for T in (50, 70, 70))
    if variant >= 4:
        mask = causal_mask(50, 70)
        mask[3] = False
        function = partial(function, mask=mask, **({"num_heads": 4} if variant >= 5 else {}))
    torch.compiler.reset()
    begin = time.perf_counter()
    try:
        actual = torch.compile(function, fullgraph=True)(q, k, v)
    except Exception as error:  # no compiler on this machine, or a variant that does not compile: the table says so
        return Compiled(variant, None, 0.0, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
    seconds = time.perf_counter() - begin
    return Compiled(variant, max(map(relative_error, actual, function(q, k, v))), seconds)
