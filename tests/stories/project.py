"""A real project to run the installed command in: configuration, Makefile, small real models, a holdout."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from tests.stories import rules

RETRAIN = Path(sys.executable).with_name("retrain")
CHAMPION, CHALLENGER = "models/champion.joblib", "models/challenger.joblib"


@dataclass(frozen=True)
class Models:
    """Small real models of one task, the rows they were fitted on, and a holdout.

    `weak` < `fair` < `strong`; `twin` predicts as `weak` does.
    """

    directory: Path

    def __getattr__(self, name: str) -> Path:
        return self.directory / f"{name}.joblib"

    @property
    def holdout(self) -> Path:
        return self.directory / "holdout.csv"

    @property
    def training(self) -> Path:
        return self.directory / "training.csv"


def make_models(directory: Path) -> Models:
    """Fit the models; y depends on a and on b·c, and the better a model is, the more of b·c it sees."""
    import joblib
    import numpy as np
    import pandas as pd

    dice = np.random.default_rng(5)

    def rows(count: int) -> pd.DataFrame:
        features = pd.DataFrame(dice.normal(size=(count, 3)), columns=list("abc"))
        noise = dice.normal(scale=0.3, size=count)
        label = (features["a"] + features["b"] * features["c"] + noise > 0).astype(int)
        return features.assign(y=label)

    training = rows(3000)
    training.to_csv(directory / "training.csv", index=False)
    rows(3000).to_csv(directory / "holdout.csv", index=False)
    sys.modules["rules"] = rules  # the name under which an artifact refers to it
    for name, model in {
        "weak": rules.Rule(0),
        "twin": rules.Rule(0, note="a copy"),
        "fair": rules.Rule(0.1),
        "strong": rules.Rule(0.5),
    }.items():
        joblib.dump(model.fit(training, training["y"]), directory / f"{name}.joblib")
    return Models(directory)


class Project:
    """A directory as an operator has it. `metrics` is what the monitor says; each call is a new window.

    `installed`: commands run as a process of the installed script. Otherwise they run in this process, which saves
    most of their time, and is as good for tests of what is decided and done.
    """

    def __init__(self, root: Path, models: Models, *, installed: bool = True) -> None:
        self.root, self.models, self.installed = root, models, installed
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RETRAIN_")}
        for name in ("models", "data"):
            (root / name).mkdir()
        self.link(models.holdout, "data/holdout.csv")
        self.link(Path(rules.__file__), "rules.py")
        self.settings: dict[str, Any] = {
            "triggers": {"performance_threshold": 0.85, "drift_threshold": 0.2, "settle": "0s"},
            "monitoring": {
                "type": "json",
                "url": (root / "metrics.json").as_uri(),
                "f1": "f1",
                "drift": "drift",
                "observed_at": "at",
            },
            "promotion": {"holdout": "data/holdout.csv", "target": "y"},
        }
        self.configure()
        self.train(f"cp {models.strong} $(RETRAIN_CHALLENGER)")
        self.metrics()

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write config.yaml with these keys changed."""
        for section, keys in sections.items():
            self.settings.setdefault(section, {}).update(keys)
        (self.root / "config.yaml").write_text(yaml.safe_dump(self.settings))

    def train(self, *recipe: str) -> None:
        """Let `make train-model` run this recipe."""
        lines = "".join(f"\t{line}\n" for line in recipe)
        (self.root / "Makefile").write_text(f"train-model:\n{lines}")

    def metrics(self, f1: float | None = 0.9, drift: float | None = 0.1, **more: Any) -> None:
        """Let the monitor report a new window."""
        said = {"f1": f1, "drift": drift, "at": time.time()} | more
        (self.root / "metrics.json").write_text(json.dumps(said))

    def link(self, source: Path, name: str) -> None:
        (self.root / name).write_bytes(source.read_bytes())

    def serve(self, model: Path) -> None:
        """Put a first champion in service, as an ordinary file."""
        self.link(model, CHAMPION)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """What comes of `retrain` with these words, run as cron would: no terminal."""
        environment = {**self.environment, **environment}
        if not self.installed:
            return run_here(self.root, words, environment)
        return subprocess.run(
            [RETRAIN, *words],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start `retrain` with these words and leave it running."""
        return subprocess.Popen(
            [RETRAIN, *words],
            cwd=self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *words: str) -> dict[str, Any]:
        """What `retrain ... --json` says, which must be one object and nothing else."""
        said = json.loads(self.run(*words, "--json").stdout)
        assert isinstance(said, dict)
        return said

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Every file with its time and content, to see that nothing was written."""
        found = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def followed(project: Project, recipe: str, file: str) -> str:
    """Do what the first lines of a recipe for metrics say: write this file, and the keys; return the recipe."""
    text = project.run("recipe", recipe).stdout
    assert f"retrain recipe {recipe} >{file}" in text
    (project.root / file).write_text(text)
    (block,) = (each for each in re.findall(r"(?:#     .*\n)+", text) if "#     monitoring:\n" in each)
    keys = yaml.safe_load(block.replace("#     ", ""))
    project.settings["triggers"] |= keys.get("triggers", {})
    project.settings["monitoring"] = keys["monitoring"]
    project.configure()
    return text


def run_here(root: Path, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What comes of `retrain` with these words in this directory and environment, run in this process.

    Not for threads: a process has one current directory.
    """
    from retrain.cli import main

    out, err = (TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    with (
        chdir(root),
        Path(os.devnull).open() as nothing,
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "stdin", nothing),
        patch.object(sys, "argv", [str(RETRAIN), *words]),
        patch.dict(os.environ, environment, clear=True),
    ):
        try:
            main()
            code: object = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert isinstance(code, int)
    said, complained = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(["retrain", *words], code, said, complained)


def on_a_terminal(command: Sequence[Path | str], directory: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """The exit code of the command, and what a person at a terminal sees of it."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        command, cwd=directory, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    said = b""
    with suppress(OSError):  # the end of a terminal is an error
        while piece := os.read(master, 65536):
            said += piece
    os.close(master)
    return process.wait(timeout=60), said.decode().replace("\r\n", "\n")


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until this holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, str]:
    """Send a signal; what the process said and its exit code."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err
