"""Notifications through the installed command: events to a real command and a real server, at least once, in order."""

import json
import multiprocessing
import random
import signal
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from retrain.config.schema import Registry
from retrain.context import open_context
from retrain.core.events import Rejected, TrainingStarted, Undelivered
from retrain.core.kinds import Kind
from retrain.core.records import Reason
from retrain.effects.journal import open_journal
from retrain.effects.notify import by_url
from retrain.mirror import channel
from retrain.notify import notify
from tests.effects.servers import Request, page, serving
from tests.stories.project import Project, end, until

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # Apprise's
SENDERS, EVENTS = 50, 100


def sent_to(file: Path) -> list[dict[str, Any]]:
    """The events that a command which appends its input to this file has got."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def appending(project: Project) -> str:
    """A command that appends each event to the file `events`, as one line in one write."""
    script = project.root / "take.py"
    script.write_text(
        "import os, sys\n"
        "line = sys.stdin.buffer.read() + b'\\n'\n"
        "os.write(os.open('events', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), line)\n"
    )
    return f"{sys.executable} -S -E {script}"


@contextmanager
def apprise_server(taken: list[dict[str, Any]]) -> Iterator[str]:
    """The Apprise URL of a server that keeps what it is sent."""
    pytest.importorskip("apprise")

    def respond(request: Request) -> list[bytes]:
        taken.append(json.loads(request.body))
        time.sleep(0.01)  # so that a sender can be killed while it waits for an answer
        return page("ok")

    with serving(respond) as url:
        yield f"json://{url.removeprefix('http://')}/hook"


def test_a_command_gets_what_a_person_would_want_to_hear(project: Project) -> None:
    """From the first use on; the trainings and swaps, not each healthy check, with name and message around."""
    project.serve(project.models.weak)
    project.run("check")
    project.configure(notifications={"command": "sh -c 'cat >> events; echo >> events; env > environment'"})
    project.run("check")
    assert sent_to(project.root / "events") == []
    project.metrics(f1=0.5)
    assert project.run("check").stderr == ""
    project.run("promote")
    found = sent_to(project.root / "events")
    assert [each["type"] for each in found] == ["retrain.trained", "retrain.promoted"]
    assert {each["specversion"] for each in found} == {"1.0"}
    assert found[1]["subject"] == found[1]["data"]["version"] == found[0]["data"]["challenger"]
    assert found[1]["data"]["name"] == project.root.name
    variables = dict(
        line.split("=", 1) for line in (project.root / "environment").read_text().splitlines() if "=" in line
    )
    assert variables["RETRAIN_EVENT"] == "promoted"
    assert variables["RETRAIN_NAME"] == project.root.name
    assert variables["RETRAIN_MESSAGE"].startswith("promoted ")


def test_what_did_not_arrive_is_sent_later_in_order(project: Project) -> None:
    """A command that fails changes nothing else, is reported once, and gets all when it works again."""
    project.configure(notifications={"command": "false"})
    project.metrics(f1=None)
    assert project.run("check").returncode == 4
    project.train("false")
    project.metrics(f1=0.5)
    failed = project.run("check")
    assert failed.returncode == 1
    assert "notifications.command" not in failed.stderr, "it was reported by the check before"
    project.configure(notifications={"command": appending(project)})
    project.metrics()
    assert project.run("check").returncode == 0
    kinds = [each["type"].removeprefix("retrain.") for each in sent_to(project.root / "events")]
    assert kinds == ["unknown", "undelivered", "training_failed", "recovered"]
    assert "no training is due any more after" in sent_to(project.root / "events")[-1]["data"]["message"]


def test_a_heartbeat_that_is_not_pinged_neither_fails_nor_works_again(project: Project) -> None:
    """Without a ping nothing is known: a failure is reported once, until a ping arrives."""
    project.configure(notifications={"heartbeat": "http://127.0.0.1:1/ping"})
    said = []
    for f1 in (0.9, None, 0.9, None):
        project.metrics(f1=f1)
        said.append("the heartbeat" in project.run("check").stderr)
    assert said == [True, False, False, False]
    assert "works again" not in project.run("history", "--kind", "delivered").stdout
    with serving(lambda _request: page("ok")) as url:
        project.configure(notifications={"heartbeat": url})
        project.metrics()
        project.run("check")
    assert "the heartbeat works again" in project.run("history", "--kind", "delivered").stdout


def test_a_command_that_hangs_takes_its_time_limit_and_no_more(project: Project) -> None:
    """It is ended then with all that it has started, and does not keep the lock."""
    project.configure(notifications={"command": "sleep 1000", "timeout": "1s"})
    project.metrics(f1=None)
    began = time.monotonic()
    done = project.run("check")
    assert time.monotonic() - began < 30
    assert done.returncode == 4
    assert "notifications.command did not end within notifications.timeout (events wait until it works)" in done.stderr
    assert project.run("check", "--json").returncode == 4


def test_people_hear_once_of_an_incident_and_once_of_its_end(project: Project) -> None:
    """The message of recovery says what recovered, and after how long; a secret in the cause is not sent."""
    taken: list[dict[str, Any]] = []
    with apprise_server(taken) as url:
        project.configure(notifications={"urls": [f"{url}?+X-Token=${{TOKEN}}"], "repeat_after": "1h"})
        for f1 in (None, None, 0.9, 0.9):
            project.metrics(f1=f1)
            project.run("check", TOKEN="s3cr3t-token-1")  # noqa: S106  (no password of anything)
    name = project.root.name
    assert [each["title"] for each in taken] == [f"{name}: unknown", f"{name}: recovered"]
    assert [each["type"] for each in taken] == ["failure", "success"]
    assert taken[1]["message"].startswith("recovered: the metrics are known again after ")


def test_a_url_that_cannot_be_used_keeps_no_other_from_getting_the_events(project: Project) -> None:
    """Each has a cursor of its own: a service that works again gets what it lacks, the others nothing twice."""
    taken: list[dict[str, Any]] = []
    with apprise_server(taken) as url:
        project.configure(notifications={"urls": ["json://127.0.0.1:9/s3cr3t-1", url], "command": appending(project)})
        project.metrics(f1=None)
        done = project.run("check")
    assert done.returncode == 4
    assert "notifications.urls json " in done.stderr
    assert "s3cr3t-1" not in done.stderr
    assert [each["type"] for each in sent_to(project.root / "events")] == ["retrain.unknown"]
    assert [each["title"].partition(": ")[2] for each in taken] == ["unknown", "undelivered"]


@contextmanager
def guarded_server(tokens: set[str], taken: list[tuple[str, str]]) -> Iterator[str]:
    """The host of a server that takes events from users with one of these tokens, and keeps the token with the kind."""
    pytest.importorskip("apprise")

    def respond(request: Request) -> list[bytes]:
        token = b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().removeprefix("user:")
        if token not in tokens:
            return page("no", "401 Unauthorized")
        taken.append((token, json.loads(request.body)["title"].partition(": ")[2]))
        return page("ok")

    with serving(respond) as url:
        yield url.removeprefix("http://")


def test_what_waits_for_a_url_is_sent_when_its_token_is_renewed(project: Project) -> None:
    """Also beside one that differs in its token alone, which gets nothing twice; and that it works again is said."""
    tokens, taken = {"t0ken-of-one"}, list[tuple[str, str]]()
    with guarded_server(tokens, taken) as host:
        urls = [f"json://user:${{{name}}}@{host}/x" for name in ("ONE", "TWO")]
        project.configure(notifications={"urls": urls, "events": ["unknown", "recovered"]})
        project.run("check", ONE="t0ken-of-one", TWO="t0ken-of-two")
        project.metrics(f1=None)
        done = project.run("check", ONE="t0ken-of-one", TWO="t0ken-of-two")
        assert "notifications.urls json 2 " in done.stderr
        project.configure(notifications={"urls": [*urls[::-1], "json://127.0.0.1:9"]})
        tokens.add("renewed-1")
        project.metrics()
        project.run("check", ONE="t0ken-of-one", TWO="renewed-1")
    told = {name: [kind for token, kind in taken if token == name] for name in tokens}
    assert told == {"t0ken-of-one": ["unknown", "recovered"], "renewed-1": ["unknown", "recovered"]}


def test_a_renewed_token_ends_the_failure_of_the_one_before(project: Project) -> None:
    """It is the same channel, whose name holds nothing of a secret; so is a registry with another password."""
    tokens = {"t0ken-2"}
    with guarded_server(tokens, []) as host:
        project.configure(notifications={"urls": [f"json://user:${{TOKEN}}@{host}/x"]})
        project.metrics(f1=None)
        for token in ("t0ken-1", "t0ken-2"):
            project.run("check", TOKEN=token)
    told = project.run("history", "--kind", "delivered", TOKEN="t0ken-2").stdout  # noqa: S106  (no password of anything)
    assert "notifications.urls json 1 works again" in told
    one, two = (Registry(f"https://user:{password}@mlflow.test", "churn") for password in ("s3cr3t-1", "s3cr3t-2"))
    assert channel(one) == channel(two)


def test_a_url_that_an_older_release_has_sent_to_goes_on(project: Project) -> None:
    """Its cursor stands under a digest of the whole URL, and so does its failure, which ends under that name."""
    taken: list[dict[str, Any]] = []
    with apprise_server(taken) as url:
        name = f"notifications.urls json {sha256(url.encode()).hexdigest()[:8]}"
        with open_journal(project.root / "state") as journal:
            for version in ("sent", "waits"):
                journal.append(Rejected(version, version), datetime(2024, 11, 22, tzinfo=UTC))
            journal.append(Undelivered(name, f"{name} failed"), datetime(2024, 11, 22, tzinfo=UTC))
            journal.sent(name, 1)
        project.configure(notifications={"urls": [url], "events": ["rejected"]})
        project.run("check")
        project.run("check")
    assert [each["message"].rpartition(" ")[2] for each in taken] == ["waits"]
    assert f"{name} works again" in project.run("history", "--kind", "delivered").stdout


def test_services_that_fail_at_once_are_told_apart() -> None:
    """Projects in one process: what one service says, perhaps with a secret, is in no other project's report."""
    pytest.importorskip("apprise")
    asked, both = Event(), Event()

    def slow(_request: Request) -> list[bytes]:
        asked.set()
        both.wait(2)  # which is never, where one is sent after the other
        return page("no", "404 Not Found")

    def soon(_request: Request) -> list[bytes]:
        both.set()
        return page("no", "503 Service Unavailable")

    with serving(slow) as first, serving(soon) as second, ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(by_url, first.replace("http", "json"), "t", "m", Kind.UNKNOWN, 30)]
        assert asked.wait(30)
        sent.append(pool.submit(by_url, second.replace("http", "json"), "t", "m", Kind.UNKNOWN, 30))
        said = [each.result() for each in sent]
    assert [("404" in each, "503" in each) for each in said] == [(True, False), (False, True)], said


