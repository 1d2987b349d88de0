"""The gate on controls: challengers of which it is known that none deserves to be promoted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from retrain.context import Context
from retrain.core.events import Judged
from retrain.core.explain import name_of
from retrain.core.judge import judge, next_look
from retrain.core.rules import Gate
from retrain.core.text import counted
from retrain.core.verdicts import Ruling, Tally, Verdict
from retrain.doctor.findings import Finding, broken, mind, ok
from retrain.effects import evaluation, registry
from retrain.errors import RetrainError

ITSELF, SHUFFLED, ALWAYS = "itself", "shuffled", "always "
"""The names of the controls: the champion, its predictions in another order, one label for every row."""


def rule_on(tallies: Mapping[str, Tally], gate: Gate) -> tuple[Finding, ...]:
    """What the gate says to each control, by the name of its tally, at the first and so most generous look.

    A gate that would promote one is broken: it, the holdout or the champion is not what it is taken for. The last
    finding is about a challenger that knows every label, and says whether there is anything left to promote.
    """
    if not tallies:
        return ()
    found = [_rule_on(name, tally, gate) for name, tally in tallies.items()]
    return (*found, _on_knowing(judge(_knowing(next(iter(tallies.values()))), gate, 1)))


def _on_knowing(verdict: Verdict) -> Finding:
    nobody = "would promote nobody, not even a challenger that knows every label"
    if verdict.ruling is Ruling.PROMOTE:
        return ok("gate", "would promote a challenger that knows every label")
    if verdict.ruling is Ruling.REJECT or verdict.challenger_score is None:
        return broken("gate", f"{nobody}: {verdict.message}")
    return mind(
        "gate",
        f"{nobody}: this champion has next to nothing left to win here ({counted(verdict.discordant or 0, 'error')})",
    )


def _knowing(tally: Tally) -> Tally:
    """The tally of a challenger that knows every label."""
    return replace(tally, cells=tuple(replace(cell, challenger=cell.truth) for cell in tally.cells))


def _rule_on(name: str, tally: Tally, gate: Gate) -> Finding:
    verdict = judge(tally, gate, 1)
    who = _who(name)
    scores = "" if verdict.challenger_score is None else f"{name_of(gate)} {verdict.challenger_score:.3f}"
    scores += "" if verdict.champion_score is None else f" against the champion's {verdict.champion_score:.3f}"
    if verdict.ruling is not Ruling.PROMOTE:
        return ok("gate", f"turns down {who}" + (f" ({scores})" if scores else ""))
    return broken("gate", f"would promote {who} ({scores}): {_mend(verdict.champion_score, gate)}")


def _who(name: str) -> str:
    if name == ITSELF:
        return "the champion itself"
    if name == SHUFFLED:
        return "the champion with its predictions shuffled"
    return f"a dummy that always says {name.removeprefix(ALWAYS)}"


def _mend(champion_score: float | None, gate: Gate) -> str:
    """What to look at where a control gets through."""
    if champion_score is None:
        return "without a champion the floor alone decides; raise promotion.floor above what knowing nothing reaches"
    if gate.min_improvement < 0:
        return f"promotion.min_improvement {gate.min_improvement:+g} lets too much through; raise it"
    return (
        "the champion does worse on this holdout than knowing nothing. Are promotion.positive, promotion.target and the"
        " labels of the holdout right?"
    )


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
