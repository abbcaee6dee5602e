"""What the site is made from: nothing public is left out, every term leads to where it is taught.

That the pages work is seen in a browser, by `make test-browser`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import build_site
import nbformat
import pytest
import torch
from course_notebooks import NOTEBOOKS as FOLDER
from matplotlib.colors import to_hex, to_rgb

import attention_variants as av

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ADDRESS = "https://example.org/owner/course"
REFERENCE = "".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "api").glob("*.md")))
SHOWS_A_VIEW = re.compile(r"^av\.(animate\w*|explore)\(", re.MULTILINE)
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", av.__all__)
def test_every_public_name_is_in_the_reference_once_and_documented(name):
    directives = re.findall(rf"^\.\. (auto\w+|py:data):: {name}$", REFERENCE, flags=re.MULTILINE)
    assert len(directives) == 1
    if directives[0] != "py:data":
        thing = getattr(av, name)
        assert thing.__module__.startswith("attention_variants")
        assert len(thing.__doc__.split()) > 10


def test_beside_them_the_reference_names_what_they_use_and_return():
    names = re.findall(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)$", REFERENCE, flags=re.MULTILINE)
    others = [name for name in names if name not in av.__all__]
    assert len(names) == len(set(names))
    for name in others:
        module, _, kind = name.rpartition(".")
        thing = getattr(importlib.import_module(module), kind)
        assert callable(thing) or inspect.ismodule(thing)
        assert thing.__doc__


def test_every_command_has_its_help():
    page = build_site.command_line()
    commands = re.findall(r"^## (\w+)$", page, flags=re.MULTILINE)
    assert {"compare", "show", "diff", "check", "grade", "bench"} <= set(commands)
    for command in commands:
        assert f"```text\nattention-variants {command} " in page
        assert f"| [{command}](#{command}) | " in page
        assert f"```console\nattention-variants {command} " in page
    assert "| `--keys T_k` | Keys in each. [default: 16] |" in page
    assert "| `--mask causal\\|padding\\|none` | " in page, "a bar would end the cell"
    assert "| One problem of your own | meaning |" in page
    prose = re.sub(r"```.*?```|`[^`]+`", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?<=[ (])--\w+", prose), "Sphinx would make a dash of it"
    assert "```console\nattention-variants check mine.py --variant 4\n```" in page


def test_every_term_leads_to_where_it_is_taught():
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^((?:\S.*\n)+)((?:  .*\n)+)", glossary.replace(":sorted:\n", ""), flags=re.MULTILINE)
    terms = [term for names, _ in entries for term in names.split("\n") if term]
    assert len(terms) > 30
    for tensor in ("q", "k", "v", "scores", "weights", "context", "mask", "d_model", "num_heads", "d_k", "T_q", "T_k"):
        assert tensor in terms
    for names, text in entries:
        assert re.search(r"Taught in\s+\[[^\]]+\]\(notebooks/\d\d_\w+\.ipynb#", text), names


def test_every_notebook_is_on_the_front_page_in_order():
    listed = re.findall(r"^notebooks/(\w+)$", (DOCS / "index.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert listed == [path.stem for path in NOTEBOOKS]


def test_links_to_what_is_no_page_lead_to_the_repository():
    text = "[a](LICENSE) [b](notebooks/01_loops.ipynb#see-it) [c](https://a.org) [d](#here) [e](classroom/README.md)"
    assert build_site.with_links(text, ROOT / "README.md", ADDRESS) == text.replace(
        "(LICENSE)", f"({ADDRESS}/blob/main/LICENSE)"
    )
    inside = build_site.with_links("[x](../LICENSE)", ROOT / "classroom/README.md", ADDRESS)
    assert inside == f"[x]({ADDRESS}/blob/main/LICENSE)"


def test_the_maths_of_a_closed_fold_is_marked_for_mathjax():
    for path in NOTEBOOKS:
        made = build_site.notebook_page(nbformat.read(path, as_version=4), path, ADDRESS)
        for cell in made.cells:
            for summary in re.findall(r"<summary>.*?</summary>", cell.source, flags=re.DOTALL):
                assert "$" not in summary
    marked = build_site.SUMMARY.sub(build_site.with_maths, "<summary>a $T \\times T$ matrix</summary> $x$")
    assert marked == (
        '<summary>a <span class="math notranslate nohighlight">\\(T \\times T\\)</span> matrix</summary> $x$'
    )


def test_a_fork_has_its_own_addresses(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert build_site.repository().count("/") == 4
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/fork")
    assert build_site.repository() == "https://github.com/someone/fork"
    assert "/v2/gh/someone/fork/main" in build_site.buttons("01_loops.ipynb", build_site.repository())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_shows_the_stored_outputs_and_players_in_place_of_their_pictures(path):
    stored, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    views = build_site.take_views(notebook, path.stem)
    made = build_site.notebook_page(notebook, path, ADDRESS)
    assert 'class="launch"' in made.cells[0].source
    for before, after in zip(stored.cells, made.cells, strict=True):
        if before.cell_type == "code" and SHOWS_A_VIEW.search(before.source):
            (output,), (shown,) = after.outputs, before.outputs
            name = re.search(r'<iframe class="view" src="../views/([^"]+)"', output.data["text/html"])[1]
            assert shown.data["text/html"] in views.pop(name)
        elif before.cell_type == "code":
            assert after.source == before.source
            assert after.outputs == before.outputs
            if "alt" in before.metadata:
                assert after.metadata.mystnb.image.alt == before.metadata.alt
    assert not views


def test_every_line_of_a_variant_has_an_address(tmp_path):
    build_site.write_code(tmp_path)
    for number, function in av.VARIANTS.items():
        path = Path(inspect.getsourcefile(function))
        text = (tmp_path / f"{path.stem}.md").read_text(encoding="utf-8")
        count = len(path.read_text(encoding="utf-8").splitlines())
        assert [f'id="line-{line}"' in text for line in range(1, count + 2)] == [True] * count + [False]
        assert f'href="#line-{inspect.getsourcelines(function)[1]}"' in text
        assert (f"## What changed from variant {number - 1}" in text) == (number > 1)


def test_the_tables_are_those_of_the_stored_run(tmp_path):
    build_site.write_tables(tmp_path)
    stored = json.loads((ROOT / "assets/bench/bench.json").read_text(encoding="utf-8"))
    guaranteed, every = ((tmp_path / name).read_text(encoding="utf-8") for name in ("bounds.html", "all.html"))
    for bound in stored["bounds"]:
        assert bound["measured"] in guaranteed
    for result in stored["races"][0]["results"]:
        assert result["name"] in every
    assert "Guarantees: " in guaranteed
    assert "Guarantees: " not in every


def test_boxes_of_code_are_legible_when_they_are_turned_dark():
    """4.5 is the WCAG's bound for text. Axe does not see what a filter makes of colours."""
    css = (DOCS / "_static" / "site.css").read_text(encoding="utf-8")
    share = float(re.search(r"color-scheme:light.*filter: invert\((0\.\d+)\) hue-rotate\(180deg\)", css)[1])
    show, diff = av.show(7)._repr_html_(), av.diff(6, 7)._repr_html_()
    assert "color-scheme:light" in show
    assert "color-scheme:light" in diff
    pairs = {(ink, "#FFFFFF") for ink in re.findall(r"[^-]color: ?(#\w{3,6})", show)}
    grounds = re.findall(r"background: ?rgba\((\d+),(\d+),(\d+),([.\d]+)\)", diff)  # on white
    pairs |= {("#1F2328", to_hex([1 - float(a) * (1 - int(c) / 255) for c in rgb])) for *rgb, a in grounds}
    assert len(pairs) > 8
    for ink, ground in pairs:
        light, dark = sorted((_luminance(_turned(colour, share)) for colour in (ink, ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def _turned(colour, share):
    """The colour after both filters, as "Filter Effects Module Level 1" has them, https://www.w3.org/TR/filter-effects-1."""
    inverted = torch.tensor(to_rgb(colour)) * (1 - 2 * share) + share
    gray = torch.tensor([0.213, 0.715, 0.072]).expand(3, 3)
    return ((2 * gray - torch.eye(3)) @ inverted).clamp(0, 1)


def _luminance(colour):
    """The relative luminance as the WCAG 2.2 defines it."""
    linear = torch.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return (linear @ torch.tensor([0.2126, 0.7152, 0.0722])).item()


def test_the_words_of_a_figure_stand_on_one_line():
    """MyST takes what follows on the next line for the caption."""
    for path in DOCS.rglob("*.md"):
        for after in re.findall(r"^:::\{figure\}.*\n((?:.+\n)*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert all(re.match(r":\w+: ", line) for line in after.splitlines()), path.name


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(SystemExit, match="something else than a site"):
        build_site.build(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
