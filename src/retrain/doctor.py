"""`retrain doctor`: what would otherwise be found out at night. It looks at everything and changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from retrain.context import Context
from retrain.core.findings import Finding, Health, broken
from retrain.errors import ConfigError, Exit, RetrainError
from retrain.preflight import gate, metrics, present, settings, store, training
from retrain.report import Report

_FACES = {Health.OK: "ok", Health.MIND: "mind", Health.BROKEN: "BROKEN"}
_VERDICT, _WHAT = 8, 15
"""Columns."""


def doctor(context: Context, progress: Callable[[float], None]) -> Report:
    """The report of all that was looked at, in the order in which one would mend it; exit code 1 where it is broken."""
    known = present.history(context)
    rooms: Sequence[tuple[str, Callable[[], Iterable[Finding]]]] = (
        ("environment", lambda: settings.environment(context)),
        ("configuration", lambda: settings.configuration(context)),
        ("secrets", lambda: settings.secrets(context)),
        ("metrics", lambda: metrics.metrics(context, known.past)),
        ("training", lambda: training.commands(context)),
        ("training data", lambda: training.data(context)),
        ("gate", lambda: gate.gate(context, known.judgements, progress)),
        ("champion", lambda: store.champion(context, known.past)),
        ("models", lambda: store.directories(context)),
        ("journal", lambda: present.journal(context, known)),
        ("lock", lambda: present.at_work(context, known)),
        ("clock", lambda: present.clock(context, known)),
        ("clock", lambda: metrics.clock(context)),
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