def send(root: str) -> None:
    """Send what is due, as a command does after its own work."""
    context = open_context(Path(root) / "config.yaml")
    notify(context, "prune", datetime(2020, 1, 1, tzinfo=UTC), 0, "", print)


@pytest.mark.parametrize("channel", ["command", "urls"])
def test_nothing_is_lost_and_the_order_is_kept_through_fifty_kills(project: Project, channel: str) -> None:
    """SIGKILL at any moment of sending: an event may come twice, none is left out, and none overtakes another."""
    taken: list[dict[str, Any]] = []
    at, rejected = datetime(2024, 11, 22, tzinfo=UTC), [f"v{number}" for number in range(EVENTS)]
    with open_journal(project.root / "state") as journal:
        for version in rejected:
            journal.append(Rejected(version, version), at)
    dice, forked = random.Random(5), multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(["tests.stories.test_notify", "retrain.effects.notify", "apprise"])
    with apprise_server(taken) as url:
        setting = {"command": appending(project)} if channel == "command" else {"urls": [url]}
        project.configure(notifications=setting)
        killed = 0
        for number in range(SENDERS + 1):
            sender = forked.Process(target=send, args=(str(project.root),))
            sender.start()
            sender.join(dice.uniform(0.02, 0.12) if number < SENDERS else 120)
            sender.kill()
            sender.join()
            killed += sender.exitcode == -signal.SIGKILL
    messages = [each["message"] for each in taken]
    if channel == "command":
        time.sleep(1)  # a command outlives the sender
        messages = [each["data"]["message"] for each in sent_to(project.root / "events")]
    got = [message.rpartition(" ")[2] for message in messages]
    assert list(dict.fromkeys(got)) == rejected
    assert killed >= SENDERS / 2


