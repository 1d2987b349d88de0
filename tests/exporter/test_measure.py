"""What the endpoint says of a log at a moment."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace
from sklearn.metrics import f1_score

from retrain.core.records import Counts
from retrain.core.rules import Average
from retrain.core.score import Quality
from retrain.exporter.measure import Drift, Gauge, Measures
from tests.exporter.world import HOUR, NOW, champion, config, csv, measure, rows

TP, FP, FN, TN = (1, 1), (0, 1), (1, 0), (0, 0)
BOUNDARY = NOW // HOUR * HOUR


def quality(measures: Measures) -> Quality:
    assert measures.quality is not None, measures.problems
    return measures.quality


def drift(measures: Measures) -> Drift:
    assert measures.drift is not None, measures.problems
    return measures.drift


def said(measures: Measures, words: str) -> bool:
    return any(words in problem for problem in measures.problems)


# ---------------------------------------------------------------- F1


def test_f1_and_its_counts_are_those_of_the_newest_complete_window(tmp_path: Path) -> None:
    """Requirement: F1 = 2·TP / (2·TP + FP + FN) of one complete window; the window that still runs is not served."""
    log = rows(2, [TN] * 5) + rows(1, [TP] * 6 + [FP] * 2 + [FN] + [TN] * 3) + rows(0, [FN] * 9)
    (tmp_path / "log.csv").write_text(csv(log))
    assert quality(measure(config(tmp_path))) == Quality(BOUNDARY, 12, 12 / 15, Counts(6, 2, 1))


def test_a_window_is_complete_when_the_clock_passes_its_end(tmp_path: Path) -> None:
    """Requirement: at b − 1 s the window [a, b) is not served, at b it is."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP])))
    assert measure(config(tmp_path), BOUNDARY - 1).quality is None
    assert quality(measure(config(tmp_path), BOUNDARY)).samples == 1


def test_a_window_waits_for_its_late_labels(tmp_path: Path) -> None:
    """Requirement: while the newest window lacks labels, F1 is that of the window before; drift does not wait."""
    log = rows(2, [TP] * 3) + rows(1, [TP, (None, 1)])
    (tmp_path / "log.csv").write_text(csv(log))
    measures = measure(config(tmp_path))
    assert quality(measures).end == BOUNDARY - HOUR
    assert drift(measures).end == BOUNDARY


@pytest.mark.parametrize("later", [0, 1])
def test_labels_that_never_come_are_not_waited_for(tmp_path: Path, later: int) -> None:
    """Requirement: once a later window has labels, complete or not, the window before it is served as it is."""
    (tmp_path / "log.csv").write_text(csv(rows(2, [TP, FP, (None, 1)]) + rows(later, [TP, (None, 0)])))
    assert quality(measure(config(tmp_path))) == Quality(BOUNDARY - HOUR, 2, 2 / 3, Counts(1, 1, 0))


def test_labels_of_the_future_prove_nothing(tmp_path: Path) -> None:
    """Requirement: rows whose time is to come do not make labels of the past late."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP, (None, 1)]) + rows(-1, [TP])))
    assert measure(config(tmp_path)).quality is None


def test_without_anything_positive_there_is_no_f1(tmp_path: Path) -> None:
    """Requirement: F1 is not defined, neither 0 nor 1, where nothing is positive; the problem says so."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TN] * 5)))
    measures = measure(config(tmp_path))
    assert quality(measures) == Quality(BOUNDARY, 5, None, Counts(0, 0, 0))
    assert said(measures, "nothing is labelled or predicted 1 (promotion.positive)")


