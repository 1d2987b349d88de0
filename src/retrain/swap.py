"""A change of champion: intent, link, hook, record. And the settling of what a crash left open."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

from msgspec.structs import replace

from retrain.context import Context
from retrain.core.events import Adopted, Event, Promoted, RolledBack, Swap, SwapStarted, SwapUndone, TrainingFinished
from retrain.core.past import UNREPAIRED, Past
from retrain.core.records import Outcome
from retrain.core.text import moment, shell_text, short
from retrain.effects import lock, registry, training
from retrain.effects.journal import Journal, open_journal
from retrain.errors import BusyError, ConfigError, Report, RetrainError, Stopped

PATIENCE = timedelta(seconds=10)
"""How long a command that a person has typed waits for a run that trains and compares nothing."""


class SwapUndoneError(RetrainError):
    """The hook after a promotion failed, and the previous champion serves again."""


class OvertakenError(BusyError):
    """Another command changed the champion meanwhile: a rollback waits for no comparison, and for no check."""


def probation_of(context: Context, past: Past) -> timedelta | None:
    """The length of the probation of the latest promotion; None where it has none, or where there is no way back."""
    probation = context.config.promotion.probation
    if probation is None or past.probation is None or past.probation.before not in registry.kept(context.config.models):
        return None
    return probation


@contextmanager
def journal_of(context: Context, *, writable: bool = True) -> Iterator[Journal]:
    """The journal of this project, opened as by `open_journal`; what it says at the end stands in the textfile."""
    config, scrub = context.config, context.secrets.scrub
    with open_journal(config.state, writable=writable, scrub=scrub, champion=config.models.champion) as journal:
        if writable and not config.is_followed:
            journal.keep_cursors({})
        try:
            yield journal
        finally:
            if writable and config.notifications.textfile is not None:
                _write_metrics(context, journal, config.notifications.textfile)


def _write_metrics(context: Context, journal: Journal, file: Path) -> None:
    """Write what the journal says for node_exporter. A failure changes nothing: `doctor` and old metrics show it."""
    from retrain.core.families import families  # with what only this needs
    from retrain.effects import textfile

    with suppress(OSError, sqlite3.Error):
        textfile.write(file, families(context.config.name, journal.past(), journal.last_check(), context.clock()))


def current(context: Context, journal: Journal) -> tuple[registry.Served | None, Past]:
    """What is served and what the journal says, at one moment.

    Raises RetrainError where this journal cannot be that of what is served: nothing is trained or swapped then.
    """
    models = context.config.models
    while True:
        serving, past = registry.served(models), journal.past()
        if registry.served(models) == serving:  # else who holds the lock has just moved the link
            break
    if (lost := registry.lost(models, serving, past)) is not None:
        raise RetrainError(f"{context.config.state / 'journal.db'}: {lost.why}; {UNREPAIRED}", lost.remedy)
    return serving, past


def swap(context: Context, journal: Journal, intent: SwapStarted, lock_fd: int, now: datetime) -> str:
    """Put the intended version in service; return what failed without harm, in a clause (empty: nothing).

    Raises SwapUndoneError where the hook after a promotion failed: then the previous champion serves again. A rollback
    stands where its hook fails, for what was in service was worse; RetrainError says so.
    """
    lock.describe(lock_fd, "changing the champion")
    with lock.hold(context.config.state, str(intent.swap), now, wait=PATIENCE, name=lock.SWAP):
        return _swap(context, journal, intent, lock_fd, now)


def _swap(context: Context, journal: Journal, intent: SwapStarted, lock_fd: int, now: datetime) -> str:
    """Swap while no other swap can happen; the hook inherits `lock_fd`."""
    models = context.config.models
    served = (serving := registry.served(models)) and serving.version
    if served != intent.previous:
        why = f"{short(served) if served else 'no champion'} was put in service meanwhile, so {short(intent.version)}"
        raise OvertakenError(f"busy: {why} was not", "try again")
    registry.verify(models, intent.version)  # nothing is served whose bytes were changed
    journal.append(intent, now)  # before the link moves, so that the next command can settle what a crash leaves open
    registry.point(models, intent.version)
    return _complete(context, journal, intent, lock_fd, now)


def is_unsettled(context: Context, journal: Journal) -> bool:
    """Whether `settle` has something to do. Raises RetrainError as it does."""
    serving, past = current(context, journal)
    to_adopt = serving is not None and serving.version is None
    return past.run is not None or past.swap is not None or to_adopt


def settle(context: Context, journal: Journal, lock_fd: int, now: datetime) -> tuple[str, ...]:
    """Settle a training or a swap that a crash left open, and adopt a champion file; return what was done, in clauses.

    The lock must be held: nobody works on what is open then, unless the file of the lock is another than that of a
    training. Raises BusyError then, and RetrainError as `current` does.
    """
    _, past = current(context, journal)
    done = []
    if past.run is not None:
        run = f"training {past.run.id}, started {moment(past.run.at)},"
        if lock.is_claimed(context.log_of(past.run.id)):
            why = f"{run} still runs, but not under the lock {context.config.state / lock.RUN}: was that file removed?"
            raise BusyError(why, "wait until it ends, and leave that file where it is")
        message = f"{run} was interrupted: its controller had died"
        journal.append(TrainingFinished(past.run.id, Outcome.INTERRUPTED, message), now)
        done.append(message)
    with lock.attempt(context.config.state, "settling", now, lock.SWAP) as held:
        # Where another process has it, that one swaps at this moment, and leaves nothing over.
        return (*done, *(_settle_swap(context, journal, lock_fd, now) if held.descriptor is not None else ()))


def _settle_swap(context: Context, journal: Journal, lock_fd: int, now: datetime) -> tuple[str, ...]:
    """Settle a swap that a crash left open, and adopt a champion file, while no other swap can happen."""
    models, done = context.config.models, []
    serving, past = current(context, journal)
    if past.swap is not None:
        intent, what = past.swap, f"the interrupted {past.swap.swap} of {short(past.swap.version)}"
        if serving is not None and serving.version == intent.version:
            note = _complete(context, journal, intent, lock_fd, now)
            done.append(f"{what} was completed{note and f' ({note})'}")
        else:
            journal.append(SwapUndone(intent.version, intent.previous, f"{what} had not happened", by=intent.by), now)
            done.append(f"{what} had not happened")

    def record(version: str) -> None:
        if journal.past().served != version:  # a crash may have come between this record and the link
            journal.append(Adopted(version, by=context.actor), now)

    adopted = registry.adopt(models, record)
    return (*done, f"adopted the champion file as version {short(adopted)}") if adopted is not None else tuple(done)


def _complete(context: Context, journal: Journal, intent: SwapStarted, lock_fd: int, now: datetime) -> str:
    """Run the hook on what the link says now, and record the swap; undo a promotion where the hook fails.

    It returns what failed without harm, in a clause. Only the record ends a swap: whoever dies in the hook leaves it to
    the next command, which runs the hook again.
    """
    (problem, signal), is_promotion = _hook(context, intent, lock_fd, now), intent.swap is Swap.PROMOTION
    if problem and is_promotion:
        _undo(context, journal, intent, problem, signal, lock_fd)
    done: Event = RolledBack(intent.version, intent.previous, intent.reason, problem, by=intent.by)
    if is_promotion:
        done = Promoted(intent.version, intent.previous, intent.forced, intent.reason, by=intent.by)
    now = context.clock()
    past = journal.append(done, now)
    note = _kept_card(context, journal, done, now) if isinstance(done, Promoted) else ""
    # Housekeeping that fails is tried again after the next swap.
    with suppress(RetrainError):
        training.tidy(context.logs, context.config.training.keep_logs, now)
    with suppress(RetrainError):
        registry.forget(context.config.models, past.outlived(context.config.models.keep))
    if signal is not None:
        raise Stopped(signal)
    if problem:
        why = f"the service may not have loaded it: {problem}"
        raise RetrainError(f"rolled back: {short(intent.version)} serves again, but {why}")
    return note


def _kept_card(context: Context, journal: Journal, promoted: Promoted, now: datetime) -> str:
    """Keep the model card of the new champion; return why that could not be, in a clause."""
    from retrain.page import card  # with what only this needs

    return card.keep(context, journal, promoted, now)


def _undo(  # noqa: PLR0913, PLR0917  (the swap, and how its hook ended)
    context: Context, journal: Journal, intent: SwapStarted, problem: str, signal: int | None, lock_fd: int
) -> NoReturn:
    """Serve the previous champion again, let the hook load it, and raise SwapUndoneError."""
    registry.point(context.config.models, intent.previous)
    back = short(intent.previous) if intent.previous else "no champion"
    message = f"the promotion of {short(intent.version)} was undone, {back} serves again: {problem}"
    # Whoever sent a signal wants an end, not another try.
    if intent.previous is not None and signal is None and _hook(context, intent, lock_fd, context.clock())[0]:
        message += f"; the hook failed for {back} too, so look at the service"
    undone = SwapUndone(intent.version, intent.previous, message, failed=signal is None, by=intent.by)
    journal.append(undone, context.clock())
    if signal is not None:
        raise Stopped(signal)
    raise SwapUndoneError(message)


def _hook(context: Context, intent: SwapStarted, lock_fd: int, now: datetime) -> tuple[str, int | None]:
    """Run the command after the swap, if there is one; return how it failed, and the signal that came meanwhile."""
    config = context.config
    if config.promotion.after is None:
        return "", None
    log = context.log_of(f"{now:%Y%m%dT%H%M%SZ}-{intent.swap}-{short(intent.version)}")
    hook = replace(config.training, command=config.promotion.after, timeout=config.promotion.timeout)
    facts = {
        "RETRAIN_SWAP": str(intent.swap),
        "RETRAIN_VERSION": intent.version,
        "RETRAIN_PREVIOUS": intent.previous or "",
        "RETRAIN_CHAMPION": str(config.models.champion),
        "RETRAIN_REASON": shell_text(intent.reason, context.secrets.scrub),
        "RETRAIN_NAME": shell_text(context.config.name),
    }
    environment = training.environment(context.environ, context.secrets.variables, hook, facts)
    try:
        ended = training.run(hook, environment, log, lock_fd, None, context.secrets.scrub, key="promotion.after")
    except RetrainError as error:
        return str(error), None
    if ended.exit_code == 0:
        return "", ended.signal
    return f"promotion.after {ended.failure(hook.timeout)}{ended.quote} (log: {log})", ended.signal


def rollback(
    context: Context,
    to: str | None,
    reason: str,
    on_wait: Callable[[lock.Holder], None] = lambda _holder: None,
    *,
    forced: bool = False,
) -> Report:
    """The report of the swap back to the previous champion, or to the version with the prefix `to`.

    It waits for another swap, and for nothing else: a training may take hours. Only `forced` serves a version that
    has never served.
    """
    config, now = context.config, context.clock()
    if to is not None and not to.strip():
        raise ConfigError("--to is empty and names no version", "an unset variable?")
    registry.refuse_unsafe(config.models)
    locked = lock.hold(config.state, "rollback", now, wait=PATIENCE, on_wait=on_wait, name=lock.SWAP)
    with journal_of(context) as journal, locked as lock_fd:
        settled = _settle_swap(context, journal, lock_fd, now)
        serving, past = current(context, journal)
        served = serving.version if serving is not None else None
        version = registry.find(config.models, to) if to is not None else _previous(past, served)
        if version == served:
            raise RetrainError(f"{short(version)} is the champion already")
        if version not in past.champions and past.lost_at is None and not forced:
            why = f"{short(version)} has never served, so nothing is known of it in production"
            raise RetrainError(why, "promote judges it; rollback --force --reason TEXT serves it anyway")
        intent = SwapStarted(Swap.ROLLBACK, version, served, reason, by=context.actor)
        _swap(context, journal, intent, lock_fd, now)
    gone = f", {short(served)} is out of service" if served is not None else ""
    message = f"rolled back: {short(version)} serves again{gone}"
    data = {"champion": version, "previous": served, "reason": reason, "message": message}
    pause = past.paused(now)
    return Report(message, data).after(settled).noting(pause)


def _previous(past: Past, served: str | None) -> str:
    """The champion before the one that serves; the last one itself where the link to it is gone."""
    if served is None and past.served is not None:
        return past.served
    before = [version for version in past.lineage if version != served]
    if not before:
        raise RetrainError("there is no champion before this one to go back to", "--to names a kept version")
    return before[-1]
