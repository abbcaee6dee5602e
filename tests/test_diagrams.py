"""The drawings say what is true of the variants, and can be read: nothing cut off, nothing on top of something else."""

import functools
import inspect
import itertools

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

from attention_variants.lab.code.source import code_lines
from attention_variants.lab.plots.colors import COLORS
from attention_variants.lab.plots.diagrams import (
    plot_language_model,
    plot_self_and_cross,
    plot_staircase,
    plot_transformer,
)
from attention_variants.variants import VARIANTS, describe_variant, register, unregister

pytestmark = pytest.mark.slow

DRAWINGS = {
    "transformer": plot_transformer,
    "transformer, plain": lambda ax=None: plot_transformer(ax, highlight=False),
    "language model": plot_language_model,
    "self and cross": plot_self_and_cross,
    "staircase": plot_staircase,
    "staircase, one more column": lambda ax=None: plot_staircase(
        ax, column=("from float64", dict.fromkeys(VARIANTS, "0.0000002"))
    ),
}
SIZES = {"default": None, "small": (4.5, 4), "large": (14, 9)}


@pytest.fixture(scope="module")
def transformer():
    return _draw(plot_transformer)


@pytest.fixture(scope="module")
def staircase():
    return _draw(plot_staircase)


def _draw(drawing, size=None):
    """Draw in a figure of a size, on its one pair of axes, or as it comes."""
    if size is None:
        figure = drawing()
    else:
        figure, ax = plt.subplots(figsize=size)
        drawing(ax)
    figure.draw_without_rendering()
    return figure


def _texts(figure):
    (ax,) = figure.axes
    return ax.texts


def _words(figure):
    return [text.get_text() for text in _texts(figure)]


def _patches(figure, label):
    (ax,) = figure.axes
    return [patch for patch in ax.patches if patch.get_label() == label]


def _shapes(figure, label):
    return [patch for patch in _patches(figure, label) if not isinstance(patch, FancyArrowPatch)]


def _lines(figure, label):
    return [patch for patch in _patches(figure, label) if isinstance(patch, FancyArrowPatch)]


def _ends(line):
    return line._path_original.vertices[[0, -1]]  # get_path() is shorter: it makes room for the head


@functools.cache
def _extents(figure):
    return [(text.get_text(), text.get_window_extent()) for text in _texts(figure)]


def _inside(figure, patch):
    """Return the words that stand within a patch."""
    box = patch.get_window_extent()
    return sorted(
        words
        for words, extent in _extents(figure)
        if box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1
    )


def _box(figure, words, which=0):
    """Return the box that says some words, counted from the bottom up where several do."""
    found = [
        patch for label in ("box", "blue box") for patch in _shapes(figure, label) if _inside(figure, patch) == [words]
    ]
    return sorted(found, key=lambda patch: patch.get_y())[which]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
def test_no_words_are_cut_off_or_on_top_of_others(drawing, size):
    figure = _draw(drawing, size)
    page = figure.bbox
    extents = _extents(figure)
    assert len(extents) > 20
    for words, extent in extents:
        assert page.x0 <= extent.x0, words
        assert extent.x1 <= page.x1, words
        assert page.y0 <= extent.y0, words
        assert extent.y1 <= page.y1, words
    for (words, extent), (others, other) in itertools.combinations(extents, 2):
        assert not extent.overlaps(other), (words, others)


@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
def test_letters_can_be_read_on_a_page(drawing):
    figure = _draw(drawing)
    assert figure.get_figwidth() <= 9.0
    assert min(text.get_fontsize() for text in _texts(figure)) >= 7.5


@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
def test_axes_that_are_given_are_drawn_on(drawing):
    figure, (left, right) = plt.subplots(1, 2)
    assert drawing(ax=right) is figure
    assert right.texts
    assert not left.texts
    assert plt.get_fignums() == [figure.number]


def test_a_subfigure_gives_its_figure():
    figure = plt.figure(figsize=(9, 8))
    top, _ = figure.subfigures(2, 1)
    assert plot_staircase(top.subplots()) is figure


@pytest.mark.parametrize("highlight", [True, False])
def test_the_transformer_has_all_its_parts(highlight):
    figure = _draw(lambda: plot_transformer(highlight=highlight))
    boxes = [_inside(figure, box) for box in [*_shapes(figure, "box"), *_shapes(figure, "blue box")]]
    assert all(len(words) == 1 for words in boxes)  # each box holds its words, and nothing else's
    assert sorted(words[0].replace("\n", " ") for words in boxes) == sorted(
        ["Embedding", "Positional encoding"] * 2  # encoder and decoder
        + ["Multi-head attention", "Feed-forward"]
        + ["Masked multi-head attention", "Multi-head attention", "Feed-forward"]
        + ["Add & Norm"] * 5
        + ["Linear", "Softmax"]
    )
    assert {"Encoder", "Decoder", "N layers", "the input", "the output so far", "the next word"} <= set(_words(figure))
    assert len(_shapes(figure, "plus")) == 2


