"""Sentences are made of codes and numbers at the very end: whatever they say, the same is found and named."""

from __future__ import annotations

import ast
import csv
import importlib
import io
import json
import math
import pkgutil
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from rich.console import Console

import attention_variants as av
from attention_variants.classroom import wording
from attention_variants.classroom.contract.answer import Failure, Remark
from attention_variants.classroom.contract.clauses import clauses
from attention_variants.classroom.contract.evidence import Breach
from attention_variants.classroom.contract.problems import REAL, Exam
from attention_variants.classroom.grading import pool, worker
from attention_variants.classroom.grading.grade import grade
from attention_variants.classroom.grading.pages import write_pages
from attention_variants.classroom.grading_scheme import PARTS, PROJECTIONS
from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.classroom.nbgrader.points import grade_shapes
from attention_variants.classroom.nbgrader.shapes import check_shapes, expected_shapes
from attention_variants.classroom.sandbox.rules import Broken, Rule
from attention_variants.classroom.wording import findings, loading
from attention_variants.cli import main

CLASSROOM = Path(av.__file__).parent / "classroom"
JUDGING = [
    *(CLASSROOM / "contract").glob("*.py"),
    *(CLASSROOM / "diagnosis").glob("*.py"),
    *(CLASSROOM / name for name in ("check.py", "check_goal.py", "check_layer.py", "grading_scheme.py")),
]
#: Every file of `wording`, and its tables: dicts by their names, in capitals.
FILES = {
    found.name: importlib.import_module(f"{wording.__name__}.{found.name}")
    for found in pkgutil.iter_modules(wording.__path__)
}
TABLES = {
    f"{file}.{name}": value
    for file, module in FILES.items()
    for name, value in vars(module).items()
    if isinstance(value, dict) and name.isupper() and not name.startswith("_")
}


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


def without_sense(template, keep_fields=False):
    """One meaningless word in place of a template, or of each of several; its fields stay, or go."""
    if isinstance(template, tuple):
        return tuple(without_sense(one, keep_fields) for one in template)
    return "".join(["grmpf ", *(f"{field} " for field in re.findall(r"{.*?}", template))]) if keep_fields else "grmpf"


@pytest.fixture
def nonsense(monkeypatch):
    """Whatever can be said is said in one meaningless word."""
    for table in TABLES.values():
        for key, template in table.items():
            monkeypatch.setitem(table, key, without_sense(template))


@pytest.fixture
def nonsense_around_fields(monkeypatch):
    """Whatever can be said is said in one meaningless word and what is filled in."""
    for table in TABLES.values():
        for key, template in table.items():
            monkeypatch.setitem(table, key, without_sense(template, keep_fields=True))


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


def prints_and_raises(q, k, v):
    for i in range(20):
        print("grmpf " * i)
    return q.grmpf


def takes_too_much(q, k, v, mask):
    return right(q, k, v)


@pytest.mark.parametrize(("function", "code"), [(prints_and_raises, "raised"), (takes_too_much, "signature")])
def test_lines_prints_and_calls_are_data_and_their_sentences_stand_in_the_tables(function, code, nonsense):
    report = av.check(function, 2)
    assert report.findings[report.to_dict()["first"]].code == code
    assert set(str(report).split("\n")) <= {"grmpf"}
    html = report._repr_html_()
    assert set(re.findall(r"[a-z]{2,}", Text(html).text.lower())) <= {"grmpf"}


# ------------------------------------------------------------------------------------- every code has its words


def codes() -> set[str]:
    """All codes: the first argument of a Breach and the like, the last of follows, and a "code" in JSON."""
    found = {"raised", "unknown_encoding"}  # of an exception that is passed on; by a variable
    paths = [*JUDGING, CLASSROOM / "report.py", CLASSROOM / "wording" / "sentences.py"]
    for path in [*paths, *(CLASSROOM / "sandbox").glob("*.py"), *(CLASSROOM / "grading").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if name in ("Breach", "Missing", "Failure", "Remark", "UnreadableError", "NoFileError", "follows"):
                first = node.args[-1 if name == "follows" else 0] if node.args else None
                found |= {leaf.value for leaf in ast.walk(first or node.func) if _is_code(leaf)}
            if isinstance(node, ast.Dict):
                values = [y for x, y in zip(node.keys, node.values, strict=True) if _is_code(x) and x.value == "code"]
                found |= {value.value for value in values if _is_code(value)}
    return found


def _is_code(leaf) -> bool:
    return isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)


