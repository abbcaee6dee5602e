"""The sentences of a report, made of codes and numbers at the very end: what a translation begins with.

Other words stand elsewhere: those about a mistake in `misconceptions`; how a submission was loaded, in
`sandbox.wording`; which file could not be read, in `sandbox.submission`, `grading.read` and `grading.pool`; the class
page and the table in a terminal, in `grading.pages`, `grading.results` and ``templates/class.html``; the points, in
``templates/points.html``; errors of a caller, where they are raised.

No code reads a sentence back: whatever is written here instead, the same is found and named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .contract.answer import Failure
from .contract.evidence import Breach, Finding
from .contract.problems import Problem
from .sandbox.rules import Broken, Rule

#: Of a row, so many numbers are shown.
SHOWN = 8
#: Two rows that differ by less are shown with more digits.
CLOSE = 2e-3

#: How a problem is called, "with ...": by its key; the lengths are filled in.
PROBLEMS = {
    "square": "as many queries as keys",
    "fewer_queries": "{T_q} queries and {T_k} keys",
    "fewer_keys": "{T_q} queries and {T_k} keys",
    "all_different": "all lengths different",
    "wide_values": "values wider than the keys",
    "narrow_values": "values narrower than the keys",
    "one_size": "everything of one size",
    "equal_keys": "keys that are all equal",
    "keys_reordered": "keys and values in another order",
    "batch_reordered": "the batch in another order",
    "no_batch": "no batch dimension",
    "two_batch_axes": "two batch dimensions",
    "heads_reordered": "the heads in another order",
    "first_head": "the first head alone",
    "three_heads": "three heads",
    "open_mask": "a mask that blocks nothing",
    "causal_mask": "a causal mask",
    "scattered_mask": "a mask with scattered holes",
    "padding_mask": "a padding mask",
    "mask_for_each_item": "a mask for each item of the batch",
    "nothing_allowed": "a query that may attend to nothing",
    "oblong_mask": "a mask for {T_q} queries and {T_k} keys",
    "mask_for_each_head": "a mask for each head",
    "is_causal": "is_causal=True",
    "is_causal_fewer_keys": "is_causal=True and more queries than keys",
    "is_causal_and_mask": "is_causal=True and a mask",
    "no_weights": "need_weights=False",
    "no_weights_is_causal": "need_weights=False and is_causal=True",
    "no_weights_and_mask": "need_weights=False and a mask",
    "dropout": "dropout_p=0.25",
    "single_key": "a single key",
    "float64": "numbers in float64",
    "float16": "numbers in float16",
    "large_scores": "scores of about 40,000",
    "low_scores": "scores all far below zero",
    "large_scores_and_mask": "scores of about 40,000 and a mask",
    "low_scores_and_mask": "scores all far below zero and a mask",
    "real_sentence": "a real sentence",
    "real_query_alone": "a real sentence that is passed as the query alone",
    "real_keys_of_another": "queries of one sentence and keys of another",
    "real_values_of_another": "keys of one sentence and values of another",
    "real_padding_mask": "two real sentences and a padding mask",
}

#: How the parts of the contract are called.
PARTS = {
    "shapes": "shapes",
    "scores": "scores",
    "softmax": "softmax",
    "weighted_sum": "weighted sum",
    "batch": "batch",
    "mask": "mask",
    "heads": "heads",
    "options": "options",
    "large_numbers": "large numbers",
    "gradients": "gradients",
    "side_effects": "side effects",
    "same_answer": "the same answer",
    "projections": "projections",
}

#: What is guaranteed: by the key of a clause.
GUARANTEES = {
    "pair_of_tensors": "a pair of tensors of the right shapes comes back",
    "lengths_may_differ": "the number of queries and of keys may differ",
    "widths_may_differ": "values may be wider or narrower than keys",
    "dtype_kept": "the dtype is kept",
    "scaled_products": "scores are q . k / sqrt(d_k)",
    "equal_keys": "equal keys get equal weights",
    "rows_sum_to_one": "each query shares out a total of 1",
    "exponentials": "weights are exponentials of scores",
    "weighted_sum": "the context is the sum of values by weights",
    "order_of_keys": "the order of the keys does not matter",
    "items_apart": "items of a batch do not see each other",
    "no_batch": "one sequence without a batch works too",
    "several_batch_axes": "there may be several batch dimensions",
    "blocked_is_zero": "a blocked key has weight 0",
    "allowed_share_the_whole": "the allowed keys share the whole",
    "nothing_for_no_key": "a query with no key gets 0",
    "masked_weighted_sum": "the masked context is the weighted sum",
    "own_columns": "a head owns its columns",
    "heads_apart": "heads do not see each other",
    "any_number_of_heads": "any number of heads works",
    "causal": "is_causal blocks the future",
    "same_without_weights": "need_weights=False changes no context",
    "dropout_of_weights": "dropout acts on the weights",
    "finite": "large scores stay finite",
    "gradients_flow": "gradients reach q, k and v",
    "gradients_right": "gradients are right",
    "inputs_stay": "the inputs stay as they are",
    "two_calls_agree": "two calls agree",
    "right_answer": "the answer is the right one",
    "as_the_real_layer": "with the real layer's weights it does what the real layer does",
}

#: What was found: by the code of a finding, a template that its numbers are filled into. A list has several lines.
FOUND: dict[str, tuple[str, ...]] = {
    # no pair, or of other shapes
    "raised": ("it raised {error}",),
    "time": ("it did not finish within {seconds:g} seconds",),
    "ended": ("the process ended before the function had returned (exit, or os._exit?)",),
    "wrote_too_much": ("it wrote more into a file than it may",),
    "stopped": ("the process was stopped ({message})",),
    "not_loaded": ("{message}",),
    "no_pair": ("it returned {type}; expected the pair (context, weights)",),
    "no_pair_of_several": ("it returned a {type} of {length}; expected the pair (context, weights)",),
    "no_tensor": ("{name} is a {kind}; expected a tensor of shape {expected}",),
    "no_tensor_none": ("{name} is None; expected a tensor of shape {expected}",),
    "other_shape": ("{name} has shape {found}; expected {expected}",),
    "other_shape_swapped": (
        "{name} has shape {found}; expected {expected}. Are the two swapped? It is (context, weights)",
    ),
    "weights_not_asked_for": ("weights is a {kind}; with need_weights=False it must be None",),
    "other_dtype": ("{name} has dtype {kind}; expected {expected}, as q, k and v",),
    # scores and softmax
    "no_multiple_of_the_products": ("the weights do not follow from any multiple of q . k",),
    "other_scale": (
        "the weights are those of scores {scale:.3f} * (q . k); expected {expected:.3f} * (q . k), which is "
        "1 / sqrt(d_k) with d_k = {d_k}",
    ),
    "unequal_weights_of_equal_keys": ("all keys are the same, their weights are not: {weights}",),
    "negative_weights": ("there are negative weights, such as {lowest:.3f}",),
    "other_row_sums": ("the rows of the weights must sum to 1; here they sum to {sums}",),
    "other_row_sums_columns": (
        "the rows of the weights must sum to 1; here they sum to {sums}; the columns do sum to 1",
    ),
    "other_row_sums_first": (
        "the rows of the weights must sum to 1; here they sum to {sums}; summed over the first axis they give 1",
    ),
    "other_row_sums_heads": (
        "the rows of the weights must sum to 1; here they sum to {sums}; summed over the heads they give 1",
    ),
    "other_row_sums_everything": (
        "the rows of the weights must sum to 1; here they sum to {sums}; the whole matrix does sum to 1",
    ),
    "weights_not_above_zero": (
        "weights of 0, negative or not finite, where the softmax of moderate scores is always above 0",
    ),
    "not_exponentials": ("within a row, the weights are not proportional to the exponentials of scores",),
    # the weighted sum, and other orders
    "not_the_weighted_sum": (
        "the context is not the sum of the values by the weights that were returned:",
        "  context{at}                {context}",
        "  those weights with v give  {expected}",
    ),
    "another_answer_for_reordered_keys": ("keys and values in another order, together, change the answer",),
    "another_answer_for_a_reordered_batch": ("the batch in another order changes the answers",),
    "another_answer_without_a_batch": ("the first item alone gives another answer than in a batch",),
    "another_answer_with_two_batch_axes": ("with two batch dimensions, an item gets another answer than with one",),
    # masks and heads
    "blocked_key_has_weight": (
        "key {key} is blocked for query {query} (mask: {mask}), but gets a weight of {weight:.3g}; "
        "the row is {weights}",
    ),
    "other_sum_under_a_mask": ("with the mask {mask} a row is {weights}: it sums to {sum:.3f}, not to 1",),
    "other_proportions_under_a_mask": (
        "with the mask {mask} a row is {weights}; its weights without a mask, {before}, make that {expected}",
    ),
    "something_for_no_key_weights": ("query 1 may attend to nothing, but its weights are {found}; expected 0",),
    "something_for_no_key_context": ("query 1 may attend to nothing, but its context is {found}; expected 0",),
    "another_answer_of_a_head_alone_weights": (
        "the weights of head 0 are not those that its own columns of q and k give",
    ),
    "another_answer_of_a_head_alone_context": ("the first d_k columns of the context are not what head 0 gives alone",),
    "another_answer_for_reordered_heads": ("the heads in another order change the answers",),
    # gradients, side effects, large numbers
    "no_gradient": ("no gradient can be computed from the output", "{error}"),
    "gradient_does_not_reach": ("no gradient flows from the context back to {name}",),
    "gradient_not_finite": ("there is NaN or inf in the gradient of {name}",),
    "gradient_missing": ("the gradient of {name} differs: there is none",),
    "other_gradient_context": (
        "the gradient of {name} through the context differs, first in row {at}:",
        "  found     {found}",
        "  expected  {expected}",
    ),
    "other_gradient_both": (
        "the gradient of {name} through context and weights differs, first in row {at}:",
        "  found     {found}",
        "  expected  {expected}",
    ),
    "input_changed": ("it changed its input {name}; the caller's tensors must stay as they are",),
    "two_calls_differ": (
        "two calls on the same input give a different {name}: something in it is random, or remembered",
    ),
    "not_finite": ("there is NaN or inf in the {name}",),
    # options
    "another_context_without_weights": ("the context is not the one that comes with the weights",),
    "weights_after_dropout": (
        "the weights returned with dropout_p={p} are those after dropout; return those before it",
    ),
    "other_weights_under_dropout": ("the weights returned with dropout_p={p} are not those before dropout",),
    "dropout_of_the_context": (
        "dropout_p={p} drops numbers of the context; it is weights that are dropped, before they meet v",
    ),
    "no_dropout": ("dropout_p={p} drops nothing",),
    "other_share_dropped": ("dropout_p={p} drops {share:.0%} of the weights",),
    "not_rescaled": (
        "weights that are not dropped must be scaled by 1 / (1 - {p}) = {expected:.3f}; found {ratio:.3f}",
    ),
    # the same answer
    "other_numbers_weights": (
        "weights differ in {wrong} of {of} numbers, first in weights{at}:",
        "  found     {found}",
        "  expected  {expected}",
    ),
    "other_numbers_context": (
        "context differs in {wrong} of {of} numbers, first in context{at}:",
        "  found     {found}",
        "  expected  {expected}",
    ),
    "other_numbers_of_the_layer": (
        "{name} of the real layer: {wrong} of {of} numbers differ, first in {name}{at}:",
        "  found     {found}",
        "  expected  {expected}",
    ),
}

#: What stands around the findings in a report.
REPORT = {
    "right": "{name} computes what {goal} does.",
    "not_right": "{name} is not yet {goal}: score {score:.2f} of 1.",
    "not_written": "{name} is not yet {goal}.",
    "nothing_written": "Nothing is written there yet: it raises NotImplementedError.",
    "variant": "variant {variant}",
    "right_variant": "right (variant {variant})",
    "named_variant": "{function} (variant {variant})",
    "layer": "the layer MultiHeadAttention",
    "trouble": "There is nothing to judge: {trouble}",
    "first": "It first fails with {problem}.",
    "given": "given {given}",
    "also": "{part}: {line}",
    "also_with": "{part}, with {problem}: {line}",
    "looks_like": "This looks like {mistake}",
    "and_like": "And like {mistake}",
    "named": "{named}. {explanation}",
    "think_about": "Think about:",
    "hint": "{think_about} {hint}",
    "against": "Against the rules of this variant",
    "rule": "{against}: {rule}",
    "kept": "kept: {parts}",
    "to_do": "to do: {parts}",
    "part_kept": "{part} {kept:.0%}",
    "printed": "It printed {printed} characters, which are left out here.",
    "beside": "({words})",
    "all_in": "all in {dtype}",
    # in HTML alone
    "verdict_right": "Right:",
    "verdict_not_right": "Not yet right:",
    "verdict_not_graded": "Not graded.",
    "about": "{name}, {goal}. {score}",
    "score": "Score {score:.2f} of 1.",
    "example": "The smallest example that shows it",
    "with_given": "With {problem}: {given}",
    "more": "What else was found",
    "with_problem": "with {problem}",
    "parts": "What is kept of the contract",
    "share": "{kept:.0%} of {worth:.2f}",
    "remarks": "Remarks",
}

#: What is said of a shape in a warm-up.
SHAPES = {
    "right": "right",
    "nothing_written": "nothing is written there yet",
    "exists": "there is such a tensor",
    "number": "{found} is a number; a shape is a tuple, even of one number: ({found},)",
    "no_shape": "{found} is not a shape; a shape is a tuple such as (3, 4)",
    "does_not_exist": "is there such a tensor at all? Where there is none, write None",
    "another_order": "{found} has the right numbers in another order",
    "another_length": "{found} has {length} axes; another number of axes is right",
    "other_numbers": "{found} is not it; {right} of its axes are right",
}

#: What is said of a broken rule of a variant; a rule that compares two problems tells how many operations each took.
RULES = {
    Rule.NOT_THE_LIBRARY: "it calls a variant of this library; write the steps yourself.",
    Rule.NOT_A_READY_LAYER: "it calls a ready-made layer, nn.MultiheadAttention; write the steps yourself.",
    Rule.ANSWERS_WHEN_WATCHED: "it fails when its operations are watched, and only then.",
    Rule.NO_WHOLE_PRODUCT: "it multiplies whole matrices; here each score is computed for one query and one key.",
    Rule.NO_WHOLE_SOFTMAX: "it takes the softmax of a whole matrix; here it is taken of one row at a time.",
    Rule.NO_KERNEL: "it calls the fused kernel, scaled_dot_product_attention; that is variant 7.",
    Rule.KERNEL: "it never calls the fused kernel, scaled_dot_product_attention.",
    Rule.CONTEXT_OF_THE_KERNEL: "what it returns is not the context that the fused kernel computes.",
    Rule.HEADS_IN_TURN: "it takes all heads in one product; here they come one after the other. At once is variant 6.",
    Rule.NO_LOOP_OVER_QUERIES: "a larger problem takes more {what} ({few}, then {many}): there is a loop, "
    "perhaps over queries or keys.",
    Rule.NO_LOOP_OVER_BATCH: "a larger problem takes more {what} ({few}, then {many}): there is a loop, "
    "perhaps over the batch.",
    Rule.NO_LOOP_OVER_HEADS: "a larger problem takes more {what} ({few}, then {many}): there is a loop, "
    "perhaps over heads.",
}
#: What such a rule counts.
COUNTED = {True: "products of matrices", False: "operations"}
NO_RULES = "There are no rules for variant {variant}, {name}: only whether it is ready-made was looked at."


def say(template: str, language: str = "en", **fields: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template : str
        In English, with named fields: what a translation looks it up by.
    language : str, default "en"
        Only "en" so far.
    **fields
        What is filled in: a tuple of numbers as a row, one of truth values as a mask, one of integers as a shape.

    Returns
    -------
    sentence : str

    Raises
    ------
    ValueError
        If there is no such language.
    """
    if language != "en":
        raise ValueError(f"wording: language must be 'en'; got {language!r}. There is no translation yet.")
    return template.format(**{name: _shown(value) for name, value in fields.items()})


