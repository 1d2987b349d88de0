"""A fresh project for every test, with models that are trained once."""

from pathlib import Path

import pytest

from tests.stories.project import Models, Project, make_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models, request: pytest.FixtureRequest, scored_here: None) -> Project:
    """A project whose commands run and score in this process.

    Where the test is marked `own_process`, they run as the installed script and score in processes of their own.
    """
    return Project(tmp_path, models, installed=request.node.get_closest_marker("own_process") is not None)
