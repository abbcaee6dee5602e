"""Every notebook is a page of one course: what it promises at the top, how long it is, what it shows, what it asks.

What is drawn is hidden with a click to open; the exercises come in three rungs, each with a solution that is run here;
whatever a cell invites the reader to change has three other values in tests/other_inputs.py.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from course_notebooks import NOTEBOOKS as FOLDER
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from other_inputs import OTHER_INPUTS
from run_other_inputs import TAG, assigned, is_input

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_WORDS = 1800
MOST_MINUTES = 25
RUNGS = ("A line", "A half", "The whole")
FOLD = re.compile(r"<details>.*?</details>", re.DOTALL)
SOLUTION = re.compile(
    r"<details>\s*<summary><b>Solution</b></summary>\s*```python\n(.*?)```.*?</details>", flags=re.DOTALL
)
MINUTES = r"\*(\d+) minutes?[*.,]"


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code_cells(notebook) -> Iterator[tuple[int, nbformat.NotebookNode]]:
    return ((at, cell) for at, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def tree(cell) -> ast.Module:
    return ast.parse("\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in cell.source.splitlines()))


# ---------------------------------------------------------------------------------------------- the checks
# Each takes a notebook and says what is wrong with it, in words that say what to do.


def promises(notebook) -> Iterator[str]:
    """What a reader can do afterwards, how many minutes it takes, and what one has to know."""
    first = next((at for at, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
    top = "\n\n".join(cell.source for cell in notebook.cells[:first])
    if not re.match(r"# \S", top):
        yield "the first line is no title (# ...)"
    if "**After this you can**" not in top:
        yield "the top says nothing of what one can do: **After this you can** ..."
    found = re.search(r"\*About (\d+) minutes\b[^*]*You need: [^*]+\*", top)
    if not found:
        yield "the top says nothing of the time and of what it takes: *About 15 minutes. You need: ...*"
    elif int(found[1]) > MOST_MINUTES:
        yield f"it takes {found[1]} minutes; a page takes at most {MOST_MINUTES}"


def words(notebook) -> int:
    """Count the words that are seen while all folds are closed: what has a letter or a digit, between spaces."""
    text = FOLD.sub(" ", "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    return sum(bool(re.search(r"[^\W_]", word)) for word in text.split())


def few_words(notebook) -> Iterator[str]:
    if (count := words(notebook)) > MOST_WORDS:
        yield f"{count} words outside folds; {MOST_WORDS} are the most"


#: What is drawn on, by the names that it usually has, and what draws.
DRAWN_ON = {"plt", "ax", "axes", "fig", "figure"}
DRAWS = re.compile(r"plot_\w+|draw_\w+|draw|panels")


def drawing(cell) -> tuple[int, int]:
    """Count the statements of a cell that draw, and all of them.

    A statement draws if it calls what draws, or names what is drawn on: a figure, its axes, or what was made of them by
    such a statement. Compound statements are counted by those in them; imports are no part of it.
    """
    known, draws, count = set(DRAWN_ON), 0, 0
    for node in ast.walk(tree(cell)):
        if not isinstance(node, ast.stmt) or isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
            continue
        if hasattr(node, "body"):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        count += 1
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        functions = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
        called = {getattr(function, "attr", getattr(function, "id", "")) for function in functions}
        if names & known or any(DRAWS.fullmatch(name) for name in called):
            draws += 1
            if isinstance(node, ast.Assign):
                targets = [one for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)]
                known |= {one.id for one in targets if one.id != "_"}
    return draws, count


def drawing_is_hidden(notebook) -> Iterator[str]:
    for at, cell in code_cells(notebook):
        draws, count = drawing(cell)
        hidden = "hide-input" in tags(cell), bool(cell.metadata.get("jupyter", {}).get("source_hidden"))
        if 2 * draws > count and not any(hidden):
            yield (
                f"cell {at} draws, in {draws} of {count} statements: hide it (tag hide-input, and source_hidden in "
                f"`jupyter`), and compute in a cell of its own what it shows"
            )
        if any(hidden) and not all(hidden):
            yield f"cell {at} is hidden on the site or in JupyterLab alone: tag hide-input, and jupyter.source_hidden"
        if any(hidden) and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree(cell))):
            yield f"cell {at} is hidden and imports: keep imports where they are seen"


def rungs(notebook) -> dict[str, dict[str, Any]]:
    """Find what stands under each of the three headings: text, code cell and solution."""
    found: dict[str, dict[str, Any]] = {}
    now = None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if now and "code" not in found[now]:
                found[now]["code"] = cell
            continue
        for part in re.split(r"^(?=#{1,3} )", cell.source, flags=re.MULTILINE):
            heading = re.match(r"(#{1,3}) (.*)", part)
            if heading:
                now = heading[2].strip() if heading[1] == "###" and heading[2].strip() in RUNGS else None
            if now:
                entry = found.setdefault(now, {"text": ""})
                entry["text"] += part
                if (solution := SOLUTION.search(part)) and "code" in entry:
                    entry["solution"] = solution[1]
    return found


def last_call(cell) -> str:
    """Name the function that the last expression of a cell calls."""
    body = tree(cell).body
    last = body[-1] if body else None
    called = last.value.func if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) else None
    return getattr(called, "attr", getattr(called, "id", ""))


def three_rungs(notebook) -> Iterator[str]:
    found = rungs(notebook)
    if tuple(found) != RUNGS:
        yield f"Your turn has the rungs {list(found)}; it has ### {', ### '.join(RUNGS)}, in this order"
    for name, rung in found.items():
        if not re.search(MINUTES, rung["text"]):
            yield f"### {name} does not say how long it takes: *2 minutes.*"
        if "exercise" not in tags(rung.get("code", new_code_cell())):
            yield f"### {name} has no code cell tagged exercise"
        elif not last_call(rung["code"]).startswith("check"):
            yield f"### {name} does not end with a check: av.check(...)"
        if "solution" not in rung:
            yield f"### {name} has no folded solution after its code: <details><summary><b>Solution</b></summary>"


def invites_with_literals(notebook) -> Iterator[str]:
    for at, cell in code_cells(notebook):
        if not is_input(cell):
            continue
        if "#" not in cell.source:
            yield f"cell {at} invites and does not say what can be put there: a comment"
        try:
            for _, value in assigned(cell.source):
                ast.literal_eval(value)
        except ValueError as error:
            yield f"cell {at} is tagged {TAG}: {error}; it has literals alone"
        except SyntaxError as error:
            yield f"cell {at} is no Python: {error}"


CHECKS = [promises, few_words, drawing_is_hidden, three_rungs, invites_with_literals]


# --------------------------------------------------------------------------------------- the real notebooks


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_page(path, check):
    complaints = list(check(nbformat.read(path, as_version=4)))
    assert not complaints, "\n".join([path.name, *complaints])


def same(a, b):
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_invitation_has_three_other_values(path):
    notebook = nbformat.read(path, as_version=4)
    stored = {
        name: ast.literal_eval(value)
        for cell in notebook.cells
        if is_input(cell)
        for name, value in assigned(cell.source)
        if not isinstance(ast.literal_eval(value), bool)  # a switch: nothing that one thinks of oneself
    }
    others = OTHER_INPUTS.get(path.stem, {})
    assert set(stored) == set(others), "tests/other_inputs.py and the cells tagged reader-input name different things"
    for name, values in others.items():
        assert len(values) == 3, name
        assert not any(same(value, stored[name]) for value in values), f"{name}: {stored[name]!r} is what is stored"


def test_other_inputs_are_of_notebooks_that_exist():
    assert set(OTHER_INPUTS) <= {path.stem for path in NOTEBOOKS}


def run_exercise(notebook, cell, solution: str = ""):
    """Run an exercise on what the notebook imports, with a solution in place of its skeleton; return the last value."""
    imports = [
        node
        for one in notebook.cells
        if one.cell_type == "code"
        for node in tree(one).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    body, given = tree(cell).body, ast.parse(solution).body
    written = {node.name: node for node in given if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    asked = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert not solution or asked & set(written), f"the solution defines {sorted(written)}, the skeleton {sorted(asked)}"
    rest = [node for node in body if getattr(node, "name", None) not in written]
    *statements, last = [*imports, *given, *rest]
    scope: dict[str, Any] = {"__name__": "exercise"}
    exec(compile(ast.Module(statements, []), "exercise", "exec"), scope)
    return eval(compile(ast.Expression(last.value), "exercise", "eval"), scope)


@pytest.mark.slow
@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_solution_passes_its_check_and_the_skeleton_does_not(path, rung, monkeypatch):
    monkeypatch.chdir(path.parent)
    notebook = nbformat.read(path, as_version=4)
    found = rungs(notebook)
    assert rung in found, f"{path.name} has no ### {rung}"
    assert "solution" in found[rung], f"{path.name}: ### {rung} has no solution"
    cell = found[rung]["code"]
    report = run_exercise(notebook, cell, found[rung]["solution"])
    assert report, f"{path.name}: the solution of ### {rung} does not pass\n{report!r}"
    assert not run_exercise(notebook, cell), f"{path.name}: ### {rung} is passed before anything is written"


# ---------------------------------------------------------- the checks themselves, on a page that is right


HIDDEN = {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
FIGURE = "fig, ax = plt.subplots()\nimage = ax.imshow(x)\nimage.set_clim(0, 1)\nplt.show()"
SOLVED = "<details><summary><b>Solution</b></summary>\n\n```python\ndef mine(x):\n    return x\n```\n\nWhy.\n</details>"
EXERCISE = "def mine(x):\n    raise NotImplementedError\n\n\ncheck(mine)"


def page(*, without: str = "", top: str = "", more=()):
    parts = {
        "can": "**After this you can** read it.",
        "minutes": "*About 15 minutes, and 5 for the exercises. You need: notebook 01.*",
    }
    text = top or "\n\n".join(["# A page", *(part for name, part in parts.items() if name != without)])
    cells = [new_markdown_cell(text), new_code_cell("import matplotlib.pyplot as plt"), new_code_cell("x = 1")]
    cells += [new_code_cell(FIGURE, metadata=HIDDEN), new_markdown_cell("## Your turn")]
    heading = ""
    for name in RUNGS:
        minutes = "" if without == f"{name} minutes" else "*2 minutes.*"
        cells.append(new_markdown_cell(f"{heading}\n\n### {name}\n\n{minutes} Write it."))
        code = EXERCISE if without != f"{name} check" else EXERCISE.replace("check(mine)", "mine(1)")
        cells.append(new_code_cell(code, metadata={"tags": ["exercise"]}))
        heading = SOLVED if without != f"{name} solution" else ""
    cells += [new_markdown_cell(heading), new_code_cell("a, b = 1, 'two'  # any", metadata={"tags": [TAG]}), *more]
    return new_notebook(cells=cells)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_is_content_with_a_good_page(check):
    assert list(check(page())) == []


@pytest.mark.parametrize(
    ("check", "notebook"),
    [
        (promises, page(without="can")),
        (promises, page(without="minutes")),
        (promises, page(top="# A\n\n**After this you can** go.\n\n*About 30 minutes. You need: time.*")),
        (few_words, page(more=[new_markdown_cell("word " * MOST_WORDS)])),
        (drawing_is_hidden, page(more=[new_code_cell(FIGURE)])),
        (drawing_is_hidden, page(more=[new_code_cell("_ = av.plot_heads(weights)\nplt.show()")])),
        (
            drawing_is_hidden,
            page(more=[new_code_cell("for ax in axes:\n    ax.plot(x)\n    ax.set(xlim=(0, 1))\ny = 1")]),
        ),
        (drawing_is_hidden, page(more=[new_code_cell(FIGURE, metadata={"tags": ["hide-input"]})])),
        (drawing_is_hidden, page(more=[new_code_cell(FIGURE, metadata={"jupyter": {"source_hidden": True}})])),
        (drawing_is_hidden, page(more=[new_code_cell("import torch\n" + FIGURE, metadata=HIDDEN)])),
        *((three_rungs, page(without=f"{rung} {part}")) for rung in RUNGS for part in ("minutes", "check", "solution")),
        (invites_with_literals, page(more=[new_code_cell("a = f(1)  # any", metadata={"tags": [TAG]})])),
        (invites_with_literals, page(more=[new_code_cell("print(1)  # any", metadata={"tags": [TAG]})])),
        (invites_with_literals, page(more=[new_code_cell("a = 1", metadata={"tags": [TAG]})])),
    ],
)
def test_check_finds(check, notebook):
    assert list(check(notebook)), f"{check.__name__} finds nothing"


def test_words_in_folds_are_not_counted():
    folded = new_markdown_cell(f"<details>\n<summary>more</summary>\n\n{'word ' * MOST_WORDS}</details>")
    assert words(page(more=[folded])) == words(page())


def test_computing_needs_no_hiding():
    seen = "sums = steps.history('running_sum')\npartial = [c / s for c, s in zip(contexts, sums)]\nprint(partial)"
    assert list(drawing_is_hidden(page(more=[new_code_cell(seen)]))) == []


def test_a_solution_takes_the_place_of_the_skeleton():
    checking = "def check(function):\n    return function(3) == 3\n\n\n"
    cell = new_code_cell(checking + EXERCISE.replace("raise NotImplementedError", "return None"))
    assert run_exercise(page(), cell, "def mine(x):\n    return x")
    assert not run_exercise(page(), cell)
    with pytest.raises(AssertionError, match="the solution defines"):
        run_exercise(page(), cell, "def other(x):\n    return x")
