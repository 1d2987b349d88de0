"""The count of comparisons: it goes on with the rows, whatever file they come in."""

import random

import pytest
from msgspec.structs import replace

from retrain.core.events import HistoryLost, Judged
from retrain.core.judge import MOST_KEYS, SKETCH, next_comparison, row_keys, shared
from retrain.core.verdicts import Cell, Leaked, Ruling, Sketch, Tally, Verdict


def sketch(rows: range) -> tuple[int, ...]:
    """The smallest hashes of these rows; a seeded generator hashes them."""
    return tuple(sorted(random.Random(row).getrandbits(64) for row in rows)[:SKETCH])


def holdout(name: str, rows: range) -> Tally:
    return Tally((Cell(1, 1, 0, len(rows)),), name, sketches=(by("ab", rows),))


def compared(tally: Tally, number: int, *, first: bool = True) -> Judged:
    verdict = Verdict(Ruling.INCONCLUSIVE, "f1", tally.rows, 0.8, 0.8, 0.05, number)
    return Judged("b", "a", tally.holdout, "q", "f", verdict, sketches=tally.sketches if first else ())


@pytest.mark.parametrize("size", [300, 1000, 20_000])
@pytest.mark.parametrize("percent", [0, 5, 25, 50, 100])
def test_the_share_of_rows_is_known_from_the_sketches(size: int, percent: int) -> None:
    """Exact while the sketches hold every row; else within four standard errors of the estimate."""
    one, other = range(size), range(size - size * percent // 100, 2 * size - size * percent // 100)
    share = shared(frozenset(sketch(one)), size, sketch(other), size)
    assert share == pytest.approx(percent / 100, abs=0 if size < SKETCH else 4 * (percent / 100 / SKETCH) ** 0.5)


def test_the_same_rows_go_on_with_their_count() -> None:
    """Comparisons on them, repetitions not counted."""
    rows = holdout("h", range(500))
    assert next_comparison(rows, [], 10) == 1
    again = compared(rows, 2, first=False)
    assert next_comparison(rows, [compared(rows, 1), again, again], 10) == 3


def test_a_holdout_that_shares_a_tenth_of_its_rows_goes_on_with_the_count() -> None:
    """Appending or replacing rows does not reset the budget; a fresh holdout has one of its own."""
    first = holdout("first", range(500))
    past = [compared(first, 1), compared(first, 2, first=False)]
    assert next_comparison(holdout("one more row", range(501)), past, 10) == 3
    assert next_comparison(holdout("half renewed", range(250, 750)), past, 10) == 3
    assert next_comparison(holdout("a twentieth left", range(475, 975)), past, 10) == 1
    assert next_comparison(holdout("fresh", range(1000, 1500)), past, 10) == 1


def test_the_count_goes_on_along_a_chain() -> None:
    """A holdout that rolls on week by week is used again and again, though its rows are all new in the end."""
    weeks = [holdout(f"week {week}", range(100 * week, 100 * week + 500)) for week in range(12)]
    history: list[Judged] = []
    for week in weeks:
        history.append(compared(week, next_comparison(week, history, 10)))
    assert history[-1].verdict.look == 12


def test_comparisons_on_rows_older_than_the_champion_count_together() -> None:
    """Whichever rows these are, where they are a tenth or more; a fresh holdout has a count of its own."""
    aged = [
        replace(holdout(name, range(at, at + 500)), leaked=Leaked(older=older))
        for name, at, older in (("a", 0, 500), ("b", 500, 50), ("c", 1000, 49))
    ]
    ledger = [replace(compared(aged[0], 1), leaked=aged[0].leaked)]
    assert [next_comparison(each, ledger, 10) for each in aged] == [2, 2, 1]
    assert next_comparison(holdout("fresh", range(1500, 2000)), ledger, 10) == 1


def test_a_history_that_was_lost_counts_on_top_of_what_is_recorded() -> None:
    """For any holdout; a comparison that is recorded after a loss counts it already."""
    rows, lost = holdout("h", range(500)), HistoryLost("", "")
    assert next_comparison(rows, [lost], 4) == 5
    assert next_comparison(rows, [lost, compared(rows, 5)], 4) == 6
    assert next_comparison(rows, [compared(rows, 3), lost], 4) == 8
    assert next_comparison(rows, [lost, compared(rows, 5), lost], 4) == 10


def by(columns: str, rows: range, decimals: int | None = None) -> Sketch:
    """The sketch of these rows, by columns of one letter each."""
    key = sum(ord(column) for column in columns) + (decimals or 0)
    return Sketch(tuple(columns), decimals, tuple(sorted(each ^ key for each in sketch(rows))))


def known(name: str, *sketches: Sketch) -> Tally:
    return Tally((Cell(1, 1, 0, 500),), name, sketches=sketches)


def recorded(tally: Tally, number: int) -> Judged:
    verdict = Verdict(Ruling.INCONCLUSIVE, "f1", tally.rows, 0.8, 0.8, 0.05, number)
    return Judged("b", "a", tally.holdout, "q", "f", verdict, sketches=tally.sketches)


def test_rows_are_known_by_the_columns_that_both_holdouts_have() -> None:
    """One sketch that both have is enough; where they have none in common, or none of the rows, the count is new."""
    rows, others = range(500), range(1000, 1500)
    past = [recorded(known("first", by("ab", rows), by("ab", rows, 1), by("a", rows)), 1)]
    assert next_comparison(known("more columns", by("abc", rows), by("ab", rows)), past, 10) == 2
    assert next_comparison(known("rounded", by("ab", others), by("ab", rows, 1)), past, 10) == 2
    assert next_comparison(known("fewer columns", by("a", rows)), past, 10) == 2
    assert next_comparison(known("other columns", by("cd", rows)), past, 10) == 1
    assert next_comparison(known("fresh", by("ab", others), by("ab", others, 1), by("a", others)), past, 10) == 1


def test_the_keys_of_earlier_holdouts_are_asked_for_once() -> None:
    """The latest first, and not more than a comparison can afford; a lost history has none."""
    rows = range(3)
    past = [recorded(known("one", by("ab", rows), by("a", rows)), 1), recorded(known("two", by("ab", rows)), 2)]
    assert row_keys([*past, HistoryLost("", "")]) == ((("a", "b"), None), (("a",), None))
    many = [recorded(known(f"{n}", by("a", rows, n)), n) for n in range(100)]
    assert row_keys(many) == tuple((("a",), n) for n in range(99, 99 - MOST_KEYS, -1))
