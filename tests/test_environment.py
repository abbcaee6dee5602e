"""One truth about versions: pyproject.toml has the lower bounds, constraints.txt the exact versions, and the conda
environment says the same as pyproject.toml."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec

from attention_variants import __version__

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {"lab", "video", "pretrained", "course", "bench", "site", "test"}
CONDA_TO_PYPI = {"pytorch": "torch", "matplotlib-base": "matplotlib"}  # where conda-forge has a name of its own

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OLDEST_PYTHON = PROJECT["requires-python"].removeprefix(">=") + ".0"
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
PINS = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in CONSTRAINTS}
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def direct_dependencies() -> dict[str, SpecifierSet]:
    """What pyproject.toml asks for itself, extras included, by name."""
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    wanted = map(Requirement, lines)
    return {canonicalize_name(r.name): r.specifier for r in wanted if canonicalize_name(r.name) != PROJECT["name"]}


def conda_dependencies() -> tuple[dict[str, str], list[str]]:
    """What environment.yml asks for: version by name, the names as PyPI has them, and its lines for pip."""
    versions: dict[str, str] = {}
    pip: list[str] = []
    for entry in CONDA["dependencies"]:
        if isinstance(entry, dict):
            pip += entry["pip"]
        else:
            spec = MatchSpec(entry, strict=True)  # raises on a line that conda would not read
            name = spec.name.normalized
            versions[CONDA_TO_PYPI.get(name, name)] = spec.version or ""
    return versions, pip


DIRECT = direct_dependencies()


def test_the_extras_are_those_that_the_papers_name():
    assert set(PROJECT["optional-dependencies"]) == EXTRAS


def test_what_one_cites_is_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["title"].startswith(PROJECT["name"].replace("-", "_"))


def test_every_line_of_the_constraints_is_one_exact_version():
    unclear = [str(pin) for pin in CONSTRAINTS if not str(pin.specifier).startswith("==") or len(pin.specifier) != 1]
    assert not unclear
    assert len(PINS) == len(CONSTRAINTS), "a package is pinned twice"


def test_the_constraints_hold_no_build_of_one_platform():
    assert not [str(pin) for pin in CONSTRAINTS if "+" in str(pin) or pin.url], "2.13.0+cpu: pin 2.13.0"


@pytest.mark.parametrize("name", DIRECT)
def test_direct_dependencies_are_pinned_within_their_bounds(name):
    assert name in PINS, f"{name} is in pyproject.toml but not in constraints.txt: make lock"
    assert DIRECT[name].contains(PINS[name]), f"{name} is pinned to {PINS[name]}; pyproject.toml wants {DIRECT[name]}"


def test_the_pins_install_on_the_oldest_python():
    too_new = {}
    for name in PINS:
        try:
            wants = metadata(name).get("Requires-Python")
        except PackageNotFoundError:  # not needed on this platform
            continue
        if wants and metadata(name)["Version"] == PINS[name] and not SpecifierSet(wants).contains(OLDEST_PYTHON):
            too_new[name] = wants
    assert not too_new, f"run make lock with the oldest Python at hand; these want more than {OLDEST_PYTHON}"


def reached_from_the_pins() -> set[str]:
    """Every package that the project, or one that it reaches, asks for; and pip, and what is taken alone."""
    alone = [ROOT / "scripts" / "without_dependencies" / f"{extra}.txt" for extra in ("pretrained", "bench")]
    lines = [line for path in alone for line in path.read_text(encoding="utf-8").splitlines()]
    reached = {"pip", *(line for line in lines if not line.startswith("#"))}
    to_visit: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in DIRECT]
    visited = set()
    while to_visit:
        name, extras = visit = to_visit.pop()
        if visit in visited or name.startswith(("nvidia-", "cuda-", "triton")):  # of builds of torch for CUDA
            continue
        visited.add(visit)
        reached.add(name)
        try:
            requires = metadata(name).get_all("Requires-Dist") or []
        except PackageNotFoundError:
            continue
        if metadata(name)["Version"].partition("+")[0] != PINS.get(name):  # another version may ask for something else
            continue
        to_visit += [
            (canonicalize_name(wanted.name), frozenset(wanted.extras))
            for wanted in map(Requirement, requires)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        ]
    return reached - {"setuptools"}  # which `make lock` leaves to pip


@pytest.mark.skipif(
    sys.platform != "linux" or not OLDEST_PYTHON.startswith("{}.{}.".format(*sys.version_info)),
    reason="the list is written on Linux with the oldest Python; elsewhere more packages, or fewer, are asked for",
)
def test_the_pins_are_what_is_asked_for_and_no_more():
    reached, pinned = reached_from_the_pins(), set(PINS)
    assert sorted(reached - pinned) == [], "not in constraints.txt: make lock"
    assert sorted(pinned - reached) == [], "nothing asks for these any more: make lock"


def test_conda_asks_for_the_same_as_pyproject():
    versions, pip = conda_dependencies()
    conda = {name: SpecifierSet(version) for name, version in versions.items() if name not in {"python", "pip"}}
    assert "-e ." in pip, "the package itself is missing"
    conda |= {canonicalize_name(r.name): r.specifier for r in map(Requirement, pip[: pip.index("-e .")])}
    # What .venv takes without its dependencies, which is a matter of time, conda takes whole.
    alone = (ROOT / "scripts" / "without_dependencies" / "pretrained.txt").read_text(encoding="utf-8").splitlines()
    assert conda == DIRECT | {name: SpecifierSet() for name in alone if not name.startswith("#")}


@pytest.mark.parametrize("extra", ["pretrained", "bench"])
def test_what_comes_without_dependencies_is_pinned_too(extra):
    lines = (ROOT / "scripts" / "without_dependencies" / f"{extra}.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} <= set(PINS)


def test_conda_has_a_python_that_the_package_supports():
    version = conda_dependencies()[0]["python"]
    # repo2docker, which Binder runs, takes "python=3.12" as an exact minor version and ignores every other form
    assert version.endswith(".*"), f'write "python=3.12", not {version}'
    assert SpecifierSet(PROJECT["requires-python"]).contains(version.removesuffix(".*"))


def test_conda_lists_itself_as_binder_expects():
    assert CONDA["name"] == "attention_variants"
    assert CONDA["channels"] == ["conda-forge"]
    # a binder/ folder would make repo2docker overlook the environment.yml at the root
    assert not (ROOT / "binder").exists()
    assert not (ROOT / ".binder").exists()
