"""The gate on controls: challengers that must not be promoted."""

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from retrain.context import Context
from retrain.core.explain import because, name_of
from retrain.core.judge import judge, next_comparison
from retrain.core.rules import Gate
from retrain.core.text import counted
from retrain.core.verdicts import Ruling, Tally
from retrain.doctor.findings import Finding, fail, ok, warn
from retrain.doctor.state import History
from retrain.effects import evaluation, registry
from retrain.errors import RetrainError

_CONTROLS = {"itself": "the champion itself", "shuffled": "the champion with its predictions shuffled"}
"""What the controls are, by the names of their tallies; the others predict one label for every row."""


def gate(context: Context, known: History, progress: Callable[[float], None]) -> Iterator[Finding]:
    """Holdout and champion, and the verdict on each control. No comparison is used up: nothing can come of it."""
    config = context.config
    try:
        serving = registry.served(config.models)
        champion = serving.path if serving is not None else None
        directory, scrub = config.training.directory, context.secrets.scrub
        tallies = evaluation.controls(
            champion, config.promotion, directory, progress, models=config.models, scrub=scrub
        )
    except evaluation.Unscorable as error:
        what = "holdout" if error.side == "holdout" else "champion"
        yield fail(what, f"{error.why}; the gate was not tested", remedy=error.remedy)
        return
    except RetrainError as error:
        yield fail("gate", f"was not tested: {error.why}", remedy=error.remedy)
        return
    tally = next(iter(tallies.values()), None)
    if tally is not None:
        yield _holdout(context, tally, known, has_champion=champion is not None)
    yield from rule_on(tallies, config.gate)


def rule_on(tallies: Mapping[str, Tally], gate: Gate) -> Iterator[Finding]:
    """The verdict on each control at the first comparison, which is the most generous one.

    A gate that would promote one fails: it, the holdout or the champion is not what it is taken for. The last finding
    is about a challenger that knows every label, and says whether any can be promoted.
    """
    for name, tally in tallies.items():
        yield _control(name, tally, gate)
    if tallies:
        yield _perfect(next(iter(tallies.values())), gate)


def _control(name: str, tally: Tally, gate: Gate) -> Finding:
    verdict, who = judge(tally, gate, 1), _CONTROLS.get(name, f"a model that knows nothing ({name})")
    new, old = verdict.challenger_score, verdict.champion_score
    scores = f"{name_of(gate)} {new:z.3f}" if new is not None else ""
    scores += f", the champion's {old:z.3f}" if old is not None else ""
    if verdict.ruling is not Ruling.PROMOTE:
        return ok("gate", f"turns down {who}", scores)
    if old is None:
        remedy = "raise promotion.floor above what a model reaches that knows nothing"
    elif gate.min_improvement < 0:
        remedy = f"raise promotion.min_improvement, which is {gate.min_improvement:+g}"
    else:
        remedy = (
            "the champion does worse here than a model that knows nothing; are promotion.positive, promotion.target and"
            " the labels of the holdout right?"
        )
    return fail("gate", f"would promote {who}", scores, remedy=remedy)


def _perfect(tally: Tally, gate: Gate) -> Finding:
    """The verdict on a challenger that knows every label."""
    known = replace(tally, cells=tuple(replace(cell, challenger=cell.truth) for cell in tally.cells))
    verdict, none = judge(known, gate, 1), "would not even promote a challenger that knows every label"
    if verdict.ruling is Ruling.PROMOTE:
        return ok("gate", "would promote a challenger that knows every label")
    if verdict.ruling is Ruling.REJECT or verdict.challenger_score is None:
        return fail("gate", none, because(verdict, gate)[0])
    errors = f"this champion makes {counted(verdict.discordant or 0, 'error')} on it"
    return warn("gate", none, errors, remedy="take more rows as holdout")


def _holdout(context: Context, tally: Tally, known: History, *, has_champion: bool) -> Finding:
    promotion = context.config.promotion
    used = next_comparison(tally, known.ledger, promotion.holdout_uses) - 1
    seen = f"{promotion.holdout} has {counted(tally.rows, 'row')} with the label {promotion.target!r}"
    seen += ", and the champion can predict them all" if has_champion else ""
    uses = f"{used} of {counted(promotion.holdout_uses, 'comparison')} used (promotion.holdout_uses)"
    if used < promotion.holdout_uses:
        return ok("holdout", seen, uses)
    return warn("holdout", seen, uses, remedy="it shows less with each one: take fresh rows, and only fresh ones")
