"""How Sphinx makes the site; ``scripts/build_site.py`` brings its sources together and calls it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the sources are built in a folder of their own

from numpydoc.xref import DEFAULT_LINKS

import attention_variants as av

project = "attention_variants"
author = "the attention_variants contributors"
copyright = author
version = release = av.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
]

# The outputs are those that the notebooks are stored with.
nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 0), ("html", "image/png", 10)]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

mathjax_path = "mathjax/tex-chtml.js"  # a copy in the site itself
mathjax3_config = {"options": {"enableMenu": False}}

default_role = "py:obj"  # as the docstrings mean it
autodoc_typehints = "none"  # the docstrings say it in words, with shapes
add_module_names = False
toc_object_entries_show_parents = "hide"
add_function_parentheses = False
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # autodoc does, in the order of the source
# The types of parameters and results lead to the classes of ours that they name.
_REFERENCE = "".join(path.read_text(encoding="utf-8") for path in sorted(Path("api").glob("*.md")))
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
DEFAULT_LINKS.clear()  # "bool" and the like: into Python's own documentation, which is not part of the site
numpydoc_xref_aliases = {
    name.rpartition(".")[2]: name if "." in name else f"attention_variants.{name}"
    for name in re.findall(r"autoclass:: (\S+)", _REFERENCE)
}

html_static_path = ["_static"]
html_extra_path = ["extra"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_theme = "sphinx_book_theme"
html_context = {"default_mode": "auto"}
html_title = "attention_variants"
html_last_updated_fmt = None
html_domain_indices = False  # an index of modules would list one
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def _link_papers(app, what, name, thing, options, lines):
    """Make links of the numbers under which papers stand at arXiv."""
    lines[:] = [re.sub(r"arXiv:(\d+\.\d+)", r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", line) for line in lines]


def _find_public_name(app, env, node, shown):
    """Resolve a name that stands neither in the docstring's module nor at the top: there is but one of that ending."""
    if node.get("refdomain") != "py":
        return None
    python = env.get_domain("py")
    found = [name for name in python.objects if name.endswith(f".{node['reftarget']}")]
    top = [name for name in found if name.count(".") == 1]
    if len(top or found) != 1:
        return None
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", (top or found)[0], node, shown)


def setup(app):
    """Tell Sphinx of both."""
    app.connect("autodoc-process-docstring", _link_papers, priority=900)  # after numpydoc
    app.connect("missing-reference", _find_public_name)
