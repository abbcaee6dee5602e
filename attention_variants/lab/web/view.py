"""What moves under the reader's hand: one view in JavaScript, in the output of a cell or on a page of its own.

A view is a pair of files in ``lab/web``: ``name.js``, a module whose default export has
``render({ data, el, maxHeight })``, and ``name.css``. All it shows is in ``data``, a dictionary that Python made from
the running code: it asks neither a kernel nor a network for anything. ``maxHeight()`` is how high it may be, in CSS
pixels, to be seen all at once: what JupyterLab leaves of a window for a notebook is a little more. Its colours are
those of the theme of JupyterLab or VS Code, whose variables reach into it; elsewhere it is light.

`element` is HTML that carries all of it: a picture, one line, and a script that puts the view in their place. So an
output lasts as long as the file that it is saved in, with or without a kernel, in whatever shows notebooks. Where
scripts may not run, as in a notebook that its reader has not run yet, the picture and the line are what is seen.
"""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

#: What `element` begins with, by which it is known in a notebook.
VIEW = '<div class="av-view">'

_FOLDER = Path(__file__).parent

# The script is no module: only a plain one can ask which element it stands in. VS Code and the classic Notebook run a
# copy of it elsewhere, behind the output or in the head of the page: it takes the first that has not run. What a view
# shows is kept apart from the style sheets around it, and they from its own, by a shadow root. In JupyterLab some keys
# are commands, unless the element with the focus says otherwise.
_ELEMENT = """\
<div class="av-view">
<img src="{picture}" alt="{alt}" style="max-width: 100%; background: #fff">
<p style="font-size: 13px; margin: 4px 0">{line}</p>
<script>
(() => {{
"use strict";
const script = document.currentScript;
const place = script.closest(".av-view") ?? document.querySelector(".av-view > script").parentElement;
{script}
const data = {data};
const host = document.createElement("div");
host.dataset.lmSuppressShortcuts = "true";
const el = document.createElement("div");
const style = document.createElement("style");
style.textContent = {css};
host.attachShadow({{ mode: "open" }}).append(style, el);
place.replaceChildren(host);
// A frame of a page is as high as what is in it, so its height says nothing.
const maxHeight = () => 0.8 * (window === parent ? innerHeight : screen.height);
view.render({{ data, el, maxHeight }});
}})();
</script>
</div>"""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ margin: 0 auto; padding: 1rem; max-width: {width}px; font-family: system-ui, sans-serif; }}
@media (max-width: 480px) {{ body {{ padding: 0; }} }}
</style>
</head>
<body>
<main>
{element}
</main>
<script>
// In a frame of another page it says how high it is.
new ResizeObserver(() => parent.postMessage({{ height: document.body.offsetHeight }}, "*")).observe(document.body);
</script>
</body>
</html>
"""


def element(view: str, data: dict[str, Any], *, picture: Image.Image, alt: str, line: str) -> str:
    """Make HTML of a view that needs nothing else: style, script and data are in it.

    Parameters
    ----------
    view : str
        The name of the view's files in ``lab/web``.
    data : dict
        What the view shows, as JSON can hold it.
    picture : PIL.Image.Image
        What is seen where no script may run.
    alt : str
        What the picture shows, for those who do not see it.
    line : str
        What is said below the picture.

    Returns
    -------
    element : str
        One element, the same for the same arguments.

    Raises
    ------
    ValueError
        If the data hold NaN or infinity, which JSON does not have, or the script has no one default export.
    """
    script, css = ((_FOLDER / f"{view}.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    begin = "export default "
    if script.count(begin) != 1:
        raise ValueError(f"{view}.js must have one {begin.strip()!r}; got {script.count(begin)}.")
    return _ELEMENT.format(
        picture=f"data:image/webp;base64,{in_base64(picture)}",
        alt=html.escape(alt),
        line=html.escape(line),
        script=_brief(script.replace(begin, "const view = ")),
        data=_in_script(data),
        css=_in_script(_brief(css)),
    )


def page(element: str, *, title: str, width: int = 1100) -> str:
    """Make a page of a view that works from disk, with the network off.

    Parameters
    ----------
    element : str
        What `element` made.
    title : str
        The title of the page.
    width : int, default 1100
        How wide the page gets at most, in CSS pixels.

    Returns
    -------
    page : str
        The text of an HTML file.
    """
    return _PAGE.format(title=html.escape(title), width=width, element=element)


def bundle(element: str, *, picture: bytes, alt: str, text: str) -> Any:
    """Say how a notebook shows a view.

    Parameters
    ----------
    element : str
        What `element` made.
    picture : bytes
        A PNG, animated or not, for what shows no HTML.
    alt : str
        What the picture shows, for those who do not see it.
    text : str
        What a plain terminal prints.

    Returns
    -------
    bundle : (dict, dict)
        What ``_repr_mimebundle_`` returns: representations by MIME type, and their metadata.
    """
    contents = {"text/plain": text, "image/png": base64.b64encode(picture).decode(), "text/html": element}
    return contents, {"image/png": {"alt": alt}}


def in_base64(picture: Image.Image) -> str:
    """Store a picture as WebP without loss, which takes a third of the bytes of a PNG, in base64.

    Parameters
    ----------
    picture : PIL.Image.Image

    Returns
    -------
    text : str
    """
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def _brief(source: str) -> str:
    """A script or a style sheet without indentation and lines of comment: a notebook stores a copy for each view."""
    lines = [line.strip() for line in source.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _in_script(x: Any) -> str:
    """As a literal of JavaScript. "</script>" in it would end the element, and "<!--<script>" keep it from ending."""
    return json.dumps(x, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
