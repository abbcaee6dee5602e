"""The arrows point down, cli -> classroom -> lab -> model -> variants, and the variants lean on little but torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attention_variants

PACKAGE = Path(attention_variants.__file__).parent
NAME = "attention_variants"
FLOORS = ("variants", "model", "lab", "classroom", "cli")  # from the ground up; the facade stands on the roof
ROOF = len(FLOORS)


def imports(source: str, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Every import in a module, inside functions too, as (line, absolute dotted name)."""
    here = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base = [*base, *filter(None, [node.module])]
            # `from .. import model` and `from attention_variants import model` name a module after the import
            names = [alias.name for alias in node.names] if base == [NAME] else [None]
            yield from ((node.lineno, ".".join(filter(None, [*base, name]))) for name in names)


def floor(module: str) -> int:
    """On which floor a module of ours stands; the facade and what it hands out stand above all."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS else ROOF


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    return [
        f"{module}, line {line}: {imported}"
        for line, imported in imports(source, module, is_package)
        if imported.split(".")[0] == NAME and floor(imported) > floor(module)
    ]


def beyond_torch(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module of variants/ imports apart from torch, annotations, the standard library, and what they share.

    Only the registry, variants/__init__.py, imports the variants: none leans on another.
    """
    ours = (f"{NAME}.variants.",) if is_package else (f"{NAME}.variants._check.", f"{NAME}.variants._registry.")
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


def test_every_floor_is_there():
    assert {name.split(".")[1] for name in MODULES if name != NAME} >= set(FLOORS)
    assert len(VARIANT_MODULES) >= 9  # seven variants, the registry, the input check


@pytest.mark.parametrize(
    "line",
    [
        "from ..lab import plots",
        "from ..lab.plots.weights import plot_weights",
        "from .. import lab",
        "from .. import check",  # through the facade, which loads the classroom
        "import attention_variants",
        "import attention_variants.cli",
        "from attention_variants import compare",
        "from attention_variants.classroom import check",
        "def later():\n    from ..lab import plots",
    ],
)
def test_an_arrow_that_points_up_is_seen(line):
    assert upward(line, f"{NAME}.model.layer")


@pytest.mark.parametrize("line", ["from ..variants import VARIANTS", "from . import masks", "from .masks import x"])
def test_an_arrow_that_points_down_is_allowed(line):
    assert not upward(line, f"{NAME}.model.layer")


@pytest.mark.parametrize(
    "line",
    ["import numpy", "from .v3_batched import attention_batched", "from ..model import lift", "import rich.table"],
)
def test_a_variant_that_leans_on_more_than_torch_is_seen(line):
    assert beyond_torch(line, f"{NAME}.variants.v4_masked")