@pytest.mark.parametrize(("positive", "other"), [("spam", "ham"), ("1", "0"), (1, 0), (True, False), (1.0, 0.0)])
def test_the_positive_label_is_found_however_it_is_spelt(tmp_path: Path, positive: object, other: object) -> None:
    """Requirement: labels are compared by meaning: 1, 1.0, True and "1" are one, a text is itself."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [(positive, positive), (other, positive), (other, other)])))
    settings = config(tmp_path)
    settings = replace(settings, promotion=replace(settings.promotion, positive=positive))
    assert quality(measure(settings)).counts == Counts(1, 1, 0)


@pytest.mark.parametrize("average", [Average.MACRO, Average.WEIGHTED, Average.MICRO])
def test_the_other_averages_are_scikit_learns(tmp_path: Path, average: Average) -> None:
    """Requirement: with several classes F1 is scikit-learn's, also where some labels are numbers; no binary counts."""
    random = np.random.default_rng(3)
    names = ["red", "green", "3"]
    truth, guess = (random.choice(names, 60).tolist() for _ in range(2))
    (tmp_path / "log.csv").write_text(csv(rows(1, zip(truth, guess, strict=True))))
    settings = config(tmp_path)
    found = quality(measure(replace(settings, promotion=replace(settings.promotion, average=average))))
    assert found.f1 == pytest.approx(f1_score(truth, guess, average=average.value))
    assert found.counts is None


def test_probabilities_are_not_taken_for_labels(tmp_path: Path) -> None:
    """Requirement: a log of probabilities has no F1, rather than one of 0, and says what to log."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [(1, 0.93), (0, 0.2), (1, 1.0)])))
    measures = measure(config(tmp_path))
    assert measures.quality is None
    assert said(measures, "prediction holds 0.93; log the class, not its probability")


# ---------------------------------------------------------------- drift


def test_drift_is_measured_by_feature_against_the_champions_reference(tmp_path: Path) -> None:
    """Requirement: every feature of the newest window has its PSI; label, prediction and time are none."""
    calm, moved = rows(1, [TP] * 40, colour="red", size=1), rows(1, [TP] * 40, colour="blue", size=1)
    champion(tmp_path, "a", pd.DataFrame({"colour": ["red"] * 50, "size": [1] * 50, "target": [1] * 50}))
    (tmp_path / "log.csv").write_text(csv(calm))
    assert drift(measure(config(tmp_path))).psi == {"colour": 0, "size": 0}
    (tmp_path / "log.csv").write_text(csv(moved))
    found = drift(measure(config(tmp_path))).psi
    assert found["colour"] > 0.2
    assert found["size"] == 0


def test_drift_that_chance_explains_names_no_feature(tmp_path: Path) -> None:
    """Requirement: below its floor a feature is not drift; null serves it however small the window."""
    champion(tmp_path, "a", pd.DataFrame({"x": [0, 1] * 20}))
    log = rows(1, [TP] * 24, x=0) + rows(1, [TP] * 16, x=1)
    (tmp_path / "log.csv").write_text(csv(log))
    found = drift(measure(config(tmp_path)))
    assert 0 < found.shifts["x"].psi < found.shifts["x"].floor
    assert found.feature == ""
    assert drift(measure(config(tmp_path, false_drifts_per_year=None))).feature == "x"


def test_a_feature_that_still_drifts_stays_named(tmp_path: Path) -> None:
    """Requirement: of two that drift, the one served before stays, for only one feature's windows make a streak."""
    champion(tmp_path, "a", pd.DataFrame({"x": ["old"] * 40, "y": ["old"] * 40}))
    gauge = Gauge(config(tmp_path))
    first = rows(2, [TP] * 40, x="new", y="old")
    both = rows(1, [TP] * 30, x="new", y="new") + rows(1, [TP] * 10, x="old", y="new")
    (tmp_path / "log.csv").write_text(csv(first))
    assert drift(gauge.measure(NOW)).feature == "x"
    (tmp_path / "log.csv").write_text(csv(first + both))
    assert drift(gauge.measure(NOW)).feature == "x"
    assert drift(measure(config(tmp_path))).feature == "y"


def test_rows_without_a_label_count_for_drift_alone(tmp_path: Path) -> None:
    """Requirement: an unlabelled log has drift and no F1."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40}))
    (tmp_path / "log.csv").write_text(csv(rows(1, [(None, 1)] * 40, x=1)))
    measures = measure(config(tmp_path))
    assert drift(measures).psi == {"x": 0}
    assert measures.quality is None
    assert said(measures, "no F1: no complete window has all its labels yet")


def test_a_small_window_or_reference_has_no_drift(tmp_path: Path) -> None:
    """Requirement: with fewer than 20 rows a bin there is no drift, and the problem gives the numbers."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 39}))
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 39, x=1)))
    measures = measure(config(tmp_path))
    assert drift(measures).psi == {}
    assert said(measures, "has 39 rows, 40 are needed")
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x=1)))
    assert said(measure(config(tmp_path)), "reference.parquet has 39 rows, 40 are needed")


