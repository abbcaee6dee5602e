r"""Prove all of it: lint, types, tests, and every notebook re-run and compared with its stored outputs.

    .venv/bin/python scripts/run_tests.py                      what `make test` does
    .venv/bin/python scripts/run_tests.py --quick              what `make quick` does: without notebooks and slow tests
    .venv/bin/python scripts/run_tests.py -- -k mask           the part you are at: after -- stands what pytest is told
    .venv/bin/python scripts/run_tests.py --part classroom     what `make test-classroom` does; also: --part browser
    .venv/bin/python scripts/run_tests.py --no-notebooks       with another torch than the one of the stored outputs
    .venv/bin/python scripts/run_tests.py --lint               lint and types alone; --no-lint leaves them out

Notebooks that a reader has saved are the reader's own: tested are those that git has, and the last line says so.
On Windows it is .venv\Scripts\python. ruff and mypy run beside pytest and are heard only if they find something. The
exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import course_notebooks

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ["ruff", "mypy", "pytest", "xdist", "nbval"]
# Where the tests of each part are.
PARTS = {"all": "tests", "classroom": "tests/classroom", "browser": "tests/browser"}
# One after the other beside pytest, as modules of the Python that runs this.
CHECKS = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]


def pytest_command(part: str, notebooks: str, quick: bool, extra: list[str]) -> list[str]:
    """Say how pytest is called, as a module.

    Parameters
    ----------
    part : str
        Which tests, of `PARTS`.
    notebooks : str
        The folder of the notebooks that are run and compared too; "" for none. They belong to the part "all".
    quick : bool
        Whether to leave out the tests that are marked as slow, begin with what failed last time, and stop soon.
    extra : list of str
        What else pytest is told.

    Returns
    -------
    command : list of str
        The module and its arguments.
    """
    command = ["pytest", PARTS[part]]
    if notebooks and part == "all" and not quick:
        command += [notebooks, "--nbval", "--nbval-current-env", "--nbval-cell-timeout=60"]
    if quick:
        command += ["-m", "not slow", "--failed-first", "--maxfail=5"]
    # tests/conftest.py says which tests stay together, and in which order they are handed out.
    return [*command, "-rs", "--numprocesses=auto", "--no-loadscope-reorder", *extra]


def surroundings() -> dict[str, str]:
    """Return the environment variables for all of it: notebooks and tests too find the programs of this Python."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    # What Python compiles is to be kept: pytest rewrites each file of tests in each process.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": os.pathsep.join(path)}


def run_checks() -> list[str]:
    """Run the checks that are quick, and print what those say that fail, each in one piece.

    Returns
    -------
    failed : list of str
        Their names.
    """
    failed = []
    for check in CHECKS:
        command = [sys.executable, "-m", *check]
        told = subprocess.run(
            command,
            cwd=ROOT,
            env=surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if told.returncode:
            name = " ".join(check)
            failed.append(name)
            # As bytes: what a program writes need not be made of what this terminal can show.
            sys.stdout.buffer.write(f"\n{name} failed:\n".encode() + told.stdout)
            sys.stdout.flush()
    return failed


def run_pytest(command: list[str], notebooks: Path) -> int:
    """Run pytest with the terminal as its own, and the course's notebooks in a folder; return its exit status."""
    environment = {**surroundings(), course_notebooks.VARIABLE: str(notebooks)}
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment)
    try:
        return process.wait()
    except KeyboardInterrupt:  # pytest got it too, and says how far it came
        return process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run all of it; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [options] [-- pytest arguments]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=PARTS, default="all", help="which tests; a part other than all has no lint")
    parser.add_argument("--quick", action="store_true", help="leave out notebooks and slow tests; five failures")
    parser.add_argument("--no-notebooks", action="store_true", help="leave the notebooks out")
    lint = parser.add_mutually_exclusive_group()
    lint.add_argument("--lint", action="store_true", help="run ruff and mypy alone")
    lint.add_argument("--no-lint", action="store_true", help="leave ruff and mypy out")
    parser.add_argument("pytest", nargs="*", metavar="pytest arguments", help="handed on to pytest")
    options = parser.parse_args(arguments)

    missing = [name for name in NEEDED if not find_spec(name)]
    if missing:
        print(f"{sys.executable} has no {', no '.join(missing)}.", file=sys.stderr)
        print("Run scripts/set_up.py, and then this with the Python of .venv.", file=sys.stderr)
        return 1

    own = course_notebooks.own_notebooks()
    folder = course_notebooks.lay_out() if own else ROOT / "notebooks"
    notebooks = "" if options.no_notebooks else folder.relative_to(ROOT).as_posix()
    command = pytest_command(options.part, notebooks, options.quick, options.pytest)
    with ThreadPoolExecutor(1) as beside:
        checks = None if options.no_lint or options.part != "all" else beside.submit(run_checks)
        status = 0 if options.lint else run_pytest(command, folder)
        if checks and not checks.done():
            print("waiting for ruff and mypy", file=sys.stderr)
        failed = checks.result() if checks else []
    if failed:  # if nothing did, the last word is pytest's
        print(f"failed, see above: {', '.join([*failed, *(['pytest'] if status else [])])}")
    if own and options.part == "all" and not options.lint:
        print(f"Your own now: {', '.join(own)}. Tested was what git has of the notebooks (to test yours: git add).")
    return int(bool(failed or status))


if __name__ == "__main__":
    sys.exit(main())
