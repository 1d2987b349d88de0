"""How often a probation rolls a new champion back, by chance or for cause."""

import numpy as np

from retrain.core.decide import is_worse
from retrain.core.records import Counts
from tests.simulations.tables import Table, of_share
from tests.simulations.windows import Bools, Ints, drawn

ROWS, OLD = 1000, 0.86
CHANGES = {"as good as the old one": 0.0, "better by 0.01": 0.01, "worse by 0.05": -0.05, "worse by 0.10": -0.10}
PACES = {"daily windows of 1,000 rows": 6, "hourly windows of 1,000 rows": 144}
"""Windows in 7 days, less a day of settling."""
REPLICATIONS = 5000


def table(pace: str, effort: float = 1.0) -> Table:
    """The share of promotions that `probation: 7d` rolls back, where the old champion has a true F1 of 0.86.

    The bar is what the old one showed in its last window of 1,000 rows, which is as noisy as those of the new one.
    """
    rng, paths, windows = np.random.default_rng(1), round(effort * REPLICATIONS), PACES[pace]
    figures: Table = {}
    for name, change in CHANGES.items():
        old, new = drawn(rng, ROWS, OLD, paths), drawn(rng, ROWS, OLD + change, (windows, paths))
        below = _f1(*new) < _f1(*old)
        figures[name] = {
            f"without counts, `consecutive: {count}`": of_share(int(_in_a_row(below, count).any(axis=0).sum()), paths)
            for count in (1, 3)
        }
        figures[name]["with counts"] = of_share(_convicted(old, new, below), paths)
    return figures


def _f1(tp: Ints, trials: Ints) -> Ints:
    return 2 * tp / (tp + trials)


def _in_a_row(below: Bools, consecutive: int) -> Bools:
    """At which windows each path was below the bar for so many in a row."""
    spans = [below[start : len(below) - consecutive + 1 + start] for start in range(consecutive)]
    return np.asarray(np.all(spans, axis=0))


def _convicted(old: tuple[Ints, Ints], new: tuple[Ints, Ints], below: Bools) -> int:
    """How many paths the probation rolls back where counts are known and `consecutive` is 1."""
    tp, trials = (np.cumsum(each, axis=0) for each in new)

    def is_convicted(path: int) -> bool:
        last = _counts(old[0][path], old[1][path])
        at = np.flatnonzero(below[:, path])
        return any(is_worse(last, _counts(tp[window, path], trials[window, path]), int(window) + 1) for window in at)

    return sum(map(is_convicted, range(below.shape[1])))


def _counts(tp: int, trials: int) -> Counts:
    return Counts(float(tp), float(trials - tp), 0.0)
