"""Mistakes that people really make, each ready to be run: the only place where wrong code lives.

A mistake is written down as what it changes in the source of the right variant. So it cannot drift away from
it, and ``diff(variant, mistake.function)`` shows just the lines that are wrong. They stand by theme: the scores, the
softmax, the weighted sum, the batch, masks, heads, the fused kernel, and what a contract promises beside numbers.
"""

from __future__ import annotations

from . import batch, contract, fused, heads, masks, scores, softmax, weighted_sum
from ._misconception import Misconception, rewrite

__all__ = ["MISCONCEPTIONS", "Misconception", "rewrite"]

_BY_THEME = (scores, softmax, weighted_sum, batch, masks, heads, fused, contract)

#: The mistakes by name, in the order of the staircase: by the variant that shows them best.
MISCONCEPTIONS: dict[str, Misconception] = {
    mistake.name: mistake
    for mistake in sorted(
        (mistake for theme in _BY_THEME for mistake in theme.MISTAKES), key=lambda mistake: mistake.variant
    )
}