def test_a_promotion_switches_the_reference_at_once(tmp_path: Path) -> None:
    """Requirement: drift is against what the champion served now was trained on, also after a rollback."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x="new")))
    old, new = pd.DataFrame({"x": ["old"] * 40}), pd.DataFrame({"x": ["new"] * 40})
    champion(tmp_path, "a", old)
    gauge = Gauge(config(tmp_path))
    assert drift(gauge.measure(NOW)).psi["x"] > 0.2
    champion(tmp_path, "b", new)
    assert drift(gauge.measure(NOW)).psi["x"] == 0
    champion(tmp_path, "a", old)
    assert drift(gauge.measure(NOW)).psi["x"] > 0.2
    champion(tmp_path, "c", None)
    measures = gauge.measure(NOW)
    assert drift(measures).psi == {}
    assert said(measures, "training left no sample at RETRAIN_REFERENCE")


def test_corrected_features_are_measured_again(tmp_path: Path) -> None:
    """Requirement: a log that is replaced by one with as many rows but other features has another drift."""
    champion(tmp_path, "a", pd.DataFrame({"x": ["old"] * 40}))
    gauge = Gauge(config(tmp_path))
    for colour, drifted in (("new", True), ("old", False)):
        fresh = tmp_path / "fresh.csv"
        fresh.write_text(csv(rows(1, [TP] * 40, x=colour)))
        fresh.replace(tmp_path / "log.csv")
        assert (drift(gauge.measure(NOW)).psi["x"] > 0.2) is drifted


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_configured_reference_may_be_either_format(tmp_path: Path, suffix: str) -> None:
    """Requirement: monitor.reference goes before the champion's; a feature that it lacks is a problem of that one."""
    reference = tmp_path / f"reference.{suffix}"
    frame = pd.DataFrame({"x": ["007"] * 20 + [None] * 20, "more": [1] * 40})
    frame.to_csv(reference, index=False) if suffix == "csv" else frame.to_parquet(reference)
    log = rows(1, [TP] * 20, x="007", y=1) + rows(1, [TP] * 20, x=None, y=1)
    (tmp_path / "log.csv").write_text(csv(log))
    measures = measure(config(tmp_path, reference=reference))
    assert drift(measures).psi == {"x": 0}
    assert said(measures, "has no column 'y'")


def test_a_reference_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Requirement: no champion, a missing and a broken reference are different problems; F1 is served all the same."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x=1)))
    assert said(measure(config(tmp_path)), "there is no champion at")
    assert said(measure(config(tmp_path, reference=tmp_path / "gone.csv")), "gone.csv is missing (monitor.reference)")
    champion(tmp_path, "a", pd.DataFrame({"x": [1]})).write_bytes(b"PAR1 half")
    measures = measure(config(tmp_path))
    assert said(measures, "cannot be read")
    assert quality(measures).f1 == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y\n" + "1,2\n" * 40 + "1,2,3\n", "has 3 values in line 42"),
        ("x,y\n" + "1,2,3\n" * 40, "has 3 values in line 2"),
        ("x,x\n" + "1,1\n" * 40, "has more than one column 'x'"),
    ],
)
def test_a_csv_reference_of_the_wrong_form_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    """Requirement: other numbers of values than columns, or a column twice: no drift, with the reason, but F1."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x=1)))
    (tmp_path / "reference.csv").write_text(text)
    measures = measure(config(tmp_path, reference=tmp_path / "reference.csv"))
    assert drift(measures).psi == {}
    assert said(measures, words)
    assert quality(measures).f1 == 1


def test_only_configured_features_are_looked_at(tmp_path: Path) -> None:
    """Requirement: monitor.features names the features; one that the log lacks is a problem."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40, "id": range(40)}))
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x=1, id=5)))
    measures = measure(config(tmp_path, features=("x", "z")))
    assert drift(measures).psi == {"x": 0}
    assert said(measures, "the log has no column 'z'")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_that_numbers_the_rows_is_no_feature(tmp_path: Path, suffix: str) -> None:
    """Requirement: each window has other numbers, and that is no drift; the problem names the column."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40, "id": range(40)}))
    log, path = pd.DataFrame(rows(1, [TP] * 40, x=1)).assign(id=range(7000, 7080, 2)), tmp_path / f"log.{suffix}"
    log.to_csv(path, index=False) if suffix == "csv" else log.to_parquet(path)
    measures = measure(config(tmp_path, log=path))
    assert drift(measures).psi == {"x": 0}
    assert said(measures, "'id' only numbers the rows")
    assert drift(measure(config(tmp_path, log=path, features=("x", "id")))).psi["id"] > 1


def test_columns_of_lists_are_no_features(tmp_path: Path) -> None:
    """Requirement: an embedding in a Parquet log does not take the other features' drift away."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40, "embedding": [[1.0]] * 40}))
    pd.DataFrame(rows(1, [TP] * 40, x=1, embedding=[1.0, 2.0])).to_parquet(tmp_path / "log.parquet")
    assert drift(measure(config(tmp_path, log=tmp_path / "log.parquet"))).psi == {"x": 0}


