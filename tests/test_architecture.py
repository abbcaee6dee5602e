"""The arrows point down, no files import each other in a circle, and what is private to a file stays in it.

cli -> classroom -> lab -> distributed -> model -> modern -> variants; and the variants lean on little but torch. An
import counts wherever it stands, inside functions too; what ``if TYPE_CHECKING:`` guards never runs: it does not count.
A module that is named in text counts as imported, whoever imports it: ``importlib``, a process of its own (``-m``), or
what takes the name and does so later. One is exempt, the package itself: it loads its public names by its stub.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import attention_variants

PACKAGE = Path(attention_variants.__file__).parent
NAME = "attention_variants"
#: From the lowest up; the package itself is the top. Those of MAY_BE_MISSING need not be there.
LAYERS = ("variants", "modern", "model", "distributed", "lab", "classroom", "cli")
MAY_BE_MISSING = {"modern", "distributed"}
TOP = len(LAYERS)


#: What takes the name of a module and imports it.
IMPORTERS = ("import_module", "__import__", "find_spec", "run_module")


def running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a module but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        is_guard = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if not is_guard:
            yield node
            yield from running_nodes(node)


def imports_from(source: str, module: str, is_package: bool = False) -> Iterator[tuple[int, str, str]]:
    """Every import in a module, as (line, absolute dotted name, what is imported from it or "")."""
    here = module.split(".") if is_package else module.split(".")[:-1]
    for node in running_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base = [*base, *filter(None, [node.module])]
            yield from ((node.lineno, ".".join(base), alias.name) for alias in node.names)
        elif name := named_in_text(node, module, ".".join(here)):
            yield getattr(node, "lineno", 0), name, ""


def named_in_text(node: ast.AST, module: str, package: str) -> str:
    """The module of ours that a text in a module names, absolute or relative; "" if none.

    Of a text that is put together when it runs the part counts that is known: ``f"{__package__}.{name}"`` names the
    package.
    """
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS and len(node.args) > 1:
        name, base = (known_text(argument, module, package) for argument in node.args[:2])
        level = len(name) - len(name.lstrip("."))  # ".name" stands beside the package's files, "..name" one higher
        return (
            ".".join([*base.split(".")[: base.count(".") + 2 - level], *filter(None, [name[level:]])]) if level else ""
        )
    if not isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)):
        return ""
    begins = re.fullmatch(rf"({NAME}(\.\w+)*)(\.?)", known_text(node, module, package))
    return begins[1] if begins and (not begins[3] or not isinstance(node, ast.Constant)) else ""


def known_text(node: ast.AST, module: str, package: str) -> str:
    """What a text is known to begin with, before it runs."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.Name):
        return {"__package__": package, "__name__": module}.get(node.id, "")
    if isinstance(node, ast.FormattedValue):
        return known_text(node.value, module, package)
    known, parts = "", node.values if isinstance(node, ast.JoinedStr) else []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    for part in parts:
        text = known_text(part, module, package)
        known += text
        if not text:
            break
    return known


