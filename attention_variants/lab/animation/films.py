"""Films of figures: any figure drawn again for each step, and a Transformer that writes, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from attention_variants.lab.plots.colors import COLORS
from attention_variants.lab.plots.weights import plot_weights
from attention_variants.model import Transformer, causal_mask
from attention_variants.model.date_model import load_date_model
from attention_variants.model.dates import END, MAX_TARGET, START, TARGET_TOKENS, encode_source, fold

from .encode import drawn
from .player import MOST_FRAMES, WHOLE, Film

__all__ = ["animate_figure", "animate_writing"]


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
    >>> animate_figure(figure, bar.set_width, range(10), [f"step {step}" for step in range(10)], title="a bar that grows")
    <Film of a bar that grows: 10 frames>
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
    plt.close(figure)

    def paint(scale: int) -> list[Any]:
        if scale not in pictures:
            pictures[scale] = drawn(figure, draw, steps, dpi=scale * WHOLE / figure.get_figwidth())
        return pictures[scale]

    return Film(title, paint, captions, [seconds] * (len(steps) - 1) + [3 * seconds])


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
    source = encode_source([text])
    passes = writing_passes(model, source)
    question = list(fold(text).replace(" ", "␣"))
    written = [TARGET_TOKENS[int(one["logits"].argmax())] for one in passes]
    most = len(passes)
    figure, (own, cross, bars) = plt.subplots(
        1, 3, figsize=(13.5, 4.6), width_ratios=(1, 1.15, 0.8), layout="constrained"
    )

    def draw(step: int) -> None:
        for ax in (own, cross, bars):
            ax.clear()
        read = ["▷", *written[:step]]
        # The same room in every picture: what is not there yet is empty.
        for ax, weights, columns, wide in (
            (own, passes[step]["self"], read, most),
            (cross, passes[step]["cross"], question, len(question)),
        ):
            room = torch.full((most, wide), torch.nan)
            room[: step + 1, : weights.shape[-1]] = weights
            rows = [*written[: step + 1], *[""] * (most - step - 1)]
            mask = torch.ones(most, wide, dtype=torch.bool)
            if ax is own:
                mask[: step + 1, : step + 1] = causal_mask(step + 1)
            labels = [*columns, *[""] * (wide - len(columns))]
            plot_weights(room, rows, labels, mask=mask, ax=ax, colorbar=False)
        own.set(title="self-attention", xlabel="what it has read", ylabel="what it writes")
        cross.set(title="cross-attention", xlabel="the question", ylabel="")
        shares = passes[step]["logits"].softmax(dim=-1)
        colours = [COLORS["weights"] if token == written[step] else "#BBBBBB" for token in TARGET_TOKENS]
        bars.barh(range(len(TARGET_TOKENS)), shares, color=colours)
        bars.set(xlim=(0, 1), yticks=range(len(TARGET_TOKENS)), yticklabels=TARGET_TOKENS)
        bars.set(title="the next character", xlabel="probability")
        bars.invert_yaxis()

    captions = []
    for step, one in enumerate(passes):
        share = float(one["logits"].softmax(dim=-1).max())
        read = "".join(written[:step])
        after = f"after {read!r}" if read else "at the start"
        captions.append(f"step {step + 1}: {after} comes {written[step]}, with probability {share:.3f}")
    return animate_figure(figure, draw, range(most), captions, title=f"{text!r}, read and written", seconds=seconds)


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
        logits, (own, cross) = model.decode(target, memory, memory_mask, need_weights=True)
        passes.append({"logits": logits[0, -1], "self": own[-1][0].mean(dim=0), "cross": cross[-1][0].mean(dim=0)})
        token = logits[:, -1].argmax(dim=-1)
        target = torch.cat([target, token[:, None]], dim=1)
        if token.item() == END:
            break
    return passes
