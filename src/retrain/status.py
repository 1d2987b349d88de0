"""`retrain status`: what is served, what waits, what the next check may do and why, what happened lately."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from retrain.context import Context
from retrain.core import evidence
from retrain.core.decide import barrier, fails_probation, is_worse, overdue, rolling_back, stands
from retrain.core.events import (
    UNKNOWN_ROWS,
    Adopted,
    Checked,
    Entry,
    Event,
    HistoryLost,
    Judged,
    NotJudged,
    Promoted,
    Pruned,
    Rejected,
    RolledBack,
    SwapStarted,
    SwapUndone,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.fold import as_of
from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Signal
from retrain.core.rules import Triggers
from retrain.core.text import counted, duration, iso, moment, short
from retrain.core.verdicts import Ruling, Verdict
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.errors import Report
from retrain.swap import probation_of


def status(context: Context, limit: int) -> Report:
    """The report of how things stand; it changes nothing."""
    config, now = context.config, context.clock()
    with open_journal(config.state, writable=False) as journal:
        past, last = as_of(journal.past(), None, now), journal.last_check()
        events = journal.turning_points(limit)
    serving, kept = registry.served(config.models), set(registry.kept(config.models))
    held, probation = barrier(past, config.triggers, now), probation_of(context, past)
    screen = {
        "champion": _champion(serving, past, now),
        "challenger": _challenger(past),
        "evidence": _evidence(past, config.triggers),
        "probation": _probation(past, probation, config.triggers, now),
        "last check": _last_check(last, now),
        "next check": _next(context, past, last, serving),
    }
    lately = [f"{moment(entry.at)}  {tell(entry.event)}" for entry in events]
    text = [f"{heading:<12}{line}" for heading, line in screen.items() if line]
    text += ["lately (newest first)", *(f"  {line}" for line in lately)] if lately else []
    data = {
        "champion": None if serving is None else {"version": serving.version, "since": _iso(_since(serving, past))},
        "previous": [version for version in past.lineage[::-1] if version in kept],
        "challenger": past.challenger
        and {"version": past.challenger.version, "since": iso(past.challenger.at), "judged": past.challenger.settled},
        "last_check": None if last is None else {"at": iso(last.at), **_decision(last.event)},
        "evidence": config.triggers.evidence
        and {
            "score": evidence.gathered(past.evidence, config.triggers),
            "bar": evidence.bar(past.evidence, config.triggers),
        },
        "probation": {"f1": past.trial.f1, "before": past.trial.before, "windows_below": past.trial.count}
        if past.trial is not None and _probation(past, probation, config.triggers, now)
        else None,
        "held_back": held and {"reason": held.reason, "message": held.sentence, "until": _iso(held.until)},
        "unpromoted": past.unpromoted,
        "failures": past.failures,
        "message": "\n".join(text),
        "events": [
            {"at": iso(entry.at), "kind": type(entry.event).__name__, "message": tell(entry.event)} for entry in events
        ],
    }
    return Report("\n".join(text), data)


def tell(event: Event) -> str:
    """An event of the journal in a sentence."""
    match event:
        case Checked() | TrainingFinished() | SwapUndone() | HistoryLost():
            return event.message
        case TrainingStarted():
            return f"started training {event.run}: {event.message.removeprefix('training: ')}"
        case Judged():
            again = " (from the record)" if event.repeated else ""
            return f"judged {short(event.challenger)}{again}: {_in_short(event.verdict)}"
        case NotJudged():
            return f"could not judge {short(event.version)}: {event.message}"
        case SwapStarted():
            return f"began the {event.swap} of {short(event.version)}"
        case Promoted():
            how = f" by force: {event.reason}" if event.forced else ""
            return f"promoted {short(event.version)}{_instead(event.previous)}{how}"
        case RolledBack():
            return f"rolled back to {short(event.version)}{_instead(event.previous)}" + _because(event.reason)
        case Rejected():
            return f"rejected {short(event.version)}{_because(event.reason)}"
        case Adopted():
            return f"adopted the champion file as {short(event.version)}"
        case Pruned():
            return f"pruned {counted(event.events, 'event')} from before {moment(event.before)}"


def _in_short(verdict: Verdict) -> str:
    scores = [f"{verdict.metric} {verdict.challenger_score:.3f}"] if verdict.challenger_score is not None else []
    scores += [f"against {verdict.champion_score:.3f}"] if verdict.champion_score is not None else []
    return f"{verdict.ruling}, look {verdict.look}" + (f", {' '.join(scores)}" if scores else "")


def _champion(serving: registry.Served | None, past: Past, now: datetime) -> str:
    if serving is None and past.served is not None:
        return f"GONE: the journal says that {short(past.served)} serves, but nothing is there (retrain rollback)"
    if serving is None:
        return "none serves yet (retrain promote PATH puts the first one in service)"
    if serving.made_at is None:
        return f"GONE: {short(serving.version or '?')} is linked, but {serving.path} is missing (retrain rollback --to)"
    if serving.version is None:
        return f"{serving.path}, an ordinary file; the next training or promotion adopts it as a version"
    since, served_since = "", _since(serving, past)
    if served_since is not None:
        since = f" since {moment(served_since)} ({duration(now - served_since)})"
    elif past.swap is not None and serving.version == past.swap.version:
        since = f", being put in service (a {past.swap.swap})"
    elif past.served is not None:
        since = f", put there by hand (the journal says {short(past.served)})"
    before = f"; before it {short(past.lineage[-1])} (retrain rollback)" if past.lineage else ""
    return f"{short(serving.version)}{since}{before}"


def _since(serving: registry.Served, past: Past) -> datetime | None:
    """Since when this version serves, as far as the journal knows."""
    return past.served_since if serving.version == past.served else None


def _challenger(past: Past) -> str:
    waiting = past.challenger
    if waiting is None:
        return "none waits"
    name = f"{short(waiting.version)} of {moment(waiting.at)}"
    if waiting.refused == UNKNOWN_ROWS:
        return f"{name} was refused, since nobody knows on which rows it was trained (train anew)"
    if waiting.refused:
        return f"{name} was refused, since a training may have seen the holdout (a fresh holdout can judge it)"
    if waiting.ruling is None:
        return f"{name} waits (retrain promote judges it)"
    if waiting.undone:
        return f"{name} won, but the hook after the swap failed (retrain promote tries again)"
    if waiting.ruling is Ruling.PROMOTE:
        return f"{name} won, but was not put in service (retrain promote does it)"
    return f"{name} was judged: {waiting.ruling} (a fresh holdout can judge it anew)"


def _evidence(past: Past, triggers: Triggers) -> str:
    """How far the evidence rule has come; empty without it."""
    return evidence.told(past.evidence, triggers).removeprefix("evidence ") if triggers.evidence is not None else ""


def _probation(past: Past, probation: timedelta | None, triggers: Triggers, now: datetime) -> str:
    """What the new champion must keep up, and how it does; empty where none is on probation."""
    trial = past.trial
    if trial is None or probation is None or now >= trial.since + probation:
        return ""
    windows = f"{counted(triggers.consecutive, 'window')} in a row with F1 below {trial.f1:.3f}"
    beyond = ", if its windows together show it beyond chance" if trial.old is not None else ""
    so_far = f"so far {trial.count}"
    if trial.old is not None and trial.count and not is_worse(trial.old, trial.new, trial.windows):
        so_far += ", which luck may explain"
    return (
        f"until {moment(trial.since + probation)} a check rolls back after {windows}, which {short(trial.before)}"
        f" showed last{beyond}; {so_far}"
    )


def _last_check(last: Entry | None, now: datetime) -> str:
    if last is None:
        return "never (is retrain check in the crontab?)"
    return f"{moment(last.at)} ({duration(now - last.at)} ago): {tell(last.event)}"


def _next(context: Context, past: Past, last: Entry | None, serving: registry.Served | None) -> str:
    """What the next check may do, and why."""
    triggers, now = context.config.triggers, context.clock()
    if past.run is not None or past.swap is not None:
        what = f"training {past.run.id}" if past.run is not None else "a swap"
        holder = lock.holder(context.config.state)
        return f"finds {what} under way, by {holder}" if holder else f"settles {what}, which was interrupted"
    seen = last.event.assessments if last is not None and isinstance(last.event, Checked) else ()
    failed = fails_probation(past, seen, triggers, probation_of(context, past), now)
    if failed is not None:
        rollback = rolling_back(past, failed, triggers, now, ())
        return rollback.message if rollback.action is Action.HOLD else f"rolls back, if this still stands: {failed}"
    due = [each.sentence for each in seen if stands(past, each, triggers)]
    age = overdue(past, serving.made_at if serving is not None else None, triggers, now)
    due += [age] if age is not None else []
    held = barrier(past, triggers, now)
    if held is not None:
        until = f" until {moment(held.until)}" if held.until is not None else ""
        return f"{'holds' if due else 'would hold'} a breach back{until}: {held.sentence} ({held.remedy})"
    if due:
        return f"trains, if this still stands: {'; '.join(due)}"
    return "; ".join(_ready(past, seen, triggers, now))


def _ready(past: Past, seen: Sequence[Assessment], triggers: Triggers, now: datetime) -> Iterator[str]:
    """What it would take for the next check to train."""
    if all(triggers.threshold(signal) is None for signal in Signal):
        yield "trains when the champion is too old (max_model_age)"
        return
    counting, of, ways = [each.signal for each in seen], "", []
    if triggers.evidence is not None:
        ways.append(f"when the evidence reaches {evidence.bar(past.evidence, triggers):.1f}")
        counting, of = [Signal.DRIFT], " of drift"
    if triggers.evidence is None or triggers.drift_threshold is not None:
        more = triggers.consecutive - max((past.streak(signal).count for signal in counting), default=0)
        ways.append(f"on a new window{of} in breach" if more <= 1 else f"after {more} more windows{of} in breach")
    yield f"trains {' or '.join(ways)}"
    settled_at = past.took_over_at + triggers.settle if past.took_over_at is not None else now
    if now < settled_at:
        yield f"only windows observed after {moment(settled_at)} count, when the champion has settled"
    if not past.drift.armed:
        yield "drift must be seen healthy once before it counts"


def _decision(event: Event) -> dict[str, str]:
    if not isinstance(event, Checked):
        return {}
    return {"action": event.action, "reason": event.reason, "message": event.message}


def _instead(previous: str | None) -> str:
    return f" in place of {short(previous)}" if previous else ", the first champion"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _iso(at: datetime | None) -> str | None:
    return iso(at) if at is not None else None
