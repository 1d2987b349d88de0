"""The endpoint as cron's controller and a person with curl see it: a real process, a real log, HTTP."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from retrain.errors import ConfigError, RetrainError
from retrain.exporter.serve import Server, address, serve
from tests.exporter.world import HOUR, champion, config, csv, rows
from tests.stories.project import until

TP, FP, FN, TN = (1, 1), (0, 1), (1, 0), (0, 0)

PROGRAM = """
import os, signal, sys
from pathlib import Path
from retrain.config import load
from retrain.errors import Stopped
from retrain.exporter.serve import address, serve

def stop(number, frame):
    raise Stopped(number)

signal.signal(signal.SIGTERM, stop)
config, _ = load(Path(sys.argv[1]), os.environ)
try:
    serve(config, address(sys.argv[2]), lambda line: print(line, flush=True))
except Stopped as stopped:
    raise SystemExit(stopped.exit_code)
"""

CONFIG = """
triggers: {max_model_age: 30d}
models: {champion: models/champion.joblib}
monitor: {log: LOG, window: 1h, bins: 2}
"""


@contextmanager
def serving(
    directory: Path, log: str = "log.csv", listen: str = "127.0.0.1:0", program: str = PROGRAM
) -> Iterator[tuple[str, int]]:
    """The URL and the process id of a monitor in a process of its own."""
    (directory / "config.yaml").write_text(CONFIG.replace("LOG", log))
    command = [sys.executable, "-W", "error", "-c", program, str(directory / "config.yaml"), listen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("serving http://"), process.stderr.read()
            assert line.endswith(f" from {directory / log}\n")
            yield line.split()[1], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            _, complaints = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert complaints == ""


def scrape(url: str) -> dict[str, float]:
    """Every sample by its name and label values."""
    answer = requests.get(url, timeout=60)
    answer.raise_for_status()
    families = text_string_to_metric_families(answer.text)
    return {"|".join([s.name, *s.labels.values()]): s.value for family in families for s in family.samples}


def test_the_life_of_a_log(tmp_path: Path) -> None:
    """Requirement: a log that appears, grows by half lines and is replaced when labels come: each scrape is right."""
    log, at = tmp_path / "log.csv", time.time()
    champion(tmp_path, "a", pd.DataFrame({"x": ["red"] * 40}))
    with serving(tmp_path) as (url, _):
        absent = scrape(url)
        assert f"model_monitor_problem|the log {log} is missing (monitor.log)" in absent
        assert "model_f1_score" not in absent
        assert "model_drift_psi|x" not in absent

        older = rows(3, [TP] * 6 + [FP] * 2 + [FN] + [TN], at, x="red")
        log.write_text(csv(older))
        end = at // HOUR * HOUR - 2 * HOUR
        assert {name: value for name, value in scrape(url).items() if "problem" not in name} == {
            "model_f1_score": 0.8,
            "model_true_positives": 6,
            "model_false_positives": 2,
            "model_false_negatives": 1,
            "model_labelled_samples": 10,
            "model_labelled_positives": 7,
            "model_labelled_window_end_timestamp_seconds": end,
            "model_predictions": 10,
            "model_window_end_timestamp_seconds": end,
        }

        newer = csv(rows(2, [(None, 1)] * 40, at, x="blue"), header=False)
        with log.open("a") as file:
            file.write(newer[:-5])
        assert scrape(url)["model_predictions"] == 39
        with log.open("a") as file:
            file.write(newer[-5:])
        grown = scrape(url)
        assert grown["model_predictions"] == 40
        assert grown["model_window_end_timestamp_seconds"] == end + HOUR
        assert grown["model_labelled_window_end_timestamp_seconds"] == end
        assert grown["model_drift_psi|x"] == grown["model_feature_drift_psi|x"] > 0.2
        assert not [name for name in grown if "problem" in name]

        fresh = tmp_path / "fresh.csv"
        fresh.write_text(csv(older + rows(2, [TP] * 20 + [FN] * 20, at, x="blue")))
        fresh.replace(log)
        labelled = scrape(url)
        assert labelled["model_labelled_window_end_timestamp_seconds"] == end + HOUR
        assert labelled["model_f1_score"] == pytest.approx(2 / 3)


def test_a_promotion_is_seen_by_a_running_monitor(tmp_path: Path) -> None:
    """Requirement: a swap of the champion link switches the reference at the next scrape, with the worst feature."""
    at = time.time()
    pd.DataFrame(rows(2, [TP] * 40, at, x="new", y="same")).to_parquet(tmp_path / "log.parquet")
    champion(tmp_path, "a", pd.DataFrame({"x": ["old"] * 40, "y": ["same"] * 40}))
    with serving(tmp_path, "log.parquet", "localhost:0") as (url, _):
        before = scrape(url)
        assert before["model_drift_psi|x"] > 0.2
        assert "model_drift_psi|y" not in before
        assert before["model_feature_drift_psi|y"] == 0
        champion(tmp_path, "b", pd.DataFrame({"x": ["new"] * 40, "y": ["same"] * 40}))
        with ThreadPoolExecutor(8) as many:
            scrapes = list(many.map(scrape, [url.replace("/metrics", "/")] * 16))
        assert all(after == scrapes[0] for after in scrapes)
        assert scrapes[0]["model_feature_drift_psi|x"] == 0


@pytest.mark.parametrize(
    ("broken", "problem", "served"),
    [
        ("quality", "no F1: TypeError: ", "model_feature_drift_psi|x"),
        ("shift", "no drift: TypeError: ", "model_f1_score"),
        ("unreadable", "TypeError: ", "model_f1_score"),
    ],
)
def test_what_nobody_foresaw_is_served_as_a_problem(tmp_path: Path, broken: str, problem: str, served: str) -> None:
    """Requirement: a bug in one measurement is a sample of the answer, never a 500; the others are in it, too."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40}))
    (tmp_path / "log.csv").write_text(csv(rows(2, [TP] * 40, time.time(), x=1)))
    bug = f"import retrain.exporter.measure\nretrain.exporter.measure.{broken} = None\n"
    with serving(tmp_path, program=bug + PROGRAM) as (url, _):
        found = scrape(url)
    assert [name for name in found if name.startswith(f"model_monitor_problem|{problem}")]
    assert served in found