def test_every_code_has_words_and_there_are_no_others():
    every = codes()
    assert len(every) > 60
    tables = (findings.FOUND, loading.UNREADABLE, loading.NOT_LOADED, loading.STOPS, loading.REMARKS)
    templates = [template for table in tables for template in table]
    assert len(set(templates)) == len(templates)
    for code in every:
        assert any(template == code or template.startswith(f"{code}_") for template in templates), code
    for template in templates:
        assert any(template == code or template.startswith(f"{code}_") for code in every), template
    assert set(findings.ROWS) <= set(findings.FOUND)


def test_every_rule_has_words_and_there_are_no_others():
    assert {key.removesuffix("_in_products") for key in wording.RULES} == {str(rule) for rule in Rule}


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
    assert set(wording.PARTS) == set(wording.ABOUT_PARTS) == {*PARTS, PROJECTIONS}
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
    # the HTML of Pygments
    "lab/code/source.py": {'<span style="color: #000">(.*?)</span>', r'(?<=<span style=")color: (#\w+)'},
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
    lines = wording.lines(report.findings[told["first"]])
    assert first["lines"] == [line.text for line in lines]
    assert first["is_row"] == [line.is_row for line in lines] == [False, True, True] * 2
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
    assert wording.failure(Failure("raised", "KeyError", None)) == "it raised KeyError: (its message cannot be printed)"


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 students"), (1, "1 student"), (2, "2 students")],
)
def test_of_two_templates_the_number_says_which(number, words):
    assert wording.say(("{number} student", "{number} students"), number=number) == words


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("", ""),
        ("a", "a"),
        ("ab", "a and b"),
        ("abcdef", "a, b, c, d, e and f"),
        ("abcdefg", "a, b, c, d, e and 2 more"),
    ],
)
def test_names_in_a_list(names, words):
    assert wording.listed(list(names)) == words


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("rule", Rule)
def test_a_broken_rule_is_said_with_its_numbers(rule, products):
    words = wording.rule(Broken(rule, (3, 8), products))
    if rule.startswith("no_loop"):
        assert f"more {'products of matrices' if products else 'operations'} (3, then 8)" in words
    else:
        assert words == wording.RULES[rule]


MISSING = {"kind": "function", "name": "f", "type": None, "others": (), "is_notebook": False, "stop": None}
ERROR = {"exception": "KeyError", "message": "1"}
BY_LINE = {"cell": None, "line": 4, "seconds": None, **ERROR}
WITHOUT_LINE = {**BY_LINE, "line": None}
BY_TIME = {**BY_LINE, "line": None, "seconds": 0.5, "exception": "", "message": ""}

#: What is said of loading, by code and numbers.
LOADING = {
    "there is no function f; the file defines no function.": Remark("not_loaded", MISSING),
    "there is no class f; the notebook defines no class.": Remark(
        "not_loaded", MISSING | {"kind": "class", "is_notebook": True}
    ),
    "there is no class f; the file defines a and b. Is it renamed?": Remark(
        "not_loaded", MISSING | {"kind": "class", "others": ("a", "b")}
    ),
    "there is no function f; the notebook defines a. Is it renamed?": Remark(
        "not_loaded", MISSING | {"others": ("a",), "is_notebook": True}
    ),
    "f is no function: its type is int": Remark("not_loaded", MISSING | {"type": "int", "stop": BY_LINE}),
    "f is no class: its type is int": Remark("not_loaded", MISSING | {"kind": "class", "type": "int"}),
    "there is no function f; the file defines no function. The file stopped in line 4 with KeyError: 1": Remark(
        "not_loaded", MISSING | {"stop": BY_LINE}
    ),
    "there is no function f; the notebook defines no function. Cell 3 did not finish within 0.5 seconds": Remark(
        "not_loaded", MISSING | {"is_notebook": True, "stop": BY_TIME | {"cell": 3}}
    ),
    "KeyError: 1": Remark("not_loaded", ERROR),
    "The file stopped with KeyError: 1; what it had defined until then was graded.": Remark(
        "file_stopped", WITHOUT_LINE
    ),
    "The file stopped in line 4 with KeyError: 1; what it had defined until then was graded.": Remark(
        "file_stopped", BY_LINE
    ),
    "The file did not finish within 0.5 seconds; what it had defined until then was graded.": Remark(
        "file_stopped", BY_TIME
    ),
    "Cell 3 was passed over: it stopped with KeyError: 1": Remark("cell_passed_over", WITHOUT_LINE | {"cell": 3}),
    "Cell 3 was passed over: it stopped in line 4 with KeyError: 1": Remark("cell_passed_over", BY_LINE | {"cell": 3}),
    "Cell 3 was passed over: it did not finish within 0.5 seconds": Remark("cell_passed_over", BY_TIME | {"cell": 3}),
    "2 cells were passed over; the first, cell 3, stopped with KeyError: 1": Remark(
        "cells_passed_over", WITHOUT_LINE | {"cell": 3, "count": 2}
    ),
    "2 cells were passed over; the first, cell 3, stopped in line 4 with KeyError: 1": Remark(
        "cells_passed_over", BY_LINE | {"cell": 3, "count": 2}
    ),
    "2 cells were passed over; the first, cell 3, did not finish within 0.5 seconds": Remark(
        "cells_passed_over", BY_TIME | {"cell": 3, "count": 2}
    ),
}


