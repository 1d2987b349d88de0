"""`retrain status`: the state in a word, what is served, what waits, what the next check may do, the latest events.

And `retrain prune`, which shortens the journal that they are read from.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from retrain.config import Config
from retrain.config.schema import HoldoutKind, Remote
from retrain.context import Context
from retrain.core import events, evidence, news
from retrain.core.decide import RESUME, Asked, barrier, decide, fruitless, is_worse, same_rows_text
from retrain.core.describe import said
from retrain.core.events import Entry, Judged
from retrain.core.evidence import latest
from retrain.core.explain import RENEW, contradiction
from retrain.core.fold import as_of
from retrain.core.past import FAILED, STUCK, Past, Probation, kind_of
from retrain.core.records import JUDGED, Action, Assessment, Decision, Reason, Signal, State, Trouble, Unknown
from retrain.core.rules import Triggers
from retrain.core.text import counted, duration, iso, moment, short
from retrain.core.verdicts import Ruling
from retrain.effects import files, lock, registry, training
from retrain.effects.journal import Journal
from retrain.errors import Report, RetrainError
from retrain.page import Standing
from retrain.swap import journal_of, probation_of

if TYPE_CHECKING:
    from retrain.mirror import Step

_TONES = {"HEALTHY": "green", "NEEDS A PERSON": "red"}


class _Known(Struct, frozen=True):
    """All that is known now; `due` is what a check would decide, `until` when the probation of the champion ends.

    `followed` is how the registry of others stands, where there is one.
    """

    now: datetime
    past: Past
    last: Entry | None
    compared: Judged | None
    serving: registry.Served | None
    holder: lock.Holder | None
    seen: tuple[Assessment, ...]
    due: Decision
    new: Probation | None
    until: datetime
    followed: "Step | None"


def standing(context: Context, journal: Journal) -> Standing:
    """How this project stands."""
    config, known = context.config, _known(context, journal)
    serving, lost = known.serving, registry.lost(config.models, known.serving, known.past)
    word, why = ("NEEDS A PERSON", lost.message) if lost is not None else _state(known)
    screen = _screen(config, known) | ({"next check": "stops until a repair"} if lost is not None else {})
    since = serving and _since(serving, known.past)
    data = {
        "name": config.name,
        "state": word,
        "champion": serving and {"version": serving.version, "since": since and iso(since)},
        **_numbers(config, known),
        "holdout": screen["holdout"] or None,
    }
    return Standing(word, why, screen, data)


def status(context: Context, limit: int) -> Report:
    """The report of how things stand; it changes nothing."""
    config = context.config
    with journal_of(context, writable=False) as journal:
        found, events_shown = standing(context, journal), journal.turning_points(limit)
    word = found.word
    text = [f"{word}: {found.why}", *(f"{title:<12}{line}" for title, line in found.lines.items() if line)]
    lately = [(entry.at, news.kind(entry.event), said(entry.event, config.gate)) for entry in events_shown]
    text += ["latest events, newest first"] if lately else []
    text += [f"  {moment(at)}  {message}" for at, _, message in lately]
    data = {
        **found.data,
        "message": "\n".join(text),
        "events": [{"at": iso(at), "kind": kind, "message": message} for at, kind, message in lately],
    }
    return Report("\n".join(text), data, tones={word: _TONES.get(word, "yellow")})


def _known(context: Context, journal: Journal) -> _Known:
    """What the journal, the lock and the registry say."""
    triggers, now = context.config.triggers, context.clock()
    past, last, serving = as_of(journal.past(), None, now), journal.last_check(), registry.served(context.config.models)
    seen, probation = _readings(last, past, triggers, now), probation_of(context, past)
    until = past.probation.since + probation if past.probation is not None and probation is not None else now
    due = decide(past, seen, triggers, now, Asked(serving.made_at if serving is not None else None, probation))
    compared, holder = next(journal.latest_judgements(), None), lock.holder(context.config.state)
    followed = None
    if context.config.registry is not None:
        from retrain import mirror

        followed = mirror.standing(context.config.registry, journal)
    new = past.probation if now < until else None
    return _Known(now, past, last, compared, serving, holder, seen, due, new, until, followed)


def _screen(config: Config, known: _Known) -> dict[str, str]:
    """The lines below the state by their titles; an empty one is not shown."""
    past, triggers, in_vain = known.past, config.triggers, fruitless(known.past, config.triggers)
    pause = past.paused(known.now)
    is_counted = known.compared is not None and config.promotion.rows is not None
    used = f"{known.compared.verdict.look} of {config.promotion.holdout_uses}" if known.compared and is_counted else ""
    return {
        **{str(each.signal): _reading(each) for each in known.seen},
        "champion": _champion(known) + _scored(known.compared, past.served),
        "paused": f"{pause.what} ({RESUME})" if pause is not None else "",
        "challenger": _challenger(past, config),
        "trainings": in_vain.message if in_vain is not None else "",
        "comparisons": f"{used} used on the holdout (promotion.holdout_uses)" if used else "",
        "holdout": _stale(config.promotion.holdout, known.compared, past),
        "evidence": evidence.text(past.evidence, triggers) if triggers.evidence is not None else "",
        "probation": _probation(known.new, past, triggers, known.until) if known.new is not None else "",
        "registry": str(known.followed or ""),
        "last check": _last_check(known.last, known.now),
        "next check": _next(known, triggers),
    }


def _numbers(config: Config, known: _Known) -> dict[str, object]:
    """What --json has besides the state and the texts."""
    past, triggers, kept = known.past, config.triggers, set(registry.kept(config.models))
    held, in_vain, pause = barrier(past, triggers, known.now), fruitless(past, triggers), past.paused(known.now)
    return {
        "previous": [version for version in past.lineage[::-1] if version in kept],
        "challenger": past.challenger
        and {"version": past.challenger.version, "since": iso(past.challenger.at), "judged": past.challenger.settled},
        "metrics": {each.signal: _values(each) for each in known.seen},
        "last_check": known.last and {"at": iso(known.last.at), **_decided(known.last.event)},
        "evidence": triggers.evidence
        and {"score": evidence.gathered(past.evidence, triggers), "bar": evidence.bar(past.evidence, triggers)},
        "probation": known.new and {"f1": known.new.f1, "before": known.new.before, "windows_below": known.new.count},
        "held_back": held and {"reason": held.kind, "message": held.why, "until": held.until and iso(held.until)},
        "paused": pause
        and {"reason": pause.reason, "since": iso(pause.since), "until": pause.until and iso(pause.until)}
        | {"by": pause.by and to_builtins(pause.by)},
        "registry": known.followed and to_builtins(known.followed) | {"since": known.followed.began},
        "unpromoted": past.unpromoted,
        "unpromoted_because": in_vain and in_vain.message,
        "failures": past.failures,
    }


def _state(known: _Known) -> tuple[str, str]:
    """The state, and why; the gravest where several apply."""
    past, due = known.past, known.due
    if registry.is_gone(known.serving, past):
        return "NEEDS A PERSON", "the champion is gone"
    event = known.last.event if known.last is not None else None
    if isinstance(event, events.Checked) and kind_of(event.incident or "") in (FAILED, STUCK):
        return "NEEDS A PERSON", event.message
    if past.run is not None and known.holder is not None:
        return "TRAINING", f"{past.run.id}, since {moment(past.run.at)}"
    if due.reason is Reason.NOT_REARMED:
        return "NEEDS A PERSON", due.sentence
    if past.challenger is not None and not past.challenger.settled:
        return "WAITING FOR PROMOTE", f"challenger {short(past.challenger.version)} of {moment(past.challenger.at)}"
    if not isinstance(event, events.Checked):
        return "UNKNOWN", "no check has run yet"
    if event.assessments and not known.seen:
        return "UNKNOWN", "no check has read the metrics of this champion yet"
    if due.reason is Reason.HEALTHY and known.seen:
        return "HEALTHY", due.why
    in_breach = due.breaches or due.action is not Action.HOLD
    return ("IN BREACH" if in_breach else "UNKNOWN"), due.why if known.seen else event.message


def _readings(last: Entry | None, past: Past, triggers: Triggers, now: datetime) -> tuple[Assessment, ...]:
    """What the last check read, without what is about a champion before the present one; what is stale is unknown."""
    if last is None or not isinstance(last.event, events.Checked):
        return ()
    is_own = last.event.served == past.served
    own = (each for each in last.event.assessments if is_own or each.state not in JUDGED)
    return tuple(_at(now, each, triggers.max_age.of(each.signal)) for each in own)


def _at(now: datetime, seen: Assessment, max_age: timedelta) -> Assessment:
    """The reading as it is at this time: unknown once it is older than `max_age`."""
    if seen.observed_at is None or now - seen.observed_at <= max_age:
        return seen
    why = f"the latest reading is {duration(now - seen.observed_at)} old and max_age is {duration(max_age)}"
    return replace(seen, state=State.UNKNOWN, unknown=Unknown(Trouble.STALE, why, "does cron run retrain check?"))


def _reading(seen: Assessment) -> str:
    """The latest value of a signal beside its threshold."""
    window = f", window to {moment(seen.observed_at)}" if seen.dated and seen.observed_at is not None else ""
    return f"{seen.numbers}{f' ({seen.series})' if seen.series else ''}{window}"


def _values(seen: Assessment) -> dict[str, float | None]:
    """The latest value of a signal and what it is compared with, for --json."""
    numbers = {"value": seen.value, "threshold": seen.threshold}
    numbers |= {"first_window": seen.drop.first} if seen.drop is not None else {}
    numbers |= {"f1_at_usual_share": seen.mix.f1, "usual_share": seen.mix.share} if seen.mix is not None else {}
    return numbers


def _champion(known: _Known) -> str:
    serving, past = known.serving, known.past
    if serving is None and past.served is not None:
        return f"GONE: the journal says that {short(past.served)} serves, but there is no file (retrain rollback)"
    if serving is None:
        return "none serves yet (retrain promote PATH puts the first one in service)"
    if serving.made_at is None:
        return f"GONE: dangling link to {short(serving.version or '?')}, {serving.path} (retrain rollback --to VERSION)"
    if serving.version is None:
        return f"{serving.path}, an ordinary file; the next training or promotion adopts it as a version"
    since, served_since = "", _since(serving, past)
    if served_since is not None:
        since = f" since {moment(served_since)} ({duration(known.now - served_since)})"
    elif past.swap is not None and serving.version == past.swap.version:
        since = f", being put in service (a {past.swap.swap})"
    elif past.served is not None:
        since = f", linked by hand (the journal says {short(past.served)})"
    before = f"; previous {short(past.lineage[-1])} (retrain rollback restores it)" if past.lineage else ""
    return f"{short(serving.version)}{since}{before}"


def _since(serving: registry.Served, past: Past) -> datetime | None:
    """Since when this version serves, as far as the journal knows."""
    return past.served_since if serving.version == past.served else None


def _scored(compared: Judged | None, served: str | None) -> str:
    """The champion's score in the latest comparison, as part of a sentence."""
    if compared is None or served not in (compared.champion, compared.challenger):
        return ""
    verdict = compared.verdict
    score = verdict.challenger_score if served == compared.challenger else verdict.champion_score
    return "" if score is None else f"; holdout {verdict.metric} {score:.3f} on {counted(verdict.rows, 'row')}"


