"""One command runs the numeric tests under each CPU capability: it finds them, asks for them and says what failed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import run_numeric_tests


@pytest.fixture
def runs(monkeypatch):
    """No pytest is started: what would be, under which capability, and what pytest says (by capability)."""
    runs = SimpleNamespace(commands=[], variables=[], answers={})

    def run(command, *, env, **options):
        if "-c" in command:  # the question for a capability, on a machine of the year 2015
            told = env.get(run_numeric_tests.VARIABLE, "avx2")
            told = "avx2" if told == "unknown to PyTorch" else told
            return subprocess.CompletedProcess(command, -4 if told == "avx512" else 0, f"{told}\n")
        asked = env[run_numeric_tests.VARIABLE]
        runs.commands.append(command)
        runs.variables.append(asked)
        return subprocess.CompletedProcess(command, *runs.answers.get(asked, (0, "...\n== 3 passed in 1.00s ==\n")))

    monkeypatch.setattr(run_numeric_tests, "CANDIDATES", ["default", "avx2", "avx512", "unknown to PyTorch"])
    monkeypatch.setattr(run_numeric_tests.subprocess, "run", run)
    monkeypatch.delenv(run_numeric_tests.VARIABLE, raising=False)
    return runs


@pytest.mark.slow
def test_what_a_real_process_says():
    assert run_numeric_tests.capability("default") == "default"


def test_what_the_processor_or_pytorch_lacks_is_not_run(runs):
    assert run_numeric_tests.capabilities() == ["default", "avx2"]
    assert run_numeric_tests.main([]) == 0
    assert runs.variables == ["default", "avx2"]


def test_others_leaves_out_the_own(runs, capsys):
    assert run_numeric_tests.main(["--others"]) == 0
    assert runs.variables == ["default"]
    assert "its own is avx2" in capsys.readouterr().out


def test_arguments_go_to_pytest(runs):
    assert run_numeric_tests.main(["--others", "--", "-k", "mask"]) == 0
    (command,) = runs.commands
    assert command[-2:] == ["-k", "mask"]
    assert command[command.index("-m", 2) :][:2] == ["-m", "numeric"]


def test_a_line_for_each_and_a_last_one(runs, capsys):
    assert run_numeric_tests.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "default: 3 passed in 1.00s",
        "avx2: 3 passed in 1.00s",
        "The numeric tests pass under default, avx2.",
    ]


def test_one_that_fails(runs, capsys):
    runs.answers["default"] = (1, "E   off by 3\n== 1 failed, 2 passed in 1.00s ==\n")
    assert run_numeric_tests.main([]) == 1
    told = capsys.readouterr().out
    assert "E   off by 3" in told
    assert told.splitlines()[-3:-1] == ["default: 1 failed, 2 passed in 1.00s", "avx2: 3 passed in 1.00s"]
    assert told.splitlines()[-1] == "failed, see above: default"


def test_nothing_left_by_k_is_no_failure_but_an_error_is(runs):
    runs.answers["default"] = (5, "no tests ran\n")
    assert run_numeric_tests.main([]) == 0
    runs.answers["default"] = (4, "ERROR: usage\n")
    assert run_numeric_tests.main([]) == 1


def test_the_files_with_numeric_tests():
    names = {Path(path).name for path in run_numeric_tests.numeric_files()}
    assert {
        "test_contract.py",
        "test_equality.py",
        "test_error_bounds.py",
        "test_layer.py",
        "test_kv_cache.py",
    } <= names
    assert not {"test_site.py", "test_cli.py", "test_run_numeric_tests.py"} & names