@pytest.mark.parametrize("words", LOADING)
def test_how_a_submission_was_loaded_is_said_also_after_json(words):
    remark = LOADING[words]
    assert wording.sentence(remark) == words
    assert wording.sentence(Remark(remark.code, json.loads(json.dumps(remark.numbers)))) == words


class UnprintableError(Exception):
    def __str__(self):
        raise ValueError


def unprintable(q, k, v):
    raise UnprintableError


def huge(q, k, v):
    return torch.zeros(1).expand(2_000_000), torch.zeros(1).expand(2_000_000)


def without_numbers(q, k, v):
    weights = torch.empty(3, 3, device="meta")
    return weights, weights


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        (unprintable, "raised", "it raised UnprintableError: (its message cannot be printed)"),
        (huge, "no_tensor_too_large", "weights is a tensor of 2000000 numbers; expected a tensor of shape (3, 3)"),
        (
            without_numbers,
            "no_tensor_unreadable",
            "weights is a Tensor whose numbers cannot be read (NotImplementedError: ",
        ),
    ],
)
def test_what_cannot_be_read_of_an_answer_is_a_code_too(function, code, words, isolated):
    report = av.check(function, 2, isolated=isolated)
    first = report.findings[report.to_dict()["first"]]
    assert first.code == code
    assert wording.sentence(first).startswith(words)


# ----------------------------------------------------------------------------- every sentence stands in `wording`


def templates(table) -> Iterator[str]:
    for template in table.values():
        yield from (template,) if isinstance(template, str) else template


@pytest.mark.parametrize("table", TABLES)
def test_a_table_holds_templates_and_nothing_else(table):
    assert all(isinstance(template, str) and template for template in templates(TABLES[table]))


@pytest.mark.parametrize("file", FILES)
def test_the_words_of_a_file_of_wording_stand_in_its_tables(file):
    """Nothing is said that the nonsense in these tests would not reach."""
    tree = ast.parse(Path(FILES[file].__file__).read_text(encoding="utf-8"))
    said = {text for name, table in TABLES.items() if name.startswith(f"{file}.") for text in templates(table)}
    assert not [text for text in prose(tree) if text not in said]


def prose(tree: ast.AST) -> list[str]:
    """Text with a space between words, but for docstrings and what is raised."""
    apart: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            apart |= {id(leaf) for leaf in ast.walk(node)}
        elif isinstance(node, ast.Expr) and _is_code(node.value):
            apart.add(id(node.value))
    texts = [leaf.value for leaf in ast.walk(tree) if _is_code(leaf) and id(leaf) not in apart]
    return [text for text in texts if re.search(r"[A-Za-z]{2,}[,:;]? [A-Za-z]{2,}|, [a-z]{2,}", text)]


#: Text with a space in it elsewhere in the classroom, and why nobody is told it; by file.
NOT_SAID = {
    "check_layer.py": {"a layer that is made already, ", "Dog bites"},  # an error for a caller; the key of an example
    "contract/answer.py": {"not implemented for 'Half'", "inplace operation"},  # PyTorch's errors
    "contract/problems.py": {"Dog bites", "Man bites", "too tired"},  # keys of examples
    "grading/read.py": {"it is a file", "there is none"},  # an error for a caller
    # Python code
    "nbgrader/plain_code.py": {" and lacks_keys\\(.*\\):"}
    | {"self.max_len is None", "self._room is None", "scaling is None"},
    "nbgrader/preprocessors.py": {"the last line of a cell that gives points must be an expression"},  # an error
    # the key of an example, and Python code
    "sandbox/adapters.py": {"Dog bites", "Layer(d_model, num_heads)", "layer(query, key, value, mask)"},
    "sandbox/lock.py": {"not judged here"},  # in the process of a submission, whose output nobody reads
    "sandbox/parent.py": {"import math, torch, torch.nn.functional as F"},  # Python code
    "sandbox/rules.py": {"call multi_head_attention_forward", "numbers from the kernel", "softmax of whole"}
    | {"whole product"},  # keys of counts
    "sandbox/watch.py": {"numbers from the kernel", "whole product", "softmax of whole"},  # keys of counts
    # the names of tensors in a warm-up, which stand in the notebooks
    "nbgrader/shapes.py": {"causal mask", "padding mask", "both masks together", "q of one head", "scores of one head"}
    | {"q before the split", "q after the split", "context before the merge", "weights with need_weights=False"}
    | {"k from append", "scores of the next token", "k after the split", "q after the turn", "logits of the model"}
    | {"logits of the next token", "the four likeliest", "tokens that are drawn", "texts with them"},
}


#: A call as Python code, or a piece of one: in the questions about a goal.
A_CALL = re.compile(r"(, )?[\w.=]+(\([\w, =.]*\)?)?")


def test_the_rest_of_the_classroom_says_nothing():
    found = {}
    for path in CLASSROOM.rglob("*.py"):
        file = path.relative_to(CLASSROOM).as_posix()
        if file.split("/")[0] not in ("wording", "misconceptions"):
            texts = prose(ast.parse(path.read_text(encoding="utf-8")))
            found[file] = {text for text in texts if not all(word.isidentifier() for word in lists_of_names(text))}
        if file.split("/")[0] == "goals":
            found[file] = {text for text in found[file] if not A_CALL.fullmatch(text)}
    for file, texts in found.items():
        assert texts <= NOT_SAID.get(file, set()), file


def lists_of_names(text: str) -> list[str]:
    """The words of a text that is split into keys, such as "square fewer_queries"; of any other the text."""
    return text.split() if "_" in text or text.startswith(("mm ", "square ")) else [text]


@pytest.mark.parametrize("path", sorted((CLASSROOM / "templates").glob("*.html")), ids=lambda path: path.name)
def test_a_template_of_a_page_has_no_words_of_its_own(path):
    source = re.sub(r"{#.*?#}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for attribute in re.findall(r'(?:title|alt|aria-label|placeholder)="([^"]*)"', source):
        assert not re.search("[A-Za-z]", re.sub(r"{{.*?}}", "", attribute)), attribute
    jinja = re.compile("{{.*?}}|{%.*?%}", re.DOTALL)
    expressions = jinja.findall(source)
    text = re.sub(r"<[^<>]*>", " ", jinja.sub(" ", source))
    assert not re.search("[A-Za-z]", text), text.split()
    known = {key for table in TABLES.values() for key in table} | {"head_", "student", "score", "case", "file"}
    for expression in expressions:
        for literal in re.findall(r'"([^"]*)"', expression):
            is_file = literal.endswith((".html", ".css", ".js", ".csv", ".json"))
            is_class = re.fullmatch(r" (class|aria-sort)=.*", literal)
            letters = re.search("[A-Za-z]", re.sub(r"%\.\df|{:.*?}|\\n", "", literal))
            assert literal in known or is_file or is_class or not letters, expression


# -------------------------------------------------------------------------------- a class, with sense and without

HEAD = "import math, os\nimport torch\n\n"
WORK = """def attention_matmul(q, k, v):
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
    return weights @ v, weights
"""


def notebook(*cells):
    return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]}).encode()


CLASS = {
    "s01.py": (HEAD + WORK).encode(),
    "s02.py": (HEAD + WORK.replace(" / math.sqrt(q.shape[-1])", "")).encode(),
    "s03.py": (HEAD + "def f01(): pass\n").encode(),
    "s04.py": b"x = 1\n\n\xff",
    "s05.ipynb": notebook(HEAD, "1 / 0", "1 / 0", WORK),
    "s06.py": (HEAD + "def attention_matmul(q, k, v):\n    os._exit(0)\n").encode(),
    "s07/f02.py": (HEAD + WORK).encode(),
    "s07/f03.py": b"x = 1\n",
    "s08.py": (HEAD + WORK + "1 / 0\n").encode(),
    "s09.py": (HEAD + "def attention_matmul(q, k, v):\n    raise NotImplementedError\n").encode(),
    "s10.py": (HEAD + "from attention_variants import attention_matmul\n").encode(),
    "s11.py": HEAD.encode() + b"attention_matmul = 3\n",
    "s12.py": (HEAD + WORK).encode(),  # its process is lost
    "s13.py": (HEAD + WORK).encode(),  # the grader fails on it
    "s14.py": (HEAD + "def attention_matmul(q, k, v):\n    return q, k\n").encode(),
    "s15.ipynb": b"{",
    "s16/x.txt": b"",
    "s17.txt": b"",
}