def imports(source: str, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Every import in a module, as (line, absolute dotted name)."""
    for line, base, name in imports_from(source, module, is_package):
        # `from .. import model` and `from attention_variants import model` name a module after the import
        yield line, f"{base}.{name}" if name and base == NAME else base


def layer_of(module: str) -> int:
    """In which layer a module of ours is; the package itself and what it hands out are above all."""
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else TOP


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    return [
        f"{module}, line {line}: {imported}"
        for line, imported in imports(source, module, is_package)
        if imported.split(".")[0] == NAME and layer_of(imported) > layer_of(module)
    ]


def beyond_torch(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module of variants/ imports apart from torch, annotations, the standard library, and what they share.

    Only the registry, variants/__init__.py, imports the variants: none leans on another.
    """
    ours = (f"{NAME}.variants.",) if is_package else (f"{NAME}.variants.checks.", f"{NAME}.variants.registry.")
    allowed = {"torch", "jaxtyping", *sys.stdlib_module_names}
    return [
        f"{module}, line {line}: {imported}"
        for line, imported in imports(source, module, is_package)
        if imported.split(".")[0] not in allowed and not f"{imported}.".startswith(ours)
    ]


def modules() -> dict[str, tuple[str, bool]]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [NAME, *path.relative_to(PACKAGE).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        found[".".join(parts[:-1] if is_package else parts)] = (path.read_text(encoding="utf-8"), is_package)
    return found


MODULES = modules()
VARIANT_MODULES = [name for name in MODULES if name.startswith(f"{NAME}.variants")]


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module):
    source, is_package = MODULES[module]
    assert not upward(source, module, is_package)


@pytest.mark.parametrize("module", VARIANT_MODULES)
def test_variants_import_torch_and_little_else(module):
    source, is_package = MODULES[module]
    assert not beyond_torch(source, module, is_package)


def test_every_layer_is_there():
    there = {name.split(".")[1] for name in MODULES if name != NAME}
    assert set(LAYERS) - MAY_BE_MISSING <= there <= {*LAYERS, "data"}
    assert len(VARIANT_MODULES) >= 9  # seven variants, the registry, the input check


@pytest.mark.parametrize(
    "line",
    [
        "from ..lab import plots",
        "from ..lab.plots.weights import plot_weights",
        "from .. import lab",
        "from .. import check",  # through the package, which loads the classroom
        "import attention_variants",
        "import attention_variants.cli",
        "from attention_variants import compare",
        "from attention_variants.classroom import check",
        "def later():\n    from ..lab import plots",
        'import_module("attention_variants.lab.plots")',
        'importlib.import_module("..lab.plots", __package__)',
        '__import__("attention_variants")',
        'def later():\n    return run([sys.executable, "-m", "attention_variants.cli"])',
        'run([sys.executable, "-m", f"attention_variants.cli.{name}"])',
        'run([sys.executable, "-m", f"attention_variants.{name}"])',  # any of them
        'Contender("ours", module="attention_variants")',  # who takes the name imports it later
    ],
)
def test_an_arrow_that_points_up_is_seen(line):
    assert upward(line, f"{NAME}.model.layer")


@pytest.mark.parametrize(
    "line",
    [
        "from ..variants import VARIANTS",
        "from . import masks",
        "from .masks import x",
        'import_module("attention_variants.variants.checks")',
        'import_module("..variants", __package__)',
        'import_module(".masks", __package__)',
        'run([sys.executable, "-m", f"{__package__}.masks"])',
        'run([sys.executable, "-m", __package__ + "." + name])',
        'import_module("matplotlib.pyplot")',
        'name.startswith("attention_variants.")',
        '"attention_variants are seven"',
    ],
)
def test_an_arrow_that_points_down_is_allowed(line):
    assert not upward(line, f"{NAME}.model.layer")


@pytest.mark.parametrize(
    "line",
    ["import numpy", "from .v3_batched import attention_batched", "from ..model import lift", "import rich.table"],
)
def test_a_variant_that_leans_on_more_than_torch_is_seen(line):
    assert beyond_torch(line, f"{NAME}.variants.v4_masked")


# ------------------------------------------------------------------------------------------------ no circle of files


def needed(modules: Mapping[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """For each module the modules among these that it imports; a package is its ``__init__.py``."""
    graph = {}
    for module, (source, is_package) in modules.items():
        found = set()
        for _, base, name in imports_from(source, module, is_package):
            whole = f"{base}.{name}"
            found.add(whole if whole in modules else base)
        graph[module] = (found & set(modules)) - {module}
    return graph


def circle(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """A circle of imports, if there is one."""
    try:
        TopologicalSorter(needed(modules)).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("name", LAYERS)
def test_no_files_import_each_other_in_a_circle(name):
    """A layer at a time: since the arrows point down, no circle goes over several."""
    assert circle({module: it for module, it in MODULES.items() if f"{module}.".startswith(f"{NAME}.{name}.")}) == []


def test_the_package_is_in_no_circle():
    assert NAME not in circle(MODULES)


@pytest.mark.parametrize(
    "line",
    [
        "from .b import B",
        "from . import b",
        "from attention_variants.lab import b",
        "import attention_variants.lab.b",
        "def later():\n    from .b import B",
        'import_module("attention_variants.lab.b")',
        'import_module(".b", __package__)',
        '__import__("attention_variants.lab.b")',
        'run([sys.executable, "-m", f"{__package__}.b"])',
    ],
)
def test_a_circle_is_seen(line):
    lab = f"{NAME}.lab"
    modules = {lab: ("", True), f"{lab}.a": (line, False), f"{lab}.b": ("from .c import C", False)}
    assert not circle({**modules, f"{lab}.c": ("import torch", False)})
    assert set(circle({**modules, f"{lab}.c": ("from .a import A", False)})) == {f"{lab}.{name}" for name in "abc"}


#: Who imports what has no name before it runs, and why that is none of ours.
BY_A_NAME_OF_NOW = {
    f"{NAME}.classroom.sandbox.registered": "the module of a variant that the reader has registered",
    f"{NAME}.lab.bench.contenders": "the library of a contender, and the variants of ours, which stand there in text",
}


def test_only_these_import_what_has_no_name_before_it_runs():
    found = set()
    for module, (source, _) in MODULES.items():
        calls = [node for node in running_nodes(ast.parse(source)) if isinstance(node, ast.Call)]
        importing = [call for call in calls if ast.unparse(call.func).rpartition(".")[2] in IMPORTERS[:2]]
        if any(not isinstance(call.args[0], ast.Constant) for call in importing):
            found.add(module)
    assert found == set(BY_A_NAME_OF_NOW)


def test_only_the_package_loads_names_by_a_stub():
    lazy = [
        module
        for module, (source, is_package) in MODULES.items()
        if any(imported.split(".")[0] == "lazy_loader" for _, imported in imports(source, module, is_package))
    ]
    assert lazy == [NAME]


def test_what_only_a_type_checker_reads_is_no_circle():
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A\n"
    lab = f"{NAME}.lab"
    assert not circle({f"{lab}.a": ("from .b import B", False), f"{lab}.b": (guarded, False)})


# ------------------------------------------------------------------------------------------------ what is private


def taken_privates(source: str, module: str, is_package: bool = False) -> list[str]:
    """Names with an underscore that a module takes from another of ours, by import or as an attribute of it."""
    taken, ours = [], set()
    for line, base, name in imports_from(source, module, is_package):
        if base.split(".")[0] != NAME:
            continue
        if f"{base}.{name}" in MODULES:
            ours.add(name)
        elif name.startswith("_") and not name.startswith("__"):
            taken.append(f"{module}, line {line}: {base}.{name}")
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    for node in attributes:
        is_private = node.attr.startswith("_") and not node.attr.startswith("__")
        if is_private and isinstance(node.value, ast.Name) and node.value.id in ours:
            taken.append(f"{module}, line {node.lineno}: {node.value.id}.{node.attr}")
    return taken


@pytest.mark.parametrize("module", MODULES)
def test_what_is_private_to_a_file_stays_in_it(module):
    source, is_package = MODULES[module]
    assert not taken_privates(source, module, is_package)


@pytest.mark.parametrize(
    "code",
    [
        "from .layer import _boolean",
        "from . import layer\nlayer._boolean",
        "from attention_variants.model.layer import MultiHeadAttention, _boolean",
    ],
)
def test_a_private_name_that_is_taken_is_seen(code):
    assert taken_privates(code, f"{NAME}.model.encoder")


@pytest.mark.parametrize(
    "code",
    [
        "from .layer import MultiHeadAttention",
        "from attention_variants.variants.checks import check_inputs",
        "from torch import _C",
        "self._boolean",
    ],
)
def test_a_public_name_may_be_taken(code):
    assert not taken_privates(code, f"{NAME}.model.encoder")


# ------------------------------------------------------------------------------- no circle of the classroom's folders


def folders(modules: Mapping[str, tuple[str, bool]], inside: str) -> dict[str, set[str]]:
    """For each folder of a package, and each file beside them, those that it imports."""

    def room(module: str) -> str:
        return module.removeprefix(f"{inside}.").split(".")[0]

    graph: dict[str, set[str]] = {}
    for module, found in needed({name: it for name, it in modules.items() if name.startswith(f"{inside}.")}).items():
        graph.setdefault(room(module), set()).update(room(other) for other in found)
    return {one: others - {one} for one, others in graph.items()}


def test_no_folders_of_the_classroom_import_each_other_in_a_circle():
    graph = folders(MODULES, f"{NAME}.classroom")
    assert {"contract", "sandbox", "check"} <= set(graph)
    assert list(TopologicalSorter(graph).static_order())  # a circle raises CycleError, which names it


def test_a_circle_of_folders_is_seen_where_there_is_none_of_files():
    room = f"{NAME}.classroom"
    files = {f"{room}.a.one": "from ..b.one import B", f"{room}.b.one": "", f"{room}.b.two": "from ..a.two import A"}
    modules = {name: (source, False) for name, source in {**files, f"{room}.a.two": ""}.items()}
    assert circle(modules) == []
    with pytest.raises(CycleError):
        TopologicalSorter(folders(modules, room)).prepare()
