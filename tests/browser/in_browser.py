"""What the tests in a browser share: which one, how it starts, what goes wrong on a page, how players are played."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import set_up

ROOT = Path(__file__).resolve().parents[2]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
# Nothing but the pages themselves: no sandbox inside a container, and none of the browser's own calls home.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
TOKEN = "local"  # of the JupyterLab of the tests
# The toolbar says "idle" before there is a session, and a command given then is lost: ask the notebook itself.
READY = """(name) => {
  const widget = window.jupyterapp?.shell.currentWidget;
  const kernel = widget?.sessionContext?.session?.kernel;
  return widget?.context?.path.endsWith(name) && widget.context.isReady && widget.sessionContext.isReady
    && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
CANVAS = "(canvas) => canvas.toDataURL()"
# On GitHub there is one: a suite that is skipped there would look like one that passed.
needs_browser = pytest.mark.skipif(
    BROWSER is None and "GITHUB_ACTIONS" not in os.environ,
    reason=f"no browser: none of {', '.join(BROWSERS)} is there (Debian: apt install chromium)",
)


def listen(page) -> None:
    """Keep what goes wrong on a page in its ``complaints``."""
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda line: page.complaints.append(line.text) if line.type == "error" else None)


@contextmanager
def lab_of_a_reader(home: Path) -> Iterator[tuple[str, Path, subprocess.Popen]]:
    """JupyterLab as ``make lab`` opens it, with a reader's settings and on a copy of the notebooks.

    Parameters
    ----------
    home : Path
        An empty folder, which JupyterLab serves.

    Yields
    ------
    address : str
        The one that scripts/open_lab.py prints.
    notebooks : Path
        The folder of the copies.
    server : subprocess.Popen
        Its output is still to be read.
    """
    set_up.write_lab_settings(home)
    for name in ("notebooks", "assets"):  # notebooks show files of the other
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (home / "attention_variants.egg-info").mkdir()
    # Where IPython keeps a profile, in place of the environment's own folder.
    (home / "ipython" / "profile_default").mkdir(parents=True)
    for file in (home / "etc" / "ipython").iterdir():
        shutil.copy(file, home / "ipython" / "profile_default")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR")
    own = {name: str(home / name.lower()) for name in (*names, "JUPYTERLAB_WORKSPACES_DIR")}
    own |= {"IPYTHONDIR": str(home / "ipython"), "JUPYTER_CONFIG_PATH": str(home / "etc" / "jupyter")}
    command = [sys.executable, "scripts/open_lab.py", "lab", "--no-browser", "--port=0"]
    command += [f"--ServerApp.root_dir={home}", "--LabApp.expose_app_in_browser=True"]
    command += [f"--LabApp.app_settings_dir={home / 'share' / 'jupyter' / 'lab' / 'settings'}"]
    server = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watch = threading.Timer(90, server.kill)  # a server that never says where it is
    watch.start()
    try:
        first = server.stdout.readline()
        watch.cancel()
        assert re.match(r"JupyterLab is at http://\S+ until Ctrl-C", first), first
        yield first.split()[3], home / "notebooks", server
    finally:
        watch.cancel()
        server.kill()


def open_in_lab(page, address: str, name: str) -> None:
    page.goto(f"{address}lab/tree/notebooks/{name}.ipynb?token={TOKEN}&reset")
    wait_for_notebook(page, f"{name}.ipynb")


def wait_for_notebook(page, name: str) -> None:
    """Until a notebook is in front, and its kernel is there and idle."""
    page.wait_for_function(READY, arg=name, timeout=90_000)


def run_and_save(page) -> None:
    page.evaluate("() => window.jupyterapp.commands.execute('runmenu:run-all')")
    page.wait_for_timeout(500)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")


def play(page, player) -> None:
    """Press play, and see the picture change; then pause and single steps. The clock is moved on by hand."""
    page.clock.install()
    canvas = player.locator("canvas")
    player.scroll_into_view_if_needed()
    player.locator("button.play:enabled").wait_for()
    finished = canvas.evaluate(CANVAS)
    player.get_by_role("button", name="play").click()
    first = canvas.evaluate(CANVAS)
    assert first != finished, "play starts at the beginning"
    for _ in range(40):  # how long a frame stands is for the animation to say
        page.clock.run_for(250)
        if (second := canvas.evaluate(CANVAS)) != first:
            break
    assert second not in (first, finished)
    player.get_by_role("button", name="pause").click()
    paused = canvas.evaluate(CANVAS)
    page.clock.run_for(20_000)
    assert canvas.evaluate(CANVAS) == paused, "paused is paused"

    # A step goes to where numbers stand, never to where they are on their way.
    player.get_by_role("button", name="one step back").click()
    paused, place = canvas.evaluate(CANVAS), player.locator("output").inner_text()
    player.get_by_role("button", name="one step on").click()
    assert canvas.evaluate(CANVAS) != paused
    player.get_by_role("button", name="one step back").click()
    assert canvas.evaluate(CANVAS) == paused
    assert player.locator("output").inner_text() == place
    slider = player.get_by_label("frame")
    slider.focus()
    page.keyboard.press("End")
    assert canvas.evaluate(CANVAS) == finished


def explore(page, explorer) -> None:
    """Move the head, and see the weights change; then choose another word."""
    explorer.scroll_into_view_if_needed()
    before = explorer.inner_html()
    said = explorer.locator("[aria-live]").first.inner_text()
    head = explorer.get_by_role("slider").first
    head.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert explorer.inner_html() != before
    assert explorer.locator("[aria-live]").first.inner_text() != said
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(200)
    assert explorer.locator("[aria-live]").first.inner_text() == said
