"""The catalogue of misconceptions: each entry is wrong where it says so, in words a student understands, and unique."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import attention_variants as av
from attention_variants.classroom.diagnosis.slips import SLIPS
from attention_variants.classroom.goals import GOALS
from attention_variants.classroom.misconceptions import (
    MISCONCEPTIONS,
    THEMES,
    Mistake,
    of_goal,
    of_the_layer,
    rewrite,
    with_code,
)
from attention_variants.classroom.misconceptions._mistake import alike
from attention_variants.classroom.wording import FOUND
from attention_variants.model.masks import causal_mask, padding_mask
from attention_variants.variants import VARIANTS

B, T_Q, T_K, H, D_K = 2, 4, 6, 3, 5  # no two alike, and in one situation
D_ALIKE = 3  # all: whatever axis is taken for another, it fits
TOLERANCE = 1e-4
NAMED = [(mistake, variant) for mistake in with_code().values() for variant in mistake.variants]
IDS = [f"{variant}-{mistake.name}" for mistake, variant in NAMED]


# ------------------------------------------------------------------------------- where a mistake may show itself


@dataclass(frozen=True)
class Situation:
    """Inputs within the contract, and in words of the catalogue what is special about them."""

    name: str
    inputs: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    gradients: bool = False


@cache
def situations(variant: int) -> tuple[Situation, ...]:
    generator = torch.Generator().manual_seed(0)
    found = []

    def add(
        name,
        T_q=T_Q,
        T_k=T_K,
        batch=(B,),
        width=D_K if variant <= 4 else H * D_K,
        d_v=None,
        mask=None,
        factor=1.0,
        dtype=None,
        tags=(),
        gradients=False,
        **options,
    ):
        batch = batch if variant >= 3 else ()
        q, k, v = (
            torch.randn(*batch, length, size, generator=generator)
            for length, size in ((T_q, width), (T_k, width), (T_k, d_v or width))
        )
        if factor < 0:  # every score far below 0
            q, k = q.abs(), k.abs()
        q, k = q * abs(factor), k * factor
        inputs = [x if dtype is None else x.to(dtype) for x in (q, k, v)]
        inputs += [mask] * (variant >= 4) + [H] * (variant >= 5)
        tags = {*tags, *["T_q differs from T_k"] * (T_q != T_k)}
        if mask is not None or "is_causal" in options:
            tags.add("a mask")
        found.append(Situation(name, tuple(inputs), options, frozenset(tags), gradients))

    add("as many queries as keys", T_q=T_K, gradients=True)
    add("fewer queries than keys", gradients=True)
    add("more queries than keys", T_q=T_K, T_k=T_Q)
    add("large scores", factor=20.0, tags=["large scores"])
    add("scores far below 0", factor=-20.0, tags=["large scores"])
    add("float64", dtype=torch.float64, tags=["not float32"])
    add("all sizes alike", T_q=D_ALIKE, T_k=D_ALIKE, batch=(D_ALIKE,), width=D_ALIKE ** (1 + (variant >= 5)))
    if variant <= 4:
        add("wide values", d_v=7, tags=["d_v differs from d_k"])
    if variant >= 3:
        add("no batch", batch=(), T_q=T_K)
        add("two batch dimensions", batch=(2, 3))
    if variant >= 4:
        heads = variant >= 5
        head_axis = [1] * heads
        add("a causal mask", T_q=T_K, mask=causal_mask(T_K))
        padding = padding_mask([T_K, 2], T_K, head_axis=heads)
        add("padding", mask=padding)
        add("padding, as many queries as keys", T_q=T_K, mask=padding.expand(B, *head_axis, T_K, T_K).clone())
        empty = torch.rand(B, *head_axis, T_Q, T_K, generator=generator) < 0.6
        empty[0, ..., 1, :] = False
        add("a query with no key", mask=empty, tags=["a query with no key"], gradients=True)
        blocked = torch.rand(B, *head_axis, T_Q, T_K, generator=generator) < 0.5
        blocked[..., 0] |= ~blocked.any(dim=-1)
        add("large scores under a mask", mask=blocked, factor=200.0, tags=["large scores"])
        if heads:
            each = torch.rand(B, H, T_Q, T_K, generator=generator) < 0.5
            each[..., 0] |= ~each.any(dim=-1)
            add("a mask for each head", mask=each)
    if variant == 7:
        add("is_causal", tags=["is_causal"], is_causal=True)
        add("is_causal, more queries than keys", T_q=T_K, T_k=T_Q, tags=["is_causal"], is_causal=True)
        add("is_causal and padding", mask=padding, tags=["is_causal"], is_causal=True)
        add("is_causal, no weights", tags=["is_causal", "need_weights=False"], is_causal=True, need_weights=False)
        add("no weights", tags=["need_weights=False"], need_weights=False)
    return tuple(found)


def error(raised: Exception) -> dict[str, Any]:
    return {"error": type(raised).__name__}


def outcome(function, situation: Situation) -> dict[str, Any]:
    """All that a caller can see of one call."""
    inputs = tuple(x.clone() if isinstance(x, Tensor) else x for x in situation.inputs)
    torch.default_generator.manual_seed(0)
    try:
        result = function(*inputs, **situation.options)
    except Exception as raised:
        return error(raised)
    seen: dict[str, Any] = {"pair": isinstance(result, tuple) and len(result) == 2}
    context, weights = result if seen["pair"] else (result, None)
    seen |= {"context": context, "weights": weights}
    for x, before, name in zip(inputs, situation.inputs, ("q", "k", "v", "mask"), strict=False):
        if isinstance(x, Tensor) and not torch.equal(x, before):
            seen["changed"] = name
    if situation.gradients and "changed" not in seen:
        leaves = [x.clone().requires_grad_() for x in situation.inputs[:3]]
        try:
            outputs = [
                x
                for x in function(*leaves, *inputs[3:], **situation.options)
                if isinstance(x, Tensor) and x.requires_grad
            ]
            loss = sum((x * torch.linspace(-1, 1, x.numel()).view(x.shape)).sum() for x in outputs)
            seen["gradients"] = torch.cat(
                [x.flatten() for x in torch.autograd.grad(loss, leaves, materialize_grads=True)]
            )
        except Exception as raised:
            seen["gradients"] = error(raised)
    return seen


def same(x: Any, y: Any, tolerance: float = TOLERANCE) -> bool:
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        return type(x) is type(y) and not isinstance(x, Tensor) and x == y
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    return np.allclose(x.detach().numpy(), y.detach().numpy(), rtol=tolerance, atol=tolerance, equal_nan=True)


def parts_that_differ(seen: dict, other: dict, tolerance: float = TOLERANCE) -> set[str]:
    return {part for part in seen.keys() | other.keys() if not same(seen.get(part), other.get(part), tolerance)}


@cache
def outcomes(variant: int, name: str | None) -> tuple[dict[str, Any], ...]:
    """What a mistake, or with no name the right function, does in each situation."""
    function = VARIANTS[variant] if name is None else MISCONCEPTIONS[name].functions[variant]
    return tuple(outcome(function, situation) for situation in situations(variant)) + dropped(variant, function)


def dropped(variant: int, function) -> tuple[dict[str, Any], ...]:
    """What dropout does, which is random, told by what it comes to on the whole: with one key, whose value is 1."""
    if variant < 7:
        return ()
    q, k, v = (
        torch.randn(600, H * D_K, generator=torch.Generator().manual_seed(0)),
        torch.ones(2, H * D_K),
        torch.ones(2, H * D_K),
    )
    k[1] = -1.0
    torch.default_generator.manual_seed(0)
    try:
        context, weights = function(q, k, v, None, H, dropout_p=0.5)
    except Exception as raised:
        return (error(raised),)
    if not isinstance(context, Tensor) or context.shape != q.shape:
        return ({"context": "misshapen"},)
    heads = context.unflatten(-1, (H, D_K))
    whole = {  # 1 on average; what a head drops, it drops from all its columns
        "mean": context.mean().round(decimals=1).item(),
        "columns agree": bool((heads == heads[..., :1]).all()),
        "random": bool(context.std() > 0.1),
    }
    if isinstance(weights, Tensor):
        whole["rows sum to 1"] = bool(((weights.sum(dim=-1) - 1).abs() < 1e-4).all())
        whole["share of weights at 0"] = round((weights == 0).float().mean().item(), 1)
        whole["mean of squares"] = round(weights.square().mean().item(), 2)
    return (whole,)


DROPOUT = Situation("dropout", (), tags=frozenset({"dropout", "T_q differs from T_k"}))


def where_it_differs(mistake: Mistake, variant: int) -> list[tuple[Situation, set[str]]]:
    every = [*situations(variant), DROPOUT] if variant == 7 else situations(variant)
    both = zip(every, outcomes(variant, mistake.name), outcomes(variant, None), strict=True)
    return [(situation, parts) for situation, x, y in both if (parts := parts_that_differ(x, y))]


# ------------------------------------------------------------------------------------------------- the catalogue


def test_there_are_enough_over_all_seven_variants():
    assert len(MISCONCEPTIONS) >= 65
    assert {variant for _, variant in NAMED} == set(VARIANTS)
    for variant in VARIANTS:
        assert sum(variant in mistake.variants for mistake in with_code().values()) >= 20, variant
    order = [mistake.variant for mistake in with_code().values()]
    assert order == sorted(order), "the order of the seven"


def test_those_of_the_notebooks_show_in_their_variant():
    shown = {
        "no_max_subtraction": 1,
        "softmax_over_queries": 2,
        "transpose_of_the_batch": 3,
        "mask_after_softmax": 4,
        "inverted_mask": 4,
        "scale_by_d_model": 5,
        "view_without_transpose": 6,
        "merge_without_transpose": 6,
        "dropout_in_evaluation": 7,
    }
    assert {name: MISCONCEPTIONS[name].variant for name in shown} == shown


@pytest.mark.parametrize("mistake", with_code().values(), ids=with_code())
def test_an_entry_says_what_a_student_needs(mistake):
    assert re.fullmatch("[a-z0-9_]+", mistake.name)
    assert len(set(mistake.variants)) == len(mistake.variants) >= 1
    assert set(mistake.variants) <= set(VARIANTS)
    assert mistake.variant == mistake.variants[0]
    assert mistake.function is mistake.functions[mistake.variant]
    for sentence, ends in ((mistake.explanation, "."), (mistake.hint, ".?")):
        assert sentence[0].isupper() or sentence.startswith(("is_causal", "need_weights")), sentence
        assert sentence[-1] in ends, sentence
        assert not re.search(r"[.?!] [A-Z]", sentence), f"one sentence: {sentence}"
        assert 30 <= len(sentence) <= 130, sentence
    assert mistake.explanation != mistake.hint
    assert mistake.shows
    assert mistake.shows[-1] != "."
    assert mistake.seen == "common" or re.fullmatch(r"https://[\w.-]+/\S+", mistake.seen)
    assert hash(mistake) != 0, "it can stand in a set"
    assert mistake.name in repr(mistake)


#: Those of what comes after the seven have their code there, and their tests in `test_goals`.
WITHOUT_CODE = [mistake for mistake in MISCONCEPTIONS.values() if not mistake.variants and not mistake.goals]


@pytest.mark.parametrize("mistake", WITHOUT_CODE, ids=lambda one: one.name)
def test_a_name_without_code_of_a_variant_says_what_a_student_needs(mistake):
    assert re.fullmatch("[a-zA-Z0-9_]+", mistake.name)
    assert 30 <= len(mistake.explanation) <= 130
    assert 30 <= len(mistake.hint) <= 130
    assert mistake.explanation[-1] == "."
    assert mistake.hint[-1] in ".?)"
    with pytest.raises(ValueError, match=r"with_code\(\)"):
        _ = mistake.function
    assert bool(mistake.forward) == (mistake.name in of_the_layer())


CLASSROOM = Path(av.__file__).parent / "classroom"


def names_in(source: str) -> set[str]:
    """The names that code of the diagnosis gives: keys of the catalogue, what is returned, what stands in tables."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "MISCONCEPTIONS":
            found |= strings(node.slice)
        elif isinstance(node, ast.FunctionDef) and "str" in ast.unparse(node.returns or node):
            returns = (one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None)
            found |= set().union(*map(strings, returns))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            found |= set().union(*map(strings, [*filter(None, node.value.keys), *node.value.values]))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Tuple):
            rows = [row.elts for row in node.value.elts if isinstance(row, ast.Tuple)]
            found |= set().union(*(strings(row[0]) | strings(row[-1]) for row in rows))
    return {name for name in found if name.count("_") > 1 or name in MISCONCEPTIONS}


