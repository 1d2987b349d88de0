"""Tells the outside that a check has finished. Nothing here can fail a run."""

from contextlib import suppress
from threading import Thread
from urllib.parse import urljoin

SECONDS = 5
"""How long a dead-man's-switch may take to answer, its redirects included."""
_REDIRECTS = 5


def heartbeat(url: str) -> None:
    """Ping a dead-man's-switch: it raises the alarm when the pings stop.

    Whoever drips an answer is left behind in a daemon thread: the timeout of a socket starts anew with every byte.
    """
    thread = Thread(target=_ping, args=(url,), name="heartbeat", daemon=True)
    thread.start()
    thread.join(SECONDS)


def _ping(url: str) -> None:
    """Follow the URL to an answer. No body is read; requests would read that of a redirect, even unasked."""
    import requests
    from urllib3.exceptions import HTTPError

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            """None: requests is left no redirect to read."""

    with suppress(requests.RequestException, HTTPError, ValueError, OSError), Session() as session:
        for _ in range(_REDIRECTS + 1):
            with session.get(url, timeout=SECONDS, stream=True) as response:
                if not response.is_redirect:
                    return
                url = urljoin(url, response.headers["location"])