def test_a_training_whose_controller_died_is_heard_of(project: Project) -> None:
    """The next check records that it was interrupted, prints it, and tells the people and the programs."""
    taken: list[dict[str, Any]] = []
    with apprise_server(taken) as url:
        project.configure(notifications={"urls": [url], "command": appending(project)})
        project.run("check")
        with open_journal(project.root / "state") as journal:
            journal.append(TrainingStarted("killed", Reason.BREACH, "F1"), datetime.now(UTC))
        assert "training killed, started " in project.run("check").stdout
    assert [each["title"].partition(": ")[2] for each in taken] == ["training failed"]
    assert [each["type"] for each in sent_to(project.root / "events")] == ["retrain.training_failed"]


def test_what_a_first_command_does_is_sent_though_a_signal_ended_it(project: Project) -> None:
    """A channel begins when the first command that has it begins, also where another one sends."""
    project.train("touch started; sleep 60")
    project.configure(notifications={"command": appending(project)})
    project.metrics(f1=0.5)
    killed = project.start("check")
    until((project.root / "started").exists)
    assert end(killed)[0] == 128 + signal.SIGTERM
    assert sent_to(project.root / "events") == []
    project.metrics()
    project.run("check")
    assert [each["type"] for each in sent_to(project.root / "events")] == [
        "retrain.training_failed",
        "retrain.recovered",
    ]


def test_a_channel_begins_with_its_first_command_though_the_clock_was_ahead(project: Project) -> None:
    """What was recorded in the future, before the clock was set right, came before, and is not sent."""
    ahead = datetime.now(UTC) + timedelta(days=10)
    with open_journal(project.root / "state") as journal:
        for version in ("one", "two"):
            journal.append(Rejected(version, "worse"), ahead)
    project.configure(notifications={"command": appending(project)})
    project.metrics(f1=None)
    project.run("check")
    assert [each["type"] for each in sent_to(project.root / "events")] == ["retrain.unknown"]


def test_a_channel_that_was_switched_off_begins_anew(project: Project) -> None:
    """What happened meanwhile is in the history; nobody gets the messages of months at once."""
    project.configure(notifications={"command": appending(project)})
    project.run("check")
    for f1 in (None, 0.9):  # unknown, and recovered
        project.settings["notifications"] = {}
        project.configure()
        project.metrics(f1=f1)
        project.run("check")
    project.configure(notifications={"command": appending(project)})
    project.run("check")
    assert sent_to(project.root / "events") == []
    project.metrics(f1=None)
    project.run("check")
    assert [each["type"] for each in sent_to(project.root / "events")] == ["retrain.unknown"]