def test_a_language_model_has_all_its_parts():
    figure = _draw(plot_language_model)
    boxes = [_inside(figure, box) for box in [*_shapes(figure, "box"), *_shapes(figure, "blue box")]]
    assert all(len(words) == 1 for words in boxes)
    assert sorted(words[0] for words in boxes) == sorted(
        ["Embedding", *["RMSNorm"] * 3, "turn", "turn", "Causal attention", "SwiGLU", "Linear, softmax", "KV cache"]
    )
    plus = sorted(circle.center[1] for circle in _shapes(figure, "plus"))
    arriving = sorted(_ends(line)[1][1] for line in _lines(figure, "residual"))
    assert arriving == pytest.approx(plus)  # each sum gets what entered its sublayer
    (attention,) = _shapes(figure, "blue box")
    for name in "qkv":
        ends = [_ends(line)[1] for line in _lines(figure, name)]
        assert max(y for _, y in ends) == pytest.approx(attention.get_y())
    turned = {x for x, _ in (_ends(line)[1] for name in "qk" for line in _lines(figure, name))}
    middles = {box.get_x() + box.get_width() / 2 for box in _shapes(figure, "box") if _inside(figure, box) == ["turn"]}
    assert sorted(middles) == pytest.approx(sorted(turned))  # q and k, and not v


def test_each_add_and_norm_gets_a_residual(transformer):
    figure = transformer
    norms = [box for box in _shapes(figure, "box") if _inside(figure, box) == ["Add & Norm"]]
    residuals = _lines(figure, "residual")
    assert len(norms) == len(residuals) == 5
    for norm in norms:
        left, right = norm.get_x(), norm.get_x() + norm.get_width()
        middle = norm.get_y() + norm.get_height() / 2
        arriving = [
            start
            for start, end in map(_ends, residuals)
            if end[1] == pytest.approx(middle) and min(abs(end[0] - left), abs(end[0] - right)) < 0.01
        ]
        (start,) = arriving
        assert start[0] == pytest.approx((left + right) / 2)  # it leaves the stem
        assert 0.6 < norm.get_y() - start[1] < 1.0  # below the sublayer that it goes around


def test_the_arrows_bring_q_k_and_v_to_each_attention(transformer):
    figure = transformer
    attentions = sorted(_shapes(figure, "blue box"), key=lambda box: (box.get_x(), box.get_y()))
    arriving = []
    for box in attentions:
        x, y, width, height = box.get_x(), box.get_y(), box.get_width(), box.get_height()
        found = {}
        for name in "qkv":
            for line in _lines(figure, name):
                end = _ends(line)[1]
                if x < end[0] < x + width and end[1] == pytest.approx(y, abs=0.01):
                    found[name] = "below"
                if end[0] == pytest.approx(x, abs=0.01) and y < end[1] < y + height:
                    found[name] = "left"
        arriving.append(found)
    below = dict.fromkeys("qkv", "below")
    assert arriving == [below, below, {"q": "below", "k": "left", "v": "left"}]

    encoder = attentions[0]
    for name in "kv":
        (start,) = [
            _ends(line)[0]
            for line in _lines(figure, name)
            if _ends(line)[1][0] == pytest.approx(attentions[2].get_x(), abs=0.01)
        ]
        assert start[0] == pytest.approx(encoder.get_x() + encoder.get_width() / 2)
        assert start[1] > _box(figure, "Add & Norm", which=2).get_y()  # above the encoder's last


def _cards(figure):
    cards = {}
    for card in _shapes(figure, "card"):
        words = _inside(figure, card)
        (name,) = [word for word in words if word.lower().endswith("attention")]
        cards[name] = {word for word in words if word != name}
    return cards


def test_the_cards_say_what_each_attention_gets_and_needs(transformer):
    cards = _cards(transformer)
    first = {
        name: min(number for number, function in VARIANTS.items() if name in inspect.signature(function).parameters)
        for name in ("mask", "num_heads")
    }
    mask, heads = str(first["mask"]), str(first["num_heads"])
    assert (mask, heads) == ("4", "5")
    context, _ = VARIANTS[1](torch.randn(2, 4), torch.randn(3, 4), torch.randn(3, 4))
    assert context.shape == (2, 4)  # T_q and T_k differ from variant 1 on
    assert cards == {
        "Self-attention": {"q", "k", "v", "← the input", heads, "heads"},
        "Masked self-attention": {"q", "k", "v", "← the output so far", mask, "mask", heads, "heads"},
        "Cross-attention": {
            "q",
            "← the output so far",
            "k",
            "v",
            "← the encoder",
            "1",
            r"$T_q \neq T_k$",
            heads,
            "heads",
        },
    }


def test_each_card_is_tied_to_its_attention(transformer):
    figure = transformer
    ties = [_ends(line) for line in _lines(figure, "card")]
    assert len(ties) == 3
    for card in _shapes(figure, "card"):
        (name,) = [word for word in _inside(figure, card) if word.lower().endswith("attention")]
        middle = card.get_y() + card.get_height() / 2
        (end,) = [end for start, end in ties if start[1] == pytest.approx(middle) and abs(start[0] - card.get_x()) < 2]
        touched = [
            box
            for box in _shapes(figure, "blue box")
            if box.get_y() < end[1] < box.get_y() + box.get_height()
            and min(abs(end[0] - box.get_x()), abs(end[0] - box.get_x() - box.get_width())) < 0.01
        ]
        (box,) = touched
        masked = "Masked" in _inside(figure, box)[0]
        assert masked == (name == "Masked self-attention")


