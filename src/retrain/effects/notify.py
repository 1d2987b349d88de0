"""What takes one event elsewhere: the command notifications.command, or a service by its Apprise URL."""

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from retrain.core.kinds import Kind
from retrain.core.text import one_line
from retrain.effects import process

LATE = "did not end within notifications.timeout"
_capturing = Lock()
"""Apprise's capture has the words of all its services, those of other projects too, so one sends at a time."""
_MOST = 50 * 1024**2
"""Bytes that a command may print: nobody reads more than the last line, and the disk is not its own."""
_TONES = {
    "success": (Kind.PROMOTED, Kind.TRAINED, Kind.RECOVERED, Kind.RESUMED, Kind.DELIVERED),
    "warning": (Kind.ROLLED_BACK, Kind.REJECTED, Kind.INCONCLUSIVE, Kind.PAUSED, Kind.UNDELIVERED),
    "failure": (Kind.TRAINING_FAILED, Kind.NEEDS_A_PERSON, Kind.UNKNOWN),
}
"""How services show an event, by Apprise's types; others are `info`."""


def by_command(  # noqa: PLR0913, PLR0917  (what runs, what it is given, and what of its output may be shown)
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    event: bytes,
    seconds: float,
    scrub: Callable[[str], str],
) -> str:
    """Why the command, given the event on standard input, did not exit 0 in time, else empty; its group has ended."""
    try:
        ran = process.ran(command, directory, environment, given=event, seconds=seconds, most=_MOST)
    except (OSError, ValueError) as error:
        return f"could not be started: {getattr(error, 'strerror', None) or error}"
    if ran.in_time and ran.code == 0:
        return ""
    return ": ".join([ran.how if ran.in_time else LATE, *ran.last_words(scrub)])


def by_url(url: str, title: str, message: str, kind: Kind, seconds: float) -> str:
    """Why the service did not take the message; empty where it did."""
    apprise: Any = import_module("apprise")
    tone = next((tone for tone, kinds in _TONES.items() if kind in kinds), "info")
    problems = [LATE]

    def send() -> None:
        service = apprise.Apprise()
        if not _capturing.acquire(timeout=seconds):
            return
        try:
            with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:
                arrived = service.add(url) and service.notify(message, title, apprise.NotifyType(tone))
                problems[:] = [] if arrived else [one_line(log.getvalue()) or "is no URL that Apprise knows"]
        except Exception as error:  # a service's own bug; where it is not caught here, its traceback is printed
            problems[:] = [one_line(f"failed: {type(error).__name__}: {error}")]
        finally:
            _capturing.release()

    # Late work is left behind: the limits of a service are those of each step of its protocol.
    thread = Thread(target=send, name="apprise", daemon=True)
    thread.start()
    thread.join(seconds)
    return next(iter(problems), "")  # the thread may empty it at this moment


def is_known(url: str) -> bool:
    """Whether Apprise knows the service and the form of this URL; nothing is sent."""
    apprise: Any = import_module("apprise")
    return apprise.Apprise.instantiate(url) is not None
