"""What people and programs get of an event: its kind, the object of --json, and the CloudEvent."""

import re
from collections.abc import Collection, Mapping
from typing import Any, get_args
from urllib.parse import quote

from msgspec import to_builtins

from retrain.core import events
from retrain.core.describe import describe, said
from retrain.core.events import Entry, Event
from retrain.core.explain import disclosed, fields
from retrain.core.kinds import Kind
from retrain.core.past import PAUSED, TRAINING, UNKNOWN, kind_of
from retrain.core.records import Outcome
from retrain.core.rules import Gate
from retrain.core.text import iso
from retrain.core.verdicts import Ruling

_RULINGS = {Ruling.REJECT: Kind.REJECTED, Ruling.INCONCLUSIVE: Kind.INCONCLUSIVE}
_INCIDENTS = {UNKNOWN: Kind.UNKNOWN, TRAINING: Kind.TRAINING_FAILED, PAUSED: Kind.PAUSED}
_PLAIN = {each: re.sub(r"(?<!^)(?=[A-Z])", "_", each.__name__).lower() for each in get_args(Event)}
_FROM: Mapping[type[Event], Collection[Kind]] = {
    events.Checked: {*_INCIDENTS.values(), Kind.NEEDS_A_PERSON, Kind.RECOVERED},
    events.TrainingFinished: {Kind.TRAINED, Kind.TRAINING_FAILED},
    events.Judged: {*_RULINGS.values()},
    events.SwapUndone: {Kind.NEEDS_A_PERSON},
    events.NotJudged: {Kind.NEEDS_A_PERSON},
}
"""The kinds that events of a class may have besides that of its own name."""


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
    return Kind(_PLAIN[type(event)])


def classes(kinds: Collection[str]) -> list[str]:
    """The classes of the events that may be of these kinds, as the journal names them."""
    return [each.__name__ for each, name in _PLAIN.items() if {name, *_FROM.get(each, ())} & {*kinds}]


def is_news(event: Event) -> bool:
    """Whether a person hears of it: not of a training that fails again for the same cause, unless it was cut short."""
    return not isinstance(event, events.TrainingFinished) or event.news or event.outcome is Outcome.INTERRUPTED


def message(event: Event, gate: Gate) -> str:
    """The event in a sentence, with all that was reported."""
    return f"{event.notice}{event.message}" if isinstance(event, events.Checked) else said(event, gate)


def record(entry: Entry, gate: Gate) -> dict[str, Any]:
    """Everything that is known of an event, for --json, but for what promotion.disclose withholds and bulky hashes."""
    known = {"id": entry.id, "at": iso(entry.at), "kind": kind(entry.event), **_fields(entry.event, gate)}
    return known | {"message": describe(entry.event, gate)}


def _fields(event: Event, gate: Gate) -> dict[str, Any]:
    known: dict[str, Any] = to_builtins(event)
    for bulky in ("sketches", "past"):
        known.pop(bulky, None)
    return known | (compared(event, gate) if isinstance(event, events.Judged) else {})


def compared(judged: events.Judged, gate: Gate) -> dict[str, Any]:
    """A comparison with the names of `promote --json`, as far as promotion.disclose lets it be shown."""
    verdict = disclosed(judged.verdict, gate, wins=judged.verdict.ruling is Ruling.PROMOTE)
    return fields(verdict, judged.champion, judged.challenger)


def cloud_event(entry: Entry, name: str, gate: Gate) -> dict[str, Any]:
    """The event as a CloudEvent 1.0 in JSON; its id is the same whenever it is sent, and no other event has it.

    See https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md.
    """
    event = entry.event
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
        "data": {"name": name, **_fields(event, gate), "message": message(event, gate)},
    }
