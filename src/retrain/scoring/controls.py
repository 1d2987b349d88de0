"""Controls: challengers made from one reading of the champion, each of a worth that is known beforehand."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from retrain.core.records import Label
from retrain.scoring import models
from retrain.scoring.count import Slices, check_few, check_slices, check_vocabulary, listed, sliced
from retrain.scoring.holdout import opened, truth_of
from retrain.scoring.plan import Controls, Send, Triple
from retrain.tables.hashing import Content

Codes = npt.NDArray[np.int32]

_SEED = 0
_DUMMIES = 10
"""Labels that get a control of their own."""


def made(plan: Controls, send: Send) -> dict[str, Any]:
    """The answer to "controls": what the holdout says of each control, by its name.

    "itself" predicts what the champion does, "shuffled" as well but for other rows, and "always x" the label x
    for every row, for the most frequent labels. Without a champion there are only these last. UnusableError
    where a side cannot be used.
    """
    send({"at": "holdout"})
    check_slices(plan)
    holdout = opened(plan)
    vocabulary: dict[Label | None, int] = {}
    truths: list[Codes] = []
    champions: list[Codes] = []
    content, slices = Content(), Slices()
    for chunk in holdout.chunks():
        truth = truth_of(plan, chunk)
        predicted: list[Label] | list[None] = [None] * len(truth)
        if plan.champion is not None:
            send({"at": "champion"})
            features = chunk.drop(columns=plan.target)
            predicted = models.predict("champion", plan.champion, plan.trusted, features, holdout.fractional)
            send({"at": "holdout"})
        truths.append(_codes(truth, vocabulary))
        champions.append(_codes(predicted, vocabulary))
        slices += sliced(plan, chunk, [(each, None, each) for each in truth])
        check_few(plan, slices)
        content += Content.of(chunk)
        send({"progress": content.rows / holdout.table.rows})
    controls = _controls(list(vocabulary), np.concatenate(truths), np.concatenate(champions))
    if plan.champion is not None:
        check_vocabulary("champion", plan.champion, plan, controls["itself"])
    fingerprint = content.fingerprint(holdout.table.columns, plan.target)
    return {"controls": {name: listed(cells) for name, cells in controls.items()}, "holdout": fingerprint}


def _controls(labels: Sequence[Any], truth: Codes, champion: Codes) -> dict[str, Counter[Triple]]:
    """The controls; `truth` and `champion` say of each row which of the labels."""
    challengers: dict[str, Codes] = {}
    if None not in labels:
        challengers = {"itself": champion, "shuffled": np.random.default_rng(_SEED).permutation(champion)}
    often = np.bincount(truth, minlength=len(labels))
    frequent = sorted(np.flatnonzero(often).tolist(), key=lambda code: (-often[code], json.dumps(labels[code])))
    challengers |= {f"always {labels[code]}": np.full_like(truth, code) for code in frequent[:_DUMMIES]}
    return {name: _cells(labels, truth, champion, challenger) for name, challenger in challengers.items()}


def _cells(labels: Sequence[Any], truth: Codes, champion: Codes, challenger: Codes) -> Counter[Triple]:
    width = len(labels)
    found, rows = np.unique((truth.astype(np.int64) * width + champion) * width + challenger, return_counts=True)
    cells: Counter[Triple] = Counter()
    for code, count in zip(found.tolist(), rows.tolist(), strict=True):
        cells[labels[code // width**2], labels[code // width % width], labels[code % width]] = count
    return cells


def _codes(labels: Iterable[Label | None], vocabulary: dict[Label | None, int]) -> Codes:
    """The place of each label in the vocabulary, which learns the new ones."""
    return np.array([vocabulary.setdefault(label, len(vocabulary)) for label in labels], np.int32)
