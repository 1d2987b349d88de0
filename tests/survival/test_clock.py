"""A clock that jumps between checks: the quick size of `clock`."""

from pathlib import Path

from tests.survival import clock


def test_a_clock_that_jumps_starts_no_second_training_and_blocks_none_for_good(tmp_path: Path) -> None:
    """Random walks by seconds to years, forward and back, until the clock is right and a breach trains again."""
    assert len(list(clock.walks(tmp_path, 5, 60))) == 2