def _shown(value: Any) -> Any:
    if not isinstance(value, tuple) or not value:
        return value
    if isinstance(value[0], bool):
        return "[" + ", ".join(map(str, value)) + "]"
    return row(value) if isinstance(value[0], float) else str(value)


def row(numbers: tuple[float, ...], digits: int = 3) -> str:
    """Print a row."""
    shown = "  ".join(f"{x:.{digits}f}" if abs(x) < 1e6 else f"{x:.1e}" for x in numbers[:SHOWN])
    return f"[{shown}{'  ...' if len(numbers) > SHOWN else ''}]"


def _place(at: tuple[int, ...]) -> str:
    return "".join(f"[{i}]" for i in at)


def lines(finding: Finding | Breach, language: str = "en") -> list[str]:
    """Say what was found, in lines: a sentence, and rows of numbers below it.

    Parameters
    ----------
    finding : Finding or Breach
        A code and its numbers.
    language : str, default "en"
        Only "en" so far.

    Returns
    -------
    lines : list of str
        Rows of numbers begin with two spaces.
    """
    return [
        say(template, language, **fields)
        for code, fields in _told(finding.code, finding.numbers)
        for template in FOUND[code]
    ]


def sentence(finding: Finding | Breach, language: str = "en") -> str:
    """Say what was found, as `lines` does, in one piece.

    Parameters
    ----------
    finding : Finding or Breach
        A code and its numbers.
    language : str, default "en"
        Only "en" so far.

    Returns
    -------
    sentence : str
    """
    return "\n".join(lines(finding, language))


