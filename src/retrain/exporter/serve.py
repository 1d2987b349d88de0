"""The endpoint: Prometheus' text format over HTTP, measured anew at every scrape."""

import errno
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import quote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from msgspec import Struct
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric

from retrain.config.schema import Config
from retrain.core import families as own
from retrain.effects import monitoring
from retrain.effects.journal import open_journal
from retrain.errors import ConfigError, RetrainError
from retrain.exporter.measure import Gauge, Measures

CONNECTIONS = 100
"""How many are open at once."""
SECONDS = 30.0
"""How long each is open at most, from accept to close."""
REQUEST = 16 * 1024
"""Bytes of a request that are read; one that is longer is refused."""
_PATIENCE = 0.5
"""Seconds that a thread takes at most to notice that its connection was ended."""
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})")


def address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 address stands in brackets. Raises ConfigError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(f"--listen (monitor.listen): {text!r} is not HOST:PORT such as 127.0.0.1:9109 or [::1]:9109")
    return match[1] or match[2], int(match[3])


def serve(
    config: Config, address: tuple[str, int], announce: Callable[[str], None], page: Callable[[], str] | None = None
) -> None:
    """Serve the metrics until an exception (Stopped, KeyboardInterrupt) ends it; it is raised on.

    `announce` gets one line, with the URL, once scrapes are answered; `page` makes the page at `/`. Port 0 is any free
    one.
    Raises ConfigError where the monitor section cannot work, RetrainError where the address cannot be had.
    """
    if not config.monitor.window:
        raise ConfigError("monitor.window: is 0; a window needs a length such as 24h")
    if config.monitor.bins < 2:
        raise ConfigError("monitor.bins: is 1; with one bin no drift can be seen (10 is usual)")
    registry = CollectorRegistry()
    registry.register(_Collector(Gauge(config)))
    registry.register(_Own(config))
    with _listen(address) as server:
        metrics = _identified(make_wsgi_app(registry), config)
        server.set_app(metrics if page is None else _with_page(metrics, page))
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        announce(f"serving http://{host}:{server.server_port}/metrics from {config.monitor.log}")
        server.serve_forever()


def _identified(metrics: Callable[..., Any], config: Config) -> Callable[..., Any]:
    """The application with a header that says whose metrics these are: a check may ask at the wrong port."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        log, name = monitoring.identity(config.monitor.log), quote(config.name, errors="replace")
        whose = (monitoring.LOG, f"{log or '-'} {name}")
        return metrics(environ, lambda status, headers: start_response(status, [*headers, whose]))

    return app


_OF_A_PAGE = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
]


def _with_page(metrics: Callable[..., Any], page: Callable[[], str]) -> Callable[..., Any]:
    """The application that serves the page at `/`, and metrics elsewhere."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] != "/":
            return metrics(environ, start_response)
        try:
            status, headers, body = "200 OK", _OF_A_PAGE, page()
        except RetrainError as error:
            status, headers, body = (
                "503 Service Unavailable",
                [("Content-Type", "text/plain; charset=utf-8")],
                str(error),
            )
        start_response(status, headers)
        return [body.encode(errors="backslashreplace")]

    return app


