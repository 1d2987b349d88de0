"""`retrain doctor` through the installed command: each thing that is tested, working and not."""

import json
import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import IN_CI, real
from tests.effects.servers import Request, page, serving
from tests.stories.project import CHALLENGER, RETRAIN, Project, until

MARKER = "marker-of-a-secret-0451"
OF_SHELL = {"TOKEN": "of the shell", "SHELL_ONLY": "1"}
Findings = dict[str, list[tuple[str, str]]]


def looked(project: Project, *words: str, exit_code: int, **environment: str) -> Findings:
    """What was tested → (verdict, message) of each finding about it. No secret is among them."""
    done = project.run("doctor", "--json", *words, **environment)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert MARKER not in done.stdout + done.stderr
    said = json.loads(done.stdout)
    found: Findings = {}
    for each in said["findings"]:
        assert each["ok"] == (each["verdict"] != "fail")
        found.setdefault(each["what"], []).append((each["verdict"], each["message"]))
        assert each["message"].splitlines()[0] in said["message"]
    return found


def verdicts(found: Findings) -> dict[str, set[str]]:
    return {what: {verdict for verdict, _ in lines} for what, lines in found.items()}


def told(found: Findings, what: str, verdict: str) -> str:
    """Every sentence of this verdict about it, one a line."""
    return "\n".join(sentence for each, sentence in found[what] if each == verdict)


@contextmanager
def monitored(project: Project, answer: Mapping[str, Any], behind: timedelta = timedelta()) -> Iterator[None]:
    """The project with an HTTP endpoint that wants a secret, says this, and has a clock."""
    now = datetime.now(UTC) - behind
    body, date = json.dumps(answer), format_datetime(now, usegmt=True)

    def respond(request: Any) -> list[bytes]:
        known = request.headers.get("authorization") == f"Bearer {MARKER}"
        return page(body, Date=date) if known else page("", "401 Unauthorized", Date=date)

    with serving(respond) as url:
        counts = {"tp": "tp", "fp": "fp", "fn": "fn"}
        project.configure(
            monitoring={
                "url": f"{url}/metrics",
                "window": "window",
                "samples": "samples",
                "positives": "positives",
                "counts": counts,
                "headers": {"Authorization": "Bearer ${TOKEN}"},
            }
        )
        yield


def healthy() -> dict[str, Any]:
    numbers = {"f1": 0.9, "drift": 0.1, "samples": 200, "positives": 100, "tp": 90, "fp": 10, "fn": 10}
    return {**numbers, "at": time.time() - 60, "window": "w-7"}


def test_everything_is_tested_and_nothing_is_changed(project: Project) -> None:
    """A finding about each thing, no secret shown, nothing written or built, no comparison used; exit 0."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    project.run("check")
    project.link(project.models.holdout, "data/training.csv")
    (project.root / "Makefile").write_text(
        "ifndef RETRAIN_CHALLENGER\n$(error no challenger)\nendif\nifdef TOKEN\n$(error a secret)\nendif\n"
        "train-model: data/holdout.csv\n\ttouch built\n"
    )
    project.configure(
        training={"data": "data/training.csv", "environment": {"THREADS": "4"}}, promotion={"after": "true --reload"}
    )
    with monitored(project, healthy()):
        before = project.files()
        found = looked(project, exit_code=0, TOKEN=MARKER)
        assert project.files() == before
    assert list(found) == [
        *["environment", "configuration", "secrets", "endpoint", "metrics", "freshness", "training", "after a swap"],
        *["training data", "holdout", "gate", "champion", "versions", "models", "state", "journal", "lock", "clock"],
    ]
    assert {each for lines in verdicts(found).values() for each in lines} == {"ok"}
    assert str(project.root / "config.yaml") in told(found, "configuration", "ok")
    assert told(found, "secrets", "ok") == "${TOKEN} is set"
    for path in ("f1 0.9", "drift 0.1", "window w-7", "samples 200", "positives 100", "tp 90", "fp 10", "fn 10"):
        assert path in told(found, "metrics", "ok")
    assert "the window of F1 is recent: ended 1 min" in told(found, "freshness", "ok")
    assert told(found, "training", "ok").startswith("`make -n train-model` finds its target")
    assert "3,000 rows" in told(found, "holdout", "ok")
    assert "1 of 10 comparisons used" in told(found, "holdout", "ok")
    assert len(found["gate"]) == 5
    assert "2 versions kept, each with the bytes of its name" in told(found, "versions", "ok")
    assert "GiB free" in told(found, "state", "ok")
    assert "the last check was" in told(found, "journal", "ok")
    assert told(found, "lock", "ok").endswith("lock is free")
    assert len(found["clock"]) == 2


def test_until_a_first_champion_serves_the_next_command_is_said(project: Project) -> None:
    """The monitor, the training, the promotion; drift without a champion is a warning, and not later."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    served = "model_f1_score 0.9\nmodel_end 1\n# no model_drift_psi yet\n"

    def respond(_request: Request) -> list[bytes]:
        return page(served.replace("model_end 1", f"model_end {time.time()}"), content_type="text/plain; version=0.0.4")

    queries = {"type": "metrics", "f1": "model_f1_score", "drift": "model_drift_psi", "observed_at": "model_end"}
    project.configure(monitoring={**queries, "url": f"http://{address}/metrics"}, monitor={"listen": address})
    assert project.run("doctor").stdout.endswith("next: retrain monitor &\n")
    with serving(respond) as url:
        project.configure(monitoring={"url": f"{url}/metrics"})
        done = project.run("doctor")
        assert done.returncode == 0, done
        assert "WARN  metrics        monitoring.drift: model_drift_psi" in done.stdout
        assert done.stdout.endswith('next: retrain check --force --reason "first model"\n')
        assert project.run("check", "--force", "--reason", "first model").returncode == 0
        assert project.run("doctor").stdout.endswith("next: retrain promote\n")
        assert project.run("promote").returncode == 0
        done = project.run("doctor")
        assert "FAIL  metrics        monitoring.drift: model_drift_psi" in done.stdout
        assert "next:" not in done.stdout


