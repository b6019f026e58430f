"""A real Chromium that tests look at pages with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

PATIENCE = 300  # seconds: a machine may be slow, and a page must not fail for that
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# It asks nothing of any other machine, and needs no graphics card or rights.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Yield a headless Chromium of this machine; the test is skipped where it has none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed; Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(OPTIONS), timeout=PATIENCE * 1000
        )
        try:
            yield browser
        finally:
            browser.close()
