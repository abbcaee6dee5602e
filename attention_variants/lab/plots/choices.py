"""The same logits under several ways to choose: bars over the next word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .axes import LABEL_SIZE, PAGE_WIDTH, TICK_SIZE, TITLE_SIZE, as_array
from .colors import BLOCKED, COLORS, FRAME, HATCHING, INK


def plot_choices(choices: Mapping[str, Tensor], words: Sequence[str], *, most: int = 8, ncols: int = 3) -> Figure:
    """Draw several distributions over the next word beside each other, on one scale.

    Parameters
    ----------
    choices : mapping of str to Tensor of shape (vocab_size)
        A title, and the probabilities, as `sampling_probabilities` returns them. They are drawn as they are, whether
        they sum to 1 or not; what they sum to stands below.
    words : sequence of str
        All words, in the order of the probabilities.
    most : int, default 8
        How many words get a bar: the likeliest under all choices together. All others share the last bar.
    ncols : int, default 3
        How many choices to draw beside each other.

    Returns
    -------
    figure : matplotlib.figure.Figure
        An axes for each choice, in order. A word that is left out, with a probability of 0, has a hatched strip.

    Raises
    ------
    ValueError
        If there is no choice, or not a probability for each word.
    """
    if not choices:
        raise ValueError("plot_choices: there must be at least one choice; got none.")
    for title, tensor in choices.items():
        if tensor.shape != (len(words),):
            raise ValueError(
                f"plot_choices: there must be a probability for each of the {len(words)} words; "
                f"got {tuple(tensor.shape)} for {title!r}."
            )
    together = torch.stack(list(choices.values())).sum(dim=0)
    shown = together.sort(descending=True, stable=True).indices[:most].tolist()
    hidden = [number for number in range(len(words)) if number not in shown]
    rows = [words[number] for number in shown] + ([f"{len(hidden)} others"] if hidden else [])

    ncols = min(ncols, len(choices))
    nrows = math.ceil(len(choices) / ncols)
    figure, axes = plt.subplots(
        nrows,
        ncols,
        figsize=(min(PAGE_WIDTH, 4.2 * ncols), (0.24 * len(rows) + 0.75) * nrows),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(choices) :]:
        ax.remove()
    for ax, (title, tensor) in zip(axes.flat, choices.items(), strict=False):
        shares = as_array("plot_choices", tensor)
        bars = [*shares[shown], *([shares[hidden].sum()] if hidden else [])]
        ax.barh(range(len(bars)), bars, 0.7, color=COLORS["weights"])
        gone = [row for row, share in enumerate(bars) if share == 0]
        ax.barh(gone, [1.32] * len(gone), 0.7, color=BLOCKED, edgecolor=HATCHING, hatch="////", linewidth=0)
        for row, share in enumerate(bars):
            if row not in gone:
                ax.text(share + 0.02, row, f"{share:.2f}", va="center", fontsize=TICK_SIZE, color=INK)
        ax.set(xlim=(0, 1.32), ylim=(len(bars) - 0.4, -0.6), xticks=[0, 0.5, 1], yticks=range(len(bars)))
        ax.set_yticklabels(rows)
        ax.tick_params(labelsize=TICK_SIZE, length=2)
        ax.set_title(title, fontsize=TITLE_SIZE)
        ax.set_xlabel(f"sum {shares.sum():.2f}", fontsize=LABEL_SIZE)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(FRAME)
    return figure