def strings(node: ast.AST) -> set[str]:
    return {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)}


#: Codes that stand in the same tables.
CODES = set(FOUND) | {code.rpartition("_")[0] for code in FOUND}


def test_every_name_that_a_report_can_say_is_in_the_catalogue():
    diagnosis = CLASSROOM / "diagnosis"
    by_name = {path.stem: names_in(path.read_text(encoding="utf-8")) for path in diagnosis.glob("*.py")}
    named = {slip.name for slip in SLIPS}
    for module in ("suspicions", "shapes", "search"):
        assert by_name[module], module
        assert by_name[module] - CODES <= set(MISCONCEPTIONS), module
        named |= by_name[module]
    after = {name for goal in GOALS for name in of_goal(goal)}
    assert set(MISCONCEPTIONS) <= named | set(with_code()) | set(of_the_layer()) | after, "a name that nothing can say"


def test_words_about_a_mistake_stand_in_one_place():
    """A mistake is made, and its explanation and hint are written, in the catalogue and nowhere else."""
    for path in CLASSROOM.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        made = [node for node in calls if getattr(node.func, "id", getattr(node.func, "attr", "")) == "Mistake"]
        keywords = [keyword for node in calls for keyword in node.keywords if keyword.arg in ("explanation", "hint")]
        worded = [keyword for keyword in keywords if not isinstance(keyword.value, ast.Attribute | ast.Name)]
        assert path.parent.name == "misconceptions" or not (made or worded), path
    assert sum(len(theme) for theme in THEMES.values()) == len(MISCONCEPTIONS)


