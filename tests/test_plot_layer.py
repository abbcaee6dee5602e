"""The picture of a layer shows the tensors of that layer, and frames what belongs to the head."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from attention_variants.lab.plots.layer import plot_layer
from attention_variants.model import MultiHeadAttention


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return MultiHeadAttention(d_model=12, num_heads=3)


@pytest.fixture
def x():
    return torch.randn(5, 12, generator=torch.Generator().manual_seed(1))


def _shown(figure):
    return {ax.get_label(): np.asarray(ax.images[0].get_array()) for ax in figure.axes}


def _frames(figure, name):
    ax = next(ax for ax in figure.axes if ax.get_label() == name)
    return [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in ax.patches if isinstance(p, Rectangle)]


def test_the_maps_are_what_the_layer_computes(layer, x):
    shown = _shown(plot_layer(layer, x, head=2))
    output, weights = layer(x)
    expected = {
        "x": x,
        "W_q": layer.w_q.weight.T,
        "q": layer.w_q(x),
        "q of the head": layer.w_q(x)[:, 8:12],
        "weights": weights[2],
        "context of the head": weights[2] @ layer.w_v(x)[:, 8:12],
        "context": torch.cat([weights[h] @ layer.w_v(x)[:, 4 * h : 4 * h + 4] for h in range(3)], dim=-1),
        "W_o": layer.w_o.weight.T,
        "output": output,
    }
    assert set(shown) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_allclose(shown[name], tensor.detach().numpy(), atol=1e-6, err_msg=name)


def test_frames_hold_the_columns_of_the_head_its_rows_of_w_o_and_the_token(layer, x):
    figure = plot_layer(layer, x, head=1, row=3)
    assert _frames(figure, "W_q") == [(3.5, -0.5, 4, 12)]
    assert _frames(figure, "q") == [(3.5, -0.5, 4, 5), (-0.5, 2.5, 12, 1)]
    assert _frames(figure, "context") == _frames(figure, "q")
    assert _frames(figure, "W_o") == [(-0.5, 3.5, 12, 4)]
    assert _frames(figure, "x") == _frames(figure, "output") == [(-0.5, 2.5, 12, 1)]


def test_the_words_say_which_head_and_which_token(layer, x):
    figure = plot_layer(layer, x, head=1, row=3, tokens=["a", "b", "c", "$it", "e"])
    words = " ".join(text.get_text() for text in figure.texts)
    assert "columns 4 to 7 of q, k and v are head 1" in words
    assert "each of the 12" in words
    assert "12 columns of the output" in words
    assert [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()] == [r"\$it"] * 3


def test_nothing_is_cut_off_and_no_words_lie_on_a_map(layer, x):
    figure = plot_layer(layer, x, head=1, tokens=["[CLS]", "tokenizer", "is", "here", "."], row=1)
    figure.draw_without_rendering()
    page = figure.get_window_extent()
    maps = [ax.get_window_extent() for ax in figure.axes]
    words = [text.get_window_extent() for text in figure.texts if text.get_text()]
    labels = [label.get_window_extent() for ax in figure.axes for label in ax.get_yticklabels()]
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 for box in [*words, *labels, *maps])
    assert not [box for box in words for other in maps if box.overlaps(other)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": 3}, "head must be from 0 to 2; got 3"),
        ({"row": -1}, "row must be from 0 to 4; got -1"),
        ({"tokens": ["one"]}, "there must be 5 query tokens; got 1"),
    ],
)
def test_what_does_not_fit_is_refused(layer, x, settings, message):
    with pytest.raises(ValueError, match=message):
        plot_layer(layer, x, **settings)


def test_another_width_is_refused(layer, x):
    with pytest.raises(ValueError, match=r"x must be \(T, 12\), as wide as the layer; got \(5, 8\)"):
        plot_layer(layer, x[:, :8])
