"""`retrain check -c DIR`: many projects in one process, each as if it were alone."""

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from retrain.effects import lock
from tests.effects.servers import Request, frozen_server, page, serving
from tests.stories.project import CHAMPION, RETRAIN, Models, Project, end, until
from tests.stories.test_guards import promoted

pytestmark = pytest.mark.own_process

Make = Callable[[str], Project]


@pytest.fixture
def make(tmp_path: Path, models: Models) -> Make:
    """Makes a project in a directory of its own below the current one."""

    def made(name: str) -> Project:
        (tmp_path / name).mkdir()
        return Project(tmp_path / name, models)

    return made


def check(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What comes of `retrain check` of all projects here, with these flags and variables."""
    process = started(root, *words, **environment)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(root: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [RETRAIN, "check", "-c", ".", *words],
        cwd=root,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(said: str) -> dict[str, str]:
    """What was said, a line a project, by its name."""
    return dict(line.removeprefix("retrain: ").split(": ", 1) for line in said.splitlines())


def objects(said: str) -> dict[str, dict[str, Any]]:
    """The JSON objects by the name of the project."""
    return {each["name"]: each for each in map(json.loads, said.splitlines())}


def test_nothing_is_printed_where_nothing_changed(make: Make, tmp_path: Path) -> None:
    """Under cron; -v has a line for each project and one for all, --json an object for each."""
    for name in ("a", "b"):
        make(name)
    silent = check(tmp_path)
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "")
    told = check(tmp_path, "-v")
    assert told.returncode == 0, told
    *each, together = told.stdout.splitlines()
    assert sorted(line[:3] for line in each) == ["a: ", "b: "]
    assert together.startswith("2 projects checked in ")
    assert together.endswith(" s: 2 done")
    assert {line[:3] for line in told.stderr.splitlines()} == {"a: ", "b: "}
    found = objects(check(tmp_path, "--json").stdout)
    assert {name: (each["action"], each["exit_code"]) for name, each in found.items()} == {
        "a": ("hold", 0),
        "b": ("hold", 0),
    }
    assert found["a"]["config"] == str(tmp_path / "a/config.yaml")


def test_many_new_projects_are_looked_at_at_once(make: Make, tmp_path: Path) -> None:
    """Threads share what a library keeps for all: each project has its own first check, and the process lives."""
    names = [f"p{number:02}" for number in range(40)]
    for name in names:
        make(name)
    found = objects(check(tmp_path, "--json").stdout)
    assert sorted(found) == names
    assert {each["reason"] for each in found.values()} == {"healthy"}


def test_what_fails_in_one_project_stops_no_other(make: Make, tmp_path: Path) -> None:
    """Each failure in a line of its own; the exit code is the gravest, and those that can train do."""
    good, hanging, locked, damaged, failing, broken = map(
        make, ("good", "hanging", "locked", "damaged", "failing", "broken")
    )
    check(tmp_path)
    (broken.root / "config.yaml").write_text("trigers: {}\nmonitoring: 1\n")
    (damaged.root / "state/journal.db").write_bytes(b"no journal" * 1000)
    good.metrics(f1=0.5)
    failing.metrics(f1=0.5)
    failing.train("echo no rows; false")
    with frozen_server() as url, closing(sqlite3.connect(locked.root / "state/journal.db")) as writer:
        hanging.configure(monitoring={"url": url, "timeout": "1s"})
        writer.execute("BEGIN EXCLUSIVE")
        done = check(tmp_path, "--trainings", "2")
    told = lines(done.stderr)
    assert done.returncode == 2
    assert done.stdout.startswith("good: training: F1 0.500 is below 0.850; trained in ")
    assert len(done.stdout.splitlines()) == 1
    assert told.keys() == {"hanging", "locked", "damaged", "failing", "broken"}
    assert "did not answer within 1 s" in told["hanging"]
    assert "database is locked" in told["locked"]
    assert "the journal is damaged" in told["damaged"]
    assert "exited 2" in told["failing"]
    assert "no rows" in told["failing"]
    assert [line.partition("config.yaml")[0] for line in done.stderr.splitlines() if "broken" in line] == [
        f"retrain: broken: {broken.root}/",
        f"broken: {broken.root}/",
    ]
    codes = {name: each["exit_code"] for name, each in objects(check(tmp_path, "--json").stdout).items()}
    assert codes == {"good": 0, "hanging": 4, "locked": 0, "damaged": 1, "failing": 0, "broken": 2}


def test_a_link_that_leads_nowhere_is_a_project_that_failed(make: Make, tmp_path: Path) -> None:
    """Of a configuration or of its directory: exit 2 and the cause, since cron would never hear of it; a file is none.

    Nor is a hidden link, by which an editor locks a file.
    """
    for name in ("good", "moved"):
        make(name)
    (tmp_path / "moved/config.yaml").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").touch()
    links = {"moved/config.yaml": "gone.yaml", "away": "gone", "loop": "loop", "link": "notes", ".#notes": "me@here"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    done = check(tmp_path, "--json")
    codes = {name: each["exit_code"] for name, each in objects(done.stdout).items()}
    assert (done.returncode, codes) == (2, {"good": 0, "moved": 2, "away": 2, "loop": 2})
    assert "moved/config.yaml: cannot be read: No such file or directory" in done.stdout


def test_a_training_delays_no_look_and_the_others_wait_for_a_later_check(make: Make, tmp_path: Path) -> None:
    """At most one at a time, also while an earlier check still trains; who waits is `busy`, and decides anew later."""
    a, b, c = map(make, "abc")
    for each in (a, b):
        each.metrics(f1=0.5)
        wait = "while [ ! -e go ]; do sleep 0.05; done"
        each.train("touch begun", wait, f"cp {a.models.strong} $(RETRAIN_CHALLENGER)")
    first = started(tmp_path, "--json")
    until(lambda: (a.root / "begun").exists() or (b.root / "begun").exists())
    trains, waits = (a, b) if (a.root / "begun").exists() else (b, a)
    second = check(tmp_path, "--json", "-v")
    assert second.returncode == 0
    found = objects(second.stdout)
    assert {name: each["reason"] for name, each in found.items()} == {"a": "busy", "b": "busy", "c": "healthy"}
    assert "but 1 training may run at once (--trainings), and no place is free" in found[waits.root.name]["message"]
    waits.metrics(f1=0.9)
    (trains.root / "go").touch()
    out, err = first.communicate(timeout=60)
    assert (first.returncode, err) == (0, "")
    ended = objects(out)
    assert ended[trains.root.name]["action"] == "train"
    assert ended[waits.root.name]["reason"] == "busy"
    assert len(out.splitlines()) == 3
    assert objects(check(tmp_path, "--json").stdout)[waits.root.name]["reason"] == "healthy"
    assert not (waits.root / "begun").exists()
    assert c.json("check")["reason"] == "healthy"


def test_no_training_begins_where_none_may(make: Make, tmp_path: Path) -> None:
    """`--trainings 0` looks, and a dry run records nothing, of all projects or of one."""
    one = make("one")
    one.metrics(f1=0.5)
    found = objects(check(tmp_path, "--trainings", "0", "--json").stdout)
    assert (found["one"]["action"], found["one"]["reason"]) == ("hold", "busy")
    before = one.files()
    dry = objects(check(tmp_path, "--dry-run", "--json").stdout)
    assert (dry["one"]["action"], dry["one"]["dry_run"]) == ("train", True)
    assert one.files() == before
    assert one.json("check", "--trainings", "0")["reason"] == "busy"
    assert check(tmp_path, "--force", "--reason", "x").returncode == 2


def test_a_signal_ends_the_training_and_begins_no_other(make: Make, tmp_path: Path) -> None:
    """The training is recorded as interrupted, as that of a single check; all that had begun has ended."""
    one = make("one")
    one.metrics(f1=0.5)
    one.train("touch begun", "sleep 60")
    process = started(tmp_path)
    until((one.root / "begun").exists)
    code, out, err = end(process)
    assert (code, out) == (128 + signal.SIGTERM, "")
    assert err.splitlines() == ["retrain: one: stopped by SIGTERM", "retrain: stopped by SIGTERM"]
    assert "was stopped after" in one.run("history").stdout
    assert one.json("check", "--trainings", "0")["reason"] != "busy"


def test_a_signal_while_endpoints_are_waited_for_begins_no_look(make: Make, tmp_path: Path) -> None:
    """What was begun is ended; a second signal waits for nothing."""
    hanging, late = make("a"), [make(f"b{number:02}") for number in range(3)]
    asked: list[str] = []

    def respond(request: Request) -> Iterator[bytes]:
        asked.append(request.path)
        request.gone.wait(60)
        yield from page("{}")

    with serving(respond) as url:
        for each in (hanging, *late):
            each.configure(monitoring={"url": url, "timeout": "40s"})
        process = started(tmp_path)
        until(lambda: len(asked) == 4)
        process.send_signal(signal.SIGINT)
        until(lambda: process.poll() is None)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        code, _, err = end(process, signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert err == "retrain: stopped by SIGINT\n"


def test_no_secret_of_one_project_is_seen_by_another(make: Make, tmp_path: Path) -> None:
    """Not in its output, nor in the environment of its training or of its notifications; two may share one."""
    secrets = {"A_TOKEN": "4f9d1c77aa01", "B_TOKEN": "9b2e6d03cc58", "SHARED": "77e0d1f2ab39", "DATA": "/srv/rows"}
    heard: dict[str, list[str]] = {}

    def respond(request: Request) -> list[bytes]:
        heard.setdefault(request.path, []).append(request.headers["authorization"])
        return page(json.dumps({"f1": 0.5, "drift": 0.1}))

    a, b = make("a"), make("b")
    with serving(respond) as url:
        for each, name in ((a, "A_TOKEN"), (b, "B_TOKEN")):
            each.configure(
                monitoring={
                    "url": f"{url}/{each.root.name}",
                    "observed_at": None,
                    "headers": {"Authorization": f"${{{name}}}", "X-Shared": "${SHARED}"},
                },
                training={"environment": {"ROWS": "${DATA}"}},
                notifications={"command": "sh -c 'env > told'"},
            )
            each.train("env > environment", f"echo {' '.join(secrets.values())}", "false")
        done = check(tmp_path, "--trainings", "2", **secrets)
    assert heard == {"/a": [secrets["A_TOKEN"]] * 2, "/b": [secrets["B_TOKEN"]] * 2}
    assert done.returncode == 1
    for each, own, other in ((a, "A_TOKEN", "B_TOKEN"), (b, "B_TOKEN", "A_TOKEN")):
        for file in ("environment", "told"):
            variables = (each.root / file).read_text()
            assert not {name for name in secrets if f"{name}=" in variables and name not in ("DATA",)}, file
        assert "ROWS=/srv/rows" in (each.root / "environment").read_text()
        line = lines(done.stderr)[each.root.name]
        assert secrets[own] not in line
        assert secrets["SHARED"] not in line
        assert secrets[other] in line, "which the recipe itself has printed, and is none of its project's secrets"


@pytest.mark.parametrize(
    "broken",
    [
        "cooldwn: 6h\nmonitoring: {headers: {Authorization: 'Bearer ${A_TOKEN}'}}\n",
        "monitoring: {heders: {Authorization: 'Bearer ${A_TOKEN}'}}\n",
        "monitoring: {headers: {Authorization: 'Bearer ${A_TOKEN'}}\n",
        "monitoring: {headers: {Authorization: 'Bearer ${A_TOKEN:-none}'}\n",
        "monitoring: {headers: {Authorization: 'Bearer ${A_TOKEN}', A: '\udce9'}}\n",
    ],
    ids=["elsewhere", "a misspelt key", "a misspelt variable", "no YAML", "no text"],
)
def test_the_secret_of_a_configuration_with_an_error_is_seen_by_no_other(
    make: Make, tmp_path: Path, broken: str
) -> None:
    """Whatever the error is; what a shell gives to each process stays, though it is named there, too."""
    a, b = make("a"), make("b")
    text = f"training: {{environment: {{PATH: '/opt:${{PATH}}', HOME: '${{HOME}}'}}}}\n{broken}"
    (a.root / "config.yaml").write_text(text, errors="surrogateescape")
    b.metrics(f1=0.5)
    b.train("env > environment", "false")
    done = check(tmp_path, A_TOKEN="4f9d1c77aa01", B_OWN="kept")  # noqa: S106  (no password, a test of one)
    assert done.returncode == 2, done
    assert "retrain: a: " in done.stderr
    variables = (b.root / "environment").read_text()
    assert "A_TOKEN=" not in variables and "4f9d1c77aa01" not in variables
    assert all(f"\n{name}=" in f"\n{variables}" for name in ("B_OWN", "PATH", "HOME"))


def test_what_a_crash_left_is_settled_and_a_champion_file_taken_over(make: Make, tmp_path: Path) -> None:
    """By a check of its own, for it may take long, and without a place for a training."""
    one, two = make("one"), make("two")
    one.serve(one.models.fair)
    two.metrics(f1=0.5)
    two.train("echo $$$$ > new; mv new begun; exec sleep 60")
    process = two.start("check")
    until((two.root / "begun").exists)
    process.kill()
    process.communicate()
    os.kill(int((two.root / "begun").read_text()), signal.SIGKILL)
    until(lambda: lock.holder(two.root / "state") is None)
    done = check(tmp_path, "--trainings", "0")
    assert done.returncode == 0, done
    told = lines(done.stdout)
    assert "adopted the champion file" in told["one"]
    assert "was interrupted: its controller had died" in told["two"]
    assert (one.root / CHAMPION).is_symlink()


def test_a_champion_that_fails_its_probation_is_rolled_back(make: Make, tmp_path: Path) -> None:
    """By a check of its own, which says it in a line; nothing is said of the other project."""
    new, _ = map(make, ("new", "other"))
    new.configure(promotion={"probation": "7d"})
    promoted(new, new.models.strong)
    new.metrics(f1=0.75)
    done = check(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout).keys() == {"new"}
    assert lines(done.stdout)["new"].startswith("rolled back: ")
    assert (new.root / CHAMPION).read_bytes() == new.models.weak.read_bytes()


def test_each_project_has_its_own_notifications(make: Make, tmp_path: Path) -> None:
    """The heartbeat of each is pinged with its own exit code; one that hangs delays no other."""
    pinged: list[str] = []

    def respond(request: Request) -> list[bytes]:
        pinged.append(request.path.partition("?")[0])
        return page("ok")

    with serving(respond) as url:
        for name in ("a", "b"):
            each = make(name)
            each.configure(notifications={"heartbeat": {"url": f"{url}/{name}", "style": "healthchecks"}})
        each.metrics(f1=None)
        assert check(tmp_path).returncode == 4
    assert sorted(pinged) == ["/a/0", "/b/4"]


def test_prune_takes_several_projects_too(make: Make, tmp_path: Path) -> None:
    """What cron runs once a month."""
    for name in ("a", "b"):
        project = make(name)
        for _ in range(3):
            project.metrics()
            check(tmp_path)
    done = project.run("prune", "-c", "..", "--older-than", "1s", "--json")
    assert done.returncode == 0, done
    assert {name: each["logs"] for name, each in objects(done.stdout).items()} == {"a": 0, "b": 0}
    assert project.run("prune", "-c", "../none").returncode == 2
