"""The fixtures of the stories, but the commands run as processes: they are killed, and many run at once."""

from pathlib import Path

import pytest

from tests.stories.conftest import models
from tests.stories.project import Models, Project

__all__ = ["models"]


@pytest.fixture
def project(tmp_path: Path, models: Models) -> Project:
    return Project(tmp_path, models)
