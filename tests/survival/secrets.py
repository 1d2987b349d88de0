"""A secret in every place where the configuration allows one, and where it must never be found again."""

import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.effects.servers import page, serving
from tests.stories.project import Models, Project, make_models
from tests.survival.echoes import echoes
from tests.survival.markers import ORNAMENTS, Markers, state_of

KINDS = ("metrics", "prometheus", "json")
GIVEN = ("training.environment", "training.environment ${}", "training.command ${}", "promotion.after ${}")
"""What commands are given on purpose: it is in their environment and arguments, and in the log of what they print."""
_BREAKING = """
import sqlite3, os, pathlib
def broken(*words, **more):
    raise ZeroDivisionError(pathlib.Path("config.yaml").read_text() + repr(ENVIRONMENT))
ENVIRONMENT = dict(os.environ)
sqlite3.connect = broken
"""
_TELLING_MODEL = """
import os, pathlib, sys
print(*(f"{name}={value}" for name, value in os.environ.items()), sep=" ", flush=True)
print(pathlib.Path("config.yaml").read_text().replace("\\n", " "), flush=True)
os._exit(7)
"""


class _Telling:
    """An artifact that prints the environment and the configuration when it is loaded, and ends its process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_TELLING_MODEL,)


class Case:
    """A project whose configuration is full of secrets, the variables that some come from, and what was said."""

    def __init__(self, root: Path, models: Models, ornament: str, seed: int = 1) -> None:
        self.markers = Markers(seed, ornament)
        self.variables = {
            name: self.markers.new(f"{place} ${{}}", plain=name in ("GIVEN", "AFTER"))
            for name, place in _VARIABLES.items()
        }
        self.project = Project(root, models)
        self.said: dict[str, bytes] = {}
        (root / "tmp").mkdir()
        new = self.markers.new
        basic = b64encode(f"somebody:{new('monitoring.headers, Basic')}".encode()).decode()
        self.headers = {
            "X-Api-Key": new("monitoring.headers"),
            "Authorization": "Bearer ${TOKEN}",
            "Cookie": f"session={new('monitoring.headers, cookie')}",
            "X-Proxy": f"Basic {basic}",
        }
        self.password, self.query = new("monitoring.url, password"), new("monitoring.url, query")
        self.heartbeat = (
            f"http://hb:{quote(new('heartbeat, password'), safe='')}@127.0.0.1:9"
            f"/{quote(new('heartbeat, path'), safe='')}?id=${{PING}}"
        )
        self.environment = {"DATABASE": new("training.environment"), "UPLOAD_KEY": "${UPLOAD}"}

    def configure(self, server: str, kind: str = "metrics", **monitoring: Any) -> None:
        """Watch this server (http://host:port)."""
        place = server.replace("//", f"//monitor:{quote(self.password, safe='')}@")
        self.project.settings["monitoring"] = {
            "type": kind,
            "url": f"{place}/m?token={quote(self.query, safe='')}&k=${{KEY}}",
            "f1": "f1",
            "window": "w" if kind == "json" else None,
            "headers": self.headers,
            "timeout": "5s",
            "retries": 0,
        } | monitoring
        self.project.configure(
            triggers={"drift_threshold": None, "max_unpromoted": 99, "failure_backoff": "0s", "cooldown": "0s"},
            training={"environment": self.environment, "command": "make train-model GIVEN=${GIVEN}"},
            notifications={"heartbeat": self.heartbeat},
            promotion={"after": "sh after.sh ${AFTER}"},
        )
        self.project.train("env", "env > environment", "cat /proc/[0-9]*/cmdline > arguments", "false")
        (self.project.root / "after.sh").write_text("env; env > hook-environment; echo $1; exit 1\n")

    def run(self, *words: str, **environment: str) -> int:
        """The exit code of `retrain` with these words; what it says is kept."""
        tmp = str(self.project.root / "tmp")
        done = self.project.run(*words, TMPDIR=tmp, **self.variables, **environment)
        name = f"{len(self.said)}: retrain {' '.join(words)}"
        self.said |= {f"{name}, stdout": done.stdout.encode(), f"{name}, stderr": done.stderr.encode()}
        return done.returncode

    def leaks(self) -> list[str]:
        """Every secret that is where it should not be."""
        root = self.project.root
        contents = self.said | state_of(root)
        contents |= {
            name: (root / name).read_bytes()
            for name in ("environment", "hook-environment", "arguments")
            if (root / name).exists()
        }
        logs = [name for name in contents if name.startswith("state/runs/")]
        given = [*logs, "environment", "hook-environment", "arguments"]
        return self.markers.leaks(contents, dict.fromkeys(given, GIVEN))


_VARIABLES = {
    "TOKEN": "monitoring.headers",
    "KEY": "monitoring.url, query",
    "PING": "heartbeat",
    "UPLOAD": "training.environment",
    "GIVEN": "training.command",
    "AFTER": "promotion.after",
}


# ---------------------------------------------------------------- endpoints that repeat what they were sent


def echoed(models: Models, kind: str, name: str, ornament: str, *more: tuple[str, ...]) -> Case:
    """Ask one of these servers with each of these commands; `labels` holds a breach, so that one trains."""
    with tempfile.TemporaryDirectory(prefix="secret-") as directory, serving(echoes(kind)[name]) as url:
        case = Case(Path(directory), models, ornament)
        case.configure(url, kind)
        for words in (("check", "-v"), ("check", "--json"), *more):
            code = case.run(*words)
            assert code in {0, 1, 4}, (name, kind, words, code, case.said)
        assert not (leaks := case.leaks()), (kind, name, leaks)
        assert (case.project.root / "environment").exists() == (name == "labels"), (kind, name)
        return case


def unreached(models: Models, url: str, ornament: str) -> None:
    """Ask a place where nobody answers."""
    with tempfile.TemporaryDirectory(prefix="secret-") as directory:
        case = Case(Path(directory), models, ornament)
        case.configure(url)
        for words in (("check", "-v"), ("check", "--json")):
            assert case.run(*words) == 4, case.said
        assert not (leaks := case.leaks()), (url, leaks)


# ---------------------------------------------------------------- programs that print what they find


def told_by_programs(models: Models, ornament: str) -> None:
    """A training, a hook and a model print all that they find, and the library breaks with all of it in its error."""
    import joblib

    with tempfile.TemporaryDirectory(prefix="secret-") as directory, serving(lambda _: page("f1 0.1\n")) as url:
        case = Case(Path(directory), models, ornament)
        project = case.project
        case.configure(url)
        project.serve(models.weak)
        project.train("env", "env > environment", "cat config.yaml", "false")
        assert case.run("check") == 1, case.said
        assert case.run("promote", str(models.strong)) == 1, case.said
        joblib.dump(_Telling(), project.root / "telling.joblib")
        project.train("cp telling.joblib $(RETRAIN_CHALLENGER)")
        assert case.run("check") == 1, case.said
        assert case.run("promote", "telling.joblib", "--json") == 1, case.said
        for line in ("status", "status --json", "backtest state/journal.db --json", "check --json"):
            case.run(*line.split())
        broken = project.root / "broken"
        broken.mkdir()
        (broken / "sitecustomize.py").write_text(_BREAKING)
        for words in (("check",), ("check", "--json")):
            assert case.run(*words, PYTHONPATH=str(broken)) == 3, case.said
        assert not (leaks := _but_literal_ones(case.leaks())), leaks
        # They were there to be told: what may be in the training's own log is.
        log = b"".join(path.read_bytes() for path in (project.root / "state" / "runs").iterdir())
        assert set(GIVEN) <= case.markers.found_in(log), case.markers.found_in(log)
        assert any(b"***" in said for said in case.said.values())


def _but_literal_ones(leaks: Iterable[str]) -> list[str]:
    """The leaks, but for what a training that prints config.yaml puts into its own log: it can read that file."""
    return [leak for leak in leaks if " is in state/runs/" not in leak or "${}" in leak]


# ---------------------------------------------------------------- configurations with mistakes


def mistakes(models: Models, ornament: str, every: int = 1) -> int:
    """How many broken configurations were refused without a secret in what was said."""
    with tempfile.TemporaryDirectory(prefix="secret-") as directory:
        case = Case(Path(directory), models, ornament)
        case.configure("http://127.0.0.1:9")
        path = case.project.root / "config.yaml"
        sound = path.read_text()
        count = 0
        for broken in [*_broken(sound)][::every]:
            path.write_text(broken)
            code = case.run("check", "--dry-run", *(("--json",) if count % 2 else ()))
            # What still is a configuration finds nobody at the endpoint.
            assert code in (2, 4), (broken, case.said)
            count += code == 2
        assert not (leaks := case.leaks()), leaks
        return count


def _broken(sound: str) -> Iterator[str]:
    """The configuration with one mistake on or beside each line."""
    lines = sound.splitlines()
    for number, line in enumerate(lines):
        indent = line[: len(line) - len(line.lstrip())]
        key, _, value = line.strip().partition(": ")
        near = [
            f"{indent}{key}x: {value}" if value else f"{indent}{key.rstrip(':')}x:",
            f"{indent}{key}: [{value}",
            f'{indent}{key}: "{value}',
            f"{indent}{key}: {value}: {value}",
            f"{indent}{key}: [{value.strip(chr(39))!r}]",
            f"{indent}{key}: !!int {value}",
            f"{indent}{key}: *{value}",
            f"\t{key}: {value}",
            f"{indent}{key}:\n{indent} - {value}\n{indent}{value}",
            f"{indent}- {value}",
            f"{line}\n{line}",
        ]
        for changed in near:
            yield "\n".join([*lines[:number], changed, *lines[number + 1 :]]) + "\n"


def figures() -> Iterator[str]:
    """Every endpoint, program and mistake, with plain secrets and with ornate ones."""
    with ExitStack() as stack:
        models = make_models(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="models-"))))
        count, commands = 0, 0
        more = (("check", "--dry-run"), ("status",), ("status", "--json", "--limit", "99"), ("doctor", "--json"))
        for ornament in ORNAMENTS.values():
            for kind in KINDS:
                for name in echoes(kind):
                    spans = (("backtest", "1h"),) if kind == "prometheus" and name != "labels" else ()
                    case = echoed(models, kind, name, ornament, *more, *spans)
                    count, commands = count + 1, commands + len(case.said) // 2
            for url in ("http://127.0.0.1:9", "https://127.0.0.1:9", "http://nobody.invalid"):
                unreached(models, url, ornament)
            told_by_programs(models, ornament)
        yield f"{case.markers.count} secrets, one in each place of the configuration, in {len(ORNAMENTS)} spellings"
        yield f"{count} endpoints that repeat what they were sent, {commands} commands: none in an output or in state/"
        yield "a training, a hook, a model and a broken library that print all they find: none but in their own logs"
        refused = sum(mistakes(models, ornament) for ornament in ORNAMENTS.values())
        yield f"{refused} configurations with a mistake on or beside a secret: exit 2, and no secret told"
