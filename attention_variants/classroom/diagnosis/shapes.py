"""Wrong shapes: what they are made of, what puts them right, and what is wrong beside that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from attention_variants.classroom.contract.answer import Answer
from attention_variants.classroom.contract.clauses import judge
from attention_variants.classroom.contract.evidence import Evidence, Finding
from attention_variants.classroom.contract.problems import Problem
from attention_variants.classroom.contract.reference import right, right_gradients, same_numbers
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, Mistake

from .fit import IN_CONTEXT, Candidate, context_is_right, weights_of, words
from .knobs import turned
from .slips import slips_of

#: How what is left is named, once something was put right.
Diagnose = Callable[[Evidence, Sequence[Finding]], tuple[Mistake, ...]]

# -------------------------------------------------------------------------- what came back in place of the weights

#: What comes back in place of the weights, made of the weights.
_MADE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "weights_averaged_over_heads": lambda w: w.mean(-3),
    "weights_of_the_last_head": lambda w: w[..., -1, :, :],
    "weights_stacked_before_the_batch": lambda w: np.moveaxis(w, -3, 0),
}


def made_of_the_weights(e: Evidence, wrong: Sequence[Problem], best: Candidate | None) -> tuple[Mistake, ...]:
    """What came back in place of the weights, where the rest of the answer is explained, or right."""
    for s in wrong:
        found = e.answer(s).weights
        explained = weights_of(best, s) if best else right(s)[1]
        if found is None or explained is None or (s.num_heads or 1) == 1 or s.large or s.dtype != "float32":
            continue
        if best.fits[s.key] != IN_CONTEXT if best else not context_is_right(e, s):
            continue
        for name, make in _MADE.items():
            expected = make(explained).squeeze()
            if found.squeeze().shape == expected.shape and same_numbers(s, found.squeeze(), expected):
                return (MISCONCEPTIONS[name],)
    return ()


def weights_alone_are_misshapen(e: Evidence, wrong: Sequence[Problem]) -> bool:
    """Whether all that is wrong is the shape of the weights."""
    return all(s.random or (e.failed(s) and context_is_right(e, s)) for s in wrong)


# ------------------------------------------------------------------------------------- the pair, the wrong way round


def looks_swapped(e: Evidence) -> bool:
    """Whether the weights stand where the context belongs, wherever the shapes can tell."""
    telling = [s for s in e.problems if s.context_shape != s.weights_shape]
    answers = [(s, e.answer(s)) for s in telling]
    whole = [(s, x) for s, x in answers if x.context is not None and x.weights is not None]
    swapped = [
        x.context.shape == s.weights_shape and x.weights.shape[:-1] == s.context_shape[:-1]  # type: ignore[union-attr]
        for s, x in whole
    ]
    return 2 * len(whole) > len(answers) and all(swapped)  # the values may have been mistaken for something narrower


def beside_the_swap(e: Evidence, diagnose: Diagnose) -> tuple[Mistake, ...]:
    """What else is wrong if context and weights change places."""
    names = {"context": "weights", "weights": "context"}
    answers = {}
    for s in e.problems:
        x = e.answer(s)
        answers[s.key] = replace(
            x,
            context=x.weights,
            weights=x.context,
            kinds={name: x.kinds[names[name]] for name in x.kinds},
            sizes={names[name]: size for name, size in x.sizes.items()},
            unreadable={names[name]: failure for name, failure in x.unreadable.items()},
            again={names[name]: y for name, y in x.again.items()},
            gradients=_as_if_right(s),
            no_gradient=None,
        )
    return _of_mended(e, answers, diagnose)


def _as_if_right(s: Problem) -> dict[str, np.ndarray]:
    """Gradients to go with numbers that were put where they belong: those that the function has are of others."""
    if not s.gradient:
        return {}
    return {f"{which}.{name}": g for which in ("context", "both") for name, g in right_gradients(s, which).items()}


def _of_mended(e: Evidence, answers: dict[str, Answer], diagnose: Diagnose) -> tuple[Mistake, ...]:
    """What is wrong beside what was put right."""
    mended = Evidence(e.exam, answers)
    findings, _ = judge(mended)
    return diagnose(mended, findings) if findings else ()


# ------------------------------------------------------------------------------------------ axes put together wrongly

#: The mistake, which of context and weights has it, the shape that it gives, and the way back to the right shape.
_Mend = tuple[Mistake, str, Callable[[Problem], tuple[int, ...]], Callable[[Problem, np.ndarray], np.ndarray]]


def mended(e: Evidence, diagnose: Diagnose) -> tuple[Mistake, ...] | None:
    """What puts context or weights of a wrong shape right everywhere, and what is wrong beside that."""
    for mistake, part, shape_of, back in _mends("heads" in e.exam.takes):
        answers = {s.key: _mend(s, e.answer(s), part, shape_of, back) for s in e.problems}
        if any(answer is None for answer in answers.values()):
            continue
        whole = {key: answer for key, answer in answers.items() if answer is not None}
        if sum(getattr(e.answer(s), part).shape != getattr(s, f"{part}_shape") for s in _with(e, part)) > 1:
            return (mistake, *(x for x in _of_mended(e, whole, diagnose) if x.name != mistake.name))[:2]
    return None


def _with(e: Evidence, part: str) -> list[Problem]:
    return [s for s in e.problems if getattr(e.answer(s), part) is not None]


def _mend(s: Problem, answer: Answer, part: str, shape_of: Callable, back: Callable) -> Answer | None:
    """An answer with a part of it put right; None if it has not the shape that could be."""
    found = getattr(answer, part)
    if found is None:
        return answer
    if found.shape != shape_of(s):
        return None
    again = dict(answer.again)
    if part in again and again[part].shape == found.shape:
        again[part] = back(s, again[part])
    right_now = {part: back(s, found), "again": again, "gradients": _as_if_right(s), "no_gradient": None}
    return replace(answer, **right_now)


def _sizes(s: Problem) -> tuple[tuple[int, ...], int, int, int, int]:
    """The axes before the last two, heads, queries, keys, and the width of a head."""
    H = s.num_heads or 1
    return s.q.shape[:-2], H, s.q.shape[-2], s.k.shape[-2], s.q.shape[-1] // H


def _joined(s: Problem, x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -3, -2).reshape(s.context_shape)


def _apart(s: Problem, x: np.ndarray, *axes: int) -> np.ndarray:
    """Axes that were put together, apart again: the heads first, then the batch."""
    lead, H, *_ = _sizes(s)
    return np.moveaxis(x.reshape(H, *lead, *axes), 0, -3)


#: By the name of the mistake: the shape, of the sizes, and the way back.
_OF_THE_CONTEXT: tuple[tuple[str, Callable, Callable], ...] = (
    ("heads_never_merged", lambda b, H, T, S, d: (*b, H, T, d), _joined),
    ("heads_never_merged", lambda b, H, T, S, d: (*b, T, H, d), lambda s, x: x.reshape(s.context_shape)),
    ("heads_never_merged", lambda b, H, T, S, d: (H, *b, T, d), lambda s, x: _joined(s, np.moveaxis(x, 0, -3))),
    (
        "heads_never_merged",
        lambda b, H, T, S, d: (*b, T, d, H),
        lambda s, x: np.swapaxes(x, -2, -1).reshape(s.context_shape),
    ),
    (
        "heads_below_each_other",
        lambda b, H, T, S, d: (*b, H * T, d),
        lambda s, x: _joined(s, x.reshape(*s.q.shape[:-2], s.num_heads, s.q.shape[-2], -1)),
    ),
    (
        "heads_below_each_other",
        lambda b, H, T, S, d: (H * b[0], *b[1:], T, d) if b else (H * T, d),
        lambda s, x: _joined(s, _apart(s, x, s.q.shape[-2], -1)),
    ),
)
_OF_THE_WEIGHTS: tuple[tuple[str, Callable, Callable], ...] = (
    ("weights_stacked_before_the_batch", lambda b, H, T, S, d: (H, *b, T, S), lambda s, x: np.moveaxis(x, 0, -3)),
    ("weights_with_the_heads_elsewhere", lambda b, H, T, S, d: (*b, T, H, S), lambda s, x: np.swapaxes(x, -3, -2)),
    ("weights_with_the_heads_elsewhere", lambda b, H, T, S, d: (*b, T, S, H), lambda s, x: np.moveaxis(x, -1, -3)),
    (
        "weights_of_the_heads_joined",
        lambda b, H, T, S, d: (*b, T, H * S),
        lambda s, x: np.swapaxes(x.reshape(*x.shape[:-1], s.num_heads, -1), -3, -2),
    ),
    (
        "weights_of_the_heads_joined",
        lambda b, H, T, S, d: (*b, H * T, S),
        lambda s, x: x.reshape(s.weights_shape),
    ),
    (
        "weights_of_the_heads_joined",
        lambda b, H, T, S, d: (math.prod(b) * H, T, S),
        lambda s, x: x.reshape(s.weights_shape),
    ),
    (
        "weights_of_the_heads_joined",
        lambda b, H, T, S, d: (H * b[0], *b[1:], T, S) if b else (H * T, S),
        lambda s, x: _apart(s, x, *s.weights_shape[-2:]),
    ),
)


@lru_cache
def _mends(with_heads: bool) -> tuple[_Mend, ...]:
    """All that can be mended."""

    def transposed(s: Problem) -> tuple[int, ...]:
        return (*s.context_shape[:-2], s.context_shape[-1], s.context_shape[-2])

    def mend(part: str, name: str, shape: Callable, back: Callable) -> _Mend:
        return MISCONCEPTIONS[name], part, lambda s: shape(*_sizes(s)), back

    mends: list[_Mend] = [
        (MISCONCEPTIONS["context_transposed"], "context", transposed, lambda s, x: np.swapaxes(x, -2, -1))
    ]
    if with_heads:
        mends += [mend("context", *one) for one in _OF_THE_CONTEXT]
        mends += [mend("weights", *one) for one in _OF_THE_WEIGHTS]
    return tuple(mends)


# ---------------------------------------------------------------------------------------- as wide as one head

#: What comes back as wide as one head, made of the contexts of all.
_MADE_OF_HEADS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "heads_summed": lambda x: x.sum(-2),
    "heads_averaged": lambda x: x.mean(-2),
    "returned_after_the_first_head": lambda x: x[..., 0, :],
    "last_head_alone": lambda x: x[..., -1, :],
}


def made_of_the_heads(e: Evidence) -> tuple[Mistake, ...]:
    """What a context that is as wide as one head was made of, and a slip beside that, if there is one."""
    wide = []
    for s in e.problems:
        x = e.answer(s).context
        if x is None or (s.num_heads or 1) == 1 or s.large or s.random or s.dtype != "float32":
            continue
        if x.shape != (*s.context_shape[:-1], s.context_shape[-1] // (s.num_heads or 1)):
            return ()
        wide.append((s, x))
    if len(wide) < 2:
        return ()
    for slips in ((), *((slip,) for slip in slips_of(e.exam.takes))):
        outcomes = [(s, x, turned(s, slips)) for s, x in wide]
        for name, make in _MADE_OF_HEADS.items():
            if all(
                outcome is not None
                and same_numbers(s, x, make(outcome[0].reshape(*x.shape[:-1], s.num_heads or 1, -1)))
                for s, x, outcome in outcomes
            ):
                return (MISCONCEPTIONS[name], *words(e.exam, slips))[:2]
    return ()
