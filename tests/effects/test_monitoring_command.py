"""`monitoring.type: command`: whatever a command does is a number, or an Unknown that says why, in time."""

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.config.load import load
from retrain.config.schema import Monitoring, MonitorType, ObservedAt
from retrain.config.secrets import Secrets
from retrain.core.records import Snapshot, Unknown
from retrain.effects.monitoring import fetch
from retrain.errors import ConfigError
from tests.effects.test_monitoring import NO_SECRETS, NOW, why, worth
from tests.effects.test_process import runs
from tests.stories.project import until

TOKEN = "tok3n-0f-the-c0mmand"  # noqa: S105


def asked(script: str, directory: Path = Path(), secrets: Secrets = NO_SECRETS, **more: Any) -> Snapshot:
    """What a shell script that is the command says of `f1`."""
    keys: dict[str, Any] = {"f1": "f1", "timeout": timedelta(seconds=30)} | more
    command = ("/bin/sh", "-c", script)
    return fetch(Monitoring(None, MonitorType.COMMAND, command, **keys), secrets, NOW, directory)


def f1(script: str, directory: Path = Path(), **more: Any) -> object:
    """F1, or the kind of the Unknown."""
    return worth(asked(script, directory, **more).f1)


def sentence(script: str, directory: Path = Path(), **more: Any) -> str:
    """Why F1 is unknown."""
    said = why(asked(script, directory, **more).f1)
    assert said.isprintable(), said
    return said


def test_a_command_is_read_as_a_json_endpoint_is() -> None:
    """By JMESPath, each query on its own; what it says on standard error does not matter while it exits 0."""
    document = '{"models": [{"name": "churn", "f1": 0.75}], "end": "2026-11-22T11:00:00Z", "n": 500}'
    said = asked(
        f"echo '{document}'; echo a warning >&2",
        f1="models[?name=='churn'].f1 | [0]",
        drift="drift",
        samples="n",
        observed_at=ObservedAt("end", "end"),
    )
    assert (said.f1, said.samples) == (0.75, 500)
    assert said.f1_observed_at == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert worth(said.drift) == "missing"
    assert why(said.drift).startswith("drift at the command /bin/sh -c ")


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("echo a; echo no such table >&2; exit 3", "status", "exited 3: no such table"),
        ("echo '{\"f1\": 0.9}'; exit 1", "status", 'exited 1: {"f1": 0.9}'),
        ("exit 1", "status", "exited 1"),
        ("kill -9 $$", "status", "was ended by signal 9"),
        ("", "unparseable", "printed nothing (it must print one JSON document"),
        ("echo ' '", "unparseable", "printed nothing"),
        ("echo hello", "unparseable", "printed what is not JSON: Expecting value: line 1 column 1 (char 0); it begins"),
        ('echo \'{"f1": 1} {"f1": 0.5}\'', "unparseable", "printed what is not JSON: Extra data"),
        ("printf '{\"f1\": 0.5'", "unparseable", "printed what is not JSON"),
        (r"printf '\377\376'", "unparseable", "printed what is not UTF-8"),
        (r"printf '{\"f1\": 0.5}\000'", "unparseable", "printed what is not JSON"),
        ("echo '<!DOCTYPE html><title>Sign in</title>'", "unparseable", "printed what is an HTML page, Sign in"),
        ("head -c 20000 /dev/zero | tr '\\0' '['", "unparseable", "printed what is JSON nested too deeply"),
        ('echo \'{"f1": 1, "f1": 1}\'', "unparseable", 'printed what is JSON with the key "f1" twice in one object'),
        ("echo '{\"f1\": NaN}'", "not_finite", "is nan, not a finite number"),
        ("echo '{\"f1\": 1e999}'", "not_finite", "is inf, not a finite number"),
        ("echo '{\"f1\": null}'", "missing", "f1 at the command"),
        ('echo \'{"status": "error", "error": "down"}\'', "status", "answered with an error: down"),
    ],
)
def test_what_is_no_answer_is_unknown_with_the_cause(script: str, kind: str, said: str) -> None:
    """The exit code comes first, with the last line of the errors; then what was printed."""
    assert f1(script) == kind
    assert said in sentence(script)


