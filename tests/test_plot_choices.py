"""Bars over the next word under several choices, and arrows to the words that were looked up."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.text import Annotation

import attention_variants as av
from attention_variants.lab.plots.choices import plot_choices
from attention_variants.lab.plots.lookups import plot_lookups

WORDS = list("abcdef")
LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0, 0.5, -2.0])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_bars_are_the_probabilities():
    choices = {
        "plain": av.sampling_probabilities(LOGITS),
        "two": av.sampling_probabilities(LOGITS, top_k=2),
        "not renormalised": 0.5 * av.sampling_probabilities(LOGITS),
        "warm": av.sampling_probabilities(LOGITS, temperature=2.0),
    }
    figure = plot_choices(choices, WORDS, most=3)
    assert len(figure.axes) == 4
    for ax, (title, shares) in zip(figure.axes, choices.items(), strict=True):
        bars, strips = ax.containers
        widths = torch.tensor([bar.get_width() for bar in bars])
        torch.testing.assert_close(
            widths, torch.stack([*shares[[1, 2, 4]], shares[[0, 3, 5]].sum()]), check_dtype=False
        )
        gone = [row for row, width in enumerate(widths.tolist()) if width == 0]
        assert [round(strip.get_y() + strip.get_height() / 2) for strip in strips] == gone
        assert [strip.get_hatch() for strip in strips] == ["////"] * len(gone)
        assert [text.get_text() for text in ax.texts] == [f"{x:.2f}" for x in widths.tolist() if x]
        assert ax.get_title() == title
        assert ax.get_xlabel() == f"sum {shares.sum():.2f}"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "c", "e", "3 others"]


def test_words_that_any_choice_keeps_are_shown():
    only_f = torch.tensor([0.0, 0, 0, 0, 0, 1.0])
    figure = plot_choices({"plain": av.sampling_probabilities(LOGITS), "f": only_f}, WORDS, most=2)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["f", "b", "4 others"]


def test_what_is_unlikely_is_not_left_out():
    figure = plot_choices({"sure": torch.tensor([1.0 - 1e-3, 1e-3, 0, 0, 0, 0])}, WORDS, most=3)
    assert [round(strip.get_y() + 0.35) for strip in figure.axes[0].containers[1]] == [2, 3]


def test_all_words_need_no_bar_for_the_others():
    figure = plot_choices({"plain": av.sampling_probabilities(LOGITS)}, WORDS, most=9)
    assert len(figure.axes[0].containers[0]) == 6


def test_choices_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="at least one choice"):
        plot_choices({}, WORDS)
    with pytest.raises(ValueError, match=r"each of the 6 words; got \(5,\) for 'short'"):
        plot_choices({"short": torch.rand(5)}, WORDS)


def arrows(figure):
    """From where to where arrows go, in whole positions and layers."""
    found = []
    for child in figure.axes[0].texts:
        if isinstance(child, Annotation):
            (x1, y1), (x0, y0) = child.xy, child.xyann
            found.append(((round(x0), round(y0)), (round(x1), round(y1))))
    return sorted(found)


def test_arrows_follow_the_largest_weights_down():
    weights = torch.zeros(2, 2, 4, 4)
    weights[..., 0] = 1.0  # all look at position 0...
    weights[1, 0, 3] = torch.tensor([0.1, 0.0, 0.9, 0.0])  # ... but for the last one in the last layer, head 0,
    weights[1, 1, 3] = torch.tensor([0.4, 0.6, 0.0, 0.0])
    weights[0, 0, 2] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    figure = plot_lookups(weights, list("abcd"))
    from_above = [((3, 2), (0, 1)), ((3, 2), (1, 1)), ((3, 2), (2, 1))]
    # Below: positions 0, 1 and 2, and 3 itself, whose vector goes straight up; each has two heads.
    below = [((0, 1), (0, 0))] * 2 + [((1, 1), (0, 0))] * 2 + [((2, 1), (0, 0)), ((2, 1), (1, 0))]
    below += [((3, 1), (0, 0))] * 2
    assert arrows(figure) == sorted([*from_above, *below])
    numbers = sorted(text.get_text() for text in figure.axes[0].texts if not isinstance(text, Annotation))
    assert numbers == sorted(["0.90", "0.40", "0.60", *["1.00"] * 8])


def test_another_position_and_another_limit():
    weights = torch.eye(3).expand(1, 2, 3, 3) * 0.5 + 0.1
    assert arrows(plot_lookups(weights, list("abc"), at=1, least=0.2)) == [((1, 1), (1, 0))] * 2
    assert len(arrows(plot_lookups(weights, list("abc"), at=1, least=0.05))) == 6


def test_the_model_looks_after_the_word_that_stood_before():
    words = "<s> we gave anna red balls . we gave anna".split()
    with torch.no_grad():
        _, weights = av.load_story_model()(torch.tensor([av.encode_words(" ".join(words))]))
    found = arrows(plot_lookups(torch.stack([layer[0] for layer in weights]), words))
    assert ((9, 2), (4, 1)) in found  # from the second anna to red,
    assert ((4, 1), (3, 0)) in found  # which had looked at the first


def test_weights_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"with T = 3 words; got \(2, 2, 4, 4\)"):
        plot_lookups(torch.zeros(2, 2, 4, 4), list("abc"))
    with pytest.raises(ValueError, match="at most 4 heads"):
        plot_lookups(torch.zeros(1, 5, 2, 2), list("ab"))
