"""The clock of the monitoring endpoint, beside ours."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from retrain.config.schema import Monitoring
from retrain.effects.monitoring.deadline import within
from retrain.effects.monitoring.words import shown

if TYPE_CHECKING:
    import requests


def ahead(monitoring: Monitoring, clock: Callable[[], datetime]) -> timedelta | None:
    """How far the endpoint's clock is ahead of ours (negative: behind), to about a second.

    It is the Date of its answer, so None where it says none: from a file, without an answer. Asked as `fetch` asks:
    the same headers, certificates, redirects and limits.
    """
    from retrain.effects.monitoring.transport import Client, Session

    apart: list[timedelta] = []
    deadline = time.monotonic() + monitoring.timeout.total_seconds()

    def hear(response: "requests.Response", **_: Any) -> None:
        told = _date(response.headers.get("Date", ""), response.headers.get("Age", ""))
        if told is not None:
            apart.append(told - clock())

    def ask() -> None:
        with Session() as session:
            session.hooks["response"].append(hear)
            Client(session, monitoring, deadline).get(monitoring.url, shown(monitoring.url))

    within(deadline, ask)
    return apart[-1] if apart else None


def _date(date: str, age: str) -> datetime | None:
    """The time that these headers tell; a cache adds how long it has had the answer."""
    try:
        told = parsedate_to_datetime(date)
        seconds = int(age) if age.isdecimal() else 0
        return told.replace(tzinfo=told.tzinfo or UTC).astimezone(UTC) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None