def test_on_the_first_day_nothing_is_there_and_nothing_fails(project: Project) -> None:
    """No champion, no history, no end of windows: warnings, exit 0, and no directory is made for the tests."""
    project.settings["monitoring"].pop("observed_at")
    project.configure(monitoring={"headers": {"X-Token": "${TOKEN:-of-nobody-at-all}"}})
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (project.root / "models/versions").symlink_to(elsewhere)
        before = project.files()
        done = project.run("doctor")
        assert (done.returncode, project.files()) == (0, before)
        verbose = project.run("doctor", "-v")
    assert not (project.root / "state").exists()
    *warnings, summary, following = done.stdout.splitlines()
    assert following == 'next: retrain check --force --reason "first model"'
    for start, line in zip(
        (
            "secrets        ${TOKEN} is not set, so the default",
            "freshness      the end of the window of F1 is not known, only that its answer was written ",
            "freshness      the end of the window of drift is not known, only that its answer was written ",
            "champion       nothing is served yet (retrain promote PATH",
            f"models         {project.root}/models/versions is on another file system",
        ),
        warnings,
        strict=True,
    ):
        assert line.startswith(f"WARN  {start}")
    passed = sum(line.startswith("ok ") for line in verbose.stdout.splitlines())
    assert summary == f"{passed} ok, 5 warnings: retrain can do its work (-v shows all)"
    assert verbose.stdout.splitlines()[:-2] == [*verbose.stdout.splitlines()[:passed], *warnings]
    assert f"ok    state          {project.root}/state will be made, writable by us" in verbose.stdout


def test_every_failure_is_shown_at_once(project: Project) -> None:
    """One failure does not hide the others: exit 1, a finding each, with the cause and what to do."""
    root = project.root
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    champion, before = (root / "models/champion.joblib").resolve(), project.json("status")["previous"][0]
    champion.chmod(0o666)
    champion.write_bytes(project.models.fair.read_bytes())
    (root / f"models/versions/{before}.joblib").unlink()
    (root / "state").chmod(0o777)
    (root / "state/journal.db").chmod(0o666)
    (root / "models").chmod(0o757)
    rows = pd.read_csv(project.models.holdout)
    rows.drop(columns="b").to_csv(root / "data/holdout.csv", index=False)
    (root / "Makefile").write_text("train:\n\ttouch built\n")
    project.configure(training={"data": "data/gone.csv"}, promotion={"after": "./reload"})
    (root / "reload").write_text("#!/nowhere/sh\n")
    (root / "reload").chmod(0o755)
    answer = healthy() | {"drift": None, "at": time.time() - 3 * 86400, "tp": "ninety", "fn": [10, 11]}
    with monitored(project, answer, behind=timedelta(minutes=10)):
        (root / "config.yaml").chmod(0o646)
        found = looked(project, exit_code=1, TOKEN=MARKER)
    assert not (root / "built").exists()
    assert f"chmod o-w {root}/config.yaml" in told(found, "configuration", "fail")
    wrong = told(found, "metrics", "fail")
    assert "monitoring.drift: drift at http" in wrong
    assert "monitoring.counts.tp: tp at http" in wrong
    assert "monitoring.counts.fn: fn at http" in wrong
    assert "counts.fp" not in wrong
    assert "it is stale: observed 3 d ago" in told(found, "freshness", "fail")
    assert "No rule to make target 'train-model'" in told(found, "training", "fail")
    assert "exited 2" in told(found, "training", "fail")
    assert "interpreter that" in told(found, "after a swap", "fail")
    assert "data/gone.csv does not exist" in told(found, "training data", "fail")
    assert "was fitted on columns that the holdout lacks: 'b'" in told(found, "champion", "fail")
    assert "its bytes have changed" in told(found, "versions", "fail")
    assert f"the previous champion {before[:12]} is missing" in told(found, "versions", "fail")
    assert f"chmod o-w {root}/models" in told(found, "models", "fail")
    assert f"{champion}" in told(found, "models", "fail")
    for path in (root / "state", root / "state/journal.db"):
        assert f"{path}: is world-writable" in told(found, "state", "fail")
    assert verdicts(found)["lock"] == {"ok"}
    assert "10 min" in told(found, "clock", "fail")
    assert "ahead of that of http" in told(found, "clock", "fail")


