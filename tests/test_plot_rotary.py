"""Pictures and film of rotary positions show what `apply_rotary` computed, and which columns are a pair."""

from __future__ import annotations

import math
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Rectangle
from matplotlib.quiver import Quiver

import attention_variants as av
from attention_variants.lab.animation import turning
from attention_variants.lab.animation.turning import turned_pairs

Q, K = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 1.0])
STEPS = [(0, 0), (3, 0), (4, 1), (1, 2)]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def arrows(ax):
    return [one for one in ax.collections if isinstance(one, Quiver)]


# --------------------------------------------------------------------------------------------------- turned points


def test_each_row_is_an_arrow_on_the_circle_of_its_length():
    points = torch.tensor([[2.0, 1.0], [-1.0, 2.0], [0.0, 3.0]])
    ax = av.plot_turns(points, ["a", "b", "c"], name="k", title="keys")
    (drawn,) = arrows(ax)
    np.testing.assert_allclose(np.stack([drawn.U, drawn.V], axis=1), points)
    np.testing.assert_array_equal(drawn.XY, np.zeros((3, 2)))
    assert to_hex(drawn.get_facecolor()[0]) == av.COLORS["k"].lower()
    radii = [patch.radius for patch in ax.patches if isinstance(patch, Circle)]
    assert radii == pytest.approx([math.sqrt(5), 3.0])
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    assert ax.get_title() == "keys"
    assert ax.get_aspect() == 1.0


def test_a_label_stands_where_its_arrow_points():
    points = torch.tensor([[2.0, 1.0], [-1.0, 2.0]])
    ax = av.plot_turns(points)
    for text, point in zip(ax.texts, points, strict=True):
        at = torch.tensor(text.get_position())
        assert at.norm() > point.norm()
        torch.testing.assert_close(at / at.norm(), point / point.norm())
    assert [text.get_text() for text in ax.texts] == ["0", "1"]


@pytest.mark.parametrize(
    ("points", "labels", "error", "message"),
    [
        (torch.zeros(3, 4), None, ValueError, "points must have the shape (T, 2), a pair of columns; got (3, 4)"),
        (torch.zeros(2), None, ValueError, "got (2,)"),
        (torch.zeros(3, 2), ["a"], ValueError, "labels must be 3, one for each row; got 1"),
        ([[1.0, 2.0]], None, TypeError, "must be a torch.Tensor; got list"),
    ],
)
def test_what_is_no_pair_is_refused(points, labels, error, message):
    with pytest.raises(error, match="plot_turns: .*" + re.escape(message)):
        av.plot_turns(points, labels)


# ------------------------------------------------------------------------------------------------------------ pairs


@pytest.mark.parametrize("width", [2, 8, 16])
def test_a_pair_is_what_turns_together(width):
    ax = av.plot_pairs(width).axes[0]
    cells = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert [text.get_text() for text in ax.texts] == [str(column) for column in range(width)] * 2
    for row, pairs in enumerate(("interleaved", "halves")):
        colours = [to_hex(cell.get_facecolor()) for cell in cells[row * width : (row + 1) * width]]
        for column in range(width):  # a one in this column comes back in the columns of its pair
            one = torch.zeros(1, width, dtype=torch.float64)
            one[0, column] = 1.0
            turned = av.apply_rotary(one, torch.tensor([1]), pairs=pairs)[0]
            assert [c == colours[column] for c in colours] == (turned != 0).tolist()


def test_a_line_leads_from_each_column_to_its_place():
    ax = av.plot_pairs(8).axes[0]
    ends = [tuple(int(x) for x in line.get_xdata()) for line in ax.lines]
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = torch.empty_like(x)
    for column, place in ends:
        moved[:, place] = x[:, column]
    halves = av.apply_rotary(moved, torch.arange(3))
    neighbours = av.apply_rotary(x, torch.arange(3), pairs="interleaved")
    for column, place in ends:
        torch.testing.assert_close(halves[:, place], neighbours[:, column])


@pytest.mark.parametrize("width", [0, 3, 18])
def test_a_width_that_cannot_be_paired_or_coloured_is_refused(width):
    with pytest.raises(ValueError, match=f"plot_pairs: width must be even and from 2 to 16; got {width}"):
        av.plot_pairs(width)


# ----------------------------------------------------------------------------------------------------------- scores


def test_scores_are_drawn_as_they_are_around_0():
    scores = torch.tensor([[7.0, 1.0, -7.0], [-1.0, 7.0, 1.0]], dtype=torch.float64).requires_grad_()
    ax = av.plot_scores(scores, ["a", "b"], ["x", "y", "z"], values=True, title="dot products")
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), scores.detach())
    assert image.get_clim() == (-7.0, 7.0)
    assert [text.get_text() for text in ax.texts] == ["7", "1", "−7", "−1", "7", "1"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["x", "y", "z"]
    assert ax.get_title() == "dot products"


def test_numbers_of_one_map_have_one_number_of_digits():
    ax = av.plot_scores(torch.tensor([[2.0, 0.031], [-0.001, 2.0000001]]), values=True)
    assert [text.get_text() for text in ax.texts] == ["2.00", "0.03", "0.00", "2.00"]


def test_dark_cells_have_white_numbers():
    ax = av.plot_scores(torch.tensor([[-7.0, 0.0]]), values=True)
    assert [text.get_color() for text in ax.texts] == ["white", "black"]


def test_blocked_scores_are_hatched_without_a_number_and_do_not_spoil_the_scale():
    scores = torch.tensor([[1.0, 50.0], [2.0, 3.0]])
    ax = av.plot_scores(scores, mask=av.causal_mask(2), values=True)
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3"]
    assert ax.images[0].get_clim() == (-3.0, 3.0)
    assert np.ma.getmaskarray(ax.images[0].get_array()).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("left", [float("-inf"), torch.finfo(torch.float32).min])
def test_what_a_mask_leaves_in_the_scores_counts_as_blocked(left):
    ax = av.plot_scores(torch.tensor([[1.0, left], [2.0, 3.0]]), values=True)
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3"]
    assert ax.images[0].get_clim() == (-3.0, 3.0)


def test_maps_that_are_compared_share_a_limit_and_given_axes():
    _, axes = plt.subplots(1, 2)
    for ax, factor in zip(axes, (1, 2), strict=True):
        assert av.plot_scores(torch.ones(2, 3) * factor, ax=ax, limit=2.5) is ax
    assert [ax.images[0].get_clim() for ax in axes] == [(-2.5, 2.5)] * 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scores": torch.zeros(2, 3, 3)}, ValueError, "must have the shape (T_q, T_k); got (2, 3, 3)"),
        ({"scores": torch.zeros(2, 3), "query_tokens": ["a"]}, ValueError, "must be 2 query tokens; got 1"),
        ({"scores": torch.zeros(2, 3), "mask": torch.ones(2, 3)}, TypeError, "mask must be boolean"),
        ({"scores": None}, TypeError, "scores must be a tensor; got None"),
    ],
)
def test_what_are_no_scores_is_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        av.plot_scores(**arguments)


# ------------------------------------------------------------------------------------------------------------- film


def test_the_film_turns_as_apply_rotary_does():
    turned = turned_pairs(Q, K, STEPS, base=16.0)
    for step, (m, n) in enumerate(STEPS):
        q, k = (av.apply_rotary(x.double()[None], torch.tensor([at]), base=16.0)[0] for x, at in ((Q, m), (K, n)))
        for pair in range(2):
            torch.testing.assert_close(turned["q"][step, pair], q[[pair, pair + 2]])
            torch.testing.assert_close(turned["k"][step, pair], k[[pair, pair + 2]])


def test_each_picture_is_drawn_from_what_was_turned(monkeypatch):
    seen = {}

    def record(figure, draw, steps, captions, **settings):
        seen.update(figure=figure, draw=draw, steps=list(steps), captions=captions)

    monkeypatch.setattr(turning, "animate_figure", record)
    av.animate_turns(Q, K, STEPS, base=16.0)
    turned = turned_pairs(Q, K, STEPS, base=16.0)
    scores = (turned["q"] * turned["k"]).sum(dim=(1, 2))
    *planes, last = seen["figure"].axes
    for step, (m, n) in enumerate(STEPS):
        seen["draw"](step)
        for pair, ax in enumerate(planes):
            expected = {av.COLORS[name].lower(): x[step, pair].tolist() for name, x in turned.items()}
            found = {to_hex(one.get_facecolor()[0]): [one.U.item(), one.V.item()] for one in arrows(ax)}
            assert found.keys() == expected.keys()
            for colour, ends in expected.items():
                assert found[colour] == pytest.approx(ends)
        curve, now = (line for line in last.lines if len(line.get_xdata()) and line.get_marker() == "o")
        assert now.get_xdata() == [m - n]
        assert now.get_ydata() == [pytest.approx(scores[step].item())]
        assert sorted(curve.get_xdata()) == sorted({a - b for a, b in STEPS[: step + 1]})
    assert scores[1].item() == pytest.approx(scores[2].item()), "both moved on: the score stays"


def test_captions_say_where_the_two_stand_and_when_nothing_but_the_place_changes():
    film = av.animate_turns(Q, K, STEPS, base=16.0)
    assert len(film) == len(STEPS)
    assert film.captions[0] == "query at 0, key at 0, distance 0: q · k = 1.00 + 1.00 = 2.00"
    assert film.captions[1] == "query at 3, key at 0, distance 3: q · k = −1.13 + 1.41 = 0.28"
    assert film.captions[2].startswith("both move on: query at 4, key at 1, distance 3 as before; q · k = ")
    assert film.captions[3].startswith("query at 1, key at 2, distance −1: q · k = 1.38 + ")
    assert len({picture.size for picture in film.pictures()}) == 1


@pytest.mark.parametrize(
    ("q", "k", "message"),
    [
        (torch.zeros(1, 4), torch.zeros(1, 4), r"got (1, 4) and (1, 4)"),
        (torch.zeros(3), torch.zeros(3), "got (3,) and (3,)"),
        (torch.zeros(4), torch.zeros(2), "got (4,) and (2,)"),
        (torch.zeros(8), torch.zeros(8), "d_k even and at most 6; got (8,) and (8,)"),
    ],
)
def test_what_is_no_query_and_key_is_refused(q, k, message):
    with pytest.raises(ValueError, match="animate_turns: .*" + re.escape(message)):
        av.animate_turns(q, k, STEPS)
