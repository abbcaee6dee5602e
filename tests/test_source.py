"""The source is shown as it runs, and the diff counts what changes."""

import ast
import functools
import html
import inspect
import io
import linecache
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

import attention_variants
from attention_variants.lab.code.source import code_lines, diff, show
from attention_variants.lab.plots.colors import ADDED, REMOVED
from attention_variants.variants import (
    VARIANTS,
    attention_masked,
    attention_tiled,
    describe_variant,
    get_variant,
    registry,
)

ROOT = Path(attention_variants.__file__).parents[1]


def _printed(renderable, **options):
    console = Console(file=io.StringIO(), width=160, **options)
    console.print(renderable)
    return console.file.getvalue()


def _text_of(page):
    return html.unescape(re.sub(r"<[^>]*>", "", page))


class Sample:
    """A class."""

    size = 3

    @functools.cache  # noqa: B019
    def method(self, x):
        """A method.

        With two paragraphs.
        """

        # why
        def inner():
            "Inner."
            return x

        text = """not
a docstring"""
        return inner(), text


def only_a_docstring():
    """Nothing else."""


def one_line(): "Doc."; return 1  # noqa: E702  # fmt: skip


# ---------------------------------------------------------------------------------------------------- show


@pytest.mark.parametrize("number", VARIANTS)
def test_show_gives_the_function_that_runs(number):
    function = get_variant(number)
    code = show(number)

    running = ast.parse(inspect.getsource(function)).body[0]
    running.body = running.body[1:]  # without its docstring
    assert ast.dump(ast.parse(code.text).body[0]) == ast.dump(running)
    assert not code.text.endswith("\n")
    assert code.name == function.__name__
    assert show(function) == code


@pytest.mark.parametrize("number", VARIANTS)
def test_show_names_the_file_and_the_line(number):
    code = show(number)
    assert code.file.startswith(f"attention_variants/variants/v{number}_")
    lines = (ROOT / code.file).read_text().splitlines()
    assert lines[code.first_line - 1] == f"def {code.name}("


def test_show_keeps_comments_and_shows_the_docstring_when_asked():
    assert "# The lowest finite number" in show(4).text
    assert "Parameters" not in show(4).text
    assert show(4, docstring=True).text == inspect.getsource(attention_masked).rstrip("\n")


def test_show_takes_classes_and_methods_and_removes_all_their_docstrings():
    code = show(Sample)
    assert code.text.splitlines() == [
        "class Sample:",
        "    size = 3",
        "",
        "    @functools.cache  # noqa: B019",
        "    def method(self, x):",
        "        # why",
        "        def inner():",
        "            return x",
        "",
        '        text = """not',
        'a docstring"""',
        "        return inner(), text",
    ]
    method = show(Sample.method)
    assert method.text.splitlines()[:2] == ["@functools.cache  # noqa: B019", "def method(self, x):"]
    ast.parse(method.text)
    assert code.file == "test_source.py"
    assert "A method." in show(Sample, docstring=True).text


def test_show_leaves_a_docstring_that_cannot_go():
    assert show(only_a_docstring).text == 'def only_a_docstring():\n    """Nothing else."""'
    assert show(one_line).text.startswith('def one_line(): "Doc."; return 1')


def test_show_names_a_file_elsewhere_from_its_package_on():
    assert show(torch.nn.functional.softmax).file == "torch/nn/functional.py"
    assert show(torch.nn.MultiheadAttention).file == "torch/nn/modules/activation.py"
    assert show(inspect.getsource).file == "inspect.py"


def test_show_looks_through_decorators(monkeypatch):
    # Checkers of shapes and types wrap the variants as they are imported.
    @functools.wraps(attention_masked)
    def wrapper(*args):
        return attention_masked(*args)

    expected = show(attention_masked)
    monkeypatch.setitem(registry._REGISTERED, 4, replace(describe_variant(4), function=wrapper))
    assert show(wrapper) == show(4) == expected


def test_show_reads_a_function_written_in_a_notebook():
    source = "def mine(q):\n    return q\n"
    name = "/somewhere/ipykernel_123/456.py"
    space = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), space)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        code = show(space["mine"])
    finally:
        del linecache.cache[name]
    assert code.text == source.rstrip()
    assert (code.file, code.first_line) == ("notebook cell", 1)


@pytest.mark.parametrize("number", [0, 8, -1, True, 2.5, "4"])
def test_a_variant_that_is_not_there_gets_the_list(number):
    with pytest.raises(ValueError, match=r"1 to 7 \(1 attention_loops, .*got"):
        show(number)
    with pytest.raises(ValueError, match="1 to 7"):
        diff(1, number)
    with pytest.raises(ValueError, match="1 to 7"):
        code_lines(number)


@pytest.mark.parametrize("thing", [torch.exp, len, None, [1], torch.zeros(2), torch.nn.Linear(1, 1)])
def test_what_has_no_python_source_is_refused(thing):
    with pytest.raises(TypeError, match="number of a variant, 1 to 7, or a function or class written in Python; got"):
        show(thing)


