"""Films of anything that is drawn: a figure step by step, a date as it is written."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import attention_variants as av
from attention_variants.lab.animation.films import animate_figure, animate_writing, writing_passes
from attention_variants.model.dates import END, MAX_TARGET, START, encode_source


def _figure():
    figure = Figure(figsize=(4, 2))
    figure.add_subplot()
    return figure


def test_writing_takes_the_passes_of_greedy_decoding():
    model, source = av.load_date_model(), encode_source(["Mar 12th, '98"])
    passes = writing_passes(model, source)
    written = av.greedy_decode(model, source, start=START, end=END, max_len=MAX_TARGET)
    assert [int(one["logits"].argmax()) for one in passes] == written[0].tolist()
    target = torch.cat([torch.tensor([[START]]), written[:, :-1]], dim=1)
    logits, weights = model(source, target, need_weights=True)
    for t, one in enumerate(passes):
        torch.testing.assert_close(one["logits"], logits[0, t], atol=1e-4, rtol=0)
        own = weights.decoder[-1][0].mean(dim=0)[: t + 1, : t + 1]
        torch.testing.assert_close(one["self"], own, atol=1e-5, rtol=0)
        torch.testing.assert_close(one["cross"], weights.cross[-1][0].mean(dim=0)[: t + 1], atol=1e-5, rtol=0)


def test_writing_is_a_picture_for_each_character():
    film = animate_writing("12 mars 1998")
    assert len(film) == len("1998-03-12") + 1
    assert film.captions[0].startswith("step 1: at the start the likeliest is 1, with probability ")
    assert film.captions[4].startswith("step 5: after 1998 the likeliest is -, ")
    assert "read and written" in film.title
    assert len(film.html) < 400_000
    assert len({picture.size for picture in film.pictures()}) == 1


def test_a_figure_is_drawn_once_for_each_step():
    seen = []
    film = animate_figure(_figure(), seen.append, range(3), list("abc"), title="nothing")
    assert seen == [0, 1, 2]
    assert film.captions == ("a", "b", "c")
    assert film.seconds == [0.8, 0.8, pytest.approx(2.4)]
    assert {picture.size[0] for picture in film.pictures()} == {960}
    assert repr(film) == "<Film of nothing: 3 frames>"


@pytest.mark.parametrize(
    ("steps", "captions", "seconds", "message"),
    [
        ([], [], 1, "1 to 120 steps; got 0"),
        (range(121), ["a"] * 121, 1, "1 to 120 steps; got 121"),
        (range(2), ["a"], 1, "captions must be 2, one for each step; got 1"),
        (range(1), ["a"], 0, "seconds must be above 0; got 0"),
    ],
)
def test_what_makes_no_film_is_told(steps, captions, seconds, message):
    with pytest.raises(ValueError, match=message):
        animate_figure(_figure(), print, steps, captions, seconds=seconds)


def test_a_figure_s_panels_may_stand_below_each_other():
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    for ax, colour in zip(axes, ("#FF0000", "#00FF00", "#0000FF"), strict=True):
        ax.set(facecolor=colour, ylabel="a long label of the rows")
    film = animate_figure(figure, lambda step: None, range(2), "ab")
    picture = film.pictures()[-1]
    parts = film._shape(picture.size, 1)["parts"]
    assert len(parts) == 3
    assert sum(part[2] for part in parts) == picture.width
    for number, (x, y, width, height) in enumerate(parts):
        seen = np.asarray(picture.crop((x, y, x + width, y + height))).reshape(-1, 3)
        colours = [(seen == np.eye(3)[other] * 255).all(axis=1).any() for other in range(3)]
        assert colours == [other == number for other in range(3)]


def test_a_figure_with_a_title_of_the_whole_is_not_cut():
    figure, _ = plt.subplots(1, 2)
    figure.suptitle("both")
    film = animate_figure(figure, lambda step: None, range(2), "ab")
    assert len(film._shape((960, 300), 1)["parts"]) == 1
