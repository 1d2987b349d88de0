"""Where the work of the scoring process is done within the test's own."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from retrain.config.schema import Promotion
from retrain.effects.evaluation import Unscorable, jobs
from retrain.scoring import artifact
from retrain.scoring.__main__ import done
from retrain.scoring.plan import UnusableError


def carry_out(
    plan: Mapping[str, Any],
    _promotion: Promotion,
    _directory: Path,
    progress: Callable[[float], None],
    _scrub: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The answer of the scoring process, through JSON as from there, but without its start, limits and messages."""

    def hear(message: dict[str, Any]) -> None:
        if "progress" in message:
            progress(message["progress"])

    artifact.loaded.cache_clear()  # a process of its own would have loaded none
    try:
        answer = json.dumps(done(json.loads(json.dumps(plan)), hear))
    except UnusableError as error:
        raise Unscorable(error.side, error.message) from error
    return dict(json.loads(answer))


@pytest.fixture
def scored_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score without a process of its own, which takes a second to start, unless the test is marked `own_process`."""
    if request.node.get_closest_marker("own_process") is None:
        monkeypatch.setattr(jobs, "carry_out", carry_out)
