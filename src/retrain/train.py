"""One training, recorded: the intent before it, the outcome after it."""

import re
import secrets
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from retrain.config import Config
from retrain.config.schema import HoldoutKind
from retrain.context import Context
from retrain.core.events import Checked, TrainingFinished, TrainingStarted
from retrain.core.past import TRAINING, Past, incident_of
from retrain.core.records import Outcome, Reason, Run
from retrain.core.text import duration, shell_text, short
from retrain.effects import evaluation, files, lock, registry, training
from retrain.effects.journal import Journal
from retrain.errors import RetrainError, Stopped, file_errors

_CHANGING = r"\S*\d\S*"
"""The words of an error that differ from run to run: times, numbers, names of versions."""


def train(  # noqa: PLR0913, PLR0917  (what was seen, why it trains, and what it holds)
    context: Context,
    journal: Journal,
    checked: Checked,
    why: str,
    held: lock.Attempt,
    echo: Callable[[bytes], None] | None,
    started: datetime,
) -> tuple[Run, bool]:
    """One training, which `checked` decided on: how it ended, and whether that is news.

    `why` is its reason in a clause, `echo` shows its output on a terminal. Raises Stopped, after recording it, when
    the controller was sent a signal meanwhile.
    """
    config, lock_fd = context.config, held.descriptor or 0
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    journal.append(checked, started)
    journal.append(TrainingStarted(run_id, checked.reason, why), started)
    held.inherited = True
    lock.describe(lock_fd, "training")
    before = files.stamp(config.models.challenger)
    ended, given = _run(context, run_id, why, lock_fd, echo)
    is_new = files.stamp(config.models.challenger) not in (None, before)
    run = _run_of(context, run_id, ended, given, checked, journal.past(), is_new=is_new)
    stopped = None
    try:
        if run.challenger is not None:
            registry.forget_rows(config.models, run.challenger)  # it was perhaps made before, of others
        run = _with_rows_remembered(config, _tried(context, run), given)
    except Stopped as signal:  # the training itself has succeeded all the same
        stopped = signal.number
        if _data_of(config, given) is not None:
            run = _with_rows_unknown(config, run, f"retrain was sent signal {stopped}")
    except RetrainError as error:
        run = _with_rows_unknown(config, run, str(error))
    succeeded, now = run.outcome is Outcome.SUCCEEDED, context.clock()
    incident = incident_of(TRAINING, context.secrets.scrub(run.cause))
    news = succeeded or journal.past().is_news(incident, now, config.notifications.repeat_after)
    news = news or checked.reason is Reason.FORCED
    ending = run.message, run.exit_code, run.seconds, run.challenger, news, context.secrets.scrub(run.cause)
    past = journal.append(TrainingFinished(run.id, run.outcome, *ending), now)
    if ended.signal is not None or stopped is not None:
        raise Stopped(ended.signal or stopped or 0)
    # Housekeeping that fails is tried again after the next training.
    with suppress(RetrainError):
        training.tidy(context.logs, config.training.keep_logs, now)
    if succeeded:
        with suppress(RetrainError), lock.hold(config.state, "training", now, name=lock.SWAP):
            registry.forget(config.models, past.outlived(config.models.keep))
    return run, news


class Given(Struct, frozen=True):
    """The file of the rows that a training was given; None where it takes its own, and `why` that is so."""

    rows: Path | None = None
    why: str = ""


def environment_of(context: Context, run_id: str, reason: str) -> dict[str, str]:
    """The environment that the training command gets in this run."""
    challenger = context.config.models.challenger
    extra = {
        "RETRAIN_RUN_ID": run_id,
        "RETRAIN_REASON": shell_text(reason),
        "RETRAIN_CHALLENGER": str(challenger),
        "RETRAIN_REFERENCE": str(registry.reference_beside(challenger)),
        "RETRAIN_WEIGHTS": str(registry.weights_beside(challenger)),
    }
    holdout, rows = context.config.promotion.holdout, registry.training_beside(challenger)
    if holdout is HoldoutKind.FRESH:
        extra["RETRAIN_HOLDOUT"] = str(registry.holdout_beside(challenger))
    if isinstance(holdout, HoldoutKind) and rows.is_file():
        extra["RETRAIN_TRAINING"] = str(rows)
    return training.environment(context.environ, context.secrets.variables, context.config.training, extra)


