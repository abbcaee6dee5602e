"""Sentences are made of codes and numbers at the very end: whatever they say, the same is found and named."""

from __future__ import annotations

import ast
import json
import math
import re
from pathlib import Path

import pytest
import torch

import attention_variants as av
from attention_variants.classroom import wording
from attention_variants.classroom.contract.answer import Failure
from attention_variants.classroom.contract.clauses import clauses
from attention_variants.classroom.contract.evidence import Breach
from attention_variants.classroom.contract.problems import REAL, Exam
from attention_variants.classroom.grading_scheme import PARTS, PROJECTIONS
from attention_variants.classroom.misconceptions import MISCONCEPTIONS

CLASSROOM = Path(av.__file__).parent / "classroom"
JUDGING = [
    *(CLASSROOM / "contract").glob("*.py"),
    *(CLASSROOM / "diagnosis").glob("*.py"),
    *(CLASSROOM / name for name in ("check.py", "check_layer.py", "grading_scheme.py")),
]


def shares(scores):
    return torch.softmax(scores, dim=-1)


def odd_scale(q, k, v):
    weights = shares(0.123 * q @ k.T)
    return weights @ v, weights


def odd_axis(q, k, v):
    weights = torch.softmax(torch.cosine_similarity(q[:, None], k[None], dim=-1) * 3, dim=0)
    return weights @ v, weights


def one_batch_axis(q, k, v):
    weights = shares(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[2]))
    return torch.bmm(weights, v), weights


def right(q, k, v):
    weights = shares(q @ k.T / math.sqrt(q.shape[-1]))
    return weights @ v, weights


def random(q, k, v):
    context, weights = right(q, k, v)
    return context + torch.randn(()), weights


def changed_input(q, k, v):
    context, weights = right(q, k, v.clone())
    v.data.add_(1.0)
    return context, weights


def other_dtype(q, k, v):
    return tuple(x.half() if x.dtype == torch.float64 else x for x in right(q, k, v))


def in_a_list(q, k, v):
    context, weights = right(q, k, v)
    return list(context), list(weights)


def cut_in_part(q, k, v):
    context, weights = right(q, k, v)
    return context.detach() / 2 + context / 2, weights


def written_into(q, k, v):
    weights, rows = right(q, k, v)[1], torch.zeros(len(q), len(k), dtype=q.dtype)
    context = torch.zeros(len(q), v.shape[1], dtype=q.dtype)
    for i in range(len(q)):
        rows[i] = weights[i]
        context[i] = rows[i] @ v
    return context, rows


def kept_what_should_be_dropped(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, **options):
    dropout_p = 1 - dropout_p if dropout_p else 0.0
    return av.multihead_attention_fused(q, k, v, mask, num_heads, dropout_p=dropout_p, **options)


def squeezed(q, k, v):
    context, weights = right(q, k, v)
    return context, weights.squeeze()


def items_mixed(q, k, v):
    if q.ndim > 2:
        q = q - 0.7 * q.flip(0)
    return av.attention_batched(q, k, v)


#: Mistakes that are named by their numbers, by a shape, by a code, by an error's text or by where they show.
NAMED = [
    (odd_scale, 2, "wrong_scale"),
    (odd_axis, 2, "softmax_over_queries"),
    (one_batch_axis, 3, "one_batch_axis_only"),
    (random, 2, "different_from_call_to_call"),
    (changed_input, 2, "changes_its_input"),
    (other_dtype, 2, "dtype_not_kept"),
    (in_a_list, 2, "tensors_in_a_list"),
    (cut_in_part, 2, "gradient_cut_in_part"),
    (written_into, 2, "written_into_after_use"),
    (kept_what_should_be_dropped, 7, "dropout_keeps_what_it_should_drop"),
    (squeezed, 2, "squeeze_drops_an_axis"),
    (items_mixed, 3, "batch_items_mixed"),
    *(
        (MISCONCEPTIONS[name].functions[variant], variant, name)
        for name, variant in (
            ("no_max_subtraction", 1),
            ("context_as_wide_as_the_keys", 1),
            ("softmax_over_everything", 2),
            ("transpose_of_the_batch", 3),
            ("no_key_taken_for_every_key", 4),
            ("weights_averaged_over_heads", 6),
            ("dropout_without_rescaling", 7),
        )
    ),
]


