"""What follows a command that acts: the heartbeat. It changes neither the result nor the exit code."""

from collections.abc import Callable

from retrain.context import Context
from retrain.core.events import Delivered, Undelivered
from retrain.core.past import DELIVERY, incident_of, kind_of
from retrain.effects import heartbeat
from retrain.effects.journal import Journal, open_journal
from retrain.errors import RetrainError

HEARTBEAT = "the heartbeat"


def notify(context: Context, command: str, exit_code: int, message: str, announce: Callable[[str], None]) -> None:
    """Ping the heartbeat after a check that ended so; `announce` gets what is news about the delivery."""
    if command != "check" or context.config.notifications.heartbeat is None:
        return
    problem = heartbeat.end(context.config, context.run, exit_code, message)
    try:
        with open_journal(context.config.state, scrub=context.secrets.scrub) as journal:
            _settle(context, journal, HEARTBEAT, problem, announce)
    except RetrainError:  # which the command itself has met, and reported
        if problem:
            announce(problem)


def _settle(context: Context, journal: Journal, channel: str, problem: str, announce: Callable[[str], None]) -> None:
    """Record that this channel fails for this reason, or works again; announce a problem that is news."""
    past, now, kind = journal.past(), context.clock(), DELIVERY + channel
    if problem and past.is_news(incident_of(kind, problem), now, context.config.notifications.repeat_after):
        journal.append(Undelivered(channel, problem), now)
        announce(problem)
    if not problem and any(kind_of(each) == kind for each in past.reported):
        journal.append(Delivered(channel, f"{channel} works again"), now)