QUESTION = b"GET / HTTP/1.0\r\n\r\n"
Connect = Callable[[str, bytes], socket.socket]


@pytest.fixture
def connected() -> Iterator[Connect]:
    """Makes a client that has sent something, and has a small buffer for what it is sent."""
    with ExitStack() as clients:

        def connect(url: str, asking: bytes) -> socket.socket:
            host, port = url.removeprefix("http://").removesuffix("/metrics").split(":")
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(60)
            client.connect((host, int(port)))
            client.sendall(asking)
            return client

        yield connect


def received(client: socket.socket) -> int:
    """The bytes that still come."""
    count = 0
    with suppress(ConnectionResetError):
        while more := client.recv(4096):
            count += len(more)
    return count


def threads(process: int) -> int:
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def test_it_ends_promptly_although_a_client_hangs(tmp_path: Path, connected: Connect) -> None:
    """Requirement: a signal ends it at once, with the socket closed, even while a client has not finished asking."""
    with serving(tmp_path) as (url, _):
        connected(url, b"GET /metr")
        scrape(url)
        began = time.monotonic()
    # The hanging client alone would be given 30 s.
    assert time.monotonic() - began < 20
    with pytest.raises(OSError, match="refused"):
        connected(url, b"")


def test_many_slow_clients_do_not_keep_a_good_one_away(tmp_path: Path, connected: Connect) -> None:
    """Requirement: whoever asks at once is answered; beyond 100 connections the oldest one is closed."""
    (tmp_path / "log.csv").write_text(csv(rows(2, [TP] * 3, time.time())))
    with serving(tmp_path) as (url, process):
        alone = threads(process)
        slow = [connected(url, b"GET /metrics HTTP/1.1\r\nHost: x\r\n") for _ in range(200)]
        assert scrape(url)["model_f1_score"] == 1
        assert threads(process) <= alone + 100
        assert [client.recv(1) for client in slow[:100]] == [b""] * 100


def test_a_connection_ends_whatever_its_client_does(monkeypatch: pytest.MonkeyPatch, connected: Connect) -> None:
    """Requirement: saying nothing, sending byte by byte and never reading the answer: each is closed in time."""
    monkeypatch.setattr("retrain.exporter.serve.SECONDS", 1)
    long = b"x" * 32 * 1024**2  # more than the kernel keeps for a client
    with answering(lambda: long) as url:
        alone = threading.active_count()
        silent, slow, deaf = (connected(url, text) for text in (b"", b"G", QUESTION))
        assert deaf.recv(1) == b"H"
        with pytest.raises(OSError, match=r"reset|[Pp]ipe"):
            while True:
                slow.sendall(b"x")
                time.sleep(0.1)
        assert silent.recv(1) == b""
        until(lambda: threading.active_count() <= alone)
        assert received(deaf) < len(long)


