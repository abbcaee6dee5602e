"""What explore shows is what the code computed: the data of the view, the numbers of a cell, the picture, the page."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from rich.console import Console

import attention_variants as av
from attention_variants.lab import explore as module
from attention_variants.lab.explore import explore
from attention_variants.lab.plots.colors import COLORS, OPPOSITES
from attention_variants.variants import multihead_attention

pytestmark = pytest.mark.slow

TIRED = "The animal didn't cross the street because it was too tired."
WORDS = ["<s>", "it", "reads", "from", "left", "it", "$x$"]
CAUSAL = torch.ones(7, 7, dtype=torch.bool).tril()


@pytest.fixture(scope="module")
def everything():
    return explore()


def _example(tokens=tuple(WORDS), *, heads=2, d_model=8, mask=None):
    """Return an object like an Example, with random queries and keys."""
    torch.manual_seed(len(tokens))
    q, k = torch.randn(2, len(tokens), d_model)
    weights = multihead_attention(q, k, k, mask, num_heads=heads)[1]
    layer = SimpleNamespace(num_heads=heads)
    example = SimpleNamespace(sentence=" ".join(tokens), tokens=list(tokens), q=q, k=k, weights=weights, layer=layer)
    if mask is not None:
        example.mask = mask
    return example


def _spoilt(**changes):
    example = _example()
    for name, value in changes.items():
        setattr(example, name, value)
    return example


def _numbers(view, name):
    """Read a tensor as explorer.js does."""
    raw = view["tensors"][name]
    if name in ("q", "k"):
        return np.frombuffer(base64.b64decode(raw["numbers"]), "<i2") * raw["unit"]
    return np.frombuffer(base64.b64decode(raw), "u1" if name == "blocked" else "<f4")


def _split(x, heads):
    """(T, d_model) -> (H, T, d_k), in float64."""
    return x.detach().double().reshape(len(x), heads, -1).permute(1, 0, 2)


# ------------------------------------------------------------------------------------------ what the view gets


@pytest.mark.parametrize("number", range(10))
def test_the_data_are_the_tensors_of_every_head(number, everything):
    example = av.load_example(number)
    view = everything.data()["views"][number]
    assert view["view"]["label"] == example.sentence
    assert view["view"]["tokens"] == example.tokens
    assert (view["view"]["heads"], view["view"]["d_k"]) == (12, 32)
    T = len(example.tokens)
    q, k = _split(example.q, 12), _split(example.k, 12)
    for name, x in (("q", q), ("k", k)):
        got = _numbers(view, name).reshape(12, T, 32)
        np.testing.assert_allclose(got, x, rtol=0, atol=float(x.abs().max()) / 2**15)
    products = q @ k.transpose(1, 2)
    scores = products / math.sqrt(32)
    exps = (scores - scores.amax(-1, keepdim=True)).exp()
    expected = {"products": products, "scores": scores, "exps": exps, "largest": scores.amax(-1), "sums": exps.sum(-1)}
    for name, x in expected.items():
        np.testing.assert_allclose(_numbers(view, name), x.flatten(), rtol=1e-4, atol=1e-5, err_msg=name)
    assert np.array_equal(_numbers(view, "weights"), example.weights.flatten().numpy())
    assert view["tensors"]["blocked"] is None


@pytest.mark.parametrize("number", range(10))
def test_every_row_of_exps_over_its_sum_is_the_weights(number, everything):
    view = everything.data()["views"][number]
    T = len(view["view"]["tokens"])
    rows = _numbers(view, "exps").reshape(12, T, T) / _numbers(view, "sums").reshape(12, T, 1)
    np.testing.assert_allclose(rows, _numbers(view, "weights").reshape(12, T, T), atol=1e-6)
    np.testing.assert_allclose(rows.sum(-1), 1.0, atol=1e-6)


def test_the_colours_are_those_of_the_project():
    colors = explore("tired").data()["colors"]
    assert COLORS.items() <= colors.items()
    assert colors["k_opposite"] == OPPOSITES["k"]


def test_the_scores_are_those_of_the_variant_that_ran(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "trace", lambda *args, **kwargs: asked.append(args[0]) or av.trace(*args, **kwargs))
    explore("tired")
    assert asked == [multihead_attention]


def test_blocked_cells_are_told_and_count_as_0():
    mask = CAUSAL.clone()
    mask[3] = False  # a query with every key blocked
    view = explore(_example(mask=mask)).data()["views"][0]
    assert np.array_equal(_numbers(view, "blocked").reshape(7, 7), ~mask.numpy())
    exps, sums = _numbers(view, "exps").reshape(2, 7, 7), _numbers(view, "sums").reshape(2, 7)
    assert not exps[:, ~mask.numpy()].any()
    assert not sums[:, 3].any()
    for x in ("exps", "sums", "largest", "weights", "scores"):
        assert np.isfinite(_numbers(view, x)).all()


def test_weights_of_0_without_a_mask_are_left_out_of_the_sum_and_not_hatched():
    example = _example(mask=CAUSAL)
    del example.mask
    exploration = explore(example)
    assert exploration.data()["views"][0]["tensors"]["blocked"] is None
    assert exploration.numbers(0, 1, 2).exp == 0.0
    assert exploration.numbers(0, 1, 0).sum == pytest.approx(sum(exploration.numbers(0, 1, j).exp for j in (0, 1)))


# --------------------------------------------------------------------------------------- where the view begins


@pytest.mark.parametrize(
    ("given", "query", "begins"),
    [
        ("tired", None, 10),  # "it"
        ("cat", None, 1),  # the first that is text
        ("tired", "animal", 2),
        ("tired", "Animal", 2),
        ("tired", 0, 0),
        (_example(), None, 1),
        (_example(["<s>", "[CLS]"]), None, 0),  # none is text
        (_example(["Ġthe", "Ġcat", "▁It"]), None, 2),
        (_example(["Ġthe", "Ġcat", "▁It"]), "cat", 1),
    ],
)
def test_the_view_begins_with_the_query_asked_for_or_with_it(given, query, begins):
    assert explore(given, query=query).data()["start"] == {"view": 0, "head": 1, "query": begins}


def test_other_sentences_begin_with_the_query_if_they_have_it():
    views = explore("tired", "cat", "she called", "wide", query="animal").data()["views"]
    assert [view["view"]["query"] for view in views] == [2, 1, 1, 2]
    views = explore("tired", "Dog bites", query=10).data()["views"]
    assert [view["view"]["query"] for view in views] == [10, 1]


def test_without_sentences_all_are_there():
    assert explore().labels == av.list_examples()
    assert explore(3, "cat").labels == ["Dog bites man.", "The cat sat down."]


def test_labels_name_the_sentences():
    example = _example()
    assert explore(example, example, labels=["before", "after"]).labels == ["before", "after"]


def test_layers_of_one_sentence():
    layers = [_example(heads=heads) for heads in (4, 2, 1)]
    exploration = explore(layers, layer=1)
    assert exploration.labels == ["layer 0", "layer 1", "layer 2"]
    assert "Run this cell to choose layer, head and token." in exploration.to_html()
    assert "layer 1: <s> it reads from left it" in "".join(
        text.get_text() for text in exploration.plot(sentence=1).texts
    )
    both = explore(layers, "cat")
    assert both.labels[2:] == ["layer 2: <s> it reads from left it $x$", "The cat sat down."]
    assert "Run this cell to choose sentence, head and token." in both.to_html()
    assert exploration.data()["start"]["view"] == 1
    assert exploration.numbers(sentence=2).head == 0  # it has no head 1
    reading = SimpleNamespace(layers=layers, example=lambda layer: layers[layer])
    assert explore(reading, layer=1).data() == exploration.data()


def test_a_reading_of_a_pretrained_model_has_its_layers():
    example = av.load_example("cat")
    from attention_variants.lab.pretrained import Reading

    reading = Reading(
        sentence=example.sentence,
        tokens=example.tokens,
        hidden=torch.stack([example.hidden, -example.hidden]),
        weights=torch.zeros(2, 12, 7, 7),
        embedding=torch.zeros(384),
        layers=[example.layer, example.layer],
        is_causal=True,
    )
    views = explore(reading).data()["views"]
    assert [view["view"]["label"] for view in views] == ["layer 0", "layer 1"]
    for layer, view in enumerate(views):
        assert np.array_equal(_numbers(view, "weights"), reading.example(layer).weights.flatten())
        assert np.array_equal(_numbers(view, "blocked").reshape(7, 7), ~CAUSAL.numpy())


# ---------------------------------------------------------------------------------------- the numbers of a cell


@pytest.mark.parametrize(("head", "query", "key"), [(1, "it", "animal"), (0, "tired", 0), (11, 7, "street")])
def test_the_numbers_are_those_of_a_calculation_by_hand(head, query, key):
    example = av.load_example("tired")
    i, j = (example.tokens.index(t) if isinstance(t, str) else t for t in (query, key))
    columns = slice(32 * head, 32 * head + 32)
    q, keys = example.q[i, columns].double().numpy(), example.k[:, columns].double().numpy()
    scores = [sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(32) for k in keys]
    exps = [math.exp(score - max(scores)) for score in scores]
    numbers = explore("tired").numbers(head, query, key)
    assert np.array_equal(numbers.q, example.q[i, columns])
    assert np.array_equal(numbers.k, example.k[j, columns])
    assert (numbers.head, numbers.d_k) == (head, 32)
    got = (numbers.product, numbers.scaled, numbers.largest, numbers.exp, numbers.sum, numbers.weight)
    expected = (scores[j] * math.sqrt(32), scores[j], max(scores), exps[j], sum(exps), exps[j] / sum(exps))
    assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_by_default_the_numbers_are_those_of_the_largest_weight():
    example = av.load_example("tired")
    numbers = explore("tired").numbers()
    assert (numbers.head, numbers.query, numbers.key) == (1, "it", "animal")
    assert numbers.weight == example.weights[1, 10].max().item()
    assert explore("wide", "tired", head=3).numbers(sentence=1).weight == example.weights[3, 10].max().item()


def test_the_numbers_as_text_table_and_html():
    numbers = explore("tired").numbers(1, "it", "animal")
    text = str(numbers)
    assert text == repr(numbers)
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert rows[0] == ["head 1: how much of its weight 'it' gives 'animal'"]
    assert ["score", "21.69 / √32", "3.834"] in rows
    assert ["weight", "1.000 / 1.477", "0.6768"] in rows
    console = Console(width=80, file=io.StringIO())
    console.print(numbers)
    assert "0.6768" in console.file.getvalue()
    assert all(len(line) <= 80 for line in console.file.getvalue().splitlines())
    assert "<table" in numbers._repr_html_()
    assert "3.834" in numbers._repr_html_()


def test_the_numbers_of_a_blocked_cell_say_so():
    mask = CAUSAL.clone()
    mask[0] = False
    numbers = explore(_example(mask=mask))
    assert "blocked: counts as 0" in str(numbers.numbers(0, 1, 2))
    assert numbers.numbers(0, 1, 2).weight == 0.0
    assert "every key is blocked" in str(numbers.numbers(0, 0, 2))
    assert numbers.numbers(0, 0, 2).sum == 0.0


def test_a_token_that_stands_twice_is_named_with_its_position():
    assert explore(_example()).numbers(0, 5, 2).query == "it (5)"
    assert explore(_example()).numbers(0, 5, 2).key == "reads"


# ------------------------------------------------------------------------------------------------- the picture


def _axes(figure):
    return {ax.get_label(): ax for ax in figure.axes}


def _frames(ax):
    return {
        tuple(np.add(patch.get_xy(), 0.5)): (patch.get_width(), to_hex(patch.get_edgecolor())) for patch in ax.patches
    }


def test_the_figure_shows_the_tensors():
    example = av.load_example("tired")
    axes = _axes(explore("tired").plot(1, "it"))
    (image,) = axes["map"].images
    assert np.array_equal(image.get_array(), example.weights[1].double())
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in axes["map"].get_xticklabels()] == example.tokens
    assert _frames(axes["map"]) == {(0, 10): (16, COLORS["q"].lower()), (2, 10): (1, "#333333")}
    q, k = example.q[10, 32:64].numpy(), example.k[2, 32:64].numpy()
    for name, numbers in (("q", q), ("k", k), ("product", q * k)):
        np.testing.assert_allclose([bar.get_height() for bar in axes[name].patches], numbers, rtol=1e-6)
        assert [bar.get_x() + 0.4 for bar in axes[name].patches] == pytest.approx(range(32))
    assert to_hex(axes["q"].patches[0].get_facecolor()) == (COLORS if q[0] > 0 else OPPOSITES)["q"].lower()


@pytest.mark.parametrize(("head", "query"), [(1, 10), (5, 3)])
def test_lines_lead_from_the_query_to_all_keys_as_thick_as_the_weights(head, query):
    weights = av.load_example("tired").weights[head, query].numpy()
    ax = _axes(explore("tired").plot(head, query))["lines"]
    (lines,) = ax.collections
    np.testing.assert_allclose(np.array(lines.get_linewidths()) / module._THICKEST, weights, rtol=1e-6)
    for j, line in enumerate(lines.get_segments()):
        assert tuple(line[[0, -1], 1]) == (query, j)
    opacity = np.array([color[3] for color in lines.get_colors()])
    assert np.array_equal(opacity.argsort(kind="stable"), weights.argsort(kind="stable"))
    texts = [text.get_text() for text in ax.texts]
    assert [text for text in texts if re.fullmatch(r"\d\.\d\d", text)] == [f"{weight:.2f}" for weight in weights]


def test_blocked_cells_are_hatched_in_the_figure():
    ax = _axes(explore(_example(mask=CAUSAL)).plot())["map"]
    (hatched,) = [artist for artist in ax.patches if artist.get_hatch()]
    assert len(hatched.get_path().vertices) == 5 * int((~CAUSAL).sum())


LONG = [["untranslatable", "the", "a", "incomprehensibilities", "on"][i % 5] + str(i) for i in range(40)]


@pytest.mark.parametrize("tokens", [LONG, WORDS, ["a", "b"]], ids=len)
def test_the_figure_fits_its_page_and_nothing_is_cut_off(tokens):
    figure = explore(_example(tokens), head=0).plot()
    width, height = figure.get_size_inches()
    assert width <= 10
    assert height <= (6.2 if len(tokens) < 40 else 8)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = {}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            box = text.get_window_extent(renderer)
            boxes[text] = box
            assert -1 <= box.x0 <= box.x1 <= width * figure.dpi + 1, text
            assert -1 <= box.y0 <= box.y1 <= height * figure.dpi + 1, text
    lines = _axes(figure)["lines"]
    last = max(boxes[text].x1 for text in lines.texts)
    assert last < min(boxes[label].x0 for label in _axes(figure)["map"].get_yticklabels())
    assert last < boxes[_axes(figure)["map"].yaxis.label].x0


# ----------------------------------------------------------------------------------------------- in a notebook


def test_a_notebook_gets_the_explorer_a_picture_and_a_line(everything):
    contents, metadata = everything._repr_mimebundle_()
    assert set(contents) == {"text/plain", "image/png", "text/html"}
    assert contents["text/html"] in everything.to_html()
    looks = "looks at animal 0.68, [CLS] 0.10, it 0.06, street 0.05, the (1) 0.04"
    assert contents["text/plain"] == repr(everything) == f"Exploration(10 sentences, head 1, query 'it': {looks})"
    assert metadata["image/png"]["alt"] == f"Where 'it' looks in head 1 of {TIRED!r}: it {looks}."
    png = base64.b64decode(contents["image/png"])
    assert png.startswith(b"\x89PNG")
    assert len(png) < 150_000
    height, width, _ = plt.imread(io.BytesIO(png)).shape
    assert width == 960
    assert height <= 600
    assert plt.get_fignums() == []  # or the notebook would show it twice


def test_a_view_of_which_every_key_is_blocked_says_so():
    exploration = explore(_example(mask=torch.zeros(7, 7, dtype=torch.bool)), head=0)
    assert repr(exploration) == "Exploration(1 sentence, head 0, query 'it (1)': every key is blocked)"
    exploration.plot()


# -------------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def page(tmp_path_factory, everything):
    path = tmp_path_factory.mktemp("explore") / "all.html"
    assert everything.to_html(path) == path
    return path


def test_the_page_holds_everything_and_asks_for_nothing(page, everything):
    text = page.read_text(encoding="utf-8")
    assert text == everything.to_html()
    assert len(text.encode()) < 1_000_000
    assert set(re.findall(r"https?://[^\"' )]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert not re.search(
        r"@import|@font-face|\burl\((?!#)|\beval\(|\b(?:src|href)=\"(?!data:)|\bimport\(|fetch\(", text
    )
    data = json.loads(re.search(r"^const data = (.*);$", text, re.MULTILINE)[1])
    assert data == everything.data()
    for view, sentence in zip(data["views"], av.list_examples(), strict=True):
        T = len(av.load_example(sentence).tokens)
        assert len(view["view"]["tokens"]) == T
        assert _numbers(view, "weights").size == 12 * T * T


def test_the_title_is_the_sentence():
    assert "<title>Attention: The cat sat down.</title>" in explore("cat").to_html()


def test_a_page_that_would_be_too_large_is_refused(tmp_path):
    path = tmp_path / "large.html"
    sentences = list(range(10)) * 4
    with pytest.raises(ValueError, match=r"^explore: the page of 40 .* would be 2\.\d MB, more than 2 MB; pass fewer"):
        explore(*sentences).to_html(path)
    assert not path.exists()


# ---------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("tired", {"head": 12}, "head must be a whole number from 0 to 11; got 12."),
        ("tired", {"head": -1}, "head must be a whole number from 0 to 11; got -1."),
        ("tired", {"head": True}, "head must be a whole number from 0 to 11; got True."),
        ("tired", {"query": 16}, "query must be a whole number from 0 to 15; got 16."),
        ("tired", {"query": "the"}, "the query 'the' stands at 1 and 7; pass a position."),
        (
            3,
            {"query": "cat"},
            "no token is 'cat', so it cannot be the query; the tokens are [CLS], dog, bites, man, ",
        ),
        ("tired", {"layer": 1}, "layer must be 0, for there is one alone; got 1."),
        ([_example(), _example()], {"layer": 2}, "layer must be a whole number from 0 to 1; got 2."),
        ([], {}, "a list of layers must hold at least one example; got an empty one."),
        ("tired", {"labels": ["a", "b"]}, "labels must be one for each of the 1 sentences or layers; got 2."),
        ("tired", {"labels": "a"}, "labels must be one for each of the 1 sentences or layers; got 'a'."),
        (_example(["x"] * 41), {"labels": ["X"]}, "more than 40 tokens cannot be read in one picture; 'X' has 41."),
        (
            _spoilt(tokens=WORDS[:6]),
            {"labels": ["X"]},
            "'X' has 6 tokens and 2 heads, so its weights must have the shape (2, 6, 6); got (2, 7, 7).",
        ),
        (
            _spoilt(q=torch.zeros(7, 9)),
            {"labels": ["X"]},
            "q of 'X' must have the shape (T, d_model), T = 7 and d_model divisible by 2; got (7, 9).",
        ),
        (_spoilt(k=torch.zeros(1, 7, 8)), {"labels": ["X"]}, "k of 'X' must have the shape (T, d_model), T = 7 and "),
        (_spoilt(mask=CAUSAL[:3]), {"labels": ["X"]}, "the mask of 'X' must have the shape (7, 7); got (3, 7)."),
        (
            _spoilt(weights=torch.full((2, 7, 7), 1 / 7)),
            {"labels": ["X"]},
            "the weights of 'X' must be the softmax of ",
        ),
        (
            _spoilt(weights=torch.full((2, 7, 7), torch.nan)),
            {"labels": ["X"]},
            "the weights of 'X' must be the softmax ",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(given, options, message):
    with pytest.raises(ValueError, match=f"^explore: {re.escape(message)}") as error:
        explore(given, **options)
    assert "\n" not in str(error.value)


def test_a_mask_must_be_boolean():
    example = _example(mask=CAUSAL)
    example.mask = CAUSAL.float()
    with pytest.raises(TypeError, match=r"mask must be .*True = may attend; got"):
        explore(example)


def test_what_is_no_sentence_is_refused():
    with pytest.raises(ValueError, match="no sentence contains 'zebra'"):
        explore("zebra")
    with pytest.raises(TypeError, match=r"^explore takes the number or text of a sentence .*; float has no sentence.$"):
        explore(1.5)
    example = _example()
    del example.k
    with pytest.raises(TypeError, match="SimpleNamespace has no k.$"):
        explore(example)


@pytest.mark.parametrize("method", ["numbers", "plot"])
def test_a_cell_that_is_not_there_is_refused(method):
    ask = getattr(explore("tired", "cat"), method)
    for arguments, message in [
        ((12,), "head must be a whole number from 0 to 11; got 12"),
        ((1, "zebra"), "no token is 'zebra', so it cannot be the query"),
        ((1, "it", 99), "key must be a whole number from 0 to 15; got 99"),
        ((1, "it", "the"), "the key 'the' stands at 1 and 7"),
    ]:
        with pytest.raises(ValueError, match=f"^explore: {message}"):
            ask(*arguments)
    with pytest.raises(ValueError, match="^explore: sentence must be a whole number from 0 to 1; got 2"):
        ask(sentence=2)
    assert plt.get_fignums() == []
