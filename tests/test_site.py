"""What the site is made from: nothing public is left out, every term leads to where it is taught.

That the pages work is seen in a browser, by `make test-browser`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import build_site
import nbformat
import pytest

import attention_variants as av

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ADDRESS = "https://example.org/owner/course"
REFERENCE = "".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "api").glob("*.md")))
SHOWS_A_VIEW = re.compile(r"^av\.(animate|explore)\(", re.MULTILINE)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", av.__all__)
def test_every_public_name_is_in_the_reference_once_and_documented(name):
    directives = re.findall(rf"^\.\. (auto\w+|py:data):: {name}$", REFERENCE, flags=re.MULTILINE)
    assert len(directives) == 1
    if directives[0] != "py:data":
        thing = getattr(av, name)
        assert thing.__module__.startswith("attention_variants")
        assert len(thing.__doc__.split()) > 10


def test_the_reference_names_nothing_else():
    assert set(re.findall(r"^\.\. (?:auto\w+|py:data):: (\w+)$", REFERENCE, flags=re.MULTILINE)) == set(av.__all__)


def test_every_command_has_its_help():
    page = build_site.command_line()
    commands = re.findall(r"^## (\w+)$", page, flags=re.MULTILINE)
    assert {"compare", "show", "diff", "check", "grade", "bench"} <= set(commands)
    for command in commands:
        assert f"usage: attention-variants {command}" in page


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


def test_a_fork_has_its_own_addresses(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert build_site.repository().count("/") == 4
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/fork")
    assert build_site.repository() == "https://github.com/someone/fork"
    assert "/v2/gh/someone/fork/main" in build_site.buttons("01_loops.ipynb", build_site.repository())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_shows_the_stored_outputs_and_players_in_place_of_their_pictures(path):
    stored = nbformat.read(path, as_version=4)
    made = build_site.notebook_page(nbformat.read(path, as_version=4), path, ADDRESS)
    assert 'class="launch"' in made.cells[0].source
    for before, after in zip(stored.cells, made.cells, strict=True):
        if before.cell_type == "code" and SHOWS_A_VIEW.search(before.source):
            (output,) = after.outputs
            assert "<iframe" in output.data["text/html"]
        elif before.cell_type == "code":
            assert after.source == before.source
            assert after.outputs == before.outputs
            if "alt" in before.metadata:
                assert after.metadata.mystnb.image.alt == before.metadata.alt


def test_a_stored_view_is_that_of_the_stored_notebook():
    views = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "assets/views").glob("*.json")}
    cells = {f"{path.stem}-{cell.id}": cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells}
    shown = {name for name, cell in cells.items() if SHOWS_A_VIEW.search(cell.source)}
    assert set(views) == shown
    for name, view in views.items():
        said = cells[name].outputs[0].data["text/plain"]
        if view["view"] == "player":
            assert re.search(r"(\d+) frames", said)[1] == str(len(view["data"]["frames"]))
