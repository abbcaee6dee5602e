"""What all tests share: one thread, repeatable hypothesis, and the measured equality at the end of the run."""

from __future__ import annotations

import hypothesis
import torch
from reference import LARGEST

torch.set_num_threads(1)  # the tensors here are tiny: handing them to more threads costs more than it saves

hypothesis.settings.register_profile("attention_variants", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("attention_variants")


def pytest_terminal_summary(terminalreporter):
    if LARGEST:
        listed = ", ".join(f"{str(dtype).removeprefix('torch.')} {error:.1e}" for dtype, error in LARGEST.items())
        terminalreporter.write_line(f"largest relative error: {listed}")
