"""The verdict of `promote`: metrics, standard error, comparisons, degenerate cases, and words."""

import itertools
import math
import random
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from retrain.core import explain
from retrain.core.bounds import bar, expected, least_share
from retrain.core.evidence import f1_of, latest
from retrain.core.judge import alpha_of, beside_live, judge, shared
from retrain.core.past import Past, Streak
from retrain.core.records import Counts, Label
from retrain.core.rules import (
    Average,
    Disclose,
    FloorAs,
    Gate,
    Guarantee,
    Metric,
)
from retrain.core.score import UndefinedMetricError, guarded, score
from retrain.core.verdicts import Cell, Groups, Leaked, Ruling, Slice, Tally, Verdict, VerdictReason

ALL = [(metric, average) for metric in Metric for average in Average]


PER_TEST = Gate(guarantee=Guarantee.PER_TEST)
VERDICT_ONLY = Gate(disclose=Disclose.VERDICT)
CHOSEN_BLINDLY = (
    "at most 5% (over all comparisons on this holdout, for challengers chosen without knowledge of earlier scores"
)
CHOOSING = "after so many comparisons, choosing by them voids this"


def tally(cells: Sequence[Any]) -> Tally:
    return Tally(tuple(Cell(*cell) for cell in cells), "holdout")


def binary(both: int = 500, won: int = 0, lost: int = 0) -> Tally:
    """Two balanced classes: `both` rows of each are right for both models; the rest one model alone has right."""
    cells = [(1, 1, 1, both), (0, 0, 0, both), (1, 0, 1, won), (0, 1, 0, won), (1, 1, 0, lost), (0, 0, 1, lost)]
    return tally([cell for cell in cells if cell[3]])


def shown(verdict: Verdict, gate: Gate) -> dict[str, str]:
    """The rows of the table on a terminal, by their titles."""
    lines = explain.screen("", verdict, gate).splitlines()
    table = re.sub(r"\n {28}", " ", "\n".join(lines[next(n for n, each in enumerate(lines) if each[:2] == "  ") :]))
    return {each[2:28].strip(): each[28:] for each in table.splitlines()}


matrices = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), st.integers(1, 60), min_size=2, max_size=9
)


@settings(deadline=None)
@given(matrices)
def test_every_metric_agrees_with_scikit_learn(matrix: dict[tuple[Label, Label], int]) -> None:
    """Scores are those of sklearn.metrics on the same rows, wherever they are defined; means are over their classes."""
    from sklearn import metrics as reference

    truth = [pair[0] for pair, rows in matrix.items() for _ in range(rows)]
    predicted = [pair[1] for pair, rows in matrix.items() for _ in range(rows)]
    expected: dict[tuple[Metric, Average], float] = {}
    for average in (Average.MACRO, Average.WEIGHTED, Average.MICRO):
        for metric in (Metric.F1, Metric.PRECISION, Metric.RECALL):
            function = getattr(reference, f"{metric}_score")
            labels = sorted(set(truth)) if average is not Average.MICRO else None
            value = function(truth, predicted, labels=labels, average=average.value, zero_division=0)
            expected[metric, average] = value
    expected[Metric.ACCURACY, Average.MACRO] = reference.accuracy_score(truth, predicted)
    for (metric, average), value in expected.items():
        assert score(matrix, metric, average, 1).value == pytest.approx(value), (metric, average)
    if len(set(truth)) > 1 and len(set(predicted)) > 1:
        assert score(matrix, Metric.MCC, Average.MACRO, 1).value == pytest.approx(
            reference.matthews_corrcoef(truth, predicted)
        )
    with warnings.catch_warnings(action="ignore"):  # of a class that is predicted only
        balanced = reference.balanced_accuracy_score(truth, predicted)
    assert score(matrix, Metric.BALANCED_ACCURACY, Average.MACRO, 1).value == pytest.approx(balanced)


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
def test_the_account_of_a_binary_f1_is_exact(rows: list[int]) -> None:
    """F1 difference = [(2 - f)(b1 - c1) + f(b0 - c0)] / D, with the wins and losses that the table counts."""
    cells = [(*key, count) for key, count in zip(itertools.product((0, 1), repeat=3), rows, strict=True)]
    verdict = judge(tally(cells), Gate(), 1)
    count = {cell[:3]: cell[3] for cell in cells}
    b1, c1, b0, c0 = count[1, 0, 1], count[1, 1, 0], count[0, 1, 0], count[0, 0, 1]
    assert verdict.champion_score is not None
    predicted = sum(rows for (_, _, challenger), rows in count.items() if challenger == 1)
    positive = sum(rows for (truth, _, _), rows in count.items() if truth == 1)
    f = verdict.champion_score
    assert verdict.difference == pytest.approx(((2 - f) * (b1 - c1) + f * (b0 - c0)) / (predicted + positive))
    said = shown(verdict, Gate())
    assert said["missed positives"] == f"{b1} fewer, {c1} new"
    assert said["false alarms"] == f"{b0} fewer, {c0} new"
    assert said["discordant rows"] == (
        f"{b1 + c1 + b0 + c0:,} (challenger right on {b1 + b0:,}, champion right on {c1 + c0:,})"
    )


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
        (binary(won=60, lost=5), Gate(min_improvement=0.2), Ruling.REJECT),
        (binary(won=5, lost=6), Gate(min_improvement=-0.05), Ruling.PROMOTE),
        (binary(won=60, lost=5), Gate(floor=0.999), Ruling.REJECT),
        (binary(won=60, lost=5), Gate(floor=0.9), Ruling.PROMOTE),
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
    assert words in explain.line("", verdict, Gate())


