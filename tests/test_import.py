"""Importing the package loads torch and little else: what draws, measures or grades comes when it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("IPython", "matplotlib", "pygments", "rich", "safetensors", "transformers")
LIST_MODULES = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", LIST_MODULES.format(code)]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@pytest.fixture(scope="module")
def modules() -> set[str]:
    return modules_after("import attention_variants")


@pytest.mark.parametrize("name", HEAVY)
def test_importing_the_package_does_not_load(name, modules):
    assert "attention_variants.variants.v7_fused" in modules, "this looked at the wrong process"
    assert name not in modules, f"import attention_variants loads {name}: import it where it is used"


def test_the_lab_and_the_classroom_are_loaded_when_used(modules):
    early = {name for name in modules if name.startswith(("attention_variants.lab", "attention_variants.classroom"))}
    assert not early, f"import attention_variants loads {sorted(early)}: name them in _LAZY instead"


def test_counting_memory_does_not_load_the_compiler():
    call = (
        "import torch; from attention_variants.lab.measure.memory import peak_memory; "
        "peak_memory(torch.exp, torch.ones(3))"
    )
    loaded = modules_after(call)
    assert "attention_variants.lab.measure.memory" in loaded
    assert "torch._dynamo" not in loaded, "it takes over a second to load, and nothing here is compiled"