def _run(
    context: Context, run_id: str, reason: str, lock_fd: int, echo: Callable[[bytes], None] | None
) -> tuple[training.Ended, Given]:
    """What came of the command, and the rows that it was given. What keeps it from starting is its problem, too."""
    config, given = context.config, Given()
    try:
        registry.prepare(config.models)
        given = _give(context)
        environment, log = environment_of(context, run_id, reason), context.log_of(run_id)
        return training.run(config.training, environment, log, lock_fd, echo, context.secrets.scrub), given
    except RetrainError as error:
        problem, signal = str(error), None
    except Stopped as stopped:  # while its rows were taken from the log
        problem, signal = None, stopped.number
    return training.Ended(None, 0.0, timed_out=False, signal=signal, tail=(), problem=problem), given


def _give(context: Context) -> Given:
    """Take the rows for this training from the log, and those that it is judged on, where the holdout is no file."""
    config, now = context.config, context.clock()
    log, challenger, kind = config.monitor.log, config.models.challenger, config.promotion.holdout
    if isinstance(kind, Path):
        return Given()
    rows, left_out = registry.training_beside(challenger), registry.holdout_beside(challenger)
    with file_errors(challenger.parent):
        rows.unlink(missing_ok=True)
        left_out.unlink(missing_ok=True)
    if not log.is_file():
        return Given(why=f"there is no {log} (monitor.log) to take them from")
    serving = registry.served(config.models)
    known = registry.rows_of(config.models, serving.version) if serving is not None and serving.version else None
    taken = evaluation.cut(
        config,
        now,
        training=rows,
        holdout=left_out if kind is HoldoutKind.FRESH else None,
        known_champion=known,
        scrub=context.secrets.scrub,
    )
    if rows.is_file():
        return Given(rows)
    few = f"{taken.labelled:,} labelled rows in complete windows, and half of those that are new to the champion"
    return Given(why=f"{log} (monitor.log) has {few} are fewer than promotion.fresh.min_rows")


def _run_of(  # noqa: PLR0913, PLR0917  (what the command did, and what there was before)
    context: Context, run_id: str, ended: training.Ended, given: Given, checked: Checked, past: Past, *, is_new: bool
) -> Run:
    """The run: it has succeeded when its command exited 0 and a new challenger can be kept."""
    log, command = str(context.log_of(run_id)), " ".join(context.config.training.command)
    outcome, version, problem = _outcome(context.config, ended, given, checked.served, past.banned, is_new=is_new)
    message = f"trained in {duration(timedelta(seconds=ended.seconds))}, challenger {short(version or '')}"
    if problem:
        quoted = f": {' | '.join(ended.tail)}" if ended.tail else ""
        message = f"training failed: {command} {problem}{quoted} (log: {log})"
    last = ended.tail[-1] if ended.exit_code and ended.tail else problem
    # Words with digits, such as times and addresses, differ from run to run.
    cause = " ".join((outcome, "by a signal" if (ended.exit_code or 0) < 0 else "", re.sub(_CHANGING, "", last)))
    return Run(run_id, outcome, ended.exit_code, ended.seconds, version, log, message, cause if problem else "")


