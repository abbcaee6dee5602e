"""The command line: what it prints, what it exits with, and one line for a wrong argument."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from attention_variants import VARIANTS
from attention_variants.cli import main


def test_compare_prints_the_table_of_seven(capsys):
    status = main(["compare", "--mask", "causal", "--queries", "5", "--keys", "7", "--d-model", "8", "--heads", "2"])
    output = capsys.readouterr().out
    assert status == 0
    assert "all equal" in output
    assert max(map(len, output.splitlines())) <= 80  # a terminal that nobody has widened
    for name, function in VARIANTS.items():
        (row,) = [line.split() for line in output.splitlines() if line.startswith(f" {name} ")]
        assert row[1] == function.__name__
        assert len(row) >= 8  # nothing is cut off: both errors, the time and its unit, the ratio, the memory, the lines


def test_compare_json(capsys):
    assert main(["compare", "--json", "--batch", "1", "--queries", "3", "--keys", "4"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in data["rows"]] == [1, 2, 3, 4, 5, 6, 7, 7]
    assert data["problem"]["queries"] == 3


def test_show_and_diff(capsys):
    assert main(["show", "4"]) == 0
    shown = capsys.readouterr().out
    assert "def attention_masked(" in shown
    assert "Parameters" not in shown
    assert main(["show", "4", "--docstring"]) == 0
    assert "Parameters" in capsys.readouterr().out
    assert main(["diff", "3", "4"]) == 0
    assert "masked_fill" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["dance"], "invalid choice"),
        (["compare", "--mask", "triangular"], "--mask"),
        (["compare", "--batch", "two"], "--batch"),
        (["compare", "--batch", "0"], "batch must be at least 1; got 0"),
        (["compare", "--heads", "5"], "d_model must be divisible by heads"),
        (["show", "8"], "1 to 7"),
        (["diff", "0", "1"], "1 to 7"),
        (["show"], "required"),
        (["animate", "9", "steps.gif"], "1 to 7"),
        (["animate", "1", "steps.doc"], "the file must end in"),
        (["animate", "1", "steps.gif", "--head", "12"], "from 0 to 11"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(arguments, words, capsys):
    try:
        status = main(arguments)
    except SystemExit as exit_info:  # argparse leaves this way
        status = exit_info.code
    output = capsys.readouterr()
    assert status == 2
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert words in line


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "attention_variants.cli", "show", "8"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert "Traceback" not in process.stderr


def test_animate_writes_a_film(tmp_path, capsys):
    for variant in (2, 3, 4, 6):
        assert main(["animate", str(variant), str(tmp_path / f"{variant}.png"), "--scale", "1"]) == 0
        with Image.open(tmp_path / f"{variant}.png") as film:
            assert f"{film.n_frames - 1} frames: " in capsys.readouterr().out  # one more is for those who play none
    assert main(["animate", "2", str(tmp_path / "film.html")]) == 0
    assert "attention_matmul" in (tmp_path / "film.html").read_text()


def test_explore_writes_a_page(tmp_path, capsys):
    assert main(["explore", str(tmp_path / "heads.html"), "tired", "wide"]) == 0
    assert "heads.html" in capsys.readouterr().out
    page = (tmp_path / "heads.html").read_text()
    assert "too wide" in page
    assert "picnic" not in page


@pytest.mark.parametrize("command", [[], ["compare"], ["show"], ["diff"], ["animate"], ["check"], ["grade"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([*command, "--help"])
    assert exit_info.value.code == 0
    assert "1 to 7" in (output := capsys.readouterr().out) or "seven" in output.lower()
