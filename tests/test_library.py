"""`from retrain import compare`: the gate for notebooks and pipelines."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

import retrain
from retrain import Verdict, compare, explain


def predictions(right: float, seed: int, rows: int = 1000) -> tuple[Any, Any]:
    """Labels, and predictions that are right so often."""
    labels = np.random.default_rng(0).integers(0, 2, rows)
    hits = np.random.default_rng(seed).random(rows) < right
    return labels, np.where(hits, labels, 1 - labels)


def test_a_better_challenger_is_promoted_with_the_scores_of_scikit_learn() -> None:
    """The verdict has the ruling, the scores and the bounds of the gain."""
    (truth, old), (_, new) = predictions(0.8, 1), predictions(0.9, 2)
    verdict = compare(truth, old, new)
    assert isinstance(verdict, Verdict)
    assert verdict.ruling == "promote"
    assert verdict.champion_score == pytest.approx(f1_score(truth, old))
    assert verdict.challenger_score == pytest.approx(f1_score(truth, new))
    assert verdict.interval is not None
    assert verdict.interval[0] > 0
    assert explain(verdict).startswith("promote: better than the champion; gain +0.1")


@pytest.mark.parametrize(
    ("old", "new", "margin", "ruling"),
    [(0.9, 0.8, 0.0, "reject"), (0.80, 0.81, 0.0, "inconclusive"), (0.8, 0.9, 0.2, "reject")],
)
def test_what_is_not_better_is_not_promoted(old: float, new: float, margin: float, ruling: str) -> None:
    """Worse, too close to say, or better by less than is asked for."""
    (truth, before), (_, after) = predictions(old, 1), predictions(new, 2)
    assert compare(truth, before, after, min_improvement=margin).ruling == ruling


def test_the_same_labels_in_any_container_have_the_same_verdict() -> None:
    """Lists, arrays, columns, truth values and texts."""
    (truth, old), (_, new) = predictions(0.8, 1), predictions(0.9, 2)
    wanted = compare(truth, old, new)
    assert compare(list(truth), pd.Series(old), new.astype(bool)) == wanted
    texts = [np.where(each == 1, "yes", "no") for each in (truth, old, new)]
    assert compare(*texts, positive="yes").interval == wanted.interval


@pytest.mark.parametrize(
    ("arguments", "flags", "problem"),
    [
        (([1, 0], [1, 0], [1]), {}, "one of each a row"),
        (([1, 0], [1, None], [1, 0]), {}, "None .* is not a class label"),
        (([1.0, float("nan")], [1, 0], [1, 0]), {}, "nan .* is not a class label"),
        (([1, 0], np.ma.array([1, 0], mask=[False, True]), [1, 0]), {}, "masked .* is not a class label"),
        (([1, 0], ["1", "0"], [1, 0]), {}, "the champion predicts '0', '1', the labels are 0, 1: spell them"),
        ((["a", "b"], ["a", "b"], ["a", "nan"]), {}, "the challenger predicts 'nan', which is no class"),
        (([1, 0], [1, -1], [1, 0]), {}, "the champion predicts -1, 1, the labels are 0, 1: spell them in one way"),
        (
            (["yes", "no"], ["yes", "no"], ["Yes", "no"]),
            {},
            "the challenger predicts 'Yes', 'no', the labels are 'no',",
        ),
        (([1, 0], [1, 0], [1, 0]), {"metric": "auc"}, "auc"),
        (([1, 0], [1, 0], [1, 0]), {"alpha": 1.0}, "alpha"),
    ],
)
def test_wrong_arguments_are_a_value_error(arguments: Any, flags: dict[str, Any], problem: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=problem):
        compare(*arguments, **flags)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_columns_with_one_index_in_another_order_are_refused(place: int) -> None:
    """Requirement: by position each row would get the prediction of another; other indexes say nothing of the order."""
    (truth, old), (_, new) = predictions(0.8, 1), predictions(0.9, 2)
    columns = [pd.Series(each) for each in (truth, old, new)]
    columns[place] = columns[place].sample(frac=1, random_state=1)
    with pytest.raises(ValueError, match="the same index in another order: sort all columns alike"):
        compare(*columns)
    columns[place] = pd.Series((truth, old, new)[place], index=range(1000, 2000))
    assert compare(*columns) == compare(truth, old, new)


def test_a_fraction_is_one_label_at_any_precision() -> None:
    """Requirement: predictions of 32 bits are the labels of 64 bits that are written alike, as for the command."""
    truth, old, new = ([0.1, 0.2] * 50, [0.1] * 100, np.array([0.1, 0.2] * 50, dtype="float32"))
    assert compare(truth, old, new, positive=0.1).challenger_score == 1
    assert compare(truth, old, pd.Series(new), positive=0.1).challenger_score == 1


def test_the_public_names_are_few_and_import_nothing_heavy() -> None:
    """A pipeline pays for what it uses, and other names may change."""
    assert sorted(retrain.__all__) == ["Verdict", "compare", "explain"]
    program = "import sys; from retrain import compare; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"numpy", "pandas", "sklearn", "pyarrow", "yaml", "click"} & set(loaded.stdout.split())
