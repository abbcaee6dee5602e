"""Panels: each is a picture of its own, whole, with its labels; nothing of another is in it, and nothing gets lost."""

import base64
import html
import io
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from attention_variants.lab.plots.difference import plot_difference
from attention_variants.lab.plots.heads import plot_heads
from attention_variants.lab.plots.panels import PANELS, panels

pytestmark = pytest.mark.slow

T_q, T_k = 5, 7
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def _nothing_is_left(settings_as_they_were):
    yield
    assert plt.get_fignums() == [], "a notebook would show the figure once more"


def coloured(*colours, **options):
    """A figure with axes beside each other, each full of a colour, with a title and labels."""
    figure, axes = plt.subplots(1, len(colours), figsize=(8, 3), layout="constrained", **options)
    for ax, colour in zip(axes, colours, strict=True):
        ax.set(facecolor=colour, title=colour, xlabel=f"below {colour}", ylabel=f"beside {colour}")
    return figure, axes


def has(picture, colour):
    return bool((np.asarray(picture) == colour).all(-1).any())


def names(cut):
    return [[words for words, _ in row] for row in cut.rows]


def inked_rim(picture):
    """Whether something is cut off at an edge of the picture."""
    ink = (np.asarray(picture) < 250).any(-1)
    return bool(ink[0].any() or ink[-1].any() or ink[:, 0].any() or ink[:, -1].any())


def test_each_panel_is_whole_and_alone():
    figure, _ = coloured("red", "blue")
    cut = panels(figure)
    assert names(cut) == [["red", "blue"]]
    (_, left), (_, right) = cut.rows[0]
    assert has(left, RED)
    assert not has(left, BLUE)
    assert has(right, BLUE)
    assert not has(right, RED)
    assert not inked_rim(left)
    assert not inked_rim(right)
    assert left.height == right.height, "side by side they do not stand on one line"


def test_what_a_notebook_shows():
    figure, axes = coloured("red", "blue")
    axes[0].set_title('a "title" & more')
    cut = panels(figure)
    bundle = cut._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png", "text/html"}
    whole = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGB")
    assert has(whole, RED)
    assert has(whole, BLUE)
    text = bundle["text/html"]
    assert text.startswith(PANELS)
    assert [html.unescape(alt) for alt in re.findall(r'alt="([^"]*)"', text)] == ['a "title" & more', "blue"]
    for (_, panel), stored in zip(cut.rows[0], re.findall(r"base64,([^\"]*)", text), strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(stored))).convert("RGB")), panel)
    assert "class=" not in text.removeprefix(PANELS), "JupyterLab takes style sheets from notebooks it does not trust"
    assert "http" not in text


def test_a_row_fits_a_page_as_wide_as_the_figure_and_no_panel_outgrows_its_size():
    cut = panels(coloured("red", "blue", "green")[0])
    bases = [int(basis) for basis in re.findall(r"flex:\d+ 1 (\d+)px", cut.html)]
    widest = [int(width) for width in re.findall(r"max-width:min\(100%,(\d+)px\)", cut.html)]
    assert widest == [panel.width for _, panel in cut.rows[0]]
    assert 0.6 * 800 < sum(bases) < 800
    assert max(bases) < 358, "on a phone, of which the page takes 16 pixels on each side, a panel is cut"
    assert min(bases) + sorted(bases)[1] > 358, "on a phone two stand beside each other"


def test_four_stand_in_twos_where_they_do_not_fit():
    cut = panels(coloured("red", "blue", "green", "gray")[0])
    rows = re.findall(r"<div style=\"[^\"]*\">|<img", cut.html.replace("\n", ""))
    assert [row[:4] for row in rows] == ["<div"] * 2 + ["<img"] * 2 + ["<div"] + ["<img"] * 2
    assert all("flex-wrap:wrap" in row for row in rows if row.startswith("<div"))


def test_rows_without_labels_get_those_of_the_first():
    weights = torch.full((3, T_q, T_k), 1 / T_k)
    tokens = [f"key number {i}" for i in range(T_k)]
    cut = panels(plot_heads(weights, tokens[:T_q], tokens, ncols=3))
    widths = [panel.width for _, panel in cut.rows[0]]
    assert abs(widths[1] - widths[0]) <= 2, "the second head has no labels of its rows"

    figure, axes = coloured("red", "blue", sharey=True)
    labels = []
    for ax in axes:
        ax.set_ylabel("")
        labels.append(ax)
    axes[0].set_yticks(range(2), ["a very long label", "b"])
    cut = panels(figure)
    assert abs(cut.rows[0][0][1].width - cut.rows[0][1][1].width) <= 2


def test_nothing_gets_lost():
    weights = torch.full((T_q, T_k), 1 / T_k)
    assert names(panels(plot_difference(weights, weights, labels=("one", "other"))))[1] == ["scale"]

    figure, axes = coloured("red", "blue")
    axes[0].plot([0], [0], label="a")
    figure.legend(loc="outside lower center")
    figure.suptitle("above both")
    assert names(panels(figure)) == [["above both"], ["red", "blue"], ["legend"]]

    figure, axes = coloured("red", "blue")
    image = axes[1].imshow([[0.0, 1.0]], cmap="gray")
    figure.colorbar(image, ax=axes)
    assert names(panels(figure)) == [["red", "blue"]]
    figure, axes = coloured("red", "blue")
    image = axes[1].imshow([[0.0, 1.0]], cmap="gray")
    for ax in axes:
        figure.colorbar(image, ax=ax)
    assert names(panels(figure)) == [["red", "blue"]]


def test_a_grid_is_cut_row_by_row_and_other_arrangements_by_column():
    figure, axes = plt.subplots(2, 2, layout="constrained")
    for ax, name in zip(axes.flat, "abcd", strict=True):
        ax.set_title(name)
    assert names(panels(figure)) == [["a", "b"], ["c", "d"]]
    figure, axes = plt.subplot_mosaic([["a", "b"], [".", "c"]], layout="constrained")
    for name, ax in axes.items():
        ax.set_title(name)
    assert names(panels(figure)) == [["a", "b"]], "c stands below b, and stays with it"


def test_an_empty_figure_is_refused():
    figure = plt.figure()
    with pytest.raises(ValueError, match="no axes; draw first"):
        panels(figure)
    plt.close(figure)
