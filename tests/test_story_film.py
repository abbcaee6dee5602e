"""The film of a model that writes: its words, their grounds, and the bars are what the model computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

import attention_variants as av
from attention_variants.lab.animation import story_film
from attention_variants.lab.animation.story_film import animate_story, likeliest
from attention_variants.lab.plots.axes import colormap
from attention_variants.model.stories import WORDS

BEGINNING = "we gave anna red balls . near the dog park we met anna ."


@pytest.fixture(scope="module")
def written():
    return list(av.write_story(BEGINNING, words=6, temperature=2.0, seed=3))


@pytest.fixture
def drawing(written, monkeypatch):
    """What a film hands over to be drawn, without drawing it."""
    seen = []

    def keep(figure, draw, steps, captions, **options):
        seen.append((figure, draw, steps, captions, options))

    monkeypatch.setattr(story_film, "animate_figure", keep)
    animate_story(written)
    return seen[0]


def _page(ax):
    texts = [text for text in ax.texts if text.get_bbox_patch() is not None]
    numbers = [text for text in ax.texts if text.get_bbox_patch() is None]
    return texts, numbers


@pytest.mark.parametrize("step", [0, 3, 5])
def test_words_stand_on_their_weights(written, drawing, step):
    figure, draw, *_ = drawing
    draw(step)
    one = written[step]
    for head, ax in enumerate(figure.axes[:2]):
        texts, numbers = _page(ax)
        shown = [text for text in texts if text.get_visible()]
        assert [text.get_text() for text in shown] == [*one.before, one.word]
        weights = one.weights[-1, head]
        for text, number, weight in zip(shown, numbers, weights.tolist(), strict=False):
            np.testing.assert_allclose(text.get_bbox_patch().get_facecolor(), colormap("weights")(weight))
            assert number.get_text() == (f"{weight:.2f}" if weight >= 0.095 else "")
            light = sum(to_rgb(text.get_bbox_patch().get_facecolor())) > 1.7
            assert text.get_color() != "white" if light else text.get_color() == "white"
        assert shown[-1].get_weight() == "bold"
        assert shown[-1].get_bbox_patch().get_linewidth() > 0
        assert not any(number.get_text() for number in numbers[len(weights) :])


def test_bars_are_what_the_model_said_and_what_was_drawn_from(written, drawing):
    figure, draw, *_ = drawing
    for step, one in enumerate(written):
        draw(step)
        ax = figure.axes[2]
        numbers = likeliest(one, 8)
        said, drawn = ([bar.get_width() for bar in bars] for bars in ax.containers)
        torch.testing.assert_close(torch.tensor(said), one.model_probabilities[numbers])
        torch.testing.assert_close(torch.tensor(drawn), one.drawn_from[numbers])
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert labels == [WORDS[number] for number in numbers]
        assert [label.get_text() for label in ax.get_yticklabels() if label.get_weight() == "bold"] == [one.word]
    assert not torch.equal(written[0].model_probabilities, written[0].drawn_from)


def test_the_drawn_word_has_a_bar_though_it_is_unlikely(written):
    one = written[0]
    order = one.model_probabilities.argsort(descending=True, stable=True).tolist()
    unlikely = replace(one, word=WORDS[order[-1]])
    assert likeliest(unlikely, 4) == [*order[:3], order[-1]]
    assert likeliest(replace(one, word=WORDS[order[1]]), 4) == order[:4]


def test_captions_say_where_most_weight_is(written, drawing):
    *_, captions, options = drawing
    one = written[3]
    head, at = divmod(int(one.weights[-1].argmax()), len(one.before))
    share = float(one.drawn_from[WORDS.index(one.word)])
    assert captions[3] == (
        f"word 4: {one.word!r}, probability {share:.2f} (the model: {one.probability:.2f}); head {head} looks most at "
        f"{one.before[at]!r} after {one.before[at - 1]!r}, {float(one.weights[-1].max()):.2f}"
    )
    assert options["title"] == "a story of 21 words, of which 6 are written"


def test_another_layer_is_drawn_when_asked_for(written, monkeypatch):
    seen = []
    monkeypatch.setattr(story_film, "animate_figure", lambda figure, draw, *_, **__: seen.append((figure, draw)))
    animate_story(written, layer=0)
    figure, draw = seen[0]
    draw(0)
    texts, _ = _page(figure.axes[1])
    expected = colormap("weights")(float(written[0].weights[0, 1, 2]))
    np.testing.assert_allclose(texts[2].get_bbox_patch().get_facecolor(), expected)
    assert figure.axes[1].get_title(loc="left") == "layer 0, head 1"


def test_it_plays_on_a_white_ground_and_in_three_parts_on_a_phone(written):
    film = animate_story(written)
    assert len(film) == 6
    assert len(film.html) < 400_000
    assert len(film._shape(film.pictures()[0].size, 1)["parts"]) == 3
    for picture in film._painted:
        assert picture.convert("RGB").getpixel((5, picture.height - 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda written: animate_story([]), "at least one word; got none"),
        (lambda written: animate_story(written, layer=2), "layer must be 0 to 1; got 2"),
        (
            lambda written: animate_story([replace(written[0], before=("a",) * 120)]),
            "at most 120 words can be seen; got 121",
        ),
    ],
)
def test_what_cannot_be_shown_is_told(written, change, message):
    with pytest.raises(ValueError, match=message):
        change(written)
