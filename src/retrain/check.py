"""`retrain check`: read the metrics, decide, and train or roll back if that is due. The command for cron."""

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from retrain.context import Context
from retrain.core import evidence
from retrain.core.decide import RESUME, Asked, Look, due_on_same_rows, fruitless, look_at, same_rows_text
from retrain.core.events import Checked, Promoted, SameRows, Swap, SwapStarted
from retrain.core.fold import scored
from retrain.core.past import FAILED, PAUSED, STUCK, TRAINING, UNKNOWN, UNPROMOTED, Past, incident_of, kind_of
from retrain.core.records import Action, Assessment, Decision, Reason, Snapshot
from retrain.core.text import duration, iso, moment, short
from retrain.effects import lock, monitoring, registry
from retrain.effects.journal import Journal
from retrain.errors import Exit, Report, RetrainError, failure
from retrain.swap import OvertakenError, current, is_unsettled, journal_of, probation_of, settle, swap

TRAINS = Report("has to train", {})
ACTS = Report("has to roll back, to compare, or to settle what a crash left open", {})
"""What a check that is `brief` returns in place of its report, with nothing recorded, where that would take long."""


class Options(Struct, frozen=True):
    """The flags. `forced` is the reason of a person; `echo` shows the output of a training on a terminal.

    `full` takes a place for a training, and returns why there is none, empty where there is one; None: there is no
    limit. `brief`: return TRAINS or ACTS, and let another check act.
    """

    dry_run: bool = False
    forced: str | None = None
    echo: Callable[[bytes], None] | None = None
    full: Callable[[], str] | None = None
    brief: bool = False


class _Seen(Struct, frozen=True):
    """What one check saw and decided `at` this time, the event that records it, and what is to be known besides.

    It is `incomplete` where a comparison is due, which a brief check does not make.
    """

    at: datetime
    snapshot: Snapshot
    look: Look
    event: Checked
    details: tuple[str, ...]
    incomplete: bool


def check(context: Context, options: Options) -> Report:
    """The report of one check."""
    config, now = context.config, context.clock()
    locked = nullcontext(lock.Attempt()) if options.dry_run else lock.attempt(config.state, "check", now)
    # A damaged journal ends every check with its sentence: there is nothing to record in that it was reported.
    with journal_of(context, writable=not options.dry_run) as journal, locked as held:
        try:
            report = _check(context, journal, held, options, now)
        except RetrainError as error:
            # cron asks again and again, and a failure is reported once; --force and --dry-run report it every time.
            if options.dry_run or options.forced is not None:
                raise
            return _failure(context, journal, error, FAILED, now)
    return report


def _check(context: Context, journal: Journal, held: lock.Attempt, options: Options, now: datetime) -> Report:
    """Settle what a crash left open, look, and act; without the lock only look and record."""
    config = context.config
    if options.dry_run:
        seen = _look(context, journal, held, options, now)
        return ACTS if seen.incomplete else _report(seen, seen.look.decision.message, dry_run=True)
    registry.refuse_unsafe(config.models)
    settled: tuple[str, ...] = ()
    if held.descriptor is not None and is_unsettled(context, journal):
        if options.brief:
            return ACTS
        settled = settle(context, journal, held.descriptor, now)
    if (late := lock.stuck(config, held.holder, now)) is not None:
        return _failure(context, journal, late, STUCK, now)
    if options.forced is not None and held.descriptor is None:
        raise lock.HeldError(config.state / "lock", held.holder)
    seen = _look(context, journal, held, options, now)
    action = seen.look.decision.action
    if options.brief and (seen.incomplete or action is not Action.HOLD):
        return TRAINS if action is Action.TRAIN and not seen.incomplete else ACTS
    match action:
        case Action.HOLD:
            report = _hold(context, journal, seen)
        case Action.TRAIN:
            report = _train(context, journal, seen, held, options)
        case Action.ROLLBACK:
            report = _roll_back(context, journal, seen, held)
    pause = journal.past().paused(now) if options.forced is not None else None
    return report.after(settled).noting(pause)


def _look(context: Context, journal: Journal, held: lock.Attempt, options: Options, now: datetime) -> _Seen:
    """Fetch the metrics and decide."""
    config, snapshot = context.config, Snapshot(now)
    if config.monitoring is not None:
        directory, log = config.training.directory, config.monitor.log
        snapshot = monitoring.fetch(config.monitoring, context.secrets, now, directory, log)
    serving, past = current(context, journal)
    stamp = registry.verified(config.models, serving, past)
    served, made_at = (serving.version, serving.made_at) if serving is not None else (None, None)
    if past.swap is not None and past.swap.version == served:
        served = past.served  # its hook runs, and may still undo it
    asked = Asked(made_at, probation_of(context, past), options.forced)
    look, same_rows = look_at(past, served, snapshot, config.triggers, now, asked), None
    due = due_on_same_rows(look.past, look.assessments, asked, config.monitor.window, now)
    comparing = due is not None and (held.descriptor is not None or options.dry_run)
    if due is not None and comparing and not options.brief:
        same_rows = _on_same_rows(context, look.past, *due, held, now)
        now = context.clock()  # that may have taken an hour
        look = look_at(scored(past, same_rows), served, snapshot, config.triggers, now, asked)
    decision = look.decision
    if hold := _obstacle(decision, held, options, incomplete=comparing and options.brief):
        remedy = "the next check tries again"
        decision = replace(decision, action=Action.HOLD, reason=Reason.BUSY, hold=hold, remedy=remedy)
        look = replace(look, decision=decision)
    details = [evidence.progress(look.past.evidence, config.triggers)] if config.triggers.evidence is not None else []
    details += [f"probation: {compared}"] if (compared := same_rows_text(look.past)) else []
    said = decision.action, decision.reason, decision.message
    event = Checked(*said, served, look.assessments, known=past.served or "", same_rows=same_rows, verified=stamp)
    return _Seen(now, snapshot, look, event, tuple(details), comparing and options.brief)