# ---------------------------------------------------------------- what hinders


def test_unreadable_rows_are_skipped_counted_and_reported(tmp_path: Path) -> None:
    """Requirement: a row without time or prediction, or with too many values, is counted and reported.

    A row without a prediction is none that was predicted; the window that lost the others has no F1, the next one has.
    """
    text = csv(rows(1, [TP] * 3)) + "soon,1,1\n" + f"{BOUNDARY - 9},,1\n" + "1,2,3,4\n"
    (tmp_path / "log.csv").write_text(text)
    measures = measure(config(tmp_path))
    assert measures.skipped == {"timestamp": 1, "prediction": 1, "malformed": 1}
    assert measures.quality is None
    for words in ("neither epoch seconds nor ISO 8601", "have no prediction", "more or fewer values", "are lost"):
        assert said(measures, words)
    later = csv(rows(1, [TP]) + rows(0, [TP] * 3), header=False)
    (tmp_path / "log.csv").write_text(text + later)
    assert said(measure(config(tmp_path)), "are lost")
    assert quality(measure(config(tmp_path), NOW + HOUR)).samples == 3


@pytest.mark.parametrize("stray", ['"5 pipe', '5" pipe"x"', '"a" b', '"'])
def test_a_stray_quote_costs_its_own_line_only(tmp_path: Path, stray: str) -> None:
    """Requirement: rows around it count, its own line is malformed or itself, and no quote hides the rows behind it."""
    lines = csv(rows(2, [TP] * 30, note="ok") + rows(1, [TP] * 30, note="ok")).splitlines()
    lines[10] = lines[10].replace("ok", stray)
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    measures = measure(config(tmp_path))
    assert quality(measures).samples == 30
    assert measures.skipped.get("malformed", 0) <= 1
    kept = quality(measure(config(tmp_path), BOUNDARY - 1)) if not measures.skipped else None
    assert kept is None or kept.samples == 30


@pytest.mark.parametrize("columns", [["label", "x", "timestamp", "prediction"], ["timestamp", "prediction", "label"]])
def test_a_header_in_the_middle_maps_the_rows_behind_it(tmp_path: Path, columns: list[str]) -> None:
    """Requirement: files that were joined, columns in another order or gone: the rows are those of one log."""
    champion(tmp_path, "a", pd.DataFrame({"x": ["red"] * 40}))
    early, late = rows(1, [TP] * 40, x="red"), pd.DataFrame(rows(1, [FN] * 10, x="red"))[columns]
    (tmp_path / "log.csv").write_text(csv(early) + late.to_csv(index=False))
    measures = measure(config(tmp_path))
    assert quality(measures).counts == Counts(40, 0, 10)
    assert drift(measures).psi == {"x": 0}
    assert measures.problems == ()


