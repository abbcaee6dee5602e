"""Players, explorers and code in small windows and in the themes of JupyterLab: what belongs together is in sight."""

from __future__ import annotations

import functools
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from in_browser import ROOT, listen, needs_browser
from matplotlib.figure import Figure
from PIL import Image

import attention_variants as av
from attention_variants.lab.bench.bounds import bounds
from attention_variants.lab.bench.result import Bench
from attention_variants.lab.bench.tables import bounds_table
from attention_variants.lab.plots.colors import COLORS, LINE_NOW
from attention_variants.lab.table import html_table

THEMES = Path(sys.prefix) / "share/jupyter/lab/themes/@jupyterlab"
# A window, and the width of an output and the height of the pane that JupyterLab leaves with its file browser open.
SMALL, LAPTOP = ((1024, 700), 572, 579), ((1280, 720), 828, 599)
PHONE = ((390, 800), 374, 800)
# Of all text in a page, also below shadow roots, what has too little contrast with what it stands on. The colours are
# read from pixels, for they may be mixed.
FAINT = """() => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const read = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const above = (node) => node.parentElement ?? node.getRootNode().host ?? null;
  const ground = (node) =>
    node ? over(read(getComputedStyle(node).backgroundColor), ground(above(node))) : [255, 255, 255];
  const opacity = (node) => node ? getComputedStyle(node).opacity * opacity(above(node)) : 1;
  const light = (color) => {
    const [r, g, b] = color.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const all = (root) => [...root.querySelectorAll("*")]
    .flatMap((one) => [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])]);
  const texts = all(document.body).filter((one) => one.checkVisibility() && !one.matches("script, style, option, title")
    && [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  const found = texts.map((one) => {
    const style = getComputedStyle(one);
    const under = ground(one);
    const [r, g, b, a] = read(one.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [dark, bright] = [light(over([r, g, b, a * opacity(one)], under)), light(under)].sort((x, y) => x - y);
    return [one.textContent.trim().slice(0, 30), (bright + 0.05) / (dark + 0.05)];
  });
  return { number: found.length, faint: found.filter(([, contrast]) => contrast < 4.5) };
}"""

# How many lines the text of an element takes.
LINES_OF_TEXT = """(one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  return new Set([...range.getClientRects()].map((line) => line.top)).size;
}"""

pytestmark = needs_browser