def _stale(holdout: Path | Remote | HoldoutKind, compared: Judged | None, past: Past) -> str:
    """What is to be known of a holdout that the live F1 contradicts, where the champion was compared on it.

    A store is not asked whether it has others now: that may take long.
    """
    if compared is None or compared.verdict.counts is None or not isinstance(holdout, Path):
        return ""
    is_renewed = True
    with suppress(RetrainError):  # it is gone
        is_renewed = compared.file != files.stamp_of_rows(holdout)
    if is_renewed or past.served not in (compared.champion, compared.challenger):
        return ""
    why = contradiction(compared.verdict.counts[past.served == compared.challenger], latest(past))
    return f"{why} ({RENEW})" if why else ""


def _challenger(past: Past, config: Config) -> str:
    waiting, holdout = past.challenger, config.promotion.holdout
    if waiting is None:
        return "none waits"
    name = f"{short(waiting.version)} of {moment(waiting.at)}"
    if waiting.refused == events.UNKNOWN_ROWS:
        return f"{name} was refused: its training rows are not known (train anew)"
    if waiting.refused:
        return f"{name} was refused: a training may have read the holdout (a fresh holdout can judge it)"
    if waiting.ruling is None and holdout is HoldoutKind.LIVE:
        return f"{name} waits for labelled rows after its training (retrain promote says how many came)"
    if waiting.ruling is None:
        return f"{name} waits (retrain promote judges it)"
    if waiting.ruling is Ruling.PROMOTE and waiting.undone:
        return f"{name} won, but the hook after the swap failed (retrain promote tries again)"
    if waiting.ruling is Ruling.PROMOTE:
        return f"{name} won, but was not put in service (retrain promote does it)"
    anew = " (a fresh holdout can judge it anew)" if config.promotion.rows is not None else ""
    if waiting.undone:
        anew = ", and the hook after its forced promotion failed (promote --force --reason TEXT tries again)"
    return f"{name} was judged: {waiting.ruling}{anew}"


