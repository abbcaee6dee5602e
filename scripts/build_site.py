"""Build the course as a static site in build/site, from the outputs that the notebooks are stored with.

Nothing of the course is executed. The pages of ``docs/``, the notebooks and the texts at the top of the repository are
brought together in build/site-source, with what is generated: the code of the variants with an anchor for each line,
the tables of the stored benchmark, the help of the command line, the players. Then Sphinx makes the site, and every
warning is an error. All that a page needs is in the site itself: it can be read from disk, with the network off.
"""

from __future__ import annotations

import argparse
import html
import inspect
import os
import re
import shutil
import sys
import time
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import PythonLexer  # type: ignore[import-untyped]
from typer.main import get_command

import attention_variants as av
from attention_variants import cli
from attention_variants.lab.bench.bounds import bounds
from attention_variants.lab.bench.result import Bench
from attention_variants.lab.bench.tables import all_tables, bounds_table
from attention_variants.lab.table import html_table
from attention_variants.lab.web.view import VIEW, page

ROOT = Path(__file__).resolve().parents[1]
#: Texts that are pages of the site as they are.
TEXTS = ("CHANGELOG.md", "CONTRIBUTING.md", "classroom/README.md")
#: A relative link in Markdown: what stands in its round brackets, up to a # or the end.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


#: What a fold says while it is closed: HTML to MyST, which leaves its TeX as it is.
SUMMARY = re.compile(r"<summary>.*?</summary>", flags=re.DOTALL)


def repository() -> str:
    """Give the address of the repository, from which all links to Binder, Colab and the code are made.

    Returns
    -------
    address : str
        That of ``pyproject.toml``; in a fork's workflow that of the fork.
    """
    if "GITHUB_REPOSITORY" in os.environ:
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def build(out: Path, *, address: str = "") -> int:
    """Build the site.

    Parameters
    ----------
    out : Path
        The folder of the site.
    address : str, optional
        Of the repository; by default `repository`.

    Returns
    -------
    status : int
        0 if there was not a single warning.
    """
    from sphinx.cmd.build import main as sphinx

    source = out.with_name(out.name + "-source")
    for folder, sign in ((source, "conf.py"), (out, ".buildinfo")):
        if (folder.is_dir() and any(folder.iterdir()) and not (folder / sign).exists()) or folder == ROOT / "docs":
            raise SystemExit(f"{folder} holds something else than a site: remove it yourself, or name another folder.")
        shutil.rmtree(folder, ignore_errors=True)
    bring_together(source, address or repository())
    return sphinx(["-q", "-W", "--keep-going", "-j", "auto", "-d", str(source / ".doctrees"), str(source), str(out)])


