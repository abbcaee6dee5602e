"""Build the wheel, install it with its base dependencies alone in a fresh environment, and run every command there.

    .venv/bin/python scripts/check_wheel.py               in a temporary folder, removed at the end
    .venv/bin/python scripts/check_wheel.py --keep out    in a folder that stays, to look into

A command must do its work, or say in one line which extra to install. The exit status is 1 if one does neither. No
test of pytest runs this: it installs torch again, a minute or two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from set_up import python_of, torch_requirement

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the commands of this tree, whatever is installed

from attention_variants.cli import app  # noqa: E402

#: What the wheel is made of: copied first, so that the build leaves nothing in the tree and finds nothing old there.
SOURCES = ("attention_variants", "pyproject.toml", "README.md", "LICENSE")
#: What the extras bring, and a base installation must do without.
EXTRAS = ("IPython", "cloudpickle", "imageio_ffmpeg", "nbgrader", "tqdm", "transformers")

RIGHT = """\
import math

import torch


def attention_masked(q, k, v, mask=None):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is None:
        weights = torch.softmax(scores, dim=-1)
    else:
        weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1).nan_to_num()
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v, weights
"""
WRONG = RIGHT.replace(" / math.sqrt(q.shape[-1])", "")

ISOLATED = """\
import math

import torch

import attention_variants as av


def scaled(q, k, v):
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
    return weights @ v, weights


def unscaled(q, k, v):
    weights = torch.softmax(q @ k.mT, dim=-1)
    return weights @ v, weights


right, wrong = (av.check(function, 2, isolated=True) for function in (scaled, unscaled))
print(right, wrong, sep="\\n")
assert right, right
assert [found.name for found in wrong.misconceptions] == ["no_scale"], wrong
assert av.check(av.attention_matmul, 2, isolated=True)
"""

EVERY_NAME = """\
import attention_variants as av

for name in av.__all__:
    getattr(av, name)
