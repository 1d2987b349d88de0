"""Numbers and times as a person reads them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from retrain.core import text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (45.4, "45 s"),
        (60, "1 min"),
        (3601, "1 h"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (100 * 86400 + 5 * 3600 + 59, "100 d 5 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, told: str) -> None:
    """Those that matter; a clock that was set back gives no negative one."""
    assert text.duration(timedelta(seconds=seconds)) == told


def test_times_are_told_in_utc() -> None:
    """Wherever the machine is."""
    at = datetime(2026, 11, 22, 18, 10, 30, tzinfo=timezone(timedelta(hours=2)))
    assert text.moment(at) == "2026-11-22 16:10 UTC"
    assert text.iso(at) == "2026-11-22T16:10:30Z"
    assert datetime.fromisoformat(text.iso(at)).astimezone(UTC) == at


@pytest.mark.parametrize(
    ("value", "threshold", "told"),
    [
        (0.78, 0.85, ("0.780", "0.850")),
        (0.85, 0.85, ("0.850", "0.850")),
        (0.84996, 0.85, ("0.84996", "0.85000")),
        (1e-20, 2e-20, ("1e-20", "2e-20")),
    ],
)
def test_two_numbers_that_differ_look_different(value: float, threshold: float, told: tuple[str, str]) -> None:
    """A breach that reads `0.850 is below 0.850` helps nobody."""
    assert text.apart(value, threshold) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 KiB"),
        (512, "0.5 KiB"),
        (512 * 1024**2, "512 MiB"),
        (3 * 1024**3 // 2, "1.5 GiB"),
        (53_213_400_000, "49.56 GiB"),
        (2 * 1024**4, "2 TiB"),
    ],
)
def test_a_size_has_the_largest_unit_that_it_fills(count: int, told: str) -> None:
    """In binary units, as `free` and `df -h` count."""
    assert text.size(count) == told


def test_a_number_has_its_noun() -> None:
    """With commas, and a plural where there is not just one."""
    assert [text.counted(count, "window") for count in (0, 1, 2500)] == ["0 windows", "1 window", "2,500 windows"]
