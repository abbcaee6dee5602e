"""What all tests share: one thread, repeatable hypothesis, and the measured equality at the end of the run."""

from __future__ import annotations

import hypothesis
import pytest
import torch
from reference import LARGEST

torch.set_num_threads(1)  # the tensors here are tiny: handing them to more threads costs more than it saves

hypothesis.settings.register_profile("attention_variants", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("attention_variants")


def pytest_sessionfinish(session):
    """A worker process, if there are several, hands on what it measured..."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["largest"] = LARGEST


@pytest.hookimpl(optionalhook=True)  # pytest-xdist calls it
def pytest_testnodedown(node):
    """... and the process that prints the summary takes it."""
    for dtype, error in getattr(node, "workeroutput", {}).get("largest", {}).items():
        LARGEST[dtype] = max(LARGEST.get(dtype, 0.0), error)


def pytest_terminal_summary(terminalreporter):
    if LARGEST:
        listed = ", ".join(f"{dtype} {error:.1e}" for dtype, error in sorted(LARGEST.items()))
        terminalreporter.write_line(f"largest relative error: {listed}")
