"""The projects of the stories, and pages in a real browser."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import real
from tests.stories.conftest import models, project

__all__ = ["models", "project"]

Browser = Callable[..., str]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """What headless Chromium makes of a page: its document after this script ran in it, in light or dark."""
    program = real("chromium")

    def opened(page: str, script: str, *, dark: bool = False, width: int = 1000) -> str:
        file = tmp_path / "opened.html"
        # A frame is as narrow as a phone, which a window of a desktop cannot be.
        file.write_text(page.replace("</body>", f"<script>{script}</script></body>"))
        done = subprocess.run(
            [
                *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"),
                *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"),
                *([f"--blink-settings=preferredColorScheme={0 if dark else 1}"]),
                file.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    return opened
