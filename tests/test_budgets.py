"""The source stays as small as it was planned, room by room; `make budgets` prints the table."""

from tests.budgets import table

SHRINKING = {"lines: heart: stories, acts, core", "lines: effects", "lines: wing: doctor", "lines in all"}
"""Rows that are over their budget and on their way down. None may join them, and each leaves as soon as it fits."""


def test_no_room_grows_beyond_its_budget() -> None:
    """A new room needs a budget of its own, in tests/budgets.py."""
    rows = table()
    print(*rows, sep="\n")
    assert {row.name for row in rows if not row.is_kept} == SHRINKING