def test_no_two_say_the_same():
    for part in ("name", "explanation"):
        assert len({getattr(mistake, part) for mistake in MISCONCEPTIONS.values()}) == len(MISCONCEPTIONS)


@pytest.mark.parametrize("mistake", with_code().values(), ids=with_code())
def test_a_hint_does_not_give_the_line_away(mistake):
    hint = mistake.hint.replace(" ", "")
    for variant in mistake.variants:
        right = inspect.getsource(VARIANTS[variant])
        body = right[right.index("check_inputs(") :]
        for call in re.findall(r"[\w.]*\w\([^()]*\)", body):
            assert call.replace(" ", "") not in hint
        for code in re.findall(r"[^\s,]*[=@*/~][^\s,]*", mistake.hint):
            assert code == "dropout_p=0.5" or code == "=", f"code in a hint: {code}"


def parameters(function) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(("mistake", "variant"), NAMED, ids=IDS)
def test_a_mistake_has_the_signature_of_its_variant(mistake, variant):
    function = mistake.functions[variant]
    assert parameters(function) == parameters(VARIANTS[variant])
    assert function.__name__ == mistake.name
    assert mistake.functions[variant] is function, "made once"


@pytest.mark.parametrize(("mistake", "variant"), NAMED, ids=IDS)
def test_a_mistake_is_wrong_somewhere_and_there_alone(mistake, variant):
    differs = where_it_differs(mistake, variant)
    assert differs, "it is right everywhere"
    if mistake.shows.startswith(("only", "under")):
        conditions = {word for word in CONDITIONS if re.search(CONDITIONS[word], mistake.shows)}
        for situation, _ in differs:
            assert not conditions or conditions & situation.tags, f"it shows in another: {situation.name}"
    parts = set().union(*(parts for _, parts in differs)) - {"error"}
    if match := re.search(r"in the (context|weights|gradients?)\b.* alone", mistake.shows):
        alone = {"context": {"context"}, "weights": {"weights"}}.get(match[1], set()) | {"gradients"}
        assert parts <= alone | set(DROPPED), f"{parts} differ"