#: Codes that are said in several ways: what is appended to the code, by its numbers.
_WAYS: dict[str, Callable[[dict[str, Any]], str]] = {
    "no_pair": lambda numbers: "" if numbers["length"] is None else "_of_several",
    "no_tensor": lambda numbers: "_none" if numbers["kind"] == "None" else "",
    "other_shape": lambda numbers: "_swapped" if numbers["swapped"] else "",
    "other_row_sums": lambda numbers: f"_{numbers['sums_to_one']}" if numbers["sums_to_one"] else "",
    "something_for_no_key": lambda numbers: f"_{numbers['name']}",
    "other_gradient": lambda numbers: f"_{numbers['through']}",
}


def _told(code: str, numbers: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Which templates say a code, each with its fields: some codes are said in several ways, or several times."""
    fields = dict(numbers)
    if "at" in fields:
        fields["at"] = _place(fields["at"])
    if code in ("raised", "no_gradient"):
        return [(code, {"error": raised(fields["exception"], fields["message"])})]
    if code == "other_dtype":
        expected = fields["expected"]
        return [(code, {"name": name, "kind": kind, "expected": expected}) for name, kind in fields["kinds"].items()]
    if code == "another_answer_of_a_head_alone":
        return [(f"{code}_{name}", {}) for name, differs in fields.items() if differs]
    if code == "other_numbers":
        return [(f"{code}_{name}", _compared(told)) for name, told in fields.items()]
    return [(code + (_WAYS[code](fields) if code in _WAYS else ""), fields)]


def _compared(told: Mapping[str, Any]) -> dict[str, Any]:
    """Two rows, with more digits where they are close."""
    digits = 7 if told["largest_difference"] < CLOSE else 3
    rows = {name: row(told[name], digits) for name in ("found", "expected")}
    return {**told, **rows, "at": _place(told["at"])}


def raised(exception: str, message: str) -> str:
    """An exception as Python prints it."""
    return f"{exception}: {message}" if message else exception


def failure(told: Failure, language: str = "en") -> str:
    """Say why there is no answer.

    Parameters
    ----------
    told : Failure
        What happened.
    language : str, default "en"
        Only "en" so far.

    Returns
    -------
    sentence : str
    """
    return sentence(Breach(told.kind, told.numbers), language)


def mistake(name: str) -> str:
    """Say the name of a mistake as one says it.

    Parameters
    ----------
    name : str
        Such as "scale_by_d_k".

    Returns
    -------
    words : str
        Such as "scale by d_k".
    """
    return re.sub(r"\bd (k|v|model)\b", r"d_\1", name.replace("_", " "))


def rule(broken: Broken, language: str = "en") -> str:
    """Say which rule of a variant was broken.

    Parameters
    ----------
    broken : Broken
        The rule, and how many operations were counted.
    language : str, default "en"
        Only "en" so far.

    Returns
    -------
    sentence : str
    """
    few, many = broken.numbers or (0, 0)
    return say(RULES[broken.rule], language, what=COUNTED[broken.of_products], few=few, many=many)


def no_rules(variant: int, name: str, language: str = "en") -> str:
    """Say that a variant has no rules of its own.

    Parameters
    ----------
    variant : int
        Its number.
    name : str
        Its function.
    language : str, default "en"
        Only "en" so far.

    Returns
    -------
    sentence : str
    """
    return say(NO_RULES, language, variant=variant, name=name)


def title(s: Problem, language: str = "en") -> str:
    """Call a problem: what comes after "with".

    Parameters
    ----------
    s : Problem
        The problem.
    language : str, default "en"
        Only "en" so far.

    Returns
    -------
    title : str
    """
    return say(PROBLEMS[s.key], language, T_q=s.q.shape[-2], T_k=s.k.shape[-2])


def given(s: Problem, language: str = "en") -> str:
    """Name the inputs of a problem with their shapes.

    Parameters
    ----------
    s : Problem
        The problem.
    language : str, default "en"
        Only "en" so far.

    Returns
    -------
    given : str
    """
    parts = [f"{name} {np.shape(x)}" for name, x in (("q", s.q), ("k", s.k), ("v", s.v))]
    if s.mask is not None:
        parts.append(f"mask {s.mask.shape}")
    if s.num_heads is not None:
        parts.append(f"num_heads={s.num_heads}")
    parts += [f"{name}={value}" for name, value in s.options.items()]
    if s.dtype != "float32":
        parts.append(say(REPORT["all_in"], language, dtype=s.dtype))
    return ", ".join(parts)
