"""The training command, in the environment that a check would give it, and the other commands and files."""

import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from retrain.config.schema import Command, Training
from retrain.context import Context
from retrain.doctor import host
from retrain.doctor.findings import Finding, fail, ok
from retrain.effects import training
from retrain.errors import RetrainError, Stopped
from retrain.train import environment_of

_MAKES = ("make", "gmake")
_LIMIT = timedelta(seconds=60)
_GRACE = timedelta(seconds=2)


def commands(context: Context) -> Iterator[Finding]:
    """Whether the training can be started, and the hook after a swap. Nothing is built."""
    asked, after = context.config.training, context.config.promotion.after
    environment = environment_of(context, f"{context.clock():%Y%m%dT%H%M%SZ}-test", "retrain doctor")
    yield _training(asked, environment, context.secrets.scrub)
    if after is not None:
        # Its environment is the training's, less what is about a run.
        hook = replace(asked, command=after)
        plain = training.environment(context.environ, context.secrets.variables, hook, {})
        problem = training.obstacle(hook, plain, "promotion.after")
        what = "after a swap"
        works = ok(what, f"{after[0]} exists and may be run")
        yield fail(what, problem.why, remedy=problem.remedy) if problem is not None else works


def data(context: Context) -> Iterator[Finding]:
    """Whether the rows of the training can be read, where they are configured."""
    file, what = context.config.training.data, "training data"
    if file is not None and not file.is_file():
        yield fail(what, f"{file} does not exist", remedy="make it, or change training.data")
    elif file is not None and not host.may(file, os.R_OK):
        yield fail(what, f"{file} is not readable by the user who runs retrain", remedy=f"chmod u+r {file}")
    elif file is not None:
        yield ok(what, f"{file} can be read")


def _training(asked: Training, environment: dict[str, str], scrub: Callable[[str], str]) -> Finding:
    what, program = "training", asked.command[0]
    problem = training.obstacle(asked, environment)
    if problem is not None:
        return fail(what, problem.why, remedy=problem.remedy)
    if Path(program).name not in _MAKES:
        return ok(what, f"{program} exists and may be run in {asked.directory}; only a training shows if it trains")
    dry = replace(asked, command=Command((program, "-n", *asked.command[1:])), timeout=_LIMIT, grace=_GRACE)
    ended, shown = _rehearsed(dry, environment, scrub), f"`{' '.join(dry.command)}`"
    last = ended.tail[-1] if ended.tail else ""
    if ended.problem is not None:
        return fail(what, ended.problem)
    if failure := ended.failure(_LIMIT):
        seen = f"{shown} {failure} in {asked.directory}"
        return fail(what, seen, last, remedy="correct the Makefile or training.command")
    return ok(what, f"{shown} finds its target and what that needs in {asked.directory}")


def _rehearsed(dry: Training, environment: dict[str, str], scrub: Callable[[str], str]) -> training.Ended:
    """What came of a command that only shows what it would do. Raises Stopped when retrain was sent a signal."""
    try:
        with tempfile.TemporaryDirectory(prefix="retrain-doctor-") as apart, Path(os.devnull).open() as nothing:
            ended = training.run(dry, environment, Path(apart) / "log", nothing.fileno(), None, scrub)
    except OSError as error:
        raise RetrainError(f"no temporary file can be written: {error.strerror} (see TMPDIR)") from error
    if ended.signal is not None:
        raise Stopped(ended.signal)
    return ended