def test_a_header_in_the_middle_that_renames_a_column_is_no_f1(tmp_path: Path) -> None:
    """Requirement: rows under a header without the prediction are not read under the header before."""
    later = pd.DataFrame(rows(1, [FN] * 10))[["label", "timestamp", "prediction"]].rename(columns={"prediction": "p"})
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40)) + later.to_csv(index=False))
    measures = measure(config(tmp_path))
    assert measures.quality is None
    assert said(measures, "the log has no column 'prediction'")


@pytest.mark.parametrize("negative", ["None", "NA", "null", "n/a", "nan"])
def test_a_class_may_be_called_none(tmp_path: Path, negative: str) -> None:
    """Requirement: only the empty field is missing in the columns of labels and predictions."""
    pairs = [("spam", "spam")] * 4 + [(negative, "spam")] * 2 + [(negative, negative)] * 3
    (tmp_path / "log.csv").write_text(csv(rows(1, pairs)))
    settings = config(tmp_path)
    settings = replace(settings, promotion=replace(settings.promotion, positive="spam"))
    assert quality(measure(settings)).counts == Counts(4, 2, 0)


def test_a_word_for_missing_that_is_never_predicted_is_no_label(tmp_path: Path) -> None:
    """Requirement: labels that are not known yet, written as null or nan, are no wrong predictions."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP, FP, ("nan", 1), ("nan", 0)])))
    measures = measure(config(tmp_path))
    assert measures.quality is None
    assert said(measures, "label holds 'nan', which is never predicted for it")


def test_a_word_for_missing_is_no_class_by_one_prediction(tmp_path: Path) -> None:
    """Requirement: a word for missing that is once predicted, and never rightly, is still no class."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP, FP, TN, ("nan", 1), (1, "nan")])))
    measures = measure(config(tmp_path))
    assert measures.quality is None
    assert said(measures, "label holds 'nan', which is never predicted for it")


@pytest.mark.parametrize("third", ["?", "-1", "missing"])
def test_a_binary_f1_is_of_two_classes(tmp_path: Path, third: str) -> None:
    """Requirement: where promote has no binary F1, since there are three classes, the monitor has none either."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP, FP, TN, FN, (third, 0), (third, 1)])))
    settings = config(tmp_path)
    measures = measure(settings)
    assert measures.quality is None
    assert said(measures, "and promotion.average is binary; set that to macro, weighted or micro, or leave the label")
    macro = replace(settings, promotion=replace(settings.promotion, average=Average.MACRO))
    assert measure(macro).quality is not None


def test_a_word_for_missing_that_is_never_a_label_is_no_prediction(tmp_path: Path) -> None:
    """Requirement: a model that gave nothing, written as nan, was not wrong."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP, FP, (1, "nan")])))
    measures = measure(config(tmp_path))
    assert measures.quality is None
    assert said(measures, "prediction holds 'nan', which is never right; leave it empty")


@pytest.mark.parametrize(
    ("spelt", "quotes"),
    [
        ({1: "yes", 0: "no"}, ("'no', 'yes'", "0, 1")),
        ({1: "[1]", 0: "[0]"}, ("'[0]', '[1]'", "0, 1")),
        ({1: "'1'", 0: 0}, ("0, \"'1'\"", "0, 1")),
        ({1: '"1"', 0: '"0"'}, ("'\"0\"', '\"1\"'", "0, 1")),
        ({1: "np.int64(1)", 0: "np.int64(0)"}, ("'np.int64(0)'", "0, 1")),
        ({1: "T", 0: "F"}, ("'F', 'T'", "0, 1")),
    ],
)
def test_two_vocabularies_have_no_f1(tmp_path: Path, spelt: dict[int, object], quotes: tuple[str, str]) -> None:
    """Requirement: predictions that do not speak the language of the labels are not wrong predictions."""
    pairs = [(label, spelt[guess]) for label, guess in [TP, TP, FP, FN, TN]]
    (tmp_path / "log.csv").write_text(csv(rows(1, pairs)))
    measures = measure(config(tmp_path))
    assert measures.quality is None
    for words in quotes:
        assert said(measures, words)


