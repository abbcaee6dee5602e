"""The sources of the course say what the code says; points, shapes and the grader."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from course_notebooks import NOTEBOOKS as FOLDER
from nbformat import NotebookNode
from nbgrader.utils import compute_checksum

import attention_variants as av
from attention_variants.classroom.check import Submission
from attention_variants.classroom.goals import GOALS
from attention_variants.classroom.misconceptions import of_goal, with_code
from attention_variants.classroom.nbgrader.plain_code import plain_code, plain_definition
from attention_variants.classroom.nbgrader.points import grade, grade_shapes
from attention_variants.classroom.nbgrader.preprocessors import (
    GradeCells,
    code_of,
    code_to_repair,
    evaluate,
    helpers,
)
from attention_variants.classroom.nbgrader.shapes import check_shapes, expected_shapes

SOURCE = Path(__file__).parents[2] / "classroom" / "source"
NOTEBOOKS = {int(folder.name.partition("_")[0]): folder / f"{folder.name}.ipynb" for folder in SOURCE.iterdir()}


def load(number: int) -> dict[str, NotebookNode]:
    cells = nbformat.read(NOTEBOOKS[number], as_version=4).cells
    return {c.metadata.nbgrader.grade_id: c for c in cells}


def same_code(a: str, b: str) -> bool:
    return ast.dump(ast.parse(a)) == ast.dump(ast.parse(b))


#: What follows the seven variants and the layer: the cells that students write whole, and what they are to be.
AFTER: dict[int, dict[str, Any]] = {
    9: {"function": av.KVCache},
    10: {"function": av.grouped_query_attention, "rotary": av.apply_rotary},
    11: {"function": av.sampling_probabilities},
}
#: What they repair there: 9 the lines around a cache, and then the assignment before.
REPAIRED = {9: "attend_with_cache", 10: "KVCache", 11: "apply_rotary"}


def test_there_is_an_assignment_for_each_variant_and_one_for_the_layer_and_three_after_it():
    assert sorted(NOTEBOOKS) == [*range(1, 9), *AFTER]


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_a_source_that_is_opened_and_saved_in_jupyterlab_stays_as_it_is(number):
    path = NOTEBOOKS[number]
    assert path.read_text(encoding="utf-8") == nbformat.writes(nbformat.read(path, as_version=4)) + "\n"


@pytest.mark.parametrize("number", range(1, 8))
def test_the_solution_is_the_variant_s_own_code(number):
    lines = [line for line in load(number)["function"].source.splitlines() if "### " not in line]
    written = ast.parse("\n".join(lines))
    del written.body[0].body[0]  # the docstring
    assert same_code(ast.unparse(written), plain_code(inspect.getsource(av.VARIANTS[number])))


@pytest.mark.parametrize(("number", "grade_id"), [(number, key) for number, cells in AFTER.items() for key in cells])
def test_the_solution_is_the_page_s_own_code(number, grade_id):
    right = AFTER[number][grade_id]
    page = plain_definition(code_of(right))
    whole = "\n\n".join([*helpers(right, page), page])
    lines = [line for line in load(number)[grade_id].source.splitlines() if "### " not in line]
    assert same_code(without_docstrings("\n".join(lines)), whole)


def without_docstrings(code: str) -> str:
    """What of functions and classes computes something."""
    tree = ast.parse(code)
    for x in ast.walk(tree):
        if isinstance(x, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(x):
            del x.body[0]
    return ast.unparse(tree)


@pytest.mark.parametrize("number", AFTER)
def test_what_is_to_be_repaired_after_the_layer_is_the_page_s_too(number):
    cell = load(number)["repair"]
    name, goal, *called = cell.metadata.mistake.split()
    assert goal == REPAIRED[number]
    code = re.sub(r"### (BEGIN|END) SOLUTION", "", cell.source)
    right = plain_definition(code_of(GOALS[goal].right), *(called or ["attention_to_repair"]))
    assert same_code(code, "\n\n".join([*helpers(GOALS[goal].right, right), right]))
    assert not same_code(code, code_to_repair(name, goal, *called))
    assert "whole=True" in load(number)["repair_points"].source


def test_what_the_course_does_not_ask_for_is_all_that_is_left_out():
    """The plain code of a page is the page's: it computes the same, and takes what the assignment says."""
    plain = plain_definition(code_of(av.KVCache))
    assert not [name for name in ("max_len", "_room", "bytes", "check_", "Raises", ":return") if name in plain]
    names: dict = {"torch": torch}
    exec(plain, names)
    report = av.check(names["KVCache"], "KVCache")
    assert report
    assert set(report.lacks) == {"max_len", "bytes"}
    page = plain_definition(code_of(av.apply_rotary))
    for code in (*helpers(av.apply_rotary, page), page):
        exec(code, names)
    report = av.check(names["apply_rotary"], "apply_rotary")
    assert report
    assert set(report.lacks) == {"pairs", "rotary_dim", "scaling"}


