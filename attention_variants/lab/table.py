"""Tables that look alike in the terminal (rich) and in a notebook (HTML)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PADDING = "padding: 3px 6px;"
_LEFT, _RIGHT = "text-align: left;", "text-align: right;"
_WRAPS, _NUMBER = "white-space: normal;", "white-space: nowrap;"
_HEAD = "vertical-align: bottom;"
_CODE = "font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere;"


def html_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    note: str = "",
    code: int | None = None,
) -> str:
    """Write a small HTML table that inherits the page's colours.

    Where the page is narrow, the caption, the heads and the words wrap; numbers stay whole.

    Parameters
    ----------
    title : str
        The caption.
    columns : sequence of str
        Column heads.
    rows : sequence of sequence of str
        The cells, escaped here.
    left : int, default 1
        How many columns from the left hold words; the rest holds numbers and is aligned right.
    note : str, default ""
        A line to stand below.
    code : int, optional
        The number of a column that holds code, from 0.

    Returns
    -------
    html : str
    """

    def style(tag: str, column: int) -> str:
        align = _LEFT if column < left else _RIGHT
        if tag == "th":
            return f"{_PADDING} {align} {_WRAPS} {_HEAD}"
        words = column < left and code is None  # beside code, which wraps before them, shapes and names stay whole
        return f"{_PADDING} {align} {_CODE if column == code else _WRAPS if words else _NUMBER}"

    def cells(tag: str, row: Sequence[str]) -> str:
        styles = [style(tag, column) for column in range(len(row))]
        return "".join(
            f'<{tag} style="{style}">{escape(text)}</{tag}>' for style, text in zip(styles, row, strict=True)
        )

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<table style="border-collapse: collapse;">\n'
        f'<caption style="{_PADDING} {_LEFT} {_WRAPS}">{escape(title)}</caption>\n'
        f"<thead><tr>{cells('th', columns)}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
        + f'<div style="{_PADDING}">{escape(note)}</div>'
        * bool(note)
    )


def rich_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, note: str = ""
) -> Table:
    """Build the same table for the terminal.

    Parameters
    ----------
    title, columns, rows, left, note
        As in `html_table`. Brackets are text, not markup.

    Returns
    -------
    table : rich.table.Table
    """
    table = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        caption=Text(note) if note else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,  # narrow: eight columns must fit a terminal of 80
        pad_edge=False,
        collapse_padding=True,
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", no_wrap=i < left)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def plain_text(table: Table) -> str:
    """Write a table as text without colours, as wide as it needs to be.

    Parameters
    ----------
    table : rich.table.Table

    Returns
    -------
    text : str
    """
    console = Console(width=200, color_system=None, force_jupyter=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
