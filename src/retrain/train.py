"""One training, recorded: the intent before it, the outcome after it."""

import re
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from retrain.config import Config
from retrain.config.schema import HoldoutKind, Models
from retrain.context import Context
from retrain.core.events import Checked, TrainingFinished, TrainingStarted
from retrain.core.past import TRAINING, incident_of
from retrain.core.records import Outcome, Reason
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
) -> TrainingFinished:
    """How one training ended, which `checked` decided on.

    `why` is its reason in a clause, `echo` shows its output on a terminal. Raises Stopped, after recording it, when
    the controller was sent a signal meanwhile.
    """
    config, lock_fd = context.config, held.descriptor or 0
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    with lock.claimed(context.log_of(run_id)):
        journal.append(checked, started)
        by = context.actor if checked.reason is Reason.FORCED else None
        journal.append(TrainingStarted(run_id, checked.reason, why, by=by), started)
        held.inherited = True
        lock.describe(lock_fd, lock.TRAINING)
        before = files.stamp(config.models.challenger)
        ended, no_rows = _run(context, run_id, why, lock_fd, echo)
        run = TrainingFinished(run_id, ended.outcome, "", ended.exit_code, ended.seconds)
        run, signal = _finished(context, journal, run, ended, no_rows, before, checked.served)
        files.share_all(config.models.challenger)  # the next training may be another user's
        now, cause = context.clock(), context.secrets.scrub(run.cause)
        is_new = journal.past().is_news(incident_of(TRAINING, cause), now, config.notifications.repeat_after)
        run = replace(run, news=not run.failed or is_new or checked.reason is Reason.FORCED, cause=cause)
        past = journal.append(run, now)
    if signal is not None:
        raise Stopped(signal)
    # Housekeeping that fails is tried again after the next training.
    with suppress(RetrainError):
        training.tidy(context.logs, config.training.keep_logs, now)
    if run.challenger is not None:
        with suppress(RetrainError), lock.hold(config.state, "training", now, name=lock.SWAP):
            registry.forget(config.models, past.outlived(config.models.keep))
    return run


def environment_of(context: Context, run_id: str, reason: str) -> dict[str, str]:
    """The environment that the training command gets in this run."""
    challenger = context.config.models.challenger
    extra = {
        "RETRAIN_RUN_ID": run_id,
        "RETRAIN_REASON": shell_text(reason, context.secrets.scrub),
        "RETRAIN_CHALLENGER": str(challenger),
        "RETRAIN_REFERENCE": str(registry.beside(challenger, registry.REFERENCE)),
        "RETRAIN_WEIGHTS": str(registry.beside(challenger, registry.WEIGHTS)),
        "RETRAIN_NOTES": str(registry.beside(challenger, registry.NOTES)),
    }
    holdout, rows = context.config.promotion.holdout, registry.beside(challenger, registry.TRAINING)
    if holdout is HoldoutKind.FRESH:
        extra["RETRAIN_HOLDOUT"] = str(registry.beside(challenger, registry.HOLDOUT))
    if isinstance(holdout, HoldoutKind) and rows.is_file():
        extra["RETRAIN_TRAINING"] = str(rows)
    return training.environment(context.environ, context.secrets.variables, context.config.training, extra)


def _run(
    context: Context, run_id: str, reason: str, lock_fd: int, echo: Callable[[bytes], None] | None
) -> tuple[training.Ended, str]:
    """What came of the command, and what `_give_rows` says. What keeps it from starting is its problem, too."""
    config, why = context.config, ""
    try:
        registry.prepare(config.models)
        why = _give_rows(context)
        environment, log = environment_of(context, run_id, reason), context.log_of(run_id)
        return training.run(config.training, environment, log, lock_fd, echo, context.secrets.scrub), why
    except RetrainError as error:
        problem, signal = str(error), None
    except Stopped as stopped:  # while its rows were taken from the log
        problem, signal = None, stopped.number
    return training.Ended(None, 0.0, timed_out=False, signal=signal, tail=(), problem=problem), why


