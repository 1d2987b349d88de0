"""Tells the outside that a check has finished. Nothing here can fail a run."""

from contextlib import suppress

SECONDS = 5
"""How long a dead-man's-switch may take to answer."""


def heartbeat(url: str) -> None:
    """Ping a dead-man's-switch: it raises the alarm when the pings stop."""
    import requests

    with suppress(requests.RequestException):
        requests.get(url, timeout=SECONDS, allow_redirects=True).close()