@pytest.mark.parametrize(("one", "zero"), [("True", "False"), ("1.0", "0.0"), (" 1", "0 "), ("01", "00"), ("+1", 0)])
def test_one_value_in_two_spellings_is_one_class(tmp_path: Path, one: object, zero: object) -> None:
    """Requirement: a number or truth value is itself, whatever text holds it."""
    spelt = {1: one, 0: zero}
    pairs = [(label, spelt[guess]) for label, guess in [TP, TP, FP, FN, TN]]
    (tmp_path / "log.csv").write_text(csv(rows(1, pairs)))
    assert quality(measure(config(tmp_path))).counts == Counts(2, 1, 1)


@pytest.mark.parametrize("names", [("1.1", "1.10", "other"), ("0101", "101", "X"), ("1", "01", "10", "9.50", "9.5")])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_numbers_that_one_column_has_in_two_spellings_are_two_classes(
    tmp_path: Path, suffix: str, names: tuple[str, ...]
) -> None:
    """Requirement: F1 is scikit-learn's of the same texts; as one class, no confusion of the two would be seen."""
    random = np.random.default_rng(4)
    truth, guess = (random.choice(names, 90).tolist() for _ in range(2))
    settings = config(tmp_path, log=tmp_path / f"log.{suffix}")
    log = pd.DataFrame(rows(2, [("1", "1"), ("2", "1.0")]) + rows(1, zip(truth, guess, strict=True)))
    log.to_csv(settings.monitor.log, index=False) if suffix == "csv" else log.to_parquet(settings.monitor.log)
    settings = replace(settings, promotion=replace(settings.promotion, average=Average.MACRO))
    assert quality(measure(settings)).f1 == pytest.approx(f1_score(truth, guess, average="macro"))


def test_a_class_that_is_never_predicted_is_one_beside_another_spelling(tmp_path: Path) -> None:
    """Requirement: beside a word all labels are texts; among numbers alone it may be one number, and there is no F1."""
    settings = config(tmp_path)
    settings = replace(settings, promotion=replace(settings.promotion, average=Average.MACRO))
    pairs = [("1.1", "1.1"), ("1.10", "1.1"), ("other", "other")]
    (tmp_path / "log.csv").write_text(csv(rows(1, pairs * 5)))
    assert quality(measure(settings)).f1 == pytest.approx(f1_score(*zip(*pairs, strict=True), average="macro"))
    (tmp_path / "log.csv").write_text(csv(rows(1, [*pairs[:2], ("2", "2")] * 5)))
    measures = measure(settings)
    assert measures.quality is None
    assert said(measures, "prediction holds 1.1, 2, label holds 1.1, 2, '1.10'; log both in one spelling")


def test_a_number_in_the_spellings_of_programs_is_one_class(tmp_path: Path) -> None:
    """Requirement: a column that pandas has appended to, with and without a missing label, has 1 and 1.0."""
    pairs = [(1, "1.0"), ("1.0", 1), (" 1", "True"), ("0.0", 1), (0, "false"), ("True", 0)]
    (tmp_path / "log.csv").write_text(csv(rows(1, pairs)))
    assert quality(measure(config(tmp_path))).counts == Counts(3, 1, 1)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_long_whole_numbers_are_different_classes(tmp_path: Path, suffix: str) -> None:
    """Requirement: identifiers that are one 64-bit float are two classes, also where a label is still empty."""
    one, other = 2**53, 2**53 + 1
    pairs = [(one, one), (one, other), (other, one), (other, other)]
    log = pd.DataFrame([*rows(1, pairs), *rows(0, [(None, one)])])
    log["label"] = pd.array([*(label for label, _ in pairs), None], dtype="Int64")
    settings = config(tmp_path, log=tmp_path / f"log.{suffix}")
    log.to_csv(settings.monitor.log, index=False) if suffix == "csv" else log.to_parquet(settings.monitor.log)
    settings = replace(settings, promotion=replace(settings.promotion, positive=one))
    assert quality(measure(settings)).counts == Counts(1, 1, 1)