def test_source_that_cannot_be_found_is_an_error_that_says_so():
    space = {}
    # Not as "<string>": Python 3.13 takes what was given to python -c for its source.
    exec(compile("def lost():\n    return 1\n", "<nowhere>", "exec"), space)
    with pytest.raises(ValueError, match="source of lost cannot be found"):
        show(space["lost"])
    with pytest.raises(ValueError, match="source of int cannot be found"):
        show(int)


def test_code_prints_as_plain_text():
    code = show(2)
    assert str(code) == repr(code) == code.text


def test_code_is_highlighted_in_the_terminal():
    code = show(2)
    printed = _printed(code)
    assert code.file in printed
    assert f"line {code.first_line}" in printed
    for line in code.text.splitlines():
        assert line in printed
    assert re.search(r"\x1b\[[0-9;]*38;", _printed(code, force_terminal=True, color_system="truecolor"))


@pytest.mark.parametrize("page", [show(4)._repr_html_(), diff(3, 4)._repr_html_()], ids=["show", "diff"])
def test_html_needs_no_style_sheet(page):
    assert "class=" not in page
    assert "<style" not in page
    pre = re.search(r'<pre style="([^"]*)"', page)[1]
    for property_ in ("background:#", ";color:#", "white-space:pre;", "overflow-x:auto", "line-height:1.35"):
        assert property_ in pre


def test_html_shows_the_source_highlighted_with_file_and_line():
    code = show(4)
    page = code._repr_html_()
    header, body = page.split("<pre", 1)
    assert _text_of(header) == f"attention_masked · attention_variants/variants/v4_masked.py, line {code.first_line}"
    assert _text_of("<pre" + body).rstrip("\n") == code.text
    assert body.count('<span style="color') > 10
    assert show(4)._repr_html_() == page


# ---------------------------------------------------------------------------------------------- code_lines


def test_code_lines_are_neither_docstring_nor_blank_nor_comment():
    def counted(x):  # 1
        """One.

        Two.
        """
        # no

        y = [  # 2
            # no
            x,  # 3
        ]  # 4
        text = """
        part of the code

        """  # 5 to 8
        "an expression, not a docstring"  # 9
        return y, text  # 10

    assert code_lines(counted) == 10
    assert code_lines(only_a_docstring) == 2


def test_a_variant_is_at_most_40_lines_of_code():
    lines = {number: code_lines(number) for number in VARIANTS}
    assert max(lines.values()) <= 40, lines
    assert min(lines.values()) >= 5, lines


# --------------------------------------------------------------------------------------------------- diff


def before(q, k):
    total = 0
    for _ in range(3):
        total += q * k
    scale = 2
    # a comment that goes
    return total / scale


def after(q, k, mask):
    total = 0
    if mask:
        for _ in range(3):
            total += q * k  # now with a comment
    # a comment that comes

    return total


def test_diff_marks_every_line():
    marked = [(line.mark, line.text.strip()) for line in diff(before, after).lines]
    assert marked == [
        ("-", "def before(q, k):"),
        ("+", "def after(q, k, mask):"),
        (" ", "total = 0"),
        ("+", "if mask:"),
        ("~", "for _ in range(3):"),
        ("-", "total += q * k"),
        ("+", "total += q * k  # now with a comment"),
        ("-", "scale = 2"),
        ("-", "# a comment that goes"),
        ("+", "# a comment that comes"),
        ("+", ""),
        ("-", "return total / scale"),
        ("+", "return total"),
    ]


def test_diff_counts_a_replaced_line_once_and_neither_indentation_nor_lone_comments():
    change = diff(before, after)
    # def; if mask; and one block of three old lines (total, scale, return) and two new ones
    assert change.changed == 1 + 1 + 3
    assert change.removed == 4
    assert change.added == 4
    assert change.summary == "before -> after: 5 lines changed"


def test_diff_of_a_function_with_itself_is_nothing():
    change = diff(4, 4)
    assert (change.changed, change.added, change.removed) == (0, 0, 0)
    assert {line.mark for line in change.lines} == {" "}
    assert change.summary == "attention_masked -> attention_masked: no lines changed"


def test_indentation_alone_is_no_change():
    def flat(x):
        x = x + 1
        return x

    def nested(x):
        if x:
            x = x + 1
        return x

    change = diff(flat, nested)
    assert [line.mark for line in change.lines] == ["-", "+", "+", "~", " "]
    assert next(line.text for line in change.lines if line.mark == "~") == "        x = x + 1"
    assert (change.changed, change.added, change.removed) == (2, 2, 1)


@pytest.mark.parametrize(("a", "b"), [*zip(range(1, 7), range(2, 8), strict=True), (7, 1), (4, attention_tiled)])
def test_diff_holds_both_functions_in_full(a, b):
    def bare(text):
        return [line.strip() for line in text.splitlines()]

    change = diff(a, b)
    assert [line.text.strip() for line in change.lines if line.mark != "+"] == bare(show(a).text)
    assert [line.text for line in change.lines if line.mark != "-"] == show(b).text.splitlines()