def _probation(new: Probation, past: Past, triggers: Triggers, until: datetime) -> str:
    """What the new champion must keep up, and how it does."""
    compared, what = same_rows_text(past), f"until {moment(until)} a check rolls back"
    if new.f1 is None or new.by_rows is not None:
        return "; ".join(filter(None, (f"{what} if {short(new.before)} is better on the same rows", compared)))
    windows = f"{counted(triggers.consecutive, 'window')} in a row with F1 below {new.f1:.3f}"
    beyond = ", if its windows together show it beyond chance" if new.old is not None else ""
    so_far = f"so far {new.count}"
    dispersion = evidence.dispersion_of(past.evidence, triggers)
    if new.old is not None and new.count and not is_worse(new.old, new.new, new.windows, dispersion):
        so_far += ", which chance may explain"
    what += f" after {windows}, which {short(new.before)} showed last{beyond}"
    return "; ".join(filter(None, (what, so_far, compared)))


def _last_check(last: Entry | None, now: datetime) -> str:
    if last is None:
        return "never (is retrain check in the crontab?)"
    reason = f": {last.event.action}, {last.event.reason}" if isinstance(last.event, events.Checked) else ""
    return f"{moment(last.at)} ({duration(now - last.at)} ago){reason}"


def _next(known: _Known, triggers: Triggers) -> str:
    """What the next check may do, and why."""
    past, due, holder, now = known.past, known.due, known.holder, known.now
    if past.run is not None or past.swap is not None:
        what = f"training {past.run.id}" if past.run is not None else "a swap"
        if holder is not None:
            return f"finds {what} under way, by {holder}"
        return f"completes or records {what}, which was interrupted"
    if due.action is not Action.HOLD:
        act = "trains" if due.action is Action.TRAIN else "rolls back"
        return f"{act}, if this still stands: {due.why}"
    held, what = barrier(past, triggers, now), _trigger(past, known.seen, triggers)
    if held is not None:
        before = f" before {moment(held.until)}" if held.until is not None else ""
        why = "it is paused" if held.kind is Reason.PAUSED else held.message
        what = f"trains nothing{before}: {why}"
    return "; ".join((what, *_conditions(past, triggers, now)))


