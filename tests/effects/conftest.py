"""Where the work of the scoring processes is done within the test's own."""

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert

from retrain.config.schema import Config, Promotion, Training
from retrain.effects import evaluation
from retrain.effects.evaluation import Unscorable
from retrain.scoring import artifact, models
from retrain.scoring.__main__ import done
from retrain.scoring.plan import Model, UnusableError

ROOT = Path(__file__).parents[2]


def configured(holdout: Path, directory: Path = ROOT, **promotion: Any) -> Config:
    """A configuration with this holdout, modules that are importable from the directory, and keys of promotion."""
    return Config(promotion=Promotion(holdout=holdout, **promotion), training=Training(directory=directory))


def scored(asked: Mapping[str, Any], hear: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
    """The answer of the scoring processes, through JSON as from there, but without their start, limits and messages.

    Each model is served by a thread.
    """
    plan: dict[str, Any] = json.loads(json.dumps(asked))
    given = plan.pop("model", {"trusted": None, "aside": []})
    artifact.loaded.cache_clear()  # a process of its own would have loaded none
    threads = []
    for side in ("champion", "challenger"):
        if path := plan.get(side):
            (features, there), (back, predictions) = os.pipe(), os.pipe()
            model = convert({"path": path, **given, "features": features, "predictions": predictions}, Model)
            threads.append(threading.Thread(target=models.serve, args=(model,)))
            plan[side] = {"path": path, "features": there, "predictions": back}
    for thread in threads:
        thread.start()
    try:
        return dict(json.loads(json.dumps(done(plan, hear))))
    finally:
        for thread in threads:
            thread.join()


def carry_out(
    plan: Mapping[str, Any],
    _config: Config,
    progress: Callable[[float], None] = lambda _share: None,
    scrub: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The answer, as the controller gets it."""

    def hear(message: dict[str, Any]) -> None:
        if "progress" in message:
            progress(message["progress"])

    try:
        return scored(plan, hear)
    except UnusableError as error:
        raise Unscorable(error.side, error.message) from error


@pytest.fixture
def scored_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score without processes of its own, which take seconds to start, unless the test is marked `own_process`."""
    if request.node.get_closest_marker("own_process") is None:
        monkeypatch.setattr(evaluation, "carry_out", carry_out)
