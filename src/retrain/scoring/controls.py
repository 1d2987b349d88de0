"""Controls: challengers made from the champion's own predictions, for which the right verdict is known."""

import json
from collections import Counter
from typing import Any

import numpy as np

from retrain.core.records import Label
from retrain.scoring.count import counted, listed
from retrain.scoring.plan import Comparison, Send, Triple
from retrain.scoring.predict import connected

_SEED = 0
_DUMMIES = 10
"""Labels that get a control of their own."""


def made(plan: Comparison, send: Send) -> dict[str, Any]:
    """The answer to "controls": what the holdout says of each control, by its name.

    "itself" predicts what the champion does, "shuffled" as well but for other rows, and "always x" the label x
    for every row, for the most frequent labels. Without a champion there are only these last.
    """
    with connected(send, plan.champion, None) as models:
        total = counted(plan, models, send)
    pairs, often = Counter[tuple[Label, Label | None]](), Counter[Label]()
    for (truth, champion, _), rows in total.cells.items():
        pairs[truth, champion] += rows
        often[truth] += rows
    controls: dict[str, Counter[Triple]] = {}
    if plan.champion is not None:
        controls["itself"] = Counter({(truth, champion, champion): rows for (truth, champion), rows in pairs.items()})
        controls["shuffled"] = _shuffled(pairs)
    for label in sorted(often, key=lambda label: (-often[label], json.dumps(label)))[:_DUMMIES]:
        controls[f"always {label}"] = Counter({(*pair, label): rows for pair, rows in pairs.items()})
    found = {name: listed(cells) for name, cells in controls.items()}
    return {"controls": found, "holdout": total.fingerprint, "models": total.noted}


def _shuffled(pairs: Counter[tuple[Label, Label | None]]) -> Counter[Triple]:
    """Each row with the prediction of a row drawn without replacement."""
    known = sorted(pairs, key=json.dumps)
    rows = np.repeat(np.arange(len(known)), [pairs[pair] for pair in known])
    others = np.random.default_rng(_SEED).permutation(rows)
    cells: Counter[Triple] = Counter()
    for code, count in zip(*np.unique(rows * len(known) + others, return_counts=True), strict=True):
        row, other = divmod(int(code), len(known))
        cells[*known[row], known[other][1]] += int(count)
    return cells
