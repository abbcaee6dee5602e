"""One browser for all tests."""

from __future__ import annotations

import pytest
from in_browser import BROWSER, FLAGS


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as starter:
        chromium = starter.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()
