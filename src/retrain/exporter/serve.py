"""The endpoint: Prometheus' text format over HTTP, measured anew at every scrape."""

import errno
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from msgspec import Struct
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily

from retrain.config.schema import Config
from retrain.errors import ConfigError, RetrainError
from retrain.exporter.measure import Gauge, Measures

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})")


def address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 address stands in brackets. Raises ConfigError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(f"--listen (monitor.listen): {text!r} is not HOST:PORT such as 127.0.0.1:9109 or [::1]:9109")
    return match[1] or match[2], int(match[3])


def serve(config: Config, address: tuple[str, int], announce: Callable[[str], None]) -> None:
    """Serve the metrics until an exception (Stopped, KeyboardInterrupt) ends it; it is raised on.

    `announce` gets one line, with the URL, once scrapes are answered. Port 0 is any free one.
    Raises ConfigError where the monitor section cannot work, RetrainError where the address cannot be had.
    """
    if not config.monitor.window:
        raise ConfigError("monitor.window: is 0; a window needs a length such as 24h")
    if config.monitor.bins < 2:
        raise ConfigError("monitor.bins: is 1; with one bin no drift can be seen (10 is usual)")
    registry = CollectorRegistry()
    registry.register(_Collector(Gauge(config)))
    with _listen(address) as server:
        server.set_app(make_wsgi_app(registry))
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        announce(f"serving http://{host}:{server.server_port}/metrics from {config.monitor.log}")
        server.serve_forever()


class _Handler(WSGIRequestHandler):
    """Answers one scrape, in silence."""

    timeout = 30

    def handle(self) -> None:
        # A client that says nothing, or has gone, is no news.
        with suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each scrape; none of them keeps the program from ending."""

    daemon_threads = True
    # Some Pythons share ports by default: a second monitor would take half of the scrapes, unnoticed.
    allow_reuse_port = False


class _Server6(_Server):
    address_family = socket.AF_INET6


def _listen(address: tuple[str, int]) -> _Server:
    host, port = address
    try:
        return (_Server6 if ":" in host else _Server)(address, _Handler)
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


def families(measures: Measures) -> Iterator[GaugeMetricFamily]:
    """The measures as metric families; what is not defined is left out."""
    for name, (help, value) in _single(measures).items():
        yield GaugeMetricFamily(name, help, value=value)
    drift = measures.drift
    if drift is not None and drift.shifts:
        psi = drift.psi
        help = (
            "PSI of the feature that drifted most in the newest window; 0 without a feature where chance explains all"
        )
        yield _by("model_drift_psi", help, "feature", {drift.feature: psi.get(drift.feature, 0.0)})
        help = "Population stability index of a feature in the newest window"
        yield _by("model_feature_drift_psi", help, "feature", psi)
        floors = {name: shift.floor for name, shift in drift.shifts.items()}
        yield _by("model_feature_drift_floor", "PSI of a feature that chance explains", "feature", floors)
    if measures.skipped:
        yield _by("model_monitor_skipped_rows", "Rows of the log that do not count", "reason", measures.skipped)
    if measures.problems:
        problems = dict.fromkeys(measures.problems, 1.0)
        yield _by("model_monitor_problem", "1 for what keeps a series away or rows out", "problem", problems)


def _single(measures: Measures) -> dict[str, tuple[str, float]]:
    """Help text and value of the metrics without labels."""
    found: dict[str, tuple[str, float]] = {}
    if quality := measures.quality:
        if quality.f1 is not None:
            found["model_f1_score"] = "F1 of the newest labelled window", quality.f1
        if quality.usual is not None:
            at_usual, share = quality.usual
            found["model_f1_at_usual_share"] = (
                "F1 of that window as it would be at the usual share of positives",
                at_usual,
            )
            found["model_usual_share"] = "Median share of positives of the labelled windows before", share
        if counts := quality.counts:
            found["model_true_positives"] = "True positives of the newest labelled window", counts.tp
            found["model_false_positives"] = "False positives of the newest labelled window", counts.fp
            found["model_false_negatives"] = "False negatives of the newest labelled window", counts.fn
            found["model_labelled_positives"] = "Labelled positives of that window", counts.tp + counts.fn
        found["model_labelled_samples"] = "Labelled rows of the newest labelled window", quality.samples
        found["model_labelled_window_end_timestamp_seconds"] = "End of the newest labelled window", quality.end
    if drift := measures.drift:
        if drift.weighted is not None:
            found["model_weighted_drift_psi"] = "PSI over all features, weighted by their importance", drift.weighted
        found["model_predictions"] = "Rows of the newest window", drift.rows
        found["model_window_end_timestamp_seconds"] = "End of the newest window", drift.end
    if measures.estimate is not None:
        found["model_estimated_f1"] = "F1 of the newest window by its scores alone, without labels", measures.estimate
    return found


def _by(name: str, help: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=[label])
    for text, value in values.items():
        family.add_metric([text.encode(errors="replace").decode()], value)  # a file's name need not be UTF-8
    return family
