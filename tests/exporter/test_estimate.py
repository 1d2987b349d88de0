"""Estimates to warn with: F1 without labels, F1 at the usual mix, drift by importance."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from retrain.core.rules import Average
from retrain.exporter.estimate import binned, estimated_f1, f1_at_usual_share
from retrain.exporter.measure import Measures
from tests.exporter.world import champion, config, csv, measure, rows

TP, FP, FN, TN = (1, 1), (0, 1), (1, 0), (0, 0)


def said(measures: Measures, words: str) -> bool:
    return any(words in problem for problem in measures.problems)


def world(random: np.random.Generator, middle: float, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, predictions and labels of a calibrated model whose inputs lie around `middle`."""
    score = 1 / (1 + np.exp(-random.normal(middle, 1.5, rows)))
    return score, score > 0.5, (random.random(rows) < score).astype(float)


def f1(predicted: np.ndarray, label: np.ndarray) -> float:
    return float(2 * (predicted & (label == 1)).sum() / (predicted.sum() + (label == 1).sum()))


@pytest.mark.parametrize("distort", [1, 3])
def test_the_estimate_follows_a_change_of_the_inputs(distort: int) -> None:
    """Requirement: within 0.02 of F1 under covariate shift, with scores that labels must first correct, too."""
    random = np.random.default_rng(7)
    before, now = world(random, -1), world(random, 0)
    scores = [binned(score**distort, predicted, label) for score, predicted, label in (before, now)]
    found = estimated_f1(scores[1], scores[0])
    assert found == pytest.approx(f1(*now[1:]), abs=0.02)
    assert abs(f1(*before[1:]) - f1(*now[1:])) > 0.05


def test_without_labels_the_logged_scores_are_believed() -> None:
    """Requirement: TP, FP and FN are sums of the scores; nothing positive has no F1."""
    scores = binned(np.array([0.9, 0.8, 0.3]), np.array([True, True, False]), np.full(3, np.nan))
    nothing = np.zeros_like(scores)
    assert estimated_f1(scores, nothing) == pytest.approx(2 * 1.7 / (2 * 1.7 + 0.3 + 0.3))
    assert estimated_f1(nothing, nothing) is None


def test_the_estimate_is_served_before_labels_come(tmp_path: Path) -> None:
    """Requirement: of the newest window; a score is no feature, and one that is none is a problem."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40}))
    log = rows(1, [(None, 1)] * 30, x=1, score=0.9) + rows(1, [(None, 0)] * 10, x=1, score=0.1)
    (tmp_path / "log.csv").write_text(csv(log))
    measures = measure(config(tmp_path, score="score"))
    assert measures.estimate == pytest.approx(2 * 27 / (2 * 27 + 3 + 1))
    assert measures.drift is not None
    assert list(measures.drift.psi) == ["x"]
    assert measure(config(tmp_path)).estimate is None
    (tmp_path / "log.csv").write_text(csv(log + rows(1, [(None, 1)], x=1, score=17)))
    broken = measure(config(tmp_path, score="score"))
    assert broken.estimate is None
    assert said(broken, "1 of 41 rows have no score from 0 to 1")
    assert said(measure(config(tmp_path, score="p")), "the log has no column 'p'")


def test_an_estimate_of_several_classes_is_refused(tmp_path: Path) -> None:
    """Requirement: one score says nothing about three classes."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 3, score=0.9)))
    settings = config(tmp_path, score="score")
    settings = replace(settings, promotion=replace(settings.promotion, average=Average.MACRO))
    assert said(measure(settings), "promotion.average binary")


def test_f1_at_the_usual_mix_does_not_fall_with_the_positives(tmp_path: Path) -> None:
    """Requirement: with the same rates of true and of false positives F1 at the usual share stays where it was."""
    usual = [TP] * 80 + [FN] * 20 + [FP] * 10 + [TN] * 190
    rare = [TP] * 40 + [FN] * 10 + [FP] * 10 + [TN] * 190
    log = [row for hours in range(10, 1, -1) for row in rows(hours, usual)]
    (tmp_path / "log.csv").write_text(csv(log + rows(1, rare)))
    quality = measure(config(tmp_path)).quality
    assert quality is not None
    assert quality.f1 == pytest.approx(80 / 100)
    assert quality.usual == pytest.approx((160 / 190, 1 / 3))
    few = csv(rows(2, usual) + rows(1, rare))
    (tmp_path / "log.csv").write_text(few)
    alone = measure(config(tmp_path)).quality
    assert alone is not None
    assert alone.usual is None
    assert alone.counts is not None
    assert f1_at_usual_share(alone.counts, alone.samples, []) is None


@pytest.mark.parametrize(("weights", "expected"), [("x,3\ny,1\n", "y"), ("x,1\ny,0\n", None), ("x,2\ny,-1\n", None)])
def test_drift_is_weighted_by_importance(tmp_path: Path, weights: str, expected: str | None) -> None:
    """Requirement: weights are normalised, a weight below 0 is none, and drift without weights has no such metric."""
    kept = champion(tmp_path, "a", pd.DataFrame({"x": ["old"] * 40, "y": ["old"] * 40}))
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x="old", y="new")))
    bare = measure(config(tmp_path)).drift
    assert bare is not None
    assert bare.weighted is None
    kept.with_name(kept.name.replace("reference.parquet", "weights.csv")).write_text(f"feature,weight\n{weights}")
    found = measure(config(tmp_path)).drift
    assert found is not None
    assert found.weighted == pytest.approx(found.psi["y"] / 4 if expected else 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("feature,weight\nx,1\nz,1\n", "name 'z', of which there is no drift"),
        ("feature,weight\nx,much\n", "no weighted drift: the weights"),
        ("feature,weight\nx,1\ny,\n", "a weight is empty, or no finite number"),
        ("feature,weight\nx,1\ny,inf\n", "a weight is empty, or no finite number"),
        ("name,gain\nx,1\n", "no weighted drift: the weights"),
        ("", "no weighted drift: the weights"),
    ],
)
def test_weights_that_cannot_be_used_are_a_problem(tmp_path: Path, text: str, words: str) -> None:
    """Requirement: a wrong file costs the weighted drift alone."""
    kept = champion(tmp_path, "a", pd.DataFrame({"x": ["old"] * 40}))
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x="old")))
    kept.with_name(kept.name.replace("reference.parquet", "weights.csv")).write_text(text)
    measures = measure(config(tmp_path))
    assert said(measures, words)
    assert measures.drift is not None
    assert measures.drift.psi == {"x": 0}
