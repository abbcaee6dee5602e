"""As `make lab` opens it: a notebook that is only read stays as it is, and a reader meets nothing of nbgrader."""

from __future__ import annotations

import pytest
from in_browser import lab_of_a_reader, listen, needs_browser, wait_for_notebook

TABS = "() => [...window.jupyterapp.shell.widgets('main')].map((widget) => widget.title.label)"
CHANGED = "() => [...window.jupyterapp.shell.widgets('main')].filter((widget) => widget.context.model.dirty).length"
KERNELS = """async () => {
  const kernels = window.jupyterapp.serviceManager.kernels;
  await kernels.refreshRunning();
  return [...kernels.running()].length;
}"""
LAST = (
    "() => { const book = window.jupyterapp.shell.currentWidget.content; book.scrollToItem(book.widgets.length - 1); }"
)

pytestmark = needs_browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The address that scripts/open_lab.py prints, with the settings of scripts/set_up.py; a copy of the notebooks."""
    with lab_of_a_reader(tmp_path_factory.mktemp("lab")) as (address, folder, server):
        yield address, folder
        server.terminate()
        rest = server.communicate(timeout=60)[0].splitlines()
        assert [line for line in rest if "received signal 15" not in line] == [], "nothing but the address is printed"


@pytest.fixture
def page(browser, opened):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    listen(page)
    page.goto(opened[0])
    wait_for_notebook(page, "00_start_here.ipynb")
    page.wait_for_timeout(1000)  # for what JupyterLab may still do to a notebook that it has opened
    yield page
    assert page.complaints == []
    page.close()


def command(page, name: str, **arguments) -> None:
    execute = "async ([name, arguments_]) => { await window.jupyterapp.commands.execute(name, arguments_); }"
    page.evaluate(execute, [name, arguments])


def test_a_notebook_that_is_only_read_stays_as_it_is(page, opened):
    folder = opened[1]
    stored = {path.name: path.read_bytes() for path in folder.glob("*.ipynb")}
    page.evaluate(LAST)
    page.get_by_role("link", name="01, the definition in loops").click()
    wait_for_notebook(page, "01_loops.ipynb")
    page.wait_for_timeout(1000)
    assert page.evaluate(CHANGED) == 0
    assert page.evaluate(KERNELS) == 2
    command(page, "docmanager:save")
    page.wait_for_timeout(500)
    assert {path.name: path.read_bytes() for path in folder.glob("*.ipynb")} == stored

    command(page, "docmanager:open", path="notebooks/00_start_here.ipynb")
    page.evaluate(LAST)
    page.get_by_role("link", name="01, the definition in loops").click()
    page.wait_for_timeout(1000)
    assert page.evaluate(TABS) == ["00_start_here.ipynb", "01_loops.ipynb"], "what is open is not opened again"

    command(page, "application:close-all")
    page.wait_for_function("() => [...window.jupyterapp.shell.widgets('main')].every((widget) => !widget.context)")
    assert page.locator(".jp-Dialog").count() == 0, "nothing to save"
    for _ in range(30):  # each takes a while to end
        page.wait_for_timeout(500)
        if not (left := page.evaluate(KERNELS)):
            break
    assert left == 0, "the kernels end with their tabs"


def test_a_reader_sees_the_notebooks_and_nothing_of_nbgrader(page):
    listed = page.locator(".jp-DirListing-itemText")
    listed.first.wait_for()
    assert all(name.endswith(".ipynb") for name in listed.all_inner_texts())
    assert not page.evaluate("() => window.jupyterapp.commands.listCommands().filter((name) => /nbgrader/.test(name))")
    assert page.get_by_text("Validate", exact=True).count() == 0
    command(page, "filebrowser:go-to-path", path="/", dontShowBrowser=False)
    page.locator(".jp-DirListing-itemText", has_text="notebooks").wait_for()
    assert "attention_variants.egg-info" not in listed.all_inner_texts()
