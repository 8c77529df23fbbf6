"""Finds a Chromium for the browser tests, and gets one where there is none.

python -m tests.browser
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from assistant.progress import run_logged, say

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOG = Path(__file__).resolve().parent.parent / ".venv" / "browser.log"
DOWNLOAD_LIMIT_S = 180


def find_chromium() -> str | None:
    """Path of a Chromium: the system's, else the one that Playwright has downloaded; None where there is neither."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def provide() -> str | None:
    """Find a Chromium or get one: by Playwright's download, else from the distribution where that is allowed."""
    if path := find_chromium():
        return path
    playwright = [sys.executable, "-m", "playwright", "install", "chromium"]
    if shutil.which("timeout"):
        playwright = ["timeout", str(DOWNLOAD_LIMIT_S), *playwright]
    if run_logged("Getting Chromium for the browser tests", playwright, LOG) == 0 and (path := find_chromium()):
        return path
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install = (
            "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium"
        )
        run_logged("Getting Chromium from the distribution", ["sh", "-c", install], LOG)
    return find_chromium()


def main() -> int:
    """Exit status 1 only where a missing browser must not go unnoticed: in CI."""
    path = provide()
    if path:
        return 0
    say("There is no Chromium, and none could be installed. On Debian or Ubuntu: sudo apt install chromium")
    say(f"   what was tried: {LOG}")
    if os.environ.get("CI"):
        return 1
    say("   the browser tests will be skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
