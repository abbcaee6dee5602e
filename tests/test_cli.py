"""The command line: what it prints, what it exits with, and one line for a wrong argument."""

import json
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("command", [[], ["compare"], ["show"], ["diff"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([*command, "--help"])
    assert exit_info.value.code == 0
    assert "1 to 7" in (output := capsys.readouterr().out) or "seven" in output.lower()
