"""Every page of the site in a real browser, with every request to elsewhere blocked: light and dark, wide and narrow.

`make test-browser` builds the site and runs this.
"""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import axe_playwright_python
import pytest
from filelock import FileLock
from in_browser import explore, needs_browser, play

ROOT = Path(__file__).resolve().parents[2]
WIDE, NARROW = 1280, 390
#: The pages are visited in so many parts, each a test, for several processes to share them.
PARTS = 8
# Sizes that a page may not exceed sideways, and who does.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.outerHTML.slice(0, 100))"""
# TeX that was not typeset: a formula whose element is still the one that was sent.
BARE_MATHS = "() => [...document.querySelectorAll('.math')].filter((one) => !one.querySelector('mjx-container')).length"
# Pictures whose words are none, or the name that Sphinx gives to what has none.
# Panels of one picture have its words together, and each its title.
WORDLESS = """() => {
  const few = (words) => words.split(" ").length < 5 || !words.trim().endsWith(".");
  const wordless = (one) => one.closest(".av-panels") ? !one.alt.trim() : few(one.alt);
  const pictures = [...document.querySelectorAll("article img")].filter(wordless);
  const groups = [...document.querySelectorAll("article .av-panels")].filter((one) => few(one.ariaLabel));
  return [...pictures.map((one) => one.src.slice(-60)), ...groups.map((one) => one.ariaLabel)];
}"""
# When the maths is typeset and the players have their frames.
LOADED = """async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  while (document.querySelector("#view:empty, .av-player[aria-busy]")) await new Promise((on) => setTimeout(on, 20));
}"""
# When the page was then drawn twice: what follows the size of the window has done so. Only the page opened last
# is drawn as fast as the screen; one behind it, once a second.
DRAWN = "async () => { for (const _ of [1, 2]) await new Promise(requestAnimationFrame); }"
# The players are pages of their own. Colours are those of the theme, whatever the width. Of the words of code that look
# the same, on the same ground, the first stands for all: they are nine tenths of what there is to look at.
AXE = """async (colours) => {
  const seen = new Set();
  for (const one of document.querySelectorAll(".highlight span")) {
    const looks = [];
    for (let each = one; !each.matches(".highlight"); each = each.parentElement) {
      const { color, backgroundColor, opacity, fontSize, fontWeight } = getComputedStyle(each);
      looks.push(color, backgroundColor, opacity, fontSize, fontWeight);
    }
    one.toggleAttribute("data-again", !one.children.length && seen.has(looks.join()));
    seen.add(looks.join());
  }
  axe.configure({ rules: [{ id: "color-contrast", selector: "*:not([data-again])" }] });
  const options = { resultTypes: ["violations"], iframes: false, preload: false };
  const { violations } = await axe.run(document, { ...options, rules: { "color-contrast": { enabled: colours } } });
  const say = (node) => `${node.target} ${node.failureSummary.replace(/\\s+/g, " ")}`;
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(say).join(" | ")}`);
}"""

