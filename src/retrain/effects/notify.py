"""Pings the outside when a check has finished. Nothing here can fail a run."""

from datetime import timedelta
from pathlib import Path

from retrain.config.schema import Monitoring
from retrain.effects import http

SECONDS = 5
"""How long a dead-man's-switch may take to answer, its redirects included."""


def heartbeat(url: str, ca_file: Path | None = None) -> None:
    """Ping a dead-man's-switch: it raises the alarm when the pings stop.

    It may be inside, where `ca_file` counts, or outside, where the system's authorities do.
    """
    asked = Monitoring(url, timeout=timedelta(seconds=SECONDS), retries=0, ca_file=ca_file)
    http.exchange(asked, lambda client: client.get(url), also_system=True)