def test_a_state_that_cannot_be_used_hides_nothing_else(project: Project) -> None:
    """`state` is a file, the endpoint is dead, the model's disk is not mounted, the command is not there."""
    (project.root / "state").write_text("mine")
    (project.root / "models/versions").symlink_to("/nowhere/mounted")
    with serving(lambda _: page("{}")) as url:
        pass
    project.configure(
        monitoring={"url": url, "timeout": "2s", "headers": {"X-Token": "${EMPTY}"}}, training={"command": "nomake x"}
    )
    (project.root / "data/holdout.csv").unlink()
    found = looked(project, exit_code=1, EMPTY="")
    assert told(found, "secrets", "fail").startswith("${EMPTY} is set, but empty")
    assert "cannot be reached" in told(found, "endpoint", "fail")
    assert "metrics" not in found
    assert "nomake was not found in PATH=" in told(found, "training", "fail")
    assert "holdout.csv" in told(found, "holdout", "fail")
    assert f"{project.root}/models/versions is a dangling link to /nowhere/mounted" in told(found, "models", "fail")
    assert f"{project.root}/state is a file and must be a directory" in told(found, "state", "fail")
    assert {"champion", "lock"} <= set(found)


def test_the_report_goes_to_standard_output_with_the_failures_last(project: Project) -> None:
    """Warnings, failures, summary; -v puts what passed before them, -q leaves the failures alone."""
    (project.root / "data/holdout.csv").unlink()
    shown = {flag: project.run("doctor", *flag.split()) for flag in ("", "-v", "-q")}
    assert {(done.returncode, done.stderr) for done in shown.values()} == {(1, "")}
    heads = {flag: [line[:5].strip() for line in done.stdout.splitlines()] for flag, done in shown.items()}
    passed = heads["-v"].count("ok")
    assert heads["-q"] == ["FAIL"]
    assert heads[""] == ["WARN", "FAIL", f"{passed} ok"[:5], "next:"]
    assert heads["-v"] == [*["ok"] * passed, *heads[""]]
    assert shown[""].stdout.splitlines()[-2] == f"{passed} ok, 1 warning, 1 failed (-v shows all)"
    project.link(project.models.holdout, "data/holdout.csv")
    assert (project.run("doctor", "-q").stdout, project.run("doctor", "-q").returncode) == ("", 0)


