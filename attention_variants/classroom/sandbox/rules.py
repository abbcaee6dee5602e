"""The rules of a variant: what must be done its own way, held by watching what runs (`watch`), not by reading code.

`RULES` says which variant has which. What a rule counts is compared between a small problem and a larger one: code
without a loop over heads makes as many products for four heads as for two. A variant that has no entry there has no
rules of its own; that it must not be ready-made holds for all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto

from attention_variants import variants
from attention_variants.classroom.contract.problems import Exam, Problem
from attention_variants.variants import describe_variant

from .watch import PRODUCTS, watched


class Rule(StrEnum):
    """What a rule asks for; `wording.RULES` says it to the student."""

    NOT_THE_LIBRARY = auto()
    NOT_A_READY_LAYER = auto()
    ANSWERS_WHEN_WATCHED = auto()
    NO_WHOLE_PRODUCT = auto()
    NO_WHOLE_SOFTMAX = auto()
    NO_KERNEL = auto()
    KERNEL = auto()
    CONTEXT_OF_THE_KERNEL = auto()
    HEADS_IN_TURN = auto()
    NO_LOOP_OVER_QUERIES = auto()
    NO_LOOP_OVER_BATCH = auto()
    NO_LOOP_OVER_HEADS = auto()


#: Hold for every variant: attention that somebody else has written is no work.
READY_MADE_RULES = (Rule.NOT_THE_LIBRARY, Rule.NOT_A_READY_LAYER)


@dataclass(frozen=True)
class RulesOfOne:
    """The rules of one variant.

    Attributes
    ----------
    rules : tuple of Rule
        What must be done its own way.
    small, large : str
        The problems between which its operations are compared; the larger one has more of what it must not loop over.
    """

    rules: tuple[Rule, ...] = ()
    small: str = "fewer_queries"
    large: str = "all_different"


_ITEMS = {"small": "square", "large": "two_batch_axes"}

#: The one place that says which variant has which rules, by the name of its function.
RULES: dict[str, RulesOfOne] = {
    "attention_loops": RulesOfOne((Rule.NO_WHOLE_PRODUCT, Rule.NO_WHOLE_SOFTMAX, Rule.NO_KERNEL)),
    "attention_matmul": RulesOfOne((Rule.NO_KERNEL, Rule.NO_LOOP_OVER_QUERIES)),
    "attention_batched": RulesOfOne((Rule.NO_KERNEL, Rule.NO_LOOP_OVER_BATCH), **_ITEMS),
    "attention_masked": RulesOfOne((Rule.NO_KERNEL, Rule.NO_LOOP_OVER_BATCH), **_ITEMS),
    "multihead_attention_loop": RulesOfOne((Rule.NO_KERNEL, Rule.HEADS_IN_TURN)),
    "multihead_attention": RulesOfOne((Rule.NO_KERNEL, Rule.NO_LOOP_OVER_HEADS), large="three_heads"),
    "multihead_attention_fused": RulesOfOne((Rule.KERNEL, Rule.CONTEXT_OF_THE_KERNEL), large="no_weights"),
}
#: The package's own functions: another one of the same name has none of their rules.
_OWN = {name: getattr(variants, name) for name in RULES}
#: More operations than so many times those of the smaller problem, and so many beside: a loop. The larger problem has
#: 1.5 to 3 times as much to loop over, and a loop has that many times its operations, mostly more than the few that are
#: allowed beside. Products of matrices are compared first, and exactly. A few more operations are no loop: a copy, say.
LOOP_TIMES, LOOP_AND = 1.5, 4


@dataclass(frozen=True)
class Broken:
    """A rule that was broken.

    Attributes
    ----------
    rule : Rule
        Which.
    numbers : tuple of int
        How many operations a small and a larger problem took, if the rule compares them.
    of_products : bool
        Whether these are products of matrices alone.
    """

    rule: Rule
    numbers: tuple[int, ...] = ()
    of_products: bool = False


def rules_of(variant: int) -> RulesOfOne:
    """Look up the rules of a variant.

    Parameters
    ----------
    variant : int
        Its number.

    Returns
    -------
    rules : RulesOfOne
        None of them, if the variant has no entry in `RULES`; the remark "no_rules" says so.
    """
    one = describe_variant(variant)
    return RULES[one.name] if _OWN.get(one.name) is one.function else RulesOfOne()


def watched_problems(exam: Exam) -> tuple[Problem, Problem]:
    """Find the two problems that `watch` gives.

    Parameters
    ----------
    exam : Exam
        Of the variant.

    Returns
    -------
    small, large : Problem
        Of the exam numbered 0, whichever is given: how many operations a problem takes is not random.
    """
    asked = rules_of(exam.variant)
    return exam.default[asked.small], exam.default[asked.large]


def watch(fn: Callable, exam: Exam) -> list[dict[str, int]]:
    """Count the operations of a function on two problems, a small one and a larger one.

    Parameters
    ----------
    fn : callable
        The function.
    exam : Exam
        Of the variant.

    Returns
    -------
    counts : list of dict
        For the small and for the larger problem.
    """
    return [dict(watched(fn, s)) for s in watched_problems(exam)]


def find_broken(exam: Exam, counts: Sequence[dict[str, int]], answered: Sequence[bool]) -> list[Broken]:
    """Find which rules of a variant were broken.

    Parameters
    ----------
    exam : Exam
        Of the variant.
    counts : sequence of dict
        What `watch` counted.
    answered : sequence of bool
        Whether problems like these two were answered while nobody watched.

    Returns
    -------
    broken : list of Broken
        Empty if all is well.
    """
    small, large = (Counter(x) for x in counts)
    failed = bool(small["failed"]), bool(large["failed"])
    if any(failed):
        hides = any(f and a for f, a in zip(failed, answered, strict=True))
        return [Broken(Rule.ANSWERS_WHEN_WATCHED)] if hides else []
    numbers_of_context = math.prod(watched_problems(exam)[1].context_shape)
    rules = (*READY_MADE_RULES, *rules_of(exam.variant).rules)
    found = (_TESTS[rule](rule, small, large, numbers_of_context) for rule in rules)
    return [broken for broken in found if broken is not None]


# ------------------------------------------------------------------------------------------- how each rule is tested

_Test = Callable[[Rule, "Counter[str]", "Counter[str]", int], Broken | None]


def _never(*names: str) -> _Test:
    """No call of these."""

    def test(rule: Rule, small: Counter[str], large: Counter[str], _: int) -> Broken | None:
        return Broken(rule) if any(small[name] or large[name] for name in names) else None

    return test


def _kernel(counts: Counter[str]) -> bool:
    return any("scaled_dot_product" in name for name in counts)


def _no_kernel(rule: Rule, small: Counter[str], large: Counter[str], _: int) -> Broken | None:
    return Broken(rule) if _kernel(small + large) else None


def _with_kernel(rule: Rule, small: Counter[str], large: Counter[str], _: int) -> Broken | None:
    return None if _kernel(small + large) else Broken(rule)


def _context_of_kernel(rule: Rule, small: Counter[str], large: Counter[str], numbers: int) -> Broken | None:
    """As many numbers from the kernel as the context has; that it is called at all is another rule."""
    missed = _kernel(small + large) and large["numbers from the kernel"] < numbers
    return Broken(rule) if missed else None


def _products(counts: Counter[str]) -> int:
    return sum(counts[name] for name in PRODUCTS)


def _in_turn(rule: Rule, small: Counter[str], large: Counter[str], _: int) -> Broken | None:
    few, many = _products(small), _products(large)
    return Broken(rule, (few, many), of_products=True) if many <= few else None


def _no_loop(rule: Rule, small: Counter[str], large: Counter[str], _: int) -> Broken | None:
    if _products(large) > _products(small):
        return Broken(rule, (_products(small), _products(large)), of_products=True)
    few, many = small["operations"], large["operations"]
    return Broken(rule, (few, many)) if many > LOOP_TIMES * few + LOOP_AND else None


_TESTS: dict[Rule, _Test] = {
    Rule.NOT_THE_LIBRARY: _never("library"),
    Rule.NOT_A_READY_LAYER: _never("call multi_head_attention_forward", "call _native_multi_head_attention"),
    Rule.NO_WHOLE_PRODUCT: _never("whole product"),
    Rule.NO_WHOLE_SOFTMAX: _never("softmax of whole"),
    Rule.NO_KERNEL: _no_kernel,
    Rule.KERNEL: _with_kernel,
    Rule.CONTEXT_OF_THE_KERNEL: _context_of_kernel,
    Rule.HEADS_IN_TURN: _in_turn,
    Rule.NO_LOOP_OVER_QUERIES: _no_loop,
    Rule.NO_LOOP_OVER_BATCH: _no_loop,
    Rule.NO_LOOP_OVER_HEADS: _no_loop,
}
