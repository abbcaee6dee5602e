"""Every page of the site in a real browser, with every request to elsewhere blocked: light and dark, wide and narrow.

`make test-browser` builds the site and runs this.
"""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import axe_playwright_python
import pytest
from in_browser import explore, listen, needs_browser, play

ROOT = Path(__file__).resolve().parents[2]
WIDE, NARROW = 1280, 390
# Sizes that a page may not exceed sideways, and who does.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.outerHTML.slice(0, 100))"""
# TeX that was not typeset: a formula whose element is still the one that was sent.
BARE_MATHS = "() => [...document.querySelectorAll('.math')].filter((one) => !one.querySelector('mjx-container')).length"
# Pictures whose words are none, or the name that Sphinx gives to what has none.
WORDLESS = """() => [...document.querySelectorAll("article img")]
  .filter((one) => one.alt.split(" ").length < 5 || !one.alt.trim().endsWith(".")).map((one) => one.src.slice(-60))"""
# The players are pages of their own. Colours are those of the theme, whatever the width.
AXE = """async (colours) => {
  const options = { resultTypes: ["violations"], iframes: false, preload: false };
  const { violations } = await axe.run(document, { ...options, rules: { "color-contrast": { enabled: colours } } });
  const say = (node) => `${node.target} ${node.failureSummary.replace(/\\s+/g, " ")}`;
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(say).join(" | ")}`);
}"""

pytestmark = needs_browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built from what is stored, with warnings as errors."""
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, str(ROOT / "scripts/build_site.py"), "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    """The site from a local server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser, address, site):
    """A page to which nothing answers but the site, and what goes wrong on it."""
    context = browser.new_context(viewport={"width": WIDE, "height": 900})
    page = context.new_page()
    listen(page)
    own = (address, f"file://{site}", "data:", "blob:")

    def guard(route):
        if route.request.url.startswith(own):
            route.continue_()
        else:
            page.complaints.append(f"asks for {route.request.url}")
            route.abort()

    context.route("**/*", guard)
    page.on("requestfailed", lambda request: page.complaints.append(f"not there: {request.url}"))
    yield page
    context.close()


def pages(site: Path) -> list[str]:
    """The addresses of all pages, within the site."""
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if "_static" not in path.parts)
    assert {"index.html", "glossary.html", "benchmark.html", "classroom/README.html", "search.html"} <= set(found)
    assert sum(name.startswith("notebooks/") for name in found) == 11
    return found


def settled(page) -> None:
    """Wait until the maths is typeset and the players in view are drawn."""
    page.wait_for_load_state("networkidle")
    page.evaluate("() => window.MathJax?.startup?.promise")


def test_every_page_light_and_dark_wide_and_narrow(page, site, address):
    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    wrong = {}
    for name in pages(site):
        page.set_viewport_size({"width": WIDE, "height": 900})
        page.goto(address + name)
        settled(page)
        page.evaluate(axe)
        bare = page.evaluate(BARE_MATHS)
        found = [f"{bare} formulas are not typeset"] if bare else []
        found += [f"no words for {source}" for source in page.evaluate(WORDLESS)]
        for theme in ("light", "dark"):
            page.evaluate(f"() => {{ document.documentElement.dataset.theme = {theme!r} }}")
            for width in (WIDE, NARROW):
                page.set_viewport_size({"width": width, "height": 900})
                page.wait_for_timeout(200)  # what follows the size of the window does so now
                found += [f"{theme}, {width}: too wide: {one}" for one in page.evaluate(TOO_WIDE)]
                found += [f"{theme}, {width}: {one}" for one in page.evaluate(AXE, width == WIDE)]
        found += page.complaints
        page.complaints.clear()
        if found:
            wrong[name] = found
    assert not wrong, "\n".join(f"{name}\n    " + "\n    ".join(found[:8]) for name, found in wrong.items())


def test_every_page_from_disk(page, site):
    wrong = {}
    for name in pages(site):
        page.goto((site / name).as_uri())
        settled(page)
        found = page.complaints + [
            f"{count} formulas are not typeset" for count in [page.evaluate(BARE_MATHS)] if count
        ]
        if found:
            wrong[name] = found
        page.complaints.clear()
    assert not wrong