pytestmark = needs_browser


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site, built from what is stored, with warnings as errors; one for all processes."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "built" / "site"
    with FileLock(base / "site.lock"):
        if not (base / "built" / "ready").exists():
            folder.parent.mkdir(exist_ok=True)
            command = [sys.executable, str(ROOT / "scripts/build_site.py"), "--out", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            (base / "built" / "ready").touch()
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
def new_page(new_page, address, site):
    """Makes pages to which nothing answers but the site."""
    own = (address, f"file://{site}", "data:", "blob:")

    def guard(route):
        if route.request.url.startswith(own):
            route.continue_()
        else:
            route.request.frame.page.complaints.append(f"asks for {route.request.url}")
            route.abort()

    def guarded():
        page = new_page()
        page.context.route("**/*", guard)  # what a page opens is guarded too
        page.set_viewport_size({"width": WIDE, "height": 900})
        page.on("requestfailed", lambda request: page.complaints.append(f"not there: {request.url}"))
        return page

    return guarded


def pages(site: Path) -> list[str]:
    """The addresses of all pages, within the site."""
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if "_static" not in path.parts)
    assert {"index.html", "glossary.html", "benchmark.html", "classroom/README.html", "search.html"} <= set(found)
    assert sum(name.startswith("notebooks/") for name in found) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_every_page(new_page, site, address, part):
    """Served: light and dark, wide and narrow, for everybody, every link. From disk: whole, with nothing asked for."""
    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    from_disk, served = new_page(), new_page()  # in this order: see DRAWN
    wrong = {}
    for name in pages(site)[part::PARTS]:
        from_disk.goto((site / name).as_uri(), wait_until="commit")  # it loads meanwhile
        served.goto(address + name)
        served.evaluate(LOADED)
        found = [*bare_maths(served), *lost_links(served, site, address, name)]
        found += [f"no words for {source}" for source in served.evaluate(WORDLESS)]
        served.evaluate(axe)
        for theme in ("light", "dark"):
            served.evaluate(f"() => {{ document.documentElement.dataset.theme = {theme!r} }}")
            for width in (NARROW, WIDE):
                served.set_viewport_size({"width": width, "height": 900})
                served.evaluate(DRAWN)
                found += [f"{theme}, {width}: too wide: {one}" for one in served.evaluate(TOO_WIDE)]
                if width == WIDE or theme == "light":
                    found += [f"{theme}, {width}: {one}" for one in served.evaluate(AXE, width == WIDE)]
        if name.startswith("notebooks/"):
            check_buttons(served, site, address, name)
        from_disk.wait_for_load_state("networkidle")
        from_disk.evaluate(LOADED)
        found += [f"from disk: {one}" for one in [*bare_maths(from_disk), *from_disk.complaints]]
        served.wait_for_load_state("networkidle")
        found += served.complaints
        served.complaints.clear()
        from_disk.complaints.clear()
        if found:
            wrong[name] = found
    assert not wrong, "\n".join(f"{name}\n    " + "\n    ".join(found[:8]) for name, found in wrong.items())


def bare_maths(page) -> list[str]:
    bare = page.evaluate(BARE_MATHS)
    return [f"{bare} formulas are not typeset"] if bare else []


def lost_links(page, site, address, name) -> list[str]:
    lost = []
    for link in page.eval_on_selector_all("a[href]", "all => all.map((one) => one.href)"):
        if not link.startswith(address):
            continue
        path, _, anchor = link.removeprefix(address).partition("#")
        target = site / (path.partition("?")[0] or "index.html")
        if not target.exists():
            lost.append(f"leads nowhere: {path}")
        elif anchor and path.endswith(".html") and f'id="{anchor}"' not in text_of(target):
            lost.append(f"leads nowhere: {path}#{anchor}")
    return lost


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def check_buttons(page, site, address, name) -> None:
    """A notebook can be had in four ways."""
    stored = Path(name).with_suffix(".ipynb").name
    binder, colab, download = page.eval_on_selector_all(".launch > a", "all => all.map((one) => one.href)")
    assert binder.startswith("https://mybinder.org/v2/gh/")
    assert binder.endswith(f"notebooks/{stored}")
    assert colab.startswith("https://colab.research.google.com/github/")
    assert colab.endswith(f"notebooks/{stored}")
    assert download == address + f"notebooks/{stored}"
    assert (site / "notebooks" / stored).read_bytes() == (ROOT / "notebooks" / stored).read_bytes()
    page.get_by_text("JupyterLab", exact=True).first.click()
    assert page.locator(".launch code").first.is_visible()


@pytest.mark.parametrize("from_disk", [False, True], ids=["served", "from disk"])
def test_search_finds_softmax(page, site, address, from_disk):
    page.goto(((site.as_uri() + "/") if from_disk else address) + "search.html?q=softmax")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "all => all.map((one) => one.href)")
    assert any("notebooks/01_loops.html" in link for link in found)
    assert any("glossary.html" in link for link in found)
    page.wait_for_load_state("networkidle")
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
    assert player.locator(".picture").evaluate("one => one.scrollWidth <= one.clientWidth")
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
    deadline = time.monotonic() + 10
    while picture.screenshot() == first:  # how long a frame stands is for the picture to say
        assert time.monotonic() < deadline, "it stands still"
        page.wait_for_timeout(100)
