"""The film of a rolling window: keys that are kept, keys that are dropped, and the weights on what is kept."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import attention_variants as av
from attention_variants.lab.animation import rolling_film
from attention_variants.lab.animation.rolling_film import animate_rolling, rolling_steps

T = 7


def qkv(d_k: int = 2):
    return torch.randn(3, T, d_k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def seen_by(t: int, window: int, sinks: int) -> list[int]:
    return [i for i in range(t + 1) if t - i <= window or i < sinks]


@pytest.mark.parametrize(("window", "sinks"), [(2, 0), (2, 1), (3, 2), (0, 0), (9, 1)])
def test_each_query_meets_window_and_sinks(window, sinks):
    q, k, v = qkv()
    for t, step in enumerate(rolling_steps(q, k, v, window, sinks)):
        kept = seen_by(t, window, sinks)
        assert step.positions.tolist() == kept
        torch.testing.assert_close(step.k, k[kept])
        # The kernel of PyTorch gives the weights if the values are the unit vectors.
        weights = F.scaled_dot_product_attention(q[t : t + 1], k[kept], torch.eye(len(kept), dtype=torch.float64))
        torch.testing.assert_close(step.weights, weights[0])
        # What the cache takes afterwards: the next query will not see what is window + 1 places back.
        after = [i for i in kept if t + 1 - i <= window or i < sinks]
        assert step.bytes == len(after) * (2 + 2) * 8


@pytest.fixture
def drawing(monkeypatch):
    seen = []

    def keep(figure, draw, steps, captions, **options):
        seen.append((figure, draw, captions, options))

    monkeypatch.setattr(rolling_film, "animate_figure", keep)
    animate_rolling(*qkv(), 2, 1, list("abcdefg"))
    return seen[0]


@pytest.mark.parametrize("t", [0, 4, 6])
def test_the_maps_are_keys_and_weights(drawing, t):
    figure, draw, *_ = drawing
    q, k, v = qkv()
    draw(t)
    keys, rows = figure.axes
    shown = keys.images[0].get_array()
    kept = seen_by(t, 2, 1)
    np.testing.assert_allclose(np.ma.getdata(shown)[kept], k[kept].numpy())
    # A dropped key is hatched; one that is still to come is covered.
    dropped = np.ma.getmaskarray(shown).all(axis=1)
    assert [i for i in range(t + 1) if dropped[i]] == [i for i in range(t + 1) if i not in kept]

    weights = np.ma.getdata(rows.images[0].get_array())
    expected = torch.zeros(T, T, dtype=torch.float64)
    for row, step in enumerate(rolling_steps(q, k, v, 2, 1)[: t + 1]):
        expected[row, step.positions] = step.weights
    np.testing.assert_allclose(weights, expected.numpy(), atol=1e-6)
    colours = [label.get_color() for label in rows.get_yticklabels()]
    assert [colour == "white" for colour in colours] == [i > t for i in range(T)]


def test_captions_say_what_is_kept_and_what_is_gone(drawing):
    *_, captions, options = drawing
    assert captions[0] == "position 0, a: it meets its own key alone; nothing is dropped yet. Most weight, 1.00, on a"
    step = rolling_steps(*qkv(), 2, 1)[5]
    share, at = step.weights.max(dim=0)
    assert captions[5] == (
        f"position 5, f: it meets 4 keys; dropped so far: b c. "
        f"Most weight, {float(share):.2f}, on {'abcdefg'[step.positions[at]]}"
    )
    assert options["title"] == "a window of 2 with 1 sink, over 7 positions"


def test_a_real_head_plays():
    example = av.load_example("tired")
    film = animate_rolling(*example.head(1), 4, 1, example.tokens)
    assert len(film) == len(example.tokens)
    assert len(film.html) < 400_000
    assert len(film._shape(film.pictures()[0].size, 1)["parts"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: animate_rolling(q[None], k[None], v[None], 2), "of one head; got (1, 7, 2)"),
        (lambda q, k, v: animate_rolling(q, k, v, -1), "window"),
        (lambda q, k, v: animate_rolling(q, k, v, 2, 0, ["a"]), "there must be 7 query tokens; got 1"),
        (
            lambda q, k, v: animate_rolling(*(x.repeat(4, 1) for x in (q, k, v)), 2),
            "at most 24 positions can be seen; got 28",
        ),
    ],
)
def test_what_cannot_be_shown_is_told(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        change(*qkv())
