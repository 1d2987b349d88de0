"""The training command, in the very environment that a check would give it, and the other commands and files."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from retrain.config.schema import Command, Training
from retrain.context import Context
from retrain.core.text import duration
from retrain.doctor import host
from retrain.doctor.findings import Finding, broken, ok
from retrain.effects import training
from retrain.errors import RetrainError, Stopped
from retrain.train import environment_of

_MAKES = ("make", "gmake")
_LIMIT = timedelta(seconds=60)
_GRACE = timedelta(seconds=2)


def commands(context: Context) -> Iterator[Finding]:
    """Whether the training can be started, and the hook after a swap. Nothing is built."""
    asked = context.config.training
    environment = environment_of(context, f"{context.clock():%Y%m%dT%H%M%SZ}-look", "retrain doctor looks")
    yield _training(asked, environment, context.secrets.scrub)
    after = context.config.promotion.after
    if after is not None:
        # Its environment is the training's, less what is about a run.
        hook = replace(asked, command=after)
        plain = training.environment(context.environ, context.secrets.variables, hook, {})
        problem = training.obstacle(hook, plain, "promotion.after")
        yield broken("after a swap", problem) if problem else ok("after a swap", f"{after[0]} is there and may be run")


def data(context: Context) -> Iterator[Finding]:
    """Whether the rows of the training can be read, where they are configured."""
    file, what = context.config.training.data, "training data"
    if file is None:
        return
    if not file.is_file():
        yield broken(what, f"{file} is not there: make it, or change training.data")
    elif not host.may_read(file):
        yield broken(what, f"{file} may not be read by the user who runs retrain: chmod u+r {file}")
    else:
        yield ok(what, f"{file} is there and may be read")


def _training(asked: Training, environment: dict[str, str], clean: Callable[[str], str]) -> Finding:
    what, program = "training", asked.command[0]
    problem = training.obstacle(asked, environment)
    if problem is not None:
        return broken(what, problem)
    if Path(program).name not in _MAKES:
        return ok(what, f"{program} is there and may be run in {asked.directory}; whether it trains, a training tells")
    dry = replace(asked, command=Command((program, "-n", *asked.command[1:])), timeout=_LIMIT, grace=_GRACE)
    ended, shown = _rehearsed(dry, environment, clean), " ".join(dry.command)
    if ended.problem is not None:
        return broken(what, ended.problem)
    last = f": {ended.tail[-1]}" if ended.tail else ""
    if ended.timed_out:
        return broken(what, f"`{shown}` did not end within {duration(_LIMIT)} in {asked.directory}{last}")
    if ended.exit_code:
        how = training.how_it_ended(ended)
        return broken(what, f"`{shown}` {how} in {asked.directory}{last} (mend the Makefile or training.command)")
    return ok(what, f"`{shown}` finds its target and what that needs in {asked.directory}")


def _rehearsed(dry: Training, environment: dict[str, str], clean: Callable[[str], str]) -> training.Ended:
    """What came of a command that is only shown what it would do. Raises Stopped when we were sent a signal."""
    try:
        with tempfile.TemporaryDirectory(prefix="retrain-doctor-") as apart:
            nothing = os.open(os.devnull, os.O_RDONLY)
            try:
                ended = training.run(dry, environment, Path(apart) / "log", nothing, None, clean)
            finally:
                os.close(nothing)
    except OSError as error:
        raise RetrainError(f"no temporary file can be written: {error.strerror} (see TMPDIR)") from error
    if ended.signal is not None:
        raise Stopped(ended.signal)
    return ended