def test_a_long_request_is_refused(tmp_path: Path, connected: Connect) -> None:
    """Requirement: 16 KiB of a request are read, however its lines are."""
    with serving(tmp_path) as (url, _):
        for long in (b"GET /" + b"x" * 20_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5_000):
            assert connected(url, long).recv(12) == b"HTTP/1.0 431"
        assert connected(url, b"GET / HTTP/1.0\n\n").recv(12) == b"HTTP/1.0 200"


@contextmanager
def answering(app: Callable[[], bytes]) -> Iterator[str]:
    """The URL of a server in this process that answers what the function gives."""

    def answer(_environ: object, start: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
        start("200 OK", [])
        return [app()]

    with Server(("127.0.0.1", 0)) as server:
        server.set_app(answer)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_where_every_thread_is_measuring_a_request_is_refused(
    monkeypatch: pytest.MonkeyPatch, connected: Connect
) -> None:
    """Requirement: their number is bounded even then; the refusal says so at once."""
    monkeypatch.setattr("retrain.exporter.serve.CONNECTIONS", 2)
    done = threading.Event()
    with answering(lambda: b"late" if done.wait(60) else b"") as url:
        busy = [connected(url, QUESTION) for _ in range(2)]
        assert connected(url, QUESTION).recv(12) == b"HTTP/1.0 503"
        done.set()
        assert busy[1].recv(12) == b"HTTP/1.0 200"
        assert connected(url, QUESTION).recv(12) == b"HTTP/1.0 200"


def test_ipv6_is_served_where_there_is_any(tmp_path: Path) -> None:
    """Requirement: a bracketed IPv6 address is listened on, and announced in brackets."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(tmp_path, listen="[::1]:0") as (url, _):
        assert url.startswith("http://[::1]:")
        assert scrape(url)


def test_a_taken_port_says_which_and_how_to_choose_another(tmp_path: Path) -> None:
    """Requirement: two monitors cannot share a port; the message names it and the flag."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RetrainError, match=rf"port {port} of 127.0.0.1 is taken .* --listen HOST:PORT"):
            serve(config(tmp_path), ("127.0.0.1", port), print)


def test_a_host_that_is_not_ours_is_an_error_for_people(tmp_path: Path) -> None:
    """Requirement: an address of another machine is refused with the flag that mends it."""
    with pytest.raises(RetrainError, match=r"cannot listen on 192\.0\.2\.1 port 9: .* --listen"):
        serve(config(tmp_path), ("192.0.2.1", 9), print)


def test_an_exception_in_announce_closes_the_socket(tmp_path: Path) -> None:
    """Requirement: whatever ends it, the port is free again."""
    heard: list[str] = []

    def interrupted(line: str) -> None:
        heard.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(config(tmp_path), ("127.0.0.1", 0), interrupted)
    port = int(heard[0].split("/metrics")[0].rpartition(":")[2])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("change", [{"window": timedelta(0)}, {"bins": 1}])
def test_settings_that_cannot_work_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """Requirement: a window without length and a single bin are configuration errors, not endless silence."""
    [key] = change
    with pytest.raises(ConfigError, match=rf"monitor\.{key}"):
        serve(config(tmp_path, **change), ("127.0.0.1", 0), print)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:9109", ("127.0.0.1", 9109)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9109", ("::1", 9109)),
        ("a.example:65535", ("a.example", 65535)),
    ],
)
def test_an_address_is_host_and_port(text: str, parsed: tuple[str, int]) -> None:
    """Requirement: HOST:PORT, an IPv6 address in brackets."""
    assert address(text) == parsed


@pytest.mark.parametrize("text", ["", "9109", ":9109", "host:", "host:65536", "host:-1", "::1:9109", "[::1]", "a b:1"])
def test_anything_else_is_no_address(text: str) -> None:
    """Requirement: a wrong address is a configuration error that shows a right one."""
    with pytest.raises(ConfigError, match=r"not HOST:PORT such as 127\.0\.0\.1:9109"):
        address(text)
