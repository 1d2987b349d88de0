"""The champion and its versions, and the directories that retrain writes."""

from collections.abc import Iterator
from pathlib import Path

from retrain.context import Context
from retrain.core.past import Past
from retrain.core.text import counted, short, size
from retrain.doctor import host
from retrain.doctor.findings import Finding, Health, broken, mind, ok
from retrain.effects import registry
from retrain.errors import RetrainError

ROOM = 100 * 1024**2
"""Bytes that should be free besides what the models need."""
_SHOWN = 3


def champion(context: Context, past: Past) -> Iterator[Finding]:
    """What is served, and whether every version that is kept still has the bytes of its name."""
    models = context.config.models
    serving = registry.served(models)
    if serving is None and past.served is None:
        yield mind("champion", "none serves yet: retrain promote PATH puts the first one in service")
    elif serving is None:
        gone = f"{models.champion} is gone, and the journal says that {short(past.served or '')} serves"
        yield broken("champion", f"{gone}: retrain rollback puts it back")
    elif serving.made_at is None:
        gone = f"{models.champion} leads to {serving.path}, which is not there"
        yield broken("champion", f"{gone}: retrain rollback --to VERSION puts another in service")
    elif serving.version is None:
        yield mind("champion", f"{serving.path} is not a version yet; the next training or promotion adopts it as one")
    elif past.served not in (None, serving.version) and past.swap is None:
        yield mind(
            "champion",
            f"{short(serving.version)} was put in service by hand: the journal says that {short(past.served or '')}"
            " serves",
        )
    else:
        yield ok("champion", f"{models.champion} leads to version {short(serving.version)}")
    yield from _versions(context, past)


def directories(context: Context) -> Iterator[Finding]:
    """Whether retrain, and nobody else, can write where it must, with room, and on a file system that locks."""
    models, state = context.config.models, context.config.state
    link = models.champion.parent
    needed = ROOM + 2 * host.size(models.champion)
    places = {link: needed, link / "versions": needed, models.challenger.parent: needed}
    for place, room in places.items():
        yield from _place("models", "models.champion", place, room, Health.MIND)
    yield from _place("state", "state", state, ROOM, Health.BROKEN)
    yield from _place("state", "state", state / "runs", ROOM, Health.BROKEN)
    versions = link / "versions"
    if versions.exists() and host.device(versions) != host.device(link):
        yield mind(
            "models",
            f"{versions} is on another file system than {link}, whose link leads there: see that whatever loads the"
            " champion (a container, a copy) has both",
        )


def _versions(context: Context, past: Past) -> Iterator[Finding]:
    models, wrong = context.config.models, 0
    kept, serving = registry.kept(models), registry.served(models)
    before = past.lineage[-1] if past.lineage else None
    if before is not None and before not in kept:
        wrong += 1
        gone = f"version {short(before)} is not there, so retrain rollback cannot go back to it"
        yield broken("versions", f"{gone}: restore its file from a copy, or name another one (--to)")
    for version in kept:
        try:
            registry.verify(models, version)
        except RetrainError as error:
            wrong += 1
            is_served = serving is not None and serving.version == version
            otherwise = "put another in service (retrain rollback)" if is_served else "remove it"
            yield broken("versions", f"{error}. Restore it from a copy, or {otherwise}")
    if kept and not wrong:
        to = f"; retrain rollback goes back to {short(before)}" if before is not None else ""
        yield ok("versions", f"{counted(len(kept), 'version')} kept, each with the bytes of its name{to}")


def _place(what: str, key: str, place: Path, room: int, on_network: Health) -> Iterator[Finding]:
    """One directory, and the files in it that others must not write."""
    there = host.there(place)
    if host.leads_nowhere(there):
        yield broken(what, f"{there} leads to {there.readlink()}, which is not there: is its disk mounted?")
        return
    if not there.is_dir():
        yield broken(what, f"{there} is a file and must be a directory: move it away, or change {key}")
        return
    missing = "" if there == place else f"{place} cannot be made, since "
    if not host.may_write(there):
        yield broken(
            what,
            f"{missing}{there} may not be read and written by the user who runs retrain, or lies on a read-only file"
            f" system: see ls -ld {there}",
        )
        return
    problems = [*_open(what, place), *_scarce(what, there, room), *_remote(what, there, on_network)]
    yield from problems
    if not problems:
        state = "there" if there == place else "to be made"
        free, kind = size(host.free(there)), host.file_system(there)
        yield ok(
            what,
            f"{place} is {state}, ours to write and not everybody's, with {free} free{f' ({kind})' if kind else ''}",
        )


def _open(what: str, place: Path) -> Iterator[Finding]:
    """Where everybody may write, everybody may run code as the user of retrain."""
    if not place.is_dir():
        return
    inside = host.files(place) if what == "state" or place.name == "versions" else ()
    found = [each for each in (place, *inside) if host.open_to_others(each)]
    if found:
        shown = " ".join(map(str, found[:_SHOWN])) + (" ..." if len(found) > _SHOWN else "")
        yield broken(what, f"everybody may write {shown}, and so run code as the user of retrain: chmod o-w {shown}")
    group = host.group_members(place)
    if group:
        shown = ", ".join(group[:_SHOWN]) + (" ..." if len(group) > _SHOWN else "")
        yield mind(
            what,
            f"{shown} may write {place} as its group, and so run code as the user of retrain: chmod g-w {place},"
            " unless they are meant to",
        )


def _scarce(what: str, there: Path, room: int) -> Iterator[Finding]:
    free = host.free(there)
    if free < room:
        yield broken(what, f"{size(free)} are free at {there}, and {size(room)} are needed: make room there")
    if not host.has_names_left(there):
        yield broken(what, f"no more files can be made at {there} (it has run out of inodes): remove some")


def _remote(what: str, there: Path, health: Health) -> Iterator[Finding]:
    kind = host.file_system(there)
    if kind not in host.NETWORK:
        return
    told = f"{there} is on a network file system ({kind})"
    if health is Health.BROKEN:
        why = "where neither the lock nor SQLite's log can be relied on: move it to a local disk and change `state`"
        yield broken(what, f"{told}, {why}")
    else:
        why = "where other machines may see the champion change late: see that nobody but retrain writes there"
        yield mind(what, f"{told}, {why}")
