"""The registry of others that follows what is served: what it should say, and whether it is known to say so."""

from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from retrain.config.schema import Models, Registry
from retrain.context import Context
from retrain.core import mirror
from retrain.core.events import Undelivered
from retrain.core.mirror import CHALLENGER, CHAMPION, Wanted
from retrain.core.past import DELIVERY, kind_of
from retrain.core.text import iso, moment
from retrain.effects import http, registry
from retrain.effects.journal import Journal
from retrain.errors import RetrainError

RUN = "mlflow_run_id"
"""The note by which a training says in which run it has logged the model."""


class Step(Struct, frozen=True):
    """Whether the registry is in step with the journal; else since when it is behind (None: ever), and why."""

    in_step: bool
    since: datetime | None = None
    why: str = ""

    @property
    def began(self) -> str | None:
        """Since when, as ISO 8601."""
        return iso(self.since) if self.since is not None else None

    def __str__(self) -> str:
        since = f" since {moment(self.since)}" if self.since is not None else ""
        return "in step" if self.in_step else f"behind{since}: {self.why}"


def channel(asked: Registry) -> str:
    """The name of this registry in the journal, without a secret."""
    return f"registry {asked.model} {sha256(http.shown(asked.url).encode()).hexdigest()[:8]}"


def follow(context: Context, journal: Journal) -> str:
    """Let the registry say what is served, and what waits; return why it does not, empty where it is in step."""
    from retrain.effects import mlflow

    asked = context.config.registry
    if asked is None:
        return ""
    latest = max((entry.id for entry in journal.turning_points(1)), default=0)  # what comes meanwhile comes again

    def file_of(version: str) -> Path:
        return registry.verify(context.config.models, version)

    try:
        problem = mlflow.follow(asked, _wanted(context, journal), file_of)
    except RetrainError as error:  # a file that is gone or was changed
        return f"the registry is not given {error}"
    if problem:
        return f"the registry {http.shown(asked.url)} {problem} (every command tries again)"
    if journal.arrived(channel(asked)) != latest:
        journal.sent(channel(asked), latest)
    return ""


def standing(asked: Registry, journal: Journal) -> Step:
    """Whether the registry is in step, as far as the last command that looked knows."""
    name, past = channel(asked), journal.past()
    upto = journal.arrived(name)
    missed = [entry.at for entry in journal.turning_points_after(upto or 0) if mirror.concerns(entry.event)]
    failing = [past.began.get(each, at) for each, at in past.reported.items() if kind_of(each) == DELIVERY + name]
    if upto is not None and not missed and not failing:
        return Step(in_step=True)
    since = min([*missed[:1], *failing]) if upto is not None else None
    why = _why(journal, name) if failing else "the next check or promotion updates it"
    return Step(in_step=False, since=since, why=why)


def _why(journal: Journal, name: str) -> str:
    """What the latest failure of this registry said."""
    failures = (each.event for each in journal.history((Undelivered.__name__,), None, None))
    of_it = [each.message for each in failures if isinstance(each, Undelivered) and each.channel == name]
    return of_it[-1] if of_it else ""


def _wanted(context: Context, journal: Journal) -> list[Wanted]:
    """What the registry should say: the champion first, the challenger that waits, then what else is kept."""
    models = context.config.models
    serving = registry.served(models)
    champion, challenger = serving.version if serving is not None else None, mirror.waits(journal.past())
    aliases = {challenger: CHALLENGER, champion: CHAMPION}
    kept = sorted(registry.kept(models), key=lambda each: each != champion)
    tags = mirror.tags(journal.changes(), kept, context.config.gate)
    return [Wanted(each, tags[each], _run_of(models, each), aliases.get(each, "")) for each in kept]


def _run_of(models: Models, version: str) -> str:
    """The run that the training of this version says it has logged the model in; empty where it says none."""
    file = registry.attached(models, version, registry.NOTES)
    with suppress(RetrainError):
        return str(registry.read_notes(file).get(RUN, "")) if file is not None else ""
    return ""
