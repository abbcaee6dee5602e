"""Mistakes that people really make, each ready to be run: the only place where wrong code lives.

A mistake is written down as what it changes in the source of the right variant. So it cannot drift away from
it, and ``diff(variant, mistake.function)`` shows just the lines that are wrong.
"""

from __future__ import annotations

import inspect
import linecache
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from attention_variants.variants import get_variant


@dataclass(frozen=True)
class Misconception:
    """A mistake with a name.

    Attributes
    ----------
    name : str
        What the function with the mistake is called.
    variant : int
        The variant that it gets wrong, 1 to 7.
    changes : tuple of (str, str)
        What stands in the variant's source, and what stands there in the wrong one.
    explanation : str
        What goes wrong, in a sentence.
    hint : str
        Where to look, without giving the line away.
    function : callable
        The wrong implementation, with the variant's signature.
    """

    name: str
    variant: int
    changes: tuple[tuple[str, str], ...]
    explanation: str
    hint: str
    function: Callable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", rewrite(get_variant(self.variant), self.name, *self.changes))


def rewrite(function: Callable, name: str, *changes: tuple[str, str]) -> Callable:
    """Make a function out of another one's source with pieces of it replaced.

    Parameters
    ----------
    function : callable
        A function defined at the top of a module.
    name : str
        What the new function is called.
    *changes : tuple of (str, str)
        What to replace, wherever it stands, and by what.

    Returns
    -------
    rewritten : callable
        Its source can be shown, traced and compared like any other.

    Raises
    ------
    ValueError
        If a piece does not stand in the source: the variant has changed and the mistake must follow.
    """
    source = textwrap.dedent(inspect.getsource(function)).replace(f"def {function.__name__}(", f"def {name}(", 1)
    for old, new in changes:
        if old not in source:
            raise ValueError(f"rewrite: {old!r} does not stand in {function.__name__}.")
        source = source.replace(old, new)
    file = f"<{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for show, trace and errors
    namespace = dict(function.__globals__)
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


_BLOCK_BEFORE_SOFTMAX = """\
    if mask is not None:
        # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
"""

#: The mistakes by name, in the order of the staircase.
MISCONCEPTIONS: dict[str, Misconception] = {
    mistake.name: mistake
    for mistake in (
        Misconception(
            name="no_max_subtraction",
            variant=1,
            changes=(
                (
                    "torch.exp(scores[i] - max(scores[i], default=0))  # the largest becomes exp(0): no overflow",
                    "torch.exp(scores[i])",
                ),
            ),
            explanation="The softmax is taken as the formula has it: exp of a large score overflows, inf / inf is NaN.",
            hint="Softmax stays the same when one number is taken from every score of a row. Which number helps?",
        ),
        Misconception(
            name="softmax_over_queries",
            variant=2,
            changes=(("dim=-1)  # over the keys: every row sums to 1", "dim=0)  # over the queries"),),
            explanation="The softmax runs down the columns: the weights of each key, not of each query, sum to 1.",
            hint="Each query shares out a total of 1. Along which axis of (T_q, T_k) do its shares lie?",
        ),
        Misconception(
            name="transpose_of_the_batch",
            variant=3,
            changes=(("k.transpose(-2, -1)", "k.transpose(0, 1)"),),
            explanation="The first two axes are swapped, as in variant 2; but now the first is the batch.",
            hint="Say in words what each axis of k holds. Which two does the product of matrices need swapped?",
        ),
        Misconception(
            name="mask_after_softmax",
            variant=4,
            changes=((_BLOCK_BEFORE_SOFTMAX, ""),),
            explanation="It comes after the softmax: blocked keys have had their share, a row no longer sums to 1.",
            hint="What do the rows of the weights sum to? When must a blocked key be out of the running?",
        ),
        Misconception(
            name="inverted_mask",
            variant=4,
            changes=(("~mask", "mask"),),
            explanation="True is read as blocked: each query attends to exactly what it must not see.",
            hint="Here True means may attend. nn.MultiheadAttention says the opposite.",
        ),
        Misconception(
            name="scale_by_d_model",
            variant=5,
            changes=(("math.sqrt(d_k)", "math.sqrt(d_model)"),),
            explanation="The scores are divided by sqrt(d_model), but a head is d_k wide: the weights are too even.",
            hint="Over how many products does one score of one head sum?",
        ),
        Misconception(
            name="view_without_transpose",
            variant=6,
            changes=(
                ("T_q, num_heads, d_k).transpose(-3, -2)", "num_heads, T_q, d_k)"),
                ("T_k, num_heads, d_k).transpose(-3, -2)", "num_heads, T_k, d_k)"),
                ("(..., T, d_model) -> (..., T, H, d_k) -> (..., H, T, d_k)", "(..., T, d_model) -> (..., H, T, d_k)"),
            ),
            explanation="The shape is right, the numbers are not: a head gets whole tokens, not columns of each token.",
            hint="Number the entries of a small q and follow one token through the split. Does it stay one row?",
        ),
        Misconception(
            name="merge_without_transpose",
            variant=6,
            changes=(
                ("context.transpose(-3, -2).reshape(", "context.reshape("),
                (
                    "(..., H, T_q, d_k) -> (..., T_q, H, d_k) -> (..., T_q, d_model)",
                    "(..., H, T_q, d_k) -> (..., T_q, d_model)",
                ),
            ),
            explanation="The heads are merged while their axis stands before the tokens: a row mixes several tokens.",
            hint="The split swapped two axes. What must happen before the last two are joined?",
        ),
        Misconception(
            name="dropout_in_evaluation",
            variant=7,
            changes=(("dropout_p=dropout_p", "dropout_p=0.1"),),
            explanation="Dropout is always on: two calls on the same input disagree.",
            hint="Who decides whether weights are dropped, and when should the answer be 0?",
        ),
    )
}
