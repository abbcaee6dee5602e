"""A class is graded by the command: every file gets its row, whatever is in it, and no file harms another's."""

import csv
import importlib
import json
import sys

import pytest

from attention_variants.classroom.grading.grade import grade
from attention_variants.classroom.grading.pages import class_page
from attention_variants.cli import main
from attention_variants.variants import VARIANTS, register, unregister
from grader_exam.a_class import hand_in

HEAD = "import math, os, signal, sys, time\nimport torch\n\n"
RIGHT = """
def attention_masked(q, k, v, mask=None):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
    return weights @ v, weights
"""
INVERTED = RIGHT.replace("~mask", "mask").replace("weights * mask", "weights * ~mask")
UNSCALED = RIGHT.replace(" / math.sqrt(q.shape[-1])", "")


def function(body):
    return f"{HEAD}def attention_masked(q, k, v, mask=None):\n    {body}\n"


def notebook(*sources):
    return json.dumps({"cells": [{"cell_type": "code", "source": source} for source in sources], "nbformat": 4})


KILL_THE_GRADER = """
parent = os.getppid()
with open(f"/proc/{parent}/stat") as file:
    grader = int(file.read().rsplit(")", 1)[1].split()[1])
os.kill(grader, signal.SIGKILL)
time.sleep(60)
"""

