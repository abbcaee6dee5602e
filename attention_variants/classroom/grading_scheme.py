"""What counts how much: every weight of the mark stands here.

A mark is between 0 and 1: the parts of the contract that are kept, each by its weight; less for a broken rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attention_variants.classroom.contract.evidence import SAME_ANSWER
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.sandbox.rules import READY_MADE_RULES, Rule

#: What each part of the contract is worth, before a variant's parts are made to sum to 1.
PARTS = {
    "shapes": 1.0,
    "scores": 2.0,
    "softmax": 2.0,
    "weighted_sum": 1.5,
    "batch": 1.0,
    "mask": 2.0,
    "heads": 2.0,
    "options": 1.5,
    "large_numbers": 1.0,
    "gradients": 1.0,
    "side_effects": 0.5,
    SAME_ANSWER: 4.0,
}

#: Capability to the part that it brings. A variant is about the last that it takes: that part is its lesson.
BROUGHT_BY = {
    "batch": "batch",
    "mask": "mask",
    "heads": "heads",
    "dropout": "options",
    "is_causal": "options",
    "need_weights": "options",
}
#: The lesson counts so many times as much.
LESSON_COUNTS = 3.0

#: Of a layer: the part about its projections, and how much of the score it is worth; the rest goes to the heads.
PROJECTIONS, OF_PROJECTIONS = "projections", 0.4

#: After the seven: what a question is worth, by the name of the goal and its key; 1 where none stands here.
QUESTIONS = {
    "KVCache.one_at_a_time": 2.0,
    "KVCache.in_float32": 0.5,
    "KVCache.mask": 1.5,
    "KVCache.reorder": 1.5,
    "grouped_query_attention.one_kv_head": 1.5,
    "grouped_query_attention.as_many": 1.5,
    "grouped_query_attention.in_float32": 0.5,
    "apply_rotary.later": 2.0,
    "apply_rotary.own_positions": 1.5,
    "apply_rotary.without_batch": 0.5,
    "apply_rotary.far": 0.5,
    "apply_rotary.in_float32": 0.5,
    "sampling_probabilities.plain": 0.5,
    "sampling_probabilities.top_k_ties": 0.5,
    "sampling_probabilities.top_k_and_top_p": 1.5,
    "sampling_probabilities.in_float32": 0.5,
}
#: What of a question is kept, by what is wrong with its answer; nothing where none stands here.
KEPT_OF_A_QUESTION = {"values": 0.2, "dtype": 0.4, "inputs": 0.6, "gradients": 0.6}

#: What is left of the score when a rule is broken, and when the attention is somebody else's.
RULE_BROKEN, READY_MADE_USED = 0.5, 0.0


def shares(exam: Exam, kept: Mapping[str, Collection[bool]]) -> dict[str, tuple[float, float]]:
    """Weigh the parts of a contract.

    Parameters
    ----------
    exam : Exam
        Of which variant.
    kept : mapping
        Part to whether each of its clauses is kept.

    Returns
    -------
    parts : dict
        Part to (how much of it is kept, 0 to 1; what it is worth, all together 1).
    """
    lesson = BROUGHT_BY[exam.takes[-1]] if exam.takes else None
    worth = {part: PARTS[part] * (LESSON_COUNTS if part == lesson else 1.0) for part in kept}
    total = sum(worth.values())
    return {part: (sum(results) / len(results), worth[part] / total) for part, results in kept.items()}


def with_projections(heads: Mapping[str, tuple[float, float]], kept: float) -> dict[str, tuple[float, float]]:
    """Weigh the parts of a layer: those of its heads, and its projections.

    Parameters
    ----------
    heads : mapping
        What `shares` gave for the heads.
    kept : float
        How much of the projections is right, 0 to 1.

    Returns
    -------
    parts : dict
    """
    parts = {part: (share, worth * (1 - OF_PROJECTIONS)) for part, (share, worth) in heads.items()}
    return parts | {PROJECTIONS: (kept, OF_PROJECTIONS)}


def score(parts: Mapping[str, tuple[float, float]], broken_rules: Collection[Rule]) -> float:
    """Give the mark.

    Parameters
    ----------
    parts : mapping
        Part to (how much of it is kept, what it is worth).
    broken_rules : collection of Rule
        Those that were broken.

    Returns
    -------
    score : float
        Between 0 and 1, to thousandths.
    """
    if set(READY_MADE_RULES) & set(broken_rules):
        return READY_MADE_USED
    whole = sum(kept * worth for kept, worth in parts.values())
    return round(whole * RULE_BROKEN if broken_rules else whole, 3)


def score_of_questions(goal: str, asked: Collection[str], wrong: Mapping[str, str]) -> float:
    """Give the mark for a goal.

    Parameters
    ----------
    goal : str
        Its name.
    asked : collection of str
        The keys of the questions that were put.
    wrong : mapping of str to str
        Of those that were not answered rightly, what is wrong: the code of the finding.

    Returns
    -------
    score : float
        Between 0 and 1, to thousandths.
    """
    worth = {key: QUESTIONS.get(f"{goal}.{key}", 1.0) for key in asked}
    kept = {key: KEPT_OF_A_QUESTION.get(wrong[key], 0.0) if key in wrong else 1.0 for key in asked}
    return round(sum(worth[key] * kept[key] for key in asked) / sum(worth.values()), 3)
