"""The journal, and who is at work: what is open now."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from retrain.context import Context
from retrain.core.events import Judged
from retrain.core.past import Past
from retrain.core.text import duration, moment
from retrain.doctor import host
from retrain.doctor.findings import Finding, broken, mind, ok
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.effects.lock import stuck
from retrain.errors import RetrainError

_AHEAD = timedelta(seconds=60)
_LONG_AGO = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class History:
    """The journal as far as it can be read: what it means, every look at a holdout, and its last check.

    `trouble` is why it cannot be read; then the rest is as if nothing had ever happened.
    """

    past: Past = field(default_factory=Past)
    judgements: tuple[Judged, ...] = ()
    checked_at: datetime | None = None
    trouble: str = ""


def history(context: Context) -> History:
    """What the journal says."""
    try:
        with open_journal(context.config.state, writable=False) as journal:
            journal.verify()
            last = journal.last_check()
            at = last.at if last is not None else None
            return History(journal.past(), tuple(journal.judgements()), at)
    except RetrainError as error:
        return History(trouble=str(error))
    except OSError as error:
        return History(trouble=f"{error.filename}: {error.strerror}")


def journal(context: Context, known: History) -> Iterator[Finding]:
    """Whether the history can be read, and whether anything has happened lately."""
    path, what, now = context.config.state / "journal.db", "journal", context.clock()
    if known.trouble:
        yield broken(what, known.trouble)
    elif sealed := [each for each in sorted(path.parent.glob("journal.db*")) if not host.may_write_file(each)]:
        whose = "may not be written by the user who runs retrain: give it to that user (chown)"
        yield broken(what, f"{', '.join(map(str, sealed))} {whose}")
    elif (lost := known.past.lost(_served(context))) is not None:
        yield broken(what, f"{path}: {lost.message}")
    elif known.past.newest is None:
        yield ok(what, f"{path} is empty or not there yet: the first check begins it")
    elif known.checked_at is None or now - known.checked_at > _LONG_AGO:
        when = f"the last check was {duration(now - known.checked_at)} ago" if known.checked_at else "no check ever ran"
        yield mind(what, f"{path} is whole, but {when}: is retrain check in the crontab, and does cron run?")
    else:
        yield ok(what, f"{path} is whole; the last check was {duration(now - known.checked_at)} ago")


def _served(context: Context) -> str | None:
    serving = registry.served(context.config.models)
    return serving.version if serving is not None else None


def at_work(context: Context, known: History) -> Iterator[Finding]:
    """Who holds the lock, for how long, and what a crash left open."""
    what, past = "lock", known.past
    holder = lock.holder(context.config.state)
    if holder is not None:
        late = stuck(context.config, holder, context.clock())
        if late is not None:
            yield broken(what, late)
        else:
            yield ok(what, f"{holder} holds it, and is within its time")
        return
    yield ok(what, f"{context.config.state / 'lock'} is free")
    settles = "which was interrupted; the next check records that, and nothing need be done"
    if past.run is not None:
        yield mind("crash", f"training {past.run.id} of {moment(past.run.at)} was begun and never ended, {settles}")
    if past.swap is not None:
        yield mind("crash", f"the {past.swap.swap} of {past.swap.version[:12]} was begun and never recorded, {settles}")


def clock(context: Context, known: History) -> Iterator[Finding]:
    """Whether the journal has events that have not happened yet."""
    now, what = context.clock(), "clock"
    if known.past.newest is None:
        return
    if known.past.newest - now > _AHEAD:
        yield broken(
            what,
            f"it is {moment(now)} by our clock, and the newest event of the journal is of {moment(known.past.newest)},"
            f" {duration(known.past.newest - now)} from now: the clock was wrong then or is wrong now, so that waits"
            " may last too long. See the time synchronisation (NTP) of this machine",
        )
    else:
        yield ok(what, f"it is {moment(now)} by our clock, and nothing in the journal is later")