@pytest.mark.parametrize("champion", [None, 1, 0])
@pytest.mark.parametrize("average", [Average.BINARY, Average.MACRO])
@pytest.mark.parametrize("metric", Metric)
def test_a_holdout_of_one_class_admits_nobody(metric: Metric, average: Average, champion: int | None) -> None:
    """A model that predicts this class whatever it is given has every metric right."""
    gate = Gate(metric=metric, average=average, floor=0.5)
    verdict = judge(tally([(1, champion, 1, 400)]), gate, 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE, explain.line("", verdict, gate)


@pytest.mark.parametrize("metric", [Metric.F1, Metric.BALANCED_ACCURACY, Metric.ACCURACY])
def test_a_class_that_only_a_model_knows_is_a_wrong_prediction(metric: Metric) -> None:
    """With several classes it is no class of its own: the mean is taken over those of the holdout."""
    gate, others = Gate(metric=metric, average=Average.MACRO), [("a", "a", "a", 50), ("b", "a", "b", 50)]
    strange, known = (judge(tally([*others, ("b", "b", label, 9)]), gate, 1) for label in ("c", "a"))
    assert strange.ruling is known.ruling is Ruling.PROMOTE
    assert strange.challenger_score is not None
    assert known.challenger_score is not None
    assert 0 <= strange.challenger_score - known.challenger_score < 0.05, "at most the precision of the other class"
    back = judge(tally([("a", "a", "c", 50), ("b", "b", "b", 50), ("a", "c", "a", 1)]), gate, 1)
    assert back.ruling is Ruling.REJECT


@pytest.mark.parametrize(
    ("gate", "ruling"),
    [
        (Gate(unopposed_floor=0.74), Ruling.PROMOTE),
        (Gate(unopposed_floor=0.75), Ruling.INCONCLUSIVE),
        (Gate(unopposed_floor=0.8, floor_as=FloorAs.POINT), Ruling.PROMOTE),
        (Gate(unopposed_floor=0.9), Ruling.REJECT),
        (Gate(), Ruling.REJECT),
    ],
)
def test_without_a_champion_the_floor_alone_decides(gate: Gate, ruling: Ruling) -> None:
    """Unopposed promotion needs a floor; the lower bound of F1 reaches it, exact at 95% (here 0.741), or F1 itself."""
    verdict = judge(tally([(1, None, 1, 80), (1, None, 0, 20), (0, None, 0, 80), (0, None, 1, 20)]), gate, 1)
    assert verdict.ruling is ruling
    assert verdict.challenger_score == pytest.approx(0.8)


def test_a_first_model_needs_thirty_rows_of_the_rarest_class() -> None:
    """Of the positive one where the metric is about it; with floor_as: point any number will do."""
    few, gate = tally([(1, None, 1, 29), (0, None, 0, 900)]), Gate(unopposed_floor=0.5)
    verdict = judge(few, gate, 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "the holdout has only 29 rows of class 1, and a first model needs 30" in explain.line("", verdict, gate)
    assert judge(few, replace(gate, floor_as=FloorAs.POINT), 1).ruling is Ruling.PROMOTE
    assert judge(tally([(1, None, 1, 30), (0, None, 0, 2)]), gate, 1).ruling is Ruling.PROMOTE
    macro = replace(gate, average=Average.MACRO)
    assert judge(tally([(1, None, 1, 30), (0, None, 0, 29)]), macro, 1).reason is VerdictReason.FEW_ROWS


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 300))
def test_the_lower_bound_of_a_share_is_exact(hits: int, misses: int) -> None:
    """Clopper and Pearson's: at that share, so many hits or more have chance alpha."""
    from scipy.stats import beta

    assert least_share(hits, hits + misses, 0.05) == pytest.approx(beta.ppf(0.05, hits, misses + 1), abs=1e-6)


def test_without_hits_nothing_is_known_from_below() -> None:
    """The lower bound of no hits is 0; that of a million is found as well."""
    assert least_share(0, 10, 0.05) == 0
    assert least_share(900_000, 1_000_000, 0.05) == pytest.approx(0.8995, abs=1e-4)


@pytest.mark.parametrize("metric", [Metric.ACCURACY, Metric.MCC, Metric.RECALL])
def test_the_lower_bound_of_other_scores_is_that_of_their_error(metric: Metric) -> None:
    """It lies below the score, and nearer the more rows there are; a perfect score has one below 1, too."""
    gate = Gate(metric=metric, unopposed_floor=0.5)
    bounds = [judge(tally([(1, None, 1, n), (0, None, 0, n)]), gate, 1).lower or 0.0 for n in (40, 400)]
    assert 0.85 < bounds[0] < bounds[1] < 1


REGRET = Gate(guarantee=Guarantee.REGRET)


