"""Where the date model looked, drawn in the terminal and as a figure; and how likely it held each character."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from attention_variants.model.date_model import DateReading
from attention_variants.model.dates import END, TARGET_TOKENS

from .colors import COLORS
from .heads import plot_heads

_SHADES = " ░▒▓█"


def reading_table(reading: DateReading) -> Table:
    """Draw the cross-attention for a terminal: the mean of the heads, a row for each character of the answer.

    The darker a cell, the larger the weight; the shades are told apart without colours too.

    Parameters
    ----------
    reading : DateReading
        What `read_date` returned.

    Returns
    -------
    table : rich.table.Table
        Print it with ``rich.print``.
    """
    weights = reading.weights.mean(dim=0)  # (H, T_t, T_s) -> (T_t, T_s)
    table = Table.grid(padding=0)
    for _ in range(2):  # a narrow terminal cuts rows off: wrapped, they could not be read
        table.add_column(no_wrap=True, overflow="crop")
    table.add_row("", Text("  " + " ".join(reading.source_tokens), style="bold"))
    for token, row in zip(reading.target_tokens, weights.tolist(), strict=True):
        cells = Text("  ")
        for weight in row:
            shade = _SHADES[round(weight * (len(_SHADES) - 1))]
            cells.append(shade * 2, style=COLORS["weights"])
        table.add_row(Text(token, style="bold"), cells)
    return table


def plot_reading(reading: DateReading, *, ncols: int = 2) -> Figure:
    """Draw the cross-attention of each head: rows are the answer, columns the question.

    Parameters
    ----------
    reading : DateReading
        What `read_date` returned.
    ncols : int, default 2
        How many heads to draw beside each other.

    Returns
    -------
    figure : matplotlib.figure.Figure
        As `plot_heads` draws it, with axes that speak of question and answer.
    """
    figure = plot_heads(reading.weights, reading.target_tokens, reading.source_tokens, ncols=ncols)
    for ax in figure.axes[: len(reading.weights)]:
        if ax.get_xlabel():
            ax.set_xlabel("the question")
        if ax.get_ylabel():
            ax.set_ylabel("what it is about to write")
    return figure


def plot_probabilities(reading: DateReading, *, ax: Axes | None = None) -> Figure:
    """Draw how likely the model held each character: a row for each step, beside it the probability of what it wrote.

    Parameters
    ----------
    reading : DateReading
        What `read_date` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    figure : matplotlib.figure.Figure
        With the probabilities from 0, white, to 1, black. Padding and the start, which are never written, are left out.
    """
    tokens = [*range(END + 1, len(TARGET_TOKENS)), END]
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 4.0), layout="constrained")
    ax.imshow(reading.probabilities[:, tokens].numpy(), "Greys", vmin=0, vmax=1, aspect="auto")
    ax.set(xticks=range(len(tokens)), xticklabels=[TARGET_TOKENS[token] for token in tokens])
    ax.set(yticks=range(len(reading.target_tokens)), yticklabels=reading.target_tokens)
    ax.set(xlabel="what could be written", ylabel="what it wrote")
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.xaxis.set_label_position("top")
    for t, p in enumerate(reading.probabilities.amax(dim=-1).tolist()):
        ax.text(len(tokens) - 0.3, t, f"{p:.4f}", va="center", fontsize=9)
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure
