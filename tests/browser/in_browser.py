"""What the tests in a browser share: which one, how it starts, what goes wrong on a page, how players are played."""

from __future__ import annotations

import os
import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
# Nothing but the pages themselves: no sandbox inside a container, and none of the browser's own calls home.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
CANVAS = "(canvas) => canvas.toDataURL()"
# What it shows when it shows something else, or after 20 seconds; how long a frame stands is for the film to say.
ANOTHER = """(canvas, before) => new Promise((done) => {
  const end = Date.now() + 20000;
  const look = () => {
    const now = canvas.toDataURL();
    if (now === before && Date.now() < end) setTimeout(look, 50); else done(now);
  };
  look();
})"""

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


def play(page, player) -> None:
    """Press play, and see the picture change; then pause and single steps."""
    canvas = player.locator("canvas")
    player.scroll_into_view_if_needed()
    finished = canvas.evaluate(CANVAS)
    player.get_by_role("button", name="play").click()
    first = canvas.evaluate(ANOTHER, finished)
    assert first != finished, "play starts at the beginning"
    assert canvas.evaluate(ANOTHER, first) not in (first, finished)
    player.get_by_role("button", name="pause").click()
    paused = canvas.evaluate(CANVAS)
    place = player.locator("output").inner_text()
    page.wait_for_timeout(1500)
    assert canvas.evaluate(CANVAS) == paused, "paused is paused"

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