@pytest.mark.parametrize(("weight", "z"), [(1, 0.0), (8.5, 0.84), (79, 1.64), (3819, 2.81)])
def test_the_harm_weight_is_a_bar_on_z(weight: float, z: float) -> None:
    """Gain ~ N(d, SE²): the expected gain is `weight` times the expected loss at this z, whatever the error."""
    assert bar(weight) == pytest.approx(z, abs=0.01)
    gain, loss = expected(bar(weight) * 0.02, 0.02)
    assert gain == pytest.approx(weight * loss)


def test_expected_gain_and_loss_are_those_of_the_normal_law() -> None:
    """Their difference is the gain; far from zero one of them vanishes and is never negative."""
    for gain in (-1.0, -0.01, 0.0, 0.003, 1.0):
        more, less = expected(gain, 0.01)
        assert more - less == pytest.approx(gain)
        assert min(more, less) >= 0


@pytest.mark.parametrize(
    ("won", "lost", "ruling"),
    [(23, 20, Ruling.INCONCLUSIVE), (28, 20, Ruling.PROMOTE), (20, 28, Ruling.REJECT)],
)
def test_under_regret_the_expected_gain_is_weighed_against_the_expected_loss(won: int, lost: int, ruling: Any) -> None:
    """Promote where it is more than harm_weight times as much, reject where the loss is, whichever comparison it is."""
    verdict = judge(binary(won=won, lost=lost), REGRET, 23)
    assert verdict.ruling is ruling
    assert verdict.expected is not None
    gain, loss = verdict.expected
    assert (gain > 8 * loss, loss > 8 * gain) == (ruling is Ruling.PROMOTE, ruling is Ruling.REJECT)
    assert judge(binary(won=won, lost=lost), replace(REGRET, harm_weight=10_000), 1).ruling is not ruling or (
        ruling is Ruling.INCONCLUSIVE
    )


def test_under_regret_the_table_says_what_is_weighed_and_what_became_of_such_verdicts() -> None:
    """Expected gain and loss, and how often a challenger with this z was worse later; no risk that nothing bounds."""
    for won, share in ((60, "2 to 5%"), (35, "6 to 24%"), (28, "29 to 42%")):
        rows = shown(judge(binary(won=won, lost=20), REGRET, 1), REGRET)
        assert rows["worse later"].startswith(share)
        assert "expected loss 0.0" in rows["expected gain"]
        assert rows["holdout comparison"] == "1"
        assert "90% confidence" in rows["confidence bounds"]
        assert "false-promotion risk" not in rows
    undecided = judge(binary(won=23, lost=20), REGRET, 1)
    assert "worse later" not in shown(undecided, REGRET)
    said = explain.line("", undecided, REGRET)
    assert "the expected gain is not 8 times the expected loss" in said
    assert judge(binary(won=20, lost=60), REGRET, 1).worse_later is None
    margin = replace(REGRET, min_improvement=0.001)
    assert "the expected gain above min_improvement +0.001 is not 8" in explain.line(
        "", judge(binary(won=23, lost=20), margin, 1), margin
    )


def test_nothing_is_promised_of_a_challenger_that_was_forced() -> None:
    """No rule chose it, so no rule bounds its risk."""
    verdict = judge(binary(won=20, lost=28), Gate(), 1)
    assert "false-promotion risk" in explain.screen("", verdict, Gate())
    assert "risk" not in explain.screen("", verdict, Gate(), forced=True)


@pytest.mark.parametrize(
    ("rows", "gate"),
    [
        (binary(won=23, lost=20), VERDICT_ONLY),
        (binary(won=20, lost=60), VERDICT_ONLY),
        (binary(won=60, lost=5), replace(VERDICT_ONLY, floor=0.999)),
        (binary(won=23, lost=20), replace(VERDICT_ONLY, guarantee=Guarantee.REGRET)),
        (tally([(1, None, 1, 80), (0, None, 1, 80)]), replace(VERDICT_ONLY, unopposed_floor=0.9)),
    ],
)
def test_with_disclose_verdict_no_score_of_who_is_not_promoted_is_shown(rows: Tally, gate: Gate) -> None:
    """The verdict, the discordant rows and the detectable gain remain; nothing from which the gain follows."""
    verdict = judge(rows, gate, 1)
    hidden = explain.disclosed(verdict, gate, wins=False)
    for said in (explain.line("rejected", hidden, gate), explain.screen("rejected", hidden, gate)):
        assert not [
            word
            for word in (
                "champion 0.",
                "gain +",
                "gain -",
                "right on",
                "confidence bounds +",
                "confidence bounds -",
                "fewer",
            )
            if word in said
        ]
        assert f"{verdict.challenger_score:.3f}" not in said
    assert hidden.detectable == verdict.detectable
    assert explain.disclosed(verdict, gate, wins=True) == verdict
    assert explain.disclosed(verdict, replace(gate, disclose=Disclose.SCORES), wins=False) == verdict


def test_with_disclose_verdict_a_slice_that_is_worse_is_named_without_its_loss() -> None:
    """How much worse it is would be a score."""
    rows = binary(won=60, lost=5)
    lost = tuple(Cell(*cell) for cell in [(1, 1, 1, 90), (0, 0, 0, 90), (1, 1, 0, 40)])
    verdict = judge(replace(rows, slices=(Slice("region", "south", lost),)), VERDICT_ONLY, 1)
    said = explain.line("", explain.disclosed(verdict, VERDICT_ONLY, wins=False), VERDICT_ONLY)
    assert "worse where region = south (220 rows), which" in said


