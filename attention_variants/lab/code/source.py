"""Read the variants: the code of one, and what changes from one to the next.

Both are made from the running code, so neither can drift from it.
"""

from __future__ import annotations

import ast
import difflib
import html
import inspect
import io
import linecache
import re
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from attention_variants.lab.plots.colors import (
    ADDED,
    ADDED_WORDS,
    COLORS,
    PAGE_GROUND,
    PAGE_HEADER,
    PAGE_INK,
    PAGE_RULE,
    REMOVED,
    REMOVED_WORDS,
)
from attention_variants.variants import VARIANTS, get_variant

if TYPE_CHECKING:
    from rich.console import RenderableType

_PACKAGE = Path(__file__).resolve().parents[2]


def _themed(what: str, light: str, theirs: str) -> str:
    """A property that takes a colour of JupyterLab's theme, and where there is none, or it is removed, a light one."""
    return f"{what}:{light};{what}:var(--jp-{theirs},{light})"


# Everything inline, and ground as well as letters: style sheets of a theme then cannot make it unreadable,
# and viewers that drop styles still show the text. JupyterLab drops variables from what it does not trust.
_GROUND, _INK = _themed("background", PAGE_GROUND, "layout-color1"), _themed("color", PAGE_INK, "content-font-color1")
_BOX = f"border:1px solid {PAGE_RULE};border-radius:4px;overflow:hidden;{_GROUND};{_INK};color-scheme:light"
_HEADER = (
    f"padding:4px 12px;border-bottom:1px solid {PAGE_RULE};background:{PAGE_HEADER};font-size:12px;line-height:1.5"
)
_PRE = (
    f"margin:0;padding:8px 12px;border:0;{_GROUND};{_INK};white-space:pre;overflow-x:auto;"
    "font-family:Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12.5px;line-height:1.35"
)
# What JupyterLab's editor calls the colours of the style below, and what they are in its light theme, for where its
# variables are not to be had; black is the colour of the letters around it.
_EDITOR = {
    "#A90D91": ("keyword", "#008000"),
    "#5B269A": ("builtin", "#008000"),
    "#C41A16": ("string", "#BA2121"),
    "#177500": ("comment", "#2D5A5A"),  # as it is with the letters' colour mixed in, below
    "#1C01CE": ("number", "#008800"),
    "#2300CE": ("number", "#008800"),
    "#3F6E75": ("property", "#0055AA"),
    "#836C28": ("property", "#0055AA"),
    "#633820": ("keyword", "#008000"),
}


@dataclass(frozen=True, repr=False)
class Code:
    """The source of a function or class, as `show` returns it.

    Printed it is plain text, in a notebook and in ``rich.print`` it is highlighted.

    Attributes
    ----------
    name : str
        The name of the function or class.
    text : str
        The source, not indented, without a newline at the end.
    file : str
        The file it stands in, from the package on, such as "attention_variants/variants/v4_masked.py".
    first_line : int
        The line of that file at which it begins, counted from 1.
    """

    name: str
    text: str
    file: str
    first_line: int

    @property
    def place(self) -> str:
        """The file and the line, as the header shows them."""
        return f"{self.file}, line {self.first_line}"

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.syntax import Syntax
        from rich.text import Text

        # This theme brings its own ground, so it can be read in light and dark terminals.
        return Group(Text(self.place, style="bold"), Syntax(self.text, "python", theme="monokai", word_wrap=True))

    def _repr_html_(self) -> str:
        from pygments import highlight  # type: ignore[import-untyped]
        from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
        from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

        # On white, every colour of this style has a contrast of at least 4.5, the WCAG's bound for text.
        formatter = HtmlFormatter(noclasses=True, nowrap=True, style="xcode")
        code = highlight(self.text, PythonLexer(), formatter).rstrip("\n")
        code = re.sub(r'<span style="color: #000">(.*?)</span>', r"\1", code)
        code = re.sub(r'(?<=<span style=")color: (#\w+)', _as_in_the_editor, code)
        return _box(f"{html.escape(self.name)} &middot; {html.escape(self.place)}", code)