def _obstacle(decision: Decision, held: lock.Attempt, options: Options, *, incomplete: bool) -> str:
    """What keeps this check from what it decided, in a clause; empty where nothing does."""
    if decision.action is Action.HOLD or options.dry_run or incomplete:
        return ""
    if held.descriptor is None:
        return f"{held.holder or 'another run'} holds the lock"
    return options.full() if decision.action is Action.TRAIN and options.full is not None else ""


def _on_same_rows(  # noqa: PLR0913, PLR0917  (what is asked, and the world that it is asked in)
    context: Context, past: Past, window: int, level: float, held: lock.Attempt, now: datetime
) -> SameRows | None:
    """What both champions of a probation do on all labelled rows of the log since the promotion; or why they do not."""
    import tempfile  # with what only a comparison needs
    from pathlib import Path

    from retrain.core.explain import because, name_of
    from retrain.core.judge import on_same_rows
    from retrain.effects import evaluation

    config, new = context.config, past.probation
    if new is None or past.served is None:
        return None
    if held.descriptor is not None:
        lock.describe(held.descriptor, "comparing with the champion before")
    last = new.same_rows or SameRows(window)
    try:
        with tempfile.TemporaryDirectory(prefix="retrain-") as directory:
            rows = Path(directory) / "rows.parquet"
            if not (found := evaluation.arrived(config, new.since, now, rows, every=True)).complete:
                why = f"no labelled row in a whole window of {config.monitor.log} came since the promotion"
                raise RetrainError(f"{why}{found.lost}")
            old, served = (registry.verify(config.models, each) for each in (new.before, past.served))
            whole = replace(config, promotion=replace(config.promotion, slices=()))
            tally = evaluation.compare(whole, old, served, rows, scrub=context.secrets.scrub)
    except (OSError, RetrainError) as error:
        return replace(last, window=window, problem=str(error))
    verdict = on_same_rows(tally, config.gate, level)
    if verdict.difference is None:
        return replace(last, window=window, problem=because(verdict, config.gate)[0])
    return SameRows(window, verdict, name_of(config.gate), last.spent + level)


def _hold(context: Context, journal: Journal, seen: _Seen) -> Report:
    """Record a check that does not act; news where an incident is new, or has ended."""
    past, decision, incident, now = journal.past(), seen.look.decision, _incident(seen), seen.at
    repeat_after, in_vain = context.config.notifications.repeat_after, fruitless(past, context.config.triggers)
    ended = past.ended(decision.reason, incident)
    notice = ""
    if incident is None and in_vain is not None:
        incident = incident_of(UNPROMOTED, in_vain.kind)
        notice = f"{in_vain.message}; " if past.is_news(incident, now, repeat_after) else ""
    news = incident is not None and past.is_news(incident, now, repeat_after)
    if (pause := past.paused(now)) is not None and not news and past.is_news(PAUSED, now, repeat_after):
        incident, news, notice = PAUSED, True, f"{pause} ({RESUME}); "
    notice += _recovery(past, ended, decision, now) if ended else ""
    event = replace(seen.event, incident=incident, news=news, notice=notice, recovered=bool(ended))
    journal.append(event, now)
    return _report(seen, notice + decision.message, news=news or event.recovered)


def _incident(seen: _Seen) -> str | None:
    """The failure, or the state that needs a person, which a check that does not act is part of."""
    reason = seen.look.decision.reason
    if reason is Reason.UNKNOWN:
        kinds = {each.unknown.kind for each in seen.look.assessments if each.unknown is not None}
        return incident_of(UNKNOWN, ",".join(sorted(kinds)))
    if reason is Reason.BACKING_OFF:
        return TRAINING
    return reason if reason is Reason.NOT_REARMED else None


_RECOVERED = {
    UNKNOWN: "the metrics are known again",
    FAILED: "the check works again",
    STUCK: "the lock is free again",
    TRAINING: "no training is due any more",
    Reason.NOT_REARMED: "drift is healthy again",
}


