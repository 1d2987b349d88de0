"""The jobs of the child, from what is asked in JSON to what is answered."""

from collections.abc import Callable
from typing import Any

from retrain.scoring import controls, count, leakage, rows, slices
from retrain.scoring.labels import listed
from retrain.scoring.plan import Comparison, Controls, KnownRows


def done(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The answer to the job that `request` names; its other keys are the fields of a plan."""
    match request.pop("job"):
        case "rows":
            return {"rows": rows.remember(KnownRows(**request), tell)}
        case "controls":
            tallies, fingerprint = controls.made_up(Controls(**request), tell)
            return {"controls": {name: listed(cells) for name, cells in tallies.items()}, "holdout": fingerprint}
        case _:
            return _compared(Comparison(**request), tell)


def _compared(plan: Comparison, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    total, fingerprint = count.tally(plan, tell)
    return {
        "cells": listed(total.cells),
        "holdout": fingerprint,
        "sketch": total.sketch.tolist(),
        "slices": slices.answered(plan, total.sliced),
        "leaked": leakage.answered(plan, total.leaked),
    }
