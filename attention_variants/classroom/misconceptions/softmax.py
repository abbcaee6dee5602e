"""Mistakes in the softmax: its axis, its overflow, and what is put in its place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attention_variants.variants import takes

from ._mistake import CLEAR_ALWAYS, SOFTMAX, Changes, Mistake, alike, by_hand

_LARGEST = "largest = max(scores[i], default=0)  # 0 if there is no key"
_STABLE = "torch.exp(scores[i] - largest)  # the largest becomes exp(0) = 1: no overflow"
_EXP = f"""\
        {_LARGEST}
        exp = {_STABLE}
"""
_ROW = f"""\
{_EXP}        weights[i] = exp / exp.sum()
"""
_LOOP = f"""\
    weights = torch.zeros_like(scores)
    for i in range(T_q):
{_ROW}"""


def _softmax(loops: tuple[str, str], matrices: str) -> dict:
    """What stands in the place of the softmax: in the loops of variant 1, and from variant 2 on."""
    return alike((1,), loops) | _of_matrices((2, 3, 4, 5, 6), (SOFTMAX, matrices))


def _of_matrices(variants: tuple[int, ...], change: tuple[str, str]) -> dict:
    """A change of the softmax from variant 2 on: blocked keys may get a share of another one, which is taken away."""
    without = tuple(variant for variant in variants if not takes(variant, "mask"))
    masked = tuple(variant for variant in variants if takes(variant, "mask"))
    return alike(without, change) | alike(masked, change, CLEAR_ALWAYS) | by_hand()


def _over(axis: str) -> tuple[str, str]:
    """A softmax over another axis than that of the keys."""
    return ("dim=-1)  # over the keys: every row sums to 1", axis)


def _by_hand(exp: str) -> str:
    """A softmax written out, around some exponential."""
    return f"(exp := {exp}) / exp.sum(dim=-1, keepdim=True)"


def running_sums_not_corrected(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax and sum in one pass, as the fused kernel does it, but for a factor."""
    (T_q, d_k), (T_k, d_v) = q.shape, v.shape
    contexts, weights = [], []
    for i in range(T_q):
        largest, total = q.new_tensor(-math.inf), q.new_zeros(())
        context, exps = v.new_zeros(d_v), []
        for j in range(T_k):
            score = (q[i] / math.sqrt(d_k)) @ k[j]
            largest = torch.maximum(largest, score)
            exp = torch.exp(score - largest)
            total = total + exp
            context = context + exp * v[j]
            exps.append(exp)
        contexts.append(context / total)
        weights.append(torch.stack(exps) / total)
    return torch.stack(contexts), torch.stack(weights)


_DOWN_THE_COLUMNS: Changes = (
    (
        _LOOP,
        """\
    weights = torch.zeros_like(scores)
    for j in range(T_k):
        largest = max(scores[:, j], default=0)
        exp = torch.exp(scores[:, j] - largest)
        weights[:, j] = exp / exp.sum()
""",
    ),
)

