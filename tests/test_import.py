"""Importing the package loads next to nothing: torch, the variants, what draws and grades come when they are used."""

from __future__ import annotations

import ast
import importlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jedi
import pytest

import attention_variants as av

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "IPython",
    "jaxtyping",
    "matplotlib",
    "numpy",
    "pygments",
    "rich",
    "safetensors",
    "torch",
    "transformers",
    "typer",
)
SUBPACKAGES = {"classroom", "lab", "model", "modern", "variants"}
LIST_MODULES = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"


def stub_lines() -> list[tuple[str, str, str]]:
    """The stub: of each import the module, the name, and the name that is given on."""
    tree = ast.parse((ROOT / "attention_variants" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [(node.module or "", alias.name, alias.asname or "") for node in imports for alias in node.names]


STUB = stub_lines()
NAMES = [(module, name) for module, name, _ in STUB if module]


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", LIST_MODULES.format(code)]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@pytest.fixture(scope="module")
def modules() -> set[str]:
    return modules_after("import attention_variants; attention_variants.__version__; dir(attention_variants)")


# What is loaded when.


@pytest.mark.parametrize("name", HEAVY)
def test_importing_the_package_does_not_load(name, modules):
    assert "attention_variants" in modules, "this looked at the wrong process"
    assert name not in modules, f"import attention_variants loads {name}: import it where it is used"


def test_every_part_of_the_package_is_loaded_when_used(modules):
    early = {name for name in modules if name.startswith("attention_variants.")}
    assert not early, f"import attention_variants loads {sorted(early)}: name them in __init__.pyi instead"


@pytest.mark.slow
def test_the_variants_load_torch_and_nothing_that_draws_or_grades():
    loaded = modules_after("import attention_variants as av; av.VARIANTS, av.MultiHeadAttention")
    assert {"torch", "attention_variants.variants.v7_fused", "attention_variants.model.layer"} <= loaded
    assert not {name for name in loaded if name.startswith(("attention_variants.lab", "attention_variants.classroom"))}
    assert not {"IPython", "matplotlib", "pygments", "rich", "safetensors", "transformers"} & loaded


@pytest.mark.slow
def test_counting_memory_does_not_load_the_compiler():
    call = (
        "import torch; from attention_variants.lab.measure.memory import peak_memory; "
        "peak_memory(torch.exp, torch.ones(3))"
    )
    loaded = modules_after(call)
    assert "attention_variants.lab.measure.memory" in loaded
    assert "torch._dynamo" not in loaded, "it takes over a second to load, and nothing here is compiled"


# The public names, and the stub that lists them.


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_name_of_the_stub_is_there_and_is_that_of_its_module(module, name):
    assert getattr(av, name) is getattr(importlib.import_module(f"attention_variants.{module}"), name)


def test_the_stub_gives_every_name_once_and_under_its_own_name():
    given = [name for _, name, _ in STUB]
    assert len(given) == len(set(given))
    assert [name for _, name, other in STUB if other != name] == [], "write `import x as x`: mypy hides it otherwise"
    assert {name for module, name, _ in STUB if not module} == SUBPACKAGES
    assert len(given) > 60


def test_the_public_names_are_those_of_the_stub():
    assert set(av.__all__) == {name for _, name in NAMES}
    assert set(dir(av)) == set(av.__all__) | SUBPACKAGES


def test_the_stub_is_installed_with_the_package():
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^attention_variants = (\[.*\])$", settings, re.MULTILINE)
    assert {"*.pyi", "py.typed"} <= set(ast.literal_eval(listed))


def test_a_star_import_brings_the_names_and_no_subpackages():
    names: dict[str, object] = {}
    exec("from attention_variants import *", names)
    assert set(av.__all__) <= set(names)
    assert not SUBPACKAGES & set(names), "a reader's own `model` would be overwritten"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="atention_loops"):
        _ = av.atention_loops


FRESH = """
import attention_variants as av
import attention_variants.classroom.check
assert callable(av.check) and av.check is attention_variants.classroom.check.check
assert av.variants.VARIANTS is av.VARIANTS
assert av.lab.__name__ == "attention_variants.lab" and av.model.MultiHeadAttention is av.MultiHeadAttention
from attention_variants.lab.plots import colors
from attention_variants import classroom, compare
assert attention_variants.classroom is classroom
"""


@pytest.mark.slow
def test_a_function_is_not_hidden_by_the_module_of_its_name():
    subprocess.run([sys.executable, "-c", FRESH], check=True)


def test_what_is_pickled_is_found_again():
    for thing in (av.attention_loops, av.check, av.MultiHeadAttention, av.describe_variant(4)):
        again = pickle.loads(pickle.dumps(thing))
        assert again is thing or again == thing
    layer = pickle.loads(pickle.dumps(av.MultiHeadAttention(8, 2)))
    assert (layer.d_model, layer.num_heads) == (8, 2)


def test_an_editor_completes_the_names_and_knows_the_parameters():
    begun = "import attention_variants as av\nav."
    assert set(av.__all__) <= {one.name for one in jedi.Script(begun).complete()}
    of_a_variant, of_a_name = jedi.Script(f"{begun}check(").get_signatures()
    assert [parameter.name for parameter in of_a_variant.params][:3] == ["fn", "variant", "isolated"]
    assert [parameter.name for parameter in of_a_name.params][:3] == ["fn", "variant", "needs"]
