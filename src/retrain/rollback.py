"""`retrain rollback`: put an earlier champion back."""

from retrain.context import Context
from retrain.core.events import Swap, SwapStarted
from retrain.core.past import Past
from retrain.core.words import short
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.errors import ConfigError, RetrainError
from retrain.handover import hand_over, settle
from retrain.report import Report


def rollback(context: Context, to: str | None, reason: str) -> Report:
    """The report of the swap back to the champion before this one, or to the version with the prefix `to`."""
    config = context.config
    if to is not None and not to.strip():
        raise ConfigError("--to is empty and names no version (an unset variable?)")
    registry.refuse_open_doors(config.models)
    with open_journal(config.state) as journal, lock.hold(config.state, "rollback", context.clock()) as lock_fd:
        settled = (*journal.news, *settle(context, journal, lock_fd))
        serving = registry.served(config.models)
        current = serving.version if serving is not None else None
        version = registry.find(config.models, to) if to is not None else _before(journal.past(), current)
        if version == current:
            raise RetrainError(f"{short(version)} is the champion already")
        hand_over(context, journal, SwapStarted(Swap.ROLLBACK, version, current, reason), lock_fd)
    gone = f", {short(current)} is out of service" if current is not None else ""
    before = f" (before that, {'; '.join(settled)})" if settled else ""
    message = f"rolled back: {short(version)} serves again{gone}{before}"
    return Report(message, {"champion": version, "previous": current, "reason": reason, "message": message})


def _before(past: Past, current: str | None) -> str:
    """The champion before this one; the last one itself where the link to it is gone."""
    if current is None and past.served is not None:
        return past.served
    before = [version for version in past.lineage if version != current]
    if not before:
        raise RetrainError("there is no champion before this one to go back to (--to names a kept version)")
    return before[-1]