#: What a condition is called in `shows`, as the tag of a situation.
CONDITIONS = {
    "a query with no key": "no key",
    "a mask": "mask",
    "large scores": "scores",
    "not float32": "float32$",
    "d_v differs from d_k": "d_v",
    "T_q differs from T_k": "T_q",
    "is_causal": "is_causal",
    "need_weights=False": "need_weights",
    "dropout": "dropout",
}
DROPPED = ("mean", "columns agree", "random", "rows sum to 1", "share of weights at 0", "mean of squares")


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_two_are_the_same_function(variant):
    names = [mistake.name for mistake in MISCONCEPTIONS.values() if variant in mistake.variants]
    pairs = [
        (one, other)
        for one, other in itertools.combinations(names, 2)
        if not any(
            parts_that_differ(x, y) for x, y in zip(outcomes(variant, one), outcomes(variant, other), strict=True)
        )
    ]
    assert pairs == []


# ------------------------------------------------------------------------------------ how wrong code is made of right


def test_a_change_that_no_longer_fits_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="'no such line' does not stand in attention_matmul"):
        rewrite(VARIANTS[2], "wrong", ("dim=-1", "dim=0"), ("no such line", ""))
    mistake = Mistake("wrong", "", "", changes=alike((2, 3), ("k.T", "k")))
    assert callable(mistake.functions[2])
    with pytest.raises(ValueError, match=r"'k\.T' does not stand in attention_batched"):
        _ = mistake.functions[3]


