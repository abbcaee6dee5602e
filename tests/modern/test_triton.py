"""The causal kernel in Triton, in its interpreter, equals ours; where Triton is not installed, nothing is claimed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "triton_flash.py"
IS_THERE = importlib.util.find_spec("triton") is not None


@pytest.mark.slow
@pytest.mark.skipif(not IS_THERE, reason="Triton is not installed: a gigabyte, in no extra of this package")
def test_the_kernel_equals_ours():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest difference") == 3


@pytest.mark.skipif(IS_THERE, reason="Triton is installed here")
def test_without_triton_one_line_says_what_to_do():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("triton is not installed here: pip install triton")