OLD_WORLD = binary(won=5, lost=60)
"""The champion has F1 0.991 here, and the challenger less."""


@pytest.mark.parametrize(
    ("live", "contradicts"),
    [
        (Counts(40, 460, 460), True),
        (Counts(500, 70, 70), True),
        (Counts(500, 20, 20), False),
        (Counts(4, 1, 1), False),
        (Counts(0, 0, 0), False),
        (None, False),
    ],
)
def test_where_live_f1_contradicts_a_file_no_challenger_is_rejected_by_it(
    live: Counts | None, contradicts: bool
) -> None:
    """F1 differs by more than 0.05 and beyond chance: inconclusive, with both numbers and what to do."""
    verdict = beside_live(judge(OLD_WORLD, Gate(), 1), live)
    assert verdict.ruling is (Ruling.INCONCLUSIVE if contradicts else Ruling.REJECT)
    assert (verdict.live is not None) == contradicts
    if contradicts:
        said = explain.line("", verdict, Gate())
        assert "on this holdout the champion has F1 0.991, live 0." in said
        assert "it says nothing about today" in said
        assert "set it to fresh" in said


def test_what_is_not_rejected_stays_what_it_is_on_an_old_holdout() -> None:
    """The live F1 is noted, and nothing else changes; other metrics cannot be compared with it."""
    live = Counts(40, 460, 460)
    better = judge(binary(won=60, lost=5), Gate(), 1)
    assert beside_live(better, live) == replace(better, live=0.08)
    recall = Gate(metric=Metric.RECALL)
    assert beside_live(judge(OLD_WORLD, recall, 1), live).ruling is Ruling.REJECT


def test_where_only_positives_are_known_they_stand_in_for_the_counts() -> None:
    """They are fewer than TP + FP + FN, so less is taken for proven; the number of samples proves nothing."""
    positives, samples = (Past(f1=Streak(value=0.5, labelled=(kind, 30))) for kind in ("positives", "samples"))
    assert latest(positives) == Counts(30 * 0.5 / 1.5, 30 - 30 * 0.5 / 1.5, 0.0)
    assert latest(samples) is None
    assert latest(Past(f1=Streak(value=0.5, counts=Counts(1, 1, 1)))) == Counts(1, 1, 1)
    shown = Counts(90, 10, 10)
    assert explain.contradiction(shown, Counts(10, 90, 90)).startswith(
        "on this holdout the champion has F1 0.900, live"
    )
    assert not explain.contradiction(shown, shown)
    assert not explain.contradiction(None, shown)
    assert not explain.contradiction(shown, None)
    assert f1_of(Counts(0, 0, 0)) == 0


def test_the_levels_of_all_comparisons_sum_to_alpha() -> None:
    """Comparison k is tested at alpha / (K 2^(m+1)), m = floor((k-1)/K): it halves every K of them."""
    gate = Gate(alpha=0.05, holdout_uses=10)
    levels = [alpha_of(gate, number) for number in range(1, 400)]
    assert levels[0] == levels[9] == pytest.approx(0.0025)
    assert levels[10] == pytest.approx(0.00125)
    assert sum(levels) == pytest.approx(0.05)
    assert sum(levels) < 0.05
    assert alpha_of(replace(gate, guarantee=Guarantee.PER_TEST), 300) == pytest.approx(0.05)


@pytest.mark.parametrize("number", [461, 2000, 20_000, 10**6])
def test_the_bar_never_becomes_a_wall(number: int) -> None:
    """However often the holdout was used, there is a verdict."""
    verdict = judge(binary(won=300, lost=5), Gate(holdout_uses=1), number)
    assert verdict.alpha > 0
    assert verdict.interval is not None
    assert math.isfinite(verdict.interval[0])


def test_the_detectable_gain_is_that_of_power_080() -> None:
    """min_improvement + (z + 0.84) SE, at the level of this comparison."""
    verdict = judge(binary(won=30, lost=28), Gate(), 23)
    assert verdict.standard_error is not None
    z = NormalDist().inv_cdf(1 - verdict.alpha)
    assert verdict.detectable == pytest.approx((z + 0.84) * verdict.standard_error)


def test_a_label_that_only_one_model_knows_is_a_wrong_prediction_of_two() -> None:
    """Of a row that is not positive it is a false alarm, of one that is a miss; in slices, too; for either model."""
    cells = [(1, 1, 1, 50), (0, 0, 0, 50), (1, 0, 1, 40)]
    for strange, plain in (((0, 0, 2, 5), (0, 0, 1, 5)), ((1, 1, 2, 5), (1, 1, 0, 5)), ((0, 2, 0, 5), (0, 1, 0, 5))):
        rows = [tally([*cells, each]) for each in (strange, plain)]
        sliced = [replace(each, slices=(Slice("c", "x", each.cells),)) for each in rows]
        assert judge(sliced[0], Gate(), 1) == judge(sliced[1], Gate(), 1)
    unopposed = [tally([(1, None, 1, 80), (0, None, 0, 80), (0, None, label, 20)]) for label in (2, 1)]
    assert judge(unopposed[0], Gate(unopposed_floor=0.95), 1).ruling is Ruling.REJECT
    assert judge(unopposed[0], Gate(), 1) == judge(unopposed[1], Gate(), 1)


