"""What follows a command that acts: the heartbeat, the events that were not sent yet, and the registry of others.

It changes neither the result nor the exit code, and begins when the locks that others wait for are released. Events are
sent at least once: the cursor moves after an event has arrived, so one whose sender is killed is sent again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from importlib.util import find_spec

import msgspec

from retrain.context import Context
from retrain.core import news
from retrain.core.events import Delivered, Entry, Undelivered
from retrain.core.past import DELIVERY, Past, incident_of, kind_of
from retrain.core.text import shell_text
from retrain.effects import heartbeat, lock
from retrain.effects.journal import Journal, open_journal
from retrain.errors import RetrainError
from retrain.output import Output, boundary

HEARTBEAT, COMMAND = "the heartbeat", "notifications.command"
_SIGNALS = 128
"""The first exit code of commands that were ended by a signal."""
_AT_ONCE = 20
"""So many events are read at once; the cursor moves past those that nobody wants when there are as many."""

Send = Callable[[Entry, float], str]
"""Takes an event, and the seconds that this may take; returns why the event has not arrived, empty where it has."""
Channels = dict[str, tuple[str, Send]]
"""What sends, and the name by which it is reported, by the key of its cursor."""


@contextmanager
def following(context: Context, output: Output, command: str) -> Iterator[None]:
    """Let notifications follow the command in the block, when it ends the process; they do not change its exit code."""
    begun = context.clock()
    try:
        with boundary(output):
            yield
    except SystemExit as leaving:
        beside = output.beside()
        with suppress(SystemExit), boundary(beside):
            notify(context, command, begun, int(leaving.code or 0), output.said, beside.announce)
        raise


def notify(  # noqa: PLR0913, PLR0917  (the command, how it ended, and who is told)
    context: Context, command: str, begun: datetime, exit_code: int, message: str, announce: Callable[[str], None]
) -> None:
    """Ping the heartbeat after a check, and send the events that are due; `announce` gets what is news about that.

    The command has `begun` then, and so has a channel that is used for the first time.
    """
    problem = heartbeat.end(context.config, context.run, exit_code, message) if command == "check" else None
    try:
        with open_journal(context.config.state, scrub=context.secrets.scrub) as journal:
            if problem is not None:
                _record(context, journal, HEARTBEAT, problem, announce)
            channels, follow = _channels(context, journal.past()), _following(context)
            journal.keep_cursors({key: key.rpartition(" ")[0] for key in channels} | dict.fromkeys(follow, ""))
            for key in channels:
                journal.cursor(key, begun, context.clock())  # also where another command sends
            # After a signal the command is to end at once.
            if (channels or follow) and exit_code < _SIGNALS:
                with lock.attempt(context.config.state, command, begun, lock.NOTIFY) as held:
                    if held.descriptor is not None:  # else another command sends
                        _send(context, journal, channels, begun, announce)
                        for channel, why_not in follow.items():
                            _record(context, journal, channel, why_not(journal), announce)
    except RetrainError:  # which the command itself has met, and reported
        if problem:
            announce(problem)


def _record(context: Context, journal: Journal, channel: str, problem: str, announce: Callable[[str], None]) -> None:
    """Record that this channel fails for this reason, or works again; announce a problem that is news."""
    past, now, kind = journal.past(), context.clock(), DELIVERY + channel
    problem = context.secrets.scrub(problem)
    if problem and past.is_news(incident_of(kind, problem), now, context.config.notifications.repeat_after):
        journal.append(Undelivered(channel, problem), now)
        announce(problem)
    if not problem and _fails(past, channel):
        journal.append(Delivered(channel, f"{channel} works again after a failure"), now)


def _fails(past: Past, channel: str) -> bool:
    return any(kind_of(each) == DELIVERY + channel for each in past.reported)


def _send(
    context: Context, journal: Journal, channels: Channels, begun: datetime, announce: Callable[[str], None]
) -> None:
    """Send every channel what it has not got, oldest first, within the time for all; one that failed comes last."""
    limit, past = context.config.notifications.timeout.total_seconds(), journal.past()
    deadline = time.monotonic() + limit
    for key, (name, send) in sorted(channels.items(), key=lambda each: _fails(past, each[1][0])):
        arrived, problem = 0, ""
        for entry in _pending(context, journal, key, begun):
            left = deadline - time.monotonic()
            if left <= 0 or (problem := send(entry, left)):
                # Who was given less than half of the time because others took it has not failed.
                problem = "" if left < limit / 2 and time.monotonic() >= deadline else problem
                break
            journal.sent(key, entry.id)
            arrived += 1
        if problem or arrived:
            said = f"{name} {problem} (events wait until it works)" if problem else ""
            _record(context, journal, name, said, announce)


def _pending(context: Context, journal: Journal, key: str, begun: datetime) -> Iterator[Entry]:
    """The events that this channel wants and has not got, oldest first."""
    last, kinds = journal.cursor(key, begun, context.clock()), context.config.notifications.events
    while entries := journal.since(last, _AT_ONCE):
        for entry in entries:
            # A person hears once of an incident; a program may want to count.
            if news.kind(entry.event) in kinds and (key == COMMAND or news.is_news(entry.event)):
                yield entry
        last = entries[-1].id
        if len(entries) < _AT_ONCE:
            return
        journal.sent(key, last)


def _channels(context: Context, past: Past) -> Channels:
    """What is configured. Anything in a URL may be a secret: its digest is in the key, its number in the name."""
    wanted = context.config.notifications
    channels = {COMMAND: (COMMAND, _by_command(context))} if wanted.command is not None else {}
    for number, url in enumerate(wanted.urls, 1):
        service = f"notifications.urls {url.partition('://')[0]}"
        key = f"{service} {sha256(url.encode()).hexdigest()[:8]}"
        # An older release reported it by its key.
        channels[key] = key if _fails(past, key) else f"{service} {number}", _by_url(context, url)
    return channels


def _following(context: Context) -> dict[str, Callable[[Journal], str]]:
    """What lets the registry of others follow, and returns why it does not, by its name in the journal."""
    if context.config.registry is None:
        return {}
    from retrain import mirror

    return {mirror.channel(context.config.registry): lambda journal: mirror.follow(context, journal)}


def _by_command(context: Context) -> Send:
    from retrain.effects import notify, training

    config, gate = context.config, context.config.gate

    def send(entry: Entry, seconds: float) -> str:
        event = news.cloud_event(entry, config.name, gate)
        facts = {
            "RETRAIN_EVENT": str(news.kind(entry.event)),
            "RETRAIN_NAME": shell_text(config.name),
            "RETRAIN_MESSAGE": shell_text(event["data"]["message"], context.secrets.scrub),
        }
        environment = training.environment(context.environ, context.secrets.variables, config.training, facts)
        encoded = msgspec.json.encode(_scrubbed(event, context.secrets.scrub))
        command, directory = config.notifications.command or (), config.training.directory
        return notify.by_command(command, directory, environment, encoded, seconds, context.secrets.scrub)

    return send


def _by_url(context: Context, url: str) -> Send:
    from retrain.effects import notify

    def send(entry: Entry, seconds: float) -> str:
        if find_spec("apprise") is None:
            return "cannot be used: Apprise is not installed (the extra `notify`)"
        kind, text = news.kind(entry.event), news.message(entry.event, context.config.gate)
        title = f"{context.config.name}: {kind.replace('_', ' ')}"
        return notify.by_url(url, title, context.secrets.scrub(text), kind, seconds)

    return send


def _scrubbed(value: object, scrub: Callable[[str], str]) -> object:
    """The value without secrets in its sentences; a name, a digest or a time has no blank, and stays as it is."""
    if isinstance(value, dict):
        return {key: _scrubbed(below, scrub) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(below, scrub) for below in value]
    return scrub(value) if isinstance(value, str) and " " in value else value
