"""A report as HTML, for a page or for the output of a notebook's cell.

The templates stand in ``templates/``. Whatever comes from a submission, its author's name included, is escaped by
jinja2, everywhere, without being asked.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from attention_variants.lab.plots.colors import COLORS, INK

from . import wording

__all__ = ["in_html", "render", "report_html", "say", "shown"]


def report_html(report: dict[str, Any]) -> str:
    """Show a report as a piece of HTML.

    Parameters
    ----------
    report : dict
        ``Report.to_dict()``.

    Returns
    -------
    html : str
        One element, each of its parts with its own style; it takes the colour of the letters from what is around it.
    """
    return render("report.html", **shown(report))


def shown(report: dict[str, Any]) -> dict[str, Any]:
    """Choose what ``report.html`` shows of a report.

    Parameters
    ----------
    report : dict
        ``Report.to_dict()``.

    Returns
    -------
    names : dict
        The names of that template.
    """
    score = say("score", score=report["score"]).replace(" ", "\N{NO-BREAK SPACE}")  # no line ends within it
    goal = report["goal"] or say("variant", variant=report["variant"])
    example, more = None, []
    if report["first"] is not None:
        example = report["findings"][report["first"]]
        more = [report["findings"][i] for i in report["also"]]
    return {
        "report": report,
        "verdict": say("verdict_not_right"),
        "about": say("about", name=report["name"], goal=goal, score=score),
        "example": example,
        "more": more,
    }


def say(key: str, **fields: Any) -> Markup:
    """Say a sentence of `wording.REPORT` in HTML.

    Parameters
    ----------
    key : str
        Which.
    **fields
        What is filled in; text is escaped, HTML that jinja2 has made is not.

    Returns
    -------
    html : Markup
    """
    return in_html(wording.REPORT[key], **fields)


def in_html(template: wording.Template, **fields: Any) -> Markup:
    """Fill a template of `wording` in HTML, as `say` does one of `wording.REPORT`.

    Parameters
    ----------
    template : str or tuple of two str
        As in `wording.say`.
    **fields
        What is filled in; text is escaped, HTML that jinja2 has made is not.

    Returns
    -------
    html : Markup
    """
    return escape(wording.chosen(template, fields)).format(**fields)


def render(template: str, **names: Any) -> str:
    """Fill in a template.

    Parameters
    ----------
    template : str
        A file in ``templates/``.
    **names
        What it speaks of.

    Returns
    -------
    html : str
    """
    return _environment().get_template(template).render(**names)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(colors=COLORS, ink=INK, say=say, in_html=in_html, language=wording.LANGUAGE)
    made.filters.update(in_words=wording.mistake, listed=wording.listed)
    sheet = made.get_template("report.css").render()
    rules = re.findall(r"^\.(\w+) {(.*?)}", sheet, re.DOTALL | re.MULTILINE)
    made.globals.update(style={name: " ".join(style.split()) for name, style in rules})
    return made
