"""The drawing of shared keys: a line for each head of queries and head of keys that belong together, and colours."""

from __future__ import annotations

import itertools
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex

import attention_variants as av
from attention_variants.lab.plots.colors import KEY_HEADS

SHARED = torch.eye(2, dtype=torch.bool).repeat_interleave(3, dim=0)  # six heads of queries, two of keys


def boxes(figure):
    return {patch.get_label(): patch for patch in figure.axes[0].patches}


@pytest.mark.parametrize("looks", [SHARED, torch.eye(2, dtype=torch.bool).repeat(3, 1)], ids=["groups", "every second"])
def test_lines_and_colours_say_who_looks_where(looks):
    figure = av.plot_shared_heads(looks)
    expected = {f"{h} -> {g}": KEY_HEADS[g] for h in range(6) for g in range(2) if looks[h, g]}
    assert {line.get_label(): line.get_color() for line in figure.axes[0].lines} == expected
    found = boxes(figure)
    assert set(found) == {f"query head {h}" for h in range(6)} | {"key head 0", "key head 1"}
    for h in range(6):
        (g,) = looks[h].nonzero().flatten().tolist()
        colours = {to_hex(found[name].get_facecolor()) for name in (f"query head {h}", f"key head {g}")}
        assert colours == {KEY_HEADS[g].lower()}
    plt.close(figure)


def test_a_line_ends_at_its_heads():
    figure = av.plot_shared_heads(SHARED)
    found = boxes(figure)
    for line in figure.axes[0].lines:
        h, g = line.get_label().split(" -> ")
        (x_query, x_key), (y_query, y_key) = line.get_xdata(), line.get_ydata()
        for name, x, y in ((f"query head {h}", x_query, y_query), (f"key head {g}", x_key, y_key)):
            box = found[name]
            assert box.get_x() < x < box.get_x() + box.get_width(), name
            assert box.get_y() - 1e-9 <= y <= box.get_y() + box.get_height() + 1e-9, name
    plt.close(figure)


def test_a_head_that_looks_at_several_or_at_none_is_white():
    looks = torch.tensor([[True, True], [False, False], [False, True]])
    found = boxes(av.plot_shared_heads(looks))
    colours = [to_hex(found[f"query head {h}"].get_facecolor()) for h in range(3)]
    assert colours == ["#ffffff", "#ffffff", KEY_HEADS[1].lower()]
    plt.close("all")


def test_it_draws_where_it_is_told_to():
    figure, axes = plt.subplots(1, 2)
    assert av.plot_shared_heads(SHARED, title="groups", ax=axes[1]) is figure
    assert not axes[0].patches
    assert axes[1].get_title() == "groups"
    plt.close(figure)


@pytest.mark.parametrize("heads", [(8, 8), (8, 1), (1, 1), (32, 8)])
def test_boxes_do_not_touch_and_are_inside(heads):
    H, G = heads
    figure = av.plot_shared_heads(torch.eye(G, dtype=torch.bool).repeat_interleave(H // G, dim=0))
    figure.draw_without_rendering()
    for row in ("query", "key"):
        spans = sorted((p.get_x(), p.get_x() + p.get_width()) for name, p in boxes(figure).items() if row in name)
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))
        assert 0 <= spans[0][0] <= spans[-1][1] <= H
    plt.close(figure)


@pytest.mark.parametrize(
    ("looks", "error", "message"),
    [
        ([[True]], TypeError, "looks must be a boolean tensor; got list."),
        (torch.ones(2, 2), TypeError, "looks must be a boolean tensor; got torch.float32."),
        (
            torch.ones(2, dtype=torch.bool),
            ValueError,
            "shape (num_heads, num_kv_heads), with 1 to 8 heads of keys; got (2,)",
        ),
        (torch.ones(9, 9, dtype=torch.bool), ValueError, "with 1 to 8 heads of keys; got (9, 9)."),
        (torch.ones(0, 2, dtype=torch.bool), ValueError, "got (0, 2)."),
    ],
)
def test_what_cannot_be_drawn_is_told(looks, error, message):
    with pytest.raises(error, match="plot_shared_heads: .*" + re.escape(message)):
        av.plot_shared_heads(looks)