def bring_together(source: Path, address: str) -> None:
    """Write everything that Sphinx is to read into one folder."""
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "assets", source / "assets")
    for text in TEXTS:
        (source / text).parent.mkdir(exist_ok=True)
        linked = with_links((ROOT / text).read_text(encoding="utf-8"), ROOT / text, address)
        (source / text).write_text(linked, encoding="utf-8")
    for folder in ("notebooks", "code", "tables", "extra/views", "extra/notebooks"):
        (source / folder).mkdir(parents=True)

    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for name, text in take_views(notebook, path.stem).items():
            (source / "extra/views" / name).write_text(text, encoding="utf-8")
        nbformat.write(notebook_page(notebook, path, address), source / "notebooks" / path.name)
        shutil.copy(path, source / "extra/notebooks" / path.name)  # the one to download, as it is
    write_code(source / "code")
    write_tables(source / "tables")
    (source / "api/command_line.md").write_text(command_line(), encoding="utf-8")
    mathjax = Path(str(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax")))
    for part in (
        "tex-chtml.js",
        "output/chtml/fonts/woff-v2",
    ):  # its other 23 MB are for other forms of input and output
        to = source / "_static/mathjax" / part
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(mathjax / part, to) if (mathjax / part).is_dir() else shutil.copy(mathjax / part, to)


def with_links(text: str, path: Path, address: str) -> str:
    """Turn links to files that are no pages of the site into links to the repository."""

    def to(found: re.Match[str]) -> str:
        target = (path.parent / found[1]).resolve().relative_to(ROOT)
        is_page = target.as_posix() in TEXTS or target.parts[0] in ("assets", "notebooks")
        return found[1] if is_page else f"{address}/blob/main/{target.as_posix()}"

    return LINK.sub(to, text)


# ----------------------------------------------------------------------------------------------- notebooks


def notebook_page(notebook: NotebookNode, path: Path, address: str) -> NotebookNode:
    """Make a page of a notebook: buttons under the title, players for their pictures, and words for all others.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.
    path : Path
        Where it is stored.
    address : str
        Of the repository.

    Returns
    -------
    notebook : NotebookNode
        The same object.
    """
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{buttons(path.name, address)}\n{rest}"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = SUMMARY.sub(with_maths, with_links(cell.source, path, address))
        if "alt" in cell.metadata:
            cell.metadata["mystnb"] = {"image": {"alt": cell.metadata["alt"]}}
    return notebook


def take_views(notebook: NotebookNode, stem: str) -> dict[str, str]:
    """Take players and explorers out of a notebook: each becomes a page, which is loaded when it comes into sight.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place: in the place of a view stands a frame with its page. It tells its height (site.js).
    stem : str
        The name of the notebook.

    Returns
    -------
    pages : dict of str
        The text of each page by the name of its file.
    """
    pages = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get("text/html", "")
            if view.startswith(VIEW):
                name, words = f"{stem}-{cell.id}.html", output.metadata["image/png"]["alt"]
                pages[name] = page(view, title=words)
                frame = f'<iframe class="view" src="../views/{name}" title="{html.escape(words)}" loading="lazy">'
                output.data = {"text/html": f"{frame}</iframe>"}
    return pages


def with_maths(summary: re.Match[str]) -> str:
    """Mark the TeX between dollars in a piece of HTML for MathJax."""
    return re.sub(r"\$([^$]+)\$", r'<span class="math notranslate nohighlight">\\(\1\\)</span>', summary[0])


def buttons(name: str, address: str) -> str:
    """Write the row of buttons that stands under the title of a notebook."""
    repo = address.partition("://")[2].partition("/")[2]
    return f"""\
<div class="launch">
<details><summary>JupyterLab</summary>
<p>In a clone of the repository: <code>make lab</code>, then open <code>{name}</code> on the left. In an environment of
your own that has the package: <code>jupyter lab notebooks/{name}</code></p></details>
<a href="https://mybinder.org/v2/gh/{repo}/main?urlpath=lab/tree/notebooks/{name}">Binder</a>
<a href="https://colab.research.google.com/github/{repo}/blob/main/notebooks/{name}">Colab</a>
<a href="../notebooks/{name}" download>Download</a>
</div>
"""


# ---------------------------------------------------------------------------------------- what is generated


def write_code(folder: Path) -> None:
    """Write a page for the code of each variant, with an anchor for each line, and what changed in it."""
    formatter = HtmlFormatter(linenos="inline", lineanchors="line", anchorlinenos=True, cssclass="highlight source")
    rows, stems = "", ""
    for number, function in [*av.VARIANTS.items(), (None, av.attention_tiled)]:
        path = Path(inspect.getsourcefile(function) or "")
        what = (inspect.getdoc(inspect.getmodule(function)) or "").partition(": ")[2]
        title = f"{number} · {function.__name__}" if number else f"Inside 7 · {function.__name__}"
        notebook = next((ROOT / "notebooks").glob(f"{number or 7:02}_*.ipynb")).name
        reference = f"{{py:func}}`the reference <attention_variants.{function.__name__}>`"
        line = inspect.getsourcelines(function)[1]
        text = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"  # room for long lines
        text += f"# {title}\n\n{what[:1].upper()}{what[1:]}\n\n"
        text += f"[The notebook](../notebooks/{notebook}) · {reference}\n"
        below, changes = "", ""
        if number and number > 1:
            below = f', and below it <a href="#what-changed-from-variant-{number - 1}">what changed</a>'
            changed = av.diff(number - 1, number)
            indented = "A line marked ~ is only indented differently.\n" * any(one.mark == "~" for one in changed.lines)
            changes = f"\n## What changed from variant {number - 1}\n\n{indented}" + raw(changed._repr_html_())
        text += raw(f'<p><a href="#line-{line}">The function, from line {line}</a>{below}</p>')
        text += raw(highlight(path.read_text(encoding="utf-8"), PythonLexer(), formatter)) + changes
        (folder / f"{path.stem}.md").write_text(text, encoding="utf-8")
        rows += f"| [{title}]({path.stem}.md) | {what.rstrip('.')} | {av.code_lines(function)} |\n"
        stems += f"{path.stem}\n"
    (folder / "index.md").write_text(
        "# The code\n\nSeven functions, and inside the seventh a loop over tiles, a page each. Every line has an "
        "address of its own: click its number.\n\n"
        f"| | adds | lines |\n|:--|:--|--:|\n{rows}\n```{{toctree}}\n:hidden:\n\n{stems}```\n",
        encoding="utf-8",
    )


def raw(code: str) -> str:
    """Write HTML so that MyST leaves it as it is."""
    return f"\n```{{raw}} html\n{code}\n```\n"


def write_tables(folder: Path) -> None:
    """Write the tables of the stored runs of the benchmark."""
    stored = Bench.load(ROOT / "assets/bench")
    guaranteed = bounds_table(bounds(stored), stored.caption)
    tables = {"bounds": [guaranteed], "all": [table for table in all_tables(stored) if table[0] != guaranteed[0]]}
    tables["decoding"] = list(all_tables(Bench.load(ROOT / "assets/bench/decoding")))  # a run of its own
    for name, parts in tables.items():
        html_tables = [html_table(title, heads, rows, left=left, note=note) for title, heads, rows, left, note in parts]
        (folder / f"{name}.html").write_text(f'<div class="scrolls">{"".join(html_tables)}</div>', encoding="utf-8")


def command_line() -> str:
    """Write the page of the command line: the help of each command, with its arguments and options as tables."""
    program: Any = get_command(cli.app)
    context = program.make_context(cli.PROGRAM, [], resilient_parsing=True)
    commands = [(name, program.get_command(context, name)) for name in program.list_commands(context)]
    listed = "".join(f"| [{name}](#{name}) | {command.get_short_help_str(200)} |\n" for name, command in commands)
    text = f"# The command line\n{_help(program, context)}\n| command | what it does |\n|:--|:--|\n{listed}"
    for name, command in commands:
        text += f"\n## {name}\n{_help(command, command.make_context(name, [], parent=context, resilient_parsing=True))}"
    return text


def _help(command: Any, context: Any) -> str:
    what, _, example = inspect.cleandoc(command.help).partition("\n\nExample: ")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    text = f"\n```text\n{usage}\n```\n\n{what}\n\n"
    tables: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            is_option = parameter.param_type_name == "option"
            name = record[0].strip() if is_option else record[0].split()[0]  # of an argument not the type
            name = name.translate(str.maketrans({"|": "\\|", "<": "", ">": ""}))
            kind = parameter.rich_help_panel or f"{parameter.param_type_name}s"
            tables.setdefault(kind, []).append(f"| `{name}` | {' '.join(record[1].split())} |")
    for kind, rows in tables.items():
        text += "\n".join([f"| {kind} | meaning |", "|:--|:--|", *rows, "", ""])
    return text + (f"Example:\n\n```console\n{example}\n```\n" if example else "")


def main(arguments: list[str] | None = None) -> int:
    """Build the site and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build/site", help="the folder (default: build/site)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    status = build(options.out.resolve())
    print(f"{options.out}/index.html, in {time.perf_counter() - start:.0f} s" if not status else "not built")
    return status


if __name__ == "__main__":
    sys.exit(main())
