r"""Make .venv ready: create it where there is none, then install the pinned versions. Needs neither make nor a shell.

    python scripts/set_up.py                    for everything: what `make test` needs
    python scripts/set_up.py lab                for the notebooks alone: what `make lab` and `make install` do
    python scripts/set_up.py pretrained         for them and the real model of notebook 11
    python scripts/set_up.py course             for them and nbgrader: what a lecturer needs
    python scripts/set_up.py --torch oldest     the oldest torch that pyproject.toml allows
    python scripts/set_up.py --fresh            .venv anew, with the Python that runs this

On Windows, with the Python that you have (here 3.12), and then JupyterLab:

    py -3.12 scripts\set_up.py lab
    .venv\Scripts\python scripts\open_lab.py

What pip says goes to .venv/set_up.log, and where something fails, the end of it to the terminal too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

# A Python that is too old must get as far as being told so: nothing here that 3.7 cannot read.
ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
WINDOWS = sys.platform == "win32"
# Other releases of torch ask for one exact SymPy, another one than is pinned; that of torch 2.5 is 1.13.1.
CHOSEN_BY_TORCH = {"torch", "sympy"}
# Extras of pyproject.toml by what .venv is for. An extra that has a file in without_dependencies/ takes that too.
PURPOSES = {
    "lab": ["lab"],
    "pretrained": ["lab", "pretrained"],
    "course": ["lab", "course"],
    "bench": ["pretrained", "bench"],
    "site": ["site"],
    "test": ["lab", "video", "pretrained", "course", "bench", "site", "test"],
}
LAST_LINES = 15  # of what pip said, where it failed
WITHOUT_DEPENDENCIES = PurePath("scripts", "without_dependencies")
NBGRADER = ("assignment_list", "course_list", "formgrader", "validate_assignment")


def nbgrader_is(on: bool) -> dict[str, dict[str, dict[str, Any]]]:
    """Write settings that switch the parts of nbgrader in JupyterLab on or off, by their place in a config folder."""
    servers = {"nbgrader.server_extensions." + name: on for name in NBGRADER}
    return {
        "labconfig/page_config.json": {"disabledExtensions": {"@jupyter/nbgrader": not on}},
        "jupyter_server_config.json": {"ServerApp": {"jpserver_extensions": servers}},
    }


# Settings of JupyterLab, by their place in .venv: they hold for this course, and for nothing else on the machine.
OFF = nbgrader_is(False)
LAB_SETTINGS = {
    "share/jupyter/lab/settings/overrides.json": {
        # Whoever closes a notebook is done with its kernel, half a gigabyte.
        "@jupyterlab/notebook-extension:tracker": {"kernelShutdown": True},
        # Earlier versions of this file set it; now no notebook of the course has a widget.
        "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": False},
    },
    "etc/jupyter/labconfig/page_config.json": {
        "disabledExtensions": {
            # Offline too: no question about news, no look for updates.
            "@jupyterlab/apputils-extension:announcements": True,
            # A reader has no courses to list, and "Validate" finds nothing wrong with an empty exercise.
            **OFF["labconfig/page_config.json"]["disabledExtensions"],
        }
    },
    "etc/jupyter/jupyter_server_config.json": {
        **OFF["jupyter_server_config.json"],
        # Beside what is hidden anyway, what pip leaves beside the package.
        "ContentsManager": {"hide_globs": ["__pycache__", "*.pyc", "*.pyo", ".DS_Store", "*~", "*.egg-info"]},
        # Seconds: a kernel that nobody is connected to ends 20 minutes after its last cell did.
        "MappingKernelManager": {"cull_idle_timeout": 1200, "cull_interval": 60},
    },
    "etc/ipython/ipython_kernel_config.json": {
        "IPKernelApp": {
            # JupyterLab writes into a notebook what its kernel says of itself. If that is what stands there already, a
            # notebook that is only read is not changed: nothing to save, nothing for git.
            "exec_lines": ["get_ipython().kernel.language_info = {'name': 'python'}"],
            "log_level": 40,  # errors alone: a kernel's warnings are not about the notebook
        }
    },
    # Another config folder, which scripts/open_lab.py puts before the others for a lecturer.
    **{"etc/jupyter-course/" + name: settings for name, settings in nbgrader_is(True).items()},
}


def oldest_python(pyproject: str) -> tuple[int, ...]:
    """Read which Python is needed, from the text of pyproject.toml."""
    # By hand: a Python that is too old has no tomllib either.
    found = re.search(r'^requires-python = ">=([\d.]+)"$', pyproject, re.MULTILINE)
    assert found, 'pyproject.toml has no line like: requires-python = ">=3.11"'
    return tuple(int(part) for part in found[1].split("."))


def oldest_torch(pyproject: str) -> str:
    """Read the lower bound of torch, from the text of pyproject.toml: "2.5"."""
    found = re.search(r'^ *"torch>=([\d.]+)",$', pyproject, re.MULTILINE)
    assert found, 'pyproject.toml has no line like: "torch>=2.5",'
    return found[1]


def torch_requirement(which: str, pyproject: str, constraints: str) -> str:
    """Say what to ask pip for.

    Parameters
    ----------
    which : str
        "pinned", "oldest" or "newest".
    pyproject, constraints : str
        The texts of pyproject.toml and of constraints.txt.

    Returns
    -------
    requirement : str
        torch==2.13.0, torch==2.5.* or torch.
    """
    if which == "newest":
        return "torch"
    if which == "oldest":
        return f"torch=={oldest_torch(pyproject)}.*"
    return next(line for line in constraints.splitlines() if line.startswith("torch=="))


def constraints_for(which: str, pyproject: str, constraints: str) -> str:
    """Leave out of the constraints what another torch than the pinned one cannot live with.

    Parameters
    ----------
    which : str
        "oldest" or "newest".
    pyproject, constraints : str
        The texts of pyproject.toml and of constraints.txt.

    Returns
    -------
    constraints : str
        The text to give to pip.
    """
    kept = [line for line in constraints.splitlines() if line.split("==")[0] not in CHOSEN_BY_TORCH]
    if which == "oldest":  # what is installed after torch must not bring in a newer one, to be tested under its name
        kept.append(torch_requirement(which, pyproject, constraints))
    return "\n".join(kept) + "\n"


def python_of(environment: PurePath, windows: bool = WINDOWS) -> PurePath:
    """Say where the Python of an environment lies."""
    return environment / "Scripts" / "python.exe" if windows else environment / "bin" / "python"


def commands(python: PurePath, torch: str, constraints: PurePath, extras: list[str]) -> list[list[str]]:
    """List what is to be run, in order, in the root of the repository.

    Parameters
    ----------
    python : PurePath
        The Python of the environment.
    torch : str
        What to ask pip for, see `torch_requirement`.
    constraints : PurePath
        The file with the exact versions of everything else.
    extras : list of str
        Those of pyproject.toml that are wanted.

    Returns
    -------
    commands : list of list of str
        Each a program and its arguments.
    """
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--constraint", str(constraints)]
    # Python compiles what it imports, when it does: most of what is installed it never imports.
    install = [*pip, "--no-compile"]
    newest = ["--upgrade"] if torch == "torch" else []
    without = [str(WITHOUT_DEPENDENCIES / (extra + ".txt")) for extra in extras]
    without = [path for path in without if (ROOT / path).is_file()]
    planned = [
        # The pip that comes with Python takes twice as long for the rest.
        [*install, "--upgrade", "pip"],
        # torch is named, and by its version: left to choose, pip may fetch the newest with gigabytes of CUDA.
        [*install, *newest, torch, "--editable", f".[{','.join(extras)}]"],
    ]
    if without:
        named = [part for path in without for part in ("--requirement", path)]
        planned.append([*install, "--no-deps", "--ignore-requires-python", "--no-warn-conflicts", *named])
    return planned


def served(extras: list[str]) -> list[str]:
    """List the purposes that an environment with these extras serves."""
    return [purpose for purpose, needed in PURPOSES.items() if set(needed) <= set(extras)]


def write_lab_settings(environment: Path) -> None:
    """Make a JupyterLab in an environment a calm one; what else its settings say stays as it is."""
    for name, wanted in LAB_SETTINGS.items():
        file = environment / name
        file.parent.mkdir(parents=True, exist_ok=True)
        settings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        for plugin, values in wanted.items():
            settings.setdefault(plugin, {}).update(values)
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def too_old(version: tuple[int, ...], oldest: tuple[int, ...], program: str, windows: bool = WINDOWS) -> str:
    """Say what to do about a Python that is too old; nothing if it is not.

    Parameters
    ----------
    version, oldest : tuple of int
        The one that came, and the one that is needed.
    program : str
        Where the one that came lies.
    windows : bool
        How to name another one depends on it.

    Returns
    -------
    complaint : str
        Empty if the Python is new enough.
    """
    if version >= oldest:
        return ""
    came, needed = (".".join(map(str, each)) for each in (version, oldest))
    another = f"py -{needed} scripts\\set_up.py" if windows else f"python{needed} scripts/set_up.py"
    return (
        f"Python {needed} or newer is needed; {program} is {came}.\n"
        f"Install one (https://www.python.org/downloads) and run this with it: {another}"
    )


def version_of(python: PurePath) -> tuple[int, ...]:
    """Ask a Python for its version; () if there is none, or one that does not run."""
    ask = [str(python), "-c", "import sys; print(*sys.version_info[:3])"]
    try:
        told = subprocess.run(ask, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(map(int, told.stdout.split()))


def create(environment: Path) -> str:
    """Create an environment with the Python that runs this, in the place of any that is there.

    Parameters
    ----------
    environment : Path
        Its folder.

    Returns
    -------
    complaint : str
        Why it could not be created; empty if it was.
    """
    named = f"{sys.executable} ({platform.python_version()})"
    if Path(sys.prefix).resolve() == environment.resolve():
        return f"{named} lives in {environment.name} and cannot make it anew: run this with a Python from outside."
    if not all(map(find_spec, ["ensurepip", "venv"])):
        return (
            f"{named} cannot make a virtual environment: its venv module is not installed.\n"
            "On Debian and Ubuntu: sudo apt install python3-venv"
        )
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)])
    return f"{named} could not make {environment}." if made.returncode else ""


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "purposes",
        nargs="*",
        metavar="purpose",
        help="what .venv is to serve, of " + ", ".join(PURPOSES) + " (default: test, which is all of them); what is "
        "installed already stays",
    )
    parser.add_argument(
        "--torch",
        choices=["pinned", "oldest", "newest"],
        default="pinned",
        help="which torch: the one of constraints.txt (default), the lower bound of pyproject.toml, or the newest that "
        "there is. With the last two SymPy is free as well, and make takes .venv for not ready: it would install "
        "the pinned torch again",
    )
    parser.add_argument("--fresh", action="store_true", help="make .venv anew, even if there is one")
    options = parser.parse_args(arguments)
    unknown = [purpose for purpose in options.purposes if purpose not in PURPOSES]
    if unknown:
        parser.error("there is no purpose " + ", ".join(unknown) + "; there are " + ", ".join(PURPOSES))
    return options


def install(python: PurePath, torch: str, extras: list[str]) -> str:
    """Install what is wanted.

    Parameters
    ----------
    python : PurePath
        The Python of the environment.
    torch : str
        "pinned", "oldest" or "newest".
    extras : list of str
        Those of pyproject.toml that are wanted.

    Returns
    -------
    complaint : str
        Which command failed; empty if none did.
    """
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    # In a folder of its own: on Windows, pip could not read a temporary file while it is open here.
    with tempfile.TemporaryDirectory() as folder:
        constraints = ROOT / "constraints.txt"
        if torch != "pinned":
            constraints = Path(folder) / "constraints.txt"
            constraints.write_text(constraints_for(torch, pyproject, pinned), encoding="utf-8")
        wanted = torch_requirement(torch, pyproject, pinned)
        log = ENVIRONMENT / "set_up.log"
        log.write_bytes(b"")
        for command in commands(python, wanted, constraints, extras):
            with log.open("ab") as told:
                failed = subprocess.run(command, cwd=str(ROOT), stdout=told, stderr=subprocess.STDOUT).returncode
            if failed:
                end = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
                said = [f".venv is not ready, for this failed:\n{subprocess.list2cmdline(command)}", *end]
                return "\n".join([*said, f"All that pip said: {log}"])
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        # Then Python keeps nothing that it compiles, and every process would compile PyTorch again.
        # A package may hold a file for another Python: what cannot be compiled is seldom imported.
        subprocess.run([str(python), "-m", "compileall", "-qq", "-j", "0", str(ENVIRONMENT)])
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Make .venv ready; the exit status is 1 if that failed."""
    options = options_of(arguments)
    oldest = oldest_python((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    complaint = too_old(sys.version_info[:3], oldest, sys.executable)
    python = python_of(ENVIRONMENT)
    wanted = {extra for purpose in options.purposes or ["test"] for extra in PURPOSES[purpose]}
    extras = [extra for extra in PURPOSES["test"] if extra in wanted]
    if not complaint:
        log = PurePath(ENVIRONMENT.name, "set_up.log")
        purposes = ", ".join(options.purposes or ["test"])
        print(f"Making .venv ready for {purposes}: some minutes, once. What pip says goes to {log}.", flush=True)
    if not complaint and (options.fresh or version_of(python) < oldest):
        complaint = create(ENVIRONMENT)
    if complaint:
        print(f"\n{complaint}", file=sys.stderr)
        return 1

    # make reads these stamps: what is changed now is not ready until it is. With another torch nothing is.
    stamps = ["ready-" + purpose for purpose in served(extras)]
    for stamp in ENVIRONMENT.glob("ready*"):
        # One with the name of a Python has that behind its purpose.
        if "-".join(stamp.name.split("-")[:2]) in stamps or options.torch != "pinned":
            stamp.unlink()
    complaint = install(python, options.torch, extras)
    if complaint:
        print(f"\n{complaint}", file=sys.stderr)
        return 1
    write_lab_settings(ENVIRONMENT)
    if options.torch == "pinned":
        for name in stamps:
            (ENVIRONMENT / name).touch()
    print(".venv is ready for: " + ", ".join(served(extras)) + ".")
    return 0


if __name__ == "__main__":
    sys.exit(main())