def _recovery(past: Past, ended: Sequence[str], decision: Decision, now: datetime) -> str:
    """The beginning of a sentence that says what has ended, and after how long."""
    kinds = dict.fromkeys(map(kind_of, ended))
    what = "; ".join(f"{_RECOVERED.get(each, each)} after {duration(past.lasted(each, now))}" for each in kinds)
    return f"{'recovered: ' if decision.reason is Reason.HEALTHY else ''}{what}; "


def _train(context: Context, journal: Journal, seen: _Seen, held: lock.Attempt, options: Options) -> Report:
    """Train, and report how it ended."""
    from retrain.train import train  # with what only a training needs

    if context.config.notifications.heartbeat is not None:
        from retrain.effects import heartbeat

        heartbeat.start(context.config, context.run)
    run = train(context, journal, seen.event, seen.look.decision.why, held, options.echo, seen.at)
    waits = " waits (retrain promote)" if run.challenger is not None else ""
    data = {name: getattr(run, name) for name in ("outcome", "exit_code", "challenger")}
    data |= {"id": run.run, "seconds": round(run.seconds or 0.0, 3), "log": str(context.log_of(run.run))}
    report = _report(seen, f"{seen.look.decision.message}; {run.message}{waits}", news=run.news, run=data)
    return replace(report, exit_code=Exit.FAILED) if run.failed else report


def _roll_back(context: Context, journal: Journal, seen: _Seen, held: lock.Attempt) -> Report:
    """Put the previous champion back: what serves now has failed its probation."""
    new = seen.look.past.probation
    before, why = new.before if new is not None else "", seen.look.decision.why
    journal.append(seen.event, seen.at)
    intent = SwapStarted(Swap.ROLLBACK, before, seen.event.served, why)
    try:
        swap(context, journal, intent, held.descriptor or 0, seen.at)
    except OvertakenError as error:
        return failure(str(error), error.exit_code, news=False)
    except RetrainError as error:
        return _failure(context, journal, error, Reason.PROBATION, context.clock(), seen.look.assessments)
    what = f"rolled back: {short(before)} serves again, {short(seen.event.served or '')} is out of service: {why}"
    promotions = [each.event for each in journal.history((Promoted.__name__,), None, None)]
    is_forced = any(isinstance(each, Promoted) and each.forced for each in promotions[-1:])
    better = "on the holdout it was better: do its rows still look like live traffic?"
    return _report(seen, f"{what} ({'it was promoted by force' if is_forced else better})")


def _failure(  # noqa: PLR0913, PLR0917  (what failed, and what was seen before)
    context: Context, journal: Journal, error: RetrainError, kind: str, now: datetime, seen: tuple[Assessment, ...] = ()
) -> Report:
    """Record a check that could not do what it should; news where this cause was not reported lately."""
    message = str(error)
    incident = incident_of(kind, message)
    news = journal.past().is_news(incident, now, context.config.notifications.repeat_after)
    reason = {STUCK: Reason.BUSY, FAILED: Reason.NEEDS_A_PERSON}.get(kind, Reason.PROBATION)
    journal.append(Checked(Action.HOLD, reason, message, None, seen, incident, news), now)
    return failure(message, error.exit_code, news=news)


def _report(
    seen: _Seen, message: str, *, news: bool = True, run: Mapping[str, object] | None = None, dry_run: bool = False
) -> Report:
    """The report of this check, and of the training that it started."""
    decision, snapshot = seen.look.decision, seen.snapshot
    exit_code = Exit.UNKNOWN if decision.reason is Reason.UNKNOWN else Exit.DONE
    metrics = {"f1": snapshot.f1, "drift": snapshot.drift, "samples": snapshot.samples}
    numbers = {name: value if isinstance(value, float) else None for name, value in metrics.items()}
    mix = next((each.mix for each in seen.look.assessments if each.mix is not None), None)
    at_usual = {"f1_at_usual_share": mix and mix.f1, "usual_share": mix and mix.share}
    observed = [at for at in (snapshot.f1_observed_at, snapshot.drift_observed_at) if isinstance(at, datetime)]
    breaches = [{"metric": each.signal, "value": each.judged, "threshold": each.limit} for each in decision.breaches]
    data = {
        "action": decision.action,
        "reason": decision.reason,
        "message": message,
        "dry_run": dry_run,
        "metrics": {**numbers, **at_usual, "observed_at": iso(observed[0]) if observed else None},
        "breaches": breaches,
        "run": run,
    }
    warned = (f"the monitor warns: {each}" for each in snapshot.warnings)
    readings = (_detail(each, snapshot.written_at) for each in seen.look.assessments)
    details = (*readings, *seen.details, *warned)
    return Report(message, data, exit_code, news, details)


def _detail(reading: Assessment, written_at: Container[str]) -> str:
    """One reading with everything that is known of it."""
    if reading.value is None:
        return f"{reading.signal}: {reading.sentence}"
    window = f"observed at {moment(reading.observed_at)}" if reading.observed_at is not None else ""
    known = "when the answer was written" if reading.signal in written_at else "the monitor does not say when"
    window += "" if reading.dated else f" ({known})"
    return f"{reading.signal}: {reading.state}, {reading.numbers}, {window}"