def test_attention_has_the_colours_of_the_house(transformer):
    figure = transformer
    assert {to_hex(box.get_edgecolor()).upper() for box in _shapes(figure, "blue box")} == {COLORS["weights"]}
    for name in "qkv":
        letters = {to_hex(text.get_color()).upper() for text in _texts(figure) if text.get_text() == name}
        lines = {to_hex(line.get_edgecolor()).upper() for line in _lines(figure, name)}
        assert letters == lines == {COLORS[name]}


def test_self_and_cross_attention_have_a_cell_for_each_weight():
    figure = _draw(plot_self_and_cross)
    english, german = "the animal was too tired".split(), "das Tier war zu".split()
    for name, queries in (("Self-attention", english), ("Cross-attention", german)):
        cells = _shapes(figure, name)
        assert len({round(cell.get_y(), 3) for cell in cells}) == len(queries)
        assert len({round(cell.get_x(), 3) for cell in cells}) == len(english)
        assert len(cells) == len(queries) * len(english)
        assert f"weights ({len(queries)}, {len(english)})" in _words(figure)
        # The words of the queries stand beside the rows, those of the keys above the columns, in their order.
        first = min(cell.get_x() for cell in cells)
        top = max(cell.get_y() + cell.get_height() for cell in cells)
        low = min(cell.get_y() for cell in cells)
        around = [text for text in _texts(figure) if text.get_style() == "italic"]
        rows = [text for text in around if text.get_position()[0] < first and low < text.get_position()[1] < top]
        assert [text.get_text() for text in sorted(rows, key=lambda text: -text.get_position()[1])] == queries
        columns = [
            text for text in around if text.get_position()[0] > first and top < text.get_position()[1] < top + 0.5
        ]
        assert [text.get_text() for text in sorted(columns, key=lambda text: text.get_position()[0])] == english
    for letter in "qkv":
        letters = [text for text in _texts(figure) if text.get_text() == letter]
        assert [to_hex(text.get_color()) for text in letters] == [COLORS[letter].lower()] * 2


def test_without_highlight_the_map_is_alone():
    figure = _draw(lambda: plot_transformer(highlight=False))
    assert not _patches(figure, "card")
    assert not _patches(figure, "blue box")
    assert not {"q", "k", "v"} & set(_words(figure))
    assert len({to_hex(line.get_edgecolor()) for name in "qkv" for line in _lines(figure, name)}) == 1
    assert figure.get_figwidth() < 9


def _rows(figure):
    """Return the words of each step, from left to right, from the lowest step to the highest."""
    (ax,) = figure.axes
    steps = sorted(_shapes(figure, "step"), key=lambda step: step.get_y())
    texts = sorted(ax.texts, key=lambda text: text.get_window_extent().x0)
    return [
        [text.get_text() for text in texts if step.get_y() < text.get_position()[1] < step.get_y() + step.get_height()]
        for step in steps
    ]


def test_the_staircase_has_a_step_for_each_variant(staircase):
    variants = [describe_variant(number) for number in VARIANTS]
    assert _rows(staircase) == [[str(v.number), v.name, v.adds, str(code_lines(v.number))] for v in variants]
    assert len({variant.adds for variant in variants}) == len(VARIANTS)


def test_the_staircase_is_made_from_the_running_code():
    def attention_of_another_name(q, k, v):
        return q

    third = describe_variant(3)
    unregister(3)
    try:
        register(attention_of_another_name, number=3, adds="another thing", takes=third.takes)
        assert _rows(_draw(plot_staircase))[2] == ["3", "attention_of_another_name", "another thing", "2"]
    finally:
        unregister(3)
        register(third.function, number=3, adds=third.adds, takes=third.takes)


def test_each_step_stands_on_the_one_below_and_begins_further_right(staircase):
    steps = sorted(_shapes(staircase, "step"), key=lambda step: step.get_y())
    for lower, upper in itertools.pairwise(steps):
        assert upper.get_y() == pytest.approx(lower.get_y() + lower.get_height())
        assert upper.get_x() > lower.get_x()
        assert upper.get_x() + upper.get_width() == pytest.approx(lower.get_x() + lower.get_width())


def test_the_words_of_a_step_stand_on_it(staircase):
    figure = staircase
    for step, words in zip(sorted(_shapes(figure, "step"), key=lambda step: step.get_y()), _rows(figure), strict=True):
        assert _inside(figure, step) == sorted(words)


def test_the_staircase_takes_one_more_column():
    differences = {number: f"{number}e-07" for number in VARIANTS}
    figure = _draw(lambda: plot_staircase(column=("difference", differences)))
    assert [row[-2:] for row in _rows(figure)] == [
        [str(code_lines(number)), differences[number]] for number in VARIANTS
    ]
    assert {"difference", "lines of code"} <= set(_words(figure))
