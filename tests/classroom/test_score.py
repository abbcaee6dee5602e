"""The score counts what it should: on made-up results, and on a few real ones."""

import ast
import io
import json
import tomllib
from pathlib import Path

import pytest
from rich.console import Console
from setuptools import find_packages

import attention_variants as av
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, with_code
from grader_exam import score as command
from grader_exam.bounds import NAMED_RIGHT
from grader_exam.counting import NOTHING, Score
from grader_exam.show import draw, show
from grader_exam.styles import STYLES
from grader_exam.trials import THEMES, Result, StyleResult, Trial, are_twins, grade, is_right, trials


def result(entry="no_scale", named=("no_scale",), caught=True, variant=2, seconds=0.1):
    return Result(entry, variant, "own", caught, named, is_right(entry, variant, named), seconds)


ROOT = Path(__file__).parents[2]
EXAM = sorted((ROOT / "grader_exam").rglob("*.py"))

RIGHT_STYLE = StyleResult("einsum", 2, True, 0.2)


def printed(score):
    console = Console(width=120, file=io.StringIO())
    show(score, console)
    return console.file.getvalue()


def test_a_right_name_counts_first_or_second():
    assert result().right
    assert result(named=("softmax_over_queries", "no_scale")).right
    assert not result(named=("softmax_over_queries", "scale_by_d_k", "no_scale")).right


def test_a_wrong_name_counts_as_wrong():
    wrong = result(named=("scale_by_d_k",))
    score = Score((result(), wrong), (RIGHT_STYLE,))
    assert not wrong.right
    assert score.confused == [wrong]
    assert score.uncaught == []
    assert score.named_right == 0.5
    assert not score.good
    assert "no_scale, variant 2, own code: called scale_by_d_k" in printed(score)


def test_a_name_outside_the_catalogue_is_wrong_and_so_is_none():
    score = Score((result(named=("wrong_scale",)), result(named=())), (RIGHT_STYLE,))
    assert score.named_right == 0
    assert score.by_theme()["scores"] == {"no entry": 1, "no name": 1}
    counts, rows, columns = score.matrix()
    row = counts[rows.index("no_scale")]
    assert row[columns.index("(no entry)")] == row[columns.index(NOTHING)] == 1
    assert counts.sum() == 2


def test_what_is_not_caught_counts_as_not_caught():
    passed = result(named=(), caught=False)
    score = Score((*[result()] * 99, passed), (RIGHT_STYLE,))
    assert score.uncaught == [passed]
    assert score.named_right == 0.99
    assert not score.good, "all must be caught, however many are named right"
    assert "99 of 100" in printed(score)
    assert "called right" in printed(score)


def test_a_rejected_right_style_is_listed():
    rejected = StyleResult("my_style", 4, False)
    score = Score((result(),), (RIGHT_STYLE, rejected))
    assert score.rejected == [rejected]
    assert not score.good
    assert "rejected: my_style, variant 4" in printed(score)


def test_enough_right_names_are_good():
    wrong = result(named=("scale_by_d_k",))
    assert Score((*[result()] * 19, wrong), (RIGHT_STYLE,)).good
    assert not Score((*[result()] * 18, wrong), (RIGHT_STYLE,)).good
    assert NAMED_RIGHT == 0.95


def test_the_diagonal_of_a_theme_is_split():
    score = Score(
        (
            result(),
            result(named=("scale_by_d_k",)),
            result(named=("softmax_over_queries",)),
        ),
        (),
    )
    assert score.by_theme()["scores"] == {"this entry": 1, "another of the theme": 1, "softmax": 1}


def test_times_do_not_count_but_are_shown():
    slow = Score((result(seconds=9.0),), (RIGHT_STYLE,), {2: (0.5, 7.0)}, {4: 121.0})
    assert slow.good
    assert "a class of 100, variant 4, graded with all pages: 121 s (asked for: 120 s)" in printed(slow)
    assert slow.times(2) == (pytest.approx(4.6), 9.0)
    assert slow.times(5) == (0.0, 0.0)
    assert "exceeded" in printed(slow)
    told = json.loads(json.dumps(slow.to_dict()))
    assert told["seconds"]["2"]["worst"] == 9.0
    assert told["seconds"]["2"]["first_wrong"] == 7.0