def test_each_function_shows_its_own_source():
    mistake = MISCONCEPTIONS["no_scale"]
    assert "scores[i, j] = q[i] @ k[j]" in av.show(mistake.functions[1]).text
    assert "scores = q @ k.T" in av.show(mistake.functions[2]).text
    assert "scores = q @ k.transpose(-2, -1)" in av.show(mistake.functions[5]).text
    assert "def no_scale(" in av.show(mistake.functions[6]).text
    assert av.diff(2, mistake.functions[2]).changed == 2  # the name and the line


def test_no_right_line_is_called_what_it_is_not():
    """A comment of the right source that the mistake makes false would tell a student not to look there."""
    for mistake, variant in NAMED:
        if isinstance(mistake.changes[variant], tuple):
            source = inspect.getsource(mistake.functions[variant])
            if "every row sums to 1" in source:
                assert "torch.softmax(scores, dim=-1)" in source, mistake.name
            if "not -inf" in source:
                assert "torch.finfo(scores.dtype).min" in source, mistake.name


def at_two_depths(x, again):
    x = x + 1
    x = 2 * x
    for _ in range(again):
        x = x + 1
        x = 2 * x
    x = x + 1
    return x


def test_whole_lines_are_replaced_at_the_depth_at_which_they_stand():
    lines = ("    x = x + 1\n    x = 2 * x\n", "    if x > 0:\n        x = x - 1\n\n")
    wrong = rewrite(at_two_depths, "wrong", lines, ("range(again)", "range(again + 1)"))
    at_one, at_two = (textwrap.indent(lines[1], pad) for pad in ("", "    "))
    head, tail = "def wrong(x, again):\n", "    x = x + 1\n    return x\n"
    assert inspect.getsource(wrong) == f"{head}{at_one}    for _ in range(again + 1):\n{at_two}{tail}"
    assert wrong(5, 1) == 3


def test_lines_of_two_depths_are_not_taken_for_one_piece():
    with pytest.raises(ValueError, match="does not stand in at_two_depths"):
        rewrite(at_two_depths, "wrong", ("    x = 2 * x\n    x = x + 1\n", ""))


def test_by_hand_variant_7_is_variant_6_with_its_options():
    mistake = MISCONCEPTIONS["no_scale"]
    q, k, v = torch.randn(3, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = mistake.functions[6](q, k, v, causal_mask(4), 2)
    for found, x in zip(mistake.functions[7](q, k, v, None, 2, is_causal=True), expected, strict=True):
        torch.testing.assert_close(found, x)
    assert mistake.functions[7](q, k, v, None, 2, need_weights=False)[1] is None


def test_functions_are_a_mapping_made_as_asked_for():
    mistake = Mistake("wrong", "", "", changes=alike((2, 3), ("softmax", "log_softmax")))
    assert list(mistake.functions) == [2, 3]
    assert len(mistake.functions) == 2
    assert 4 not in mistake.functions
    assert mistake.functions[3].__name__ == "wrong"
    with pytest.raises(KeyError):
        _ = mistake.functions[4]
