"""Where the model of stories looked for each word that it wrote: in the terminal, and as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from attention_variants.model.story_writing import WrittenWord

from .colors import COLORS
from .heads import plot_heads


def writing_table(written: Sequence[WrittenWord]) -> Table:
    """Say in a row for each word how probable the model held it, and where the last layer looked for it.

    Parameters
    ----------
    written : sequence of WrittenWord
        What `write_story` wrote.

    Returns
    -------
    table : rich.table.Table
        Of the heads of the last layer, that with the largest weight on one word; the word stands between its
        neighbours. Print it with ``rich.print``.
    """
    table = Table("word", "probability", "looked at", "weight", "head", box=None, pad_edge=False)
    for one in written:
        heads = one.weights[-1]  # (num_heads, T)
        head, at = divmod(int(heads.argmax()), heads.shape[-1])
        looked_at = Text(" ").join(
            Text(word, style="bold" if t == at else "dim") for t, word in enumerate(one.before) if abs(t - at) <= 1
        )
        weight = Text(f"{float(heads[head, at]):.2f}", style=COLORS["weights"])
        table.add_row(Text(one.word, style="bold"), f"{one.probability:.3f}", looked_at, weight, str(head))
    return table


def plot_writing(written: Sequence[WrittenWord], *, layer: int = -1, ncols: int = 1) -> Figure:
    """Draw where each head of a layer looked: rows are the words that were written, columns all words before them.

    Parameters
    ----------
    written : sequence of WrittenWord
        What `write_story` wrote, at least one word.
    layer : int, default -1
        Which layer; the last one by default.
    ncols : int, default 1
        How many heads to draw beside each other.

    Returns
    -------
    figure : matplotlib.figure.Figure
        As `plot_heads` draws it. A word that was not there yet is hatched.

    Raises
    ------
    ValueError
        If nothing was written.
    """
    if not written:
        raise ValueError("plot_writing: written must have at least one word; got none.")
    read = written[-1].before
    heads = written[0].weights[layer].shape[0]
    weights = torch.zeros(heads, len(written), len(read))
    there = torch.zeros(len(written), len(read), dtype=torch.bool)
    for row, one in enumerate(written):
        weights[:, row, : len(one.before)] = one.weights[layer]
        there[row, : len(one.before)] = True
    figure = plot_heads(weights, [one.word for one in written], list(read), mask=there, ncols=ncols)
    for ax in figure.axes[:heads]:
        if ax.get_xlabel():
            ax.set_xlabel("what it had read")
        if ax.get_ylabel():
            ax.set_ylabel("what it wrote")
    return figure