#: Mistakes with which pairs are interleaved, or a part of the columns is turned: the assignment has no such option.
NOT_ASKED = {
    *("rotary_pairs_interleaved", "rotary_pairs_in_halves", "rotary_interleaved_merged_in_halves"),
    *("rotary_other_columns_dropped", "rotary_speeds_of_the_whole_width"),
}


@pytest.mark.parametrize(("number", "grade_id"), [(number, key) for number, cells in AFTER.items() for key in cells])
def test_every_mistake_of_the_catalogue_costs_points_and_is_named_by_the_hidden_check(number, grade_id):
    right = AFTER[number][grade_id]
    goal, cells = right.__name__, load(number)
    names: dict = {}
    exec(cells["set_up"].source, names)
    told = ast.parse(cells[f"{grade_id}_points"].source).body[-1].value
    options = {one.arg: ast.literal_eval(one.value) for one in told.keywords}
    assert options["exam"]
    wrong = [name for name in of_goal(goal) if name not in NOT_ASKED]
    assert len(wrong) >= 12
    for name in wrong:
        exec(code_to_repair(name, goal, goal), names)
        points = grade(names[goal], goal, **options)
        assert 0 < points <= 0.98 * options["points"], name
        assert [one.name for one in points.report.misconceptions] == [name]


def test_a_mistake_that_leaves_nothing_wrong_is_no_code_to_repair():
    with pytest.raises(ValueError, match="leaves out of apply_rotary"):
        code_to_repair("rotary_pairs_interleaved", "apply_rotary")


@pytest.mark.parametrize("number", range(2, 9))
def test_what_is_to_be_repaired_is_the_variant_before(number):
    cell = load(number)["repair"]
    name, variant = cell.metadata.mistake.split()
    assert int(variant) == number - 1
    code = re.sub(r"### (BEGIN|END) SOLUTION", "", cell.source)
    assert same_code(code, plain_code(inspect.getsource(av.VARIANTS[number - 1]), "attention_to_repair"))
    assert not same_code(code, code_to_repair(name, number - 1))
    assert "whole=True" in load(number)["repair_points"].source


def test_no_notebook_breaks_a_mistake_that_an_assignment_asks_for():
    """The reader of the notebooks has seen those explained."""
    files = [file for file in FOLDER.glob("*.ipynb") if file.name[:2] in ("01", "02", "03", "04", "05", "06", "07")]
    assert len(files) == 7
    files += [file for file in FOLDER.glob("*.ipynb") if file.name[:2] in ("12", "13", "14", "15")]
    notebooks = "".join(file.read_text(encoding="utf-8") for file in files)
    for number in NOTEBOOKS:
        name, *_ = load(number)["repair"].metadata.mistake.split()
        assert f'MISCONCEPTIONS[\\"{name}\\"]' not in notebooks


def test_the_code_to_repair_carries_no_word_of_its_mistake():
    for name, mistake in with_code().items():
        for variant in mistake.functions:
            if mistake.changes[variant] != "by hand" and not callable(mistake.changes[variant]):
                code = code_to_repair(name, variant)
                assert name not in code
                assert '"""' not in code
                assert "check_inputs" not in code
                assert "#" not in code
                ast.parse(code)


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_each_assignment_has_all_its_parts(number):
    cells = load(number)
    function = "layer" if number == 8 else "function"
    parts = ["title", "set_up", "reading", "warm_up", "shapes", "shapes_points", "task", function]
    parts += [
        f"check_{function}",
        f"{function}_points",
        "bug",
        "repair",
        "check_repair",
        "repair_points",
        "explanation",
    ]
    assert set(parts) <= set(cells)
    hidden = [c.source for c in cells.values() if "BEGIN HIDDEN TESTS" in c.source]
    assert len(hidden) == 1 + len(AFTER.get(number, ["function"]))
    exams = [int(exam) for source in hidden for exam in re.findall(r"exam=(\d+)", source)]
    assert len(set(exams)) == len(hidden)
    assert 0 not in exams
    by_hand = [c for c in cells.values() if c.cell_type == "markdown" and c.metadata.nbgrader.grade]
    assert len(by_hand) >= 2
    for c in by_hand:
        assert c.source.startswith("**Rubric.** One point: ")
        assert c.source.count("one point") + 1 == c.metadata.nbgrader.points
        assert "**An answer with full marks.**" in c.source
    told = {int(points) for points in re.findall(r"\*\*together\*\* \| \*\*(\d+)\*\*", cells["title"].source)}
    assert told == {sum(c.metadata.nbgrader.get("points", 0) for c in cells.values())}
    assert not any(c.get("outputs") for c in cells.values())