@dataclass(frozen=True)
class DiffLine:
    """One line of a `Diff`.

    Attributes
    ----------
    mark : str
        " " in both, "-" only in the first, "+" only in the second, "~" in both but indented differently.
    text : str
        The line; one marked "~" as it stands in the second.
    emphasis : tuple of (int, int)
        The parts of ``text``, as start and end, that differ from the line it replaces or is replaced by.
    """

    mark: str
    text: str
    emphasis: tuple[tuple[int, int], ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it is a changed line of code: neither blank nor a comment that stands alone."""
        text = self.text.lstrip()
        return self.mark in "+-" and text != "" and not text.startswith("#")


@dataclass(frozen=True, repr=False)
class Diff:
    """What changes from one function to another, as `diff` returns it.

    Printed it is plain text, in a notebook and in ``rich.print`` it is coloured.

    Attributes
    ----------
    a, b : Code
        The first and the second.
    lines : tuple of DiffLine
        Every line of both, in order.
    changed : int
        How many lines of code change; a line that replaces another counts once, leading whitespace and
        lines that are blank or only a comment do not count.
    """

    a: Code
    b: Code
    lines: tuple[DiffLine, ...]
    changed: int

    @property
    def removed(self) -> int:
        """How many lines of code stand only in the first."""
        return sum(line.counts for line in self.lines if line.mark == "-")

    @property
    def added(self) -> int:
        """How many lines of code stand only in the second."""
        return sum(line.counts for line in self.lines if line.mark == "+")

    @property
    def summary(self) -> str:
        """One line for both names and the number of changed lines."""
        number = "no lines" if self.changed == 0 else "1 line" if self.changed == 1 else f"{self.changed} lines"
        return f"{self.a.name} -> {self.b.name}: {number} changed"

    @cached_property
    def _text(self) -> str:
        return "\n".join([self.summary, *(f"{line.mark} {line.text}".rstrip() for line in self.lines)])

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        # Vermillion and bluish green (Okabe and Ito, 2008) can be read on black and on white.
        styles = {"-": COLORS["q"], "+": COLORS["v"]}
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")  # a long line wraps inside its column: nothing is lost
        for line in self.lines:
            text = Text(line.text, style=styles.get(line.mark, ""))
            for start, end in line.emphasis:
                text.stylize("bold underline", start, end)
            table.add_row(Text(line.mark, style=styles.get(line.mark, "dim")), text)
        return Group(Text(self.summary, style="bold"), table)

    def _repr_html_(self) -> str:
        grounds = {"-": (REMOVED, REMOVED_WORDS), "+": (ADDED, ADDED_WORDS)}
        rows = []
        for line in self.lines:
            ground, strong = grounds.get(line.mark, ("transparent", "transparent"))
            tag = "del" if line.mark == "-" else "ins"
            text, end = "", 0
            for start, stop in line.emphasis:
                words = html.escape(line.text[start:stop])
                text += html.escape(line.text[end:start])
                text += f'<{tag} style="text-decoration:none;font-weight:bold;background:{strong}">{words}</{tag}>'
                end = stop
            text += html.escape(line.text[end:])
            faint = "" if line.mark in grounds else "opacity:0.75;"
            # The mark is left out when the code is selected and copied.
            mark = f'<span style="{faint}user-select:none;-webkit-user-select:none">{line.mark} </span>'
            rows.append(f'<span style="display:block;padding:0 12px;background:{ground}">{mark}{text}\n</span>')
        # As wide as the longest line, so that the grounds reach as far as one can scroll.
        body = f'<span style="display:inline-block;min-width:100%">{"".join(rows)}</span>'
        # "->" is written out for plain text; a page can draw the arrow.
        return _box(html.escape(self.summary).replace("-&gt;", "&rarr;"), body, style="padding:8px 0")


def show(what: int | Callable, *, docstring: bool = False) -> Code:
    """Return the source of a variant, or of any Python function or class, as it runs.

    Parameters
    ----------
    what : int or callable
        The number of a variant, or a function, method or class written in Python.
    docstring : bool, default False
        Whether to keep the docstrings.

    Returns
    -------
    code : Code
        Highlighted in a notebook and by ``rich.print``; ``print`` gives plain text.

    Raises
    ------
    ValueError
        If there is no variant of that number, or no source to be found.
    TypeError
        If ``what`` is neither a number nor a function or class written in Python.
    """
    thing = _resolve(what)
    try:
        lines, first_line, file = _source(thing)
    except (OSError, TypeError):
        raise ValueError(
            f"show: the source of {thing.__qualname__} cannot be found; it must stand in a file or in a notebook cell."
        ) from None
    lines = [line.rstrip() for line in lines]
    indent = re.match(r"\s*", lines[0])[0]  # type: ignore[index]  # matches always
    lines = [line.removeprefix(indent) for line in lines]
    if not docstring:
        skip = _docstring_lines(lines)
        lines = [line for number, line in enumerate(lines, 1) if number not in skip]
    return Code(thing.__name__, "\n".join(lines), _place(thing, file), first_line)


def _source(thing: Callable) -> tuple[list[str], int, str]:
    """The lines, the number of the first, and the file; of a class in a cell too, which its module does not lead to."""
    try:
        lines, first_line = inspect.getsourcelines(thing)
        return lines, first_line, inspect.getsourcefile(thing) or ""
    except (OSError, TypeError):
        methods = (x for x in vars(thing).values() if inspect.isfunction(x)) if isinstance(thing, type) else ()
        for file in dict.fromkeys(method.__code__.co_filename for method in methods):
            lines = linecache.getlines(file)
            for node in ast.walk(ast.parse("".join(lines))):
                if isinstance(node, ast.ClassDef) and node.name == thing.__name__:
                    return lines[node.lineno - 1 : node.end_lineno], node.lineno, file
        raise


def code_lines(what: int | Callable) -> int:
    """Count the lines of code: neither docstring nor blank nor only a comment.

    Parameters
    ----------
    what : int or callable
        As for `show`.

    Returns
    -------
    lines : int
        The number of lines, the signature's among them.

    Raises
    ------
    TypeError, ValueError
        As `show`.
    """
    passive = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(show(what).text).readline):
        if token.type not in passive:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code)


def code_lines_if_any(what: int | Callable) -> int | None:
    """Count the lines of code where there is a source to read.

    Parameters
    ----------
    what : int or callable
        As for `show`.

    Returns
    -------
    lines : int or None
        None for what ``functools.partial`` has made, or another call that leaves no source.
    """
    try:
        return code_lines(what)
    except (TypeError, ValueError):
        return None


def diff(a: int | Callable, b: int | Callable, *, docstring: bool = False) -> Diff:
    """Compare the source of two variants, or of any two functions or classes, line by line.

    Parameters
    ----------
    a, b : int or callable
        As for `show`.
    docstring : bool, default False
        Whether to compare the docstrings too.

    Returns
    -------
    diff : Diff
        Both in full, the lines that change marked "-" and "+"; a line that is only indented differently is
        marked "~" and is not a change. Coloured in a notebook and by ``rich.print``; ``print`` gives plain text.

    Raises
    ------
    TypeError, ValueError
        As `show`.
    """
    code_a, code_b = show(a, docstring=docstring), show(b, docstring=docstring)
    old, new = code_a.text.splitlines(), code_b.text.splitlines()
    # Lines without a letter or digit, such as ")" and blank ones, are no anchors: they match anywhere.
    matcher = difflib.SequenceMatcher(
        lambda line: not re.search(r"\w", line),
        [line.strip() for line in old],
        [line.strip() for line in new],
        autojunk=False,
    )
    lines: list[DiffLine] = []
    changed = 0
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            lines += map(_kept, old[i:i_end], new[j:j_end])
        else:
            block = _replaced(old[i:i_end], new[j:j_end])
            lines += block
            changed += max(sum(line.counts for line in block if line.mark == mark) for mark in "-+")
    return Diff(code_a, code_b, tuple(lines), changed)


def _resolve(what: int | Callable) -> Callable:
    # A number that is none of a variant's, a fraction or a text: get_variant says so.
    thing = inspect.unwrap(get_variant(what) if isinstance(what, (int, float, str)) else what)
    if not (inspect.isfunction(thing) or inspect.ismethod(thing) or inspect.isclass(thing)):
        came = f"{thing.__name__}, which is not" if inspect.isroutine(thing) else f"an object of {type(thing).__name__}"
        raise TypeError(
            f"show takes the number of a variant, {min(VARIANTS)} to {max(VARIANTS)}, or a function or class written "
            f"in Python; got {came}."
        )
    return thing


def _docstring_lines(lines: list[str]) -> set[int]:
    """Find the numbers, from 1, of the lines that are docstring, and of blank lines after one."""
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:  # a lambda in the middle of an expression
        return set()
    found: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if ast.get_docstring(node) is None:
            continue
        first = node.body[0]
        end = first.end_lineno or first.lineno
        # One that is the whole body has to stay, and so has one that shares its line with code.
        starts_line = not lines[first.lineno - 1].encode()[: first.col_offset].strip()
        if len(node.body) > 1 and starts_line and node.body[1].lineno > end:
            while not lines[end]:
                end += 1
            found.update(range(first.lineno, end + 1))
    return found


def _place(thing: Callable, file: str) -> str:
    if "ipykernel_" in file or file.startswith("<"):
        return "notebook cell"
    path = Path(file).resolve()
    if path.is_relative_to(_PACKAGE):
        return path.relative_to(_PACKAGE.parent).as_posix()
    # From its top package on, wherever that is installed.
    module = thing.__module__
    depth = 1 if module == "__main__" else module.count(".") + 1 + (path.stem == "__init__")
    return Path(*path.parts[-depth:]).as_posix()


def _kept(before: str, after: str) -> DiffLine:
    return DiffLine(" " if before == after else "~", after)


def _words(line: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", line)


def _matcher(before: str, after: str) -> difflib.SequenceMatcher:
    return difflib.SequenceMatcher(None, _words(before.strip()), _words(after.strip()), autojunk=False)


def _replaced(removed: list[str], added: list[str]) -> list[DiffLine]:
    """Put each new line below the old line that it resembles, if any, with the words that differ emphasised."""
    # best[i][j]: the highest sum of likenesses that pairs of removed[i:] and added[j:], in order, can reach.
    like = [[_likeness(before, after) for after in added] for before in removed]
    best = [[0.0] * (len(added) + 1) for _ in range(len(removed) + 1)]
    for i in reversed(range(len(removed))):
        for j in reversed(range(len(added))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], like[i][j] + best[i + 1][j + 1])

    lines: list[DiffLine] = []
    i = j = 0
    while i < len(removed) or j < len(added):
        if i < len(removed) and j < len(added) and like[i][j] and best[i][j] == like[i][j] + best[i + 1][j + 1]:
            if removed[i].strip() == added[j].strip():
                lines.append(_kept(removed[i], added[j]))
            else:
                old, new = _emphasis(removed[i], added[j])
                lines += [DiffLine("-", removed[i], old), DiffLine("+", added[j], new)]
            i, j = i + 1, j + 1
        elif i < len(removed) and (j == len(added) or best[i][j] == best[i + 1][j]):
            lines.append(DiffLine("-", removed[i]))
            i += 1
        else:
            lines.append(DiffLine("+", added[j]))
            j += 1
    return lines


def _likeness(before: str, after: str) -> float:
    """From 0 to 1; lines that share less than half of their words are not alike at all."""
    if not re.search(r"\w", before + after):
        return 0.1 * (before.strip() == after.strip())  # blank lines and the like pair up where nothing else does
    ratio = difflib.SequenceMatcher(None, re.findall(r"\w+", before), re.findall(r"\w+", after), autojunk=False).ratio()
    return ratio if ratio >= 0.5 else 0.0


def _emphasis(before: str, after: str) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    spans: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for kind, i, i_end, j, j_end in _matcher(before, after).get_opcodes():
        if kind == "equal":
            continue
        for line, found, start, end in ((before, spans[0], i, i_end), (after, spans[1], j, j_end)):
            words, indent = _words(line.strip()), len(line) - len(line.lstrip())
            first, last = indent + len("".join(words[:start])), indent + len("".join(words[:end]))
            part = line[first:last]
            if not part.strip():
                continue
            first, last = first + len(part) - len(part.lstrip()), first + len(part.rstrip())
            if found and line[found[-1][1] : first].isspace():  # one stretch, over the space between two words
                found[-1] = (found[-1][0], last)
            else:
                found.append((first, last))
    return tuple(spans[0]), tuple(spans[1])


def _as_in_the_editor(color: re.Match[str]) -> str:
    if color[1] not in _EDITOR:
        return "color:inherit"
    kind, light = _EDITOR[color[1]]
    themed = _themed("color", light, f"mirror-editor-{kind}-color")
    if kind != "comment":
        return themed
    # In the dark theme it has a contrast of 3.5 alone.
    name, mixed = themed.rsplit(":", 1)
    return f"{name}:color-mix(in srgb,{mixed} 70%,currentColor)"


def _box(header: str, code: str, *, style: str = "") -> str:
    return (
        f'<div style="{_BOX}"><div style="{_HEADER}">{header}</div>'
        f'<pre style="{_PRE}{";" * bool(style)}{style}">{code}\n</pre></div>'
    )