def test_diff_emphasises_the_words_that_differ():
    change = diff(before, after)
    emphasised = [[line.text[start:end] for start, end in line.emphasis] for line in change.lines]
    assert emphasised[:2] == [["before"], ["after", ", mask"]]
    assert emphasised[6] == ["# now with a comment"]
    assert emphasised[3] == []


def test_diff_compares_docstrings_only_when_asked():
    assert not any("Parameters" in line.text for line in diff(3, 4).lines)
    assert any("Parameters" in line.text for line in diff(3, 4, docstring=True).lines)


def test_diff_prints_as_plain_text():
    change = diff(before, after)
    lines = str(change).splitlines()
    assert lines[0] == "before -> after: 5 lines changed"
    assert lines[1:5] == ["- def before(q, k):", "+ def after(q, k, mask):", "      total = 0", "+     if mask:"]
    assert repr(change) == str(change)


def test_diff_is_coloured_in_the_terminal_and_not_by_colour_alone():
    change = diff(before, after)
    plain = [line.rstrip() for line in _printed(change).splitlines()]
    assert plain == str(change).splitlines()
    coloured = _printed(change, force_terminal=True, color_system="truecolor").splitlines()
    removed, added, kept = coloured[1], coloured[2], coloured[3]
    assert "38;2;213;94;0m" in removed
    assert "38;2;0;158;115m" in added
    assert "38;2;" not in kept


def test_diff_html_marks_and_colours_the_lines():
    change = diff(before, after)
    page = change._repr_html_()
    header, body = page.split("<pre", 1)
    assert _text_of(header) == "before → after: 5 lines changed"
    shown = [line.rstrip() for line in _text_of("<pre" + body).rstrip("\n").split("\n")]
    assert shown == str(change).splitlines()[1:]
    grounds = [row.split("background:")[1].split('"')[0] for row in body.split('<span style="display:block')[1:]]
    by_mark = {line.mark: set() for line in change.lines}
    for line, ground in zip(change.lines, grounds, strict=True):
        by_mark[line.mark].add(ground)
    assert by_mark == {"-": {REMOVED}, "+": {ADDED}, " ": {"transparent"}, "~": {"transparent"}}
    assert re.search(r"<del [^>]*>before</del>", body)
    assert re.search(r"<ins [^>]*>after</ins>", body)


def test_html_escapes_the_code():
    def compares(a, b):
        return a < b & a, "<b>"

    for page in (show(compares)._repr_html_(), diff(compares, before)._repr_html_()):
        assert "<b>" not in page
        assert "&lt;b&gt;" in page


#: About 15 lines; in variant 2 a loop of three lines goes, and variant 5, which brings heads, changes a few more.
CHANGED_AT_MOST = {2: 16, 3: 15, 4: 15, 5: 18, 6: 15, 7: 15}


@pytest.mark.parametrize("number", list(CHANGED_AT_MOST))
def test_the_diff_to_the_variant_before_is_small(number):
    change = diff(number - 1, number)
    print(change.summary)
    assert 1 <= change.changed <= CHANGED_AT_MOST[number], change.summary


@pytest.mark.parametrize("number", VARIANTS)
def test_the_code_of_a_variant_begins_on_the_first_screen(number):
    """Signature, docstring and imports leave room for it; variant 7 has three more parameters to explain."""
    code = show(number, docstring=True)
    (function,) = ast.parse(code.text).body
    assert code.first_line + function.body[1].lineno - 1 <= (60 if number == 7 else 42)
    assert "attention_variants.variants" in ast.get_docstring(function)  # where the contract stands


def test_code_has_the_same_colours_without_the_variables_of_jupyterlab():
    theme = Path(sys.prefix) / "share/jupyter/lab/themes/@jupyterlab/theme-light-extension/index.css"
    css = theme.read_text(encoding="utf-8").replace(":green", ":#008000")
    full = lambda color: "#" + "".join(c * 2 for c in color[1:]) if len(color) == 4 else color  # noqa: E731
    found = re.findall(r"color:(#\w+);color:var\(--jp-(mirror-editor-\w+-color)", show(7)._repr_html_())
    assert len(found) > 10
    for light, variable in found:
        assert full(re.search(rf"--jp-{variable}:(#\w+)", css)[1]).lower() == light.lower(), variable


def test_a_class_of_a_cell_and_of_the_catalogue_is_shown():
    mistake = attention_variants.MISCONCEPTIONS["cache_not_reordered"]
    assert show(mistake.function).text.startswith("class cache_not_reordered:")
    assert "self.k[items]" in str(diff(mistake.right, mistake.function))
    source = "class Made:\n    def look(self):\n        return 1\n"
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    names: dict = {}
    exec(compile(source, "<cell>", "exec"), names)
    assert show(names["Made"]).text == source.rstrip()
    with pytest.raises(ValueError, match="the source of Nothing cannot be found"):
        show(type("Nothing", (), {}))
