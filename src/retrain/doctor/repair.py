"""`retrain doctor --repair`: settle a journal that is damaged, lost, or older than what serves."""

from collections.abc import Callable
from datetime import datetime

from retrain.context import Context
from retrain.core.events import HistoryLost
from retrain.core.text import duration, short
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.effects.journal.repair import begin_anew, damage, name_aside
from retrain.errors import Report

Announce = Callable[[str], None]


def repair(context: Context, announce: Announce) -> Report:
    """The report of what was repaired; what will be done is announced before it. Nothing but the journal is changed.

    Killed anywhere, a second run finishes it. Raises HeldError while another run holds the lock.
    """
    state, now = context.config.state, context.clock()
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
            return _begin_anew(context, again, served, now, announce)
        with open_journal(state, writable=False) as journal:
            lost = journal.past().lost(served)
        if lost is None:
            return _report("nothing to repair: the journal can be read, and knows what serves", served)
        announce(f"{lost.why}. It will begin anew from that champion; {_cost(context)}")
        with open_journal(state) as journal:
            journal.append(HistoryLost("", lost.why, served), now)
    return _report(f"repaired: the journal begins anew, with {_champion(served)}", served, repaired=True)


def _begin_anew(context: Context, found: str, served: str | None, now: datetime, announce: Announce) -> Report:
    state = context.config.state
    kept = name_aside(state, now)
    announce(f"the journal is damaged: {found}. It will be kept as {kept}, and a new one begin; {_cost(context)}")
    begin_anew(state, kept, served, now)
    message = f"repaired: a new journal begins, with {_champion(served)}; the damaged one is kept as {kept}"
    return _report(message, served, kept=str(kept), repaired=True)


def _cost(context: Context) -> str:
    """What a lost history means for the next decisions."""
    config = context.config
    return (
        f"the cooldown of {duration(config.triggers.cooldown)} starts now, and the unknown holdout comparisons count as"
        f" {config.promotion.holdout_uses} (promotion.holdout_uses)"
    )


def _champion(served: str | None) -> str:
    return f"champion {short(served)}" if served is not None else "no champion that retrain put in service"


def _report(message: str, served: str | None, *, kept: str | None = None, repaired: bool = False) -> Report:
    return Report(message, {"repaired": repaired, "kept": kept, "champion": served, "message": message})
