"""`retrain doctor`: test the whole set-up, so that nothing is found out at night; with --repair, settle the journal."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from retrain.context import Context, open_context
from retrain.core.events import HistoryLost
from retrain.core.text import counted, duration, short
from retrain.doctor import Finding, Severity, endpoint, fail, gate, host, settings, state
from retrain.doctor.notifications import followed, notifications
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.effects.journal.file import damage, name_aside, start_new
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
    output.secrets, output.about = context.secrets, {"name": context.config.name}
    known = state.history(context)
    tests: Sequence[tuple[str, Callable[[], Iterable[Finding]]]] = (
        ("environment", lambda: settings.environment(context, cron)),
        ("configuration", lambda: settings.configuration(context)),
        ("secrets", lambda: settings.secrets(context)),
        ("textfile", lambda: settings.textfile(context)),
        ("metrics", lambda: endpoint.metrics(context, known.past)),
        ("notifications", lambda: notifications(context)),
        ("registry", lambda: followed(context)),
        ("training", lambda: settings.commands(context)),
        ("training data", lambda: gate.data(context)),
        ("gate", lambda: gate.gate(context, known, progress)),
        ("champion", lambda: state.champion(context, known.past)),
        ("versions", lambda: state.versions(context, known.past)),
        ("models", lambda: host.directories(context)),
        ("journal", lambda: state.journal(context, known)),
        ("lock", lambda: state.lock(context, known)),
        ("clock", lambda: [*state.clock(context, known), *endpoint.clock(context)]),
    )
    findings = [finding for what, test in tests for finding in _found(what, test)]
    text = _text(findings, verbose=output.verbose, quiet=output.quiet)
    if not output.quiet and (command := _next(context, known, findings)):
        text += f"\nnext: {command}"
    found = [
        {"what": each.what, "ok": not each.failed, "verdict": each.severity, "message": each.message}
        for each in findings
    ]
    data = {"findings": found, "message": _text(findings, verbose=True, quiet=False)}
    code = Exit.FAILED if any(each.failed for each in findings) else Exit.DONE
    return Report(text, data, code, on_stdout=True, tones=_TONES)


def _found(what: str, test: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a test; one that cannot be finished is a finding, and does not keep the others from running."""
    try:
        yield from test()
    except ConfigError:
        raise
    except RetrainError as error:
        yield fail(what, error.why, error.remedy)
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


def _next(context: Context, known: state.History, findings: Sequence[Finding]) -> str:
    """The command that comes next while no champion has served yet; empty later."""
    config, failed = context.config, [each.what for each in findings if each.failed]
    if known.past.served is not None or registry.served(config.models) is not None:
        return ""
    flag = "" if context.file == Path("config.yaml").absolute() else f" -c {shlex.quote(str(context.file))}"
    is_own = config.monitoring is not None and config.monitoring.url == f"http://{config.monitor.listen}/metrics"
    if failed == ["endpoint"] and is_own:
        return f"retrain monitor{flag} &"
    if failed:
        return f"correct what failed, then retrain doctor{flag}"
    if known.past.challenger is not None:
        return f"retrain promote{flag}"
    return f'retrain check{flag} --force --reason "first model"'


# ---------------------------------------------------------------- --repair


def repair(context: Context, announce: Callable[[str], None]) -> Report:
    """The report of what was repaired; what will be done is announced before it. Nothing but the journal is changed.

    Killed anywhere, a second run finishes it. Raises HeldError while another run holds the lock.
    """
    state, now = context.config.state, context.clock()
    cooldown, uses = duration(context.config.triggers.cooldown), context.config.promotion.holdout_uses
    cost = f"the cooldown of {cooldown} starts now, and unknown holdout comparisons count as {uses} (holdout_uses)"
    with lock.hold(state, "doctor --repair", now):
        serving = registry.served(context.config.models)
        served = serving.version if serving is not None else None
        found = damage(state)
        if found is not None:
            # A disk that fails once looks like damage: all is read again.
            again = damage(state)
            if again is None:
                left = f"the journal could not be read ({found}) and can be now; is the disk failing?"
                return _report(f"nothing was changed: {left}", served)
            kept = name_aside(state, now)
            announce(f"the journal is damaged: {again}. It will be kept as {kept}, and a new one started; {cost}")
            start_new(state, kept, served, now, context.actor)
            done = f"repaired: a new journal starts with champion {short(served or 'none')}"
            return _report(f"{done}; the damaged one is kept as {kept}", served, kept=str(kept), repaired=True)
        with open_journal(state, writable=False) as journal:
            lost = registry.lost(context.config.models, serving, journal.past())
        if lost is None:
            return _report("nothing to repair: the journal can be read, and knows what serves", served)
        announce(f"{lost.why}. It will start again with {'that' if served else 'no'} champion; {cost}")
        with open_journal(state) as journal:
            journal.append(HistoryLost("", lost.why, served, by=context.actor), now)
    return _report(f"repaired: the journal starts again with champion {short(served or 'none')}", served, repaired=True)


def _report(message: str, served: str | None, *, kept: str | None = None, repaired: bool = False) -> Report:
    return Report(message, {"repaired": repaired, "kept": kept, "champion": served, "message": message})
