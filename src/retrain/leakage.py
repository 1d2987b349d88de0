"""The guard of a comparison: has a training seen the rows of the holdout?"""

from dataclasses import dataclass
from pathlib import Path

from retrain.case import Case, Pair, stamp_of
from retrain.context import Context
from retrain.core.events import UNKNOWN_ROWS
from retrain.core.judge import leakage
from retrain.core.verdicts import Leaked
from retrain.core.words import short
from retrain.effects import registry
from retrain.errors import RetrainError


class RefusedError(RetrainError):
    """A training has seen the holdout, or nobody knows whether it has; `because` is all that this hangs on."""

    def __init__(self, message: str, version: str, because: str) -> None:
        super().__init__(f"refused: {message}")
        self.version, self.because = version, because


@dataclass(frozen=True, slots=True)
class KnownRows:
    """The hashes of the rows that each side was trained on, where leakage is checked and they are known."""

    challenger: Path | None = None
    champion: Path | None = None

    @property
    def stamp(self) -> str:
        """What changes when one of them becomes known or is known anew; empty where none is."""
        return ", ".join(stamp_of(path) for path in (self.challenger, self.champion) if path is not None)


def known_rows(context: Context, challenger: str, champion: str | None) -> KnownRows:
    """The files of the rows that both were trained on."""
    models = context.config.models
    if context.config.training.data is None:
        return KnownRows()
    of_champion = registry.rows_of(models, champion) if champion is not None else None
    return KnownRows(registry.rows_of(models, challenger), of_champion)


def basis(context: Context, rows: KnownRows) -> str:
    """All that a refusal hangs on: with another of these it must be asked anew."""
    promotion = context.config.promotion
    return f"{stamp_of(promotion.holdout)}; up to {promotion.max_leakage}; {rows.stamp}"


def told_of_leakage(case: Case, pair: Pair, leaked: Leaked, rows: int, known: KnownRows) -> list[str]:
    """What is to be told of holdout rows that a training has seen. Raises RefusedError where that forbids a verdict."""
    config, forced = case.context.config, case.order.forced is not None
    if config.training.data is None:
        return []
    too_much = leakage(leaked, rows, config.promotion.max_leakage)
    if too_much is not None and not forced:
        raise RefusedError(too_much, pair.challenger, basis(case.context, known))
    if leaked.challenger is None and pair.challenger in case.journal.past().trained and not forced:
        why = (
            f"it is not known on which rows challenger {short(pair.challenger)} was trained (training.data was not set,"
            " or could not be read, when its training ended), so the holdout may be among them: train anew"
        )
        raise RefusedError(why, pair.challenger, UNKNOWN_ROWS)
    sides = {"challenger": leaked.challenger, "champion": leaked.champion if pair.champion is not None else 0}
    unknown = [side for side, count in sides.items() if count is None]
    told = [f"Mind that {too_much}"] if too_much is not None else []
    if unknown:
        told.append(f"Leakage was not checked for the {' and the '.join(unknown)}, whose training rows are not known")
    return told