class _Handler(WSGIRequestHandler):
    """Answers one scrape, in silence."""

    def handle(self) -> None:
        head, line = b"", b" "
        with suppress(OSError):  # a client that has gone, or was too slow, is no news
            while line and line.strip(b"\r\n"):
                line = self.rfile.readline(REQUEST - len(head))
                head += line
            if line:
                self.rfile = BytesIO(head)
                super().handle()
            elif len(head) == REQUEST:
                self.wfile.write(b"HTTP/1.0 431 Request Header Fields Too Large\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection. Their number and their duration are bounded, whatever a client does."""

    daemon_threads = True
    request_queue_size = CONNECTIONS
    # Some Pythons share ports by default: a second monitor would take half of the scrapes, unnoticed.
    allow_reuse_port = False

    def __init__(self, address: tuple[str, int]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._since: dict[Any, float] = {}
        self._free = BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a thread can have the request. Where all are taken the oldest ends: a good client is a fast one."""
        if self._free.acquire(blocking=False):
            return True
        for oldest in list(self._since)[:1]:
            self._end(oldest)
        if self._free.acquire(timeout=_PATIENCE):
            return True
        with suppress(OSError):
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\n\r\n")
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since.pop(request, None)
            self._free.release()

    def service_actions(self) -> None:
        """End the connections whose time is over; serve_forever calls this twice a second."""
        for request, since in self._since.copy().items():
            if time.monotonic() - since > SECONDS:
                self._end(request)

    def _end(self, request: Any) -> None:
        """Wake the thread that reads from this connection or writes to it."""
        self._since.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


def _listen(address: tuple[str, int]) -> Server:
    host, port = address
    try:
        return Server(address)
    except OSError as error:
        why = f"cannot listen on {host} port {port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} of {host} is taken by another program"
        raise RetrainError(f"{why}; choose another with --listen HOST:PORT or monitor.listen") from error


class _Collector(Struct, eq=False):
    """What prometheus-client asks at every scrape."""

    gauge: Gauge

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metric families that have a value now."""
        return families(self.gauge.measure(time.time()))


class _Own(Struct, eq=False):
    """What retrain says of itself: the families of the textfile, where there is a journal that can be read."""

    config: Config

    def collect(self) -> Iterator[Metric]:
        """The metric families that have a value now."""
        state, champion, now = self.config.state, self.config.models.champion, datetime.now(UTC)
        with suppress(RetrainError), open_journal(state, writable=False, champion=champion) as journal:
            past, last = journal.past(), journal.last_check()
            for family in own.families(self.config.name, past, last, now) if past.newest is not None else ():
                metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
                for labels, value in family.samples:
                    metric.add_sample(family.name, dict(labels), value)
                yield metric


def families(measures: Measures) -> Iterator[GaugeMetricFamily]:
    """The measures as metric families; what is not defined is left out."""
    for name, help, value in _single(measures):
        if value is not None:
            yield GaugeMetricFamily(name, help, value=value)
    for name, help, label, values in _labelled(measures):
        family = GaugeMetricFamily(name, help, labels=[label])
        for text, value in values.items():
            family.add_metric([text.encode(errors="replace").decode()], value)  # a file's name need not be UTF-8
        if values:
            yield family


def _single(measures: Measures) -> Iterator[tuple[str, str, float | None]]:
    """Name, help text and value of the metrics without labels."""
    if (quality := measures.quality) is not None:
        usual, share = quality.usual or (None, None)
        yield "model_f1_score", "F1 of the newest labelled window", quality.f1
        yield "model_f1_at_usual_share", "F1 of that window as it would be at the usual share of positives", usual
        yield "model_usual_share", "Median share of positives of the labelled windows before", share
        yield "model_labelled_samples", "Labelled rows of the newest labelled window", quality.samples
        yield "model_labelled_window_end_timestamp_seconds", "End of the newest labelled window", quality.end
        if (counts := quality.counts) is not None:
            yield "model_true_positives", "True positives of the newest labelled window", counts.tp
            yield "model_false_positives", "False positives of the newest labelled window", counts.fp
            yield "model_false_negatives", "False negatives of the newest labelled window", counts.fn
            yield "model_labelled_positives", "Labelled positives of that window", counts.tp + counts.fn
    if (drift := measures.drift) is not None:
        yield "model_weighted_drift_psi", "PSI over all features, weighted by their importance", drift.weighted
        yield "model_predictions", "Rows of the newest window", drift.rows
        yield "model_window_end_timestamp_seconds", "End of the newest window", drift.end
    yield "model_estimated_f1", "F1 of the newest window by its scores alone, without labels", measures.estimate


def _labelled(measures: Measures) -> Iterator[tuple[str, str, str, Mapping[str, float]]]:
    """Name, help text, label and values by that label of the others."""
    if (drift := measures.drift) is not None and drift.shifts:
        most = "the feature that drifted most in the newest window; 0 without a feature where chance explains all"
        yield "model_drift_psi", f"PSI of {most}", "feature", {drift.feature: drift.psi.get(drift.feature, 0.0)}
        yield "model_feature_drift_psi", "Population stability index in the newest window", "feature", drift.psi
        floors = {name: shift.floor for name, shift in drift.shifts.items()}
        yield "model_feature_drift_floor", "PSI of a feature that chance explains", "feature", floors
    problems = dict.fromkeys(measures.problems, 1.0)
    yield "model_monitor_skipped_rows", "Rows of the log that do not count", "reason", measures.skipped
    yield "model_monitor_problem", "1 for what keeps a series away or rows out", "problem", problems