def test_the_guide_says_how_many_points_there_are():
    guide = (SOURCE.parent / "README.md").read_text(encoding="utf-8")
    points = {}
    for number in NOTEBOOKS:
        told = [c.metadata.nbgrader for c in load(number).values() if c.metadata.nbgrader.grade]
        points[number] = tuple(sum(x.points for x in told if x.locked is machine) for machine in (True, False))
        if number >= 8:
            assert re.search(
                rf"^\| `{NOTEBOOKS[number].stem}` \|.*\| {points[number][0]} \| {points[number][1]} \|$", guide, re.M
            )
    ((by_machine, by_hand),) = {points[number] for number in range(1, 8)}
    assert re.search(rf"^\| `1_loops` to `7_fused` \|.*\| {by_machine} \| {by_hand} \|$", guide, re.M)
    together = [sum(one) for one in zip(*points.values(), strict=True)]
    assert f"Together {together[0]} points by machine and {together[1]} by hand" in guide


# --------------------------------------------------------------------------------------------- points and shapes


def test_points_are_a_number_with_a_report():
    def wrong(q, k, v):
        return av.MISCONCEPTIONS["softmax_over_queries"].functions[2](q, k, v)

    full, some = grade(av.attention_matmul, 2, points=4, rules=False), grade(wrong, 2, points=4)
    assert full == 4
    assert repr(float(full)) == repr(full) == "4.0"
    assert 0 < some < 4
    assert some == round(4 * some.report.score, 2)
    assert "softmax over queries" in some._repr_html_()
    assert f"<b>{some:g} of 4 points</b>" in some._repr_html_()
    assert grade(wrong, 2, points=4, whole=True) == 0
    assert grade(av.attention_matmul, 2, points=4, rules=False, whole=True) == 4


@pytest.mark.parametrize("assignment", NOTEBOOKS)
def test_the_right_shapes_are_right(assignment):
    report = check_shapes(expected_shapes(assignment), assignment)
    assert report
    assert report.score == 1
    assert not check_shapes(dict.fromkeys(expected_shapes(assignment), ...), assignment).score


def test_a_wrong_shape_hears_what_is_odd_and_not_what_is_right():
    found = {"k.T": 7, "scores": (7, 5), "weights": (2, 5, 7), "context": (5, 8)}
    report = check_shapes(found, 2)
    assert report.said == {
        "k.T": "7 is a number; a shape is a tuple, even of one number: (7,)",
        "scores": "(7, 5) has the right numbers in another order",
        "weights": "(2, 5, 7) has 3 axes; another number of axes is right",
        "context": "(5, 8) is not it; 1 of its axes are right",
    }
    assert check_shapes({"k.T": "a", "scores": None, "weights": [5, 7]}, 2).said == {
        "k.T": "a is not a shape; a shape is a tuple such as (3, 4)",
        "scores": "there is such a tensor",
        "weights": "",
        "context": "nothing is written there yet",
    }
    assert not check_shapes({"scores": torch.Size([5, 7])}, 2).said["scores"]
    assert "is there such a tensor" in repr(check_shapes({"weights with need_weights=False": (5, 7)}, 7))
    assert "<b" not in check_shapes({"k.T": "<b>"}, 2)._repr_html_()
    with pytest.raises(ValueError, match="assignments 1 to 11; got 12"):
        check_shapes({}, 12)


