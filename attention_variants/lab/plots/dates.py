"""Where the date model looked: drawn in the terminal, and as a figure."""

from __future__ import annotations

from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from attention_variants.model.date_model import DateReading

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
        As `plot_heads` draws it.
    """
    return plot_heads(reading.weights, reading.target_tokens, reading.source_tokens, ncols=ncols)