@pytest.fixture
def nonsense(monkeypatch):
    """Whatever can be said is said in one meaningless word; the words of the catalogue too."""
    for words in (wording.PROBLEMS, wording.PARTS, wording.GUARANTEES, wording.REPORT):
        for key in words:
            monkeypatch.setitem(words, key, "grmpf")
    for code in wording.FOUND:
        monkeypatch.setitem(wording.FOUND, code, ("grmpf",))
    monkeypatch.setattr(wording, "RULES", dict.fromkeys(wording.RULES, "grmpf"))


@pytest.mark.parametrize(("function", "variant", "name"), NAMED, ids=[name for _, _, name in NAMED])
def test_a_mistake_is_named_whatever_the_sentences_are(function, variant, name, nonsense):
    report = av.check(function, variant)
    assert report.looks_like is MISCONCEPTIONS[name]
    assert set(str(report).split("\n")) <= {"grmpf"}


def test_the_same_mistakes_are_named_with_sentences():
    assert [av.check(f, n).looks_like.name for f, n, _ in NAMED] == [name for _, _, name in NAMED]


def test_what_is_not_written_is_told_by_its_type_not_by_its_words(nonsense):
    def function(q, k, v):
        raise NotImplementedError("it did not finish: NaN or inf, no gradient")

    report = av.check(function, 2)
    assert report.not_written
    assert report.score == 0
    assert not av.check(lambda q, k, v: {}["NotImplementedError"], 2).not_written


def test_marks_and_rules_do_not_hang_on_words(nonsense):
    ready_made = av.check(lambda q, k, v: av.attention_matmul(q, k, v), 2, rules=True)
    assert ready_made.score == 0
    assert [str(broken.rule) for broken in ready_made.broken_rules] == ["not_the_library"]
    looped = av.check(lambda q, k, v: tuple(map(torch.stack, zip(*[right(x[None], k, v) for x in q], strict=True))), 2)
    assert looped.score < 1


# ------------------------------------------------------------------------------------- every code has its words


def codes() -> set[str]:
    """All codes that the judging gives: the first argument of Breach, Missing, Failure and the last of follows."""
    found = {"raised"}
    for path in [*JUDGING, *(CLASSROOM / "sandbox").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "Breach",
                "Missing",
                "Failure",
                "follows",
            ):
                first = node.args[-1 if getattr(node.func, "id", "") == "follows" else 0] if node.args else None
                found |= {leaf.value for leaf in ast.walk(first or node.func) if _is_code(leaf)}
    return found


def _is_code(leaf) -> bool:
    return isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)


def test_every_code_has_words_and_there_are_no_others():
    every = codes()
    assert len(every) > 40
    for code in every:
        assert any(template == code or template.startswith(f"{code}_") for template in wording.FOUND), code
    for template in wording.FOUND:
        assert any(template == code or template.startswith(f"{code}_") for code in every), template


@pytest.mark.parametrize("variant", av.VARIANTS)
def test_every_problem_part_and_guarantee_has_words(variant):
    for exam in (Exam(variant), Exam(variant, 5)):
        titles = [wording.title(s) for s in exam.problems]
        assert len(set(titles)) == len(titles) == len({s.key for s in exam.problems})
        for clause in clauses(exam):
            assert clause.guarantee in wording.GUARANTEES
            assert clause.part in wording.PARTS


def test_there_are_no_words_for_what_is_not_asked():
    exams = [*(Exam(variant) for variant in av.VARIANTS), Exam(6, REAL)]
    assert {s.key for exam in exams for s in exam.problems} == set(wording.PROBLEMS)
    assert set(wording.PARTS) == {*PARTS, PROJECTIONS}
    guarantees = {clause.guarantee for variant in av.VARIANTS for clause in clauses(Exam(variant))}
    assert guarantees | {"as_the_real_layer"} == set(wording.GUARANTEES)


# ------------------------------------------------------------------------------------------ no code reads a sentence


@pytest.mark.parametrize("path", JUDGING, ids=lambda path: path.stem)
def test_what_judges_knows_no_sentences(path):
    """Neither are they imported, nor is anything compared with text that has the form of one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert "wording" not in (node.module or "")
            assert "wording" not in {alias.name for alias in node.names}
        if isinstance(node, ast.Compare):
            texts = {leaf.value for leaf in ast.walk(node) if _is_code(leaf)}
            if path.name == "answer.py":  # the text of PyTorch's errors, in two functions that say so
                texts -= {"not implemented for 'Half'", "inplace operation"}
            assert not [text for text in texts if re.search(r"\w \w", text)], ast.unparse(node)


#: Where the package reads text with a space in it, and why that is no sentence of its own; by file.
READ = {
    "classroom/contract/answer.py": {"not implemented for 'Half'", "inplace operation"},  # PyTorch's errors
    "classroom/nbgrader/plain_code.py": {" and lacks_keys\\(.*\\):"},  # Python code
    "classroom/sandbox/rules.py": {"numbers from the kernel"},  # the key of a count
    "lab/bench/machine.py": {"model name"},  # a line of /proc/cpuinfo
    "lab/web/view.py": {"const view = "},  # JavaScript
    "model/dates.py": {"day first"},  # an argument
}
READERS = set(
    "startswith endswith replace removeprefix removesuffix split rsplit partition rpartition find index".split()
)


def sentences_read(source: str) -> set[str]:
    """Text with a space between words that code compares with, searches for, or cuts at."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        places: list[ast.AST] = [node] if isinstance(node, (ast.Compare, ast.MatchValue)) else []
        func = getattr(node, "func", None)
        if isinstance(func, ast.Attribute) and (func.attr in READERS or ast.unparse(func.value) == "re"):
            places = list(node.args)  # type: ignore[attr-defined]
        found |= {leaf.value for place in places for leaf in ast.walk(place) if _is_code(leaf)}
    return {text for text in found if re.search(r"\w \w", text)}


def test_no_code_of_the_package_reads_a_sentence():
    package = CLASSROOM.parent
    read = {
        path.relative_to(package).as_posix(): sentences_read(path.read_text(encoding="utf-8"))
        for path in package.rglob("*.py")
    }
    assert {file: texts for file, texts in read.items() if texts} == READ


@pytest.mark.parametrize(
    "line",
    [
        'x == "not yet right"',
        '"not yet right" in x',
        'x.startswith("not yet")',
        'x.endswith(("a", "not yet"))',
        'x.replace("not yet", "")',
        're.search(r"not yet", x)',
        'match x:\n    case "not yet":\n        pass',
    ],
)
def test_a_sentence_that_is_read_is_seen(line):
    assert sentences_read(line)


# ------------------------------------------------------------------------------------------------- findings as data


def test_a_finding_is_a_code_and_numbers_as_json_has_them():
    report = av.check(MISCONCEPTIONS["no_max_subtraction"].function, 1)
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    first = told["findings"][told["first"]]
    assert first["code"] == "other_numbers"
    assert first["problem"] == "large_scores"
    assert '"nan"' in json.dumps(first["numbers"])
    assert first["lines"] == wording.lines(report.findings[told["first"]])
    scale = next(
        f for f in av.check(odd_scale, 2).findings if f.code == "other_scale" and f.guarantee == "scaled_products"
    )
    assert scale.numbers["scale"] == pytest.approx(0.123, rel=1e-3)
    assert scale.numbers["expected"] == 0.5
    assert scale.problem.key == "square"


def test_a_sentence_says_the_numbers():
    breach = Breach("other_scale", {"scale": 0.25, "expected": 0.5, "d_k": 4})
    assert wording.sentence(breach) == (
        "the weights are those of scores 0.250 * (q . k); expected 0.500 * (q . k), which is 1 / sqrt(d_k) with d_k = 4"
    )
    assert wording.row((1.0, -2.5e7, math.nan)) == "[1.000  -2.5e+07  nan]"
    assert wording.row((0.0,) * 9) == "[" + "  ".join(["0.000"] * 8) + "  ...]"
    assert wording.failure(Failure("time", seconds=0.5)) == "it did not finish within 0.5 seconds"
    assert wording.failure(Failure("raised", "KeyError", "{x}")) == "it raised KeyError: {x}"
    assert wording.failure(Failure("raised", "KeyError")) == "it raised KeyError"


def test_another_language_is_not_there_yet():
    with pytest.raises(ValueError, match="language must be 'en'; got 'zh'"):
        wording.sentence(Breach("no_multiple_of_the_products"), language="zh")
