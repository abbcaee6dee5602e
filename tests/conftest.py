"""What all tests share: one thread, repeatable hypothesis, an order for several processes, the measured equality."""

from __future__ import annotations

import os
import sys

# The tensors here are tiny: handing them to more threads costs more than it saves. In what the tests start, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch
from reference import LARGEST

torch.set_num_threads(1)

hypothesis.settings.register_profile("attention_variants", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("attention_variants")


@pytest.fixture(autouse=True)
def _figures_closed():
    """No test sees a figure of another."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def settings_as_they_were():
    """A plot leaves the reader's settings alone, whatever the test before it did to them."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings = dict(matplotlib.rcParams)
        yield
        assert dict(matplotlib.rcParams) == settings


# What takes longest begins first, so that at the end no processor waits long for another. Beginnings of test ids.
LONGEST = (
    "tests/classroom/test_course.py::test_a_class_of_twelve",
    "tests/classroom/test_course.py::test_a_class_of_seven",
    "tests/classroom/test_grading.py",
    "tests/classroom/test_course.py",
    "tests/classroom/test_isolated.py",
    "tests/browser/test_browser.py",
    "tests/browser/test_site.py::test_every_page",
    "notebooks/08",
    "tests/test_bench.py",
    "notebooks/09",
    "notebooks/10",
    "tests/test_animate.py",
    "tests/test_date_model.py",
    "notebooks/",
    "tests/test_check.py",
    "tests/test_plot.py",
    "tests/test_run_notebooks.py",
)
# A file is one piece of work, since what its tests share is made once. These tests are pieces of their own.
ALONE = (
    "tests/browser/test_site.py::test_every_page",
    "tests/classroom/test_course.py::test_a_class_of_twelve",
    "tests/classroom/test_course.py::test_a_class_of_seven",
    "tests/classroom/test_course.py::test_on_one_machine",
)


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.nodeid.removeprefix("build/course/")  # where scripts/course_notebooks.py may put the notebooks
        return next((place for place, begin in enumerate(LONGEST) if name.startswith(begin)), len(LONGEST))

    items.sort(key=place)  # what pytest was asked to begin with (--failed-first) comes before all


@pytest.hookimpl(optionalhook=True)  # pytest-xdist calls it
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class Pieces(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if nodeid.startswith(ALONE) else super()._split_scope(nodeid)

    return Pieces(config, log)


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
