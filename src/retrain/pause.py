"""`retrain pause` and `retrain resume`: stop acting by itself, go on reading the metrics."""

from datetime import timedelta

from msgspec import to_builtins

from retrain.context import Context
from retrain.core.events import Paused, Resumed
from retrain.core.past import Pause
from retrain.core.text import iso
from retrain.errors import Report
from retrain.swap import journal_of


def pause(context: Context, reason: str, length: timedelta | None) -> Report:
    """The report of a pause that begins now, in place of one that is going on."""
    now, by = context.clock(), context.actor
    with journal_of(context) as journal:
        past = journal.append(Paused(reason, length, by=by), now)
    begun = Pause(reason, now, length, by)
    goes_on = "; the training under way goes on, and its challenger will wait" if past.run is not None else ""
    message = f"{begun}{goes_on} (retrain resume ends it)"
    until = iso(begun.until) if begun.until is not None else None
    return Report(message, {"reason": begun.reason, "until": until, "by": to_builtins(by), "message": message})


def resume(context: Context) -> Report:
    """The report of a pause that ends now; there may be none."""
    now = context.clock()
    with journal_of(context) as journal:
        ended = journal.past().paused(now)
        if ended is not None:
            journal.append(Resumed(by=context.actor), now)
    message = f"resumed; it was {ended}" if ended is not None else "nothing to resume: there is no pause"
    return Report(message, {"resumed": ended is not None, "message": message})