def test_no_more_is_read_than_max_body_and_no_more_is_written_for_long() -> None:
    """A command that prints without end is ended then, and not at its time limit; so is one that complains so."""
    began = time.monotonic()
    assert f1("yes", max_body=100_000) == "too_large"
    assert sentence("yes >&2", max_body=100_000).endswith("printed more than 100000 bytes (raise monitoring.max_body)")
    assert f1("head -c 100000 /dev/zero", max_body=100_000) == "unparseable"
    assert f1("yes | head -c 10000000") == "too_large"
    assert time.monotonic() - began < 60


def test_the_whole_process_group_ends_at_the_time_limit(tmp_path: Path) -> None:
    """Also a child that ignores SIGTERM; what was said until then is quoted."""
    script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; exec sleep 300' & echo waits for a lock >&2; wait"
    limit = timedelta(seconds=1)
    assert "did not end within 1 s: waits for a lock" in sentence(script, tmp_path, timeout=limit)
    assert not runs((tmp_path / "child").read_text())


def test_a_child_that_is_left_behind_holds_nothing_and_ends(tmp_path: Path) -> None:
    """It has the output open; the answer is there when the command has ended."""
    began = time.monotonic()
    assert f1("sleep 300 & echo $! > child; echo '{\"f1\": 0.5}'", tmp_path) == 0.5
    assert time.monotonic() - began < 25
    until(lambda: not runs((tmp_path / "child").read_text()))
    # One that has left the process group cannot be ended, and must not be waited for either.
    assert (
        f1(
            "setsid sh -c 'echo $$ > other; exec sleep 300' & until [ -s other ]; do :; done; echo '{\"f1\": 0.5}'",
            tmp_path,
        )
        == 0.5
    )
    assert time.monotonic() - began < 50
    until((tmp_path / "other").exists)
    if text := (tmp_path / "other").read_text():
        os.kill(int(text), 9)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nosuchprogram", "No such file or directory (give its absolute path in monitoring.command, or set PATH in"),
        ("./text", "Permission denied (chmod +x it"),
        ("./script", "Exec format error (a script needs a first line"),
    ],
)
def test_a_command_that_cannot_be_started_is_unknown(tmp_path: Path, command: str, said: str) -> None:
    """With what to do about it."""
    (tmp_path / "text").write_text("1")
    (tmp_path / "script").write_text("echo 1")
    (tmp_path / "script").chmod(0o755)
    watched = Monitoring(None, MonitorType.COMMAND, (command,), f1="f1")
    unknown = fetch(watched, NO_SECRETS, NOW, tmp_path).f1
    assert worth(unknown) == "unreachable"
    assert said in why(unknown)
    assert f"there is no directory {tmp_path / 'x'}" in why(fetch(watched, NO_SECRETS, NOW, tmp_path / "x").f1)


def test_a_wrong_query_is_a_configuration_error_before_anything_runs(tmp_path: Path) -> None:
    """As for a URL."""
    with pytest.raises(ConfigError, match=r"monitoring\.f1: a\[ is not a JMESPath expression"):
        asked("touch ran", tmp_path, f1="a[")
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- secrets


CONFIG = """
triggers: {performance_threshold: 0.8}
monitoring:
  type: command
  command: "sh -c 'env > seen; echo could not log in with $DB_TOKEN >&2; exit 1'"
  f1: f1
  environment: {DB_TOKEN: "${DB_TOKEN}", DB_FILE: "${DB_FILE}", REGION: eu}
notifications: {command: cat, heartbeat: "http://localhost/${PING_KEY}"}
"""


