"""Films of figures: any figure drawn again for each step, and a Transformer that writes, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from attention_variants.lab.plots.axes import check_tokens
from attention_variants.lab.plots.colors import COLORS
from attention_variants.lab.plots.weights import plot_weights
from attention_variants.model import Transformer, causal_mask
from attention_variants.model.date_model import load_date_model
from attention_variants.model.dates import END, MAX_TARGET, START, TARGET_TOKENS, encode_source, fold

from .encode import drawn
from .player import MOST_FRAMES, WHOLE, Film

__all__ = ["animate_figure", "animate_writing", "words_of_positions"]

#: Of a film in which each position has a row of its own.
MOST_POSITIONS = 24


def animate_figure(
    figure: Figure,
    draw: Callable[[Any], object],
    steps: Sequence[Any],
    captions: Sequence[str],
    *,
    title: str = "a figure",
    seconds: float = 0.8,
) -> Film:
    """Draw a figure again for each step, and play the pictures.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What is drawn; closed afterwards. Its layout is that of the first step throughout.
    draw : callable
        Called as ``draw(step)`` before each picture; it changes the figure, as ``image.set_data(arrays[step])`` does.
    steps : sequence
        What ``draw`` is called with; at most 120.
    captions : sequence of str
        What happens in each step.
    title : str, default "a figure"
        What is shown, for those who do not see it.
    seconds : float, default 0.8
        How long a picture stands; the last one three times as long.

    Returns
    -------
    film : Film
        The last expression of a cell shows the player; ``.save("film.gif")`` and ``.to_html("film.html")`` keep it.

    Raises
    ------
    ValueError
        If there is no step, or more than 120, or not a caption for each; if ``seconds`` is not above 0.

    Examples
    --------
    >>> figure, ax = plt.subplots(figsize=(4, 2))
    >>> bar = ax.barh(["steps"], [0])[0]
    >>> _ = ax.set_xlim(0, 9)
    >>> animate_figure(figure, bar.set_width, range(10), [f"step {step}" for step in range(10)])
    <Film of a figure: 10 frames>
    """
    steps = list(steps)
    if not 0 < len(steps) <= MOST_FRAMES:
        raise ValueError(f"animate_figure: there must be 1 to {MOST_FRAMES} steps; got {len(steps)}.")
    if len(captions) != len(steps):
        raise ValueError(f"animate_figure: captions must be {len(steps)}, one for each step; got {len(captions)}.")
    if seconds <= 0:
        raise ValueError(f"animate_figure: seconds must be above 0; got {seconds}.")
    # As wide as the other players, whatever the figure was.
    pictures = {1: drawn(figure, draw, steps, dpi=WHOLE / figure.get_figwidth())}
    columns = _columns(figure)
    plt.close(figure)

    def paint(scale: int) -> list[Any]:
        if scale not in pictures:
            pictures[scale] = drawn(figure, draw, steps, dpi=scale * WHOLE / figure.get_figwidth())
        return pictures[scale]

    return Film(title, paint, captions, [seconds] * (len(steps) - 1) + [3 * seconds], columns=columns)


def _columns(figure: Figure) -> list[float]:
    """Where a figure may be cut for a narrow page, from left to right as shares of its width: between its axes."""
    if figure.texts or figure.legends:  # a title of the whole is not to be cut
        return [0.0, 1.0]
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    width = figure.bbox.width
    sides = sorted((box.x0 / width, box.x1 / width) for box in boxes if box is not None)
    cuts, right = [0.0], 0.0
    for left, end in sides:
        if right and left > right:
            cuts.append((left + right) / 2)
        right = max(right, end)
    return [*cuts, 1.0]


def words_of_positions(caller: str, tokens: Sequence[str] | None, T: int) -> list[str]:
    """Say what stands at each position of a film: the words, or numbers from 0.

    Parameters
    ----------
    caller : str
        The name that errors begin with.
    tokens : sequence of str, optional
        The words.
    T : int
        How many positions there are.

    Returns
    -------
    words : list of str

    Raises
    ------
    ValueError
        If there are more positions than can be seen, or not a word for each.
    """
    if T > MOST_POSITIONS:
        raise ValueError(f"{caller}: at most {MOST_POSITIONS} positions can be seen; got {T}.")
    check_tokens(f"{caller}: q", "query", tokens, T)
    return [str(i) for i in range(T)] if tokens is None else [*map(str, tokens)]


def animate_writing(text: str, model: Transformer | None = None, *, seconds: float = 1.5) -> Film:
    """Play how the model that reads dates writes its answer: one character at a time.

    Each picture is one pass through the decoder, as `greedy_decode` makes it: what has been written goes in, and what
    comes out at its last place are the probabilities of the next character. On the left stand the weights of the
    decoder's self-attention, whose causal mask grows by one row and column a step; in the middle those of the
    cross-attention to the question; both are means of the heads of the last layer. On the right, the probabilities.

    Parameters
    ----------
    text : str
        The date as somebody writes it.
    model : Transformer, optional
        One that reads dates; by default the one that comes with the package.
    seconds : float, default 1.5
        How long a picture stands.

    Returns
    -------
    film : Film
        A picture for each character that is written, the end among them.

    Raises
    ------
    ValueError
        If the text has characters that the model does not know, or is too long.
    """
    model = load_date_model() if model is None else model
    passes = writing_passes(model, encode_source([text]))
    tokens = [int(one["logits"].argmax()) for one in passes]
    written, question = [TARGET_TOKENS[token] for token in tokens], list(fold(text).replace(" ", "␣"))
    read = [TARGET_TOKENS[START], *written[:-1]]
    own, cross = passes[-1]["self"], passes[-1]["cross"]  # the rows of earlier passes are in them, see the mask

    figure, axes = plt.subplots(
        1, 3, figsize=(12, 4.3), width_ratios=(len(read), len(question), 8), layout="constrained"
    )
    plot_weights(own, written, read, mask=causal_mask(len(read)), ax=axes[0], colorbar=False)
    plot_weights(cross, written, question, ax=axes[1], colorbar=False)
    axes[0].set(title="self-attention", xlabel="what it has read", ylabel="what it writes")
    axes[1].set(title="cross-attention", xlabel="the question", ylabel="")
    choices = [*range(END + 1, len(TARGET_TOKENS)), END]  # padding and the start are never written
    bars = axes[2].barh([TARGET_TOKENS[token] for token in choices], [1.0] * len(choices))
    axes[2].set(title="the next character", xlabel="probability", xlim=(0, 1))
    axes[2].invert_yaxis()
    covers = [ax.add_patch(Rectangle((0, 0), 0, 0, color="white", zorder=5)) for ax in (*axes[:2], axes[0])]

    def draw(step: int) -> None:
        there, all_ = step + 0.5, len(read) - 0.5
        covers[0].set_bounds(-0.6, there, all_ + 1, all_ - there + 0.2)  # rows to come
        covers[1].set_bounds(-0.6, there, len(question) + 0.2, all_ - there + 0.2)
        covers[2].set_bounds(there, -0.6, all_ - there + 0.2, there + 0.6)  # columns to come
        unknown = [""] * (len(read) - step - 1)
        axes[0].set_xticklabels([*read[: step + 1], *unknown])
        for ax in axes[:2]:
            ax.set_yticklabels([*written[: step + 1], *unknown])
        shares = passes[step]["logits"].softmax(dim=-1)
        for bar, token in zip(bars, choices, strict=True):
            bar.set_width(float(shares[token]))
            bar.set_color(COLORS["weights"] if token == tokens[step] else "#BBBBBB")

    captions = []
    for step, one in enumerate(passes):
        after = f"after {''.join(written[:step])}" if step else "at the start"
        share = float(one["logits"].softmax(dim=-1).max())
        captions.append(f"step {step + 1}: {after} the likeliest is {written[step]}, with probability {share:.3f}")
    return animate_figure(
        figure, draw, range(len(passes)), captions, title=f"{text!r}, read and written", seconds=seconds
    )


@torch.no_grad()
def writing_passes(model: Transformer, source: Tensor) -> list[dict[str, Tensor]]:
    """Run the decoder once for each token that `greedy_decode` would write, and keep what it is written from.

    Parameters
    ----------
    model : Transformer
        One that reads dates, in evaluation mode.
    source : integer Tensor of shape (1, T_s)
        The question.

    Returns
    -------
    passes : list of dict
        For each step t: ``logits`` of shape (V,), of the next token; ``self`` of shape (t + 1, t + 1) and ``cross`` of
        shape (t + 1, T_s), the weights of the last layer, their heads' mean.
    """
    memory, _ = model.encode(source)
    memory_mask = model.mask(source)
    target, passes = source.new_full((1, 1), START), []
    for _ in range(MAX_TARGET):
        logits, weights = model.decode(target, memory, memory_mask, need_weights=True)
        own, cross = weights[-1]  # of the last layer: (1, num_heads, T_t, T_t) and (1, num_heads, T_t, T_s)
        assert own is not None
        assert cross is not None
        passes.append({"logits": logits[0, -1], "self": own[0].mean(dim=0), "cross": cross[0].mean(dim=0)})
        token = logits[:, -1].argmax(dim=-1)
        target = torch.cat([target, token[:, None]], dim=1)
        if token.item() == END:
            break
    return passes
