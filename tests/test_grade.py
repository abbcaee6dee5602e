"""Grading a class, as far as no other process is needed: what is read, what is found, and what is written of it."""

import csv
import io
import json
import os
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

import attention_variants as av
from attention_variants.classroom import wording
from attention_variants.classroom.contract.answer import Remark
from attention_variants.classroom.grading.grade import grade, output_folder
from attention_variants.classroom.grading.pages import class_page, file_names, student_page, write_pages
from attention_variants.classroom.grading.read import find_submissions
from attention_variants.classroom.grading.results import ClassResult, Graded
from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.classroom.report_html import report_html
from attention_variants.classroom.sandbox.cells import without_magics
from attention_variants.classroom.sandbox.submission import Submission
from attention_variants.cli import main

WEB = (".html", ".css", ".js")
SOURCE = "def attention_masked(q, k, v, mask=None):\n    pass\n"


def notebook(*sources, **more):
    cells = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "# Text"}, *cells], "nbformat": 4, **more})


def put(folder, name, content=SOURCE):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -------------------------------------------------------------------------------------------------- reading a file


def test_a_module_is_read_as_one(tmp_path):
    submission = Submission.read(put(tmp_path, "a.py"), "attention_masked")
    assert (submission.source, submission.cells) == (SOURCE, ())
    assert submission.defines_it


def test_a_notebook_is_read_as_its_code_cells(tmp_path):
    path = put(tmp_path, "a.ipynb", notebook("import torch", ["x = 1\n", "y = 2"]))
    submission = Submission.read(path, "attention_masked")
    assert submission.cells == ("import torch", "x = 1\ny = 2")
    assert not submission.defines_it


def test_a_notebook_of_the_old_format_is_read(tmp_path):
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["a = 1"]}]}], "nbformat": 3}
    assert Submission.read(put(tmp_path, "a.ipynb", json.dumps(old)), "f").cells == ("a = 1",)


