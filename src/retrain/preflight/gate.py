"""The holdout and the champion, scored once: do they fit, and can the gate say no?"""

from collections.abc import Callable, Iterator, Sequence

from retrain.context import Context
from retrain.core.controls import rule_on
from retrain.core.events import Judged
from retrain.core.findings import Finding, broken, mind, ok
from retrain.core.ledger import next_look
from retrain.core.verdicts import Tally
from retrain.core.words import counted
from retrain.effects import evaluation, registry
from retrain.errors import RetrainError


def gate(context: Context, judgements: Sequence[Judged], progress: Callable[[float], None]) -> Iterator[Finding]:
    """Holdout and champion, and what the gate says to each control. No look is used up: nothing can come of it."""
    config = context.config
    try:
        serving = registry.served(config.models)
        champion = serving.path if serving is not None else None
        tallies = evaluation.controls(
            champion, config.promotion, config.training.directory, progress, models=config.models
        )
    except evaluation.Unscorable as error:
        side = "holdout" if error.side == "holdout" else "champion"
        yield broken(side, f"{error} (so the gate cannot be tried)")
        return
    except RetrainError as error:
        yield broken("gate", f"cannot be tried: {error}")
        return
    tally = next(iter(tallies.values()), None)
    if tally is not None:
        yield _holdout(context, tally, judgements, has_champion=champion is not None)
    yield from rule_on(tallies, config.gate)


def _holdout(context: Context, tally: Tally, judgements: Sequence[Judged], *, has_champion: bool) -> Finding:
    promotion, looks = context.config.promotion, next_look(tally, judgements) - 1
    fits = ", and the champion can predict them all" if has_champion else ""
    told = f"{promotion.holdout} has {counted(tally.rows, 'row')} with the label {promotion.target!r}{fits}"
    uses = f"{looks} of {counted(promotion.holdout_uses, 'look')} used (promotion.holdout_uses)"
    if looks < promotion.holdout_uses:
        return ok("holdout", f"{told}; {uses}")
    return mind("holdout", f"{told}; {uses}, so that it can show less and less: take fresh rows, all of them")
