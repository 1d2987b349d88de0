"""`retrain check`: read the metrics, decide, and train or roll back if that is due. The command for cron."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from retrain.context import Context
from retrain.core import evidence
from retrain.core.decide import Asked, Look, fruitless, look_at
from retrain.core.events import Checked, Swap, SwapStarted
from retrain.core.past import FAILED, STUCK, TRAINING, UNKNOWN, UNPROMOTED, incident_of, kind_of
from retrain.core.records import Action, Assessment, Decision, Outcome, Reason, Run, Snapshot
from retrain.core.text import iso, moment, short
from retrain.effects import lock, monitoring, registry
from retrain.effects.journal import Journal, open_journal
from retrain.errors import Exit, Report, RetrainError
from retrain.swap import current, probation_of, settle, swap


class Options(Struct, frozen=True):
    """The flags. `forced` is the reason of a person; `echo` shows the output of a training on a terminal."""

    dry_run: bool = False
    forced: str | None = None
    echo: Callable[[bytes], None] | None = None


class _Seen(Struct, frozen=True):
    """What one check saw and decided. `served` is the version that the metrics are about, `known` the journal's.

    `evidence` is the score of the evidence rule in words, empty without that rule.
    """

    snapshot: Snapshot
    look: Look
    decision: Decision
    served: str | None
    known: str
    evidence: str

    def event(self, incident: str | None = None, *, news: bool = False) -> Checked:
        """The event that records the check; `incident` and `news` as in Checked."""
        decision, seen = self.decision, (self.served, self.look.assessments)
        return Checked(decision.action, decision.reason, decision.message, *seen, incident, news, self.known)


def check(context: Context, options: Options) -> Report:
    """The report of one check."""
    config, now = context.config, context.clock()
    locked = nullcontext(lock.Attempt()) if options.dry_run else lock.attempt(config.state, "check", now)
    # A damaged journal ends every check with its sentence: there is nothing to record in that it was reported.
    opened = open_journal(
        config.state, writable=not options.dry_run, scrub=context.secrets.scrub, champion=config.models.champion
    )
    with opened as journal, locked as held:
        try:
            report = _check(context, journal, held, options, now)
        except RetrainError as error:
            # cron asks again and again, and a failure is reported once; --force and --dry-run report it every time.
            if options.dry_run or options.forced is not None:
                raise
            return _failure(context, journal, error, FAILED, now)  # no heartbeat: this check has not finished
    if config.notifications.heartbeat is not None and not options.dry_run:
        from retrain.effects import http

        ca_file = config.monitoring.ca_file if config.monitoring is not None else None
        http.heartbeat(config.notifications.heartbeat, ca_file)
    return report


def _check(context: Context, journal: Journal, held: lock.Attempt, options: Options, now: datetime) -> Report:
    """Settle what a crash left open, look, and act; without the lock only look and record."""
    config = context.config
    if options.dry_run:
        seen = _look(context, journal, held, options, now)
        return _report(seen, seen.decision.message, dry_run=True)
    registry.refuse_world_writable(config.models)
    settled = settle(context, journal, held.descriptor, now) if held.descriptor is not None else ()
    if (late := lock.stuck(config, held.holder, now)) is not None:
        return _failure(context, journal, late, STUCK, now)
    if options.forced is not None and held.descriptor is None:
        raise lock.HeldError(config.state / "lock", held.holder)
    seen = _look(context, journal, held, options, now)
    match seen.decision.action:
        case Action.HOLD:
            report = _hold(context, journal, seen, now)
        case Action.TRAIN:
            report = _train(context, journal, seen, held, options, now)
        case Action.ROLLBACK:
            report = _roll_back(context, journal, seen, held, now)
    return report.after(settled)


def _look(context: Context, journal: Journal, held: lock.Attempt, options: Options, now: datetime) -> _Seen:
    """Fetch the metrics and decide."""
    config, snapshot = context.config, Snapshot(now)
    if config.monitoring is not None:
        snapshot = monitoring.fetch(config.monitoring, context.secrets, now)
    serving, past = current(context, journal)
    served = serving.version if serving is not None else None
    if past.swap is not None and past.swap.version == served:
        served = past.served  # its hook runs, and may still undo it
    made_at = serving.made_at if serving is not None else None
    asked = Asked(made_at, probation_of(context, past), options.forced)
    look = look_at(past, served, snapshot, config.triggers, now, asked)
    decision = look.decision
    if decision.action is not Action.HOLD and held.descriptor is None and not options.dry_run:
        hold = f"{held.holder or 'another run'} holds the lock"
        decision = replace(
            decision, action=Action.HOLD, reason=Reason.BUSY, hold=hold, remedy="the next check tries again"
        )
    gathered = evidence.progress(look.past.evidence, config.triggers) if config.triggers.evidence is not None else ""
    return _Seen(snapshot, look, decision, served, past.served or "", gathered)


def _hold(context: Context, journal: Journal, seen: _Seen, now: datetime) -> Report:
    """Record a check that does not act; news where an incident is new, or has ended."""
    past, decision, incident = journal.past(), seen.decision, _incident(seen)
    repeat_after, in_vain = context.config.notifications.repeat_after, fruitless(past, context.config.triggers)
    ended = past.ended(decision.reason, incident)
    notice = ""
    if incident is None and in_vain is not None:
        incident = incident_of(UNPROMOTED, in_vain.end)
        notice = f"{in_vain.message}; " if past.is_news(incident, now, repeat_after) else ""
    news = incident is not None and past.is_news(incident, now, repeat_after)
    journal.append(seen.event(incident, news=news), now)
    recovery = _recovery(ended, decision) if ended else ""
    return _report(seen, notice + recovery + decision.message, news=news or bool(ended))


def _incident(seen: _Seen) -> str | None:
    """The failure, or the state that needs a person, which a check that does not act is part of."""
    reason = seen.decision.reason
    if reason is Reason.UNKNOWN:
        kinds = {each.unknown.kind for each in seen.look.assessments if each.unknown is not None}
        return incident_of(UNKNOWN, ",".join(sorted(kinds)))
    if reason is Reason.BACKING_OFF:
        return TRAINING
    return reason if reason is Reason.NOT_REARMED else None


_RECOVERED = {UNKNOWN: "the metrics are known again", FAILED: "the check works again", STUCK: "the lock is free again"}


def _recovery(ended: Sequence[str], decision: Decision) -> str:
    """The beginning of a sentence that says what has ended."""
    if decision.reason is Reason.HEALTHY:
        return "recovered: "
    return "; ".join(dict.fromkeys(_RECOVERED[kind_of(each)] for each in ended)) + "; "


def _train(  # noqa: PLR0913, PLR0917  (what was seen, and what a training gets)
    context: Context, journal: Journal, seen: _Seen, held: lock.Attempt, options: Options, now: datetime
) -> Report:
    """Train, and report how it ended."""
    from retrain.train import train  # with what only a training needs

    run, news = train(context, journal, seen.event(), seen.decision.why, held, options.echo, now)
    waits = " waits (retrain promote)" if run.outcome is Outcome.SUCCEEDED else ""
    return _report(seen, f"{seen.decision.message}; {run.message}{waits}", news=news, run=run)


def _roll_back(context: Context, journal: Journal, seen: _Seen, held: lock.Attempt, now: datetime) -> Report:
    """Put the previous champion back: what serves now has failed its probation."""
    new = seen.look.before.probation
    before, why = new.before if new is not None else "", seen.decision.why
    journal.append(seen.event(), now)
    try:
        swap(context, journal, SwapStarted(Swap.ROLLBACK, before, seen.served, why), held.descriptor or 0, now)
    except RetrainError as error:
        return _failure(context, journal, error, Reason.PROBATION, context.clock(), seen.look.assessments)
    message = (
        f"rolled back: {short(before)} serves again, {short(seen.served or '')} is out of service: {why}"
        " (on the holdout it was better: do its rows still look like live traffic?)"
    )
    return _report(seen, message)


def _failure(  # noqa: PLR0913, PLR0917  (what failed, and what was seen before)
    context: Context,
    journal: Journal,
    error: RetrainError,
    kind: str,
    now: datetime,
    seen: tuple[Assessment, ...] = (),
) -> Report:
    """Record a check that could not do what it should; news where this cause was not reported lately."""
    message = str(error)
    incident = incident_of(kind, message)
    news = journal.past().is_news(incident, now, context.config.notifications.repeat_after)
    reason = {STUCK: Reason.BUSY, FAILED: Reason.NEEDS_A_PERSON}.get(kind, Reason.PROBATION)
    journal.append(Checked(Action.HOLD, reason, message, None, seen, incident, news), now)
    return Report(message, {"error": message, "exit_code": error.exit_code}, error.exit_code, news)


def _report(seen: _Seen, message: str, *, news: bool = True, run: Run | None = None, dry_run: bool = False) -> Report:
    """The report of this check, and of the training that it started."""
    decision, snapshot = seen.decision, seen.snapshot
    exit_code = Exit.UNKNOWN if decision.reason is Reason.UNKNOWN else Exit.DONE
    if run is not None and run.failed:
        exit_code = Exit.FAILED
    metrics = {"f1": snapshot.f1, "drift": snapshot.drift, "samples": snapshot.samples}
    numbers = {name: value if isinstance(value, float) else None for name, value in metrics.items()}
    mix = next((each.mix for each in seen.look.assessments if each.mix is not None), None)
    at_usual = {"f1_at_usual_share": mix and mix.f1, "usual_share": mix and mix.share}
    observed = [at for at in (snapshot.f1_observed_at, snapshot.drift_observed_at) if isinstance(at, datetime)]
    data = {
        "action": decision.action,
        "reason": decision.reason,
        "message": message,
        "dry_run": dry_run,
        "metrics": {**numbers, **at_usual, "observed_at": iso(observed[0]) if observed else None},
        "breaches": [
            {"metric": each.signal, "value": each.judged, "threshold": each.limit} for each in decision.breaches
        ],
        "run": _run_data(run) if run is not None else None,
    }
    warned = (f"the monitor warns: {each}" for each in snapshot.warnings)
    details = (*map(_detail, seen.look.assessments), *((seen.evidence,) if seen.evidence else ()), *warned)
    return Report(message, data, exit_code, news, details)


def _detail(reading: Assessment) -> str:
    """One reading with everything that is known of it."""
    if reading.value is None:
        return f"{reading.signal}: {reading.sentence}"
    window = f"observed at {moment(reading.observed_at)}" if reading.observed_at is not None else ""
    window += "" if reading.dated else " (the monitor does not say when)"
    return f"{reading.signal}: {reading.state}, {reading.numbers}, {window}"


def _run_data(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "seconds": round(run.seconds, 3),
        "challenger": run.challenger,
        "log": run.log,
    }
