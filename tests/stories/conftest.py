"""A fresh project for every test, with models that are trained once."""

from pathlib import Path

import pytest

from tests.stories.project import Models, Project, make_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models) -> Project:
    return Project(tmp_path, models)