def test_no_link_leads_nowhere(page, site, address):
    lost = set()
    for name in pages(site):
        page.goto(address + name)
        links = page.eval_on_selector_all("a[href]", "all => all.map((one) => one.href)")
        for link in links:
            path, _, anchor = link.removeprefix(address).partition("#")
            if not link.startswith(address):
                continue
            target = site / (path.partition("?")[0] or "index.html")
            if not target.exists():
                lost.add(f"{name} -> {path}")
            elif anchor and path.endswith(".html") and f'id="{anchor}"' not in target.read_text(encoding="utf-8"):
                lost.add(f"{name} -> {path}#{anchor}")
    assert not lost


@pytest.mark.parametrize("from_disk", [False, True], ids=["served", "from disk"])
def test_search_finds_softmax(page, site, address, from_disk):
    page.goto(((site.as_uri() + "/") if from_disk else address) + "search.html?q=softmax")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "all => all.map((one) => one.href)")
    assert any("notebooks/01_loops.html" in link for link in found)
    assert any("glossary.html" in link for link in found)
    page.wait_for_timeout(500)
    assert page.complaints == []


@pytest.mark.parametrize("from_disk", [False, True], ids=["served", "from disk"])
def test_players_play_and_the_explorer_explores(page, site, address, from_disk):
    page.goto(((site.as_uri() + "/") if from_disk else address) + "notebooks/01_loops.html")
    frames = page.locator("iframe.view")
    assert frames.count() == 2
    for index, view, use in ((0, ".av-player", play), (1, ".av-explorer", explore)):
        frames.nth(index).scroll_into_view_if_needed()
        inside = page.frame_locator("iframe.view").nth(index).locator(view)
        inside.wait_for()
        page.wait_for_timeout(500)
        height = frames.nth(index).evaluate("one => one.offsetHeight")
        assert 0 <= height - inside.evaluate("one => one.offsetHeight") < 60, "as high as what is in it"
        use(page, inside)
    assert page.complaints == []


def test_on_a_phone_a_player_shows_all_of_a_frame(page, address):
    """The code stands above the tensors, and nothing has to be moved sideways."""
    page.set_viewport_size({"width": NARROW, "height": 900})
    page.goto(address + "notebooks/01_loops.html")
    frame = page.locator("iframe.view").first
    frame.scroll_into_view_if_needed()
    player = page.frame_locator("iframe.view").first.locator(".av-player.narrow")
    player.wait_for()
    width, height = player.locator("canvas").evaluate("one => [one.width, one.height]")
    assert height > width, "one part below the other"
    assert player.locator(".paper").evaluate("one => one.scrollWidth <= one.clientWidth")
    play(page, player)
    page.set_viewport_size({"width": WIDE, "height": 900})
    player = page.frame_locator("iframe.view").first.locator(".av-player:not(.narrow)")
    player.wait_for()
    width, height = player.locator("canvas").evaluate("one => [one.width, one.height]")
    assert width > height, "and beside each other again where there is room"
    assert page.complaints == []


def test_the_picture_on_the_front_page_moves(page, address):
    page.goto(address)
    picture = page.locator(".hero-picture img")
    picture.wait_for()
    first = picture.screenshot()
    page.wait_for_timeout(3000)
    assert picture.screenshot() != first


def test_a_notebook_has_its_four_buttons(page, site, address):
    for name in pages(site):
        if not name.startswith("notebooks/"):
            continue
        page.goto(address + name)
        stored = Path(name).with_suffix(".ipynb").name
        links = page.eval_on_selector_all(".launch > a", "all => all.map((one) => one.href)")
        binder, colab, download = links
        assert binder.startswith("https://mybinder.org/v2/gh/")
        assert binder.endswith(f"notebooks/{stored}")
        assert colab.startswith("https://colab.research.google.com/github/")
        assert colab.endswith(f"notebooks/{stored}")
        assert download == address + f"notebooks/{stored}"
        assert (site / "notebooks" / stored).read_bytes() == (ROOT / "notebooks" / stored).read_bytes()
        page.get_by_text("JupyterLab", exact=True).first.click()
        assert page.locator(".launch code").first.is_visible()
