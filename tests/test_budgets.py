"""The source stays as small as it was planned, room by room; `make budgets` prints the table."""

from tests.budgets import table

SHRINKING = {
    "lines: heart: stories, acts, core": 6_495,
    "lines: effects": 4_981,
    "lines: config": 1_327,
    "lines: scoring and tables": 4_239,
    "lines: wing: doctor": 1_026,
    "lines: wing: exporter": 1_065,
    "lines in all": 24_104,
    "Python files": 128,
    "rooms (files and folders at the top)": 30,
    "floors (layers of the imports)": 8,
}
"""What is over its budget, and the size above which it may not grow; it leaves this list as soon as it fits."""


def test_no_room_grows_beyond_its_budget() -> None:
    """A room that is over its budget may only shrink. A new room needs a budget of its own, in tests/budgets.py."""
    rows = table()
    print(*rows, sep="\n")
    over = {row.name: row.found for row in rows if not row.is_kept}
    assert over.keys() == SHRINKING.keys()
    assert all(found <= SHRINKING[name] for name, found in over.items())
