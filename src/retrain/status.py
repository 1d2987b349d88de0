"""`retrain status`: what is served, what waits, what the next check may do and why, what happened lately."""

from dataclasses import dataclass
from datetime import datetime

from retrain.context import Context
from retrain.core.decide import Barrier, barrier, stands
from retrain.core.recall import Past
from retrain.core.records import (
    Adopted,
    Checked,
    Entry,
    Event,
    Judged,
    NotJudged,
    Promoted,
    Rejected,
    RolledBack,
    SwapStarted,
    SwapUndone,
    TrainingFinished,
    TrainingStarted,
    Verdict,
)
from retrain.core.words import duration, iso, moment, short
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.report import Report


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the screen: a heading and its sentence."""

    heading: str
    text: str


def status(context: Context, limit: int) -> Report:
    """The report of how things stand; it changes nothing."""
    config, now = context.config, context.clock()
    with open_journal(config.state, writable=False) as journal:
        past, last = journal.past(), journal.last_check()
        events = journal.turning_points(limit)
    serving = registry.served(config.models)
    held = barrier(past, config.triggers, now)
    lines = [
        _Line("champion", _champion(serving, past, now)),
        _Line("challenger", _challenger(past)),
        _Line("last check", _last_check(last, now)),
        _Line("next check", _next(context, past, last, held)),
    ]
    lately = [f"{moment(entry.at)}  {tell(entry.event)}" for entry in events]
    text = [f"{line.heading:<12}{line.text}" for line in lines]
    text += ["lately", *(f"  {line}" for line in lately)] if lately else ["lately      nothing has happened yet"]
    data = {
        "champion": None if serving is None else {"version": serving.version, "since": _iso(past.served_since)},
        "previous": list(past.lineage[::-1]),
        "challenger": past.challenger
        and {"version": past.challenger.version, "since": iso(past.challenger.at), "judged": past.challenger.settled},
        "last_check": None if last is None else {"at": iso(last.at), **_decision(last.event)},
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
        case Checked() | TrainingFinished() | SwapUndone():
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


def _in_short(verdict: Verdict) -> str:
    scores = [f"{verdict.metric} {verdict.challenger_score:.3f}"] if verdict.challenger_score is not None else []
    scores += [f"against {verdict.champion_score:.3f}"] if verdict.champion_score is not None else []
    return f"{verdict.ruling}, look {verdict.look}" + (f", {' '.join(scores)}" if scores else "")


def _champion(serving: registry.Served | None, past: Past, now: datetime) -> str:
    if serving is None:
        return "none serves yet (retrain promote PATH puts the first one in service)"
    if serving.made_at is None:
        return f"{short(serving.version or '?')} is linked, but its file {serving.path} is GONE (retrain rollback --to)"
    if serving.version is None:
        return f"{serving.path}, an ordinary file; the next training or promotion adopts it as a version"
    since = ""
    if serving.version != past.served:
        since = f", put there by hand (the journal says {short(past.served)})" if past.served else ""
    elif past.served_since is not None:
        since = f" since {moment(past.served_since)} ({duration(now - past.served_since)})"
    before = f"; before it {short(past.lineage[-1])} (retrain rollback)" if past.lineage else ""
    return f"{short(serving.version)}{since}{before}"


def _challenger(past: Past) -> str:
    waiting = past.challenger
    if waiting is None:
        return "none waits"
    state = "was judged; a fresh holdout can judge it anew" if waiting.settled else "waits (retrain promote judges it)"
    return f"{short(waiting.version)} of {moment(waiting.at)} {state}"


def _last_check(last: Entry | None, now: datetime) -> str:
    if last is None:
        return "never (is retrain check in the crontab?)"
    return f"{moment(last.at)} ({duration(now - last.at)} ago): {tell(last.event)}"


def _next(context: Context, past: Past, last: Entry | None, held: Barrier | None) -> str:
    """What the next check may do, and why."""
    triggers = context.config.triggers
    if past.run is not None or past.swap is not None:
        what = f"training {past.run.id}" if past.run is not None else "a swap"
        holder = lock.holder(context.config.state)
        if holder is not None:
            return f"finds {what} under way, by {holder}"
        return f"settles {what}, which was interrupted"
    seen = last.event.assessments if last is not None and isinstance(last.event, Checked) else ()
    due = [each for each in seen if stands(past, each, triggers)]
    if held is not None:
        until = f" until {moment(held.until)}" if held.until is not None else ""
        return f"{'holds' if due else 'would hold'} a breach back{until}: {held.sentence} ({held.remedy})"
    if due:
        return f"trains, if this still stands: {'; '.join(each.sentence for each in due)}"
    streaks = [past.streak(each.signal).count for each in seen]
    more = triggers.consecutive - max(streaks, default=0)
    return (
        f"trains after {more} more window{'s' if more > 1 else ''} in breach"
        if more > 1
        else "trains on a new window in breach"
    )


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
