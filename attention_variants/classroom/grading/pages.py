"""What a lecturer looks at: a page for the class, the misconceptions first, and one for each student.

The pages work from disk with the network off: style and script are in them, and the bars are drawn with HTML alone.
Everything that comes from a submission, its author's name included, is written as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attention_variants.lab.plots.colors import COLORS, INK

if TYPE_CHECKING:
    from attention_variants.classroom.report import Report

    from .grade import ClassResult, Graded

__all__ = ["class_page", "report_html", "student_page"]

#: So many other broken promises are told beside the first.
_TOLD = 3

# ------------------------------------------------------------------------------------------------ one student

_REPORT_CSS = f"""
.av-report {{ --av-good: {COLORS["v"]}; --av-bad: {COLORS["q"]}; --av-part: {COLORS["weights"]};
  line-height: 1.5; overflow-wrap: anywhere; }}
.av-report p {{ margin: .4em 0; }}
.av-report .av-head {{ font-size: 1.05em; font-weight: bold; margin: 1.8em 0 .4em; }}
.av-report .av-verdict {{ border-left: 4px solid var(--av-bad); padding: .2em 0 .2em .8em; font-size: 1.15em; }}
.av-report .av-right {{ border-color: var(--av-good); }}
.av-report .av-named {{ border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: 6px;
  padding: .8em 1em; margin: .8em 0; }}
.av-report .av-named p:first-child {{ margin-top: 0; }}
.av-report .av-named strong {{ font-size: 1.15em; }}
.av-report pre {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .88em; line-height: 1.45;
  margin: .5em 0; padding: .7em .9em; border-radius: 6px; overflow-x: auto; white-space: pre-wrap;
  background: color-mix(in srgb, currentColor 6%, transparent); color: inherit; }}
.av-report pre span {{ white-space: pre; }}
@media (max-width: 36rem) {{ .av-report pre {{ font-size: .8em; }} }}
.av-report .av-parts {{ display: grid; grid-template-columns: max-content 1fr max-content; gap: .3em .8em;
  align-items: center; margin: .6em 0; padding: 0; list-style: none; }}
.av-report .av-parts li {{ display: contents; }}
.av-report .av-track {{ height: .7em; border-radius: 2px;
  background: color-mix(in srgb, currentColor 12%, transparent); }}
