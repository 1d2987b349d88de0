"""What serves now and what the journal says: the champion, its versions, the journal, the lock, the clock."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct, field

from retrain.context import Context
from retrain.core.events import HistoryLost, Judged
from retrain.core.past import Past
from retrain.core.text import counted, duration, moment, short
from retrain.doctor import Finding, fail, host, ok, warn
from retrain.effects import lock as locks
from retrain.effects import registry
from retrain.effects.journal import open_journal
from retrain.errors import RetrainError

_AHEAD = timedelta(seconds=60)
_LONG_AGO = timedelta(days=1)


class History(Struct, frozen=True):
    """What the journal means, every holdout comparison and loss in it, and its last check.

    `trouble` is why it cannot be read; then the rest is that of an empty one.
    """

    past: Past = field(default_factory=Past)
    ledger: tuple[Judged | HistoryLost, ...] = ()
    checked_at: datetime | None = None
    trouble: str = ""


def history(context: Context) -> History:
    """What the journal says, all of which is read."""
    try:
        with open_journal(context.config.state, writable=False) as journal:
            journal.verify()
            last = journal.last_check()
            return History(journal.past(), tuple(journal.ledger()), last.at if last is not None else None)
    except RetrainError as error:
        return History(trouble=str(error))


def champion(context: Context, past: Past) -> Iterator[Finding]:
    """What is served."""
    what, link = "champion", context.config.models.champion
    serving, known = registry.served(context.config.models), short(past.served or "")
    if serving is None and past.served is None:
        yield warn(what, "nothing is served yet", "retrain promote PATH puts the first champion in service")
    elif serving is None:
        yield fail(what, f"{link} is gone, and the journal says that {known} serves", "retrain rollback puts it back")
    elif serving.made_at is None:
        remedy = "retrain rollback --to VERSION puts another version in service"
        yield fail(what, f"{link} is a dangling link to {serving.path}", remedy)
    elif serving.version is None:
        yield warn(what, f"{serving.path} is an ordinary file; the next check or promote keeps it as a version")
    elif past.served not in (None, serving.version) and past.swap is None:
        yield warn(what, f"{short(serving.version)} was put in service by hand; the journal says that {known} serves")
    else:
        yield ok(what, f"{link} is version {short(serving.version)}")


def versions(context: Context, past: Past) -> Iterator[Finding]:
    """Whether every version that is kept still has the bytes of its name, and rollback has one to go back to."""
    what, models, wrong = "versions", context.config.models, 0
    kept, serving = registry.kept(models), registry.served(models)
    before = past.lineage[-1] if past.lineage else None
    if before is not None and before not in kept:
        wrong += 1
        seen = f"the previous champion {short(before)} is missing, so retrain rollback cannot go back to it"
        yield fail(what, seen, "restore its file from a copy, or name another version with --to")
    for version in kept:
        try:
            registry.verify(models, version)
        except RetrainError as error:
            wrong += 1
            is_served = serving is not None and serving.version == version
            other = "put another in service with retrain rollback" if is_served else "remove it"
            yield fail(what, error.why, f"restore it from a copy, or {other}")
    if kept and not wrong:
        back = f"; retrain rollback goes back to {short(before)}" if before is not None else ""
        yield ok(what, f"{counted(len(kept), 'version')} kept, each with the bytes of its name{back}")


def journal(context: Context, known: History) -> Iterator[Finding]:
    """Whether the journal can be read and written, is that of what serves, and whether anything happened lately."""
    path, what, now = context.config.state / "journal.db", "journal", context.clock()
    models = context.config.models
    lost = registry.lost(models, registry.served(models), known.past)
    if known.trouble:
        yield fail(what, known.trouble)
    elif sealed := [file for file in sorted(path.parent.glob("journal.db*")) if not host.may(file, os.W_OK)]:
        files = ", ".join(map(str, sealed))
        seen = f"not writable by the user who runs retrain: {files}"
        yield host.unwritable(what, seen, "chown to that user", path.parent, *sealed)
    elif lost is not None:
        yield fail(what, lost.why, lost.remedy)
    elif known.past.newest is None:
        yield ok(what, f"{path} is empty or missing; the first check begins it")
    elif known.checked_at is None or now - known.checked_at > _LONG_AGO:
        last = f"the last check was {duration(now - known.checked_at)} ago" if known.checked_at else "no check ever ran"
        yield warn(what, f"{path} can be read", "is retrain check in the crontab, and does cron run?", last)
    else:
        yield ok(what, f"{path} can be read", numbers=f"the last check was {duration(now - known.checked_at)} ago")


def lock(context: Context, known: History) -> Iterator[Finding]:
    """Who holds the lock, for how long, and what a crash left open."""
    past, holder = known.past, locks.holder(context.config.state)
    if holder is not None:
        late = locks.stuck(context.config, holder, context.clock())
        if late is not None:
            raise late
        yield ok("lock", f"{holder} holds it, and is within its time limit")
        return
    yield ok("lock", f"{context.config.state / 'lock'} is free")
    run, swap = past.run, past.swap
    training = f"training {run.id} of {moment(run.at)}" if run is not None else ""
    for what in filter(None, (training, f"the {swap.swap} of {short(swap.version)}" if swap is not None else "")):
        yield warn("crash", f"{what} was interrupted", "nothing need be done: the next check completes or records that")


def clock(context: Context, known: History) -> Iterator[Finding]:
    """Whether the journal has events from the future."""
    now, newest = context.clock(), known.past.newest
    if newest is not None and newest - now > _AHEAD:
        seen = "the clock was wrong or is wrong now, so waits may last too long"
        numbers = f"it is {moment(now)}, and the newest event is {duration(newest - now)} ahead, of {moment(newest)}"
        yield fail("clock", seen, "see the time synchronisation (NTP) of this machine", numbers)
    elif newest is not None:
        yield ok("clock", f"it is {moment(now)}, and no event of the journal is later")
