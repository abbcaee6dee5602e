r"""Open the course in JupyterLab, and print its address alone: what `make lab` does, once .venv is ready.

    .venv/bin/python scripts/open_lab.py                     the notebooks, for whoever reads
    .venv/bin/python scripts/open_lab.py course              the assignments, with nbgrader, for whoever teaches
    .venv/bin/python scripts/open_lab.py lab --no-browser    after the purpose stands what JupyterLab is told

On Windows it is .venv\Scripts\python. Errors are printed; for all that JupyterLab says, add --ServerApp.log_level=INFO.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
# The folder that JupyterLab serves, the one that its file browser begins in, and what it opens.
READER = (ROOT, "notebooks", "/lab/tree/notebooks/00_start_here.ipynb")
LECTURER = (ROOT / "classroom", "", "/lab")


def options(purpose: str, extra: list[str]) -> list[str]:
    """Say what JupyterLab is told.

    Parameters
    ----------
    purpose : str
        "course", or anything else for a reader.
    extra : list of str
        What else it is told; where both say something, this counts.

    Returns
    -------
    options : list of str
        Arguments of ``jupyter lab``.
    """
    folder, begin, opened = LECTURER if purpose == "course" else READER
    told = [
        f"--ServerApp.root_dir={folder}",
        f"--FileContentsManager.preferred_dir={begin}",
        f"--LabApp.default_url={opened}",
        "--ServerApp.log_level=ERROR",
        "--LabApp.log_level=ERROR",
    ]
    # JupyterLab refuses to serve root unless told; in a container there is often nobody else.
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    named = {option.partition("=")[0] for option in extra}  # twice the same option, and JupyterLab would not start
    return [*(option for option in told if option.partition("=")[0] not in named), *as_root, *extra]


def main(arguments: list[str]) -> None:
    """Start JupyterLab, and stay until it ends."""
    named = [argument for argument in arguments[:1] if not argument.startswith("-")]
    purpose = named[0] if named else "lab"
    if purpose == "course":
        # nbgrader reads its settings where it is started, and JupyterLab those of the first folder before all others.
        os.chdir(LECTURER[0])
        before = [str(Path(sys.prefix, "etc", "jupyter-course")), os.environ.get("JUPYTER_CONFIG_PATH", "")]
        os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, before))
    # A tab that is closed while the server writes to it is no error of the reader's, and twenty lines long.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    server = LabApp.initialize_server(argv=options(purpose, arguments[len(named) :]))
    address = server.display_url.splitlines()[0]
    print(f"JupyterLab is at {address} until Ctrl-C is pressed twice here.", flush=True)
    server.identity_provider.token_generated = False  # otherwise it would print the address too, in eight lines
    server.start()


if __name__ == "__main__":
    main(sys.argv[1:])
