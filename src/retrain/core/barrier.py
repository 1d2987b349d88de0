"""What holds a training that is due back, in the contract's order."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain.core.past import Past
from retrain.core.records import Reason
from retrain.core.rules import Triggers
from retrain.core.verdicts import Ruling
from retrain.core.words import counted, duration, moment, short

LONGEST_BACKOFF = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Barrier:
    """What holds a due training back, until when (None: until a person acts), and the way round it."""

    reason: Reason
    sentence: str
    until: datetime | None
    remedy: str


def barrier(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    """What holds a due training back now, in the contract's order; None: nothing does."""
    waiting = past.challenger
    if waiting is not None and not waiting.settled and now < waiting.at + triggers.challenger_ttl:
        return Barrier(
            Reason.CHALLENGER_WAITING,
            f"challenger {short(waiting.version)} of {moment(waiting.at)} waits to be judged",
            waiting.at + triggers.challenger_ttl,
            "retrain promote judges it, promote --reject turns it down",
        )
    if past.unpromoted >= triggers.max_unpromoted:
        inconclusive = waiting is not None and waiting.ruling is Ruling.INCONCLUSIVE
        advice = (
            "the last verdict was that the holdout cannot tell; a larger one might"
            if inconclusive
            else "a person should look at data, labels and training"
        )
        return Barrier(
            Reason.NEEDS_A_PERSON,
            f"{counted(past.unpromoted, 'training')} in a row brought no promotion (max_unpromoted:"
            f" {triggers.max_unpromoted}): {advice}",
            None,
            "a promotion ends this; check --force --reason TEXT trains once more",
        )
    return _backing_off(past, triggers, now) or _cooling_down(past, triggers, now)


def _backing_off(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    if past.failures == 0 or past.failed_at is None:
        return None
    wait = triggers.failure_backoff * 2 ** min(past.failures - 1, 30) if triggers.failure_backoff else timedelta()
    wait = min(wait, max(LONGEST_BACKOFF, triggers.failure_backoff))
    until = min(past.failed_at, now) + wait
    if now >= until:
        return None
    failed = "training failed" if past.failures == 1 else f"{past.failures} trainings in a row failed, the last"
    return Barrier(
        Reason.BACKING_OFF,
        f"{failed} {duration(now - past.failed_at)} ago and the back-off is {duration(wait)}",
        until,
        f"next try in {duration(until - now)}; --force trains anyway",
    )


def _cooling_down(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    began = [at for at in (past.trained_at, past.lost_at) if at is not None]
    if not began:
        return None
    since = max(began)
    until = min(since, now) + triggers.cooldown
    if now >= until:
        return None
    what = (
        "training ended" if since == past.trained_at else "the journal was lost, and with it the last training's end,"
    )
    return Barrier(
        Reason.COOLING_DOWN,
        f"{what} {duration(now - since)} ago and the cooldown is {duration(triggers.cooldown)}",
        until,
        f"next in {duration(until - now)}; --force trains anyway",
    )
