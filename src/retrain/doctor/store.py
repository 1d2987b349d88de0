"""The champion and its versions, and the directories that retrain writes."""

import os
from collections.abc import Iterator
from pathlib import Path

from retrain.context import Context
from retrain.core.past import Past
from retrain.core.text import counted, short, size
from retrain.doctor import host
from retrain.doctor.findings import Finding, fail, ok, warn
from retrain.effects import registry
from retrain.errors import RetrainError

_SPARE = 100 * 1024**2
"""Bytes that should be free besides what the models need."""
_SHOWN = 3


def champion(context: Context, past: Past) -> Iterator[Finding]:
    """What is served."""
    what, link = "champion", context.config.models.champion
    serving, known = registry.served(context.config.models), short(past.served or "")
    if serving is None and past.served is None:
        yield warn(what, "nothing is served yet", remedy="retrain promote PATH puts the first champion in service")
    elif serving is None:
        seen = f"{link} is gone, and the journal says that {known} serves"
        yield fail(what, seen, remedy="retrain rollback puts it back")
    elif serving.made_at is None:
        seen = f"{link} is a dangling link to {serving.path}"
        yield fail(what, seen, remedy="retrain rollback --to VERSION puts another version in service")
    elif serving.version is None:
        yield warn(what, f"{serving.path} is an ordinary file; the next check or promote keeps it as a version")
    elif past.served not in (None, serving.version) and past.swap is None:
        yield warn(what, f"{short(serving.version)} was put in service by hand; the journal says that {known} serves")
    else:
        yield ok(what, f"{link} is version {short(serving.version)}")


def versions(context: Context, past: Past) -> Iterator[Finding]:
    """Whether every version that is kept still has the bytes of its name, and rollback has one to go back to."""
    what, models, wrong = "versions", context.config.models, 0
    kept, serving = registry.kept(models), registry.served(models)
    before = past.lineage[-1] if past.lineage else None
    if before is not None and before not in kept:
        wrong += 1
        seen = f"the previous champion {short(before)} is missing, so retrain rollback cannot go back to it"
        yield fail(what, seen, remedy="restore its file from a copy, or name another version with --to")
    for version in kept:
        try:
            registry.verify(models, version)
        except RetrainError as error:
            wrong += 1
            is_served = serving is not None and serving.version == version
            other = "put another in service with retrain rollback" if is_served else "remove it"
            yield fail(what, str(error), remedy=f"restore it from a copy, or {other}")
    if kept and not wrong:
        back = f"; retrain rollback goes back to {short(before)}" if before is not None else ""
        yield ok(what, f"{counted(len(kept), 'version')} kept, each with the bytes of its name{back}")


def directories(context: Context) -> Iterator[Finding]:
    """Whether retrain, and nobody else, can write where it must, with space, and on a file system that locks."""
    models, state = context.config.models, context.config.state
    link = models.champion.parent
    kept = link / "versions"
    needed = _SPARE + 2 * (models.champion.stat().st_size if models.champion.exists() else 0)
    for place in dict.fromkeys((link, kept, models.challenger.parent)):
        yield from _place("models", "models.champion", place, needed, inside=place == kept)
    yield from _place("state", "state", state, _SPARE, inside=True)
    yield from _place("state", "state", state / "runs", _SPARE, inside=True)
    if kept.exists() and kept.stat().st_dev != link.stat().st_dev:
        seen = f"{kept} is on another file system than {link}, which links to it"
        yield warn("models", seen, remedy="see that whatever loads the champion, a container say, has both")


def _place(what: str, key: str, place: Path, needed: int, *, inside: bool) -> Iterator[Finding]:
    """One directory, and the files in it that others must not write if `inside`."""
    there = host.there(place)
    if host.dangling(there):
        yield fail(what, f"{there} is a dangling link to {there.readlink()}", remedy="is its disk mounted?")
    elif not there.is_dir():
        yield fail(what, f"{there} is a file and must be a directory", remedy=f"move it away, or change {key}")
    elif not host.may(there, os.R_OK | os.W_OK | os.X_OK):
        missing = "" if there == place else f", and {place} cannot be made"
        seen = f"{there} is not writable by the user who runs retrain{missing}"
        yield fail(what, seen, remedy=f"see ls -ld {there}; it may also be on a read-only file system")
    else:
        problems = [*_writers(what, place, inside=inside), *_limits(what, there, needed)]
        yield from problems
        if not problems:
            state = "exists" if there == place else "will be made"
            kind = f" ({host.file_system(there)})" if host.file_system(there) else ""
            free = f"{size(host.space(there)[0])} free{kind}"
            yield ok(what, f"{place} {state}, writable by us, not world-writable", free)


def _writers(what: str, place: Path, *, inside: bool) -> Iterator[Finding]:
    """Who else may write here, and so run code as the user of retrain."""
    if not place.is_dir():
        return
    found = [each for each in (place, *(host.files(place) if inside else ())) if host.world_writable(each)]
    if found:
        shown = " ".join(map(str, found[:_SHOWN])) + (" ..." if len(found) > _SHOWN else "")
        seen = f"world-writable, so that anybody can run code as the user of retrain: {shown}"
        yield fail(what, seen, remedy=f"chmod o-w {shown}")
    if group := host.group_members(place):
        shown = ", ".join(group[:_SHOWN]) + (" ..." if len(group) > _SHOWN else "")
        seen = f"the group of {place} may write it, and so run code as the user of retrain"
        yield warn(what, seen, shown, remedy=f"chmod g-w {place}, unless this is intended")


def _limits(what: str, there: Path, needed: int) -> Iterator[Finding]:
    """What the file system lacks: space, inodes, locks."""
    (free, has_inodes), kind = host.space(there), host.file_system(there)
    if free < needed:
        yield fail(what, f"too little space at {there}", f"{size(free)} free, {size(needed)} needed")
    if not has_inodes:
        yield fail(what, f"no more files can be made at {there}: it has no free inodes", remedy="remove some")
    if kind in host.NETWORK and what == "state":
        seen = f"{there} is on a network file system ({kind}), where locks and SQLite cannot be relied on"
        yield fail(what, seen, remedy="move it to a local disk and change `state`")
    elif kind in host.NETWORK:
        seen = f"{there} is on a network file system ({kind}), where other machines may see a new champion late"
        yield warn(what, seen, remedy="see that nothing but retrain writes there")