def test_a_class_in_two_cases_is_two_vocabularies(tmp_path: Path) -> None:
    """Requirement: 'Yes' is not 'yes', also where a window has only one of them."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [("yes", "Yes")] * 5)))
    assert said(measure(config(tmp_path)), "prediction holds 'Yes', label holds 'yes'")


@pytest.mark.parametrize("kind", ["str", "category", "object"])
def test_an_empty_text_in_parquet_is_missing(tmp_path: Path, kind: str) -> None:
    """Requirement: labels that are not known yet, and predictions that were not made, are those of a CSV."""
    pairs = [("yes", "yes"), ("no", "yes"), ("yes", "")]
    log = pd.DataFrame(rows(2, pairs) + rows(1, [("", "yes"), ("", "no"), ("yes", "yes")]))
    log.astype({"prediction": kind, "label": kind}).to_parquet(tmp_path / "log.parquet")
    settings = config(tmp_path, log=tmp_path / "log.parquet")
    measures = measure(replace(settings, promotion=replace(settings.promotion, positive="yes")))
    assert quality(measures) == Quality(BOUNDARY - HOUR, 2, 2 / 3, Counts(1, 1, 0))
    assert measures.skipped == {"prediction": 1}


@pytest.mark.parametrize(
    ("truth", "quotes"),
    [("Yes", "'Yes', 'no', 'yes'"), ("yes\u00ad", r"'no', 'yes', 'yes\xad'"), ("YES", "'YES', 'no', 'yes'")],
)
def test_labels_in_two_spellings_have_no_f1(tmp_path: Path, truth: str, quotes: str) -> None:
    """Requirement: labels some of which are spelt as no prediction is are no wrong predictions, but no F1."""
    pairs = [("yes", "yes"), (truth, "yes"), ("no", "no")]
    (tmp_path / "log.csv").write_text(csv(rows(1, pairs * 5)))
    measures = measure(config(tmp_path))
    assert measures.quality is None
    assert said(measures, f"prediction holds 'no', 'yes', label holds {quotes}; log both in one spelling")


@pytest.mark.parametrize("odd", [[1], {"class": 1}, b"yes", [[1], [2]]])
def test_predictions_that_are_no_class_leave_drift(tmp_path: Path, odd: object) -> None:
    """Requirement: a list, a struct or bytes as prediction is a problem of F1 alone."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40}))
    frame = pd.DataFrame([{**row, "prediction": odd} for row in rows(1, [TP] * 40, x=1)])
    frame.to_parquet(tmp_path / "log.parquet")
    measures = measure(config(tmp_path, log=tmp_path / "log.parquet"))
    assert drift(measures).psi == {"x": 0}
    assert measures.quality is None
    assert said(measures, "no F1: prediction holds")


def test_what_nobody_foresaw_is_a_problem_of_one_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: a bug in one measurement does not take the others away."""
    champion(tmp_path, "a", pd.DataFrame({"x": [1] * 40}))
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 40, x=1)))
    monkeypatch.setattr("retrain.exporter.measure.shift", lambda *_: 1 / 0)
    measures = measure(config(tmp_path))
    assert quality(measures).f1 == 1
    assert said(measures, "no drift: ZeroDivisionError")


def test_milliseconds_are_suspected(tmp_path: Path) -> None:
    """Requirement: rows thousands of years ahead are not kept, and the likely mistake is named."""
    (tmp_path / "log.csv").write_text(f"timestamp,prediction,label\n{int(NOW * 1000)},1,1\n")
    measures = measure(config(tmp_path))
    assert measures.skipped == {"future": 1}
    assert said(measures, "are these milliseconds?")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no header line yet"),
        ("prediction,label\n1,1\n", "no column 'timestamp' (monitor.timestamp)"),
        ("timestamp,x,x\n1,1,1\n", "column 'x' is there twice"),
        (f"timestamp,prediction\n{BOUNDARY - 1},1\n", "the log has no column 'label'"),
        (f"timestamp,label\n{BOUNDARY - 1},1\n", "the log has no column 'prediction'"),
    ],
)
def test_a_log_of_the_wrong_form_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    """Requirement: a person who looks sees why a series is not there."""
    (tmp_path / "log.csv").write_text(text)
    assert said(measure(config(tmp_path)), words)


def test_a_log_that_is_not_a_file_is_a_problem_not_a_hang(tmp_path: Path) -> None:
    """Requirement: a missing log and a directory in its place are different problems."""
    assert said(measure(config(tmp_path)), "log.csv is missing (monitor.log)")
    (tmp_path / "log.csv").mkdir()
    assert said(measure(config(tmp_path)), "Is a directory")