print(len(av.__all__), "names")
"""


@dataclass(frozen=True)
class Step:
    """A program and what is expected of it.

    Attributes
    ----------
    command : tuple of str
        The program, ``attention-variants`` or ``python``, and its arguments.
    words : str
        Among what it prints; with a status of 2 it prints one line and no more.
    status : int
        Its exit status.
    """

    command: tuple[str, ...]
    words: str = ""
    status: int = 0


def steps() -> Iterator[Step]:
    """Every command, in order; some read what another has written."""

    def program(arguments: str, words: str = "", status: int = 0) -> Step:
        return Step(("attention-variants", *arguments.split()), words, status)

    yield program("--version", "attention-variants ")
    yield program("--help", "Usage: attention-variants")
    for command in typer.main.get_group(app).commands:
        yield program(f"{command} --help", f"Usage: attention-variants {command}")
    yield program("show 7", "multihead_attention_fused")
    yield program("diff 3 4", "masked_fill")
    yield program("compare --mask causal", "all equal")
    yield program("compare --json --mask padding", '"variant": 7')
    for kind in ("html", "gif", "png"):
        yield program(f"animate 4 animation.{kind} --scale 1", "frames")
    yield program("animate 6 animation.mp4", 'pip install "attention-variants[video]"', 2)
    yield program("explore heads.html", "heads.html")
    yield program("dates 12 March 1998", "1998-03-12")
    yield program("dates --figure where.png 12/3/98", "1998-03-12")
    yield program("write --temperature 0 --words 3 we gave anna red balls . we gave anna", "we gave anna red balls .")
    yield program("bench --sizes 2,5,8,2 --rounds 1 --seconds 0.1 --out measured", "bench.json")
    yield program("check right.py --variant 4", "attention_masked")
    yield program("check wrong.py --variant 4", "sqrt", 1)
    yield program("check nowhere.py --variant 4", "there is no file nowhere.py", 2)
    yield program("grade class --variant 4 --jobs 2", "2 graded")
    yield Step(("python", "isolated.py"), "no scale")
    yield Step(("python", "every_name.py"), "names")
    pretrained = "import attention_variants as av; av.pretrained('gpt2')"
    yield Step(("python", "-c", pretrained), 'pip install "attention-variants[pretrained]"', 1)
    yield Step(("python", "-m", "pip", "--disable-pip-version-check", "check"), "No broken requirements")


def build(folder: Path) -> Path:
    """Build the wheel from a copy of the sources; return where it lies."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    files = [path for path in (source / "attention_variants").rglob("*") if path.is_file()]
    wanted = {path.relative_to(source).as_posix() for path in files if path.suffix != ".pyc"}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        missing = wanted - set(archive.namelist())
    if missing:
        raise SystemExit(f"{wheel.name} lacks {', '.join(sorted(missing))}: see package-data in pyproject.toml")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel, and what it needs, into an environment of its own; return its Python."""
    venv.create(folder, with_pip=True)
    python = Path(python_of(folder))
    constraints = ROOT / "constraints.txt"
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    torch = torch_requirement("pinned", pyproject, constraints.read_text(encoding="utf-8"))
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", str(constraints), torch, str(wheel)], check=True)
    return python


def prepare(work: Path) -> None:
    """Write what the commands read."""
    (work / "class").mkdir(parents=True)
    for name, text in {
        "right.py": RIGHT,
        "wrong.py": WRONG,
        "class/ada.py": RIGHT,
        "class/ben.py": WRONG,
        "isolated.py": ISOLATED,
        "every_name.py": EVERY_NAME,
    }.items():
        (work / name).write_text(text, encoding="utf-8")


def surroundings() -> dict[str, str]:
    """Return the environment variables without those that lead to this tree, or to colours."""
    removed = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"}
    return {name: value for name, value in os.environ.items() if name not in removed}


def complaint(step: Step, python: Path, work: Path) -> str:
    """Run one step; say what is wrong, or nothing."""
    program, *arguments = step.command
    command = [str(python if program == "python" else python.with_name(program)), *arguments]
    said = subprocess.run(command, cwd=work, env=surroundings(), capture_output=True, text=True)
    told = said.stdout + said.stderr
    if said.returncode != step.status:
        return f"exit status {said.returncode}, expected {step.status}:\n{told}"
    if step.words not in told:
        return f"{step.words!r} is not in what it said:\n{told}"
    if step.status == 2 and len(told.splitlines()) != 1:
        return f"not one line:\n{told}"
    return ""


def check(folder: Path) -> int:
    """Build, install and run all of it in a folder; return how many steps failed."""
    begin = time.monotonic()
    wheel = build(folder)
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, built in {time.monotonic() - begin:.0f} s", flush=True)
    begin = time.monotonic()
    python = install(wheel, folder / "environment")
    print(f"installed with its base dependencies in {time.monotonic() - begin:.0f} s", flush=True)
    there = f"import importlib.util as u; print(*filter(u.find_spec, {EXTRAS}))"
    extras = subprocess.run(
        [python, "-c", there], env=surroundings(), check=True, capture_output=True, text=True
    ).stdout
    if extras.strip():
        raise SystemExit(f"the base dependencies bring {extras.strip()}: this would test too little")
    work = folder / "work"
    prepare(work)
    failed = 0
    for step in steps():
        begin = time.monotonic()
        wrong = complaint(step, python, work)
        failed += bool(wrong)
        print(
            f"{'FAILED' if wrong else 'ok':6}  {time.monotonic() - begin:5.1f} s  {' '.join(step.command)}", flush=True
        )
        if wrong:
            print(f"        {wrong}", flush=True)
    print(f"{failed} failed" if failed else "every command does its work, or says in one line what to install")
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Check the wheel; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this folder, which must not be there yet")
    keep = parser.parse_args(arguments).keep
    if keep is not None:
        if keep.exists():
            parser.error(f"{keep} is there already: name a folder that is not, or remove it")
        keep.mkdir(parents=True)
        return int(check(keep.resolve()) > 0)
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        return int(check(Path(folder)) > 0)


if __name__ == "__main__":
    sys.exit(main())