WAYS = {
    "a dict": 'shapes = {"k.T": (8, 7), "scores": (5, 7), "weights": (5, 7), "context": (5, 6)}',
    "variables": 'a, b = 5, 7\nshapes = {"k.T": (8, b), "scores": (a, b), "weights": (a, b), "context": (a, 6)}',
    "annotated": 'shapes: dict = {"k.T": [8, 7], "scores": (5, 7), "weights": (5, 7), "context": (5, 6)}',
    "one by one": 'shapes = {"scores": (5, 7)}\nshapes |= {"k.T": (8, 7), "weights": (5, 7)}\nshapes["context"] = 5, 6',
    "measured": "import torch\nk = torch.ones(7, 8)\nshapes = dict(scores=(5, 7), weights=(5, 7), context=(5, 6))\n"
    "shapes['k.T'] = k.T.shape",
}


@pytest.mark.parametrize("way", WAYS)
def test_shapes_are_right_however_they_are_written_here_and_there(way):
    names: dict = {}
    exec(WAYS[way], names)
    assert grade_shapes(names["shapes"], 2, points=2) == 2
    assert grade_shapes(Submission(WAYS[way], "shapes"), 2, points=2) == 2


def test_shapes_that_cannot_be_had_give_nothing():
    half = 'shapes = {"k.T": (8, 7), "scores": (5, 7), "weights": 2**70, "context": print}'
    points = grade_shapes(Submission(half, "shapes"), 2, points=2)
    assert points == 1
    assert "is not a shape" in points.report.said["weights"]
    for nothing in ("shapes = 3", "shapes =", "other = {}", "import os\nshapes = {}\nos._exit(0)", "1 / 0"):
        assert grade_shapes(Submission(nothing, "shapes"), 2, points=2) == 0


# ------------------------------------------------------------------------------------------------------ the grader


def points_cell(source: str, grade_id: str = "points", **more) -> NotebookNode:
    cell = nbformat.v4.new_code_cell(source)
    told = {"grade": True, "solution": False, "locked": True, "grade_id": grade_id, "points": 4, **more}
    cell.metadata.nbgrader = NotebookNode(told)
    cell.metadata.nbgrader.checksum = compute_checksum(cell)
    return cell


def solution_cell(source: str) -> NotebookNode:
    cell = nbformat.v4.new_code_cell(source)
    told = {"grade": False, "solution": True, "locked": False, "grade_id": "function"}
    cell.metadata.nbgrader = NotebookNode(told)
    return cell


GRADE = "from attention_variants.classroom.nbgrader.points import grade\n\ngrade(attention_matmul, 2, points=4, exam=5)"


def test_the_grader_runs_nothing_of_a_student_in_its_own_process(monkeypatch):
    monkeypatch.setattr("attention_variants.classroom.nbgrader.preprocessors.seen", [], raising=False)
    mark = "import attention_variants.classroom.nbgrader.preprocessors as p\np.seen.append(1)\n"
    right = plain_code(inspect.getsource(av.attention_matmul))
    nb = nbformat.v4.new_notebook(cells=[solution_cell(f"import math, torch\n{mark}{right}"), points_cell(GRADE)])
    judged, _ = GradeCells().preprocess(nb, {})
    from attention_variants.classroom.nbgrader import preprocessors

    assert preprocessors.seen == []
    (output,) = judged.cells[1].outputs
    assert output.data["text/plain"] == "4.0"  # there, something that does nothing stands in the module's place
    assert judged.cells[1].execution_count == 1


def test_the_grader_fills_in_points_and_the_report():
    right = "import math, torch\n" + plain_code(inspect.getsource(av.attention_matmul))
    for source, points in ((right, "4.0"), (right.replace("dim=-1", "dim=-2"), None)):
        nb = nbformat.v4.new_notebook(cells=[solution_cell(source), points_cell(GRADE)])
        (output,) = GradeCells().preprocess(nb, {})[0].cells[1].outputs
        assert output.output_type == "execute_result"
        assert (output.data["text/plain"] == points) == (points is not None)
        assert ("softmax over queries" in output.data["text/html"]) == (points is None)


@pytest.mark.parametrize(
    "change",
    [
        lambda cell: cell.update(source="1e9"),
        lambda cell: cell.metadata.nbgrader.pop("grade_id"),
        lambda cell: cell.metadata.nbgrader.update(grade=False),
    ],
)
def test_a_forged_cell_is_not_run(change):
    cell = points_cell("99.0", grade_id="mine")
    change(cell)
    assert GradeCells().preprocess(nbformat.v4.new_notebook(cells=[cell]), {})[0].cells[0].outputs == []


def test_a_name_that_a_cell_does_not_know_is_the_student_s():
    assert evaluate("x = 2\nlen(work.source) + x", ("abc",)) == 5
    assert evaluate("work.name", ()) == "work"
