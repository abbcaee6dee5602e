r"""Run the numeric tests as other processors would: under each CPU capability of PyTorch that this machine has.

    .venv/bin/python scripts/run_numeric_tests.py              under all of them, one after the other
    .venv/bin/python scripts/run_numeric_tests.py --others     without the machine's own, under which `make test` runs
    .venv/bin/python scripts/run_numeric_tests.py -- -k mask   the part you are at: after -- stands what pytest is told

PyTorch brings its CPU kernels several times (default, avx2, avx512) and takes those that suit the processor; they round
differently, and treat NaN differently. The variable ATEN_CPU_CAPABILITY chooses, so that one machine plays older ones.
The tests are those marked `numeric`. Printed is one line for each capability, and all that pytest says if a test fails.
The exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "ATEN_CPU_CAPABILITY"
X86 = platform.machine().lower() in ("x86_64", "amd64")
CANDIDATES = ["default", "avx2", "avx512"] if X86 else ["default", "vsx", "zvector", "sve256"]
MARKER = "pytest.mark.numeric"
NO_TESTS = 5  # pytest's exit status if -k leaves nothing

# PyTorch takes what it is asked for, also what the processor lacks; that ends at the first kernel.
PROBE = """
import warnings
warnings.simplefilter("ignore")  # a capability that torch was not built for: it says so and takes its own
import torch
x = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
for x in (x, x.double()):
    torch.softmax(torch.nn.functional.scaled_dot_product_attention(x, x, x).exp() @ x, dim=-1).sum().item()
print(torch.backends.cpu.get_cpu_capability().lower().replace(" ", ""))
"""


def capability(asked: str | None = None) -> str | None:
    """Ask a fresh process for its capability.

    Parameters
    ----------
    asked : str, optional
        Which to ask PyTorch for; by default what the environment says, or else the processor.

    Returns
    -------
    capability : str or None
        None if the process did not survive its first kernels.
    """
    told = subprocess.run([sys.executable, "-c", PROBE], env=surroundings(asked), capture_output=True, text=True)
    return told.stdout.strip() if told.returncode == 0 else None


def capabilities() -> list[str]:
    """List the capabilities that this machine has, the plainest first."""
    return [candidate for candidate in CANDIDATES if capability(candidate) == candidate]


def surroundings(asked: str | None) -> dict[str, str]:
    """Return the environment variables for a process that is to have a capability."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return {**os.environ, "PATH": os.pathsep.join(path), **({VARIABLE: asked} if asked else {})}


def numeric_files(folder: Path = ROOT / "tests") -> list[str]:
    """List the test files that hold numeric tests: to read all the others takes longer than to run these."""
    return [str(path) for path in sorted(folder.rglob("test_*.py")) if MARKER in path.read_text(encoding="utf-8")]


def run_under(asked: str, extra: list[str]) -> bool:
    """Run the numeric tests under one capability and print how it went.

    Parameters
    ----------
    asked : str
        The capability.
    extra : list of str
        What else pytest is told.

    Returns
    -------
    passed : bool
        Whether all passed.
    """
    spread = ["--numprocesses=auto", "--dist=loadscope"]
    command = [sys.executable, "-m", "pytest", "-m", "numeric", "-q", *numeric_files(), *spread, *extra]
    start = time.monotonic()
    told = subprocess.run(
        command,
        cwd=ROOT,
        env=surroundings(asked),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    passed = told.returncode in (0, NO_TESTS)
    if not passed:
        print(told.stdout, flush=True)
    lines = told.stdout.strip().splitlines()
    closing = lines[-1].strip("= ") if lines else f"pytest said nothing, after {time.monotonic() - start:.0f} s"
    print(f"{asked}: {closing}", flush=True)
    return passed


def main(arguments: list[str] | None = None) -> int:
    """Run the tests under each capability; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [-h] [--others] [-- pytest arguments]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--others", action="store_true", help="leave out the machine's own capability")
    parser.add_argument("pytest", nargs="*", metavar="pytest arguments", help="handed on to pytest")
    options = parser.parse_args(arguments)

    own, found = capability(), capabilities()
    print(f"This machine has {', '.join(found) or 'no capability that can be chosen'}; its own is {own}.", flush=True)
    chosen = [name for name in found if not (options.others and name == own)]
    failed = [name for name in chosen if not run_under(name, options.pytest)]
    if failed:
        print(f"failed, see above: {', '.join(failed)}")
    else:
        print(f"The numeric tests pass under {', '.join(chosen)}." if chosen else "There is no other: nothing to run.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
