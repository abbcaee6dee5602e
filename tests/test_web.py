"""What a view is made of: nothing in its data can break it, it asks for nothing from outside, and it shows without."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from attention_variants.lab.web import view as web

SCRIPT = "function render({ data, el }) { el.append(data.text); }\nexport default { render };\n"
NASTY = {"text": "</script><!--<script>&amp;\u2028'\"\\ ünïcode"}
PICTURE = Image.new("RGB", (3, 2), "red")


@pytest.fixture(autouse=True)
def _a_small_view(tmp_path, monkeypatch):
    (tmp_path / "small.js").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "small.css").write_text("p > b { content: '</style>'; }\n", encoding="utf-8")
    monkeypatch.setattr(web, "_FOLDER", tmp_path)


def element(data=None, *, alt="a picture", line="a line"):
    return web.element("small", {} if data is None else data, picture=PICTURE, alt=alt, line=line)


class Parts(HTMLParser):
    """The tags of a piece of HTML, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


def without_scripts(text):
    """What is left where no script may run."""
    return re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


def test_the_data_cannot_end_the_script_or_keep_it_open():
    text = element(NASTY)
    script = text.split("<script>")[1].split("</script")[0]
    literal = re.search(r"^const data = (.*);$", script, re.MULTILINE)[1]
    assert json.loads(literal) == NASTY
    assert "<" not in literal
    assert text.count("</script>") == 1
    assert [tag for tag, _ in Parts(text).tags] == ["div", "img", "p", "script"]


def test_without_its_script_it_is_a_picture_and_a_line():
    parts = Parts(without_scripts(element(alt='a < b & "c"', line="run & see")))
    assert [tag for tag, _ in parts.tags] == ["div", "img", "p"]
    assert parts.texts == ["run & see"]
    image = parts.tags[1][1]
    assert image["alt"] == 'a < b & "c"'
    kind, _, coded = image["src"].partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(coded))) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.asarray(PICTURE))


def test_pictures_are_stored_without_loss():
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(base64.b64decode(web.in_base64(Image.fromarray(noise))))) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), noise)


def test_a_notebook_can_be_asked_whether_an_output_is_a_view():
    assert element().startswith(web.VIEW)


def test_the_same_data_make_the_same_element():
    assert element(NASTY) == element(NASTY)


def test_the_title_of_a_page_is_escaped():
    page = web.page(element(), title="a < b </title> & c")
    assert "<title>a &lt; b &lt;/title&gt; &amp; c</title>" in page


def test_a_page_holds_the_element_and_is_as_wide_as_was_asked():
    page = web.page(element(), title="a view", width=640)
    assert element() in page
    assert "max-width: 640px" in page
    assert "const view = { render };" in page
    assert "export" not in page


def test_a_page_asks_for_nothing():
    page = web.page(element(), title="a view")
    assert not re.search(r"https?:|@import|\b(?:src|href)=\"(?!data:)", page)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_does_not_have_is_refused(number):
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        element({"x": [number]})


@pytest.mark.parametrize(("times", "script"), [(0, "function render() {}"), (2, SCRIPT + "export default { render };")])
def test_a_script_without_its_one_default_export_is_refused(times, script, tmp_path):
    (tmp_path / "small.js").write_text(script, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^small.js must have one 'export default'; got {times}.$"):
        element()


def test_a_notebook_gets_the_element_a_picture_and_a_line():
    contents, metadata = web.bundle(element(), picture=b"\x89PNG", alt="a picture", text="a line")
    assert set(contents) == {"text/plain", "image/png", "text/html"}
    assert contents["text/plain"] == "a line"
    assert contents["text/html"] == element()
    assert base64.b64decode(contents["image/png"]) == b"\x89PNG"
    assert metadata == {"image/png": {"alt": "a picture"}}
