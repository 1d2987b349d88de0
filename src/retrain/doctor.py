"""`retrain doctor`: what would otherwise be found out at night: do the metrics come, and can the gate say no?"""

from collections.abc import Callable, Iterator

from retrain.context import Context
from retrain.core.assess import assess
from retrain.core.controls import rule_on
from retrain.core.records import State
from retrain.core.verdicts import Finding
from retrain.effects import evaluation, monitoring, registry
from retrain.effects.journal import open_journal
from retrain.errors import Exit, RetrainError
from retrain.report import Report


def doctor(context: Context, progress: Callable[[float], None]) -> Report:
    """The report of all that was looked at; exit code 1 where something is broken. It changes nothing."""
    findings = [*_metrics(context), *_gate(context, progress)]
    broken = [each for each in findings if not each.ok]
    lines = [f"{'ok' if each.ok else 'BROKEN':<8}{each.what:<9}{each.sentence}" for each in findings]
    sound = f"all {len(findings)} ok: retrain can do its work (whether the model is good, retrain status tells)"
    lines.append(f"{len(broken)} of {len(findings)} broken" if broken else sound)
    data = {
        "findings": [{"what": each.what, "ok": each.ok, "message": each.sentence} for each in findings],
        "message": "\n".join(lines),
    }
    return Report("\n".join(lines), data, Exit.FAILED if broken else Exit.DONE)


def _metrics(context: Context) -> Iterator[Finding]:
    """Whether every signal is known now."""
    config = context.config
    if config.monitoring is None:
        return
    with open_journal(config.state, writable=False) as journal:
        past = journal.past()
    snapshot = monitoring.fetch(config.monitoring, context.secrets, context.clock())
    for each in assess(snapshot, config.triggers, past):
        known = each.state is not State.UNKNOWN
        yield Finding("metrics", known, f"can be read: {each.sentence}" if known else each.sentence)


def _gate(context: Context, progress: Callable[[float], None]) -> tuple[Finding, ...]:
    """Whether the gate turns down what nobody should promote. No look is used up: nothing can come of it."""
    config = context.config
    try:
        serving = registry.served(config.models)
        champion = serving.path if serving is not None else None
        tallies = evaluation.controls(
            champion, config.promotion, config.training.directory, progress, models=config.models
        )
    except RetrainError as error:
        return (Finding("gate", False, f"cannot be tried: {error}"),)
    return rule_on(tallies, config.gate)
