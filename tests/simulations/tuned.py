"""How often an engineer gets a challenger promoted that is no better, who keeps what one holdout found better.

Each challenger is the one that was kept, with its predictions made anew on some of the rows: all have the same true F1.
It is kept where what `promote` discloses of it is no worse than of the one before: its score where that is shown, else
that it was not rejected.
"""

import numpy as np

from retrain.core.explain import disclosed
from retrain.core.judge import judge
from retrain.core.rules import Disclose, Gate
from retrain.core.verdicts import Ruling
from tests.simulations.delta import CELLS, tally
from tests.simulations.promotions import CHALLENGERS, F1, ROWS
from tests.simulations.tables import Table, of_share
from tests.simulations.windows import POSITIVES, Bools, Ints

ENGINEERS, FEW = 500, 10
WORLDS = {"3 % of the rows": 0.03, "10 % of the rows": 0.1, "30 % of the rows": 0.3}
"""How much of a challenger is new."""


class Engineers:
    """Some engineers at work, each with a holdout and a champion of his own; axes: engineers, rows."""

    def __init__(self, rng: np.random.Generator, number: int, anew: float, disclose: Disclose) -> None:
        self.rng, self.anew, self.gate = rng, anew, Gate(disclose=disclose)
        self.truth: Bools = rng.random((number, ROWS)) < POSITIVES
        self.champion = self._predicted()
        self.kept = self.champion.copy()
        self.best = [(-1.0, False)] * number
        self.promoted_at = np.full(number, CHALLENGERS + 1)

    def _predicted(self) -> Bools:
        """Predictions of a model, with precision = recall."""
        error = np.where(self.truth, 1 - F1, POSITIVES * (1 - F1) / (1 - POSITIVES))
        return np.asarray(self.truth ^ (self.rng.random(self.truth.shape) < error))

    def try_another(self, look: int) -> None:
        """One more challenger each, and what becomes of it."""
        is_new = self.rng.random(self.truth.shape) < self.anew
        challenger = np.where(is_new, self._predicted(), self.kept)
        cells = 4 * self.truth + 2 * self.champion + challenger
        for each in np.flatnonzero(self.promoted_at > CHALLENGERS):
            counts: Ints = np.bincount(cells[each], minlength=len(CELLS))
            verdict = judge(tally(counts), self.gate, look)
            if verdict.ruling is Ruling.PROMOTE:
                self.promoted_at[each] = look
            shown = disclosed(verdict, self.gate, wins=False)
            found = (shown.challenger_score or 0.0, shown.ruling is not Ruling.REJECT)
            if found >= self.best[each]:
                self.best[each], self.kept[each] = found, challenger[each]


def promoted_at(anew: float, disclose: Disclose, engineers: int) -> Ints:
    """The comparison in which each engineer's challenger was promoted; above 50: none was."""
    found = Engineers(np.random.default_rng([11, round(100 * anew)]), engineers, anew, disclose)
    for look in range(1, CHALLENGERS + 1):
        found.try_another(look)
    return found.promoted_at


def table(effort: float = 1.0) -> Table:
    """The share of engineers with such a promotion, by how much of a challenger is new and by what is disclosed."""
    engineers = max(10, round(ENGINEERS * effort))
    figures: Table = {name: {} for name in WORLDS}
    for name, anew in WORLDS.items():
        for disclose in Disclose:
            at = promoted_at(anew, disclose, engineers)
            for most in (FEW, CHALLENGERS):
                share = of_share(int((at <= most).sum()), engineers)
                figures[name][f"`disclose: {disclose}`, one of {most}"] = share
    return figures