def test_a_class_of_one_row_decides_nothing() -> None:
    """Macro F1 rises by 0.25 with that row; for the bounds every class has one more row won and one lost."""
    ties = [(0, 1, 0, 25), (0, 0, 1, 25), (1, 0, 1, 15), (1, 1, 0, 15)]
    rows = tally([(0, 0, 0, 500), (1, 1, 1, 400), (2, 2, 2, 43), *ties, (3, 0, 3, 1)])
    verdict = judge(rows, Gate(average=Average.MACRO), 1)
    assert verdict.difference == pytest.approx(0.25, abs=0.001)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert verdict.few == ((2, 0), (3, 1))
    assert "few discordant rows: in class 2 (0), 3 (1)" in explain.line("", verdict, Gate(average=Average.MACRO))


def test_where_both_models_find_no_positive_nothing_is_known() -> None:
    """Both F1 are 0 and the delta method knows no error: that is inconclusive, and no loss is shown."""
    rows = tally([(1, 0, 0, 60), (0, 0, 0, 319), (0, 1, 0, 9), (0, 0, 1, 12)])
    verdict = judge(rows, Gate(), 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "-0.000" not in explain.screen("", verdict, Gate())


def test_no_row_is_added_to_a_tally_of_one_label() -> None:
    """There is no wrong prediction to add."""
    same = [Cell("a", "a", "a", 9)]
    assert guarded(same) == same


def test_a_score_of_minus_nothing_is_shown_as_zero() -> None:
    """MCC may be a little below 0."""
    verdict = replace(judge(binary(won=30, lost=28), Gate(), 1), challenger_score=-0.0001, champion_score=-0.0)
    assert "-0.000" not in explain.screen("", verdict, Gate())


def test_where_nothing_can_be_compared_no_comparison_counts() -> None:
    """A wrong `positive` shows no score, so it spends nothing of the holdout's budget."""
    assert judge(tally([(0, 0, 0, 50), (0, 1, 0, 50)]), Gate(), 3).look == 2


def test_an_inconclusive_verdict_says_how_many_rows_would_tell() -> None:
    """A holdout of that size shows the gain, were it real, with power 0.8 at a first comparison (a fifth to spare)."""
    verdict = judge(binary(won=40, lost=28), Gate(), 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    found = re.search(r"a fresh holdout of about ([\d,]+) rows", explain.line("", verdict, Gate()))
    assert found is not None
    needed = int(found[1].replace(",", ""))
    assert verdict.standard_error is not None
    assert verdict.difference is not None
    z = NormalDist().inv_cdf(1 - alpha_of(Gate(), 1))
    error = verdict.standard_error * math.sqrt(verdict.rows / needed * 1.2)
    assert (z + 0.84) * error == pytest.approx(verdict.difference, rel=0.05)


def test_no_holdout_is_asked_for_that_nobody_has() -> None:
    """Where the gain is barely above what is needed, a billion rows would not show it."""
    gain = judge(binary(won=40, lost=28), Gate(), 1).difference
    assert gain is not None
    gate = Gate(min_improvement=gain - 1e-7)
    verdict = judge(binary(won=40, lost=28), gate, 1)
    assert verdict.ruling is Ruling.INCONCLUSIVE
    assert "to show this gain" not in explain.screen("", verdict, gate)


@pytest.mark.parametrize(
    ("rows_by", "more", "larger"),
    [
        ("", "take more rows as holdout", "take a fresh holdout of about "),
        (
            "promotion.fresh",
            "raise share, windows or min_rows of promotion.fresh",
            "raise promotion.fresh.min_rows to ",
        ),
        ("promotion.live", "raise min_rows of promotion.live", "raise promotion.live.min_rows to about "),
    ],
)
def test_a_remedy_names_the_key_that_says_which_rows_judge(rows_by: str, more: str, larger: str) -> None:
    """Of a file, the file; else the section of the rows that are taken from the log, and what to do then."""
    gate = Gate(rows_by=rows_by, unopposed_floor=0.5)
    _, remedy = explain.because(judge(binary(won=40, lost=28), gate, 1), gate)
    assert remedy.startswith(larger)
    first = judge(tally([(1, None, 1, 10), (0, None, 0, 500)]), gate, 1)
    assert first.reason is VerdictReason.FEW_ROWS
    _, remedy = explain.because(first, gate)
    assert remedy.startswith(more)
    assert ("check --force --reason TEXT" in remedy) is (rows_by != "")


@pytest.mark.parametrize(
    ("gate", "number", "row", "text"),
    [
        (Gate(), 1, "holdout comparison", "1 of 10"),
        (Gate(), 10, "holdout comparison", "10 of 10"),
        (Gate(), 23, "holdout comparison", "23 of 10 (worn out: take a fresh holdout)"),
        (PER_TEST, 23, "holdout comparison", "23"),
        (VERDICT_ONLY, 23, "false-promotion risk", "at most 5% (over all comparisons on this holdout)"),
        (Gate(), 10, "false-promotion risk", f"{CHOSEN_BLINDLY})"),
        (Gate(), 11, "false-promotion risk", f"{CHOSEN_BLINDLY}; {CHOOSING})"),
        (PER_TEST, 1, "false-promotion risk", "at most 5% (in each comparison)"),
        (PER_TEST, 7, "false-promotion risk", "at most 5% (in each comparison, at most 35% in 7 together)"),
    ],
)
def test_the_verdict_says_how_worn_the_holdout_is(gate: Gate, number: int, row: str, text: str) -> None:
    """Which comparison it was, and the risk of a false promotion, in one and in all."""
    assert shown(judge(binary(won=80, lost=8), gate, number), gate)[row] == text


def test_a_worn_holdout_is_compared_with_a_fresh_one() -> None:
    """The smallest detectable gain, beside that of a first comparison on a holdout of the same size."""
    fresh, worn = (judge(binary(won=30, lost=28), Gate(), number) for number in (1, 23))
    assert worn.detectable is not None
    assert fresh.detectable is not None
    beside = f"{worn.detectable:+.3f} (on a fresh holdout of this size {fresh.detectable:+.3f})"
    assert shown(worn, Gate())["smallest detectable gain"] == beside
    assert shown(fresh, Gate())["smallest detectable gain"] == f"{fresh.detectable:+.3f}"


TABLE = """\
promoted a11743928df5: better than the champion
  F1                        challenger 0.996, champion 0.963
  gain                      +0.033
  confidence bounds         +0.021 to +0.045 (with 99.5% confidence)
  holdout rows              2,176
  discordant rows           88 (challenger right on 80, champion right on 8)
  missed positives          40 fewer, 4 new
  false alarms              40 fewer, 4 new
  holdout comparison        1 of 10
  smallest detectable gain  +0.016
  false-promotion risk      at most 5% (over all comparisons on this holdout,
                            for challengers chosen without knowledge of earlier
                            scores)
  probation                 for 7 d"""


def test_on_a_terminal_a_verdict_is_a_small_table_under_one_sentence() -> None:
    """Every number has its name, and no line is wider than 80 columns."""
    rows = tally(
        [
            *[(1, 1, 1, 1044), (0, 0, 0, 1044)],
            *[(1, 0, 1, 40), (0, 1, 0, 40), (1, 1, 0, 4), (0, 0, 1, 4)],
        ]
    )
    notes = [explain.Row("probation", "for 7 d")]
    verdict = judge(rows, Gate(), 1)
    assert explain.screen("promoted a11743928df5", verdict, Gate(), notes) == TABLE


@pytest.mark.parametrize(
    ("rows", "gate", "text"),
    [
        (binary(won=80, lost=8), Gate(), "better than the champion; F1 0.986, champion 0.864, gain +0.122, conf"),
        (binary(won=8, lost=80), Gate(), "not better than the champion; F1 0.864, champion 0.986, gain -0.122, conf"),
        (binary(won=30, lost=28), Gate(), "the confidence bounds of the gain include 0; F1 0."),
        (
            binary(won=4),
            Gate(),
            "the confidence bounds of the gain include 0; F1 1.000, champion 0.992, gain +0.008",
        ),
        (binary(), Gate(), "the models predict the same on every row; F1 1.000"),
        (binary(won=60, lost=5), Gate(min_improvement=0.2), "the gain is not above min_improvement +0.2; "),
        (binary(won=5, lost=6), Gate(min_improvement=-0.05), "the gain is above min_improvement -0.05; "),
        (binary(won=60, lost=5), Gate(floor=0.999), "F1 0.991 is below the floor 0.999; "),
    ],
)
def test_in_a_log_a_verdict_is_one_line(rows: Tally, gate: Gate, text: str) -> None:
    """Cause first, then the numbers; about 200 characters at most before the remedy."""
    line = explain.line("rejected a11743928df5, the champion stays", judge(rows, gate, 1), gate)
    assert line.startswith(f"rejected a11743928df5, the champion stays: {text}")
    assert "\n" not in line
    assert len(line.partition(" (")[0]) <= 210
    assert "-0.000" not in line
    assert "holdout comparison 1 of 10" in line


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        *[(0.294, "+0.294"), (-0.1, "-0.100"), (0.0004, "+0.0004"), (-0.00002, "-0.00002")],
        *[(0.0, "+0.000"), (-0.0, "+0.000"), (-1e-9, "+0.000"), (2e-17, "+0.000")],
    ],
)
def test_a_gain_is_told_from_zero(gain: float, text: str) -> None:
    """It is never shown as -0.000, and what comes from rounding is no gain."""
    assert explain.signed(gain) == text


