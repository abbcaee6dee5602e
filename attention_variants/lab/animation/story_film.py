"""A film of a language model that writes: where its heads look, and from what the next word is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from torch import Tensor

from attention_variants.lab.plots.axes import LABEL_SIZE, TICK_SIZE, TITLE_SIZE, colormap
from attention_variants.lab.plots.colors import COLORS, FRAME, INK
from attention_variants.model.stories import WORDS
from attention_variants.model.story_writing import WrittenWord

from .films import animate_figure
from .player import Film

__all__ = ["animate_story", "likeliest"]

_MOST_WORDS = 120  # in the last picture
_PAGE = 10.5  # inches: the width of the figure
_LINE, _SPACE = 0.4, 0.09  # inches: the height of a line of text, and the room between two words
_LETTER = 0.086  # inches: the width of a letter, on average, with a margin
_SEEN = 0.095  # a weight of less gets no number


def likeliest(written: WrittenWord, most: int) -> list[int]:
    """Choose the words that a picture shows: the likeliest for the model, and the one that was drawn.

    Parameters
    ----------
    written : WrittenWord
    most : int
        How many; the drawn word takes the last place if it is not among them.

    Returns
    -------
    numbers : list of int
        Of the words, as in `attention_variants.model.stories.WORDS`, from the likeliest down.
    """
    order = written.model_probabilities.sort(descending=True, stable=True).indices[:most].tolist()
    drawn = WORDS.index(written.word)
    return order if drawn in order else [*order[:-1], drawn]


def animate_story(written: Sequence[WrittenWord], *, layer: int = -1, most: int = 8, seconds: float = 1.5) -> Film:
    """Play how the model of stories writes: a picture for each word.

    On the left, once for each head of a layer, the text so far: the darker a word, the more weight the head puts on it
    while the next word is sought; the word that is drawn then stands framed behind it. On the right, the likeliest next
    words: what the model says, and what the word is drawn from after temperature, top-k and top-p.

    Parameters
    ----------
    written : sequence of WrittenWord
        What `write_story` wrote, at least one word.
    layer : int, default -1
        Whose heads; the last layer by default.
    most : int, default 8
        How many words have bars.
    seconds : float, default 1.5
        How long a picture stands.

    Returns
    -------
    film : Film

    Raises
    ------
    ValueError
        If nothing was written, the text is longer than 120 words, or there is no such layer.

    Examples
    --------
    >>> animate_story(list(write_story("we gave anna red balls .", words=6)))
    <Film of a story of 13 words, of which 6 are written: 6 frames>
    """
    written = list(written)
    if not written:
        raise ValueError("animate_story: written must have at least one word; got none.")
    words = [*written[-1].before, written[-1].word]
    if len(words) > _MOST_WORDS:
        raise ValueError(f"animate_story: at most {_MOST_WORDS} words can be seen; got {len(words)}.")
    layers, heads, _ = written[0].weights.shape
    if not -layers <= layer < layers:
        raise ValueError(f"animate_story: layer must be 0 to {layers - 1}; got {layer}.")
    layer %= layers

    wide = _PAGE / (heads + 1)
    places, lines = _places(words, wide - 0.2)
    figure, axes = plt.subplots(
        1, heads + 1, figsize=(_PAGE, max(_LINE * lines + 0.4, 3.4)), width_ratios=[1.0] * (heads + 1)
    )
    figure.subplots_adjust(left=0.01, right=0.985, top=0.91, bottom=0.13, wspace=0.05)
    pages = [_Page(ax, words, places, f"layer {layer}, head {head}") for head, ax in enumerate(axes[:-1])]
    bars = _Bars(axes[-1], min(most, len(WORDS)))

    def draw(number: int) -> None:
        for head, page in enumerate(pages):
            page.show(written[number].weights[layer, head])
        bars.show(written[number])

    captions = [_caption(number, one, layer) for number, one in enumerate(written, start=1)]
    title = f"a story of {len(words)} words, of which {len(written)} are written"
    return animate_figure(figure, draw, range(len(written)), captions, title=title, seconds=seconds)


def _caption(number: int, one: WrittenWord, layer: int) -> str:
    share = float(one.drawn_from[WORDS.index(one.word)])
    head, at = divmod(int(one.weights[layer].argmax()), len(one.before))
    after = f" after {one.before[at - 1]!r}" if at else ""
    looked = f"head {head} looks most at {one.before[at]!r}{after}, {float(one.weights[layer, head, at]):.2f}"
    return f"word {number}: {one.word!r}, probability {share:.2f} (the model: {one.probability:.2f}); {looked}"


def _places(words: Sequence[str], width: float) -> tuple[list[tuple[float, int, float]], int]:
    """Break a text into lines: for each word where it begins, in which line, and how wide it is; and how many lines."""
    places, x, line = [], 0.0, 0
    for word in words:
        wide = max(len(word), 1) * _LETTER + 0.08
        if x and x + wide > width:
            x, line = 0.0, line + 1
        places.append((x, line, wide))
        x += wide + _SPACE
    return places, line + 1


class _Page:
    """The text, each word on a ground of its weight."""

    def __init__(self, ax: Axes, words: Sequence[str], places: Sequence[tuple[float, int, float]], title: str) -> None:
        box = ax.get_window_extent()
        wide, high = (side / ax.figure.dpi for side in (box.width, box.height))
        ax.set(xlim=(-0.08, wide - 0.08), ylim=(high - 0.08, -0.08))
        ax.axis("off")
        ax.set_title(title, fontsize=TITLE_SIZE, loc="left")
        self.map = colormap("weights")
        self.texts, self.numbers = [], []
        for word, (x, line, width) in zip(words, places, strict=True):
            ground: dict[str, Any] = {"boxstyle": "square,pad=0.25", "facecolor": "white", "edgecolor": "none"}
            self.texts.append(
                ax.text(
                    x + width / 2,
                    _LINE * (line + 0.35),
                    word,
                    ha="center",
                    va="center",
                    fontsize=LABEL_SIZE,
                    bbox=ground,
                )
            )
            middle = x + width / 2, _LINE * (line + 0.86)
            self.numbers.append(ax.text(*middle, "", ha="center", va="center", fontsize=TICK_SIZE - 1, color=INK))

    def show(self, weights: Tensor) -> None:
        """Show the words that have weights, and the one that is drawn."""
        shares = [*weights.tolist(), None]
        for place, text in enumerate(self.texts):
            text.set_visible(place < len(shares))
            self.numbers[place].set_text("")
            if place >= len(shares):
                continue
            ground, share = text.get_bbox_patch(), shares[place]
            if share is not None and share >= _SEEN:
                self.numbers[place].set_text(f"{share:.2f}")
            assert ground is not None
            color = self.map(0.0 if share is None else share)
            ground.set_facecolor(color)
            ground.set_edgecolor(INK if share is None else "none")
            ground.set_linewidth(1.4 if share is None else 0.0)
            text.set_color("white" if sum(to_rgb(color)) < 1.7 else INK)
            text.set_fontweight("bold" if share is None else "normal")


class _Bars:
    """The likeliest next words, with two bars each: what the model says, and what the word is drawn from."""

    def __init__(self, ax: Axes, most: int) -> None:
        self.ax, self.most = ax, most
        rows = range(most)
        self.said = ax.barh([row - 0.2 for row in rows], [0.0] * most, 0.36, color="#BBBBBB", label="the model says")
        self.drawn = ax.barh(
            [row + 0.2 for row in rows], [0.0] * most, 0.36, color=COLORS["weights"], label="it is drawn from"
        )
        self.numbers = [
            [ax.text(0.0, row + shift, "", va="center", fontsize=TICK_SIZE - 1, color=INK) for row in rows]
            for shift in (-0.2, 0.2)
        ]
        ax.set(xlim=(0, 1.16), ylim=(most - 0.4, -0.6), xticks=[0, 0.5, 1], yticks=list(rows))
        ax.tick_params(labelsize=LABEL_SIZE, length=2)
        ax.set_xlabel("probability", fontsize=LABEL_SIZE)
        ax.set_title("the next word", fontsize=TITLE_SIZE, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(FRAME)
        ax.legend(frameon=False, fontsize=TICK_SIZE, loc="lower right")
        box = ax.get_position()
        ax.set_position((box.x0 + 0.055, box.y0, box.width - 0.055, box.height))  # room for the words

    def show(self, one: WrittenWord) -> None:
        """Show what one word was drawn from."""
        numbers = likeliest(one, self.most)
        for bars, texts, shares in zip(
            (self.said, self.drawn), self.numbers, (one.model_probabilities, one.drawn_from), strict=True
        ):
            for bar, text, number in zip(bars, texts, numbers, strict=True):
                share = float(shares[number])
                bar.set_width(share)
                text.set_x(share + 0.015)
                text.set_text(f"{share:.2f}" if share >= 0.005 else "")
        self.ax.set_yticklabels([WORDS[number] for number in numbers])
        for label in self.ax.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == one.word else "normal")
