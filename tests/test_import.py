"""Importing the package loads torch and little else: what draws, measures or grades comes when it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("IPython", "matplotlib", "pygments", "rich", "safetensors", "transformers")
LIST_MODULES = "import json, sys; import {}; print(json.dumps(sorted(sys.modules)))"


def modules_after_importing(module: str) -> set[str]:
    command = [sys.executable, "-c", LIST_MODULES.format(module)]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@pytest.fixture(scope="module")
def modules() -> set[str]:
    return modules_after_importing("attention_variants")


@pytest.mark.parametrize("name", HEAVY)
def test_importing_the_package_does_not_load(name, modules):
    assert "attention_variants.variants.v7_fused" in modules, "this looked at the wrong process"
    assert name not in modules, f"import attention_variants loads {name}: import it where it is used"


def test_the_lab_and_the_classroom_are_loaded_when_used(modules):
    early = {name for name in modules if name.startswith(("attention_variants.lab", "attention_variants.classroom"))}
    assert not early, f"import attention_variants loads {sorted(early)}: name them in _LAZY instead"