def test_a_lock_that_is_held_too_long_and_a_journal_of_tomorrow(project: Project) -> None:
    """A training overruns its limit by far; the newest event has not happened yet; the champion has no disk left."""
    project.train("sleep 60")
    project.configure(training={"timeout": "50s", "grace": "1s"})
    project.metrics(f1=0.5)
    held = project.root / "state/lock"
    with project.start("check") as running:
        until(lambda: held.exists() and b"since" in held.read_bytes())
        until(lambda: (project.root / "state/runs").exists() and any((project.root / "state/runs").iterdir()))
        lock = json.loads(held.read_bytes())
        held.write_text(json.dumps(lock | {"since": (datetime.now(UTC) - timedelta(hours=2)).isoformat()}))
        with (project.root / "models/champion.joblib").open("wb") as sparse:
            sparse.truncate(_free(project.root))
        found = looked(project, exit_code=1)
        running.terminate()
        running.communicate()
    assert "has held the lock for 2 h and may take 51 s" in told(found, "lock", "fail")
    assert "is an ordinary file" in told(found, "champion", "warn")
    assert "too little space at" in told(found, "models", "fail")
    (project.root / "models/champion.joblib").unlink()

    journal = project.root / "state/journal.db"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    with closing(sqlite3.connect(journal)) as file, file:
        file.execute("UPDATE events SET at = ?", (tomorrow,))
        file.execute("DELETE FROM past")
    (project.root / "data/holdout.csv").unlink()
    assert "and the newest event is" in told(looked(project, exit_code=1), "clock", "fail")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.execute("PRAGMA user_version = 99"), "written by a newer retrain"),
        (lambda file: file.execute("UPDATE events SET body = '{'"), "the journal is damaged"),
    ],
)
def test_a_journal_that_cannot_be_read(
    project: Project, spoil: Callable[[sqlite3.Connection], object], words: str
) -> None:
    """It is reported and left as it is, and the other tests go on."""
    project.run("check")
    (project.root / "data/holdout.csv").unlink()
    journal = project.root / "state/journal.db"
    with closing(sqlite3.connect(journal)) as file, file:
        spoil(file)
        file.execute("DELETE FROM past")
    before = journal.read_bytes()
    found = looked(project, exit_code=1)
    assert words in told(found, "journal", "fail")
    assert journal.read_bytes() == before
    assert verdicts(found)["lock"] == {"ok"}


def test_what_a_crash_left_open_is_no_fault(project: Project) -> None:
    """A killed controller: the next check settles it, which is a warning. The challenger is not touched."""
    project.train("sleep 60")
    project.metrics(f1=0.5)
    with project.start("check") as running:
        until(lambda: (project.root / "state/runs").exists() and any((project.root / "state/runs").iterdir()))
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        until(lambda: children.read_text() != "")  # its log is there a moment before it
        (training,) = children.read_text().split()
        running.kill()
        running.communicate()
    os.killpg(int(training), signal.SIGKILL)  # its own group: a training has a session of its own
    (project.root / "data/holdout.csv").unlink()
    until(lambda: _is_gone(training))
    found = looked(project, exit_code=1)
    assert told(found, "lock", "ok").endswith("is free")
    assert "was interrupted (nothing need be done" in told(found, "crash", "warn")
    assert not (project.root / CHALLENGER).exists()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.parquet", "version https://git-lfs.github.com/spec/v1", "cannot be read: ArrowInvalid"),
        ("rows.csv", "a,b,c,y\n", "has no rows"),
        ("rows.csv", "a,b,c,y\n1,2,3,4,5\n", "has 5 values in line 2"),
        ("rows.csv", "y,other\n1,2\n", "has only the label, 'y', in common with the holdout"),
        ("rows.csv", "a,b,c\n1,2,3\n", "has no column 'y', which promotion.target names"),
    ],
)
def test_training_data_by_which_no_row_can_be_known_fails(project: Project, name: str, text: str, words: str) -> None:
    """What promote would refuse every challenger for is known before a training."""
    (project.root / name).write_text(text)
    project.configure(training={"data": name})
    said = told(looked(project, exit_code=1), "training data", "fail")
    assert words in said
    assert "promote would refuse every challenger" in said


def test_what_the_endpoint_warns_of_is_shown(project: Project) -> None:
    """A remark of Prometheus on a query, which still has a value: by doctor, and by `check -v`."""
    said = "PromQL info: metric might not be a counter"

    def answer(request: Any) -> list[bytes]:
        value = "0.9" if "f1" in request.path else "0.1"
        vector = {"resultType": "vector", "result": [{"metric": {}, "value": [time.time(), value]}]}
        return page(json.dumps({"status": "success", "data": vector, "warnings": [said]}))

    with serving(answer) as url:
        project.configure(monitoring={"url": url, "type": "prometheus", "observed_at": {}})
        found, check = looked(project, exit_code=0), project.run("check", "-v")
    assert f"the endpoint warns: {said}" in told(found, "metrics", "warn")
    assert f"the monitor warns: {said}" in check.stderr


