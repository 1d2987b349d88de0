"""`retrain doctor`: what would otherwise be found out at night. It looks at everything and changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from retrain.context import open_context
from retrain.doctor import crontab, endpoint, gate, settings, store, training
from retrain.doctor import state as present
from retrain.doctor.findings import Finding, Health, broken
from retrain.errors import ConfigError, Exit, Report, RetrainError
from retrain.output import Output

_FACES = {Health.OK: "ok", Health.MIND: "mind", Health.BROKEN: "BROKEN"}
_VERDICT, _WHAT = 8, 15
"""Columns."""


def doctor(file: Path, output: Output, progress: Callable[[float], None], *, cron_env: bool) -> Report:
    """The report of everything that was examined, in the order in which one would repair it; exit code 1 on a failure.

    `cron_env`: in the environment of the cron job that checks with this configuration. Raises ConfigError.
    """
    world = crontab.enter(file) if cron_env else None
    try:
        context = open_context(file)
    except ConfigError as error:
        raise (ConfigError(f"{error}\nThe environment is {world}") if world is not None else error) from None
    output.secrets = context.secrets
    known = present.history(context)
    rooms: Sequence[tuple[str, Callable[[], Iterable[Finding]]]] = (
        ("environment", lambda: settings.environment(context, world)),
        ("configuration", lambda: settings.configuration(context)),
        ("secrets", lambda: settings.secrets(context)),
        ("metrics", lambda: endpoint.metrics(context, known.past)),
        ("training", lambda: training.commands(context)),
        ("training data", lambda: training.data(context)),
        ("gate", lambda: gate.gate(context, known.judgements, progress)),
        ("champion", lambda: store.champion(context, known.past)),
        ("models", lambda: store.directories(context)),
        ("journal", lambda: present.journal(context, known)),
        ("lock", lambda: present.at_work(context, known)),
        ("clock", lambda: present.clock(context, known)),
        ("clock", lambda: endpoint.clock(context)),
    )
    findings = [finding for what, look in rooms for finding in _looked(what, look)]
    lines = [_line(each) for each in findings]
    lines.append(_summary(findings))
    data = {
        "findings": [
            {"what": each.what, "ok": each.ok, "verdict": each.health, "message": each.sentence} for each in findings
        ],
        "message": "\n".join(lines),
    }
    whole = all(each.ok for each in findings)
    return Report("\n".join(lines), data, Exit.DONE if whole else Exit.FAILED)


def _looked(what: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What was found; one look that fails is a finding, and keeps nobody from the others."""
    try:
        yield from look()
    except ConfigError:
        raise
    except RetrainError as error:
        yield broken(what, str(error))
    except OSError as error:
        yield broken(what, f"{error.filename}: {error.strerror}")


def _line(finding: Finding) -> str:
    sentence = finding.sentence.replace("\n", f"\n{'':<{_VERDICT + _WHAT}}")
    return f"{_FACES[finding.health]:<{_VERDICT}}{finding.what:<{_WHAT}}{sentence}"


def _summary(findings: Sequence[Finding]) -> str:
    count = {health: sum(each.health is health for each in findings) for health in Health}
    minded = f", and {count[Health.MIND]} to mind" if count[Health.MIND] else ""
    if count[Health.BROKEN]:
        return f"{count[Health.BROKEN]} of {len(findings)} broken{minded}"
    sound = "retrain can do its work (whether the model is good, retrain status tells)"
    return f"nothing of {len(findings)} broken{minded}: {sound}"
