r"""Read the notebooks in JupyterLab as somebody does for a week, and say how long it takes and how large it gets.

    .venv/bin/python scripts/visit_lab.py                       all notebooks, each run and saved ten times
    .venv/bin/python scripts/visit_lab.py --only 01 06          two of them
    .venv/bin/python scripts/visit_lab.py --pictures pictures   what one sees, as PNG: two sizes of window, light and
                                                                dark, as stored and after a run
    .venv/bin/python scripts/visit_lab.py --from-nothing        `make install` in a new clone: seconds, megabytes, lines

JupyterLab is started by scripts/open_lab.py with a reader's settings, on a copy of the notebooks in a temporary
folder, and read in Chromium. Printed for each notebook: seconds from the address to the first picture and to an idle
kernel, seconds of "Run All Cells", the size of the file as stored and after each save, the kernel's memory at the
end, and what the browser complained of. The exit status is 1 if a cell failed, a file grew by more than 5 % from the
first save to the last, or the browser complained.

Seconds are of this machine: measure when it is quiet.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "scripts")]

from in_browser import (  # type: ignore[import-not-found]  # noqa: E402
    BROWSER,
    FLAGS,
    lab_of_a_reader,
    listen,
    wait_for_notebook,
)

WINDOWS = ((1440, 900), (1024, 700))
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
ROUNDS = 10
GROWTH = 1.05  # by so much a file may grow from the first save to the last
PICTURE = "() => [...document.querySelectorAll('.jp-Notebook img')].some((one) => one.complete && one.naturalWidth)"
COMMAND = "async ([name, arguments_]) => { await window.jupyterapp.commands.execute(name, arguments_); }"
SAVED = "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"
SHUT_DOWN = "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }"
# The part of a notebook that moves, a pane further each time; false at its end.
NEXT_PANE = """() => {
  const pane = [...document.querySelectorAll('.jp-Notebook .jp-WindowedPanel-outer')].find((one) => one.clientHeight);
  const before = pane.scrollTop;
  pane.scrollTop += pane.clientHeight - 40;
  return pane.scrollTop > before + 1;
}"""
console = Console(highlight=False, soft_wrap=True)


def address_of(lab: str, notebook: str) -> str:
    """Where JupyterLab opens a notebook, given the address that it printed."""
    base, _, token = lab.partition("?token=")
    return f"{base[: base.index('/lab')]}/lab/tree/notebooks/{notebook}?token={token}&reset"


def run(page: Page, name: str, **arguments: object) -> None:
    """Run a command of JupyterLab, to its end."""
    page.evaluate(COMMAND, [name, arguments])


def save(page: Page) -> None:
    """Save the notebook in front."""
    run(page, "docmanager:save")
    page.wait_for_function(SAVED)


@contextmanager
def opened(browser: Browser, lab: str, name: str, size: tuple[int, int]) -> Iterator[Page]:
    """A page with a notebook whose kernel is ready; its kernel ends with it."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    listen(page)
    page.goto(address_of(lab, name))
    try:
        yield page
        page.evaluate(SHUT_DOWN)
    finally:
        page.close()


def visit(browser: Browser, lab: str, path: Path, server: psutil.Process, rounds: int) -> list[str]:
    """Open, run and save one notebook, print what it took, and return what was wrong."""
    stored, wrong = path.stat().st_size, []
    start = time.perf_counter()
    with opened(browser, lab, path.name, WINDOWS[0]) as page:
        page.wait_for_function(PICTURE, timeout=60_000)
        picture = time.perf_counter() - start
        wait_for_notebook(page, path.name)
        ready = time.perf_counter() - start
        seconds, sizes = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            run(page, "notebook:run-all-cells")
            seconds.append(time.perf_counter() - start)
            save(page)
            sizes.append(path.stat().st_size)
        memory = max(process.memory_info().rss for process in server.children(recursive=True))
        wrong += page.complaints  # type: ignore[attr-defined]
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    if [cell["execution_count"] for cell in cells] != list(
        range(1 + (rounds - 1) * len(cells), 1 + rounds * len(cells))
    ):
        wrong.append("not every cell ran in each round")
    wrong += [output["evalue"] for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    if max(sizes) > GROWTH * sizes[0]:
        wrong.append(f"the file grew from {sizes[0]:,} to {max(sizes):,} bytes")
    console.print(
        f"{path.stem:20} picture {picture:4.1f} s, ready {ready:4.1f} s, run all {seconds[0]:4.1f} s, "
        f"stored {stored / 1e6:.2f} MB, saved {min(sizes) / 1e6:.2f} to {max(sizes) / 1e6:.2f} MB in {rounds} rounds, "
        f"kernel {memory / 2**20:.0f} MiB"
    )
    return [f"{path.name}: {one}" for one in wrong]


def panes(page: Page, folder: Path, name: str) -> None:
    """Save what one sees of the notebook in front, from its top to its end, one PNG a pane."""
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem(0, 'start')")
    number, more = 0, True
    while more:
        page.wait_for_timeout(250)  # cells are drawn when they come into sight
        page.screenshot(path=folder / f"{name}-{number:02}.png")
        more = page.evaluate(NEXT_PANE)
        number += 1


def photograph(browser: Browser, lab: str, path: Path, folder: Path) -> list[str]:
    """Save pictures of a notebook: each window, each theme, as it is stored and after a run."""
    wrong = []
    for size in WINDOWS:
        for theme, label in THEMES.items():
            with opened(browser, lab, path.name, size) as page:
                wait_for_notebook(page, path.name)
                run(page, "apputils:change-theme", theme=label)
                page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=label)
                page.wait_for_timeout(1000)
                for state in ("before", "after"):
                    if state == "after":
                        run(page, "notebook:run-all-cells")
                    panes(page, folder, f"{path.stem}-{size[0]}x{size[1]}-{theme}-{state}")
                wrong += page.complaints  # type: ignore[attr-defined]
    console.print(f"{path.stem:20} {len(list(folder.glob(path.stem + '-*')))} pictures")
    return [f"{path.name}: {one}" for one in wrong]


def from_nothing() -> int:
    """Make .venv ready for a reader in a new clone, and say what that took."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        start = time.perf_counter()
        made = subprocess.run(
            ["make", "install"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        seconds = time.perf_counter() - start
        size = int(subprocess.run(["du", "-sk", f"{folder}/.venv"], capture_output=True, text=True).stdout.split()[0])
    console.print(made.stdout)
    console.print(f"make install: {seconds:.0f} s, {size / 1e3:.0f} MB, {len(made.stdout.splitlines())} lines")
    return made.returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Visit what was asked for; 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="notebooks whose names begin so")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is run and saved")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="save pictures there, and measure nothing")
    parser.add_argument("--from-nothing", action="store_true", help="measure `make install` in a new clone instead")
    told = parser.parse_args(arguments)
    if told.from_nothing:
        return from_nothing()
    if BROWSER is None:
        parser.error("there is no Chromium here; Debian: apt install chromium.")
    if told.pictures:
        told.pictures.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as home, sync_playwright() as starter:
        start = time.perf_counter()
        with lab_of_a_reader(Path(home)) as (lab, folder, server):
            console.print(f"address after {time.perf_counter() - start:.1f} s")
            browser = starter.chromium.launch(executable_path=BROWSER, args=FLAGS)
            for path in sorted(folder.glob("*.ipynb")):
                if path.name.startswith(tuple(told.only)):
                    if told.pictures:
                        wrong += photograph(browser, lab, path, told.pictures)
                    else:
                        wrong += visit(browser, lab, path, psutil.Process(server.pid), told.rounds)
            browser.close()
    for one in wrong:
        print(one, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
