"""How often the rows of a holdout have been looked at, whatever file they came in."""

from collections.abc import Iterable, Sequence

from retrain.core.events import Judged
from retrain.core.verdicts import Tally

SKETCH = 1024
"""How many of the smallest row hashes are kept of a holdout."""
SHARED = 0.1
"""A holdout that has this share of its rows from an earlier one goes on with that one's count (STATISTICS §1)."""


def next_look(tally: Tally, history: Iterable[Judged], unknown: int = 0) -> int:
    """The number of the look that this tally is, the first being 1.

    Looks at the very same rows count, and so do those at a holdout that shares a tenth of this one's; `unknown` is how
    many there may have been that nobody knows of any more.
    """
    latest = unknown
    related = {tally.holdout}
    for judged in history:
        if judged.holdout not in related and judged.sketch:
            share = shared(tally.sketch, tally.rows, judged.sketch, judged.verdict.rows)
            related |= {judged.holdout} if share >= SHARED else set()
        if judged.holdout in related:
            latest = max(latest, judged.verdict.look)
    return latest + 1


def shared(sketch: Sequence[int], rows: int, other: Sequence[int], other_rows: int) -> float:
    """The share of these rows that are among the other rows too, from 0 to 1.

    Exact up to 1,024 rows on each side; above it the estimate of two bottom-k sketches (Broder 1997), whose
    standard error is about sqrt(share/1,024).
    """
    union = sorted({*sketch, *other})
    if len(sketch) >= SKETCH or len(other) >= SKETCH:
        union = union[:SKETCH]
    if not union or not rows:
        return 0.0
    both = set(sketch) & set(other)
    jaccard = sum(each in both for each in union) / len(union)
    return min(1.0, jaccard / (1 + jaccard) * (rows + other_rows) / rows)