#: Submission to: its file or files, whether it passes, the misconception or what is said instead.
CLASS = {
    "right": ({"right.py": HEAD + RIGHT}, True, ""),
    "right_by_einsum": (
        {
            "right_by_einsum.py": HEAD
            + "def attention_masked(q, k, v, mask=None):\n"
            + "    scores = torch.einsum('...id,...jd->...ij', q, k) * k.shape[-1] ** -0.5\n"
            + "    if mask is None:\n        mask = torch.ones_like(scores, dtype=torch.bool)\n"
            + "    scores = scores.masked_fill(~mask, -1e4 if scores.dtype == torch.float16 else -1e30)\n"
            + "    exps = (scores - scores.detach().amax(-1, keepdim=True)).exp() * mask\n"
            + "    total = exps.sum(-1, keepdim=True)\n"
            + "    weights = exps / torch.where(total == 0, 1, total)\n"
            + "    return torch.einsum('...ij,...jd->...id', weights, v), weights\n"
        },
        True,
        "",
    ),
    "inverted": ({"inverted.py": HEAD + INVERTED}, False, "inverted_mask"),
    "unscaled": ({"unscaled.ipynb": notebook(HEAD, UNSCALED)}, False, "no_scale"),
    "notebook": (
        {
            "notebook.ipynb": notebook(
                "%matplotlib inline\n!pip install torch",
                "import attention_variants as av\nfrom attention_variants import check\n" + HEAD,
                "no_such_name + 1",
                "import matplotlib.pyplot as plt\nplt.imshow(torch.eye(3))\nplt.show()",
                "def attention_masked(q, k, v, mask=None):\n    raise NotImplementedError",
                "raise SystemExit",
                RIGHT,
                "report = av.check(attention_masked, 4)\nassert report\nreport",
                "this is no Python",
                "while True: pass",
            )
        },
        True,
        "4 cells were passed over; the first, cell 3, stopped in line 1 with NameError",
    ),
    "check_at_the_end": (
        {
            "check_at_the_end.py": HEAD
            + RIGHT
            + "\nfrom attention_variants import check\nprint(check(attention_masked, 4))"
        },
        True,
        "",
    ),
    "stops_after_it": (
        {"stops_after_it.py": HEAD + RIGHT + "\n1 / 0\n"},
        True,
        "The file stopped in line 14 with ZeroDiv",
    ),
    "two_files": (
        {
            "two_files/main.py": HEAD + "from mine import softmax\n" + RIGHT.replace("torch.softmax", "softmax"),
            "two_files/mine.py": "import torch\nsoftmax = torch.softmax\n",
        },
        True,
        "Of 2 files main.py was graded, not mine.py.",
    ),
    "crashes_at_import": (
        {"crashes_at_import.py": HEAD + "1 / 0\n" + RIGHT},
        False,
        "The file stopped in line 4 with ZeroDivisionError",
    ),
    "loops": ({"loops.py": function("while True: pass")}, False, "as many queries as keys"),
    "empty": ({"empty.py": ""}, False, "the file is empty"),
    "renamed": (
        {"renamed.ipynb": notebook(HEAD, RIGHT.replace("attention_masked", "attention_mask") + "\ndef helper(): pass")},
        False,
        "there is no function attention_masked; the notebook defines attention_mask and helper. Is it renamed?",
    ),
    "no_python": ({"no_python.py": "def attention_masked(q, k, v:\n    pass"}, False, "SyntaxError"),
    "not_written": ({"not_written.py": function("raise NotImplementedError")}, False, "nothing is written yet"),
    "exits": ({"exits.py": function("os._exit(0)")}, False, "the process ended before the function had returned"),
    "no_text": ({"no_text.py": b"x = 1\n\n\n\xff\xfe"}, False, "not text in UTF-8"),
    "damaged": ({"damaged.ipynb": '{"cells": [{'}, False, "it is not JSON"),
    "slides": ({"slides/talk.pdf": "%PDF"}, False, "there is no .py or .ipynb file in the folder"),
}
if sys.platform == "linux":
    CLASS["kills_its_grader"] = (
        {"kills_its_grader.py": HEAD + KILL_THE_GRADER + RIGHT},
        False,
        "the process that graded it was ended, twice",
    )
    CLASS["kills_itself"] = (
        {"kills_itself.py": function("os.kill(os.getpid(), signal.SIGKILL)")},
        False,
        "the process was stopped (signal 9)",
    )


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class, graded by the command; its folder, and the rows of its table."""
    folder = tmp_path_factory.mktemp("class") / "submissions"
    for files, *_ in CLASS.values():
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        assert main(["grade", str(folder), "--variant", "4", "--seconds", "3", "--jobs", "2"]) == 0
    out = folder.with_name("submissions-graded")
    with (out / "grades.csv").open(encoding="utf-8") as file:
        return folder, out, {row["student"]: row for row in csv.DictReader(file)}


def test_every_submission_has_a_row_and_a_page(graded):
    _, out, rows = graded
    assert list(rows) == sorted(CLASS)
    assert sorted(path.stem for path in (out / "students").iterdir()) == sorted(CLASS)


@pytest.mark.parametrize("student", CLASS)
def test_each_gets_the_grade_it_deserves_and_hears_why(student, graded):
    _, passes, words = CLASS[student]
    row = graded[2][student]
    assert row["passed"] == ("yes" if passes else "no"), row
    assert (row["score"] == "1.000") == passes
    assert words in (f"{row['misconceptions']} {row['first_fails_with']} {row['remarks']}" if words else ""), row
    if not passes and student not in ("inverted", "unscaled"):
        assert float(row["score"]) < 0.1
        assert row["misconceptions"] == ""


def test_the_submissions_are_as_they_were(graded):
    folder, *_ = graded
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {name for handed_in, *_ in CLASS.values() for name in handed_in}


def test_the_same_submissions_give_the_same_table_and_say_how_far_they_are(graded, tmp_path):
    few = ("right", "inverted", "unscaled", "renamed", "stops_after_it")
    for student in few:
        for name, content in CLASS[student][0].items():
            (tmp_path / name).write_text(content)
    seen = []
    again = grade(tmp_path, 4, jobs=1, progress=lambda *told: seen.append(told)).to_csv()
    before = (graded[1] / "grades.csv").read_text().splitlines()  # two at the same time, among many others
    assert again.splitlines() == [line for line in before if line.split(",")[0] in ("student", *few)]
    assert seen[-1][1:] == (5, 5)
    assert {file for file, *_ in seen} == {name for student in few for name in CLASS[student][0]}


def test_another_name_and_the_rules(tmp_path):
    (tmp_path / "ann.py").write_text(HEAD + RIGHT.replace("attention_masked", "mine"))
    (tmp_path / "bob.py").write_text("from attention_variants import attention_masked as mine\n")
    (tmp_path / "cid.py").write_text("mine = 3\n")
    result = grade(tmp_path, 4, function="mine", rules=True, jobs=1)
    ann, bob, cid = result.rows
    assert ann.passed
    assert not bob.passed
    assert "calls a variant of this library" in bob.broken_rules[0]
    assert (cid.trouble.code, cid.trouble.numbers["type"]) == ("not_loaded", "int")
    assert cid.first_fails_with == "mine is no function: its type is int"


def test_one_file_is_checked_by_the_command(graded, capsys):
    folder, *_ = graded
    assert main(["check", str(folder / "right.py"), "--variant", "4"]) == 0
    assert "attention_masked computes what variant 4 does" in capsys.readouterr().out
    assert main(["check", str(folder / "unscaled.ipynb"), "--variant", "4"]) == 1
    assert "no scale" in capsys.readouterr().out
    assert main(["check", str(folder / "renamed.ipynb"), "--variant", "4", "--function", "attention_mask"]) == 0
    assert main(["check", str(folder / "renamed.ipynb"), "--variant", "4"]) == 1
    assert "Is it renamed?" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_a_class_on_paper_is_one_in_four_right_and_half_notebooks(tmp_path):
    hand_in(tmp_path, 4, 8)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".ipynb"] * 4 + [".py"] * 4
    result = grade(tmp_path, 4, jobs=1)
    assert result.passed == 2
    assert len(result.misconceptions()) >= 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_is_a_class_on_paper_for_every_variant(tmp_path, variant):
    hand_in(tmp_path, variant, 40)
    assert len(list(tmp_path.iterdir())) == 40


EIGHTH = """
import attention_variants as av