@pytest.fixture
def output(browser, tmp_path):
    """Shows HTML as wide as the output of a cell in a window, with JupyterLab's variables or without."""
    opened = []

    def output(html, place, theme=None):
        (width, height), wide, _ = place
        page = browser.new_page(viewport={"width": width, "height": height})
        listen(page)
        opened.append(page)
        css = (THEMES / f"theme-{theme}-extension/index.css").read_text(encoding="utf-8") if theme else ""
        css += "body { margin: 0; font: 14px sans-serif; background: var(--jp-layout-color0, #fff); "
        css += f"color: var(--jp-content-font-color1, #000) }} #cell {{ width: {wide}px }}"
        path = tmp_path / "output.html"
        page_text = f'<!doctype html><meta charset="utf-8"><style>{css}</style><div id="cell">{html}</div>'
        path.write_text(page_text, encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield output
    for page in opened:
        assert page.complaints == []
        page.close()


@functools.cache
def html_of(name):
    """The HTML of an output: a player, an explorer, or code."""
    short = av.load_example("Dog bites")
    match name:
        case "player":
            thing = av.animate(1, *short.head(1), tokens=short.tokens, max_frames=12)
        case "player of long code":
            thing = av.animate(7, *short.head(11), tokens=short.tokens, max_frames=10)
        case "player of two":
            thing = av.animate(5, *torch.randn(3, 4, 6), num_heads=2, beside=6, max_frames=8)
        case "explorer":
            thing = av.explore("tired")
        case "explorer of a long sentence":
            thing = av.explore(long_sentence(), head=0)
        case "explorer of layers":
            thing = av.explore([av.load_example("tired")] * 12, layer=3)
        case "explorer of all sentences":
            thing = av.explore()
        case "code":
            return av.show(7)._repr_html_() + av.diff(6, 7)._repr_html_()
        case "table":
            return av.explore("tired").numbers()._repr_html_()
    return thing._repr_mimebundle_()[0]["text/html"]


def long_sentence():
    """As many tokens as can be shown."""
    q, k = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.softmax(q @ k.T / 8**0.5, dim=-1)[None]
    words = [f"word{i}" for i in range(40)]
    return SimpleNamespace(sentence="long", tokens=words, q=q, k=k, weights=weights, layer=SimpleNamespace(num_heads=1))


def pixels(locator):
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def near(picture, colour):
    rgb = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return np.abs(picture - rgb).max(axis=-1) <= 6


EXPLORERS = ["explorer", "explorer of a long sentence", "explorer of layers", "explorer of all sentences"]
PLAYERS = [("player", SMALL), ("player of long code", SMALL), ("player of two", SMALL), ("player", PHONE)]


@pytest.mark.parametrize(("player", "place"), PLAYERS)
def test_running_line_tensors_and_controls_are_in_sight_together(output, player, place):
    page, lowest = output(html_of(player), place), 6 if player == "player of two" else 10
    player = page.locator(".av-player:not([aria-busy])")
    player.wait_for()
    slider, last = player.get_by_label("frame"), int(player.get_by_label("frame").get_attribute("max"))
    for frame in {0, last // 2, last}:
        slider.fill(str(frame))
        assert player.locator("canvas").bounding_box()["y"] >= 0
        controls = player.locator(".controls").bounding_box()
        assert controls["y"] + controls["height"] <= place[2]
        assert player.locator(".caption").is_visible(), "in the picture it would be too small"
        picture = pixels(player.locator("canvas"))
        running = near(picture, LINE_NOW).sum(axis=1) > 50
        assert running.sum() >= lowest, "a whole line, in letters that can be read"
        for name in ("q", "scores", "weights", "context"):  # the spots before their names, at the least
            assert near(picture, COLORS[name])[~running].sum() >= 9, name
    assert player.evaluate("(one) => [one, one.querySelector('.picture')].every((e) => e.scrollWidth <= e.clientWidth)")


def test_on_a_phone_the_controls_stay_where_they_are_while_it_plays(output):
    """Captions have one line or two; a finger on "play" must not find the slider there."""
    words = ["somebody", "something"]
    thing = av.animate(1, *torch.randn(3, 2, 3), query_tokens=words, key_tokens=words)
    page = output(thing._repr_mimebundle_()[0]["text/html"], PHONE)
    player = page.locator(".av-player:not([aria-busy])")
    player.wait_for()
    slider = player.get_by_label("frame")
    tops, lines = set(), set()
    for frame in range(len(thing)):
        slider.fill(str(frame))
        tops.add(player.locator(".controls").bounding_box()["y"])
        lines.add(player.locator(".caption").evaluate(LINES_OF_TEXT))
    assert len(lines) > 1, "else nothing is tried here"
    assert len(tops) == 1


@pytest.mark.parametrize("of_a_figure", [False, True])
def test_on_a_wide_page_a_caption_is_below_the_picture_if_it_is_not_in_it(output, of_a_figure):
    film = av.animate_figure(Figure((8, 3)), lambda step: None, range(2), ["before", "after"], title="a film")
    html = film._repr_mimebundle_()[0]["text/html"] if of_a_figure else html_of("player")
    player = output(html, LAPTOP).locator(".av-player:not([aria-busy])")
    player.wait_for()
    assert player.locator(".caption").is_visible() == of_a_figure


@pytest.mark.parametrize("place", [SMALL, LAPTOP])
@pytest.mark.parametrize("explorer", EXPLORERS)
def test_an_explorer_is_no_higher_than_the_pane(output, explorer, place):
    page = output(html_of(explorer), place)
    whole = page.locator(".av-explorer")
    sentence = page.locator("select").first
    looks, cells = page.locator(".looks"), page.locator(".panels > .map")
    for view in range(sentence.locator("option").count()):
        sentence.select_option(str(view))
        for token in range(0, page.locator(".token.query").count(), 3):
            page.get_by_label("query token").select_option(str(token))
            assert whole.bounding_box()["height"] <= place[2]
        assert cells.is_visible()
        assert page.locator(".numbers").is_visible()
        switch = page.get_by_role("button", name="where the query looks")
        assert looks.is_visible() != switch.is_visible(), "beside the map, or in its place when asked for"
        if switch.is_visible():
            switch.click()
            assert looks.is_visible()
            assert not cells.is_visible()
            assert whole.bounding_box()["height"] <= place[2]
            page.get_by_role("button", name="all queries").click()


@pytest.mark.parametrize("place", [SMALL, LAPTOP])
@pytest.mark.parametrize("explorer", EXPLORERS)
def test_the_numbers_of_a_cell_are_in_sight_while_one_chooses(output, explorer, place):
    page = output(html_of(explorer), place)
    bottom = page.locator(".numbers li").last.bounding_box()
    assert bottom["y"] + bottom["height"] <= place[2]
    for select in page.locator("select").all()[1:]:
        cut = "(one) => one.selectedOptions[0].text.length * 7.5 > one.clientWidth - 16"
        assert not select.evaluate(cut), "its words are cut"
    tops = page.eval_on_selector_all(".controls > *", "all => all.map((one) => one.getBoundingClientRect().bottom)")
    assert max(tops) - min(tops) < 4, "one row"
    assert page.evaluate("document.documentElement.scrollWidth") <= place[0][0]
    tokens = page.locator(".token.query").count()
    for token in ("query token", "key token"):
        page.get_by_label(token).select_option(str(tokens - 2))
    page.focus(".map [tabindex]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    inside, around = page.locator(".box").bounding_box(), page.locator(".map [tabindex]").bounding_box()
    assert around["y"] + around["height"] <= place[2]
    assert around["x"] <= inside["x"] < around["x"] + around["width"], "the chosen cell is moved into sight"
    assert around["y"] <= inside["y"] < around["y"] + around["height"]
    assert page.evaluate("scrollY") == 0


def wide_tables():
    """The widest tables of the notebooks."""
    q, k, v = torch.randn(3, 2, 5, 16)
    stored = Bench.load(ROOT / "assets/bench")
    title, columns, rows, left, note = bounds_table(bounds(stored), stored.caption)
    functions = {"variant 3": av.attention_batched, "variant 4 in a longer name": av.attention_masked}
    return [
        av.compare(batch=2, queries=5, keys=7, d_model=128, heads=4, mask="padding")._repr_html_(),
        av.same_answer(functions, q, k, v)._repr_html_(),
        av.trace(av.multihead_attention, q, k, v, num_heads=4)._repr_html_(),
        html_table(title, columns, rows, left=left, note=note),
    ]


def test_tables_are_no_wider_than_the_output(output):
    # As JupyterLab writes tables: nothing else of its style changes their width.
    style = "<style>table { font-size: 13px; border-spacing: 0 } td, th { line-height: normal }</style>"
    page = output(style + "".join(f'<div class="one">{table}</div>' for table in wide_tables()), SMALL)
    assert page.locator("table").count() == 4
    assert page.eval_on_selector_all(".one", "all => all.map((one) => one.scrollWidth - one.clientWidth)") == [0] * 4
    lines = page.eval_on_selector_all("caption", "all => all.map((one) => one.clientHeight)")
    assert max(lines) < 60, "a caption is a few lines"


@pytest.mark.parametrize("theme", ["dark", "light", None])
def test_letters_are_legible_in_every_theme(output, theme):
    """4.5 is the WCAG's bound for text."""
    page = output("".join(map(html_of, ("player", "explorer", "code", "table"))), LAPTOP, theme)
    page.locator(".av-player:not([aria-busy])").wait_for()
    found = page.evaluate(FAINT)
    assert found["number"] > 100
    assert found["faint"] == []


def test_ground_follows_the_theme_and_pictures_keep_theirs(output):
    page = output("".join(map(html_of, ("player", "explorer", "code"))), LAPTOP, "dark")
    page.locator(".av-player:not([aria-busy])").wait_for()
    for part in (".controls", ".av-explorer", "pre"):
        assert np.median(pixels(page.locator(part).first)) < 80, part
    for part in (".picture", ".bars svg"):
        assert np.median(pixels(page.locator(part).first)) == 255, part
    edge = pixels(page.locator(".picture"))
    assert (edge[:4, 8:-8] == 255).all(), "a margin"
    assert (edge[8:-8, :4] == 255).all()