.av-report .av-track span {{ display: block; height: 100%; border-radius: 2px; background: var(--av-part); }}
.av-report .av-much {{ font-variant-numeric: tabular-nums; text-align: right; }}
"""


def report_html(report: Report | dict[str, Any]) -> str:
    """Show a report as a piece of HTML, for a page or for the output of a notebook's cell.

    Parameters
    ----------
    report : Report or dict
        What `check` returned, or its ``to_dict()``.

    Returns
    -------
    html : str
        One element with its own style; it takes the colour of the letters from what is around it.
    """
    told = report if isinstance(report, dict) else report.to_dict()
    parts = [f"<style>{_REPORT_CSS}</style>", _verdict(told)]
    if told["trouble"]:
        parts.append(f"<p>There is nothing to judge: {escape(told['trouble'])}</p>")
    elif told["not_written"]:
        parts.append("<p>Nothing is written there yet: it raises NotImplementedError.</p>")
    else:
        parts += [*_named(told), *_rules(told), *_example(told), *_parts(told)]
    parts += _notes(told)
    return f'<section class="av-report">{"".join(parts)}</section>'


def _heading(words: str) -> str:
    """A heading, and none for the table of contents of the notebook in which it may stand."""
    return f'<p class="av-head" role="heading" aria-level="2">{words}</p>'


def _verdict(told: dict[str, Any]) -> str:
    about = (
        f"{escape(told['name'])}, {told['goal'] or 'variant ' + str(told['variant'])}. Score {told['score']:.2f} of 1."
    )
    if told["passed"]:
        return f'<p class="av-verdict av-right">✓ <b>Right:</b> {about}</p>'
    return f'<p class="av-verdict">✗ <b>Not yet right:</b> {about}</p>'


def _named(told: dict[str, Any]) -> Iterable[str]:
    for words, named in zip(("This looks like", "And like"), told["misconceptions"], strict=False):
        yield (
            f'<div class="av-named"><p>{words} <strong>{escape(in_words(named["name"]))}</strong></p>'
            f"<p>{escape(named['explanation'])}</p><p><i>Think about:</i> {escape(named['hint'])}</p></div>"
        )


def _rules(told: dict[str, Any]) -> Iterable[str]:
    if told["broken_rules"]:
        yield _heading("Against the rules of this variant")
        yield from (f"<p>{escape(words[:1].upper() + words[1:])}</p>" for words in told["broken_rules"])


def _example(told: dict[str, Any]) -> Iterable[str]:
    if told["first"] is None:
        return
    first = told["findings"][told["first"]]
    yield _heading("The smallest example that shows it")
    yield f"<p>With {escape(first['situation'])}: {escape(first['given'])}</p>{_lines(first)}"
    seen, more = {tuple(first["lines"])}, []
    for finding in told["findings"]:
        if tuple(finding["lines"]) not in seen and finding["part"] != "the same answer":
            seen.add(tuple(finding["lines"]))
            more.append(finding)
    if more:
        yield _heading("What else was found")
        for finding in more[:_TOLD]:
            yield f"<p><b>{escape(finding['part'])}</b>, with {escape(finding['situation'])}</p>{_lines(finding)}"


def _lines(finding: dict[str, Any]) -> str:
    """The finding, its rows of numbers never broken."""
    lines = (f"<span>{escape(x)}</span>" if x.startswith("  ") else escape(x) for x in finding["lines"])
    return f"<pre>{chr(10).join(lines)}</pre>"


def _parts(told: dict[str, Any]) -> Iterable[str]:
    yield _heading("What is kept of the contract") + '<ul class="av-parts">'
    for part, share in told["parts"].items():
        kept = share["kept"]
        yield (
            f'<li><span>{escape(part)}</span><span class="av-track" aria-hidden="true">'
            f'<span style="width: {kept:.0%}"></span></span>'
            f'<span class="av-much">{kept:.0%} of {share["worth"]:.2f}</span></li>'
        )
    yield "</ul>"


def _notes(told: dict[str, Any]) -> Iterable[str]:
    notes = list(told["remarks"])
    if told["printed"]:
        notes.append(f"It printed {told['printed']} characters, which are left out here.")
    if notes:
        yield _heading("Remarks")
        yield from (f"<p>{escape(note)}</p>" for note in notes)


def in_words(name: str) -> str:
    """The name of a misconception as one says it."""
    return re.sub(r"\bd (k|v|model)\b", r"d_\1", name.replace("_", " "))


# ---------------------------------------------------------------------------------------------------- the pages

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_CSS = f"""
:root {{ --paper: #fff; --ink: {INK}; --quiet: #59636e; --line: #d8dde3; --track: #edf0f3;
  --good: {COLORS["v"]}; --bad: {COLORS["q"]}; --score: {COLORS["weights"]}; --link: #00588a; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #15181b; --ink: #e4e6e8; --quiet: #a3abb3; --line: #363c42; --track: #262b30; --link: #8cc8f0; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
main {{ max-width: 54rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.7rem; line-height: 1.25; margin: 0 0 .6rem; font-weight: 650; }}
main > section > h2 {{ font-size: 1.2rem; margin: 2.8rem 0 .3rem; }}
a {{ color: var(--link); text-underline-offset: .15em; }}
.over, .quiet {{ color: var(--quiet); }}
.over {{ margin: 0 0 .2rem; }}
.lead {{ font-size: 1.1rem; max-width: 42rem; margin: 0; }}
.quiet {{ font-size: .93rem; margin: .2rem 0 1rem; }}
"""

_CLASS_CSS = """
.bars { list-style: none; margin: 0; padding: 0; }
.bars > li { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .2rem 1.6rem; padding: .8rem 0;
  border-top: 1px solid var(--line); }
.bars h3 { font-size: 1rem; margin: 0; }
.bars p { margin: .1rem 0 0; font-size: .93rem; }
.drawn { display: flex; align-items: center; gap: .6rem; height: 1.5rem; }
.drawn .count { flex: 0 0 auto; min-width: 1.6em; font-weight: 650; font-variant-numeric: tabular-nums; }
.track { flex: 1; height: .9rem; background: var(--track); border-radius: 2px; }
.track span { display: block; height: 100%; min-width: 3px; border-radius: 2px; background: var(--bad); }
.track .none { min-width: 0; }
.other .track span { background: var(--quiet); }
.scores { display: grid; grid-template-columns: repeat(11, 1fr); gap: 3px; margin: 1rem 0 0; padding: 0;
  list-style: none; max-width: 42rem; }
.scores li { display: flex; flex-direction: column; justify-content: flex-end; text-align: center;
  font-size: .8rem; font-variant-numeric: tabular-nums; min-width: 0; }
.scores .column { height: 9rem; display: flex; flex-direction: column; justify-content: flex-end;
  border-bottom: 1px solid var(--quiet); }
.scores .column span { background: var(--score); border-radius: 2px 2px 0 0; }
.scores .all .column span { background: var(--good); }
.scores .label { color: var(--quiet); padding-top: .25rem; white-space: nowrap; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.parts { display: grid; grid-template-columns: max-content 1fr max-content; gap: .35rem .9rem; align-items: center;
  list-style: none; margin: 0; padding: 0; max-width: 42rem; }
.parts li { display: contents; }
.parts .track { margin: 0; }
.parts .track span { background: var(--score); }
.parts .much { font-variant-numeric: tabular-nums; text-align: right; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); }
td:last-child, th:last-child { padding-right: 0; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { min-width: 7rem; }
th button { all: unset; cursor: pointer; font-weight: 600; white-space: nowrap; }
th button:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
th button::after { content: " ↕"; content: " ↕" / ""; color: var(--quiet); font-weight: 400; }
th[aria-sort=ascending] button::after { content: " ↑"; content: " ↑" / ""; }
th[aria-sort=descending] button::after { content: " ↓"; content: " ↓" / ""; }
.right { color: var(--good); }
.wrong { color: var(--bad); }
@media (max-width: 36rem) {
  main { padding-top: 1.5rem; }
  .bars > li { grid-template-columns: 1fr; }
  .scores .label { font-size: .68rem; }
  .wide { overflow: visible; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody { display: block; }
  tr { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; border-bottom: 1px solid var(--line);
    padding: .55rem 0; }
  td { border: 0; padding: 0; }
  td.name { min-width: 0; }
  td.what, td.file { grid-column: 1 / -1; }
  td.file { color: var(--quiet); font-size: .88rem; }
}
@media print { th button::after { content: ""; } }
"""

_SORT = """
for (const head of document.querySelectorAll("th")) {
  head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = document.querySelector("tbody"), key = (row) => row.children[head.cellIndex].dataset.key;
    const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
    body.append(...[...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
  });
}
"""


def student_page(row: Graded, result: ClassResult) -> str:
    """Make the page of one student.

    Parameters
    ----------
    row : Graded
    result : ClassResult

    Returns
    -------
    page : str
        The text of an HTML file.
    """
    over = f"Variant {result.variant} · {result.function}" + (f" · {row.file}" if row.file else "")
    body = [f'<p class="over">{escape(over)}</p><h1>{escape(row.student)}</h1>']
    if row.report is None:
        trouble = f"<p>There is nothing to judge: {escape(row.trouble)}</p>"
        verdict = '<p class="av-verdict">✗ <b>Not graded.</b> Score 0.00 of 1.</p>'
        notes = "".join(_notes({"remarks": row.remarks, "printed": 0}))
        style = f"<style>{_REPORT_CSS}</style>"
        body.append(f'<section class="av-report">{style}{verdict}{trouble}{notes}</section>')
    else:
        body.append(report_html(row.report | {"remarks": row.remarks}))
    return _PAGE.format(title=escape(f"{row.student}: variant {result.variant}"), css=_CSS, body="\n".join(body))


def class_page(result: ClassResult) -> str:
    """Make the page of the class: which misconceptions how many have, the scores, the contract, and the students.

    Parameters
    ----------
    result : ClassResult

    Returns
    -------
    page : str
        The text of an HTML file; it links to ``students/``.
    """
    body = [_head(result), _misconceptions(result), _scores(result), _contract(result), _students(result)]
    title = f"Variant {result.variant}, {result.function}: {_right(result)}"
    return _PAGE.format(title=escape(title), css=_CSS + _CLASS_CSS, body="\n".join(body))


def file_names(result: ClassResult) -> dict[str, str]:
    """Give each student a file name of their own that every system takes.

    Parameters
    ----------
    result : ClassResult

    Returns
    -------
    names : dict
        Student to file name.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for row in result.rows:
        start = re.sub(r"[^\w-]+", "_", row.student).strip("_")[:50] or "student"
        name, number = start, 1
        while name.lower() in taken:
            number += 1
            name = f"{start}_{number}"
        taken.add(name.lower())
        names[row.student] = f"{name}.html"
    return names


def count(number: int, noun: str) -> str:
    """A number and what is counted."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _right(result: ClassResult) -> str:
    return f"{result.passed} of {len(result.rows)} right"


def _head(result: ClassResult) -> str:
    total, wrong = len(result.rows), len(result.rows) - result.passed
    lead = ""
    if found := result.misconceptions():
        named, rows = found[0]
        lead = (
            f"{wrong} {'is' if wrong == 1 else 'are'} not right yet; the most frequent misconception, "
            f"in {len(rows)} of them, is <b>{escape(in_words(named['name']))}</b>. "
        )
    lead += f"The mean score is {result.mean:.2f}."
    over = f"Variant {result.variant} · {result.function} · {count(total, 'student')}"
    over += " · with the rules of the variant" if result.rules else ""
    left_out = ""
    if result.left_out:
        files = ", ".join(result.left_out[:10]) + (", ..." if len(result.left_out) > 10 else "")
        left_out = f'<p class="quiet">Not looked at, for it is neither .py nor .ipynb: {escape(files)}</p>'
    tables = " and ".join(f'<a href="{file}">{file}</a>' for file in ("grades.csv", "grades.json"))
    return (
        f'<p class="over">{escape(over)}</p><h1>{_right(result)}</h1><p class="lead">{lead}</p>{left_out}'
        f'<p class="quiet">The same as a table: {tables}</p>'
    )


def _links(rows: Sequence[Graded], names: dict[str, str]) -> str:
    return ", ".join(_link(row, names) for row in rows)


def _link(row: Graded, names: dict[str, str]) -> str:
    return f'<a href="students/{quote(names[row.student])}">{escape(row.student)}</a>'


def _misconceptions(result: ClassResult) -> str:
    """The drawing that the lecturer came for: a bar for each misconception, and for what has no name."""
    names = file_names(result)
    found = result.misconceptions()
    others = [
        (title, words, rows)
        for title, words, rows in (
            (
                "nothing to judge",
                "The file could not be read or run, or has no such function; each report says why.",
                [row for row in result.rows if row.trouble],
            ),
            ("not written yet", "The function raises NotImplementedError.", [r for r in result.rows if r.not_written]),
            (
                "no known misconception",
                "It raises an error, does not end, or is wrong in a way without a name; each report says which.",
                [r for r in result.rows if not (r.passed or r.trouble or r.not_written or r.misconceptions)],
            ),
        )
        if rows
    ]
    rules = [row for row in result.rows if row.broken_rules]
    if rules:
        others.append(("against the rules", "It may be right, but not in the way of this variant.", rules))
    most = max([len(rows) for *_, rows in found] + [len(rows) for *_, rows in others], default=1)

    def bar(title: str, words: str, rows: Sequence[Graded], kind: str = "") -> str:
        return (
            f"<li{kind}><div><h3>{escape(title)}</h3><p>{escape(words)}</p></div>"
            f'<div><div class="drawn"><span class="count">{len(rows)}</span>'
            f'<span class="unseen"> {"student" if len(rows) == 1 else "students"}</span>'
            f'<div class="track" aria-hidden="true"><span style="width: {len(rows) / most:.1%}"></span></div></div>'
            f"<p>{_links(rows, names)}</p></div></li>"
        )

    drawn = "".join(bar(in_words(named["name"]), named["explanation"], rows) for named, rows in found)
    drawn += "".join(bar(title, words, rows, ' class="other"') for title, words, rows in others)
    quiet = f"How many of the {count(len(result.rows), 'student')} have which; one can have two."
    if not found:
        quiet = "None was found."
    return f'<section><h2>Misconceptions</h2><p class="quiet">{quiet}</p><ol class="bars">{drawn}</ol></section>'


def _scores(result: ClassResult) -> str:
    """How many have which score: ten columns below 1, and one for what is right."""
    counts = [0] * 11
    for row in result.rows:
        counts[10 if row.passed else min(int(row.score * 10), 9)] += 1
    most = max(counts)
    columns = []
    for i, number in enumerate(counts):
        label = "right" if i == 10 else f"0.{i}"
        said = "right" if i == 10 else f"score {i / 10:.1f} to below {(i + 1) / 10:.1f}"
        height = 7.5 * number / max(most, 1)
        columns.append(
            f'<li{" class=all" if i == 10 else ""}><span class="unseen">{said}: {count(number, "student")}</span>'
            f'<span class="column" aria-hidden="true">{number or ""}'
            f'<span style="height: {height:.2f}rem"></span></span>'
            f'<span class="label" aria-hidden="true">{label}</span></li>'
        )
    quiet = (
        f"The mean is {result.mean:.2f}. Each column begins at its number: 0.7 holds the scores from 0.7 to below 0.8."
    )
    return f'<section><h2>Scores</h2><p class="quiet">{quiet}</p><ul class="scores">{"".join(columns)}</ul></section>'


def _contract(result: ClassResult) -> str:
    parts = result.parts()
    if not parts:
        return ""
    total = len(result.rows)
    drawn = "".join(
        f'<li><span>{escape(part)}</span><div class="track" aria-hidden="true">'
        f'<span{"" if number else " class=none"} style="width: {number / total:.1%}"></span></div>'
        f'<span class="much">{number} of {total}</span></li>'
        for part, number in parts.items()
    )
    quiet = "How many students keep each part wholly."
    return f'<section><h2>The contract</h2><p class="quiet">{quiet}</p><ul class="parts">{drawn}</ul></section>'


def _students(result: ClassResult) -> str:
    names = file_names(result)
    rows = []
    for i, row in enumerate(result.rows):
        sign = '<span class="right">✓</span>' if row.passed else '<span class="wrong">✗</span>'
        what = _what(row)
        cells = [
            ("name", f"{i:06}", _link(row, names)),
            ("number", f"{row.score:.3f}{' ' if row.passed else ''}", f"{sign} {row.score:.2f}"),
            ("what", what, escape(what)),
            ("file", row.file, escape(row.file)),
        ]
        rows.append(
            "<tr>"
            + "".join(f'<td class="{kind}" data-key="{escape(key)}">{x}</td>' for kind, key, x in cells)
            + "</tr>"
        )
    heads = ("Student", "Score", "What it looks like", "File")
    head = "".join(
        f'<th scope="col"{sort}><button type="button">{name}</button></th>'
        for name, sort in zip(heads, (" aria-sort=ascending", "", "", ""), strict=True)
    )
    return (
        f'<section><h2>Students</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div><script>{_SORT}</script></section>"
    )


def _what(row: Graded) -> str:
    """One student's case in a few words."""
    if row.passed:
        return ""
    if row.trouble:
        return _short(row.trouble)
    if row.not_written:
        return "nothing is written yet"
    words = [in_words(name) for name in row.misconceptions]
    if row.broken_rules:
        words.append("against the rules")
    if words or row.report is None:
        return "; ".join(words)
    first = row.report["findings"][row.report["first"]]
    return _short(f"fails with {first['situation']}: {first['lines'][0]}")


def _short(text: str) -> str:
    return text if len(text) <= 140 else text[:140] + " ..."
