"""In a real browser: players, the explorer and a student's assignment, in JupyterLab; pages from disk, offline.

`make test-browser` runs this. It needs Chromium or Chrome; where there is none, every test is skipped and says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from in_browser import explore, needs_browser, open_in_lab, play, run_and_save

import attention_variants as av

ROOT = Path(__file__).resolve().parents[2]
SHORT = """import torch
import attention_variants as av
q, k, v = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
av.animate(1, q, k, v)"""
STYLED = "(view) => getComputedStyle(view).borderTopWidth"
WRITE = "([i, text]) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.sharedModel.setSource(text)"

pytestmark = needs_browser


VIEWS = {".av-player": ("av.animate(", play), ".av-explorer": ("av.explore(", explore)}


@pytest.mark.parametrize(
    ("name", "views"), [("01_loops", [".av-player", ".av-explorer"]), ("06_multihead", [".av-player"])]
)
def test_notebook_in_jupyterlab(page, lab, name, views):
    address, folder = lab
    open_in_lab(page, address, name)
    run_and_save(page)

    notebook = json.loads((folder / f"{name}.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]

    for view in views:
        call, use = VIEWS[view]
        index = next(index for index, cell in enumerate(notebook["cells"]) if call in "".join(cell["source"]))
        page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", index)
        page.wait_for_selector(view, timeout=30_000)
        page.wait_for_timeout(500)
        use(page, page.locator(view).first)
        assert page.locator(view).first.evaluate(STYLED) == "1px", "each view keeps its style sheet beside the other"
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    assert page.complaints == []


def test_a_saved_notebook_plays_without_a_kernel(page, lab):
    address, folder = lab
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHORT)], metadata=kernel)
    nbformat.write(notebook, folder / "saved.ipynb")
    open_in_lab(page, address, "saved")
    run_and_save(page)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.wait_for_timeout(500)
    open_in_lab(page, address, "saved")
    page.wait_for_selector(".av-player output:not(:empty)", timeout=60_000)
    play(page, page.locator(".av-player"))


def wrong(q, k, v):
    print(q.shape)
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-2)
    return weights @ v, weights


# What is lost of a report: its elements, declarations of their styles, and titles, beside those that were stored.
LOST = """([i, stored]) => {
  const page = new DOMParser().parseFromString(stored, "text/html");
  const cell = window.jupyterapp.shell.currentWidget.content.widgets[i].node;
  const all = (root) => [root, ...root.querySelectorAll("*")];
  const [kept, given] = [all(cell.querySelector(".av-report")), all(page.querySelector(".av-report"))];
  if (kept.length !== given.length) return [`${kept.length} of ${given.length} elements`];
  return given.flatMap((x, j) => [...x.style].filter((name) => kept[j].style[name] !== x.style[name])
    .concat(kept[j].title === x.title ? [] : ["title"]));
}"""
# Contrasts with the ground of a cell, 1 to 21, and the width of the longest bar.
SEEN = """(i) => {
  const report = window.jupyterapp.shell.currentWidget.content.widgets[i].node.querySelector(".av-report");
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const over = (top, ground) => top.slice(0, 3).map((x, j) => x * (top[3] ?? 1) + ground[j] * (1 - (top[3] ?? 1)));
  const light = (rgb) => rgb.map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, j) => sum + x * [0.2126, 0.7152, 0.0722][j], 0);
  const ground = numbers(getComputedStyle(report.closest(".jp-NotebookPanel-notebook")).backgroundColor);
  const contrast = (color) => {
    const [a, b] = [light(over(numbers(color), ground)), light(ground)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const found = { ground, letters: contrast(getComputedStyle(report).color), width: 0 };
  for (const x of report.querySelectorAll("p, div, span")) {
    const style = getComputedStyle(x);
    if (style.borderLeftWidth === "4px") found.verdict = contrast(style.borderLeftColor);
    if (style.borderLeftWidth === "1px") found.box = contrast(style.borderLeftColor);
    if (x.style.height !== "100%") continue;
    found.bar = contrast(style.backgroundColor);
    found.track = contrast(getComputedStyle(x.parentNode).backgroundColor);
    found.width = Math.max(found.width, x.getBoundingClientRect().width);
  }
  return found;
}"""


def test_a_report_in_a_notebook_that_is_not_trusted_keeps_its_style(page, lab):
    """Light and dark: nothing of it is taken away, and bars and borders are seen on both grounds."""
    address, folder = lab
    reports = [av.check(wrong, 2), av.check(av.attention_matmul, 2), av.check(lambda q, k, v: q.mistake, 2)]
    cells = [nbformat.v4.new_code_cell("1", execution_count=1) for _ in reports]
    for cell, report in zip(cells, reports, strict=True):
        data = {"text/html": report._repr_html_(), "text/plain": ""}
        cell.outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "report.ipynb")
    open_in_lab(page, address, "report")
    for i, report in enumerate(reports):
        page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", i)
        page.locator(".av-report").nth(i).wait_for()
        assert not page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.trusted", i)
        assert page.evaluate(LOST, [i, report._repr_html_()]) == []
    grounds = set()
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=theme)
        page.wait_for_timeout(1000)
        seen = page.evaluate(SEEN, 0)
        grounds.add(tuple(seen["ground"]))
        assert seen["letters"] > 7, (theme, seen)
        assert min(seen["verdict"], seen["bar"]) > 3, (theme, seen)
        assert min(seen["track"], seen["box"]) > 1.2, (theme, seen)
        assert seen["width"] > 100, (theme, seen)
    assert len(grounds) == 2
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    assert page.complaints == []


def test_a_student_is_led_from_an_empty_cell_to_a_right_answer(page, lab, tmp_path):
    """The assignment as students get it, in JupyterLab: nothing written, a wrong answer and its name, a right one."""
    shutil.copytree(ROOT / "classroom" / "source", tmp_path / "source")
    shutil.copy(ROOT / "classroom" / "nbgrader_config.py", tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "4_masked"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    address, folder = lab
    shutil.copy(tmp_path / "release" / "4_masked" / "4_masked.ipynb", folder / "assignment.ipynb")
    source = nbformat.read(tmp_path / "source" / "4_masked" / "4_masked.ipynb", as_version=4)
    ids = [cell.metadata.nbgrader.grade_id for cell in source.cells]
    task, checks = ids.index("function"), ids.index("check_function")
    right = source.cells[task].source

    open_in_lab(page, address, "assignment")
    for written, heard in (
        (None, "Nothing is written there yet"),
        (right.replace("dim=-1", "dim=-2"), "softmax over queries"),
        (right, "1 of 1 points"),
    ):
        if written is not None:
            page.evaluate(WRITE, [task, written])
        run_and_save(page)
        saved = json.loads((folder / "assignment.ipynb").read_text())
        assert heard in "".join(saved["cells"][checks]["outputs"][0]["data"]["text/html"])
        page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'center')", checks)
        page.get_by_text(heard).first.wait_for(timeout=10_000)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    assert page.complaints == []


def test_player_from_disk(offline, tmp_path):
    example = av.load_example("Dog bites")
    path = av.animate(1, *example.head(1), tokens=example.tokens).to_html(tmp_path / "player.html")
    offline.goto(path.as_uri())
    offline.wait_for_selector(".av-player output:not(:empty)")
    play(offline, offline.locator(".av-player"))
    offline.set_viewport_size({"width": 390, "height": 800})
    assert offline.evaluate("document.documentElement.scrollWidth") <= 390, "no sideways scrolling on a phone"
    assert offline.complaints == [path.as_uri()]


def test_a_player_whose_frames_are_not_there_yet_says_so(offline, tmp_path):
    example = av.load_example("Dog bites")
    path = av.animate(1, *example.head(1), tokens=example.tokens).to_html(tmp_path / "player.html")
    offline.add_init_script("Image.prototype.decode = () => new Promise(() => {})")
    offline.goto(path.as_uri())
    player = offline.locator(".av-player[aria-busy=true]")
    assert player.get_by_role("button", name="play").is_disabled()
    assert player.get_by_role("img").get_attribute("aria-label") == "the frames are being decoded"
    for control in player.locator("button, input, select").all():
        assert control.is_disabled()


@pytest.fixture
def exploring(offline, tmp_path):
    """The page of an exploration, opened."""

    def exploring(exploration):
        path = exploration.to_html(tmp_path / "explorer.html")
        assert path.stat().st_size < 2_000_000
        offline.goto(path.as_uri())
        offline.wait_for_selector(".av-explorer svg")
        return offline

    yield exploring
    assert offline.complaints == [(tmp_path / "explorer.html").as_uri()]


def test_explorer_from_disk(exploring):
    page = exploring(av.explore())
    explore(page, page.locator(".av-explorer"))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "no sideways scrolling on a phone"
    page.get_by_label("sentence").select_option(label="Dog bites man.")
    assert "dog looks at" in page.locator(".reading").inner_text()


def test_the_explorer_shows_the_numbers_that_were_computed(exploring):
    exploration, weights = av.explore(), av.load_example("tired").weights
    page = exploring(exploration)

    def shows(head, query, key):
        widths = page.eval_on_selector_all(".lines path", "e => e.map(x => +x.getAttribute('stroke-width'))")
        np.testing.assert_allclose(np.array(widths) / 14, weights[head, query], rtol=1e-5)
        fills = page.eval_on_selector_all(".cell", "e => e.map(x => x.getAttribute('fill'))")
        red = [int(re.findall(r"\d+", fill)[0]) for fill in fills]
        np.testing.assert_allclose(red, 255 * (1 - weights[head].flatten()), atol=0.51)
        numbers = exploration.numbers(head, query, key)
        shown = page.eval_on_selector_all(".numbers li b", "e => e.map(x => x.textContent)")
        said = f"In head {head}, {numbers.query} gives {numbers.key} {shown[4]} of its weight."
        assert page.inner_text(".numbers p") == said
        steps = (numbers.product, numbers.scaled, numbers.exp, numbers.sum, numbers.weight)
        read = [float(text.replace("−", "-")) for text in shown]
        np.testing.assert_allclose(read, steps, rtol=1e-3)
        largest = weights[head, query].max()
        assert re.match(rf"In head {head}, {numbers.query} looks at [^:]*: {largest:.2f}", page.inner_text(".reading"))
        framed, cell = (page.locator(part).bounding_box() for part in (".lit", f".cell[data-cell='{query},0']"))
        assert abs(framed["y"] - cell["y"]) < 4

    shows(1, 10, None)
    page.focus("input[type=range]")
    page.keyboard.press("ArrowRight")
    shows(2, 10, None)
    page.locator(".token.query").nth(2).click()
    shows(2, 2, None)
    page.locator(".token.key").nth(8).click()
    shows(2, 2, 8)
    page.locator(".cell[data-cell='6,8']").click()
    shows(2, 6, 8)
    page.focus(".map [tabindex]")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    shows(2, 5, 9)
    page.get_by_label("query token").select_option("10")
    shows(2, 10, 9)


def test_the_explorer_hatches_what_a_mask_blocks(exploring):
    causal = av.causal_mask(6)
    example = av.load_example("Dog bites")
    layer = example.layer
    weights = layer(example.hidden, mask=causal)[1]
    given = SimpleNamespace(
        sentence=example.sentence, tokens=example.tokens, q=example.q, k=example.k, weights=weights, layer=layer,
        mask=causal,
    )  # fmt: skip
    page = exploring(av.explore(given))
    hatched = page.eval_on_selector_all(".cell[fill^='url(#hatch']", "e => e.map(x => x.dataset.cell)")
    assert hatched == [f"{i},{j}" for i, j in (~causal).nonzero().tolist()]
    assert page.locator(".legend").inner_text().split() == ["weight", "0", "1", "blocked"]
