"""What moves under the reader's hand: one view in JavaScript, shown as a widget in JupyterLab or as a page of its own.

A view is a pair of files in ``lab/web``: ``name.js``, a module whose default export has ``render({ model, el })``, and
``name.css``. It takes all it shows from ``model.get("data")``, a dictionary that Python made from the running code, and
asks Python nothing more: so it answers at once, also while the kernel is busy, and the page needs neither a kernel nor
a network.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent

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
{css}
@media (max-width: 480px) {{ body {{ padding: 0; }} }}
</style>
</head>
<body>
<main id="view"></main>
<script type="application/json" id="data">{data}</script>
<script type="module">
{script}
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("view");
view.render({{ model: {{ get: () => data, on: () => {{}} }}, el: main }});
// In a frame of another page it says how high it is.
new ResizeObserver(() => parent.postMessage({{ height: document.body.offsetHeight }}, "*")).observe(document.body);
</script>
</body>
</html>
"""


def page(view: str, data: dict[str, Any], *, title: str, width: int = 1100) -> str:
    """Make a page of a view that works from disk: script, style and data are in it, and it asks for nothing else.

    Parameters
    ----------
    view : str
        The name of the view's files in ``lab/web``.
    data : dict
        What the view shows, as JSON can hold it.
    title : str
        The title of the page.
    width : int, default 1100
        How wide the page gets at most, in CSS pixels.

    Returns
    -------
    page : str
        The text of an HTML file.

    Raises
    ------
    ValueError
        If the data hold NaN or infinity, which JSON does not have, or the script has no one default export.
    """
    script, css = _files(view)
    begin = "export default "
    if script.count(begin) != 1:
        raise ValueError(f"{view}.js must have one {begin.strip()!r}; got {script.count(begin)}.")
    return _PAGE.format(
        title=html.escape(title),
        width=width,
        css=css,
        # "</script>" within the data would end the element, and "<!--<script>" keep it from ending
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        script=script.replace(begin, "const view = "),
    )


def bundle(view: str, data: Callable[[], dict[str, Any]], *, picture: bytes, alt: str, text: str) -> Any:
    """Say how a notebook shows a view: live as a widget, stored as a picture.

    Parameters
    ----------
    view : str
        The name of the view's files in ``lab/web``.
    data : callable
        Gives what the view shows; not called where there are no widgets.
    picture : bytes
        A PNG, animated or not, for wherever there is no kernel.
    alt : str
        What the picture shows, for those who do not see it.
    text : str
        What a plain terminal prints.

    Returns
    -------
    bundle : (dict, dict)
        What ``_repr_mimebundle_`` returns: representations by MIME type, and their metadata.
    """
    contents = {"text/plain": text, "image/png": base64.b64encode(picture).decode()}
    try:
        widget = _widget(view, data)
    except ImportError:  # the library alone, without the extra "lab": the picture will do
        pass
    else:
        contents |= widget._repr_mimebundle_()[0] | {"text/plain": text}
    return contents, {"image/png": {"alt": alt}}


def _widget(view: str, data: Callable[[], dict[str, Any]]) -> Any:
    import anywidget
    import traitlets

    script, css = _files(view)

    # anywidget tells style sheets apart by the name of the class: without one of its own, a view takes away another's.
    parts = {"_esm": script, "_css": css, "data": traitlets.Dict().tag(sync=True)}
    kind = type(view.capitalize(), (anywidget.AnyWidget,), parts)
    return kind(data=data())


def _files(view: str) -> tuple[str, str]:
    return tuple((_FOLDER / f"{view}.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))  # type: ignore[return-value]