def attention_eighth(q, k, v, num_heads=1):
    return av.multihead_attention(q, k, v, None, num_heads)
"""
RIGHT_EIGHTH = """
def attention_eighth(q, k, v, num_heads=1):
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for x in (q, k, v))
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
    return (weights @ v).transpose(-3, -2).flatten(-2), weights
"""


def test_a_class_is_graded_for_a_variant_that_was_registered(tmp_path, monkeypatch):
    home, folder = tmp_path / "home", tmp_path / "class"
    home.mkdir()
    folder.mkdir()
    (home / "my_eighth.py").write_text(EIGHTH)
    monkeypatch.syspath_prepend(str(home))
    (folder / "ann.py").write_text(HEAD + RIGHT_EIGHTH)
    (folder / "bob.py").write_text(HEAD + RIGHT_EIGHTH.replace(" / math.sqrt(q.shape[-1])", ""))
    (folder / "cid.py").write_text(EIGHTH)  # the variant calls another one
    (folder / "dot.py").write_text(HEAD + RIGHT)  # the fourth
    function = importlib.import_module("my_eighth").attention_eighth
    register(function, number=8, adds="no mask", takes=("batch", "heads"))
    try:
        result = grade(folder, 8, rules=True, jobs=1)
        page = class_page(result)
    finally:
        unregister(8)
    ann, bob, cid, dot = result.rows
    assert ann.passed
    assert bob.misconceptions == ["no_scale"]
    assert "calls a variant of this library" in cid.broken_rules[0]
    assert dot.first_fails_with.startswith("there is no function attention_eighth; the file defines attention_masked")
    missing = "There are no rules for variant 8, attention_eighth: only whether it is ready-made was looked at."
    assert missing in page
    assert result.notes == ann.remarks == bob.remarks == cid.remarks
    assert result.to_dict()["notes"] == [missing]
    assert result.to_dict()["note_codes"] == ["no_rules"]
    assert result.to_dict()["note_numbers"] == [{"variant": 8, "name": "attention_eighth"}]
    assert result.to_dict()["rows"][0]["remarks"] == [missing]