def test_a_verdict_of_an_earlier_release_is_shown_by_its_numbers() -> None:
    """Its reason was not recorded."""
    old = replace(judge(binary(won=80, lost=8), Gate(), 2), reason=None, won=None, lost=None, positives=None)
    assert explain.line("", old, Gate()).startswith(": promote; F1 0.9")
    assert shown(old, Gate())["holdout comparison"] == "2 of 10"


@pytest.mark.parametrize("reason", VerdictReason)
def test_every_reason_has_its_ruling_and_its_words(reason: VerdictReason) -> None:
    """Also where a number is not defined."""
    verdict = replace(judge(binary(won=80, lost=8), Gate(), 1), reason=reason, labels=(1,))
    text, remedy = explain.because(verdict, Gate(unopposed_floor=0.8))
    assert text
    assert (reason.ruling is Ruling.PROMOTE) == (reason in ("better", "reaches_floor"))
    assert not text.endswith(".")
    assert "because" not in remedy


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
    said = explain.leakage(leaked, 1000, most)
    assert said == "" if words is None else words in said


def test_undefined_is_said_not_guessed() -> None:
    """0/0 is an error of its own, never 0 or 1."""
    with pytest.raises(UndefinedMetricError, match="0/0"):
        score({(0, 0): 9}, Metric.F1, Average.BINARY, 1)
    with pytest.raises(UndefinedMetricError, match="mcc"):
        score({(0, 0): 9, (1, 0): 3}, Metric.MCC, Average.MACRO, 1)