def test_the_command_gets_its_own_secrets_and_no_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of them is hidden; the training gets none of them, but a path is no secret."""
    environ = {"DB_TOKEN": TOKEN, "DB_FILE": "/srv/predictions.db", "PING_KEY": "p1ng-k3y-0f-cron", "OTHER": "x"}
    for name, value in {**environ, "MAKEFLAGS": "n"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "config.yaml").write_text(CONFIG)
    config, secrets = load(tmp_path / "config.yaml", environ)
    assert config.monitoring is not None
    assert secrets.variables == {"DB_TOKEN", "PING_KEY"}
    said = why(fetch(config.monitoring, secrets, NOW, config.training.directory).f1)
    assert said.endswith("exited 1: could not log in with ***")
    assert TOKEN not in said
    assert secrets.scrub("/srv/predictions.db") == "/srv/predictions.db"
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "seen").read_text().splitlines())
    assert seen.items() >= {"DB_TOKEN": TOKEN, "DB_FILE": "/srv/predictions.db", "REGION": "eu", "OTHER": "x"}.items()
    assert not {"PING_KEY", "MAKEFLAGS"} & seen.keys()


def test_secrets_in_the_words_of_a_command_are_hidden(tmp_path: Path) -> None:
    """As the password of a URL that a database's client is given."""
    (tmp_path / "config.yaml").write_text(
        "triggers: {performance_threshold: 0.8}\n"
        "monitoring: {type: command, f1: f1, command: 'sh -c false postgresql://me:hunter2hunter2@db/x'}\n"
    )
    config, secrets = load(tmp_path / "config.yaml", {})
    assert config.monitoring is not None
    assert "sh -c false postgresql://me:***@db/x exited 1" in why(fetch(config.monitoring, secrets, NOW, tmp_path).f1)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("type: command", "monitoring.command: is required"),
        (
            "type: command, command: a, url: 'http://h/m'",
            "monitoring.url: is for a URL, but monitoring.type is command",
        ),
        ("type: command, command: a, headers: {A: b}", "monitoring.headers: is for a URL"),
        ("type: command, command: a, retries: 1", "monitoring.retries: is for a URL"),
        ("type: command, command: ''", "monitoring.command: is empty"),
        ("type: json", "monitoring.url: is required"),
        ("url: 'http://h/m', command: a", "monitoring.command: is for a command, but monitoring.type is metrics"),
        ("url: 'http://h/m', environment: {A: b}", "monitoring.environment: is for a command"),
    ],
)
def test_keys_of_the_other_kind_are_refused(tmp_path: Path, keys: str, problem: str) -> None:
    """Nobody should believe that a key does something that does nothing."""
    (tmp_path / "config.yaml").write_text(f"triggers: {{performance_threshold: 0.8}}\nmonitoring: {{f1: f1, {keys}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.yaml", {})
    assert problem in str(caught.value)


# ---------------------------------------------------------------- hostile output


BROKEN = [b'{"f1": ', b"0.9", b"NaN", b"-Infinity", b"null", b"true", b"1e999", b'"', b"}", b"[" * 10_000, b"9" * 5000]
UNSAFE = [b"\x1b[31m", b"\x1b]0;t\x07", b"\0", b"\xff", b"\xe2\x80\xae", b"\r\n", b" " * 10_000, TOKEN.encode()]
PIECES = st.sampled_from([b'{"f1": 0.5}', *BROKEN, *UNSAFE])


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=8), st.lists(PIECES, max_size=4), st.sampled_from([0, 0, 0, 1, 255]))
def test_hostile_output_never_crashes_and_is_never_a_number_that_it_does_not_say(
    tmp_path_factory: pytest.TempPathFactory, out: list[bytes], err: list[bytes], code: int
) -> None:
    """A number comes of a whole JSON document of a command that exited 0, and of nothing else."""
    directory = tmp_path_factory.mktemp("hostile")
    (directory / "out").write_bytes(b"".join(out))
    (directory / "err").write_bytes(b"".join(err))
    found = asked(f"cat out; cat err >&2; exit {code}", directory, secrets=Secrets((TOKEN,), frozenset())).f1
    try:
        document = json.loads(b"".join(out).decode())
        expected = document.get("f1") if isinstance(document, dict) else None
    except (ValueError, RecursionError):
        expected = None
    if isinstance(found, float):
        assert code == 0
        assert found == expected
    else:
        assert isinstance(found, Unknown)
        assert found.message.isprintable()
        assert len(found.message) < 500
        assert TOKEN not in found.message


def test_ten_mebibytes_are_not_kept_in_memory(tmp_path: Path) -> None:
    """No more is read than may be."""
    script = "import sys; sys.stdout.write('{\"f1\": 0.5, \"a\": \"' + 'x' * 10 * 1024**2 + '\"}')"
    watched = Monitoring(None, MonitorType.COMMAND, (sys.executable, "-c", script), f1="f1")
    assert worth(fetch(watched, NO_SECRETS, NOW, tmp_path).f1) == "too_large"
