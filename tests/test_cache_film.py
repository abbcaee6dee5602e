"""The film of a cache: what its pictures show is what calls with a cache compute, and that is the whole causal pass."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import attention_variants as av
from attention_variants.lab.animation import cache_film
from attention_variants.lab.animation.cache_film import animate_cache, cache_steps

T, D_K, D_V = 5, 2, 3
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def qkv():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(T, width, generator=generator, dtype=torch.float64) for width in (D_K, D_K, D_V)]


@pytest.mark.parametrize("lengths", [None, [2, 1, 2], [5]])
def test_the_steps_are_the_rows_of_one_causal_pass(lengths):
    q, k, v = qkv()
    context, weights = av.attention_masked(q, k, v, av.causal_mask(T))
    steps = cache_steps(q, k, v, lengths)
    assert [step.end - step.start for step in steps] == (lengths or [1] * T)
    assert steps[-1].end == T
    for step in steps:
        new = slice(step.start, step.end)
        assert torch.equal(step.q, q[new])
        assert torch.equal(step.k, k[: step.end])
        assert torch.equal(step.v, v[: step.end])
        torch.testing.assert_close(step.weights, weights[new, : step.end], **CLOSE)
        torch.testing.assert_close(step.context, context[new], **CLOSE)
        assert (step.mask is None) == (len(step.q) == 1)
        scores = step.q @ step.k.T / D_K**0.5
        allowed = torch.ones_like(scores, dtype=torch.bool) if step.mask is None else step.mask
        torch.testing.assert_close(step.scores[allowed], scores[allowed], **CLOSE)


def drawn(ax):
    return np.ma.getdata(ax.images[-1].get_array())


def test_the_pictures_are_made_of_the_steps(monkeypatch):
    seen = []

    def record(figure, draw, steps, captions, **options):
        for step in steps:
            draw(step)
            axes = {ax.get_title(loc="left") or ax.get_xlabel(): ax for ax in figure.axes}
            for name in ("q", "scores", "weights", "context"):
                assert np.array_equal(drawn(axes[name])[: len(step.q)], getattr(step, name).numpy())
            assert np.array_equal(drawn(axes["keys kept"]), k)
            assert np.array_equal(drawn(axes["values kept"]), v)
            whole = drawn(axes["for comparison, not kept: one whole causal pass"])
            assert np.array_equal(whole, av.attention_masked(q, k, v, av.causal_mask(T))[1])
            map_of_whole = axes["for comparison, not kept: one whole causal pass"]
            hatched = [patch for patch in map_of_whole.patches if patch.get_hatch()]
            assert not hatched  # a hatched cell would say that the call needs a mask
            cover, _ = map_of_whole.patches
            assert (cover.get_alpha() or 1.0, cover.get_y()) == (1.0, step.end - 0.5)  # rows to come are not seen
            cover, frame = axes["keys kept"].patches
            assert (cover.get_y(), cover.get_height()) == (step.end - 0.5, T - step.end)
            assert (frame.get_y(), frame.get_height()) == (step.start - 0.5, step.end - step.start)
            assert [label.get_text() for label in axes["q"].get_yticklabels()] == list("abcde")[step.start : step.end]
            seen.append((step, captions[len(seen)]))
        return options["title"]

    monkeypatch.setattr(cache_film, "animate_figure", record)
    q, k, v = qkv()
    title = animate_cache(q, k, v, list("abcde"), lengths=[2, 1, 2])
    assert title == "a cache, 5 positions in 3 calls"
    assert len(seen) == 3
    assert (
        seen[0][1]
        == "call 1: a to b, 2 positions at once; kept 2. Their mask hides from each query what comes after it"
    )
    share, at = seen[1][0].weights[0].max(dim=0)
    expected = (
        f"call 2: c brings a key and a value; kept 3. One query meets all 3 keys: no mask; most weight, {share:.2f}"
    )
    assert seen[1][1] == f"{expected}, on {'abc'[at]} at position {at}"


def test_one_token_a_picture():
    example = av.load_example("Dog bites")
    film = av.animate_cache(*example.head(1), example.tokens)
    assert len(film) == len(example.tokens)
    assert "One query meets its own key: no mask; most weight, 1.00, on [CLS] at position 0" in film.captions[0]
    assert len(film.html) < 400_000
    assert len({picture.size for picture in film.pictures()}) == 1


def test_gradients_are_left_alone():
    q, k, v = (x.requires_grad_() for x in qkv())
    assert len(animate_cache(q, k, v)) == T


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda q, k, v: animate_cache(q[None], k[None], v[None]),
            "q must have shape (T, d_k), of one head; got (1, 5, 2)",
        ),
        (lambda q, k, v: animate_cache(q, k, v, lengths=[2, 2]), "at least 1 each and 5 altogether; got [2, 2]"),
        (lambda q, k, v: animate_cache(q, k, v, lengths=[5, 0]), "at least 1 each and 5 altogether; got [5, 0]"),
        (lambda q, k, v: animate_cache(q, k, v, ["a"]), "there must be 5 query tokens; got 1"),
        (
            lambda q, k, v: animate_cache(*(x.repeat(5, 1) for x in (q, k, v))),
            "at most 24 positions can be seen; got 25",
        ),
    ],
)
def test_what_cannot_be_shown_is_told(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        change(*qkv())