def test_a_metric_without_a_value_is_said_and_counts_as_no_comparison() -> None:
    """Precision is 0/0 for a model that never predicts the positive class; MCC is where all is of one class."""
    gate = Gate(metric=Metric.PRECISION)
    verdict = judge(tally([(1, 0, 0, 50), (0, 0, 0, 50)]), gate, 3)
    assert (verdict.ruling, verdict.reason, verdict.look) == (Ruling.INCONCLUSIVE, VerdictReason.UNDEFINED, 2)
    assert verdict.challenger_score is None


def test_every_part_of_the_question_makes_another_one() -> None:
    """A recorded verdict answers for the same question alone."""
    gates = [
        Gate(),
        Gate(metric=Metric.RECALL),
        Gate(average=Average.MACRO),
        Gate(positive=2),
        Gate(min_improvement=0.01),
        Gate(floor=0.5),
        Gate(unopposed_floor=0.5),
        Gate(alpha=0.01),
        Gate(guarantee=Guarantee.PER_TEST),
        Gate(floor_as=FloorAs.POINT),
        REGRET,
        replace(REGRET, harm_weight=2),
    ]
    assert len({gate.question for gate in gates}) == len(gates)


def test_a_tally_with_and_without_a_champion_is_no_tally() -> None:
    """It cannot come from one comparison, so it is a bug and no verdict."""
    with pytest.raises(ValueError, match="mixes rows with and without a champion"):
        judge(tally([(1, 1, 1, 50), (0, None, 0, 50)]), Gate(), 1)


def test_the_classes_of_a_holdout_are_its_labels_with_their_rows() -> None:
    """Whatever the models made of them."""
    assert tally([(1, 0, 1, 3), (1, 1, 1, 4), (0, 0, 1, 5)]).classes == (("0", 5), ("1", 7))


def test_positives_are_shown_where_the_metric_is_about_them() -> None:
    """With several classes there are discordant rows, and neither positives nor false alarms."""
    cells = [(x, x, x, 200) for x in "abc"] + [("a", "b", "a", 40), ("b", "b", "c", 5)]
    gate = Gate(average=Average.MACRO)
    rows = shown(judge(tally(cells), gate, 1), gate)
    assert rows["discordant rows"].startswith("45")
    assert not {"missed positives", "false alarms"} & rows.keys()


def test_a_holdout_without_rows_shares_none() -> None:
    """Its share is 0, not 0/0."""
    assert shared(frozenset(), 0, (1, 2), 2) == 0.0
    assert shared(frozenset(), 0, (), 0) == 0.0


def test_a_class_that_is_never_predicted_scores_nothing_in_a_mean() -> None:
    """As in scikit-learn: its own precision is 0/0, and counts as 0."""
    matrix: dict[tuple[Label, Label], int] = {("a", "a"): 10, ("b", "b"): 10, ("c", "b"): 10}
    assert score(matrix, Metric.PRECISION, Average.MACRO, 1).value == pytest.approx(1 / 2)


def test_no_size_of_holdout_shows_a_gain_that_there_is_not() -> None:
    """An undecided comparison whose gain is not above min_improvement proposes no fresh holdout."""
    gate = Gate(min_improvement=0.1)
    verdict = judge(binary(500, won=60, lost=20), gate, 1)
    larger = replace(verdict, reason=VerdictReason.UNDECIDED)
    assert "take a fresh holdout of" not in explain.screen("", larger, gate)


CASES = tuple((truth, champion, challenger) for truth, champion, challenger in itertools.product((0, 1), repeat=3))
"""(truth, champion's prediction, challenger's prediction)."""


def grouped(groups: Sequence[Counter[tuple[int, int, int]]], column: str | None = "user") -> Tally:
    """The tally of rows that are given group by group."""
    total = sum(groups, Counter())
    cells, places = [(*key, total[key]) for key in CASES if total[key]], [key for key in CASES if total[key]]
    together = Counter(
        {
            (i, j): (1 + (i < j)) * sum(each[places[i]] * each[places[j]] for each in groups)
            for i, j in itertools.combinations_with_replacement(range(len(places)), 2)
        }
    )
    discordant = sum(any(key[1] != key[2] for key in each) for each in groups)
    counted = tuple((*pair, count) for pair, count in together.items() if count)
    return replace(tally(cells), groups=Groups(len(groups), discordant, counted, column))


