"""What the count of a holdout is worth where its file is written anew before a comparison: columns, dtypes, digits.

The count is that of the ledger, from the sketches that scoring takes of a file: once with rows known by all that a file
has of them, and once as `promote` knows them, by the target and the columns that two files both have.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
from msgspec import convert
from msgspec.structs import replace

from retrain.core.events import Judged
from retrain.core.judge import SKETCH, judge, next_comparison, row_keys
from retrain.core.rules import Gate, Guarantee
from retrain.core.verdicts import Cell, Ruling, Sketch, Tally, Verdict
from retrain.scoring import sketches
from retrain.scoring.plan import Comparison
from retrain.tables.hashing import Content, of_table, smallest
from retrain.tables.read import Table as File
from tests.simulations.delta import scores, tally
from tests.simulations.promotions import ALPHA, CHALLENGERS, PROMOTED, challengers
from tests.simulations.tables import Figure, Table, of_share
from tests.simulations.windows import Ints

USES, ROWS = 10, 250
"""Comparisons until the level halves. A count does not depend on how many rows the file has; few are fast."""
GATE = Gate(alpha=ALPHA, guarantee=Guarantee.LIFETIME, holdout_uses=USES)
REPLICATIONS = 4000
WHOLE, PROMOTE = "rows known by all columns as they are", "rows known as by `promote`"
NUMBERS, CODES = "abc", "uvwxyz"
DIGITS = [dict(zip(NUMBERS, each, strict=True)) for each in product((3, 5, 1), repeat=len(NUMBERS))]


class Spelt(NamedTuple):
    """A holdout as it is in its file, and what `promotion.dtypes` says of it."""

    frame: pd.DataFrame
    dtypes: Mapping[str, str] = MappingProxyType({})


ANEW: dict[str, Callable[[pd.DataFrame, int], Spelt]] = {
    "a constant column is added": lambda frame, number: Spelt(frame.assign(**{f"version{number}": number})),
    "`promotion.dtypes` reads a code as text": lambda frame, number: Spelt(
        frame, {code: "str" for bit, code in enumerate(CODES) if number + 1 >> bit & 1}
    ),
    "numbers are rounded to three decimals": lambda frame, number: Spelt(frame.round(DIGITS[number])),
}
"""What is written how, the first time, and not quite so at any later one."""


def holdout(rng: np.random.Generator) -> pd.DataFrame:
    """Numbers, codes and the label."""
    numbers = {name: rng.normal(size=ROWS).round(6) for name in NUMBERS}
    codes = {name: rng.integers(0, 50, ROWS) for name in CODES}
    return pd.DataFrame({**numbers, **codes, "label": rng.integers(0, 2, ROWS)})


def counted(spelt: Spelt, ledger: list[Judged]) -> Tally:
    """The tally of the file, of two models that always say 0, as scoring makes it."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "holdout.parquet"
        spelt.frame.to_parquet(path, index=False)
        asked = {"holdout": str(path), "target": "label", "dtypes": dict(spelt.dtypes), "keys": row_keys(ledger)}
        plan = convert({**asked, "champion": None, "trusted": None}, Comparison)
        table = File(plan.holdout, plan.dtypes, labels=[plan.target])
        keys = sketches.keys(plan, table)
        (chunk,) = table.chunks(ROWS)
    found, content = sketches.listed(plan, sketches.of_chunk(keys, chunk, {})), Content.of(of_table(chunk))
    return Tally(
        tuple(Cell(label, 0, 0, rows) for label, rows in enumerate(np.bincount(chunk["label"]).tolist())),
        content.fingerprint(chunk.columns, plan.target),
        (*convert(found, tuple[Sketch, ...]), Sketch((), None, tuple(smallest(of_table(chunk), SKETCH).tolist()))),
    )


def judged(found: Tally, number: int) -> Judged:
    """What the ledger keeps of a comparison that promoted nothing."""
    verdict = Verdict(Ruling.INCONCLUSIVE, "f1", found.rows, 0.8, 0.8, 0.05, number)
    return Judged("b", "a", found.holdout, "question", "file", verdict, sketches=found.sketches)


def known(found: Tally, rule: str) -> Tally:
    """The tally with the rows known by this rule."""
    by_all_as_it_is = found.sketches[-1:]
    return replace(found, sketches=found.sketches[:-1] if rule == PROMOTE else by_all_as_it_is)


def once(effort: float = 1.0) -> Table:
    """The number of the comparison on a holdout that has had ten, by what is written anew."""
    del effort  # nothing is drawn
    frame = holdout(np.random.default_rng(8))
    first = counted(Spelt(frame), [])
    figures: Table = {}
    for name, anew in ANEW.items():
        other = counted(anew(frame, 0), [judged(known(first, PROMOTE), USES)])
        figures[name] = {
            rule: Figure(next_comparison(known(other, rule), [judged(known(first, rule), USES)], USES), 0)
            for rule in (WHOLE, PROMOTE)
        }
    return figures


@cache
def chain() -> dict[str, list[int]]:
    """The numbers of fifty comparisons on a holdout that is written anew before each, by how rows are known."""
    frame, ledgers = holdout(np.random.default_rng(8)), {WHOLE: list[Judged](), PROMOTE: list[Judged]()}
    for number in range(CHALLENGERS):
        anew = list(ANEW.values())[number % len(ANEW)]
        spelt = anew(frame, number // len(ANEW))
        found = counted(spelt, ledgers[PROMOTE])
        for rule, ledger in ledgers.items():
            ledger.append(judged(known(found, rule), next_comparison(known(found, rule), ledger, USES)))
    return {rule: [each.verdict.look for each in ledger] for rule, ledger in ledgers.items()}


def promotes(counts: Ints, numbers: list[int]) -> bool:
    """Whether one of these challengers is promoted, each judged in the comparison with its number."""
    champion, challenger = scores(counts)
    better = np.flatnonzero(challenger > champion)
    return any(judge(tally(counts[each]), GATE, numbers[each]).ruling is Ruling.PROMOTE for each in better)


def fifty(effort: float = 1.0) -> Table:
    """How often one of fifty challengers that are no better is promoted on a holdout that is written anew each time."""
    rng, replications = np.random.default_rng(9), round(REPLICATIONS * effort)
    drawn = [challengers(rng) for _ in range(replications)]
    return {
        rule: {
            "comparison 50 is counted as": Figure(numbers[-1], 0),
            PROMOTED: of_share(sum(promotes(counts, numbers) for counts in drawn), replications),
        }
        for rule, numbers in chain().items()
    }
