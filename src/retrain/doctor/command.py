"""`retrain doctor`: test the whole set-up, so that nothing is found out at night. It changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from retrain.context import open_context
from retrain.core.text import counted
from retrain.doctor import endpoint, gate, host, settings, state, training
from retrain.doctor.findings import Finding, Severity, fail
from retrain.errors import ConfigError, Exit, Report, RetrainError
from retrain.output import Output

_TONES = {"FAIL": "red", "WARN": "yellow"}
_SEVERITY, _WHAT = 6, 15
"""Columns."""


def doctor(file: Path, output: Output, progress: Callable[[float], None], *, cron_env: bool) -> Report:
    """The report of everything that was tested, the failures last; exit code 1 where one is among them.

    `cron_env`: in the environment that cron gives to a job. Raises ConfigError.
    """
    cron = settings.enter_cron() if cron_env else None
    try:
        context = open_context(file)
    except ConfigError as error:
        raise (ConfigError(f"{error}\nThe environment is {cron[0]}") if cron is not None else error) from None
    output.secrets = context.secrets
    known = state.history(context)
    tests: Sequence[tuple[str, Callable[[], Iterable[Finding]]]] = (
        ("environment", lambda: settings.environment(context, cron)),
        ("configuration", lambda: settings.configuration(context)),
        ("secrets", lambda: settings.secrets(context)),
        ("metrics", lambda: endpoint.metrics(context, known.past)),
        ("training", lambda: training.commands(context)),
        ("training data", lambda: training.data(context)),
        ("gate", lambda: gate.gate(context, known, progress)),
        ("champion", lambda: state.champion(context, known.past)),
        ("versions", lambda: state.versions(context, known.past)),
        ("models", lambda: host.directories(context)),
        ("journal", lambda: state.journal(context, known)),
        ("lock", lambda: state.lock(context, known)),
        ("clock", lambda: state.clock(context, known)),
        ("clock", lambda: endpoint.clock(context)),
    )
    findings = [finding for what, test in tests for finding in _found(what, test)]
    failed = any(each.severity is Severity.FAIL for each in findings)
    text = _text(findings, verbose=output.verbose, quiet=output.quiet)
    found = [
        {
            "what": each.what,
            "ok": each.severity is not Severity.FAIL,
            "verdict": each.severity,
            "message": each.message,
        }
        for each in findings
    ]
    data = {"findings": found, "message": _text(findings, verbose=True, quiet=False)}
    return Report(text, data, Exit.FAILED if failed else Exit.DONE, on_stdout=True, tones=_TONES)


def _found(what: str, test: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a test; one that cannot be finished is a finding, and does not keep the others from running."""
    try:
        yield from test()
    except ConfigError:
        raise
    except RetrainError as error:
        yield fail(what, error.why, remedy=error.remedy)
    except OSError as error:
        yield fail(what, f"{error.filename}: {error.strerror}")


def _text(findings: Sequence[Finding], *, verbose: bool, quiet: bool) -> str:
    """The report: passes only if verbose, then warnings, failures and a summary; failures only if quiet."""
    shown = [Severity.FAIL] if quiet else [*([Severity.OK] if verbose else []), Severity.WARN, Severity.FAIL]
    lines = [_line(each) for severity in shown for each in findings if each.severity is severity]
    return "\n".join(lines if quiet else [*lines, _summary(findings, verbose=verbose)])


def _line(finding: Finding) -> str:
    head = finding.severity if finding.severity is Severity.OK else finding.severity.upper()
    message = f"\n{'':<{_SEVERITY + _WHAT}}".join(finding.message.splitlines())
    return f"{head:<{_SEVERITY}}{finding.what:<{_WHAT}}{message}"


def _summary(findings: Sequence[Finding], *, verbose: bool) -> str:
    passed, warned, failed = (sum(each.severity is severity for each in findings) for severity in Severity)
    counts = f"{passed} ok" + (f", {counted(warned, 'warning')}" if warned else "")
    counts += f", {failed} failed" if failed else ": retrain can do its work"
    return counts if verbose else f"{counts} (-v shows all)"
