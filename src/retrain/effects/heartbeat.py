"""A dead man's switch: a service that raises the alarm when no ping comes, or one that says that a check has failed.

The conventions are those of https://healthchecks.io/docs/http_api and of the push monitors of Uptime Kuma.
"""

from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from retrain.config.schema import Config, Heartbeat, Monitoring, Style
from retrain.core.records import Unknown
from retrain.core.text import one_line
from retrain.effects import http

SECONDS = 5
"""How long the switch may take to answer, its redirects included."""
_LONGEST = 10_000
"""Characters of a body: so many bytes an installation of Healthchecks keeps, where nothing else is configured."""


def start(config: Config, run: str) -> None:
    """Report that a long run begins, where the switch can know: its silence is no failure until the run is overdue."""
    switch = config.notifications.heartbeat
    if switch is not None and switch.style is Style.HEALTHCHECKS:
        _ping(config, _below(switch.url, "start", run), b"")


def end(config: Config, run: str, exit_code: int, message: str) -> str | None:
    """Why the ping after a check that ended so was not taken; empty where it was, None where none is due.

    `run` is 32 random hex digits, by which a switch finds the start of the run. Each ping has one: without one it
    would end the run of a training that still goes on.
    """
    switch = config.notifications.heartbeat
    if switch is None or (switch.style is Style.PLAIN and exit_code):
        return None
    return _ping(config, *_after(switch, run, exit_code, message))


def attempt(config: Config, run: str) -> str:
    """Why a ping was not taken that says, where the switch can know, nothing about a check; empty where it was."""
    switch, message = config.notifications.heartbeat, "retrain doctor tries this heartbeat"
    if switch is None:
        return ""
    if switch.style is Style.HEALTHCHECKS:
        return _ping(config, _below(switch.url, "log", run), message.encode())
    return _ping(config, *_after(switch, run, 0, message))


def _after(switch: Heartbeat, run: str, exit_code: int, message: str) -> tuple[str, bytes | None]:
    """The URL of the ping after a check, and what is posted to it."""
    if switch.style is Style.HEALTHCHECKS:
        return _below(switch.url, str(exit_code), run), message[:_LONGEST].encode(errors="replace")
    if switch.style is Style.PLAIN:
        return switch.url, None
    status = {"status": "down" if exit_code else "up", "msg": one_line(message)}
    return _with_query(switch.url, switch.url, status), None  # the copied URL has both already


def _below(url: str, step: str, run: str) -> str:
    """The URL of this step of a run."""
    from uuid import UUID

    place = urlsplit(url)._replace(path=f"{urlsplit(url).path.rstrip('/')}/{step}")
    return _with_query(url, urlunsplit(place), {"rid": str(UUID(run, version=4))})


def _with_query(url: str, place: str, query: dict[str, str]) -> str:
    """The place with the query of the URL, in which these values replace those of the same name."""
    kept = [(name, value) for name, value in parse_qsl(urlsplit(url).query, True) if name not in query]
    return urlunsplit(urlsplit(place)._replace(query=urlencode([*kept, *query.items()])))


def _ping(config: Config, url: str, body: bytes | None) -> str:
    """Why the ping was not taken; empty where it was. Nothing here can fail a run."""
    # It may be inside, where `ca_file` counts, or outside, where the system's authorities do.
    ca_file = config.monitoring.ca_file if config.monitoring is not None else None
    asked = Monitoring(url, timeout=timedelta(seconds=SECONDS), retries=0, ca_file=ca_file)
    answers: list[bytes | Unknown] = []
    http.exchange(asked, lambda client: answers.append(client.get(url, body)), also_system=True)
    answer = answers[0] if answers else http.late(asked)
    # Not where it was sent to: every part of that URL may be a secret.
    return f"the heartbeat {answer.why} (check notifications.heartbeat)" if isinstance(answer, Unknown) else ""
