"""A notebook over several days in JupyterLab: what was run on the first is still there, and the file does not grow."""

from __future__ import annotations

import json

import pytest
from in_browser import explore, needs_browser, open_in_lab, play, run_and_save

VIEWS = {"av.animate(": (".av-player", play), "av.explore(": (".av-explorer", explore)}
STILL = "Run this cell"
SHOW = "(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')"
SHUT_DOWN = "() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()"
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"
SAVED = "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"
ROUNDS = 4
#: By so much a file may grow over ten rounds.
GROWTH = 1.05

pytestmark = needs_browser


def cells_with_views(path) -> list[tuple[int, str]]:
    """Where players and explorers stand in a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) if cell["cell_type"] == "code" else "" for cell in cells]
    return [(index, call) for index, text in enumerate(texts) for call in VIEWS if f"\n{call}" in f"\n{text}"]


def check_views(page, path, *, use=False) -> None:
    """Each is there and no error is; if asked, it plays."""
    used = set()
    for index, call in cells_with_views(path):
        view, try_it = VIEWS[call]
        page.evaluate(SHOW, index)
        page.locator(view).first.wait_for(timeout=30_000)
        if use and call not in used:
            page.wait_for_timeout(500)  # it finds its size
            try_it(page, page.locator(view).first)
            used.add(call)
        assert page.get_by_text("Error displaying").count() == 0
        assert page.get_by_text(STILL).count() == 0
    assert page.complaints == []


def check_stills(page, path) -> None:
    """Not run yet: a picture and a line where a view will be, and no error."""
    for index, _ in cells_with_views(path):
        page.evaluate(SHOW, index)
        page.get_by_text(STILL).first.wait_for()
        assert page.locator(".av-view img").first.evaluate("one => one.naturalWidth") > 300
    assert page.get_by_text("Error displaying").count() == 0
    assert page.complaints == []


@pytest.mark.parametrize("name", ["01_loops", "06_multihead"])
def test_three_days(new_page, lab, name):
    address, folder = lab
    path = folder / f"{name}.ipynb"

    day = new_page()
    open_in_lab(day, address, name)
    check_stills(day, path)
    run_and_save(day)
    check_views(day, path)
    size = path.stat().st_size
    day.close()  # the browser's window is closed; the kernel stays

    day = new_page()
    open_in_lab(day, address, name)
    day.evaluate(SAVE)  # as JupyterLab does by itself after two minutes
    day.wait_for_function(SAVED)
    check_views(day, path)
    day.evaluate(SHUT_DOWN)
    day.close()

    day = new_page()
    open_in_lab(day, address, name)  # with a second kernel
    check_views(day, path)
    for _ in range(ROUNDS):
        run_and_save(day)
    day.wait_for_function(SAVED)
    assert path.stat().st_size <= GROWTH * size
    check_views(day, path, use=True)  # at the end, for the clock is then moved by hand
    day.evaluate(SHUT_DOWN)
