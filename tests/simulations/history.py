"""Prints a year of daily windows to try `retrain backtest` on: F1 is 0.86 until December, and then 0.82.

python -m tests.simulations.history > history.csv
"""

import csv
import sys
from datetime import UTC, datetime, timedelta

import numpy as np

from tests.simulations.windows import drawn

ROWS = 1000
BEFORE, AFTER = 0.86, 0.82
BEGINS, DROPS, ENDS = (
    datetime(2025, 1, 2, tzinfo=UTC),
    datetime(2025, 12, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
)


def main() -> None:
    """One row a day: when it was looked at (a window ends at midnight), and what was counted."""
    rng = np.random.default_rng(3)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["observed_at", "f1", "samples", "tp", "fp", "fn"])
    for day in range((ENDS - BEGINS).days + 1):
        at = BEGINS + timedelta(days=day)
        tp, trials = (int(each[0]) for each in drawn(rng, ROWS, BEFORE if at <= DROPS else AFTER, 1))
        fp = int(rng.binomial(trials - tp, 0.5))
        rows.writerow([at.isoformat(), f"{2 * tp / (tp + trials):.4f}", ROWS, tp, fp, trials - tp - fp])


if __name__ == "__main__":
    main()
