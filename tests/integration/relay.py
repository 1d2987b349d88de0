"""A relay of TCP connections to a real server, through which an outage, or the moment of a kill, is chosen."""

import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

_REQUEST = re.compile(rb"(?:^|\n)(GET|POST|PUT|DELETE) (\S+) HTTP/1\.1\r\n")


class Relay:
    """What passes: all while `most` is None, else that many more requests; the next one is never answered (`stuck`).

    While `refuses`, connections are ended at once. `requests` are those that passed, as `GET /path`.
    """

    def __init__(self, port: int) -> None:
        self._target, self.refuses, self.requests = port, False, list[str]()
        self.most: int | None = None
        self.stuck, self._gone = Event(), Event()

    def hang_after(self, requests: int) -> None:
        """Let so many more requests pass, and none after them."""
        self.most, self.stuck = requests, Event()

    def pass_all(self) -> None:
        """Let all pass again, and forget what did."""
        self.most, self.refuses = None, False
        self.requests.clear()

    def _takes(self, piece: bytes) -> bool:
        """Whether what the client sent may pass."""
        for method, path in _REQUEST.findall(piece):
            if self.most is not None and self.most <= 0:
                self.stuck.set()
                return False
            self.most = None if self.most is None else self.most - 1
            self.requests.append(f"{method.decode()} {path.decode()}")
        return self.most is None or not self.stuck.is_set()

    def converse(self, client: socket.socket) -> None:
        """Carry what both say, until either ends."""
        if self.refuses:
            client.close()
            return
        with client, socket.create_connection(("127.0.0.1", self._target)) as server, suppress(OSError):
            while not self._gone.is_set():
                for source in select.select([client, server], [], [], 0.2)[0]:
                    if not (piece := source.recv(65536)):
                        return
                    if source is server:
                        client.sendall(piece)
                    elif self._takes(piece):
                        server.sendall(piece)

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the relay ends."""
        listener.settimeout(0.2)
        while not self._gone.is_set():
            with suppress(TimeoutError):
                Thread(target=self.converse, args=(listener.accept()[0],)).start()

    def end(self) -> None:
        """Let all threads end."""
        self._gone.set()


@contextmanager
def relayed(port: int) -> Iterator[tuple[Relay, str]]:
    """A relay to this port of this machine, and its URL."""
    relay = Relay(port)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = Thread(target=relay.serve, args=(listener,))
        accepting.start()
        try:
            yield relay, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            relay.end()
            accepting.join()