def _give_rows(context: Context) -> str:
    """Take the rows for this training from the log, and those to judge it on; say why there are none, or not all."""
    config, now = context.config, context.clock()
    log, challenger, kind = config.monitor.log, config.models.challenger, config.promotion.holdout
    if not isinstance(kind, HoldoutKind):
        return ""
    kinds = (registry.TRAINING, registry.HOLDOUT, registry.REFERENCE)
    rows, left_out, sample = (registry.beside(challenger, each) for each in kinds)
    with file_errors(challenger.parent):
        rows.unlink(missing_ok=True)
        left_out.unlink(missing_ok=True)
    if not log.is_file():
        return f"there is no {log} (monitor.log) to take them from"
    serving = registry.served(config.models)
    known = registry.attached(config.models, serving.version if serving else None, registry.ROWS)
    taken = evaluation.cut(
        config,
        now,
        training=rows,
        holdout=left_out if kind is HoldoutKind.FRESH else None,
        sample=sample if config.training.data is None else None,
        known_champion=known,
        scrub=context.secrets.scrub,
    )
    for taken_from_log in filter(Path.is_file, (rows, left_out, sample)):
        taken_from_log.chmod(log.stat().st_mode & 0o644 | 0o600)  # no more open than the log
    if rows.is_file():
        return taken.lost
    few = f"{taken.labelled:,} labelled rows in complete windows, and half of those that are new to the champion"
    return f"{log} (monitor.log) has {few} are fewer than promotion.fresh.min_rows"


class _NoChallengerError(RetrainError):
    """A training left no challenger; `why` is a clause about its command, `cause` what of that lasts."""

    def __init__(self, why: str, outcome: Outcome = Outcome.NO_CHALLENGER, cause: str = "") -> None:
        super().__init__(why)
        self.outcome, self.cause = outcome, cause or why


def _finished(  # noqa: PLR0913, PLR0917  (what the command did, and what there was before)
    context: Context,
    journal: Journal,
    run: TrainingFinished,
    ended: training.Ended,
    no_rows: str,
    before: files.Stamp | None,
    served: str | None,
) -> tuple[TrainingFinished, int | None]:
    """The run with what came of it, and the signal that retrain was sent meanwhile.

    Its challenger is kept, if it can be used and is new. `served` is the champion that it began with.
    """
    models, signal = context.config.models, ended.signal
    took = f"trained in {duration(timedelta(seconds=ended.seconds))}"
    try:
        _refuse_replaced(models, journal, served)
        version = _version(context.config, ended, no_rows, before)
        if version in (served, *journal.past().banned):
            what = "the champion's own bytes" if version == served else "bytes that were rolled back"
            message = f"{took} and left {what}, {short(version)}: nothing new"
            return replace(run, outcome=Outcome.NOTHING_NEW, message=message), None
        signal = _try_out(context)
        if registry.admit(models, models.challenger) != version:
            raise RetrainError(f"{models.challenger} was changed while it was tried")
        unknown, signal = _remember_rows(context.config, version, signal)
        unknown += _keep_notes(context.config, version)
        unknown += no_rows if registry.beside(models.challenger, registry.TRAINING).is_file() else ""
        return replace(run, challenger=version, message=f"{took}, challenger {short(version)}{unknown}"), signal
    except (RetrainError, OSError) as error:  # the latter where there are no more files to open, such as the pipes
        none = error if isinstance(error, _NoChallengerError) else None
        none = none or _NoChallengerError(f"left a challenger that cannot be kept: {error}")
        # Words with digits, such as times and addresses, differ from run to run.
        cause = f"{none.outcome} {re.sub(_CHANGING, '', none.cause)}"
        said = f"{' '.join(context.config.training.command)} {none}{ended.quote} (log: {context.log_of(run.run)})"
        return replace(run, outcome=none.outcome, message=f"training failed: {said}", cause=cause), signal


def _refuse_replaced(models: Models, journal: Journal, served: str | None) -> None:
    """Raise RetrainError where something else is in the place of the champion that the training began with.

    Another command may have swapped it meanwhile; the journal knows of that.
    """
    if served is None:
        return
    try:
        serving = registry.served(models)
        past = journal.past()  # read after the link: a swap is recorded before the link moves
        registry.verified(models, serving, past)
    except RetrainError as error:
        raise _NoChallengerError(f"changed the champion while it ran: {error}") from error
    known = {served, past.served, past.swap and past.swap.version} - {None}
    if serving is None or serving.version not in known:
        why = f"replaced {models.champion} while it ran, which only promote does: let it write to RETRAIN_CHALLENGER"
        raise _NoChallengerError(f"{why} (retrain rollback --to {short(served)} serves the champion before again)")