def users(number: int, rows: int, seed: int) -> list[Counter[tuple[int, int, int]]]:
    """Users who each have mostly rows of one kind."""
    dice = random.Random(seed)
    weights = [40, 6, 8, 10, 5, 9, 14, 40]
    favourite = dice.choices(CASES, weights, k=number)
    return [Counter([each] * (rows // 2) + dice.choices(CASES, weights, k=rows - rows // 2)) for each in favourite]


def test_the_error_of_groups_is_that_of_a_bootstrap_of_groups() -> None:
    """It agrees with 1,000 redraws of whole groups (seeded; four Monte Carlo errors)."""
    dice, groups = random.Random(5), users(300, 10, 6)
    verdict, drawn = judge(grouped(groups), Gate(), 1), []
    for _ in range(1000):
        total = sum(dice.choices(groups, k=len(groups)), Counter())
        drawn.append(judge(tally([(*key, rows) for key, rows in total.items()]), Gate(), 1).difference or 0.0)
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((each - mean) ** 2 for each in drawn) / (len(drawn) - 1))
    assert verdict.standard_error == pytest.approx(spread, rel=4 / math.sqrt(2 * len(drawn)))
    assert verdict.effective_rows is not None
    assert verdict.effective_rows < 1200


def test_copies_say_no_more_than_the_rows_once() -> None:
    """Gain and bounds of 30 copies are those of the rows, but for the factor G/(G - 1)."""
    once = [Counter([key]) for key, rows in zip(CASES, (95, 8, 10, 0, 0, 14, 9, 70), strict=True) for _ in range(rows)]
    copied = [Counter(dict.fromkeys(each, 30)) for each in once]
    one, other = (judge(grouped(groups, None), Gate(), 1) for groups in (once, copied))
    assert one.ruling is other.ruling is Ruling.INCONCLUSIVE
    assert other.interval == pytest.approx(one.interval, abs=1e-3)
    assert other.effective_rows == 205
    assert judge(replace(grouped(copied), groups=None), Gate(), 1).ruling is not Ruling.INCONCLUSIVE


def test_groups_never_make_the_error_smaller() -> None:
    """Rows that cancel out within each group count as independent ones."""
    groups = [Counter({(1, 0, 1): 2, (1, 1, 0): 2, (0, 0, 0): 4, (1, 1, 1): 4}) for _ in range(50)]
    alone = replace(grouped(groups), groups=None)
    assert judge(grouped(groups), Gate(), 1).standard_error == judge(alone, Gate(), 1).standard_error


@pytest.mark.parametrize("groups", [1, 2])
def test_one_or_two_groups_decide_nothing(groups: int) -> None:
    """However many rows they have: of groups there is no telling how much they differ."""
    rows = Counter({(1, 0, 1): 600, (0, 1, 0): 300, (0, 0, 0): 4000, (1, 1, 1): 4000, (1, 1, 0): 2})
    assert judge(grouped([rows] * groups), Gate(), 1).ruling is not Ruling.REJECT
    assert judge(replace(grouped([rows] * groups), groups=None), Gate(), 1).ruling is Ruling.PROMOTE
    if groups == 1:
        assert judge(grouped([rows]), Gate(), 1).ruling is Ruling.INCONCLUSIVE


def test_the_verdict_says_what_the_rows_are_worth() -> None:
    """In rows of groups by a column, and in copies."""
    groups = users(100, 20, 7)
    said = shown(judge(grouped(groups), Gate(), 1), Gate())["holdout rows"]
    assert re.fullmatch(r"2,000 of 100 groups by user, worth about \d\d0 independent rows", said)
    copies = shown(judge(grouped([Counter(dict.fromkeys(CASES, 4))] * 50, None), Gate(), 1), Gate())["holdout rows"]
    assert copies.startswith("1,600, of which 50 differ, worth about ")


@pytest.mark.parametrize("gate", [Gate(), Gate(metric=Metric.ACCURACY)])
def test_a_first_model_gains_nothing_by_copies(gate: Gate) -> None:
    """The lower bound that must reach the floor is that of the rows once, and so are the fewest rows."""
    once = [(1, None, 1, 55), (1, None, 0, 5), (0, None, 0, 80), (0, None, 1, 6)]
    copied = tally([(*cell[:3], 30 * cell[3]) for cell in once])
    groups = Groups(146, 0, tuple((place, place, 900 * cell[3]) for place, cell in enumerate(once)))
    asked = replace(gate, unopposed_floor=0.88)
    one, other = judge(tally(once), asked, 1), judge(replace(copied, groups=groups), asked, 1)
    assert (one.reason, other.reason) == (VerdictReason.FLOOR_UNDECIDED,) * 2
    assert other.lower == pytest.approx(one.lower, abs=0.02)
    assert judge(copied, asked, 1).ruling is Ruling.PROMOTE
    few = tally([(1, None, 1, 60), (0, None, 0, 60)])
    few = replace(few, groups=Groups(4, 0, ((0, 0, 1800), (1, 1, 1800))))
    assert judge(few, asked, 1).reason is VerdictReason.FEW_ROWS
