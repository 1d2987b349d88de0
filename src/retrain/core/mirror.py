"""A registry of others as a mirror: what it should say of our versions, and the steps from what it says to that."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from retrain.core import events
from retrain.core.describe import describe
from retrain.core.events import Entry, Event, Judged
from retrain.core.explain import because, disclosed, signed
from retrain.core.past import Past
from retrain.core.rules import Gate
from retrain.core.text import one_line
from retrain.core.verdicts import Ruling

CHAMPION, CHALLENGER = "champion", "challenger"
"""The aliases: of what is served, and of what waits."""
VERSION = "retrain.version"
"""The tag by which an entry of the registry is known to be one of our versions."""
_LONGEST = 1000
"""Characters of a tag; MLflow takes 5,000 and more."""


class Wanted(Struct, frozen=True):
    """What the registry should say of a version: its tags and, where it serves or waits, its alias.

    `run` is the run in which its training logged it, as far as that is known. Only a version with an alias is
    registered where the registry lacks it.
    """

    version: str
    tags: Mapping[str, str]
    run: str = ""
    alias: str = ""


class Registered(Struct, frozen=True):
    """An entry of the registry: its number there, its run and its tags."""

    number: str
    run: str
    tags: Mapping[str, str]


class Found(Struct, frozen=True):
    """What the registry says of the model: whether it knows it, the numbers of its aliases, its entries."""

    known: bool
    aliases: Mapping[str, str]
    entries: tuple[Registered, ...]


class Create(Struct, frozen=True):
    """Create the model."""


class Register(Struct, frozen=True):
    """Register this version."""

    wanted: Wanted


class Point(Struct, frozen=True):
    """Let the alias be the entry with this number; None removes the alias."""

    alias: str
    number: str | None


class Tag(Struct, frozen=True):
    """Give the entry with this number a tag."""

    number: str
    key: str
    value: str


Step = Create | Register | Point | Tag


def steps(wanted: Sequence[Wanted], found: Found) -> list[Step]:
    """What is to do next; nothing where the registry is in step.

    Each step may be done twice. What is registered gets its alias when the registry is looked at again, so that a kill
    in between leaves nothing that a later look does not find. Aliases come first: they are what is served.
    """
    entries = {each.version: entry_of(each, found.entries) for each in wanted}
    aliases = {each.alias: entries[each.version] for each in wanted if each.alias}
    done: list[Step] = [
        Point(alias, entry.number)
        for alias, entry in aliases.items()
        if entry is not None and found.aliases.get(alias) != entry.number
    ]
    if CHALLENGER in found.aliases and CHALLENGER not in aliases:
        done.append(Point(CHALLENGER, None))
    done += [Create()] if not found.known and aliases else []
    done += [Register(each) for each in wanted if each.alias and entries[each.version] is None]
    for each in wanted:
        if (entry := entries[each.version]) is not None:
            done += [Tag(entry.number, key, text) for key, text in each.tags.items() if entry.tags.get(key, "") != text]
    return done


def entry_of(wanted: Wanted, entries: Iterable[Registered]) -> Registered | None:
    """The latest entry of this version: by its tag, else by its run, unless that entry is another version's."""
    latest = sorted(entries, key=lambda each: int(each.number), reverse=True)
    tagged = (each for each in latest if each.tags.get(VERSION) == wanted.version)
    of_run = (each for each in latest if wanted.run and each.run == wanted.run and not each.tags.get(VERSION))
    return next(tagged, None) or next(of_run, None)


def waits(past: Past) -> str | None:
    """The challenger that waits: one that was not judged yet, or that won and is not in service."""
    waiting = past.challenger
    if waiting is None or (waiting.settled and waiting.ruling is not Ruling.PROMOTE):
        return None
    return waiting.version


def concerns(event: Event) -> bool:
    """Whether the registry has something else to say after this event."""
    match event:
        case events.TrainingFinished():
            return event.challenger is not None
        case events.Undelivered() | events.Delivered() | events.Pruned() | events.Paused() | events.Resumed():
            return False
    return not isinstance(event, events.Checked | events.TrainingStarted | events.SwapStarted)


def tags(entries: Iterable[Entry], versions: Iterable[str], gate: Gate) -> dict[str, dict[str, str]]:
    """The tags of each of these versions by what happened, oldest first: an empty one says that there is nothing.

    The reason is that of the latest event about the version; its actor is `retrain` where nobody asked for it.
    """
    found = {each: dict.fromkeys((VERSION, *_OF_A_VERDICT, *_OF_AN_EVENT), "") | {VERSION: each} for each in versions}
    trainings: dict[str, events.TrainingStarted] = {}
    for entry in entries:
        event, about = entry.event, _about(entry.event)
        if isinstance(event, events.TrainingStarted):
            trainings[event.run] = event
        for version in about & found.keys():
            found[version] |= _of_event(event, trainings, gate)
    return found


_OF_A_VERDICT = ("retrain.verdict", "retrain.gain", "retrain.bounds", "retrain.comparison")
_OF_AN_EVENT = ("retrain.reason", "retrain.actor")


def _about(event: Event) -> set[str]:
    """The versions that this event is about."""
    match event:
        case events.TrainingFinished():
            return {event.challenger or ""}
        case Judged():
            return set() if event.dry_run else {event.challenger}
        case events.RolledBack():
            return {event.version, event.previous or ""}
        case events.Promoted() | events.Rejected() | events.Adopted() | events.NotJudged() | events.SwapUndone():
            return {event.version}
    return set()


def _of_event(event: Event, trainings: Mapping[str, events.TrainingStarted], gate: Gate) -> dict[str, str]:
    """The tags that this event changes."""
    changed, reason = {}, describe(event, gate)
    by = event.by if isinstance(event, events.Attributed) else None
    match event:
        case events.TrainingFinished() if event.run in trainings:
            reason, by = trainings[event.run].message, trainings[event.run].by
        case Judged():
            verdict = disclosed(event.verdict, gate, wins=event.verdict.ruling is Ruling.PROMOTE)
            gain = signed(verdict.difference) if verdict.difference is not None else ""
            bounds = " to ".join(map(signed, verdict.interval)) if verdict.interval is not None else ""
            changed = dict(zip(_OF_A_VERDICT, (str(verdict.ruling), gain, bounds, str(verdict.look)), strict=True))
            reason = because(verdict, gate)[0]
        case events.Promoted() if event.reason:
            reason = event.reason
    return changed | {"retrain.reason": one_line(reason, _LONGEST), "retrain.actor": str(by or "retrain")}
