"""The work of the scoring processes, done within the test's own process: their start takes seconds."""

import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import convert

from retrain.config.schema import Config
from retrain.core.text import one_line
from retrain.effects.evaluation import Unscorable, child
from retrain.scoring import artifact, models, rows
from retrain.scoring.__main__ import done
from retrain.scoring.plan import Model, UnusableError


def scored(asked: Mapping[str, Any], hear: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
    """The answer of the scoring processes, through JSON as from there, but without their start, limits and messages.

    Each model is served by a thread.
    """
    plan: dict[str, Any] = json.loads(json.dumps(asked))
    given = plan.pop("model", {"trusted": None, "aside": []})
    for cached in (artifact.loaded, rows._known):
        cached.cache_clear()  # a process of its own would have read nothing yet
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
        raise Unscorable(error.side, one_line(scrub(error.message), child._LONGEST_ERROR)) from error
