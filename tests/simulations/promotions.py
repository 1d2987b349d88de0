"""How often one of fifty challengers that are no better than the champion is promoted on one holdout."""

import numpy as np

from retrain.core.judge import judge
from retrain.core.rules import Gate, Guarantee
from retrain.core.verdicts import Ruling
from tests.simulations.delta import CELLS, scores, tally
from tests.simulations.tables import Table, of_share
from tests.simulations.windows import POSITIVES, Ints

ROWS, F1, CHALLENGERS, ALPHA = 2000, 0.85, 50, 0.05
NAIVE, PER_TEST, LIFETIME = (
    "promote if it scored higher",
    "`guarantee: per_test`, `alpha: 0.05`",
    "`guarantee: lifetime`, `alpha: 0.05`, `holdout_uses: 10`",
)
PROMOTED = "one of 50 is promoted"


def challengers(rng: np.random.Generator) -> Ints:
    """The tallies of all challengers with one champion on one holdout, challengers × cells.

    All models have the same true F1, with precision = recall, and errors of their own.
    """
    false_alarm = POSITIVES * (1 - F1) / (1 - POSITIVES)
    kinds = {
        (0, 0): (1 - POSITIVES) * (1 - false_alarm),
        (0, 1): (1 - POSITIVES) * false_alarm,
        (1, 0): POSITIVES * (1 - F1),
        (1, 1): POSITIVES * F1,
    }
    holdout = rng.multinomial(ROWS, list(kinds.values()))
    counts = np.zeros((CHALLENGERS, len(CELLS)), dtype=np.int64)
    for (truth, champion), rows in zip(kinds, holdout, strict=True):
        found = rng.binomial(rows, F1 if truth else false_alarm, CHALLENGERS)
        counts[:, CELLS.index((truth, champion, 1))] = found
        counts[:, CELLS.index((truth, champion, 0))] = rows - found
    return counts


def promotes(counts: Ints) -> dict[str, bool]:
    """Whether each rule promotes one of these challengers, judged in their order.

    `lifetime` never tests at a higher level than `per_test`, so only who passes that is asked again.
    """
    per_test = Gate(alpha=ALPHA, guarantee=Guarantee.PER_TEST)
    lifetime = Gate(alpha=ALPHA, guarantee=Guarantee.LIFETIME, holdout_uses=10)
    champion, challenger = scores(counts)
    higher = np.flatnonzero(challenger > champion)
    met = {NAIVE: len(higher) > 0, PER_TEST: False, LIFETIME: False}
    for each in higher:
        asked, look = tally(counts[each]), int(each) + 1
        if judge(asked, per_test, look).ruling is Ruling.PROMOTE:
            met[PER_TEST] = True
            if judge(asked, lifetime, look).ruling is Ruling.PROMOTE:
                met[LIFETIME] = True
                break
    return met


def hits(replications: int) -> dict[str, int]:
    """In how many of the replications each rule promotes at least one."""
    rng = np.random.default_rng(2)
    met = [promotes(challengers(rng)) for _ in range(replications)]
    return {rule: sum(each[rule] for each in met) for rule in (NAIVE, PER_TEST, LIFETIME)}


def table(effort: float = 1.0) -> Table:
    """The chance that at least one of the challengers is promoted, by rule."""
    replications = round(4000 * effort)
    return {rule: {PROMOTED: of_share(count, replications)} for rule, count in hits(replications).items()}
