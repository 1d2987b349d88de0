"""The population stability index."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.exporter.psi import shift


def psi(reference: "pd.Series[Any]", window: "pd.Series[Any]", bins: int) -> float:
    return shift(reference, window, bins).psi


COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "c", "7", ""])), min_size=1, max_size=60),
    st.lists(st.floats(), min_size=1, max_size=60),
    st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    st.lists(st.booleans(), min_size=1, max_size=60),
)


@settings(max_examples=150, deadline=None)
@given(reference=COLUMNS, window=COLUMNS, bins=st.integers(2, 12), seed=st.integers(0, 99))
def test_it_is_never_negative_and_blind_to_the_order_of_rows(
    reference: list[Any], window: list[Any], bins: int, seed: int
) -> None:
    """Requirement: any two columns have an index, finite and 0 or more, whatever the order of their rows."""
    old, new = pd.Series(reference), pd.Series(window)
    value = psi(old, new, bins)
    assert np.isfinite(value)
    assert value >= 0
    shuffled = psi(old.sample(frac=1, random_state=seed), new.sample(frac=1, random_state=seed), bins)
    assert shuffled == pytest.approx(value, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(column=COLUMNS, bins=st.integers(2, 12))
def test_a_column_has_not_drifted_from_itself(column: list[Any], bins: int) -> None:
    """Requirement: equal distributions have index 0."""
    assert psi(pd.Series(column), pd.Series(column), bins) == 0


def test_values_with_bins_of_their_own_may_change_sides() -> None:
    """Requirement: where the bins do not depend on the side, neither does the index."""
    one, other = pd.Series(list("aaabbc") * 10), pd.Series(list("abbbcc") * 10)
    assert psi(one, other, 5) == pytest.approx(psi(other, one, 5))


def test_the_index_of_a_known_case() -> None:
    """Requirement: the formula of the source, half a row added to each bin: (60, 40) against (40, 60)."""
    old, new = pd.Series(["a"] * 60 + ["b"] * 40), pd.Series(["a"] * 40 + ["b"] * 60)
    p, q = 40.5 / 101, 60.5 / 101
    assert psi(old, new, 10) == pytest.approx(2 * (p - q) * np.log(p / q))


@pytest.mark.parametrize("kind", ["number", "text"])
def test_without_drift_the_mean_is_that_of_the_source(kind: str) -> None:
    """Requirement: without drift the mean is (bins − 1)(1/n + 1/m), as Yurdakul 2018 has it (seeded simulation)."""
    random = np.random.default_rng(20)
    n, m, bins = 800, 2400, 8
    values = []
    for _ in range(300):
        sample = random.normal(size=n + m)
        if kind == "text":
            sample = np.array(list("abcdefg?"))[random.integers(0, 8, n + m)]
        values.append(psi(pd.Series(sample[:m]), pd.Series(sample[m:]), bins))
    expected = (bins - 1) * (1 / n + 1 / m)
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - expected) < 4 * error


def test_a_shift_is_seen() -> None:
    """Requirement: half a standard deviation is above the usual threshold of 0.2 with 1,000 rows."""
    random = np.random.default_rng(1)
    old = pd.Series(random.normal(size=5000))
    assert psi(old, pd.Series(random.normal(0.6, 1, 1000)), 10) > 0.2


@pytest.mark.parametrize("usual", [0, 128, 255])
def test_a_nearly_constant_number_shows_any_move(usual: int) -> None:
    """Requirement: a pixel nearly always at `usual`, be that its least or greatest value, drifts when it is not."""
    random = np.random.default_rng(2)

    def pixel(share: float, rows: int) -> "pd.Series[Any]":
        return pd.Series(np.where(random.random(rows) < share, usual, random.integers(0, 256, rows)))

    old = pixel(0.95, 5000)
    assert psi(old, pixel(0.95, 1000), 10) < 0.03
    assert psi(old, pixel(0.6, 1000), 10) > 0.2
    assert psi(old, pd.Series(np.full(1000, (usual + 100) % 256)), 10) > 0.2


@pytest.mark.parametrize("usual", [7, 0.5, "red", True])
def test_a_constant_shows_any_change(usual: object) -> None:
    """Requirement: a constant in the reference drifts when another value comes, or none at all."""
    old = pd.Series([usual] * 500)
    assert psi(old, pd.Series([usual] * 200), 10) == 0
    assert psi(old, pd.Series([usual] * 150 + ["other"] * 50), 10) > 0.2
    assert psi(old, pd.Series([usual] * 150 + [None] * 50), 10) > 0.2


def test_missing_values_are_a_bin_only_where_there_are_any() -> None:
    """Requirement: more missing values are drift; where none are missing on both sides nothing is added."""
    old = pd.Series([*range(200), *[None] * 50])
    assert psi(old, old, 10) == 0
    assert psi(old, pd.Series(range(200)), 10) > 0.2


def test_rare_and_unseen_values_are_one_bin() -> None:
    """Requirement: `bins − 1` values have their own bin; the rest and unseen ones are "other"."""
    old = pd.Series(["a"] * 50 + ["b"] * 40 + ["c"] * 10)
    assert psi(old, pd.Series(["a"] * 50 + ["b"] * 40 + ["new"] * 10), 3) == 0
    assert psi(old, pd.Series(["a"] * 50 + ["b"] * 10 + ["new"] * 40), 3) > 0.2


@pytest.mark.parametrize(
    ("reference", "window"),
    [
        (pd.Series(range(100)), [str(value) for value in range(100)]),
        (pd.Series([1.0, 2.0] * 20), ["1", "2"] * 20),
        (pd.Series(np.array([0.1, 0.2] * 20, dtype="float32")), ["0.1", "0.2"] * 20),
        (pd.Series([0.1, 0.2] * 20), np.array([0.1, 0.2] * 20, dtype="float32")),
        (pd.Series([0.1, 0.2] * 20), ["0.10000000149011612", "0.20000000298023224"] * 20),
        (
            pd.Series([0.1, *np.arange(1, 20) / 10]),
            [str(np.float64(np.float32(each / 10))) for each in [1, *range(1, 20)]],
        ),
        (pd.Series(["2024-01-01 00:00:00 UTC"] * 20), pd.to_datetime(pd.Series(["2024-01-01"] * 20))),
        (pd.Series([True, False] * 20), ["True", "false"] * 20),
        (pd.Series([1, 0] * 20), ["True", "false"] * 20),
        (pd.Series([1.0, None, 0.0] * 20), pd.Series([True, None, False] * 20, dtype=object)),
        (pd.Series(["true", "False"] * 20), [1, 0] * 20),
        (pd.Series(["NA", "EU"] * 20, dtype="category"), ["NA", "EU"] * 20),
        (pd.Series(["2024-01-01", "2024-01-02"] * 20), pd.to_datetime(pd.Series(["2024-01-01", "2024-01-02"] * 20))),
        (pd.Series([1, 2] * 20, dtype="category"), ["1", "2"] * 20),
        (pd.Series([Decimal("1.10"), Decimal("2.2")] * 20), ["1.1", "2.20"] * 20),
        (pd.Series([1, None] * 20, dtype="Int64"), ["1", None] * 20),
        (pd.Series([True, False] * 20, dtype="boolean"), ["1", "0"] * 20),
        (pd.Series([date(2024, 1, 1), date(2024, 1, 2)] * 20), ["2024-01-01", "2024-01-02 00:00:00"] * 20),
        (pd.to_datetime(pd.Series(["2024-01-01", None] * 20)), ["2024-01-01T00:00:00Z", None] * 20),
        (pd.Series(["red", "NA"] * 20), ["red", None] * 20),
        (pd.Series(["red", "blue"] * 20), [" red", "blue "] * 20),
    ],
)
def test_a_csv_log_may_be_compared_with_a_typed_reference(reference: "pd.Series[Any]", window: Any) -> None:
    """Requirement: the same values spelt by another file format, or at another precision, are no drift."""
    assert psi(reference, pd.Series(window), 10) == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values.astype(str),
        lambda values: values.astype("str").where(values.index != 7, "?"),
        lambda values: values.astype(object).where(values.index != 7, "unknown"),
        lambda values: values.astype("str").where(values.index % 20 != 7, "none given"),
    ],
)
def test_a_reference_of_numbers_is_one_though_a_few_values_are_words(spoil: Callable[[Any], Any]) -> None:
    """Requirement: numbers that are held as text, some words among them, move as numbers do; the words are one bin."""
    random = np.random.default_rng(3)
    reference, same, moved = (pd.Series(random.normal(mean, 1, 2000)) for mean in (0, 0, 1))
    old = spoil(reference)
    assert psi(old, spoil(same), 10) < 0.05
    assert psi(old, spoil(moved), 10) == pytest.approx(psi(reference, moved, 10), rel=0.15)
    assert psi(old, spoil(same).astype(object).where(same.index % 2 == 0, "unknown"), 10) > 0.2


def test_a_word_in_the_log_is_no_missing_number() -> None:
    """Requirement: where the reference has missing numbers, words in their place are drift."""
    old = pd.Series(np.arange(400.0)).where(lambda values: values % 2 == 0)
    assert psi(old, old.astype(object).where(old.notna(), "unknown"), 10) > 0.2
    assert psi(old, old.astype(object).where(old.notna(), "n/a"), 10) == 0


def test_chance_alone_rarely_exceeds_the_floor() -> None:
    """Requirement: with 20 features in daily windows of 200 rows against 200, false drift comes about once a year.

    So a month of it nearly always has none. `tests/simulations` has as many windows as it takes to see the rate.
    """
    random, features, chance = np.random.default_rng(11), 20, 1 / (365.25 * 20)
    pairs = (pd.DataFrame(random.normal(size=(400, features))) for _ in range(30))
    shifts = [shift(pair[name][:200], pair[name][200:], 10, chance) for pair in pairs for name in pair]
    assert sum(found.exceeds(0.2) for found in shifts) <= 1
    assert sum(found.psi > 0.2 for found in shifts) > 4


def test_a_real_move_exceeds_the_floor() -> None:
    """Requirement: what moved by one standard deviation is drift also in a small window; more bins, more chance."""
    random = np.random.default_rng(12)
    old, new = pd.Series(random.normal(size=400)), pd.Series(random.normal(1, size=200))
    assert shift(old, new, 10, 1e-4).exceeds(0.2)
    assert shift(old, new, 2, 1e-4).floor < shift(old, new, 10, 1e-4).floor < 0.4
    assert shift(old, new, 10, None).floor == 0


def test_a_constant_that_stays_has_no_floor_and_no_drift() -> None:
    """Requirement: one occupied bin leaves chance nothing to move."""
    found = shift(pd.Series([1] * 50), pd.Series([1] * 50), 10, 1e-4)
    assert (found.psi, found.floor, found.exceeds(0)) == (0, 0, False)
