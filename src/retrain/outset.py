"""Where every command sets out from: the environment, the configuration and its secrets."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retrain.config import load
from retrain.context import Context, Origin
from retrain.errors import ConfigError
from retrain.face import Face

if TYPE_CHECKING:
    from retrain.effects.crontab import World


def context_of(file: Path, face: Face, *, as_cron: bool) -> Context:
    """The context of a command with this configuration; `face` knows its secrets from now on.

    `as_cron`: in the environment of the cron job that checks with it. Raises ConfigError.
    """
    world = _enter_cron(file) if as_cron else None
    with _told_where(world):
        settings, face.secrets = load(file, os.environ)
    variables = face.secrets.variables
    blank = {name: name in os.environ for name in variables if not os.environ.get(name)}
    # No child of ours needs them: not the training, not a model that is scored, not a hook.
    for name in variables:
        os.environ.pop(name, None)
    origin = Origin(file.absolute(), world, blank)
    return Context(settings, face.secrets, os.environ, lambda: datetime.now(UTC), origin)


def _enter_cron(file: Path) -> "World":
    """The world of the cron job that checks with this configuration; its environment is ours from now on."""
    from retrain.effects import crontab

    world = crontab.world(file.absolute())
    os.environ.clear()
    os.environ.update(world.environment)
    return world


@contextmanager
def _told_where(world: "World | None") -> Iterator[None]:
    """Say of a configuration that is wrong in cron's world that it was read there."""
    try:
        yield
    except ConfigError as error:
        raise (ConfigError(f"{error}\nThe environment is {world}") if world is not None else error) from None
