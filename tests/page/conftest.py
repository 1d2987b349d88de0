"""The projects of the stories, and pages in a real browser."""

from tests.stories.conftest import models, project

__all__ = ["models", "project"]
