"""What a view's page is made of: nothing in its data can break it, and it asks for nothing from outside."""

from __future__ import annotations

import base64
import json
import re
import sys

import pytest

from attention_variants.lab.web import view as web

SCRIPT = "function render({ model, el }) { el.append(model.get('data').text); }\nexport default { render };\n"
NASTY = {"text": "</script><!--<script>&amp;\u2028'\"\\ ünïcode"}


@pytest.fixture(autouse=True)
def _a_small_view(tmp_path, monkeypatch):
    (tmp_path / "small.js").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "small.css").write_text("p { color: #333333; }\n", encoding="utf-8")
    monkeypatch.setattr(web, "_FOLDER", tmp_path)


def _data(page: str) -> str:
    """Return what a browser takes for the data: all up to the first end of a script."""
    return page.split('<script type="application/json" id="data">')[1].split("</script")[0]


def test_the_data_cannot_end_their_element_or_keep_it_open():
    page = web.page("small", NASTY, title="a view")
    assert json.loads(_data(page)) == NASTY
    assert "<" not in _data(page)
    assert page.count("</script>") == 2


def test_the_title_is_escaped():
    page = web.page("small", {}, title="a < b </title> & c")
    assert "<title>a &lt; b &lt;/title&gt; &amp; c</title>" in page


def test_the_page_holds_script_and_style_and_no_export():
    page = web.page("small", {}, title="a view", width=640)
    assert "p { color: #333333; }" in page
    assert "max-width: 640px" in page
    assert "const view = { render };" in page
    assert "export" not in page
    assert "view.render({" in page


def test_the_page_asks_for_nothing():
    page = web.page("small", {}, title="a view")
    assert not re.search(r"https?:|@import|\b(?:src|href)=\"(?!data:,\")", page)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_does_not_have_is_refused(number):
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        web.page("small", {"x": [number]}, title="a view")


@pytest.mark.parametrize(("times", "script"), [(0, "function render() {}"), (2, SCRIPT + "export default { render };")])
def test_a_script_without_its_one_default_export_is_refused(times, script, tmp_path):
    (tmp_path / "small.js").write_text(script, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^small.js must have one 'export default'; got {times}.$"):
        web.page("small", {}, title="a view")


def _bundle(data=lambda: {"text": "hello"}):
    return web.bundle("small", data, picture=b"\x89PNG", alt="a picture", text="a line")


def test_a_notebook_gets_a_widget_a_picture_and_a_line():
    contents, metadata = _bundle()
    assert set(contents) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert contents["text/plain"] == "a line"
    assert base64.b64decode(contents["image/png"]) == b"\x89PNG"
    assert metadata == {"image/png": {"alt": "a picture"}}


def test_the_widget_has_the_data_and_the_files():
    widget = web._widget("small", lambda: NASTY)
    assert widget.data == NASTY
    assert str(widget._esm).strip() == SCRIPT.strip()
    assert "data" in widget.keys  # the names of what travels to the browser


def test_without_anywidget_the_picture_remains_and_no_data_are_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)  # import raises ImportError
    contents, _ = _bundle(lambda: pytest.fail("data were made"))
    assert set(contents) == {"text/plain", "image/png"}
