"""`retrain doctor --repair`: settle a journal that is damaged, lost, or older than what serves."""

from collections.abc import Callable

from retrain.context import Context
from retrain.core.events import HistoryLost
from retrain.core.text import duration, short
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.effects.journal.repair import damage, name_aside, start_new
from retrain.errors import Report

Announce = Callable[[str], None]


def repair(context: Context, announce: Announce) -> Report:
    """The report of what was repaired; what will be done is announced before it. Nothing but the journal is changed.

    Killed anywhere, a second run finishes it. Raises HeldError while another run holds the lock.
    """
    state, now, cost = context.config.state, context.clock(), _cost(context)
    with lock.hold(state, "doctor --repair", now):
        serving = registry.served(context.config.models)
        served = serving.version if serving is not None else None
        found = damage(state)
        if found is not None:
            # A disk that fails once looks like damage: all is read again.
            again = damage(state)
            if again is None:
                left = f"the journal could not be read ({found}) and can be now; is the disk failing?"
                return _report(f"nothing was changed: {left}", served)
            kept = name_aside(state, now)
            announce(f"the journal is damaged: {again}. It will be kept as {kept}, and a new one started; {cost}")
            start_new(state, kept, served, now)
            done = f"repaired: a new journal starts with champion {short(served or 'none')}"
            return _report(f"{done}; the damaged one is kept as {kept}", served, kept=str(kept), repaired=True)
        with open_journal(state, writable=False) as journal:
            lost = journal.past().lost(served)
        if lost is None:
            return _report("nothing to repair: the journal can be read, and knows what serves", served)
        announce(f"{lost.why}. It will start again with that champion; {cost}")
        with open_journal(state) as journal:
            journal.append(HistoryLost("", lost.why, served), now)
    return _report(f"repaired: the journal starts again with champion {short(served or '')}", served, repaired=True)


def _cost(context: Context) -> str:
    """What a lost history means for the next decisions."""
    cooldown, uses = duration(context.config.triggers.cooldown), context.config.promotion.holdout_uses
    return f"the cooldown of {cooldown} starts now, and unknown holdout comparisons count as {uses} (holdout_uses)"


def _report(message: str, served: str | None, *, kept: str | None = None, repaired: bool = False) -> Report:
    return Report(message, {"repaired": repaired, "kept": kept, "champion": served, "message": message})