def _outcome(  # noqa: PLR0913  (what the command did, and what there was before)
    config: Config, ended: training.Ended, given: Given, served: str | None, banned: Collection[str], *, is_new: bool
) -> tuple[Outcome, str | None, str]:
    """How the training ended, the version of the challenger that is now kept, and what went wrong, as a clause."""
    took, artifact = duration(timedelta(seconds=ended.seconds)), config.models.challenger
    if ended.problem is not None:
        return Outcome.FAILED, None, f"could not be started: {ended.problem}"
    if ended.signal is not None:
        return Outcome.INTERRUPTED, None, f"was stopped after {took}: retrain was sent signal {ended.signal}"
    if ended.timed_out:
        return Outcome.TIMED_OUT, None, f"was stopped after {duration(config.training.timeout)}, its time limit"
    if ended.exit_code:
        return Outcome.FAILED, None, f"{training.how_it_ended(ended)} after {took}"
    nothing = Outcome.NO_CHALLENGER, None
    if not is_new:
        return *nothing, f"exited 0 but left no new {artifact}"
    holdout = registry.holdout_beside(artifact)
    if config.promotion.holdout is HoldoutKind.FRESH and not holdout.is_file():
        why = given.why or "where the rows were that it has to leave out"
        return *nothing, f"left no rows at RETRAIN_HOLDOUT, {holdout}, to be judged on: {why}"
    try:
        if artifact.is_dir():
            return *nothing, f"left a challenger that cannot be kept: {artifact} is a directory; a model is one file"
        if artifact.is_file() and artifact.stat().st_size == 0:
            return *nothing, f"left an empty {artifact}"
        version = registry.admit(config.models, artifact)
        files.follow_owner(artifact)  # the next training may be another user's
    except RetrainError as error:
        return *nothing, f"left a challenger that cannot be kept: {error}"
    if version == served:
        return *nothing, f"left the champion's own bytes, {short(version)}: nothing new"
    if version in banned:
        return *nothing, f"left the bytes of {short(version)}, which was rolled back: nothing new"
    return Outcome.SUCCEEDED, version, ""


def _tried(context: Context, run: Run) -> Run:
    """The run, which has failed where its challenger cannot be loaded or predict rows of its holdout.

    What else is wrong, such as with the holdout, `promote` says.
    """
    config, version = context.config, run.challenger
    if version is None:
        return run
    rows = registry.holdout_of(config.models, config.promotion.holdout, version)
    try:
        if rows is None or rows.exists():
            file, directory = registry.verify(config.models, version), config.training.directory
            aside, scrub = config.aside, context.secrets.scrub
            evaluation.try_out(file, rows, config.promotion, directory, models=config.models, aside=aside, scrub=scrub)
    except evaluation.Unscorable as error:
        if error.side == "challenger":
            command = " ".join(config.training.command)
            why = f"training failed: {command} left what cannot be used: {error} (log: {run.log})"
            cause = f"{Outcome.NO_CHALLENGER} {re.sub(_CHANGING, '', str(error))}"
            return replace(run, outcome=Outcome.NO_CHALLENGER, challenger=None, message=why, cause=cause)
    except RetrainError:
        pass
    return run


def _with_rows_remembered(config: Config, run: Run, given: Given) -> Run:
    """Keep the hashes of the training rows with the challenger; the message of the run says where that failed."""
    data, version = _data_of(config, given), run.challenger
    if data is None or version is None:
        return run
    # Where it has no rows yet to be judged on, the log has, and they will have the columns of its training.
    holdout = registry.holdout_of(config.models, config.promotion.holdout, version) or data
    try:
        with tempfile.TemporaryDirectory(prefix="retrain-") as directory:
            hashes = Path(directory) / "rows.parquet"
            promotion = replace(config.promotion, holdout=holdout)
            evaluation.remember_rows(data, promotion, hashes, config.training.directory)
            registry.keep_rows(config.models, version, hashes)
    except (RetrainError, OSError) as error:
        return _with_rows_unknown(config, run, str(error))
    return run


def _data_of(config: Config, given: Given) -> Path | None:
    """The rows of the training, as far as they are known."""
    is_given = config.training.data is None and config.promotion.holdout is HoldoutKind.FRESH
    return given.rows if is_given else config.training.data


def _with_rows_unknown(config: Config, run: Run, why: str) -> Run:
    then = "promote will refuse it" if config.training.data is not None else "leakage will not be checked"
    return replace(run, message=f"{run.message} (its training rows are not known, so {then}: {why})")
