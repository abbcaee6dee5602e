"""Every mistake of the catalogue in another hand than the catalogue's.

The entries of the catalogue are changes to the right variants; these are written from the name and the explanation
alone, as students write: einsum, loops, exponentials by hand, slices and chunks for heads, other names. What the
check says about them shows that it recognises a mistake by what it does.
"""

from __future__ import annotations

from . import contract, fused, heads, masks, scores, softmax, sums
from ._rewriting import REWRITINGS, Rewriting, rewriting

__all__ = ["REWRITINGS", "Rewriting", "contract", "fused", "heads", "masks", "rewriting", "scores", "softmax", "sums"]
