"""The pictures show the tensors that they claim to show, legibly, and leave the caller's matplotlib alone."""

import functools
import importlib.util
import itertools
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

from attention_variants.lab.code.trace import trace
from attention_variants.lab.plots.axes import colormap
from attention_variants.lab.plots.chain import plot_chain
from attention_variants.lab.plots.colors import COLORS, OPPOSITES
from attention_variants.lab.plots.difference import plot_difference
from attention_variants.lab.plots.heads import plot_heads
from attention_variants.lab.plots.projection import plot_projection
from attention_variants.lab.plots.weights import plot_weights
from attention_variants.variants import VARIANTS, attention_masked, multihead_attention

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("settings_as_they_were")]

B, T_q, T_k, H, D_K = 2, 5, 7, 2, 4
QUERIES = ["it", "was", "too", "tired", "."]
KEYS = ["[CLS]", "the", "animal", "crossed", "the", "street", "[SEP]"]
SENTENCE = [
    "[CLS]",
    "the",
    "animal",
    "didn",
    "'",
    "t",
    "cross",
    "the",
    "street",
    "because",
    "it",
    "was",
    "too",
    "tired",
    ".",
    "[SEP]",
]
MASK = torch.ones(T_q, T_k, dtype=torch.bool).tril(diagonal=1)
CHAIN = ["q", "k", "scores", "weights", "v", "context"]


def _weights(*lead, queries=T_q, keys=T_k, mask=None):
    torch.manual_seed(0)
    q, k, v = (2 * torch.randn(*lead, n, D_K, dtype=torch.float64) for n in (queries, keys, keys))
    return attention_masked(q, k, v, mask)[1]


def _drawn(ax):
    """Return the numbers of the one picture on these axes, also those under a hatched cell."""
    (image,) = ax.images
    return np.ma.getdata(image.get_array())


def _cells(ax, shape, kind):
    """Return which cells are covered by patches of a kind: hatched, ground (hatched and filled) or black."""
    covered = np.zeros(shape, dtype=bool)
    for patch in ax.patches:
        is_hatched, is_filled = bool(patch.get_hatch()), patch.get_facecolor()[3] > 0
        if {"hatched": is_hatched, "ground": is_hatched and is_filled, "black": not is_hatched and is_filled}[kind]:
            for square in patch.get_path().vertices.reshape(-1, 5, 2):
                (left, top), (right, bottom) = square.min(axis=0), square.max(axis=0)
                assert (right - left, bottom - top) == (1, 1)
                covered[round((top + bottom) / 2), round((left + right) / 2)] = True
    return covered


def _ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def _cell_texts(ax):
    return {tuple(round(x) for x in text.get_position()[::-1]): text.get_text() for text in ax.texts}


def _by_name(figure):
    return {ax.get_label(): ax for ax in figure.axes if ax.get_label() in ("extra", *CHAIN)}


# ------------------------------------------------------------------------------------------------- colours

#: Machado, Oliveira and Fernandes (2009), "A Physiologically-based Model for Simulation of Color Vision Deficiency",
#: table 1, severity 1.0: protanomaly, deuteranomaly, tritanomaly; on linear RGB.
EYES = {
    "trichromat": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _lab(color, eye):
    """Return CIELAB (D65) of a colour as an eye sees it; a distance of 2.3 is just noticeable."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(EYES[eye]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    xyz = xyz / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _distance(one, other, eye):
    return float(np.linalg.norm(_lab(one, eye) - _lab(other, eye)))


@pytest.mark.parametrize("eye", EYES)
def test_every_eye_can_tell_the_six_colours_apart(eye):
    assert list(COLORS) == ["q", "k", "v", "scores", "weights", "context"]
    for one, other in itertools.combinations(COLORS, 2):
        assert _distance(COLORS[one], COLORS[other], eye) > 15, (one, other)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", OPPOSITES)
def test_every_eye_can_tell_negative_from_positive(name, eye):
    colors = colormap(name)
    for low, high in itertools.product(np.linspace(0, 0.35, 8), np.linspace(0.65, 1, 8)):
        assert _distance(colors(low)[:3], colors(high)[:3], eye) > 10, (low, high)


def test_colour_maps_run_from_white_to_the_colour_of_the_tensor():
    assert to_hex(colormap("weights")(0.0)) == "#ffffff"
    for name, color in COLORS.items():
        assert to_hex(colormap(name)(1.0)) == color.lower()
    for name in OPPOSITES:
        assert to_hex(colormap(name)(0.0)) == OPPOSITES[name].lower()
        assert np.allclose(colormap(name)(0.5), 1.0, atol=0.01)
    with pytest.raises(ValueError, match=r"one of q, k, v, .*; got 'heat'"):
        colormap("heat")


# -------------------------------------------------------------------------------------------- plot_weights


def test_weights_are_drawn_as_they_are_on_a_scale_from_0_to_1():
    weights = _weights() / 2  # whatever the largest is
    ax = plot_weights(weights)
    assert np.array_equal(_drawn(ax), weights.numpy())
    assert ax.images[0].get_clim() == (0, 1)
    assert ax.images[0].cmap == colormap("weights")
    assert ax.get_ylim() == (T_q - 0.5, -0.5)  # the first query is at the top
    assert ax.get_xlim() == (-0.5, T_k - 0.5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")


def test_tokens_label_rows_and_columns():
    ax = plot_weights(_weights(), QUERIES, KEYS, title="head 1")
    assert _ticks(ax.yaxis) == QUERIES
    assert _ticks(ax.xaxis) == KEYS
    assert list(ax.get_yticks()) == list(range(T_q))
    assert list(ax.get_xticks()) == list(range(T_k))
    assert all(tick.label2.get_visible() and not tick.label1.get_visible() for tick in ax.xaxis.get_major_ticks())
    assert ax.get_title() == "head 1"


def test_without_tokens_positions_are_numbered():
    ax = plot_weights(_weights())
    assert _ticks(ax.yaxis) == [str(i) for i in range(T_q)]
    assert _ticks(ax.xaxis) == [str(i) for i in range(T_k)]
    wide = plot_weights(_weights(queries=64, keys=64))
    assert list(map(int, _ticks(wide.xaxis))) == list(wide.get_xticks())


def test_a_token_that_looks_like_a_formula_or_a_new_line_is_written_as_it_is():
    ax = plot_weights(torch.eye(3), ["$a$", "\n", "_"], ["a", "b", "c"])
    assert _ticks(ax.yaxis) == [r"\$a\$", r"\n", "_"]
    ax.figure.canvas.draw()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_of_any_dtype_that_require_gradients_are_drawn_and_left_alone(dtype):
    weights = _weights().to(dtype).requires_grad_()
    copy = weights.detach().clone()
    ax = plot_weights(weights, mask=MASK)
    assert np.array_equal(_drawn(ax), copy.double().numpy())
    assert torch.equal(weights, copy)
    assert weights.requires_grad
    assert weights.grad is None


@pytest.mark.parametrize("mask", [MASK, MASK[:1], MASK[:, :1], MASK[2], torch.zeros(T_q, T_k, dtype=torch.bool)])
def test_exactly_the_blocked_cells_are_hatched(mask):
    blocked = ~mask.expand(T_q, T_k)
    ax = plot_weights(_weights(mask=mask), mask=mask)
    assert np.array_equal(_cells(ax, (T_q, T_k), "hatched"), blocked.numpy())
    legend = [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
    assert legend == ["blocked"] * bool(blocked.any())


def test_without_a_mask_nothing_is_hatched():
    for ax in (plot_weights(_weights(mask=MASK)), plot_weights(_weights(), mask=torch.ones(T_q, T_k).bool())):
        assert not _cells(ax, (T_q, T_k), "hatched").any()
        assert ax.get_legend() is None


def test_a_weight_that_leaks_into_a_blocked_cell_is_seen():
    weights = _weights(mask=MASK)
    weights[0, 5] = 0.7
    ax = plot_weights(weights, mask=MASK, values=True)
    ground = ~MASK.numpy()
    ground[0, 5] = False
    assert np.array_equal(_cells(ax, (T_q, T_k), "hatched"), ~MASK.numpy())
    assert np.array_equal(_cells(ax, (T_q, T_k), "ground"), ground)
    assert _cell_texts(ax)[0, 5] == "0.70"


def test_nan_is_black_and_said():
    weights = _weights()
    weights[1, 2] = torch.nan
    ax = plot_weights(weights)
    assert np.array_equal(_cells(ax, (T_q, T_k), "black"), torch.isnan(weights).numpy())
    assert _cell_texts(ax)[1, 2] == "NaN"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["NaN"]
    weights[0, 0] = torch.inf
    ax = plot_weights(weights)
    assert np.array_equal(_cells(ax, (T_q, T_k), "black"), ~torch.isfinite(weights).numpy())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["NaN or infinite"]


def test_nan_in_a_blocked_cell_of_the_weights_is_black_and_said():
    weights = _weights(mask=MASK)
    weights[~MASK] = torch.nan
    ax = plot_weights(weights, mask=MASK)
    assert np.array_equal(_cells(ax, (T_q, T_k), "black"), ~MASK.numpy())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["blocked", "NaN"]


def test_numbers_stand_in_the_cells_that_are_not_blocked():
    weights = _weights(mask=MASK)
    expected = {(i, j): f"{weights[i, j]:.2f}" for i in range(T_q) for j in range(T_k) if MASK[i, j]}
    assert _cell_texts(plot_weights(weights, mask=MASK)) == expected
    assert _cell_texts(plot_weights(weights, mask=MASK, values=False)) == {}
    small = _weights(queries=20, keys=20)
    assert _cell_texts(plot_weights(small)) == {}
    assert len(_cell_texts(plot_weights(small, values=True))) == 400


def test_axes_that_are_given_are_drawn_on():
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    assert plot_weights(_weights(), ax=right, colorbar=False) is right
    assert len(left.images) == 0
    assert len(right.images) == 1
    assert plt.get_fignums() == [figure.number]
    assert len(figure.axes) == 2
    plot_weights(_weights(), ax=left)
    assert len(figure.axes) == 3  # and the scale


def test_axes_of_a_subfigure_are_drawn_on():
    figure = plt.figure(layout="constrained")
    upper, lower = figure.subfigures(2, 1)
    assert plot_weights(_weights(), ax=upper.subplots()).figure is upper
    assert plot_chain(_chain(), ["q", "v"], axes=list(lower.subplots(1, 2))) is figure
    figure.canvas.draw()


def test_the_scale_can_be_left_out():
    assert len(plot_weights(_weights(), colorbar=False).figure.axes) == 1
    assert len(plot_weights(_weights(), colorbar=False).child_axes) == 0
    ax = plot_weights(_weights())
    assert [scale.get_ylabel() for scale in ax.child_axes] == ["weight"]


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.rand(H, T_q, T_k), ValueError, r"\(T_q, T_k\); got \(2, 5, 7\)\. plot_heads draws"),
        (
            torch.rand(B, H, T_q, T_k),
            ValueError,
            r"got \(2, 2, 5, 7\)\. Choose a batch item: plot_heads\(weights\[0\]\)",
        ),
        (torch.rand(T_k), ValueError, r"got \(7,\)"),
        (torch.rand(0, T_k), ValueError, r"something to draw; got the shape \(0, 7\)"),
        (None, TypeError, "got None. Weights come only with need_weights=True"),
        ([[0.5, 0.5]], TypeError, "must be a torch.Tensor; got list"),
    ],
)
def test_what_are_no_weights_of_one_head_is_refused(weights, error, message):
    with pytest.raises(error, match=f"^plot_weights: weights.*{message}"):
        plot_weights(weights)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("queries", "keys", "message"),
    [
        (QUERIES[:4], KEYS, "has 5 queries, so there must be 5 query tokens; got 4"),
        (QUERIES, [*KEYS, "x"], "has 7 keys, so there must be 7 key tokens; got 8"),
    ],
)
def test_a_wrong_number_of_tokens_is_refused(queries, keys, message):
    with pytest.raises(ValueError, match=f"^plot_weights: weights {message}"):
        plot_weights(_weights(), queries, keys)
    with pytest.raises(ValueError, match=f"^plot_heads: weights {message}"):
        plot_heads(_weights(H), queries, keys)
    with pytest.raises(ValueError, match=f"^plot_difference: weights {message}"):
        plot_difference(_weights(), _weights(), queries, keys)
    with pytest.raises(ValueError, match=f"{message}"):
        plot_chain({"weights": _weights()}, ["weights"], query_tokens=queries, key_tokens=keys)
    assert plt.get_fignums() == []


def test_a_mask_that_does_not_fit_is_refused():
    for mask in (MASK.T, MASK.expand(2, T_q, T_k)):
        with pytest.raises(ValueError, match=r"^plot_weights: mask must broadcast .*\(5, 7\); got \("):
            plot_weights(_weights(), mask=mask)
    for mask in (MASK.float(), MASK.int(), MASK.tolist()):
        with pytest.raises(TypeError, match=r"mask must be .*True = may attend; got"):
            plot_weights(_weights(), mask=mask)
        with pytest.raises(TypeError, match=r"mask must be .*True = may attend; got"):
            plot_chain({"weights": _weights()}, ["weights"], mask=mask)


# ---------------------------------------------------------------------------------------------- plot_heads


def test_each_head_is_drawn_on_one_scale():
    heads = 6
    weights = _weights(heads)
    figure = plot_heads(weights, QUERIES, KEYS)
    for h in range(heads):
        ax = figure.axes[h]
        assert np.array_equal(_drawn(ax), weights[h].numpy())
        assert ax.images[0].get_clim() == (0, 1)
        assert ax.get_title() == f"head {h}"
    assert len(figure.axes) == heads + 1  # and one scale for all
    assert figure.axes[-1].get_ylabel() == "weight"


def test_only_the_outer_heads_are_labelled():
    figure = plot_heads(_weights(6), QUERIES, KEYS, ncols=4)
    figure.canvas.draw()
    for h, ax in enumerate(figure.axes[:6]):
        left = [label for label in ax.yaxis.get_ticklabels() if label.get_visible()]
        top = [tick.label2 for tick in ax.xaxis.get_major_ticks() if tick.label2.get_visible()]
        assert [text.get_text() for text in left] == (QUERIES if h % 4 == 0 else [])
        assert [text.get_text() for text in top] == (KEYS if h < 4 else [])
        assert ax.get_ylabel() == ("query" if h % 4 == 0 else "")
        assert ax.get_xlabel() == ("key" if h < 4 else "")


def test_heads_are_hatched_by_their_masks():
    masks = torch.stack([MASK, ~MASK.roll(1, 0)])
    figure = plot_heads(_weights(H, mask=masks), mask=masks)
    for h in range(H):
        assert np.array_equal(_cells(figure.axes[h], (T_q, T_k), "hatched"), ~masks[h].numpy())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["blocked"]
    shared = plot_heads(_weights(H, mask=MASK), mask=MASK)
    for h in range(H):
        assert np.array_equal(_cells(shared.axes[h], (T_q, T_k), "hatched"), ~MASK.numpy())


def test_heads_take_columns_titles_and_a_size():
    figure = plot_heads(_weights(3), ncols=2, titles=["a", "b", "c"], figsize=(5, 6))
    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "b", "c"]
    assert tuple(figure.get_size_inches()) == (5, 6)
    figure.canvas.draw()
    first, second, third = (ax.get_position() for ax in figure.axes[:3])
    assert second.x0 > first.x1
    assert second.y0 == pytest.approx(first.y0)
    assert third.y1 < first.y0
    assert third.x0 == pytest.approx(first.x0, abs=0.01)


def test_what_are_no_heads_is_refused():
    with pytest.raises(ValueError, match=r"\(H, T_q, T_k\); got \(5, 7\)\. plot_weights draws one head"):
        plot_heads(_weights())
    with pytest.raises(ValueError, match=r"got \(2, 2, 5, 7\)\. Choose a batch item: plot_heads\(weights\[0\]\)"):
        plot_heads(_weights(B, H))
    with pytest.raises(ValueError, match="one for each of the 2 heads; got 1"):
        plot_heads(_weights(H), titles=["only one"])
    with pytest.raises(ValueError, match="ncols must be at least 1; got 0"):
        plot_heads(_weights(H), ncols=0)
    with pytest.raises(ValueError, match="mask must broadcast"):
        plot_heads(_weights(H), mask=MASK.expand(3, T_q, T_k))


# ---------------------------------------------------------------------------------------------- plot_chain


def _chain(*lead, mask=None, variant=4, **options):
    torch.manual_seed(0)
    q, k, v = (torch.randn(*lead, n, D_K) for n in (T_q, T_k, T_k))
    arguments = (q, k, v) if variant < 4 else (q, k, v, mask)
    return trace(VARIANTS[variant], *arguments, **options)


@pytest.mark.parametrize("variant", [1, 2, 4])
def test_the_chain_is_what_the_variant_computed(variant):
    traced = _chain(variant=variant)
    axes = _by_name(plot_chain(traced))
    assert list(axes) == CHAIN
    for name, ax in axes.items():
        expected = traced[name].T if name == "k" else traced[name]
        assert np.array_equal(_drawn(ax), expected.double().numpy())
        assert ax.get_title() == f"{'kᵀ' if name == 'k' else name}\n{tuple(expected.shape)}"
        assert ax.images[0].cmap == colormap(name)
        assert to_hex(ax.spines["left"].get_edgecolor()) == COLORS[name].lower()


def test_the_chain_is_scaled_from_0_to_1_for_weights_and_around_0_otherwise():
    traced = _chain()
    for name, ax in _by_name(plot_chain(traced)).items():
        largest = float(traced[name].abs().max())
        low, high = ax.images[0].get_clim()
        assert (low, high) == ((0, 1) if name == "weights" else (-largest, largest))
        (scale,) = ax.child_axes
        written = [text.get_text().replace("−", "-") for text in scale.texts]
        assert written == [f"{low:.2g}", f"{high:.2g}"]


@pytest.mark.parametrize("tokens", [{}, {"query_tokens": QUERIES, "key_tokens": KEYS}])
def test_the_chain_reads_from_left_to_right(tokens):
    figure = plot_chain(_chain(), **tokens)
    axes = list(_by_name(figure).values())
    lines = [axes] if not tokens else [axes[:3], axes[3:]]
    for line in lines:
        assert all(one.get_position().x1 < other.get_position().x0 for one, other in itertools.pairwise(line))
        middles = {round((ax.get_position().y0 + ax.get_position().y1) / 2, 6) for ax in line}
        assert len(middles) == 1
    assert lines[0][0].get_position().y0 > lines[-1][0].get_position().y1 or len(lines) == 1
    signs = [text.get_text() for text in figure.texts]
    assert signs == ["×", "=", r"$/\sqrt{d_k}$", "→", "softmax", "×", "="]
    marks = [text for text in figure.texts if text.get_text() in "×=→"]
    for mark, after in zip(marks, axes[1:], strict=True):
        x, y = mark.get_position()
        box = after.get_position()
        assert box.y0 < y < box.y1
        assert box.x0 - 0.15 < x < box.x0


def test_the_cells_of_a_chain_have_one_size_so_that_what_is_multiplied_fits():
    figure = plot_chain(_chain(), query_tokens=QUERIES, key_tokens=KEYS)
    width, height = figure.get_size_inches()
    axes = _by_name(figure)
    boxes = {name: ax.get_position() for name, ax in axes.items()}
    high = {name: box.height * height for name, box in boxes.items()}
    wide = {name: box.width * width for name, box in boxes.items()}
    assert high["q"] == pytest.approx(high["scores"])
    assert high["q"] == pytest.approx(high["context"])
    assert wide["q"] == pytest.approx(high["k"])
    assert wide["weights"] == pytest.approx(high["v"])
    assert wide["scores"] / T_k == pytest.approx(high["scores"] / T_q)


def test_the_chain_chooses_a_batch_item_and_a_head():
    torch.manual_seed(0)
    q, k, v = (torch.randn(B, n, H * D_K) for n in (T_q, T_k, T_k))
    traced = trace(multihead_attention, q, k, v, None, H)
    axes = _by_name(plot_chain(traced, index=(1, 0)))
    assert np.array_equal(_drawn(axes["q"]), traced["q"][1, 0].double().numpy())
    assert np.array_equal(_drawn(axes["weights"]), traced["weights"][1, 0].double().numpy())
    assert np.array_equal(_drawn(axes["context"]), traced["context"][1].double().numpy())  # the heads are merged
    assert axes["q"].get_title() == f"q[1, 0]\n{(T_q, D_K)}"
    assert axes["context"].get_title() == f"context[1]\n{(T_q, H * D_K)}"
    (first,) = _by_name(plot_chain(traced, ["context"], index=1)).values()
    assert np.array_equal(_drawn(first), traced["context"][1].double().numpy())


def test_tokens_label_the_chain():
    axes = _by_name(plot_chain(_chain(), query_tokens=QUERIES, key_tokens=KEYS))
    assert _ticks(axes["q"].yaxis) == QUERIES
    assert _ticks(axes["weights"].yaxis) == QUERIES
    assert _ticks(axes["v"].yaxis) == KEYS
    for name in ("k", "scores", "weights"):
        assert _ticks(axes[name].xaxis) == KEYS
    for name in ("q", "v", "context"):
        assert axes[name].get_xlabel() == "feature"
        assert _ticks(axes[name].xaxis) == []
    same = _by_name(plot_chain({"weights": torch.eye(3)}, ["weights"], tokens=["a", "b", "c"]))
    assert _ticks(same["weights"].yaxis) == _ticks(same["weights"].xaxis) == ["a", "b", "c"]


@pytest.mark.parametrize("given", [True, False])
def test_the_chain_hatches_what_the_mask_blocks(given):
    traced = _chain(mask=MASK)
    tensors = {name: traced[name] for name in CHAIN} if given else traced
    axes = _by_name(plot_chain(tensors, mask=MASK if given else None))
    for name, ax in axes.items():
        blocked = ~MASK.numpy() if name in ("scores", "weights") else np.zeros(_drawn(ax).shape, dtype=bool)
        assert np.array_equal(_cells(ax, _drawn(ax).shape, "hatched"), blocked)
    assert [text.get_text() for text in axes["q"].figure.legends[0].get_texts()] == ["blocked"]


def test_what_a_mask_leaves_in_the_scores_does_not_spoil_their_scale():
    traced = _chain(mask=MASK)
    assert traced["scores"].min() < -1e30
    largest = float(traced["scores"][MASK].abs().max())
    for tensors in (traced, {"scores": traced["scores"]}, {"scores": traced["scores"].clamp(min=-1e9), "mask": MASK}):
        (ax,) = _by_name(plot_chain(tensors, ["scores"])).values()
        assert ax.images[0].get_clim() == (-largest, largest)
        assert np.array_equal(_cells(ax, (T_q, T_k), "ground"), ~MASK.numpy())


@pytest.mark.parametrize(
    ("shape", "index", "chosen"),
    [
        ((B, T_q, T_k), (1,), (1,)),
        ((B, H, T_q, T_k), (1, 0), (1, 0)),
        ((B, 1, T_q, T_k), (1, 1), (1, 0)),
        ((H, T_q, T_k), (0, 1), (1,)),
        ((1, T_q, T_k), (1, 1), (0,)),
        ((B, 1, 1, T_k), (1, 1), (1, 0)),
    ],
)
def test_the_mask_of_the_chain_is_that_of_the_batch_item_and_head(shape, index, chosen):
    torch.manual_seed(0)
    mask = torch.rand(shape) > 0.4
    weights = torch.rand(*((B, H) if len(index) == 2 else (B,)), T_q, T_k)
    (ax,) = _by_name(plot_chain({"weights": weights, "mask": mask}, ["weights"], index=index)).values()
    assert np.array_equal(_cells(ax, (T_q, T_k), "hatched"), ~mask[chosen].expand(T_q, T_k).numpy())


def test_the_chain_writes_values_when_asked():
    traced = _chain()
    axes = _by_name(plot_chain(traced, values=True))
    weights = traced["weights"]
    assert _cell_texts(axes["weights"]) == {(i, j): f"{weights[i, j]:.2f}" for i in range(T_q) for j in range(T_k)}
    assert _cell_texts(axes["q"])[0, 0].replace("−", "-") == f"{traced['q'][0, 0]:.2f}"
    assert _cell_texts(_by_name(plot_chain(traced))["weights"]) == {}


def test_the_chain_draws_what_is_named_on_the_axes_that_are_given():
    traced = _chain()
    figure, axes = plt.subplots(1, 3)
    tensors = {"extra": torch.rand(3, 3), "q": traced["q"], "v": traced["v"]}
    assert plot_chain(tensors, ["v", "extra", "q"], axes=axes) is figure
    assert plt.get_fignums() == [figure.number]
    assert [ax.get_label() for ax in axes] == ["q", "v", "extra"]
    for ax in axes:
        assert np.array_equal(_drawn(ax), tensors[ax.get_label()].double().numpy())
    assert figure.texts == []


@pytest.mark.parametrize("names", [["weights"], ["q", "k", "v", "context"], ["extra", "q"], ["extra"]])
def test_part_of_a_chain_can_be_drawn(names):
    traced = _chain()
    tensors = {**{name: traced[name] for name in CHAIN}, "extra": torch.rand(3, 4)}
    figure = plot_chain(tensors, names)
    assert sorted(_by_name(figure)) == sorted(names)
    signs = {"weights": [], "v": ["×"], "extra": []}
    expected = next(found for name, found in signs.items() if name in names) + ["="] * ("context" in names)
    assert [text.get_text() for text in figure.texts] == expected
    assert sorted(_by_name(plot_chain(tensors, names * 2))) == sorted(names)


def test_one_name_can_be_given_alone():
    assert list(_by_name(plot_chain(_chain(), "weights"))) == ["weights"]


@pytest.mark.parametrize(("factor", "said"), [(1.0, True), (D_K**0.5, False), (D_K**-0.5, False), (torch.nan, False)])
def test_the_chain_says_that_scores_are_scaled_only_if_they_are(factor, said):
    traced = _chain(mask=MASK)
    scores = torch.where(MASK, traced["scores"] * factor, traced["scores"])
    tensors = {"q": traced["q"], "k": traced["k"], "scores": scores.half(), "mask": MASK}
    figure = plot_chain(tensors, ["q", "k", "scores"])
    assert (r"$/\sqrt{d_k}$" in [text.get_text() for text in figure.texts]) is said


def test_what_cannot_be_chained_is_refused():
    traced = _chain()
    with pytest.raises(ValueError, match=r"no tensor named 'attention', only q, k, v, .*choose by names="):
        plot_chain(traced, ["q", "attention"])
    with pytest.raises(ValueError, match="at least one tensor; there are q, k, v"):
        plot_chain(traced, [])
    with pytest.raises(ValueError, match="axes must be 2, for q, v; got 1"):
        plot_chain(traced, ["q", "v"], axes=[plt.figure().add_subplot()])
    with pytest.raises(ValueError, match=r"plot_chain: q has the shape \(2, 5, 4\); .*such as index=\(0,\)"):
        plot_chain(_chain(B))
    with pytest.raises(ValueError, match=r"plot_chain: q has the shape \(2, 5, 4\), which has no index \(2,\)"):
        plot_chain(_chain(B), index=(2,))
    with pytest.raises(ValueError, match=r"plot_chain: x must have two dimensions; got the shape \(3,\)"):
        plot_chain({"x": torch.rand(3)}, ["x"])
    with pytest.raises(TypeError, match="plot_chain: weights must be a tensor; got None"):
        plot_chain({"weights": None}, ["weights"])


# ----------------------------------------------------------------------------------------- plot_difference


@pytest.mark.parametrize("shown", [("q", "k", "scores"), ("weights", "v", "context")])
def test_three_small_maps_with_numbers_stand_in_one_row_each_with_its_labels(shown):
    torch.manual_seed(0)
    tokens = ["animal", "street", "it"]
    figure = plot_chain(trace(VARIANTS[1], *torch.randn(3, 3, 2)), shown, tokens=tokens, values=True)
    axes = {ax.get_label(): ax for ax in figure.axes if ax.get_label() in shown}
    assert [list(axes).index(name) for name in shown] == sorted(
        range(3), key=lambda i: axes[shown[i]].get_position().x0
    )
    middles = [ax.get_position().y0 + ax.get_position().y1 for ax in axes.values()]
    assert max(middles) - min(middles) < 1e-6
    for name in set(shown) - {"k"}:
        assert [label.get_text() for label in axes[name].get_yticklabels()] == tokens, name


# A projection.


def _projection():
    torch.manual_seed(0)
    return torch.randn(T_q, D_K), torch.randn(D_K, 3), torch.randn(3)


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("biased", [True, False])
def test_a_projection_is_x_times_the_matrix_plus_the_bias(name, biased):
    x, matrix, bias = _projection()
    figure = plot_projection(x, matrix, bias if biased else None, name=name)
    shown = {ax.get_label(): np.asarray(ax.images[0].get_array()) for ax in figure.axes}
    expected = {"x": x, "W": matrix, name: torch.nn.functional.linear(x, matrix.T, bias if biased else None)}
    if biased:
        expected["b"] = bias[None]
    assert set(shown) == set(expected)
    for part, tensor in expected.items():
        np.testing.assert_allclose(shown[part], tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_the_row_and_the_column_of_a_projection_cross_in_what_they_make():
    figure = plot_projection(*_projection(), tokens=QUERIES)
    at = {ax.get_label(): ax.get_position() for ax in figure.axes}
    np.testing.assert_allclose([at["x"].y0, at["x"].y1], [at["q"].y0, at["q"].y1])
    np.testing.assert_allclose([at["W"].x0, at["W"].x1], [at["q"].x0, at["q"].x1])
    np.testing.assert_allclose([at["b"].x0, at["b"].x1], [at["q"].x0, at["q"].x1])
    assert at["x"].x1 < at["q"].x0
    assert at["W"].y0 > at["b"].y1 > at["b"].y0 > at["q"].y1


def test_one_row_goes_in_and_one_comes_out():
    figure = plot_projection(*_projection(), tokens=QUERIES, row=3)
    framed = {ax.get_label(): [patch.get_bbox().extents.tolist() for patch in ax.patches] for ax in figure.axes}
    assert framed == {"x": [[-0.5, 2.5, D_K - 0.5, 3.5]], "q": [[-0.5, 2.5, 2.5, 3.5]], "W": [], "b": []}


def test_a_few_large_numbers_do_not_hide_all_others():
    x, matrix, bias = _projection()
    x = x.repeat(40, 10)
    x[0, 0] = 1000.0
    figure = plot_projection(x, matrix.repeat(10, 1), bias)
    (ax,) = [ax for ax in figure.axes if ax.get_label() == "x"]
    assert ax.images[0].get_clim()[1] < 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(5)}, r"x must be \(T, d_model\).*got \(5,\) and \(4, 3\)"),
        ({"matrix": torch.ones(3, 4)}, r"got \(5, 4\) and \(3, 4\). Of an nn.Linear, the matrix is weight.T"),
        ({"bias": torch.ones(4)}, r"bias must be \(3,\), a number a column; got \(4,\)"),
        ({"name": "w"}, r'name must be "q", "k" or "v"; got \'w\''),
        ({"row": 5}, r"row must be from 0 to 4; got 5"),
        ({"tokens": ["it"]}, r"x has 5 queries, so there must be 5 query tokens; got 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_is_no_projection_is_refused(change, message):
    x, matrix, bias = _projection()
    arguments = {"x": x, "matrix": matrix, "bias": bias} | change
    with pytest.raises(ValueError, match=message):
        plot_projection(arguments.pop("x"), arguments.pop("matrix"), arguments.pop("bias"), **arguments)


def test_two_maps_and_their_difference_are_drawn():
    a, b = _weights(), _weights(mask=MASK)
    figure = plot_difference(a, b, QUERIES, KEYS, labels=("all", "causal"))
    first, second, third = figure.axes[:3]
    assert np.array_equal(_drawn(first), a.numpy())
    assert np.array_equal(_drawn(second), b.numpy())
    assert np.array_equal(_drawn(third), (a - b).numpy())
    largest = float((a - b).abs().max())
    assert [ax.images[0].get_clim() for ax in (first, second, third)] == [(0, 1), (0, 1), (-largest, largest)]
    assert [ax.get_title() for ax in (first, second, third)] == [
        "all",
        "causal",
        f"all − causal\nlargest difference {largest:.2g}",
    ]
    assert _ticks(first.yaxis) == QUERIES
    assert _ticks(third.xaxis) == KEYS


@pytest.mark.parametrize(
    ("gap", "said"),
    [(0.0, "< 1e-12"), (3e-17, "< 1e-12"), (2e-8, "< 1e-5"), (4e-4, "< 0.001"), (0.25, "0.25"), (torch.nan, "NaN")],
)
def test_the_largest_difference_reads_the_same_on_every_machine(gap, said):
    a = torch.zeros(T_q, T_k, dtype=torch.float64)
    b = a.clone()
    b[1, 2] = gap
    third = plot_difference(a, b).axes[2]
    assert third.get_title().endswith(f"largest difference {said}")
    low, high = third.images[0].get_clim()
    assert (-low, high) == ((max(gap, 1e-3),) * 2 if gap == gap else (1, 1))  # rounding stays white


def test_contexts_share_a_scale_around_0():
    torch.manual_seed(0)
    a = torch.randn(T_q, D_K)
    b = 3 * a
    figure = plot_difference(a, b, QUERIES, name="context")
    largest = float(b.abs().max())
    assert figure.axes[0].images[0].get_clim() == figure.axes[1].images[0].get_clim() == (-largest, largest)
    assert figure.axes[0].images[0].cmap == colormap("context")
    assert _ticks(figure.axes[0].yaxis) == QUERIES
    assert figure.axes[0].get_xlabel() == "feature"


def test_the_difference_hatches_what_the_mask_blocks():
    figure = plot_difference(_weights(mask=MASK), _weights(mask=MASK), mask=MASK)
    for ax in figure.axes[:3]:
        assert np.array_equal(_cells(ax, (T_q, T_k), "hatched"), ~MASK.numpy())
    leaks = plot_difference(_weights(), _weights(mask=MASK), mask=MASK)
    assert not _cells(leaks.axes[2], (T_q, T_k), "ground").any()


def test_what_a_mask_leaves_in_the_scores_does_not_spoil_their_difference():
    scores = _chain(mask=MASK)["scores"]
    other = torch.where(MASK, scores + 0.5, scores)
    figure = plot_difference(scores, other, name="scores")
    largest = float(torch.maximum(scores[MASK].abs(), other[MASK].abs()).max())
    assert [ax.images[0].get_clim()[1] for ax in figure.axes[:3]] == [largest, largest, pytest.approx(0.5)]
    for ax in figure.axes[:3]:
        assert np.array_equal(_cells(ax, (T_q, T_k), "ground"), ~MASK.numpy())


def test_the_difference_is_drawn_on_the_axes_that_are_given():
    figure, axes = plt.subplots(1, 3, layout="constrained")
    assert plot_difference(_weights(), _weights(), axes=axes) is figure
    assert plt.get_fignums() == [figure.number]
    assert all(len(ax.images) == 1 for ax in axes)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"both must have one shape; got \(5, 7\) and \(7, 7\)"):
        plot_difference(_weights(), _weights(queries=T_k))
    with pytest.raises(ValueError, match=r"plot_difference: b must have two dimensions; got the shape \(2, 5, 7\)"):
        plot_difference(_weights(), _weights(B))
    with pytest.raises(ValueError, match=r"name must be one of q, .*; got 'heat'"):
        plot_difference(_weights(), _weights(), name="heat")
    with pytest.raises(ValueError, match="axes must be three; got 1"):
        plot_difference(_weights(), _weights(), axes=[plt.figure().add_subplot()])


# ---------------------------------------------------------------------------------------------- all of them

CAUSAL = torch.ones(16, 16, dtype=torch.bool).tril()


def _sentence(*lead, **options):
    return _weights(*lead, queries=16, keys=16, **options)


def _long_chain():
    torch.manual_seed(0)
    return trace(attention_masked, *torch.randn(3, 16, 32), CAUSAL)


FIGURES = {
    "weights": lambda: plot_weights(_sentence(mask=CAUSAL), SENTENCE, SENTENCE, mask=CAUSAL, title="head 1").figure,
    "weights, small": lambda: plot_weights(_weights()[:1, :2], ["because"], ["it", "was"], title="one query").figure,
    "weights, large": lambda: plot_weights(_weights(queries=50, keys=50), ["token"] * 50, ["token"] * 50).figure,
    "heads": lambda: plot_heads(_sentence(12, mask=CAUSAL), SENTENCE, SENTENCE, mask=CAUSAL),
    "heads, two": lambda: plot_heads(_weights(H), QUERIES, KEYS),
    "chain": lambda: plot_chain(_chain()),
    "chain, loops": lambda: plot_chain(_chain(variant=1), query_tokens=QUERIES, key_tokens=KEYS, values=True),
    "chain, sentence": lambda: plot_chain(_long_chain(), tokens=SENTENCE),
    "projection": lambda: plot_projection(*_projection(), tokens=QUERIES, row=2, values=True),
    "projection, sentence": lambda: plot_projection(
        torch.randn(16, 384), torch.randn(384, 32), torch.randn(32), tokens=SENTENCE, row=10
    ),
    "difference": lambda: plot_difference(
        _sentence(mask=CAUSAL), _sentence(), SENTENCE, SENTENCE, mask=CAUSAL, labels=("variant 3", "variant 4")
    ),
    "difference, small": lambda: plot_difference(_weights(), _weights(), QUERIES, KEYS),
}


@functools.cache
def _drawn_figure(name):
    figure = FIGURES[name]()
    assert plt.gcf() is figure, "a figure of pyplot's, so that a notebook shows it"
    figure.canvas.draw()
    return figure


@pytest.mark.parametrize("name", FIGURES)
def test_figures_belong_to_pyplot_fit_the_page_and_nothing_is_cut_off(name):
    figure = _drawn_figure(name)
    width, height = figure.get_size_inches()
    assert width <= 10.001
    renderer = FigureCanvasAgg(figure).get_renderer()
    inches = figure.get_tightbbox(renderer)
    boxes = [artist.get_window_extent(renderer) for artist in (*figure.legends, *figure.texts)]
    for x0, y0, x1, y1 in [inches.extents, *(box.extents / figure.dpi for box in boxes)]:
        assert -0.01 <= x0 <= x1 <= width + 0.01
        assert -0.01 <= y0 <= y1 <= height + 0.01


@pytest.mark.parametrize("name", FIGURES)
def test_labels_are_legible_and_do_not_run_into_each_other(name):
    figure = _drawn_figure(name)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in figure.findobj(Text):
        assert text.get_fontsize() >= 8 or not text.get_text() or not text.get_visible()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            shown = [text for text in axis.get_ticklabels() + axis.get_ticklabels(which="both") if text.get_text()]
            for one, other in itertools.pairwise(sorted(set(shown), key=lambda text: text.get_position())):
                first, second = one.get_window_extent(renderer), other.get_window_extent(renderer)
                if one.get_rotation() == 45:  # parallel lines: what counts is how far apart they are across the slope
                    assert (second.x0 - first.x0) * 0.5**0.5 >= one.get_fontsize() / 72 * figure.dpi
                else:
                    across = min(first.x1, second.x1) - max(first.x0, second.x0)
                    down = min(first.y1, second.y1) - max(first.y0, second.y0)
                    assert min(across, down) <= 1.0, (one.get_text(), other.get_text())  # in dots


@pytest.mark.parametrize("function", [colormap, plot_weights, plot_heads, plot_chain, plot_projection, plot_difference])
def test_importing_changes_no_settings(function):
    settings = dict(matplotlib.rcParams)
    module = sys.modules[function.__module__]
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_once_more", module.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert dict(matplotlib.rcParams) == settings


def test_nothing_is_shown_unasked(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("plt.show was called"))
    plot_weights(_weights())
    plot_heads(_weights(H))
    plot_chain(_chain())
    plot_projection(*_projection())
    plot_difference(_weights(), _weights())


@pytest.mark.parametrize("layout", [None, "tight", "constrained"])
@pytest.mark.parametrize("size", [(9, 2.5), (5, 5)])
def test_a_scale_beside_given_axes_is_as_high_as_the_map(layout, size):
    figure, axes = plt.subplots(1, 2, figsize=size, layout=layout)
    for ax in axes:
        plot_weights(torch.full((2, 5), 0.2), ax=ax)
    figure.canvas.draw()
    for ax, scale in zip(axes, figure.axes[2:], strict=True):
        found, expected = scale.get_window_extent(), ax.get_window_extent()
        assert (found.y0, found.y1) == pytest.approx((expected.y0, expected.y1), abs=0.5)
        assert expected.x1 < found.x0 < expected.x1 + 20
    if layout:
        assert figure.axes[2].get_tightbbox().x1 < axes[1].get_window_extent().x0
