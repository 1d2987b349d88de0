"""Challengers made up from one reading of the champion, each of a worth that is known beforehand."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from retrain.core.records import Label
from retrain.scoring import fingerprint, models, slices
from retrain.scoring.holdout import chunks, survey, truth_of
from retrain.scoring.labels import Triple
from retrain.scoring.plan import Controls

Codes = npt.NDArray[np.int32]

_SEED = 0
_DUMMIES = 10
"""Labels that get a control of their own."""


def made_up(plan: Controls, tell: Callable[[dict[str, Any]], None]) -> tuple[dict[str, Counter[Triple]], str]:
    """What the holdout says of each control, by its name, and the holdout's fingerprint.

    "itself" predicts what the champion does, "shuffled" as well but for other rows, and "always x" the label x
    for every row, for the most frequent labels. Without a champion there are only these last. UnusableError
    where a side is no use.
    """
    tell({"at": "holdout"})
    slices.check(plan)
    holdout = survey(plan)
    vocabulary: dict[Label | None, int] = {}
    truths: list[Codes] = []
    champions: list[Codes] = []
    sums, rows = (0, 0), 0
    sliced: slices.Sliced = {}
    for chunk in chunks(holdout, plan.chunk):
        truth = truth_of(plan, chunk)
        predicted: list[Label] | list[None] = [None] * len(truth)
        if plan.champion is not None:
            tell({"at": "champion"})
            predicted = models.predict(
                "champion", plan.champion, plan.trusted, chunk.drop(columns=plan.target), holdout.fractional
            )
            tell({"at": "holdout"})
        truths.append(_codes(truth, vocabulary))
        champions.append(_codes(predicted, vocabulary))
        sliced = slices.added(sliced, slices.sliced(plan, chunk, [(each, None, each) for each in truth]))
        slices.check_few(plan, sliced)
        sums, rows = fingerprint.added(sums, fingerprint.of_rows(chunk)[0]), rows + len(chunk)
        tell({"progress": rows / holdout.rows})
    controls = _controls(list(vocabulary), np.concatenate(truths), np.concatenate(champions))
    if plan.champion is not None:
        models.check_vocabulary("champion", plan.champion, plan, controls["itself"])
    return controls, fingerprint.digest(sums, holdout.dtypes, plan.target, rows)


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