def _trigger(past: Past, seen: tuple[Assessment, ...], triggers: Triggers) -> str:
    """What it takes for the next check to train."""
    if not triggers.watched:
        return "trains when the champion is too old (max_model_age)"
    counting, what, ways = [each.signal for each in seen], "in breach", []
    if triggers.evidence is not None:
        ways.append(f"when the evidence reaches {evidence.bar(past.evidence, triggers):.1f}")
        by_drop = triggers.max_drop is not None
        counting = [each for each in triggers.watched if each is Signal.DRIFT or by_drop]
        what = "of drift in breach" if not by_drop else "max_drop below the first"
        what += " or of drift in breach" if by_drop and Signal.DRIFT in counting else ""
    if triggers.evidence is None or counting:
        more = triggers.consecutive - max((past.streak(signal).count for signal in counting), default=0)
        ways.append(f"on a new window {what}" if more <= 1 else f"after {more} more windows {what}")
    return f"trains {' or '.join(ways)}"


def _conditions(past: Past, triggers: Triggers, now: datetime) -> Iterator[str]:
    """What else must be the case before a window counts."""
    if not triggers.watched:
        return
    settled_at = past.took_over_at + triggers.settle if past.took_over_at is not None else now
    if now < settled_at:
        yield f"only windows observed after {moment(settled_at)} count, when the champion has settled"
    if not past.drift.armed:
        yield "drift must be seen healthy once before it counts"


def _decided(event: events.Event) -> dict[str, str]:
    if not isinstance(event, events.Checked):
        return {}
    return {"action": event.action, "reason": event.reason, "message": event.message}


def prune(context: Context, keep: timedelta) -> Report:
    """The report of what was removed: checks older than `keep`, and logs as configured."""
    config, now = context.config, context.clock()
    with journal_of(context) as journal:
        journal.verify()
        events = journal.prune(now - keep, now)
    logs = training.tidy(context.logs, config.training.keep_logs, now)
    done = f"pruned {counted(events, 'check')} older than {duration(keep)} and {counted(logs, 'log')}"
    message = f"{done} (trainings, comparisons and promotions stay)"
    return Report(message, {"events": events, "logs": logs, "message": message}, news=bool(events or logs))
