"""The notebooks as they are stored: run in order from a fresh kernel, clean, of one form, and free of this machine.

That their outputs are still true is nbval's part of `make test`. nbval compares only what is stored, so a notebook
without outputs would pass it unseen; here it does not.
"""

from __future__ import annotations

import ast
import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from check_notebooks import has_outputs, run_in_order
from course_notebooks import NOTEBOOKS as FOLDER
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from attention_variants import VARIANTS
from attention_variants.lab.plots.panels import PANELS
from attention_variants.lab.web.view import VIEW

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECTIONS = ["What changes", "The code", "See it", "Same answer", "Break it", "What it buys", "Your turn"]
MAX_BYTES = 1_000_000
MOST_FRAMES, MOST_BYTES = 120, 400_000  # of one animation
FEWEST_WORDS, MOST_WORDS = 12, 70  # for one picture

# Where a path of one machine begins. Not inside a word or a longer path, so that addresses on the web may hold /home/.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~-])(?:/(?:home|Users|root|tmp|private|opt|var|usr|mnt)/|[A-Z]:\\Users\\)[^\s'\"<&]*"
)
TRACEBACK_FILE = re.compile(r"File \S*[/\\]\S*")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def code_cells(notebook) -> Iterator[tuple[int, nbformat.NotebookNode]]:
    return ((index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def output_texts(cell) -> Iterator[str]:
    """What a reader sees of a cell's outputs as text; pictures in base64 are not text."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield ANSI.sub("", "\n".join([output.evalue, *output.traceback]))
        else:
            yield from (str(data) for mime, data in output.data.items() if not re.match(r"image/(?!svg)", mime))


# Each check takes a notebook and says what is wrong with it, in words that say what to do. Two more stand in
# scripts/check_notebooks.py, where git asks for them before a commit.


def valid(notebook) -> Iterator[str]:
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        yield f"not a valid notebook: {error.message}"


def no_stderr(notebook) -> Iterator[str]:
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                yield f"cell {index} writes to stderr: {output.text.strip()[:200]}"


def no_errors(notebook) -> Iterator[str]:
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                yield f"cell {index} fails with {output.ename}: {output.evalue} (meant? tag raises-exception)"


def no_empty_outputs(notebook) -> Iterator[str]:
    """A box with nothing in it, which a console leaves behind that thinks it has to show something itself."""
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            if re.fullmatch(r"<pre[^>]*>\s*</pre>\s*", output.get("data", {}).get("text/html", "")):
                yield f"cell {index} shows an empty box"


def no_widgets(notebook) -> Iterator[str]:
    """A widget needs its kernel: without one, a reader would see an error in place of the picture."""
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            if any("widget" in mime for mime in output.get("data", {})):
                yield f"cell {index} stores a widget that no kernel runs: run `make notebooks`"


def small_players(notebook) -> Iterator[str]:
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            text = output.get("data", {}).get("text/html", "")
            shown = re.search(r"^const data = (.*);$", text, re.MULTILINE) if text.startswith(VIEW) else None
            frames = json.loads(shown[1]).get("frames", []) if shown else []
            if frames and (len(frames) > MOST_FRAMES or len(text) > MOST_BYTES):
                yield f"cell {index} stores a player of {len(frames)} frames in {len(text)} bytes"


def described_pictures(notebook) -> Iterator[str]:
    """Who does not see a picture hears its words: in a page made by nbconvert, and in the site."""
    heard = set()
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            if not {"image/png", "image/jpeg", "image/svg+xml"} & set(output.get("data", {})):
                continue
            alt = output.metadata.get("image/png", {}).get("alt", "")
            if alt != cell.metadata.get("alt", alt):
                yield f"cell {index} has other words for its picture than its output: run `make notebooks`"
            elif not FEWEST_WORDS <= len(alt.split()) <= MOST_WORDS or alt in heard:
                yield f"cell {index}: say in its metadata (`alt`) what its picture shows, as no other does; got {alt!r}"
            said = output.data.get("text/html", "")
            if said.startswith(PANELS) and html.unescape(said.removeprefix(PANELS).partition('"')[0]) != alt:
                yield f"cell {index} has panels without the words for them: run `make notebooks`"
            heard.add(alt)


def one_kernel(notebook) -> Iterator[str]:
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"the kernel is {name!r}, every machine has 'python3': run `make notebooks`"


def nothing_of_this_machine(notebook) -> Iterator[str]:
    here = [str(ROOT), str(Path.home()) + "/"]
    for index, cell in enumerate(notebook.cells):
        outputs = list(output_texts(cell)) if cell.cell_type == "code" else []
        for text in [cell.source, *outputs]:
            if match := ABSOLUTE_PATH.search(text):
                yield f"cell {index} names a path of one machine: {match.group()}"
            elif any(path in text for path in here):
                yield f"cell {index} names the folder it was made in"
        for text in outputs:
            if match := ADDRESS.search(text):
                yield f"cell {index} shows a memory address, another one in every run: {match.group()}"
            if match := TRACEBACK_FILE.search(text):
                yield f"cell {index} shows where a file lies, {match.group()}: catch the error and print it"


def calls(node: ast.AST) -> set[str]:
    """The last names of everything that is called under a node: torch.softmax(...) and x.softmax(...) are softmax."""
    functions = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
    return {getattr(function, "attr", getattr(function, "id", "")) for function in functions}


def imports_its_attention(notebook) -> Iterator[str]:
    """Notebooks import attention; only the reader writes one, in the cell tagged "exercise".

    An attention is a function that takes a softmax and multiplies matrices, or goes by the name of a variant. One that
    only calls a variant, to give it a mask or a number of heads, is none.
    """
    variants = {function.__name__ for function in VARIANTS.values()}
    for index, cell in code_cells(notebook):
        if "exercise" in tags(cell):
            continue
        python = "\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in cell.source.splitlines())
        for node in ast.walk(ast.parse(python)):
            if not isinstance(node, ast.FunctionDef | ast.Lambda):
                continue
            name = getattr(node, "name", "a lambda")
            has_softmax = calls(node) & {"softmax", "exp"}
            has_product = calls(node) & {"matmul", "mm", "bmm", "einsum"} or any(
                isinstance(inner, ast.MatMult) for inner in ast.walk(node)
            )
            if name in variants or (has_softmax and has_product):
                yield (
                    f"cell {index} defines an attention of its own, {name}: import it "
                    f"(the reader's own, in Your turn, is tagged exercise)"
                )


def all_sections(notebook) -> Iterator[str]:
    headings = [
        line.removeprefix("## ").strip()
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    found = [heading for heading in headings if heading in SECTIONS]
    if found != SECTIONS:
        yield f"the sections are {found}, each variant's notebook has {SECTIONS}, in this order, as level-2 headings"


CHECKS = [
    valid,
    run_in_order,
    has_outputs,
    no_stderr,
    no_errors,
    no_empty_outputs,
    no_widgets,
    small_players,
    described_pictures,
    one_kernel,
    nothing_of_this_machine,
    imports_its_attention,
]


# The real notebooks.


def test_the_whole_course_is_there():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    missing = [f"{number:02}" for number in range(11) if f"{number:02}" not in numbers]
    assert not missing, f"notebooks/ has no notebook {', '.join(missing)}"
    assert len(set(numbers)) == len(numbers), f"two notebooks share a number: {[path.name for path in NOTEBOOKS]}"
    assert NOTEBOOKS[0].name == "00_start_here.ipynb", "make lab opens 00_start_here.ipynb"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, check):
    complaints = list(check(nbformat.read(path, as_version=4)))
    assert not complaints, "\n".join([path.name, *complaints])


IN_SECTIONS = [path for path in NOTEBOOKS if "01" <= path.name[:2] <= "07" or "12" <= path.name[:2] <= "15"]


@pytest.mark.parametrize("path", IN_SECTIONS, ids=lambda path: path.stem)
def test_notebook_of_a_variant_or_a_page_after_them_has_the_sections(path):
    complaints = list(all_sections(nbformat.read(path, as_version=4)))
    assert not complaints, f"{path.name}: {complaints[0]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_small(path):
    assert path.stat().st_size <= MAX_BYTES, f"{path.name} has {path.stat().st_size} bytes; fewer or smaller pictures"


# The checks themselves, on a small notebook that is right and on what can go wrong with it.


def sample():
    cells = [
        new_markdown_cell("# A sample\n\nSee https://example.org/home/page and 0x10."),
        *(new_markdown_cell(f"## {section}\n\nProse.") for section in SECTIONS),
        new_code_cell("%matplotlib inline\nimport attention_variants as av", execution_count=1),
        new_code_cell(
            "av.VARIANTS[1]",
            execution_count=2,
            outputs=[
                new_output("stream", name="stdout", text="fine\n"),
                new_output(
                    "display_data",
                    data={"image/png": base64.b64encode(b"a picture").decode() + "/tmp" + "/x"},
                    metadata={"image/png": {"alt": " ".join(map(str, range(FEWEST_WORDS)))}},
                ),
            ],
        ),
        new_code_cell("def attention_loops(q, k, v):\n    ...", execution_count=3, metadata={"tags": ["exercise"]}),
        new_code_cell("wrapped = lambda q, k, v: av.attention_tiled(q, k, v, block_size=2)", execution_count=4),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


@pytest.mark.parametrize("check", [*CHECKS, all_sections], ids=lambda check: check.__name__)
def test_check_is_content_with_a_good_notebook(check):
    assert list(check(sample())) == []


def printing(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return new_code_cell("1", execution_count=5, outputs=[new_output("stream", name=name, text=text)])


def defining(source: str) -> nbformat.NotebookNode:
    return new_code_cell(source, execution_count=5)


def failing(*, traceback: list[str] = (), meant: bool = False) -> nbformat.NotebookNode:
    error = new_output("error", ename="ValueError", evalue="no", traceback=list(traceback))
    cell_tags = ["raises-exception"] if meant else []
    return new_code_cell("1", execution_count=5, outputs=[error], metadata={"tags": cell_tags})


WORDS = "Heat map of the weights, five queries as rows and seven keys as columns; most of it lies on the diagonal."


PICTURE = "iVBORw0KGgo="  # as a PNG begins


def showing(mime: str, data, *, alt: str = WORDS, cell_alt: str = WORDS) -> nbformat.NotebookNode:
    output = new_output("display_data", data={mime: data}, metadata={mime: {"alt": alt}})
    return new_code_cell("1", execution_count=5, outputs=[output], metadata={"alt": cell_alt})


def panels(*, words: str) -> nbformat.NotebookNode:
    cell = showing("image/png", PICTURE)
    cell.outputs[0].data["text/html"] = f'{PANELS}{words}">\n</div>'
    return cell


def player(*, frames: int, padding: int = 0) -> str:
    data = {"frames": [[0, 0, "AAAA"]] * frames, "name": "x" * padding}
    return f"{VIEW}\n<script>\nconst data = {json.dumps(data)};\n</script>\n</div>"


@pytest.mark.parametrize(
    ("check", "cell"),
    [
        (valid, nbformat.from_dict({"cell_type": "code", "id": "no-outputs", "source": "1"})),
        (run_in_order, new_code_cell("never_run")),
        (run_in_order, new_code_cell("run_again", execution_count=9)),
        (no_stderr, printing("a warning", name="stderr")),
        (no_errors, failing()),
        (no_empty_outputs, showing("text/html", "<pre style='white-space:pre'></pre>\n")),
        (no_widgets, showing("application/vnd.jupyter.widget-view+json", {"model_id": "1"})),
        (small_players, showing("text/html", player(frames=121))),
        (small_players, showing("text/html", player(frames=2, padding=400_000))),
        (described_pictures, showing("image/png", PICTURE, alt="")),
        (described_pictures, showing("image/png", PICTURE, alt="A heat map.", cell_alt="A heat map.")),
        (described_pictures, showing("image/png", PICTURE, cell_alt="Newer words, which " + WORDS)),
        (described_pictures, showing("image/svg+xml", "<svg/>", alt="", cell_alt="")),
        (described_pictures, panels(words="left; right")),
        (nothing_of_this_machine, printing("saved in /home/anna/course/figure.png")),
        (nothing_of_this_machine, printing("'/Users/tom/figure.png'")),
        (nothing_of_this_machine, printing(str(ROOT / "figure.png"))),
        (nothing_of_this_machine, new_markdown_cell("Look into /tmp" + "/figures.")),
        (nothing_of_this_machine, printing("<function attention_loops at 0x7f3a5c0d1e40>")),
        (nothing_of_this_machine, failing(traceback=["File \x1b[32m~/course/attention.py:5\x1b[0m"], meant=True)),
        (imports_its_attention, defining("def mine(q, k, v):\n    return torch.softmax(q @ k.T, dim=-1) @ v")),
        (imports_its_attention, defining("def mine(q, k, v):\n    return torch.matmul((q * k).sum().exp(), v)")),
        (imports_its_attention, defining("mine = lambda q, k, v: (q @ k.mT).softmax(-1) @ v")),
        (
            imports_its_attention,
            defining("class Mine:\n    def forward(self, q, k, v):\n        return F.softmax(q @ k.T) @ v"),
        ),
        *((imports_its_attention, defining(f"def {f.__name__}(*args):\n    return args")) for f in VARIANTS.values()),
        (all_sections, new_markdown_cell("## See it")),
    ],
)
def test_check_complains(check: Callable, cell):
    notebook = sample()
    notebook.cells.append(cell)
    assert len(list(check(notebook))) == 1


def test_an_error_that_is_meant_passes():
    notebook = sample()
    notebook.cells.append(failing(meant=True))
    assert list(no_errors(notebook)) == []


def test_another_kernel_is_seen():
    notebook = sample()
    notebook.metadata.kernelspec.name = "my-venv"
    assert len(list(one_kernel(notebook))) == 1


@pytest.mark.parametrize("wrong", [SECTIONS[:-1], SECTIONS[::-1], []], ids=["one missing", "order", "none"])
def test_missing_sections_are_seen(wrong):
    notebook = new_notebook(cells=[new_markdown_cell(f"## {section}") for section in wrong])
    assert len(list(all_sections(notebook))) == 1