def test_an_encoding_that_is_declared_is_heeded(tmp_path):
    path = put(tmp_path, "a.py", "# -*- coding: latin-1 -*-\nname = 'Zoë'\n".encode("latin-1"))
    assert "Zoë" in Submission.read(path, "f").source
    assert "Zoë" in Submission.read(put(tmp_path, "b.py", b"\xef\xbb\xbfname = 'Zo\xc3\xab'\n"), "f").source


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.py", b"", "the file is empty"),
        ("a.py", b"  \n\n", "the file is empty"),
        ("a.py", b"x = 1\ny = 2\nz = '\xff'\n", "not text in UTF-8: byte 0xff at position 17"),
        ("a.py", "x = 1".encode("utf-16"), "UTF-16"),
        ("a.py", b"# coding: klingon\n", "klingon"),
        ("a.ipynb", b"", "the file is empty"),
        ("a.ipynb", b'{"cells": [', "it is not JSON"),
        ("a.ipynb", b"[" * 100_000, "damaged"),
        ("a.ipynb", b"\xff\xfe{}", "not text in UTF-8"),
        ("a.ipynb", b"[1, 2]", "no notebook"),
        ("a.ipynb", b'{"cells": 3}', "no code in the notebook"),
        ("a.ipynb", b'{"cells": [7, {"cell_type": "code", "source": 5}]}', "no code in the notebook"),
    ],
)
def test_what_cannot_be_read_is_told(name, content, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        Submission.read(put(tmp_path, name, content), "f")


def test_what_is_no_file_is_told(tmp_path):
    with pytest.raises(OSError, match="there is no file"):
        Submission.read(tmp_path / "a.py", "f")
    os.mkfifo(tmp_path / "pipe.py")  # opening it would wait for ever
    with pytest.raises(OSError, match="is not a file"):
        Submission.read(tmp_path / "pipe.py", "f")


@pytest.mark.parametrize(
    ("cell", "python"),
    [
        ("%matplotlib inline\nx = 1", "pass  # %matplotlib inline\nx = 1"),
        ("import torch\n!pip install x\nx = !ls", "import torch\npass  # !pip install x\npass  # x = !ls"),
        ("if True:\n    %timeit f(1)", "if True:\n    pass  # %timeit f(1)"),
        ("%%time\nx = 1", "\nx = 1"),
        ("%time x = 1", "x = 1"),
        ("%%bash\nrm -r data", ""),
        ("torch.softmax?", "pass  # torch.softmax?"),
        ("x = (7\n     % 4)", "x = (7\n     % 4)"),
        ("s = '''\n%matplotlib\n!ls\n'''", "s = '''\n%matplotlib\n!ls\n'''"),
        ("def f(:", "def f(:"),
        ("", ""),
    ],
)
def test_commands_of_ipython_become_comments_and_nothing_else_does(cell, python):
    assert without_magics(cell) == python


# ------------------------------------------------------------------------------------------------ finding students


def find(folder):
    found, left_out = find_submissions(folder, "attention_masked")
    return {one.student: one for one in found}, left_out


def test_a_student_is_a_file_or_a_folder(tmp_path):
    for name in ("bob.py", "alice.ipynb", "carol/solution.py", "dan/deep/er/a.py", "notes.txt", ".hidden.py"):
        put(tmp_path, name, notebook("x = 1") if name.endswith("ipynb") else SOURCE)
    put(tmp_path, "__pycache__/bob.py")
    put(tmp_path, "carol/.ipynb_checkpoints/solution.ipynb")
    found, left_out = find(tmp_path)
    assert list(found) == ["alice", "bob", "carol", "dan"]
    assert [one.file for one in found.values()] == ["alice.ipynb", "bob.py", "carol/solution.py", "dan/deep/er/a.py"]
    assert left_out == ["notes.txt"]
    assert all(one.submission and not one.remarks for one in found.values())
    assert found["carol"].submission.folder == str(tmp_path / "carol")  # its own modules can be imported
    assert found["bob"].submission.folder is None  # those of other students cannot


def test_of_several_files_the_one_with_the_function_is_taken(tmp_path):
    os.utime(put(tmp_path, "eve/a_helper.py", "def helper(): pass"), (2e9, 2e9))
    put(tmp_path, "eve/solution.ipynb", notebook(SOURCE))
    put(tmp_path, "eve/z_broken.py", b"\xff")
    for age, name in ((100, "fay/older.py"), (50, "fay/newer.py")):
        os.utime(put(tmp_path, name), (1e9 - age, 1e9 - age))
    found, _ = find(tmp_path)
    assert found["eve"].file == "eve/solution.ipynb"
    (remark,) = found["eve"].remarks
    assert wording.sentence(remark) == "Of 3 files solution.ipynb was graded, not a_helper.py and z_broken.py."
    assert found["fay"].file == "fay/newer.py"


def test_what_cannot_be_read_is_a_student_too(tmp_path):
    put(tmp_path, "good.py")
    put(tmp_path, "bad.py", b"a\n\n\xff")
    put(tmp_path, "pdf/answer.pdf")
    found, _ = find(tmp_path)
    assert found["bad"].submission is None
    assert "byte 0xff" in wording.sentence(found["bad"].trouble)
    assert wording.sentence(found["pdf"].trouble) == "there is no .py or .ipynb file in the folder"


def test_no_two_students_share_a_name(tmp_path):
    put(tmp_path, "gus.py")
    put(tmp_path, "gus.ipynb", notebook(SOURCE))
    put(tmp_path, "Gus/a.py")
    found, _ = find(tmp_path)
    assert sorted(found) == ["Gus", "gus.ipynb", "gus.py"]


def test_a_file_name_that_is_no_text_harms_nobody(tmp_path):
    try:
        put(tmp_path, os.fsdecode(b"caf\xe9.py"))
    except OSError:
        pytest.skip("this file system takes no such name")
    found, _ = find(tmp_path)
    (student,) = found
    student.encode()
    assert student == "caf?"


@pytest.mark.parametrize(("name", "words"), [("none", "there is none"), ("a.txt", "it is a file"), ("", "no .py or")])
def test_a_folder_with_nothing_to_grade_is_told(name, words, tmp_path):
    put(tmp_path, "a.txt")
    with pytest.raises(ValueError, match=words):
        find(tmp_path / name)


# ------------------------------------------------------------------------------------------------------- the pages


def graded(student, function, variant=4, **options):
    return Graded(student, f"{student}.py", av.check(function, variant, **options).to_dict())


def one_query_at_a_time(q, k, v, mask=None):
    raise KeyError("</pre><script>alert(1)</script>")


EVIL = "<script>alert(2)</script>\"'&"
OF_SEVERAL = Remark("one_of_several_files", {"count": 2, "file": "x\ny.py", "others": (EVIL,)})


@pytest.fixture(scope="module")
def result():
    inverted, unscaled = (MISCONCEPTIONS[name].functions[4] for name in ("inverted_mask", "no_scale"))
    rows = (
        graded("ann", av.attention_masked),
        graded("bob", inverted),
        graded("cid", unscaled),
        graded("dot", inverted),
        graded(EVIL, one_query_at_a_time),
        Graded("=HYPERLINK(1)", "x\ny.py", trouble=Remark("empty"), remarks=(OF_SEVERAL,)),
    )
    return ClassResult(4, "attention_masked", rows, left_out=(EVIL,))


def test_the_class_in_numbers(result):
    assert result.passed == 1
    assert result.mean == pytest.approx(sum(row.score for row in result.rows) / 6)
    named = [(named["name"], [row.student for row in rows]) for named, rows in result.misconceptions()]
    assert named == [("inverted_mask", ["bob", "dot"]), ("no_scale", ["cid"])]
    assert result.parts()["scores"] == 3  # not cid, not the one that raises, not the one that is empty
    assert json.loads(json.dumps(result.to_dict()))["misconceptions"] == {
        "inverted_mask": ["bob", "dot"],
        "no_scale": ["cid"],
    }


def test_the_table(result):
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row["student"] for row in rows] == ["ann", "bob", "cid", "dot", EVIL, "'=HYPERLINK(1)"]
    assert [row["passed"] for row in rows] == ["yes", "no", "no", "no", "no", "no"]
    assert [row["score"] for row in rows] == [f"{row.score:.3f}" for row in result.rows]
    assert rows[1]["misconceptions"] == "inverted_mask"
    assert rows[2]["first_fails_with"] == "as many queries as keys"
    assert rows[5]["first_fails_with"] == "the file is empty"
    assert rows[5]["file"] == "x y.py"
    assert result.to_csv() == result.to_csv()
    assert len(result.to_csv().splitlines()) == 7


class Elements(HTMLParser):
    """What a browser sees: elements, links, and text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.links, self.text, self.scripts, self.widths = [], [], "", 0, []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert not any(name.startswith("on") for name in attributes), attrs
        assert "src" not in attributes
        self.links += [attributes["href"]] if "href" in attributes else []
        self.widths += re.findall(r"width: ([\d.]+)%", attributes.get("style", ""))
        self.scripts += tag == "script"
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")  # which a browser draws alike


def test_pages_are_well_formed_and_nothing_in_them_is_the_students_html(result):
    page = Elements(class_page(result))
    assert page.scripts == 1  # ours, which sorts
    assert EVIL in page.text
    for row in result.rows:
        page = Elements(student_page(row, result))
        assert page.scripts == 0
        assert row.student in page.text
    assert "</pre><script>alert(1)" in Elements(report_html(result.rows[4].report)).text
    assert EVIL in Elements(student_page(result.rows[5], result)).text


def test_every_template_is_in_the_wheel():
    root = Path(av.__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    files = {file for glob in listed["attention_variants"] for file in (root / "attention_variants").glob(glob)}
    templates = {file for file in (root / "attention_variants" / "classroom").rglob("*.*") if file.suffix in WEB}
    assert len(templates) >= 8
    assert templates <= files


def test_pages_ask_for_nothing_from_elsewhere(result):
    for page in (class_page(result), *(student_page(row, result) for row in result.rows)):
        assert not re.search(r"https?:|//|@import|url\(", page)


def test_the_class_page_draws_who_has_which_misconception(result):
    page = class_page(result)
    first, second = page.index("<h3>inverted mask"), page.index("<h3>no scale")
    assert first < second < page.index("<h3>nothing to judge")
    drawn = Elements(re.search(r"<li>\s*<div><h3>inverted mask.*?</li>", page, re.DOTALL)[0])
    assert drawn.widths == ["100.0"]
    assert drawn.links == ["students/bob.html", "students/dot.html"]
    assert MISCONCEPTIONS["inverted_mask"].explanation in drawn.text
    drawn = Elements(re.search(r"<li>\s*<div><h3>no scale.*?</li>", page, re.DOTALL)[0])
    assert drawn.widths == ["50.0"]
    assert "1 of 6 right" in Elements(page).text
    assert "score 0.0 to below 0.1: 2 students" in Elements(page).text
    assert "right: 1 student" in Elements(page).text


def test_the_class_page_says_the_parts_in_words_and_data_have_their_codes(result):
    page = class_page(result)
    text = Elements(page).text
    kept = result.parts()
    for part in kept:
        assert f'<abbr title="{wording.ABOUT_PARTS[part]}">{wording.PARTS[part]}</abbr>' in page
    assert all(part.isidentifier() for part in kept)
    for part in ("weighted_sum", "large_numbers", "side_effects", "same_answer"):
        assert f"{wording.PARTS[part]}{kept[part]} of 6" in text
        assert part not in text


def test_a_report_as_html_has_the_sentences_of_the_text(monkeypatch):
    for key, words in wording.REPORT.items():
        fields = "".join(re.findall(r"{.*?}", words))
        monkeypatch.setitem(wording.REPORT, key, f"<{key}>{fields}")
    for told in (
        av.check(MISCONCEPTIONS["softmax_over_queries"].function, 2),
        av.check(lambda q, k, v: av.attention_matmul(q, k, v), 2, rules=True),
        av.check(Submission("print(1)\nf = 1", "g"), 2),
        av.check(Submission("def f(q, k, v):\n    raise NotImplementedError", "f"), 2),
    ):
        html = Elements(report_html(told.to_dict())).text
        assert "<verdict_not_right>" in html
        for words in ("This looks", "Think about", "Against the", "nothing to judge", "is written", "What is kept"):
            assert words not in html
        for key in ("looks_like", "think_about", "against", "trouble", "nothing_written"):
            assert (f"<{key}>" in html) == (f"<{key}>" in str(told)), key


def test_every_link_leads_to_a_page(result, tmp_path):
    page = write_pages(result, tmp_path / "out")
    assert page == tmp_path / "out" / "index.html"
    links = {link for link in Elements(page.read_text(encoding="utf-8")).links if not link.startswith("data:")}
    assert len(links) == 6 + 2
    assert all((page.parent / link).is_file() for link in links)
    assert (page.parent / "grades.csv").read_text(encoding="utf-8") == result.to_csv()
    assert json.loads((page.parent / "grades.json").read_text()) == result.to_dict()


def test_a_second_run_replaces_the_first(result, tmp_path):
    write_pages(result, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")}
    write_pages(result, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    write_pages(ClassResult(4, "attention_masked", result.rows[:1]), tmp_path)
    assert [path.name for path in (tmp_path / "students").iterdir()] == ["ann.html"]


def test_file_names_are_plain_and_different():
    rows = tuple(Graded(name, "") for name in ("a/b", "a b", "A_b", "..", "Zoë", "x" * 300))
    assert list(file_names(ClassResult(4, "f", rows)).values()) == [
        *("a_b.html", "a_b_2.html", "A_b_3.html", "student.html", "Zoë.html", "x" * 50 + ".html"),
    ]


def test_a_report_as_html_says_what_the_report_says():
    report = av.check(MISCONCEPTIONS["softmax_over_queries"].function, 2)
    text = Elements(report_html(report.to_dict())).text
    assert report.looks_like.explanation in text
    assert report.looks_like.hint in text
    assert "Not yet right" in text
    assert f"Score {report.score:.2f} of 1" in text
    assert "found     [" in text
    for part, (kept, _) in report.parts.items():
        assert f"{wording.PARTS[part]}{kept:.0%}" in text
    assert (
        "Right: attention_matmul, variant 2. Score 1.00 of 1."
        in Elements(report_html(av.check(av.VARIANTS[2], 2).to_dict())).text
    )

    def not_written(q, k, v):
        raise NotImplementedError

    assert "Nothing is written there yet" in Elements(report_html(av.check(not_written, 2).to_dict())).text
    ruled = Elements(report_html(av.check(av.attention_loops, 2, rules=True).to_dict())).text
    assert "Against the rules of this variant" in ruled
    assert "there is a loop" in ruled


def test_the_pages_of_a_class_without_mistakes():
    page = Elements(class_page(ClassResult(4, "attention_masked", (graded("ann", av.attention_masked),))))
    assert "1 of 1 right" in page.text
    assert "None was found." in page.text


# -------------------------------------------------------------------------------------------------- the arguments


def test_results_never_mix_with_submissions(tmp_path):
    folder = tmp_path / "class"
    put(folder, "a.py")
    assert output_folder(folder) == tmp_path / "class-graded"
    assert output_folder(folder, tmp_path / "new") == tmp_path / "new"
    for bad, words in ((folder, "mix"), (folder / "out", "mix"), (tmp_path, "mix"), (folder / "a.py", "mix")):
        with pytest.raises(ValueError, match=words):
            output_folder(folder, bad)
    put(tmp_path, "thesis/chapter.tex")
    with pytest.raises(ValueError, match="something else than earlier results"):
        output_folder(folder, tmp_path / "thesis")
    put(tmp_path, "class-graded/mine.txt")
    with pytest.raises(ValueError, match="something else than earlier results"):
        output_folder(folder)
    with pytest.raises(ValueError, match="is a file"):
        output_folder(folder, tmp_path / "thesis/chapter.tex")
    write_pages(ClassResult(4, "f", ()), tmp_path / "earlier")
    assert output_folder(folder, tmp_path / "earlier") == tmp_path / "earlier"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": 8}, "1 to 7"),
        ({"jobs": 0}, "jobs must be at least 1; got 0"),
        ({"seconds": 0}, "seconds must be more than 0 and less than 1,000,000; got 0"),
        ({"seconds": float("nan")}, "seconds must be more than 0 and less than 1,000,000; got nan"),
        ({"function": "my function"}, "got 'my function'"),
    ],
)
def test_bad_arguments(options, words, tmp_path):
    put(tmp_path, "a.py")
    with pytest.raises(ValueError, match=words):
        grade(tmp_path, **{"variant": 4, **options})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grade"], "Missing argument 'folder'"),
        (["grade", "class"], "--variant"),
        (["grade", "class", "--variant", "8"], "1 to 7"),
        (["grade", "class", "--variant", "four"], "--variant"),
        (["grade", "class", "--variant", "4", "--jobs", "0"], "at least 1"),
        (["grade", "class", "--variant", "4", "--seconds", "0"], "more than 0"),
        (["grade", "class", "--variant", "4", "--out", "class/out"], "mix with the submissions"),
        (["grade", "nowhere", "--variant", "4"], "got 'nowhere', but there is none"),
        (["grade", "empty", "--variant", "4"], "there is no .py or .ipynb file in 'empty'"),
        (["check", "class/a.py"], "--variant"),
        (["check", "class/a.py", "--variant", "0"], "1 to 7"),
        (["check", "class/b.py", "--variant", "4"], "there is no file class/b.py"),
        (["check", "class/none.py", "--variant", "4"], "the file is empty"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "class/a.py")
    put(tmp_path, "class/none.py", "")
    (tmp_path / "empty").mkdir()
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert words in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class", "empty"]