def _version(config: Config, ended: training.Ended, no_rows: str, before: files.Stamp | None) -> str:
    """The version of what the training left. Raises RetrainError where it failed, or left no new file."""
    if failure := ended.failure(config.training.timeout):
        last = ended.tail[-1] if ended.exit_code and ended.tail else failure
        by_signal = "by a signal " if (ended.exit_code or 0) < 0 else ""
        raise _NoChallengerError(failure, ended.outcome, f"{by_signal}{last}")
    holdout = registry.beside(config.models.challenger, registry.HOLDOUT)
    artifact = registry.model_file(config.models, config.models.challenger)
    if files.stamp(artifact) in (None, before):
        raise _NoChallengerError(f"exited 0 but left no new {artifact}")
    if config.promotion.holdout is HoldoutKind.FRESH and not holdout.is_file():
        why = no_rows or "where the rows were that it has to leave out"
        raise _NoChallengerError(f"left no rows at RETRAIN_HOLDOUT, {holdout}, to be judged on: {why}")
    if artifact.is_dir() and not config.models.are_any:
        raise RetrainError(f"{artifact} is a directory; a model is one file")
    if (artifact.is_file() or artifact.is_dir()) and files.size_of(artifact) == 0:
        raise _NoChallengerError(f"left an empty {artifact}")
    return registry.identify(artifact)


def _try_out(context: Context) -> int | None:
    """Let the new challenger predict rows of its holdout; return the signal that retrain was sent meanwhile.

    Raises _NoChallengerError where it cannot. What else is wrong, such as with the holdout, `promote` says.
    """
    config, models = context.config, context.config.models
    artifact, own = registry.model_file(models, models.challenger), registry.beside(models.challenger, registry.HOLDOUT)
    try:
        rows = config.promotion.rows or (own if own.exists() else None)
        evaluation.try_out(config, artifact, rows, scrub=context.secrets.scrub)
    except evaluation.Unscorable as error:
        if error.side == "challenger":
            raise _NoChallengerError(f"left what cannot be used: {error}") from error
    except RetrainError:
        pass
    except Stopped as stopped:  # the training itself has succeeded all the same
        return stopped.number
    return None


def _keep_notes(config: Config, version: str) -> str:
    """Keep with the version what its training noted of itself; return a note where that cannot be kept."""
    notes = registry.beside(config.models.challenger, registry.NOTES)
    try:
        registry.attach(config.models, version, registry.NOTES, None)  # it was perhaps made before
        if notes.exists():
            registry.read_notes(notes)
            registry.attach(config.models, version, registry.NOTES, notes)
    except (RetrainError, OSError) as error:
        return f" (its notes are not kept: {error})"
    return ""


def _remember_rows(config: Config, version: str, signal: int | None) -> tuple[str, int | None]:
    """Keep the hashes of the training rows, unless a `signal` came; return a note where that failed, and the signal."""
    data, holdout = config.training.data, config.promotion.holdout
    given = registry.beside(config.models.challenger, registry.TRAINING)
    if data is None and holdout is HoldoutKind.FRESH and given.is_file():
        data = given
    # Where it has no rows yet to be judged on, the log has, and they will have the columns of its training.
    rows = registry.holdout_of(config.models, holdout, version) or data
    try:
        registry.attach(config.models, version, registry.ROWS, None)  # it was perhaps made before, of others
        if data is None or rows is None:
            return "", signal
        if signal is not None:
            raise Stopped(signal)
        with tempfile.TemporaryDirectory(prefix="retrain-") as directory:
            hashes = Path(directory) / "rows.parquet"
            evaluation.remember_rows(config, data, rows, hashes)
            registry.attach(config.models, version, registry.ROWS, hashes)
    except Stopped as stopped:
        signal, why = stopped.number, f"retrain was sent signal {stopped.number}"
    except (RetrainError, OSError) as error:
        why = str(error)
    else:
        return "", None
    then = "promote will refuse it" if config.training.data is not None else "leakage will not be checked"
    return f" (its training rows are not known, so {then}: {why})", signal
