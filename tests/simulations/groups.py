"""How often an equal challenger is promoted where rows do not err independently: rows of one customer, and copies."""

import numpy as np

from retrain.core.judge import judge
from retrain.core.rules import Gate, Guarantee
from retrain.core.verdicts import Cell, Groups, Ruling, Tally
from tests.simulations.delta import CELLS, scores
from tests.simulations.tables import Table, of_share
from tests.simulations.windows import POSITIVES, Ints

LEVEL, F1, RHO = 0.0025, 0.85, 0.5
ALONE, GROUPED = "as if rows were independent", "with their groups"
WORLDS = {
    "2,000 independent rows": (2000, 1, 1),
    "100 customers with 20 rows, correlation 0.5": (100, 20, 1),
    "500 rows, each of them four times": (500, 1, 4),
}
"""Groups, rows in each that are drawn, and how often each of these is there."""


def drawn(rng: np.random.Generator, groups: int, rows: int, copies: int) -> Ints:
    """Rows by group and cell. Both models have the same F1 (precision = recall), and errors of their own.

    Where a group has several rows, a model errs on those of a class with a chance that is the group's own.
    """
    mean = np.tile([[POSITIVES * (1 - F1) / (1 - POSITIVES)] * 2, [1 - F1] * 2], (groups, 1, 1))
    alike = 1 / RHO - 1
    error = mean if rows == 1 else rng.beta(mean * alike, (1 - mean) * alike)
    truth = (rng.random((groups, rows)) < POSITIVES).astype(int)
    group = np.arange(groups)[:, None]
    wrong = (rng.random((groups, rows, 2)) < error[group, truth]).astype(int)
    cells = 4 * truth + 2 * (truth ^ wrong[:, :, 0]) + (truth ^ wrong[:, :, 1])
    counts = np.zeros((groups, len(CELLS)), dtype=np.int64)
    np.add.at(counts, (group, cells), copies)
    return counts


def tallies(counts: Ints) -> tuple[Tally, Tally]:
    """The tally of these groups, without them and with them."""
    total = counts.sum(axis=0)
    kept = np.flatnonzero(total)
    cells = tuple(Cell(*CELLS[at], int(total[at])) for at in kept)
    both = counts[:, kept].T @ counts[:, kept]
    pairs = [(i, j, int(both[i, j]) * (1 if i == j else 2)) for i in range(len(kept)) for j in range(i, len(kept))]
    differ = [at for at, (_, champion, challenger) in enumerate(CELLS) if champion != challenger]
    discordant = int((counts[:, differ].sum(axis=1) > 0).sum())
    return Tally(cells, "h"), Tally(cells, "h", groups=Groups(len(counts), discordant, tuple(pairs), "customer"))


def promoted(name: str, draws: int) -> tuple[int, int]:
    """How many of these challengers are promoted without the groups, and with them."""
    gate, hits = Gate(alpha=LEVEL, guarantee=Guarantee.PER_TEST), [0, 0]
    rng = np.random.default_rng(len(name))
    for _ in range(draws):
        counts = drawn(rng, *WORLDS[name])
        champion, challenger = scores(counts.sum(axis=0))
        if challenger > champion:
            for at, tally in enumerate(tallies(counts)):
                hits[at] += judge(tally, gate, 1).ruling is Ruling.PROMOTE
    return hits[0], hits[1]


def table(effort: float = 1.0) -> Table:
    """The share promoted in one comparison at the level of the first ones on a holdout, by what rows are."""
    draws = max(100, round(10_000 * effort))
    figures: Table = {}
    for name in WORLDS:
        alone, grouped = promoted(name, draws)
        figures[name] = {ALONE: of_share(alone, draws), GROUPED: of_share(grouped, draws)}
    return figures
