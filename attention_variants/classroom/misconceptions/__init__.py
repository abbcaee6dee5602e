"""All words that a student reads about a mistake, by theme; and, for many, wrong code that is ready to be run.

Every name that a report can say stands here with its explanation and its hint, and nowhere else. Many have code: what
the mistake changes in the source of the right variant. So it cannot drift away from it, and
``diff(variant, mistake.function)`` shows just the lines that are wrong. They stand by theme: the scores, the softmax,
the weighted sum, the batch, masks, heads, the fused kernel, what a contract asks beside numbers, the layer; and, after
the seven, caches, what stands around them, shared keys, rotary positions, sampling, the kernel block by block, and the
layers of a Transformer.
"""

from __future__ import annotations

from . import (
    batch,
    cache,
    contract,
    decoding,
    fused,
    heads,
    kernel,
    layer,
    masks,
    rotary,
    sampling,
    scores,
    shared_keys,
    softmax,
    transformer,
    weighted_sum,
)
from ._mistake import Mistake, rewrite

__all__ = ["MISCONCEPTIONS", "THEMES", "Mistake", "of_goal", "of_the_layer", "rewrite", "with_code"]

#: The mistakes by theme.
THEMES: dict[str, tuple[Mistake, ...]] = {
    theme.__name__.rsplit(".", 1)[-1].replace("_", " "): theme.MISTAKES
    for theme in (
        *(scores, softmax, weighted_sum, batch, masks, heads, fused, contract, layer),
        *(cache, decoding, shared_keys, rotary, sampling, kernel, transformer),
    )
}


def _place(mistake: Mistake) -> int:
    return mistake.variant if mistake.variants else 1000


#: All mistakes by name, in the order of the seven: by the variant that shows them best, then those without code.
MISCONCEPTIONS: dict[str, Mistake] = {
    mistake.name: mistake for mistake in sorted((mistake for theme in THEMES.values() for mistake in theme), key=_place)
}


def with_code() -> dict[str, Mistake]:
    """The mistakes that have wrong code of a variant.

    Returns
    -------
    mistakes : dict
        Name to mistake, each with ``variants``, ``functions`` and ``function``.
    """
    return {name: mistake for name, mistake in MISCONCEPTIONS.items() if mistake.variants}


def of_goal(goal: str) -> dict[str, Mistake]:
    """The mistakes that have wrong code of something after the seven.

    Parameters
    ----------
    goal : str
        Its public name, such as "apply_rotary".

    Returns
    -------
    mistakes : dict
        Name to mistake, each with an ``implementation`` of the goal.
    """
    return {name: mistake for name, mistake in MISCONCEPTIONS.items() if goal in mistake.goals}


def of_the_layer() -> dict[str, Mistake]:
    """The mistakes that have wrong code of the layer.

    Returns
    -------
    mistakes : dict
        Name to mistake, each with a ``layer``.
    """
    return {name: mistake for name, mistake in MISCONCEPTIONS.items() if mistake.forward}