MISTAKES = (
    Mistake(
        name="no_max_subtraction",
        explanation="The softmax is taken as the formula has it: exp of a large score overflows, inf / inf is NaN.",
        hint="Softmax stays the same when one number is taken from every score of a row, and which number helps?",
        shows="only for scores above 88 (float32)",
        seen="https://github.com/pytorch/executorch/pull/18407",
        changes=_softmax((_EXP, "        exp = torch.exp(scores[i])\n"), _by_hand("torch.exp(scores)")),
        of_goals={
            "grouped_query_attention": (
                ("torch.softmax(scores, dim=-1)", "torch.exp(scores) / torch.exp(scores).sum(dim=-1, keepdim=True)"),
            ),
        },
    ),
    Mistake(
        name="maximum_of_everything",
        explanation="One maximum is taken from all rows: every exp of a row far below it is 0, and gives 0 / 0.",
        hint="What becomes of a row whose scores are all a thousand lower than those of another row?",
        shows="only for scores that differ by more than 100 between rows, and in the gradients for a query with no key",
        seen="common",
        changes=_softmax(
            (_EXP, "        exp = torch.exp(scores[i] - scores.max())\n"), _by_hand("torch.exp(scores - scores.max())")
        ),
    ),
    Mistake(
        name="maximum_starts_at_zero",
        explanation="The search for the maximum starts at 0, above all negative scores: a row of them gives 0 / 0.",
        hint="What is the largest of three negative numbers, and does your code say the same?",
        shows="only for rows in which all scores are far below 0",
        seen="https://github.com/flashinfer-ai/flashinfer/issues/4267",
        changes=_softmax(
            (_EXP, "        exp = torch.exp(scores[i] - max([0, *scores[i]]))\n"),
            _by_hand("torch.exp(scores - scores.amax(dim=-1, keepdim=True).clamp(min=0))"),
        ),
    ),
    Mistake(
        name="scores_clamped",
        explanation="The scores are clamped so that exp does not overflow: all large scores become one and the same.",
        hint="Are the scores 100 and 200 equally good, and do they get equal weights in your code?",
        shows="only for scores above 80",
        seen="common",
        changes=_softmax(
            (_EXP, "        exp = torch.exp(scores[i].clamp(max=80.0))\n"),
            _by_hand("torch.exp(scores.clamp(max=80.0))"),
        ),
    ),
    Mistake(
        name="softmax_over_queries",
        explanation="The softmax runs down the columns: the weights of each key, not of each query, sum to 1.",
        hint="Each query shares out a total of 1, so along which axis of (T_q, T_k) do its shares lie?",
        shows="always, unless there is one query and one key",
        seen="https://github.com/labmlai/annotated_deep_learning_paper_implementations/issues/146",
        changes=alike((2,), _over("dim=0)  # over the queries"))
        | {1: _DOWN_THE_COLUMNS}
        | _of_matrices((3, 4, 5, 6), _over("dim=-2)  # over the queries")),
        of_goals={
            "grouped_query_attention": (("torch.softmax(scores, dim=-1)", "torch.softmax(scores, dim=-2)"),),
        },
    ),
    Mistake(
        name="softmax_over_everything",
        explanation="The softmax runs over the whole matrix: all its weights together sum to 1, and a row to less.",
        hint="How much does one query give away in all, and how much do three queries?",
        shows="from two queries on",
        seen="https://github.com/lucidrains/perceiver-pytorch/issues/46",
        changes=_softmax(
            (_LOOP, "    exp = torch.exp(scores - scores.max())\n    weights = exp / exp.sum()\n"),
            "torch.softmax(scores.flatten(-2), dim=-1).view_as(scores)",
        ),
    ),
    Mistake(
        name="one_denominator_for_all",
        explanation="The exponentials are divided by the sum of them all, and not each by the sum of its own row.",
        hint="How many sums are there in the softmax of a matrix with three rows?",
        shows="from two queries on",
        seen="common",
        changes=_softmax(
            (_LOOP, "    exp = torch.exp(scores - scores.amax(dim=1, keepdim=True))\n    weights = exp / exp.sum()\n"),
            "(exp := torch.exp(scores - scores.amax(dim=-1, keepdim=True))) / exp.sum()",
        ),
    ),
    Mistake(
        name="softmax_twice",
        explanation="The softmax is taken of what is a softmax already: the weights come out nearly even.",
        hint="Count how often the exponential is taken on the way from a score to its weight.",
        shows="always, from two keys on",
        seen="common",
        changes=_softmax(
            ("exp / exp.sum()", "torch.softmax(exp / exp.sum(), dim=0)"),
            "torch.softmax(torch.softmax(scores, dim=-1), dim=-1)",
        ),
    ),
    Mistake(
        name="log_softmax_for_softmax",
        explanation="The logarithm of the weights is taken for the weights: they are negative and sum to anything.",
        hint="Can a share of the whole be negative?",
        shows="always",
        seen="common",
        changes=_softmax(("exp / exp.sum()", "torch.log(exp / exp.sum())"), "torch.log_softmax(scores, dim=-1)"),
    ),
    Mistake(
        name="sigmoid_for_softmax",
        explanation="A sigmoid squeezes each score between 0 and 1 on its own, so that a row does not sum to 1.",
        hint="Should a key's weight depend on the scores of the other keys?",
        shows="always",
        seen="common",
        changes=_softmax((_ROW, "        weights[i] = torch.sigmoid(scores[i])\n"), "torch.sigmoid(scores)"),
    ),
    Mistake(
        name="all_on_the_largest",
        explanation="The key with the largest score takes everything: a choice, through which no gradient flows.",
        hint="What does the soft in softmax stand for?",
        shows="always, from two keys on",
        seen="common",
        changes=_softmax(
            (_ROW, "        weights[i, scores[i].argmax()] = 1.0\n"),
            "torch.zeros_like(scores).scatter(-1, scores.argmax(dim=-1, keepdim=True), 1.0)",
        ),
    ),
    Mistake(
        name="no_softmax",
        explanation="The scores weigh the values as they are: they may be negative, and a row sums to anything.",
        hint="Which step of the formula turns numbers of any size into shares of a whole?",
        shows="always",
        seen="common",
        changes=_softmax((_ROW, "        weights[i] = scores[i]\n"), "scores"),
    ),
    Mistake(
        name="divided_by_the_sum_of_scores",
        explanation="The scores are divided by their sum: a row sums to 1, but scores of both signs give wild weights.",
        hint="What are your weights for the scores 1 and -1?",
        shows="always, from two keys on",
        seen="common",
        changes=_softmax(
            (_ROW, "        weights[i] = scores[i] / scores[i].sum()\n"), "scores / scores.sum(dim=-1, keepdim=True)"
        ),
    ),
    Mistake(
        name="divided_by_the_length",
        explanation="The row of scores is brought to length 1: its squares sum to 1, and the weights do not.",
        hint="To normalise can mean several things, so what exactly must be 1 here?",
        shows="always",
        seen="common",
        changes=_softmax(
            (_ROW, "        weights[i] = scores[i] / scores[i].norm()\n"),
            "scores / scores.norm(dim=-1, keepdim=True)",
        ),
    ),
    Mistake(
        name="no_denominator",
        explanation="The exponentials are not divided by their sum, so that a row sums to more than 1.",
        hint="A softmax has a numerator and what else?",
        shows="always, from two keys on",
        seen="common",
        changes=_softmax(("exp / exp.sum()", "exp"), "torch.exp(scores - scores.amax(dim=-1, keepdim=True))"),
    ),
    Mistake(
        name="base_of_two",
        explanation="Powers of two are taken in place of powers of e: the weights come out too even.",
        hint="Fast kernels use base 2 too, but what do they multiply the scores by first?",
        shows="always, from two keys on",
        seen="common",
        changes=_softmax(
            (_STABLE, "torch.exp2(scores[i] - largest)"),
            _by_hand("torch.exp2(scores - scores.amax(dim=-1, keepdim=True))"),
        ),
    ),
    Mistake(
        name="denominator_carried_on",
        explanation="The sum of the exponentials is not set back between the queries: later rows sum to less and less.",
        hint="What do the first row and the last row of your weights sum to?",
        shows="from two queries on",
        seen="common",
        changes=alike(
            (1,),
            ("    weights = torch.zeros_like(scores)\n", "    weights, total = torch.zeros_like(scores), 0.0\n"),
            ("weights[i] = exp / exp.sum()", "total = total + exp.sum()\n        weights[i] = exp / total"),
        ),
    ),
    Mistake(
        name="normalised_before_the_end",
        explanation="Each exponential is divided by the sum so far: the first key always gets a weight of 1.",
        hint="How many scores of a row must be known before its first weight can be?",
        shows="always, from two keys on",
        seen="common",
        changes=alike((1,), ("exp / exp.sum()", "exp / exp.cumsum(dim=0)")),
    ),
    Mistake(
        name="running_sums_not_corrected",
        explanation="A new maximum turns up on the way, and what was summed against the old one is left as it is.",
        hint="Two exponentials were measured against different maxima: what makes them comparable?",
        shows="whenever a later key has a larger score than those before it",
        seen="common",
        changes={1: running_sums_not_corrected},
    ),
    Mistake(
        name="keepdim_forgotten",
        explanation="The row sums lose their axis and divide the columns: broadcasting pairs a sum with a wrong row.",
        hint="Write down the shapes on both sides of the division, aligned at the right.",
        shows="always: as an error where the shapes do not broadcast",
        seen="common",
        changes=_of_matrices(
            (2, 3, 4, 5, 6),
            (SOFTMAX, "(exp := torch.exp(scores - scores.amax(dim=-1, keepdim=True))) / exp.sum(dim=-1)"),
        ),
    ),
    Mistake(
        name="softmax_over_the_batch",
        explanation="The softmax runs over the first axis, and that is the batch: the sequences share out the weight.",
        hint="What did the first axis hold before the batch arrived, and what does it hold now?",
        shows="always, unless T_k = 1 and the batch holds one sequence",
        seen="https://github.com/PetrochukM/PyTorch-NLP/issues/2",
        changes=_of_matrices((3, 4, 5, 6), _over("dim=0)  # over the batch")),
    ),
    Mistake(
        name="softmax_over_heads",
        explanation="The softmax runs over the heads: they compete with each other, and a row does not sum to 1.",
        hint="Name the four axes of the scores and say which one a query shares its weight along.",
        shows="always, unless T_k = 1 and there is one head",
        seen="common",
        changes=_of_matrices((6,), _over("dim=-3)  # over the heads")),
    ),
    # Known by what they compute (a knob of `diagnosis.knobs`) or by what they break, without code of their own.
    Mistake(
        name="softmin",
        explanation="The softmax has the wrong sign: the least similar key gets the most.",
        hint="Each query shares out a total of 1. Along which axis of the weights do its shares lie?",
    ),
    Mistake(
        name="relu_not_exp",
        explanation="Negative scores become 0 in place of a small exponential.",
        hint="Each query shares out a total of 1. Along which axis of the weights do its shares lie?",
    ),
    Mistake(
        name="first_query_left_out",
        explanation="The loop over the queries begins one late: the first row of the weights stays 0.",
        hint="Which rows of the weights does your loop fill when there are three queries?",
    ),
    Mistake(
        name="minimum_for_maximum",
        explanation="The smallest score is taken off and not the largest: exp of what is left overflows.",
        hint="Which of the scores of a row must become exp(0), so that none is larger?",
    ),
    Mistake(
        name="softmax_over_axis_1",
        explanation="The softmax runs over axis 1, which does not hold the keys here.",
        hint="Each query shares out a total of 1. Along which axis of the weights do its shares lie?",
    ),
    Mistake(
        name="epsilon_in_the_denominator",
        explanation="Something small is added to the sum of the exponentials: rows sum to a little less than 1.",
        hint="After the maximum is taken off, how small can the sum of the exponentials of a row become?",
    ),
)