def graded_here(folder, monkeypatch):
    """The class, graded in this process, in which the tables may be without sense."""
    folder.mkdir()
    for name, content in CLASS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    def stumble(submission, *arguments, **options):
        if submission.file == "s13.py":
            raise KeyError(13)
        return av.check(submission, *arguments, **options)

    def graded(grader, one, limits):
        if one.student == "s12":
            raise pool.Lost
        return json.loads(json.dumps(worker.graded(json.loads(json.dumps(pool.request(one, limits))))))

    monkeypatch.setattr(worker, "check", stumble)
    monkeypatch.setattr(pool.Grader, "grade", graded)
    return grade(folder, 2, rules=True, jobs=1)


#: What is said in JSON, beside codes and numbers.
WORDS = set("trouble remarks notes text lines title given about words part_words broken_rules goal".split())


def without_words(x):
    if isinstance(x, dict):
        return {key: without_words(value) for key, value in x.items() if key not in WORDS}
    return [without_words(value) for value in x] if isinstance(x, list) else x


class Text(HTMLParser):
    """What a reader of a page sees or hears."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text = "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.open = tag
        self.text += (
            " ".join(value for name, value in attrs if name in ("title", "alt", "aria-label", "data-key")) + " "
        )

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        self.text += data * (self.open not in ("style", "script"))


def of_students_and_python(result) -> str:
    """All text that is no template: names, the misconceptions' words, and what Python's errors say."""
    texts = ["attention_matmul grades.csv grades.json grmpf neither a number nor a word: True False nan inf q k v"]
    for row in result.rows:
        texts += [row.student, row.file]
        for named in row.report["misconceptions"] if row.report else ():
            texts += [wording.mistake(named["name"]), named["name"], named["explanation"], named["hint"]]
    texts += ["ff f01 f02 f03.py x.txt s17.txt int UTF weights context torch float32 float64 mask num_heads e x"]
    return " ".join([*texts, "ZeroDivisionError: division by zero NotImplementedError KeyError(13)", *JSON_ERROR])


JSON_ERROR = ["Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"]


def test_a_class_gets_the_same_codes_and_pages_without_english(tmp_path, monkeypatch, request):
    result = graded_here(tmp_path / "with", monkeypatch)
    codes = without_words(result.to_dict())
    assert {row["student"]: row["trouble_code"] for row in codes["rows"] if row["trouble_code"]} == {
        "s03": "not_loaded",
        "s04": "not_in_its_encoding",
        "s06": "ended",
        "s11": "not_loaded",
        "s12": "process_lost",
        "s13": "grader_failed",
        "s15": "notebook_not_json",
        "s16": "no_file_in_the_folder",
    }
    assert {row["student"]: row["remark_codes"] for row in codes["rows"] if row["remark_codes"]} == {
        "s05": ["cells_passed_over"],
        "s07": ["one_of_several_files"],
        "s08": ["file_stopped"],
    }
    request.getfixturevalue("nonsense_around_fields")
    again = graded_here(tmp_path / "without", monkeypatch)
    assert without_words(again.to_dict()) == codes
    page = write_pages(again, tmp_path / "out")
    terminal = Console(file=io.StringIO(), width=500)
    terminal.print(again)
    allowed = set(re.findall(r"[A-Za-z]+", of_students_and_python(again)))
    shown = {"terminal": terminal.file.getvalue()}
    shown |= {
        file.name: Text(file.read_text(encoding="utf-8")).text for file in [page, *(page.parent / "students").iterdir()]
    }
    rows = list(csv.DictReader(io.StringIO((page.parent / "grades.csv").read_text(encoding="utf-8"))))
    shown |= {"csv": " ".join(value for row in rows for name, value in row.items() if name != "passed")}
    for name, text in shown.items():
        assert "grmpf" in text.lower()
        words = {word for word in re.findall(r"[A-Za-z]+", text) if word.lower() != "grmpf"}
        assert words <= allowed, (name, words - allowed)


def test_the_commands_and_the_warm_up_say_nothing_else(tmp_path, nonsense, capsys):
    (tmp_path / "s01.py").write_bytes(CLASS["s04.py"])
    assert main(["grade", str(tmp_path), "--variant", "2", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert set(out.replace("\n", " ").split()) == {"grmpf", f"{tmp_path}-graded/index.html"}
    assert main(["check", str(tmp_path / "s01.py"), "--variant", "2"]) == 2
    assert capsys.readouterr().err == "attention-variants check: grmpf\n"
    points = grade_shapes({}, 2, points=3)
    assert set(str(check_shapes(expected_shapes(2), 2)).split()) == set(str(points.report).split()) == {"grmpf"}
    assert set(re.findall(r">([^<]*)<", points._repr_html_().replace("\n", ""))) <= {"grmpf", ""}
