"""The verdict of `promote`: metrics, standard error, looks and degenerate cases."""

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.core.judge import alpha_of, judge, leakage
from retrain.core.records import Label
from retrain.core.rules import Average, Difference, Gate, Guarantee, Level, Metric, Positive, Share
from retrain.core.score import UndefinedMetricError, score
from retrain.core.verdicts import Cell, Leaked, Ruling, Tally

ALL = [(metric, average) for metric in Metric for average in Average]


def tally(cells: Sequence[Any]) -> Tally:
    return Tally(tuple(Cell(*cell) for cell in cells), "holdout")


def binary(both: int = 500, won: int = 0, lost: int = 0) -> Tally:
    """Two balanced classes: `both` rows of each are right for both models; the rest one model alone has right."""
    cells = [(1, 1, 1, both), (0, 0, 0, both), (1, 0, 1, won), (0, 1, 0, won), (1, 1, 0, lost), (0, 0, 1, lost)]
    return tally([cell for cell in cells if cell[3]])


matrices = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), st.integers(1, 60), min_size=2, max_size=9
)


@settings(deadline=None)
@given(matrices)
def test_every_metric_agrees_with_scikit_learn(matrix: dict[tuple[Label, Label], int]) -> None:
    """Scores are those of sklearn.metrics on the same rows, wherever they are defined."""
    from sklearn import metrics as reference

    truth = [pair[0] for pair, rows in matrix.items() for _ in range(rows)]
    predicted = [pair[1] for pair, rows in matrix.items() for _ in range(rows)]
    expected: dict[tuple[Metric, Average], float] = {}
    for average in (Average.MACRO, Average.WEIGHTED, Average.MICRO):
        for metric in (Metric.F1, Metric.PRECISION, Metric.RECALL):
            function = getattr(reference, f"{metric}_score")
            expected[metric, average] = function(truth, predicted, average=average.value, zero_division=0)
    expected[Metric.ACCURACY, Average.MACRO] = reference.accuracy_score(truth, predicted)
    for (metric, average), value in expected.items():
        assert score(matrix, metric, average, 1).value == pytest.approx(value), (metric, average)
    if len(set(truth)) > 1 and len(set(predicted)) > 1:
        assert score(matrix, Metric.MCC, Average.MACRO, 1).value == pytest.approx(
            reference.matthews_corrcoef(truth, predicted)
        )
    if set(predicted) <= set(truth):
        assert score(matrix, Metric.BALANCED_ACCURACY, Average.MACRO, 1).value == pytest.approx(
            reference.balanced_accuracy_score(truth, predicted)
        )


@pytest.mark.parametrize(("metric", "average"), ALL)
def test_every_slope_is_the_derivative(metric: Metric, average: Average) -> None:
    """The slope of a cell is what one row more or less moves the score, per row."""
    dice = random.Random(7)
    labels: list[Label] = [0, 1] if average is Average.BINARY else ["a", "b", "c"]
    matrix = {(t, p): dice.randint(20, 60) for t, p in itertools.product(labels, labels)}
    exact = score(matrix, metric, average, 1)
    for cell in matrix:
        scaled = {key: rows * 100_000 for key, rows in matrix.items()}
        up = score({**scaled, cell: scaled[cell] + 1}, metric, average, 1).value
        down = score({**scaled, cell: scaled[cell] - 1}, metric, average, 1).value
        assert exact.slope(*cell) == pytest.approx((up - down) / 2 * 100_000, rel=1e-3, abs=1e-7)


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=8, max_size=8))
def test_the_sentence_of_a_binary_f1_is_exact(rows: list[int]) -> None:
    """F1 difference = [(2 - f)(b1 - c1) + f(b0 - c0)] / D, with the wins and losses that the message counts."""
    cells = [(*key, count) for key, count in zip(itertools.product((0, 1), repeat=3), rows, strict=True)]
    verdict = judge(tally(cells), Gate(), 1)
    count = {cell[:3]: cell[3] for cell in cells}
    b1, c1, b0, c0 = count[1, 0, 1], count[1, 1, 0], count[0, 1, 0], count[0, 0, 1]
    assert verdict.champion_score is not None
    predicted = sum(rows for (_, _, challenger), rows in count.items() if challenger == 1)
    positive = sum(rows for (truth, _, _), rows in count.items() if truth == 1)
    f = verdict.champion_score
    assert verdict.difference == pytest.approx(((2 - f) * (b1 - c1) + f * (b0 - c0)) / (predicted + positive))
    found, alarms = "positive" + "s" * (b1 != 1), "false alarm" + "s" * (b0 != 1)
    assert f"finds {b1} {found} that the champion misses and misses {c1} that the champion finds" in verdict.message
    assert f"avoids {b0} {alarms} of the champion and raises {c0} new" in verdict.message


