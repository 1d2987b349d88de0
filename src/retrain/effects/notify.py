"""Pings the outside when a check has finished. Nothing here can fail a run."""

from datetime import timedelta

from retrain.effects import http

SECONDS = 5
"""How long a dead-man's-switch may take to answer, its redirects included."""


def heartbeat(url: str) -> None:
    """Ping a dead-man's-switch: it raises the alarm when the pings stop."""
    http.exchange(url, http.Bounds(timedelta(seconds=SECONDS)), lambda client: client.get(url))
