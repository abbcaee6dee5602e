"""Views in a notebook that is shown neither by JupyterLab nor by nbconvert, but by VS Code or the classic Notebook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_browser import explore, needs_browser, play

from attention_variants.lab.web.view import VIEW

ROOT = Path(__file__).resolve().parents[2]
# A script in HTML that is assigned does not run. VS Code (`domEval` of extensions/notebook-renderers/src/index.ts) runs
# a copy of it behind the whole output, the classic Notebook (`DOMEval` of jQuery) in the head, and both take it away.
SHOW = """([html, inHead]) => {
  const output = document.createElement("div");
  output.innerHTML = html;
  document.body.append(output);
  for (const script of output.querySelectorAll("script")) {
    const copy = document.createElement("script");
    copy.text = script.textContent;
    (inHead ? document.head : output).appendChild(copy).parentNode.removeChild(copy);
  }
}"""
GROUND, INK = "rgb(31, 31, 31)", "rgb(204, 204, 204)"
COLORS = "(one) => [getComputedStyle(one).backgroundColor, getComputedStyle(one).color]"
DARK = f"<style>html {{ --vscode-editor-background: {GROUND}; --vscode-editor-foreground: {INK} }}</style>"

pytestmark = needs_browser


def stored_views(name: str) -> list[str]:
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    texts = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    return [text for text in texts if text.startswith(VIEW)]


@pytest.mark.parametrize("in_head", [False, True], ids=["VS Code", "classic Notebook"])
def test_a_script_that_is_run_outside_its_element(offline, in_head):
    offline.set_content(DARK)
    views = stored_views("01_loops")
    for view in views:
        offline.evaluate(SHOW, [view, in_head])
    for kind, use in ((".av-player", play), (".av-explorer", explore)):
        shown = offline.locator(kind)
        shown.wait_for()  # one of each, each in the place of its picture
        assert shown.evaluate(COLORS) == [GROUND, INK]
        use(offline, shown)
    assert offline.locator("head > style").count() == 1, "the page keeps what it had"
    assert offline.locator(".av-view").count() == len(views) == 2
    assert offline.get_by_text("Run this cell").count() == 0
    assert offline.complaints == []