def test_everything_goes_into_json_and_a_picture(tmp_path):
    score = Score((result(), result(named=("scale_by_d_k",))), (RIGHT_STYLE,))
    told = json.loads(json.dumps(score.to_dict()))
    assert told["submissions"] == 2
    assert told["named_right"] == 0.5
    assert [one["named"] for one in told["results"]] == [["no_scale"], ["scale_by_d_k"]]
    draw(score, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 10_000


def test_twins_are_found_by_numbers():
    assert are_twins(2, "no_scale", "no_scale")
    assert not are_twins(2, "no_scale", "scale_by_d_k")
    assert not are_twins(2, "no_scale", "wrong_scale"), "what is no entry has no twin"
    assert not are_twins(2, "no_scale", "softmax_over_heads"), "it does not occur in variant 2"


def test_every_entry_is_submitted_by_itself_and_in_another_hand():
    submitted = trials()
    for hand in ("own", "other"):
        assert {trial.entry for trial in submitted if trial.hand == hand} == set(with_code())
    assert all(trial.variant in MISCONCEPTIONS[trial.entry].variants for trial in submitted)
    every = {(trial.entry, trial.variant) for trial in trials(True) if trial.hand == "own"}
    assert every == {(name, variant) for name, mistake in with_code().items() for variant in mistake.variants}
    assert set(THEMES) == set(with_code())


def test_a_real_submission_is_graded():
    graded = grade(Trial("no_scale", 2, "own", MISCONCEPTIONS["no_scale"].functions[2]))
    assert graded.caught
    assert graded.right
    assert graded.seconds > 0
    passed = grade(Trial("no_scale", 2, "own", av.VARIANTS[2]))
    assert not passed.caught
    assert not passed.right


def test_the_command_says_by_its_status_whether_the_bounds_are_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "trials", lambda _: [Trial("no_scale", 2, "own", av.VARIANTS[2])])
    monkeypatch.setattr(command, "first_in_a_fresh_process", lambda _: (0.1, 0.2))
    monkeypatch.setattr(command, "seconds_for_a_class", lambda *_: 30.0)
    monkeypatch.setattr("grader_exam.trials.STYLES", STYLES[:1])
    assert command.main(["--json", str(tmp_path / "score.json")]) == 1
    assert json.loads((tmp_path / "score.json").read_text())["caught"] == 0
    monkeypatch.setattr(command, "trials", lambda _: [Trial("no_scale", 2, "own", MISCONCEPTIONS["no_scale"].function)])
    monkeypatch.setattr(command, "grade", lambda trial: result())
    assert command.main([]) == 0
    assert "The grader, examined" in capsys.readouterr().out


def test_the_evaluation_is_not_in_the_wheel():
    found = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]["find"]
    packages = find_packages(str(ROOT), **found)
    assert "attention_variants.classroom" in packages
    assert {name.split(".")[0] for name in packages} == {"attention_variants"}


@pytest.mark.parametrize("file", EXAM, ids=[str(file.relative_to(ROOT)) for file in EXAM])
def test_it_uses_public_names_of_the_package_alone(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = [x for x in ast.walk(tree) if isinstance(x, ast.ImportFrom) and not x.level]
    from_package = [x for x in imported if x.module.split(".")[0] == "attention_variants"]
    private = [
        name for x in from_package for name in (*x.module.split("."), *(one.name for one in x.names)) if name[0] == "_"
    ]
    names = {one.asname or one.name for x in from_package for one in x.names}
    private += [
        f"{x.value.id}.{x.attr}"
        for x in ast.walk(tree)
        if isinstance(x, ast.Attribute) and isinstance(x.value, ast.Name) and x.value.id in names and x.attr[0] == "_"
        if not x.attr.startswith("__")
    ]
    assert not private
