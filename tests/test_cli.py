"""The command line: what it prints, what it exits with, and one line for a wrong argument."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from typer.testing import CliRunner

import attention_variants as av
from attention_variants import VARIANTS
from attention_variants.cli import app, main

COMMANDS = ("animate", "bench", "check", "compare", "dates", "diff", "explore", "grade", "show", "write")
#: No terminal, and none that a service for continuous integration, or a reader's own settings, pretend.
PLAIN = {
    name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"}
}


def run(*arguments, **environment):
    """The program in a process of its own."""
    command = [sys.executable, "-m", "attention_variants.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=PLAIN | environment)


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


def test_write_streams_and_says_where_it_looked(capsys, tmp_path):
    story = ["write", "we", "gave", "Anna red balls. we gave anna", "--words", "3", "--temperature", "0"]
    assert main(story) == 0
    text, settings, _, red, *_ = capsys.readouterr().out.splitlines()
    assert text == "we gave anna red balls . we gave anna red balls ."
    assert settings == "temperature 0, seed 0"
    assert red.split()[:1] + red.split()[2:5] == ["red", "anna", "red", "balls"]
    assert main([*story, "--plain", "--figure", str(tmp_path / "where.png")]) == 0
    assert capsys.readouterr().out.splitlines() == [text]
    assert (tmp_path / "where.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["purple"], "has no word 'purple'; it has: . anna"),
        (["--temperature", "-1"], "temperature must be a number of at least 0"),
        (["--temperature", "nan"], "temperature must be a number of at least 0"),
        (["--top-p", "0"], "top_p must be above 0"),
        (["--top-k", "0"], "top_k must be a whole number of at least 1"),
        (["--words", "0"], "--words"),
    ],
)
def test_write_says_in_one_line_what_is_wrong(capsys, arguments, words):
    assert main(["write", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1


def test_write_says_when_it_goes_past_the_training(capsys):
    assert main(["write", "--words", "66", "--plain"]) == 0
    out, err = capsys.readouterr()
    assert len(out.split()) == 66
    assert "past 64 tokens" in err


def test_show_and_diff(capsys):
    assert main(["show", "4"]) == 0
    shown = capsys.readouterr().out
    assert "def attention_masked(" in shown
    assert "Parameters" not in shown
    assert main(["show", "4", "--docstring"]) == 0
    assert "Parameters" in capsys.readouterr().out
    assert main(["diff", "3", "4"]) == 0
    assert "masked_fill" in capsys.readouterr().out


# What is wrong is said in one line.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing command. Expected one of show, diff, "),
        (["dance"], "No such command 'dance'. Did you mean 'dates'? Expected one of show, diff, "),
        (["compare", "--mask", "triangular"], "'--mask': 'triangular' is not one of 'causal', 'padding', 'none'"),
        (["compare", "--batch", "two"], "'--batch': Input should be a valid integer, unable to parse"),
        (["compare", "--batch", "two"], "got 'two'"),
        (["compare", "--batch", "0"], "batch must be at least 1; got 0"),
        (["compare", "--heads", "5"], "d_model must be divisible by heads"),
        (["compare", "--masks"], "No such option: --masks"),
        (["show", "8"], "1 to 7 (1 attention_loops, "),
        (["show", "8"], "; got 8"),
        (["show", "four"], "got 'four'"),
        (["diff", "0", "1"], "1 to 7"),
        (["show"], "Missing argument 'variant'"),
        (["show", "1", "2"], "(2)"),
        (["animate", "9", "steps.gif"], "1 to 7"),
        (["animate", "1", "steps.doc"], "the file must end in"),
        (["animate", "1", "steps.gif", "--head", "12"], "from 0 to 11"),
        (["animate", "1", "no/such/folder/steps.gif"], "make it first"),
        (["explore", "heads.html", "no such sentence"], "no such sentence"),
        (["bench", "--sizes", "2,5"], "'--sizes': must be four whole numbers, such as 4,512,512,8; got '2,5'"),
        (
            ["bench", "--parts", "races,cake"],
            "'--parts': must be of races, growth, shares, decoding, training, compile",
        ),
        (["check", "mine.py"], "Missing option '--variant'"),
        (["check", "nowhere.py", "--variant", "4"], "there is no file nowhere.py"),
        (["grade", "nowhere", "--variant", "4", "--seconds", "0"], "'--seconds': must be more than 0; got 0"),
        (["grade", "nowhere", "--variant", "4"], "got 'nowhere', but there is none"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(arguments, words, capsys):
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith(" ".join(["attention-variants", *(arguments[:1] if arguments[:1] != ["dance"] else [])]))
    assert words in line


@pytest.mark.slow
def test_the_module_runs_as_a_program():
    process = run("show", "8")
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(("arguments", "status"), [(["show", "8"], 2), (["dance"], 2), (["show", "2"], 0)])
def test_the_app_exits_as_the_program_does(arguments, status):
    assert CliRunner().invoke(app, arguments).exit_code == status


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch, capsys):
    def explore(*sentences):
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr("attention_variants.lab.explore.explore", explore)
    assert main(["explore", "heads.html"]) == 2
    assert capsys.readouterr().err == (
        "attention-variants explore: No module named 'transformers': pip install \"attention-variants[pretrained]\"\n"
    )


@pytest.mark.slow
def test_control_c_ends_in_one_line(tmp_path):
    began, submission = tmp_path / "began", tmp_path / "endless.py"
    submission.write_text(f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "attention_variants.cli", "check", str(submission), "--variant", "4"]
    with subprocess.Popen(
        [*command, "--seconds", "300"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=PLAIN
    ) as process:
        while not began.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate()
    assert said == ("", "attention-variants check: interrupted\n")
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["--version", "--help", "show 4", "dates --plain 12/3/98"])
def test_whoever_has_read_enough_gets_no_traceback(arguments):
    command = [sys.executable, "-m", "attention_variants.cli", *arguments.split()]
    buffered = {name: value for name, value in PLAIN.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == ""
    assert process.returncode == 1


# Animations and pages.


@pytest.mark.slow
def test_animate_writes_a_film(tmp_path, capsys):
    for variant in (2, 3, 4, 6):
        assert main(["animate", str(variant), str(tmp_path / f"{variant}.png"), "--scale", "1"]) == 0
        with Image.open(tmp_path / f"{variant}.png") as animation:
            assert f"{animation.n_frames - 1} frames: " in capsys.readouterr().out  # one more is for who plays none
    assert main(["animate", "2", str(tmp_path / "player.html")]) == 0
    assert "attention_matmul" in (tmp_path / "player.html").read_text()


class DrawnError(Exception):
    """In the place of an animation."""


@pytest.mark.parametrize(
    ("takes", "shape", "options"),
    [
        ((), (6, 32), {"tokens"}),
        (("batch",), (2, 6, 32), set()),
        (("batch", "mask"), (6, 32), {"tokens", "mask"}),
        (("batch", "mask", "heads"), (6, 6), {"tokens", "num_heads"}),
        (av.CAPABILITIES, (6, 6), {"tokens", "num_heads"}),  # not a fused kernel: it can be watched
    ],
)
def test_animate_shows_what_a_variant_takes_whatever_its_number(takes, shape, options, monkeypatch):
    def animate(variant, q, k, v, **given):
        assert (variant, q.shape, k.shape, v.shape) == (8, shape, shape, shape)
        assert set(given) == options
        raise DrawnError

    monkeypatch.setattr("attention_variants.lab.animation.animate.animate", animate)
    av.register(lambda q, k, v: None, number=8, adds="nothing", takes=takes)
    try:
        with pytest.raises(DrawnError):
            main(["animate", "8", "animation.gif"])
    finally:
        av.unregister(8)


def test_animate_shows_one_head_of_a_fused_kernel_by_the_tiled_version(monkeypatch):
    def animate(variant, q, k, v, **given):
        assert (variant, q.shape, set(given)) == (7, (6, 32), {"tokens"})
        raise DrawnError

    monkeypatch.setattr("attention_variants.lab.animation.animate.animate", animate)
    with pytest.raises(DrawnError):
        main(["animate", "7", "animation.gif"])


def test_an_eighth_variant_that_takes_everything_is_animated_with_its_two_heads(tmp_path, capsys):
    def everything(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
        context, weights = av.multihead_attention(q, k, v, mask, num_heads)
        return context, weights

    av.register(everything, number=8, adds="nothing", takes=av.CAPABILITIES)
    try:
        assert main(["animate", "8", str(tmp_path / "8.html"), "--scale", "1"]) == 0
    finally:
        av.unregister(8)
    page = (tmp_path / "8.html").read_text()
    assert "everything" in page
    assert "attention_tiled" not in page


def test_explore_writes_a_page(tmp_path, capsys):
    assert main(["explore", str(tmp_path / "heads.html"), "tired", "wide"]) == 0
    assert "heads.html" in capsys.readouterr().out
    page = (tmp_path / "heads.html").read_text()
    assert "too wide" in page
    assert "picnic" not in page


# Help, version, completion.


@pytest.mark.slow
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_says_what_a_command_does_with_an_example(command):
    process = run(*filter(None, [command]), "--help")
    assert process.returncode == 0
    assert process.stderr == ""
    assert max(map(len, process.stdout.splitlines())) <= 80
    assert "\x1b" not in process.stdout, "a code for colours, where nothing shows colours"
    assert f"Usage: {' '.join(filter(None, ['attention-variants', command]))} " in process.stdout
    assert f"Example: {' '.join(filter(None, ['attention-variants', command]))} " in process.stdout
    assert ("Exit status: 0 if " in process.stdout) == (command in ("", "bench", "check", "compare", "dates", "grade"))


def test_help_needs_no_unicode():
    process = run("--help", PYTHONIOENCODING="ascii")
    assert process.returncode == 0
    assert "Read and look" in process.stdout


def test_help_lists_every_command():
    shown = run("-h").stdout
    for command in COMMANDS:
        assert f" {command} " in shown


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said == f"attention-variants {av.__version__}\n", "another version is installed: make install"


LOADED = """
import sys
from attention_variants.cli import main
status = main(sys.argv[1:])
sys.exit(status or (1 if {"torch", "numpy", "matplotlib"} & set(sys.modules) else 0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["show", "4", "--help"], ["--version"]])
def test_help_does_not_wait_for_torch(arguments):
    process = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, check=False)
    assert process.returncode == 0, "torch was loaded for a help"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("attention-variants sh", ["show"]),
        ("attention-variants ", [*COMMANDS]),
        ("attention-variants compare --mask ", ["causal", "padding", "none"]),
        ("attention-variants grade --ru", ["--rules"]),
        ("attention-variants show 4 --doc", ["--docstring"]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(line, offered):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_ATTENTION_VARIANTS_COMPLETE": "complete_bash"}
    program = (
        "import sys; sys.argv[0] = 'attention-variants'; from attention_variants.cli import main; sys.exit(main())"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=PLAIN | words
    )
    assert sorted(process.stdout.split()) == sorted(offered)
    assert process.stderr == ""
