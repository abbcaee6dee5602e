"""The sources of the course say what the code says; points, shapes and the grader."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import nbformat
import pytest
import torch
from course_notebooks import NOTEBOOKS as FOLDER
from nbformat import NotebookNode
from nbgrader.utils import compute_checksum

import attention_variants as av
from attention_variants.classroom.check import Submission
from attention_variants.classroom.misconceptions import with_code
from attention_variants.classroom.nbgrader.plain_code import plain_code
from attention_variants.classroom.nbgrader.points import grade, grade_shapes
from attention_variants.classroom.nbgrader.preprocessors import GradeCells, code_to_repair, evaluate
from attention_variants.classroom.nbgrader.shapes import check_shapes, expected_shapes

SOURCE = Path(__file__).parents[2] / "classroom" / "source"
NOTEBOOKS = {int(folder.name[0]): folder / f"{folder.name}.ipynb" for folder in SOURCE.iterdir()}


def load(number: int) -> dict[str, NotebookNode]:
    cells = nbformat.read(NOTEBOOKS[number], as_version=4).cells
    return {c.metadata.nbgrader.grade_id: c for c in cells}


def same_code(a: str, b: str) -> bool:
    return ast.dump(ast.parse(a)) == ast.dump(ast.parse(b))


def test_there_is_an_assignment_for_each_variant_and_one_for_the_layer():
    assert sorted(NOTEBOOKS) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("number", range(1, 9))
def test_a_source_that_is_opened_and_saved_in_jupyterlab_stays_as_it_is(number):
    path = NOTEBOOKS[number]
    assert path.read_text(encoding="utf-8") == nbformat.writes(nbformat.read(path, as_version=4)) + "\n"


@pytest.mark.parametrize("number", range(1, 8))
def test_the_solution_is_the_variant_s_own_code(number):
    lines = [line for line in load(number)["function"].source.splitlines() if "### " not in line]
    written = ast.parse("\n".join(lines))
    del written.body[0].body[0]  # the docstring
    assert same_code(ast.unparse(written), plain_code(inspect.getsource(av.VARIANTS[number])))


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
    files = list(FOLDER.glob("0[1-7]*.ipynb"))
    assert len(files) == 7
    notebooks = "".join(file.read_text(encoding="utf-8") for file in files)
    for number in NOTEBOOKS:
        name, _ = load(number)["repair"].metadata.mistake.split()
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


@pytest.mark.parametrize("number", range(1, 9))
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
    assert len(hidden) == 2
    exams = [int(exam) for source in hidden for exam in re.findall(r"exam=(\d+)", source)]
    assert len(set(exams)) == 2
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


@pytest.mark.parametrize("assignment", range(1, 9))
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
    with pytest.raises(ValueError, match="assignments 1 to 8; got 9"):
        check_shapes({}, 9)


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
