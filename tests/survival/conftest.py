"""The fixtures of the stories: a fresh project for every test, with models that are trained once."""

from tests.stories.conftest import models, project

__all__ = ["models", "project"]