def test_what_the_monitor_says_of_a_metric_is_passed_on(project: Project) -> None:
    """`retrain monitor` knows why it does not serve F1: doctor, as check, quotes that."""
    problem = "no F1: prediction holds 'yes', label holds 1; log both in one spelling"
    text = f'model_drift_psi 0.1\nmodel_monitor_problem{{problem="{problem}"}} 1\n'
    with serving(lambda _: page(text)) as url:
        monitoring = {"type": "metrics", "f1": "model_f1_score", "drift": "model_drift_psi", "observed_at": {}}
        project.configure(monitoring={"url": url, **monitoring})
        found = looked(project, exit_code=1)
        check = project.run("check")
    assert problem in told(found, "metrics", "fail")
    assert problem in check.stdout + check.stderr


def test_a_query_that_is_none_is_a_wrong_configuration(project: Project) -> None:
    """Exit 2, as everywhere, with every problem."""
    project.configure(monitoring={"f1": "a[", "drift": "b]"})
    done = project.run("doctor")
    assert done.returncode == 2
    assert "monitoring.f1: a[" in done.stderr
    assert "monitoring.drift: b]" in done.stderr


# ---------------------------------------------------------------- cron's environment


def under_crontab(project: Project, crontab: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`retrain doctor --cron-env` on a machine whose user has this crontab; the real one is out of reach."""
    table = project.root / "crontab"
    table.write_text(crontab)
    script = (
        "mount -t tmpfs tmpfs /var/spool/cron && mkdir -m 1730 /var/spool/cron/crontabs && "
        f'{real("crontab")} "$1" && shift && exec "$@"'
    )
    namespace = [str(real("unshare")), "--mount"]
    tried = subprocess.run([*namespace, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        message = f"a crontab apart from the machine's own needs namespaces: {tried.stderr.strip()}"
        pytest.fail(message) if IN_CI else pytest.skip(message)
    return subprocess.run(
        [*namespace, "sh", "-c", script, "sh", table, RETRAIN, "doctor", "--cron-env", *words],
        cwd=project.root,
        env={**project.environment, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_set_up_is_tested_as_cron_gives_it(project: Project) -> None:
    """What the shell has is not there; what the crontab sets is. Nothing of a line is run."""
    project.configure(monitoring={"headers": {"X-Token": "${TOKEN}"}})
    (project.root / "bin").mkdir()
    (project.root / "Makefile").write_text("train-model:\nifneq ($(SHELL_ONLY),)\n\t$(error not bare)\nendif\n")
    line = f"*/5 * * * * touch {project.root}/ran; {RETRAIN} check -c {project.root}/config.yaml"
    crontab = f'PATH="{project.root}/bin:/usr/bin:/bin"\nMAILTO=root\nTOKEN={MARKER}\n{line}\n'
    done = under_crontab(project, crontab, "-v", **OF_SHELL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert MARKER not in done.stdout + done.stderr
    assert done.stdout.startswith(
        f"ok    environment    cron's, with PATH={project.root}/bin:/usr/bin:/bin; the crontab sets PATH, MAILTO, TOKEN"
    )
    assert "secrets        ${TOKEN} is set" in done.stdout
    assert "ok    training       `make -n train-model`" in done.stdout
    assert not (project.root / "ran").exists()


def test_what_cron_lacks_is_found(project: Project) -> None:
    """A variable that only the shell has: exit 2 and whose environment it was. A PATH without make fails."""
    project.configure(monitoring={"headers": {"X-Token": "${TOKEN}"}})
    done = under_crontab(project, "@daily true\n", **OF_SHELL)
    assert done.returncode == 2
    assert "the environment variable TOKEN is not set" in done.stderr
    assert "The environment is cron's, with PATH=/usr/bin:/bin; the crontab sets no variable" in done.stderr
    assert "what a job sets itself is not known here" in done.stderr

    project.configure(monitoring={"headers": {}})
    (project.root / "data/holdout.csv").unlink()
    done = under_crontab(project, f"PATH={project.root}\n0 4 * * * {shlex.quote(str(RETRAIN))} promote --if-pending\n")
    assert done.returncode == 1
    assert "WARN  environment" in done.stdout
    assert "no line that runs retrain check was found (what runs retrain check, and in which" in done.stdout
    assert f"FAIL  training       the command make was not found in PATH={project.root}" in done.stdout


def test_without_a_crontab_that_is_said(project: Project) -> None:
    """The tests go on in cron's bare environment, with a warning."""
    (project.root / "data/holdout.csv").unlink()
    done = project.run("doctor", "--cron-env", PATH="/nowhere", HOME=str(project.root))
    assert done.returncode == 1
    assert "WARN  environment    cron's, with PATH=/usr/bin:/bin; " in done.stdout
    assert "crontab" in done.stdout.splitlines()[0]


def _is_gone(process: str) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True


def _free(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize
