"""How often a probation rolls a new champion back, by chance or for cause."""

from itertools import product

import numpy as np

from retrain.core.decide import CHANCE, is_worse
from retrain.core.judge import on_same_rows
from retrain.core.records import Counts
from retrain.core.rules import Gate
from retrain.core.verdicts import Cell, Ruling, Tally
from tests.simulations.tables import Figure, Table, of_share
from tests.simulations.windows import POSITIVES, Bools, Ints, drawn

ROWS, OLD = 1000, 0.86
CHANGES = {"as good as the old one": 0.0, "better by 0.01": 0.01, "worse by 0.05": -0.05, "worse by 0.10": -0.10}
PACES = {"daily windows of 1,000 rows": 6, "hourly windows of 1,000 rows": 144}
"""Windows in 7 days, less a day of settling."""
SPANS = {"daily windows of 1,000 rows": 7, "hourly windows of 1,000 rows": 168}
"""Windows in 7 days; on the same rows none of them is left out, but the last one is too late."""
REPLICATIONS, PAIRED = 5000, {7: 2000, 168: 100}
ALIKE = 0.7
"""How often what one model gets wrong decides what the other gets wrong, too; else they err independently."""
BY_COUNTS, SAME_ROWS = "with counts", "on the same rows"
MOVES = {
    "as good, in a world in which both lose 0.05": (0.0, -0.05),
    "as good, in a world in which both gain 0.05": (0.0, 0.05),
    "better by 0.05, in a world in which both lose 0.10": (0.05, -0.10),
    "worse by 0.05, in a world in which both gain 0.05": (-0.05, 0.05),
    "worse by 0.10, in a world in which both gain 0.10": (-0.10, 0.10),
}
"""What the new champion is beside the old one, and by how much the F1 of both changes with the promotion."""


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
        figures[name][BY_COUNTS] = of_share(_convicted(old, new, below), paths)
        figures[name][SAME_ROWS], _ = paired(change, 0.0, SPANS[pace], effort)
    return figures


def moving(effort: float = 1.0) -> Table:
    """The share of promotions that `probation: 7d` rolls back where the world moves, daily windows of 1,000 rows."""
    figures: Table = {}
    for name, (change, move) in MOVES.items():
        rng, paths = np.random.default_rng(2), round(effort * REPLICATIONS)
        old, new = drawn(rng, ROWS, OLD, paths), drawn(rng, ROWS, OLD + move + change, (6, paths))
        by_counts = of_share(_convicted(old, new, _f1(*new) < _f1(*old)), paths)
        figures[name] = {BY_COUNTS: by_counts, SAME_ROWS: paired(change, move, 7, effort)[0]}
    return figures


LABELS = list(product((0, 1), (0, 1), (0, 1)))
"""Truth, and what the old and the new champion predict."""


def paired(change: float, move: float, span: int, effort: float = 1.0) -> tuple[Figure, list[int]]:
    """The share of promotions that are rolled back on the same rows, and after how many windows each of them was.

    The old champion has F1 OLD + move there, the new one `change` more. Both are scored after every window.
    """
    paths, rng = max(20, round(effort * PAIRED[span])), np.random.default_rng(3)
    cells = _same_rows(rng, OLD + move, OLD + move + change, (span - 1, paths)).cumsum(axis=0)
    after = [_rejected(cells[:, path], span) for path in range(paths)]
    return of_share(sum(each is not None for each in after), paths), [each for each in after if each is not None]


def _same_rows(rng: np.random.Generator, old: float, new: float, shape: tuple[int, ...]) -> Ints:
    """Rows by truth, and by what the old and the new champion predict, of windows, in the order of LABELS."""
    positives = rng.binomial(ROWS, POSITIVES, shape)
    alarms = [POSITIVES * (1 - f1) / (1 - POSITIVES) for f1 in (old, new)]  # precision = recall = F1
    return np.concatenate(
        [
            rng.multinomial(ROWS - positives, _joint(*alarms)),
            rng.multinomial(positives, _joint(old, new)),
        ],
        axis=-1,
    )


def _joint(old: float, new: float) -> list[float]:
    """The probabilities of 0 0, 0 1, 1 0 and 1 1, where each predicts 1 so often."""
    both = ALIKE * min(old, new) + (1 - ALIKE) * old * new
    return [1 - old - new + both, new - both, old - both, both]


def _rejected(cells: Ints, span: int) -> int | None:
    """After how many windows the new champion is rolled back; None where it stays."""
    for number, rows in enumerate(cells, 1):
        _, alarm, spared, _, _, found, missed, _ = rows.tolist()
        if found - missed >= alarm - spared > 0 or (found >= missed and alarm <= spared):
            continue  # F1 is no lower, so it is not tested, which takes time
        tally = Tally(tuple(Cell(*each, int(n)) for each, n in zip(LABELS, rows, strict=True) if n), "")
        if on_same_rows(tally, Gate(), CHANCE / span).ruling is Ruling.REJECT:
            return number
    return None


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