def test_the_standard_error_is_that_of_a_bootstrap() -> None:
    """The delta method agrees with 2,000 multinomial redraws of the tally (seeded; four Monte Carlo errors)."""
    dice = random.Random(3)
    cells = [(*key, dice.randint(20, 90)) for key in itertools.product((0, 1), repeat=3)]
    verdict = judge(tally(cells), Gate(), 1)
    n = sum(cell[3] for cell in cells)
    drawn = []
    for _ in range(2000):
        redrawn = Counter(dice.choices([cell[:3] for cell in cells], [cell[3] for cell in cells], k=n))
        difference = judge(tally([(*key, rows) for key, rows in redrawn.items()]), Gate(), 1).difference
        assert difference is not None
        drawn.append(difference)
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((each - mean) ** 2 for each in drawn) / (len(drawn) - 1))
    assert verdict.standard_error == pytest.approx(spread, rel=4 / math.sqrt(2 * len(drawn)))


@pytest.mark.parametrize(
    ("rows", "gate", "ruling"),
    [
        (binary(won=60, lost=5), Gate(), Ruling.PROMOTE),
        (binary(won=5, lost=60), Gate(), Ruling.REJECT),
        (binary(won=30, lost=28), Gate(), Ruling.INCONCLUSIVE),
        (binary(won=4), Gate(), Ruling.INCONCLUSIVE),
        (binary(), Gate(), Ruling.INCONCLUSIVE),
        (binary(won=60, lost=5), Gate(min_improvement=Difference(0.2)), Ruling.REJECT),
        (binary(won=5, lost=6), Gate(min_improvement=Difference(-0.05)), Ruling.PROMOTE),
        (binary(won=60, lost=5), Gate(floor=Share(0.999)), Ruling.REJECT),
        (binary(won=60, lost=5), Gate(floor=Share(0.9)), Ruling.PROMOTE),
    ],
)
def test_the_ruling_follows_the_interval(rows: Tally, gate: Gate, ruling: Ruling) -> None:
    """Promote above the margin, reject at or below it, inconclusive between; a floor vetoes."""
    verdict = judge(rows, gate, 1)
    assert verdict.ruling is ruling


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (tally([(0, 0, 0, 50), (0, 1, 0, 50)]), "no row has the positive label 1"),
        (tally([(1, 1, 1, 50), (1, 0, 1, 50)]), "every row is of class 1"),
        (tally([("yes", "no", "yes", 50), ("no", "no", "no", 50)]), "YAML reads an unquoted yes"),
        (tally([(0, 0, 0, 50), (1, 1, 2, 20), (2, 1, 2, 9)]), "set promotion.average"),
    ],
)
def test_a_holdout_that_has_no_value_for_the_metric_cannot_tell(rows: Tally, words: str) -> None:
    """A missing class is named; it is inconclusive, never a win."""
    verdict = judge(rows, Gate(), 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert words in verdict.message


def test_a_class_that_only_a_model_knows_is_named() -> None:
    """With several classes, a predicted class without a single row has no recall."""
    rows = tally([("a", "a", "a", 50), ("b", "a", "b", 50), ("b", "b", "c", 9)])
    verdict = judge(rows, Gate(average=Average.MACRO), 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "no row is of class 'c'" in verdict.message


@pytest.mark.parametrize(
    ("gate", "ruling"),
    [
        (Gate(unopposed_floor=Share(0.8)), Ruling.PROMOTE),
        (Gate(unopposed_floor=Share(0.9)), Ruling.REJECT),
        (Gate(), Ruling.REJECT),
    ],
)
def test_without_a_champion_the_floor_alone_decides(gate: Gate, ruling: Ruling) -> None:
    """Unopposed promotion needs a floor and must reach it."""
    verdict = judge(tally([(1, None, 1, 80), (1, None, 0, 20), (0, None, 0, 80), (0, None, 1, 20)]), gate, 1)
    assert verdict.ruling is ruling
    assert verdict.challenger_score == pytest.approx(0.8)


def test_the_levels_of_all_looks_sum_to_alpha() -> None:
    """Look k is tested at alpha / (K 2^(m+1)), m = floor((k-1)/K): it halves every K looks and never hits a wall."""
    gate = Gate(alpha=Level(0.05), holdout_uses=Positive(10))
    levels = [alpha_of(gate, look) for look in range(1, 400)]
    assert levels[0] == levels[9] == pytest.approx(0.0025)
    assert levels[10] == pytest.approx(0.00125)
    assert sum(levels) == pytest.approx(0.05)
    assert sum(levels) < 0.05
    assert alpha_of(replace(gate, guarantee=Guarantee.PER_TEST), 300) == pytest.approx(0.05)


@pytest.mark.parametrize("look", [461, 2000, 20_000, 10**6])
def test_the_bar_never_becomes_a_wall(look: int) -> None:
    """However often the holdout was looked at, there is a verdict."""
    verdict = judge(binary(won=300, lost=5), Gate(holdout_uses=Positive(1)), look)
    assert verdict.alpha > 0
    assert verdict.interval is not None
    assert math.isfinite(verdict.interval[0])


def test_the_detectable_gain_is_that_of_power_080() -> None:
    """min_improvement + (z + 0.84) SE, at the level of this look."""
    verdict = judge(binary(won=30, lost=28), Gate(), 23)
    assert verdict.standard_error is not None
    z = NormalDist().inv_cdf(1 - verdict.alpha)
    assert verdict.detectable == pytest.approx((z + 0.84) * verdict.standard_error)


def test_a_binary_challenger_that_speaks_of_an_unknown_label_is_not_promoted() -> None:
    """It is named; a champion that does so only loses those rows."""
    cells = [(1, 1, 1, 50), (0, 0, 0, 50), (1, 0, 1, 40)]
    verdict = judge(tally([*cells, (0, 0, 2, 5)]), Gate(), 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "no row is of class 2, which the challenger predicts" in verdict.message
    assert judge(tally([*cells, (0, 2, 0, 5)]), Gate(), 1).ruling is Ruling.PROMOTE


def test_where_nothing_can_be_compared_no_look_is_used() -> None:
    """A wrong `positive` shows no score, so it spends nothing of the holdout's budget."""
    assert judge(tally([(0, 0, 0, 50), (0, 1, 0, 50)]), Gate(), 3).look == 2


def test_an_inconclusive_verdict_says_how_many_rows_would_tell() -> None:
    """A holdout of that size shows the gain, were it real, with power 0.8 at a first look (and a fifth to spare)."""
    verdict = judge(binary(won=40, lost=28), Gate(), 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    found = re.search(r"a fresh holdout of about ([\d,]+) rows", verdict.message)
    assert found is not None
    needed = int(found[1].replace(",", ""))
    assert verdict.standard_error is not None
    assert verdict.difference is not None
    z = NormalDist().inv_cdf(1 - alpha_of(Gate(), 1))
    error = verdict.standard_error * math.sqrt(verdict.rows / needed * 1.2)
    assert (z + 0.84) * error == pytest.approx(verdict.difference, rel=0.05)


@pytest.mark.parametrize(
    ("gate", "look", "words"),
    [
        (Gate(), 1, "This was look 1 at the holdout; for two models such as these it can show a gain of about"),
        (Gate(), 10, "This was look 10 at the holdout; for two models such as these it can show a gain of about"),
        (Gate(), 23, "look 23 at the holdout, and each raises the bar: for two models such as these it can now only"),
        (Gate(), 23, "ever promotes a challenger that is no better is 5 in 100 at most, however many are tried"),
        (Gate(guarantee=Guarantee.PER_TEST), 1, "a look promotes a challenger that is no better is 5 in 100 at most"),
        (Gate(guarantee=Guarantee.PER_TEST), 7, "5 in 100 at most, and that one of 7 looks does, 35 in 100"),
    ],
)
def test_the_verdict_says_how_worn_the_holdout_is(gate: Gate, look: int, words: str) -> None:
    """What it can still show, and what the looks together may let through."""
    assert words in judge(binary(won=80, lost=8), gate, look).message


def test_a_worn_holdout_is_compared_with_a_fresh_one() -> None:
    """The gain that one of the same size could show at its first look."""
    rows, fresh = binary(won=30, lost=28), judge(binary(won=30, lost=28), Gate(), 1)
    worn = judge(rows, Gate(), 23)
    assert worn.detectable is not None
    assert fresh.detectable is not None
    assert (
        f"above {worn.detectable:+.3f}; a fresh one of the same size could show {fresh.detectable:+.3f}" in worn.message
    )


@pytest.mark.parametrize(
    ("leaked", "most", "words"),
    [
        (Leaked(), 0.0, None),
        (Leaked(0, 0), 0.0, None),
        (Leaked(1, 0), 0.0, "the challenger was trained on 1 of the 1,000 holdout rows (0.10%"),
        (Leaked(0, 52), 0.05, "the champion was trained on 52 of the 1,000 holdout rows (5.20%"),
        (Leaked(50, None), 0.05, None),
    ],
)
def test_leakage_above_its_limit_is_refused_for_either_side(leaked: Leaked, most: float, words: str | None) -> None:
    """Equality with max_leakage is allowed; what is not known is none."""
    said = leakage(leaked, 1000, most)
    assert said is None if words is None else said is not None and words in said


def test_undefined_is_said_not_guessed() -> None:
    """0/0 is an error of its own, never 0 or 1."""
    with pytest.raises(UndefinedMetricError, match="0/0"):
        score({(0, 0): 9}, Metric.F1, Average.BINARY, 1)
    with pytest.raises(UndefinedMetricError, match="mcc"):
        score({(0, 0): 9, (1, 0): 3}, Metric.MCC, Average.MACRO, 1)
