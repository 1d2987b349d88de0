"""An event of the journal in a sentence, for every reader: status, history, messages and pages."""

from retrain.core import events
from retrain.core.explain import disclosed
from retrain.core.rules import Gate
from retrain.core.text import counted, duration, moment, short
from retrain.core.verdicts import Ruling


def said(event: events.Event, gate: Gate) -> str:
    """An event of the journal in a sentence, and the person who is behind it."""
    by = event.by if isinstance(event, events.Attributed) else None
    return f"{describe(event, gate)}; by {by}" if by is not None else describe(event, gate)


def describe(event: events.Event, gate: Gate) -> str:  # noqa: PLR0912  (a case an event)
    """An event of the journal in a sentence, with the scores that promotion.disclose does not withhold."""
    match event:
        case events.Checked() | events.TrainingFinished() | events.SwapUndone() | events.HistoryLost():
            return event.message
        case events.Undelivered() | events.Delivered():
            return event.message
        case events.TrainingStarted():
            return f"started training {event.run}: {event.message}"
        case events.Judged():
            again = " (recorded verdict)" if event.repeated else ""
            wins = event.verdict.ruling is Ruling.PROMOTE
            verdict, scores = disclosed(event.verdict, gate, wins=wins), ""
            if verdict.challenger_score is not None:
                scores = f", {verdict.metric} {verdict.challenger_score:z.3f}"
                scores += "" if verdict.champion_score is None else f" against {verdict.champion_score:z.3f}"
            return f"compared {short(event.challenger)}{again}: {verdict.ruling}, comparison {verdict.look}{scores}"
        case events.NotJudged():
            return f"could not judge {short(event.version)}: {event.message}"
        case events.SwapStarted():
            return f"began the {event.swap} of {short(event.version)}"
        case events.Promoted():
            how = f" by force: {event.reason}" if event.forced else ""
            return f"promoted {short(event.version)}{_instead(event.previous)}{how}"
        case events.RolledBack():
            failed = f"; {event.problem}" if event.problem else ""
            return f"rolled back to {short(event.version)}{_instead(event.previous)}{_because(event.reason)}{failed}"
        case events.Rejected():
            return f"rejected {short(event.version)}{_because(event.reason)}"
        case events.Adopted():
            return f"adopted the champion file as {short(event.version)}"
        case events.Paused():
            ends = f" for {duration(event.length)}" if event.length is not None else ""
            return f"paused{ends}{_because(event.reason)}"
        case events.Resumed():
            return "resumed: checks may train again"
        case events.Pruned():
            return f"pruned {counted(event.events, 'event')} from before {moment(event.before)}"


def _instead(previous: str | None) -> str:
    return f" in place of {short(previous)}" if previous else ", the first champion"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
