"""What people and programs are notified of: the kind of every event, and the CloudEvent that is made of it."""

from typing import Any
from urllib.parse import quote

from msgspec import to_builtins
from msgspec.structs import replace

from retrain.core import events
from retrain.core.describe import said
from retrain.core.events import Entry, Event
from retrain.core.explain import disclosed
from retrain.core.kinds import Kind
from retrain.core.past import PAUSED, TRAINING, UNKNOWN, kind_of
from retrain.core.records import Outcome
from retrain.core.rules import Gate
from retrain.core.text import iso
from retrain.core.verdicts import Ruling

_RULINGS = {Ruling.REJECT: Kind.REJECTED, Ruling.INCONCLUSIVE: Kind.INCONCLUSIVE}
_INCIDENTS = {UNKNOWN: Kind.UNKNOWN, TRAINING: Kind.TRAINING_FAILED, PAUSED: Kind.PAUSED}


def kind(event: Event) -> Kind:
    """The kind of this event."""
    match event:
        case events.Checked() if event.news and event.incident is not None:
            return _INCIDENTS.get(kind_of(event.incident), Kind.NEEDS_A_PERSON)
        case events.Checked():
            return Kind.RECOVERED if event.recovered else Kind.CHECKED
        case events.TrainingFinished():
            return Kind.TRAINING_FAILED if event.failed else Kind.TRAINED
        case events.Judged():
            is_new = not (event.repeated or event.dry_run)
            return _RULINGS.get(event.verdict.ruling, Kind.JUDGED) if is_new else Kind.JUDGED
        case events.SwapUndone():
            return Kind.NEEDS_A_PERSON if event.failed else Kind.SWAP_UNDONE
        case events.NotJudged():
            return Kind.NEEDS_A_PERSON
    return next(Kind(name) for name, each in events.KINDS.items() if each is type(event))


def is_news(event: Event) -> bool:
    """Whether a person hears of it: not of a training that fails again for the same cause, unless it was cut short."""
    return not isinstance(event, events.TrainingFinished) or event.news or event.outcome is Outcome.INTERRUPTED


def message(event: Event, gate: Gate) -> str:
    """The event in a sentence, with all that was reported."""
    return f"{event.notice}{event.message}" if isinstance(event, events.Checked) else said(event, gate)


def cloud_event(entry: Entry, name: str, gate: Gate) -> dict[str, Any]:
    """The event as a CloudEvent 1.0 in JSON; its id is the same whenever it is sent, and no other event has it.

    See https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md.
    """
    event = entry.event
    if isinstance(event, events.Judged):
        shown = disclosed(event.verdict, gate, wins=event.verdict.ruling is Ruling.PROMOTE)
        event = replace(event, verdict=shown if shown is event.verdict else replace(shown, counts=None))
    about = getattr(event, "run", None) or getattr(event, "version", None) or getattr(event, "challenger", None)
    return {
        "specversion": "1.0",
        # A journal that begins anew counts from 1 again.
        "id": f"{entry.at:%Y%m%dT%H%M%S.%fZ}-{entry.id}",
        "source": f"/retrain/{quote(name, safe='')}",
        "type": f"retrain.{kind(event)}",
        "time": iso(entry.at),
        **({"subject": about} if about else {}),
        "datacontenttype": "application/json",
        "data": {**to_builtins(event), "name": name, "message": message(event, gate)},
    }
