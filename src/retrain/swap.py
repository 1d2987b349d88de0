"""The champion changes hands: intent, link, hook, record. And what a crash left open is settled."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NoReturn

from retrain.context import Context
from retrain.core.events import (
    Adopted,
    Event,
    Promoted,
    RolledBack,
    Swap,
    SwapStarted,
    SwapUndone,
    TrainingFinished,
)
from retrain.core.past import UNREPAIRED, Past
from retrain.core.records import Outcome
from retrain.core.text import moment, short
from retrain.effects import lock, registry, training
from retrain.effects.journal import Journal, open_journal
from retrain.errors import ConfigError, Report, RetrainError, Stopped


class SwapUndoneError(RetrainError):
    """The hook after a swap failed, and the champion before serves again."""


def probation_of(context: Context, past: Past) -> timedelta | None:
    """How long the latest promotion is on trial; None where it is not, or where there is nothing to go back to."""
    probation = context.config.promotion.probation
    if probation is None or past.probation is None or past.probation.before not in registry.kept(context.config.models):
        return None
    return probation


def current(context: Context, journal: Journal) -> tuple[registry.Served | None, Past]:
    """What is served and what the journal says, at one moment.

    Raises RetrainError where this journal cannot be that of what is served: nothing is trained or swapped then.
    """
    models = context.config.models
    while True:
        serving, past = registry.served(models), journal.past()
        if registry.served(models) == serving:  # else who holds the lock has just moved the link
            break
    lost = past.lost(serving.version if serving is not None else None)
    if lost is not None:
        raise RetrainError(f"{context.config.state / 'journal.db'}: {lost.why}; {UNREPAIRED} ({lost.remedy})")
    return serving, past


def hand_over(context: Context, journal: Journal, intent: SwapStarted, lock_fd: int) -> None:
    """Put the intended version in service.

    Raises SwapUndoneError when the hook after the swap failed; the champion before it serves again then.
    """
    registry.verify(context.config.models, intent.version)
    journal.append(intent, context.clock())
    registry.point(context.config.models, intent.version)
    _complete(context, journal, intent, lock_fd)


def settle(context: Context, journal: Journal, lock_fd: int) -> tuple[str, ...]:
    """What was settled, a sentence each: a training or a swap that a crash left open, a champion file to adopt.

    The lock must be held: whatever is open then has nobody who works on it. Raises RetrainError as `current` does.
    """
    told = []
    _, past = current(context, journal)
    if past.run is not None:
        message = f"training {past.run.id}, started {moment(past.run.at)}, was interrupted: its controller did not live"
        journal.append(TrainingFinished(past.run.id, Outcome.INTERRUPTED, message), context.clock())
        told.append(message)
    if past.swap is not None:
        intent = past.swap
        serving = registry.served(context.config.models)
        if serving is not None and serving.version == intent.version:
            _complete(context, journal, intent, lock_fd)
            told.append(f"the interrupted {intent.swap} of {short(intent.version)} was completed")
        else:
            message = f"the interrupted {intent.swap} of {short(intent.version)} had not happened"
            journal.append(SwapUndone(intent.version, intent.previous, message), context.clock())
            told.append(message)
    adopted = registry.adopt(context.config.models, lambda version: _record_adopted(context, journal, version))
    if adopted is not None:
        told.append(f"adopted the champion file as version {short(adopted)}")
    return tuple(told)


def _record_adopted(context: Context, journal: Journal, version: str) -> None:
    """Record it once: a crash may come between the record and the link."""
    if journal.past().served != version:
        journal.append(Adopted(version), context.clock())


def _complete(context: Context, journal: Journal, intent: SwapStarted, lock_fd: int) -> None:
    """Run the hook on what the link says now, and record the swap; undo it where the hook fails."""
    hooked = _hook(context, intent, lock_fd)
    if hooked.problem is not None:
        _undo(context, journal, intent, hooked, lock_fd)
    done: Event = RolledBack(intent.version, intent.previous, intent.reason)
    if intent.swap is Swap.PROMOTION:
        done = Promoted(intent.version, intent.previous, intent.forced, intent.reason)
    past = journal.append(done, context.clock())
    # Housekeeping that fails is tried again after the next swap.
    with suppress(RetrainError):
        training.tidy(context.logs, context.config.training.keep_logs, context.clock())
    with suppress(RetrainError):
        registry.forget(context.config.models, past.outlived(context.config.models.keep))
    if hooked.signal is not None:
        raise Stopped(hooked.signal)


def _undo(context: Context, journal: Journal, intent: SwapStarted, hooked: "_Hooked", lock_fd: int) -> NoReturn:
    """Put the champion before back, let the hook load it again, and say so."""
    registry.point(context.config.models, intent.previous)
    back = short(intent.previous) if intent.previous else "no champion"
    message = f"the {intent.swap} of {short(intent.version)} was undone, {back} serves again: {hooked.problem}"
    # Whoever sent a signal wants an end, not another try.
    if intent.previous is not None and hooked.signal is None and _hook(context, intent, lock_fd).problem is not None:
        message += f"; the hook failed for {back} too, so look at the service"
    failed = hooked.signal is None
    journal.append(SwapUndone(intent.version, intent.previous, message, failed), context.clock())
    if hooked.signal is not None:
        raise Stopped(hooked.signal)
    raise SwapUndoneError(message)


@dataclass(frozen=True, slots=True)
class _Hooked:
    """What came of the command after the swap; no problem where there is none."""

    problem: str | None = None
    signal: int | None = None


def _hook(context: Context, intent: SwapStarted, lock_fd: int) -> _Hooked:
    config = context.config
    if config.promotion.after is None:
        return _Hooked()
    log = context.log_of(f"{context.clock():%Y%m%dT%H%M%SZ}-{intent.swap}-{short(intent.version)}")
    hook = replace(config.training, command=config.promotion.after, timeout=config.promotion.timeout)
    environment = training.environment(context.environ, context.secrets.variables, hook, {})
    try:
        ended = training.run(hook, environment, log, lock_fd, None, context.secrets.scrub, key="promotion.after")
    except RetrainError as error:
        return _Hooked(str(error))
    if ended.problem is None and ended.exit_code == 0:
        return _Hooked(signal=ended.signal)
    what = ended.problem or ("timed out" if ended.timed_out else training.how_it_ended(ended))
    quoted = f": {' | '.join(ended.tail)}" if ended.tail else ""
    return _Hooked(context.secrets.scrub(f"promotion.after {what}{quoted} (log: {log})"), ended.signal)


def rollback(context: Context, to: str | None, reason: str) -> Report:
    """The report of the swap back to the champion before this one, or to the version with the prefix `to`."""
    config = context.config
    if to is not None and not to.strip():
        raise ConfigError("--to is empty and names no version (an unset variable?)")
    registry.refuse_open_doors(config.models)
    with open_journal(config.state) as journal, lock.hold(config.state, "rollback", context.clock()) as lock_fd:
        settled = settle(context, journal, lock_fd)
        serving = registry.served(config.models)
        current = serving.version if serving is not None else None
        version = registry.find(config.models, to) if to is not None else _before(journal.past(), current)
        if version == current:
            raise RetrainError(f"{short(version)} is the champion already")
        hand_over(context, journal, SwapStarted(Swap.ROLLBACK, version, current, reason), lock_fd)
    gone = f", {short(current)} is out of service" if current is not None else ""
    before = f" (before that, {'; '.join(settled)})" if settled else ""
    message = f"rolled back: {short(version)} serves again{gone}{before}"
    return Report(message, {"champion": version, "previous": current, "reason": reason, "message": message})


def _before(past: Past, current: str | None) -> str:
    """The champion before this one; the last one itself where the link to it is gone."""
    if current is None and past.served is not None:
        return past.served
    before = [version for version in past.lineage if version != current]
    if not before:
        raise RetrainError("there is no champion before this one to go back to (--to names a kept version)")
    return before[-1]
