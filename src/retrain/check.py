"""`retrain check`: fetch the metrics, decide, and train or roll back if that is the decision. The command of cron."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from retrain.context import Context
from retrain.core import evidence
from retrain.core.assess import assess
from retrain.core.decide import decide
from retrain.core.events import Checked, Swap, SwapStarted
from retrain.core.fold import as_of, watch
from retrain.core.past import PROMOTION, TRAINING, Past
from retrain.core.records import Action, Assessment, Decision, Outcome, Reason, Run, Snapshot, State
from retrain.core.text import iso, moment, short
from retrain.effects import lock, monitoring, notify, registry
from retrain.effects.journal import Journal, open_journal
from retrain.effects.lock import stuck
from retrain.errors import BusyError, Exit, Report, RetrainError
from retrain.swap import SwapUndoneError, hand_over, is_history_gone, probation_of, settle
from retrain.train import train


@dataclass(frozen=True, slots=True)
class Options:
    """How the command was given. `forced` is the person's reason; `echo` a terminal that follows the training."""

    dry_run: bool = False
    forced: str | None = None
    echo: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What one check saw and decided; `served` is the version that the metrics are about.

    `evidence` is the score of the evidence rule in words, empty without that rule. `before` is the champion that a
    rollback puts back. `known` is the version of which the journal said that it serves, empty for none.
    """

    snapshot: Snapshot
    assessments: tuple[Assessment, ...]
    decision: Decision
    served: str | None
    evidence: str = ""
    before: str | None = None
    known: str | None = None


def incident_of(view: View) -> str | None:
    """The failure, or the state that needs a person, which this hold is part of."""
    reason = view.decision.reason
    if reason is Reason.UNKNOWN:
        return "unknown:" + ",".join(sorted({each.kind for each in view.assessments if each.state is State.UNKNOWN}))
    if reason is Reason.BACKING_OFF:
        return TRAINING
    return reason if reason in (Reason.NEEDS_A_PERSON, Reason.NOT_REARMED, Reason.PROBATION) else None


def checked(view: View, incident: str | None = None, *, news: bool = False) -> Checked:
    """The event that records this check; `incident` and `news` as in Checked."""
    decision = view.decision
    seen = (view.served, view.assessments)
    return Checked(decision.action, decision.reason, decision.message, *seen, incident, news, view.known)


def report_of(view: View, options: Options, *, news: bool = True, run: Run | None = None) -> Report:
    """The report of this check, and of the training that it started."""
    decision, snapshot = view.decision, view.snapshot
    exit_code = Exit.UNKNOWN if decision.reason is Reason.UNKNOWN else Exit.DONE
    if run is not None and run.outcome is not Outcome.SUCCEEDED:
        exit_code = Exit.FAILED
    metrics = {"f1": snapshot.f1, "drift": snapshot.drift, "samples": snapshot.samples}
    numbers = {name: value if isinstance(value, float) else None for name, value in metrics.items()}
    observed = [at for at in (snapshot.f1_observed_at, snapshot.drift_observed_at) if isinstance(at, datetime)]
    data = {
        "action": decision.action,
        "reason": decision.reason,
        "message": decision.message,
        "dry_run": options.dry_run,
        "metrics": {**numbers, "observed_at": iso(observed[0]) if observed else None},
        "breaches": [asdict(breach) for breach in decision.breaches],
        "run": _run_data(run) if run is not None else None,
    }
    details = (*map(_detail, view.assessments), *((view.evidence,) if view.evidence else ()))
    return Report(decision.message, data, exit_code, news, details)


def _detail(reading: Assessment) -> str:
    """One reading with all that is known of it."""
    if reading.value is None:
        return f"{reading.signal}: {reading.sentence}"
    window = f"observed at {moment(reading.observed_at)}" if reading.observed_at is not None else ""
    window += "" if reading.dated else " (the monitor does not say when)"
    return f"{reading.signal}: {reading.state}, {reading.value:.6g} against {reading.threshold:g}, {window}"


def _run_data(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "seconds": round(run.seconds, 3),
        "challenger": run.challenger,
        "log": run.log,
    }


class StuckError(BusyError):
    """The lock has been held for longer than a training may take."""


def check(context: Context, options: Options) -> Report:
    """The report of one check."""
    config = context.config
    with open_journal(config.state, writable=not options.dry_run) as journal:
        # Also where another command found the damage, or a crash came before it was told.
        lost = journal.news or tuple(filter(None, (journal.untold_loss(),)))
        try:
            report = _check(context, journal, options)
        except StuckError as error:
            report = _told_once(context, journal, error, Reason.BUSY, "stuck")
        except RetrainError as error:
            # cron will ask again and again: a person who forces or rehearses a training is told every time.
            if options.dry_run or options.forced is not None or isinstance(error, BusyError | SwapUndoneError):
                raise
            # No heartbeat: this check has not finished.
            return _after(lost, _told_once(context, journal, error, Reason.NEEDS_A_PERSON, "failed"))
    report = report if options.dry_run else _after(lost, report)
    if config.notifications.heartbeat is not None and not options.dry_run:
        notify.heartbeat(config.notifications.heartbeat)
    return report


def _check(context: Context, journal: Journal, options: Options) -> Report:
    config = context.config
    settled: tuple[str, ...] = ()
    if not options.dry_run:
        registry.refuse_open_doors(config.models)
        settled = _settle_if_free(context, journal)
    snapshot = Snapshot(context.clock())
    if config.monitoring is not None:
        snapshot = monitoring.fetch(config.monitoring, context.secrets, context.clock())
    view = _decide(context, journal, snapshot, options)
    if options.dry_run:
        return report_of(view, options)
    if view.decision.action is Action.HOLD:
        report = _hold(context, journal, view, options)
    else:
        report = _act_if_free(context, journal, view, options)
    return _after(settled, report)


def _after(settled: tuple[str, ...], report: Report) -> Report:
    """The report, with what had to be settled before."""
    if not settled:
        return report
    return replace(report, news=True, message=f"{report.message} (before that, {'; '.join(settled)})")


def _settle_if_free(context: Context, journal: Journal) -> tuple[str, ...]:
    """What a crash had left open and is settled now. Raises StuckError when the lock is held for too long."""
    past = journal.past()
    if past.run is None and past.swap is None and not is_history_gone(context, past):
        return ()
    try:
        with lock.hold(context.config.state, "check", context.clock()) as lock_fd:
            return settle(context, journal, lock_fd)
    except lock.HeldError as error:
        _complain_if_stuck(context, error)
        return ()


def _complain_if_stuck(context: Context, error: lock.HeldError) -> None:
    """Raise StuckError when the lock has been held for longer than its holder may take."""
    late = stuck(context.config, error.holder, context.clock()) if error.holder is not None else None
    if late is not None and lock.is_held_still(context.config.state, error.holder):
        raise StuckError(late) from error


def _told_once(  # noqa: PLR0913, PLR0917  (what could not be done, and what was seen)
    context: Context,
    journal: Journal,
    error: RetrainError,
    reason: Reason,
    incident: str,
    view: View | None = None,
) -> Report:
    """The report of a check that could not do what it should; cron asks again, and is told once."""
    now, message = context.clock(), context.secrets.scrub(str(error))
    news = journal.past().is_news(incident, now, context.config.notifications.repeat_after)
    seen = view.assessments if view is not None else ()
    journal.append(Checked(Action.HOLD, reason, message, None, seen, incident, news), now)
    return Report(message, {"error": message, "exit_code": error.exit_code}, error.exit_code, news)


def _decide(context: Context, journal: Journal, snapshot: Snapshot, options: Options) -> View:
    serving, past = _serving(context, journal)
    version = serving.version if serving is not None else None
    if past.swap is not None and past.swap.version == version:
        version = past.served  # its hook runs, and may still undo it
    now, triggers = context.clock(), context.config.triggers
    known, past = past.served or "", as_of(past, version, now)
    assessments = assess(snapshot, triggers, past)
    watched = watch(past, assessments)
    made_at = serving.made_at if serving is not None else None
    probation = probation_of(context, past)
    decision = decide(
        past, watched, assessments, triggers, now, champion_made_at=made_at, probation=probation, forced=options.forced
    )
    gathered = ""
    if triggers.evidence is not None:
        gathered = f"{evidence.told(watched.evidence, triggers)}: {evidence.meaning(triggers)}"
    return View(snapshot, assessments, decision, version, gathered, past.trial.before if past.trial else None, known)


def _serving(context: Context, journal: Journal) -> tuple[registry.Served | None, Past]:
    """What is served and what the journal says, of one time: nobody moved the link between the two looks."""
    while True:
        serving, past = registry.served(context.config.models), journal.past()
        if registry.served(context.config.models) == serving:
            return serving, past


def _hold(context: Context, journal: Journal, view: View, options: Options) -> Report:
    """The report of a check that does not train, which is recorded; news if nobody was told of it yet."""
    now, past, incident = context.clock(), journal.past(), incident_of(view)
    repeat_after = context.config.notifications.repeat_after
    news = incident is not None and past.is_news(incident, now, repeat_after)
    journal.append(checked(view, incident, news=news), now)
    if incident is None and view.decision.reason is not Reason.BUSY and past.told.keys() - {PROMOTION}:
        view = replace(view, decision=replace(view.decision, message=f"recovered: {view.decision.message}"))
        news = True
    return report_of(view, options, news=news)


def _act_if_free(context: Context, journal: Journal, view: View, options: Options) -> Report:
    """Take the lock, decide again on what the journal says now, and act if that still is the decision."""
    try:
        with lock.hold(context.config.state, "check", context.clock(), outlived=True) as lock_fd:
            settled = settle(context, journal, lock_fd)
            view = _decide(context, journal, view.snapshot, options)
            if view.decision.action is not Action.TRAIN:
                if view.decision.action is Action.HOLD:
                    report = _hold(context, journal, view, options)
                else:
                    report = _roll_back(context, journal, view, options, lock_fd)
                lock.free(lock_fd)
                return _after(settled, report)
            run, news = train(context, journal, checked(view), lock_fd, options.echo)
    except lock.HeldError as error:
        if options.forced is not None:
            raise
        _complain_if_stuck(context, error)
        due = view.decision.message.removeprefix("training: ").removeprefix("rolling back: ")
        message = f"held: {due}, but {error.holder or 'another run'} holds the lock (the next check looks again)"
        busy = replace(view.decision, action=Action.HOLD, reason=Reason.BUSY, message=message)
        return _hold(context, journal, replace(view, decision=busy), options)
    then = " waits (retrain promote)" if run.outcome is Outcome.SUCCEEDED else ""
    view = replace(view, decision=replace(view.decision, message=f"{view.decision.message}; {run.message}{then}"))
    return _after(settled, report_of(view, options, news=news, run=run))


def _roll_back(context: Context, journal: Journal, view: View, options: Options, lock_fd: int) -> Report:
    """Put the champion before this one back: what serves now has failed its probation."""
    decision, before = view.decision, view.before or ""
    why = decision.message.removeprefix("rolling back: ")
    journal.append(checked(view), context.clock())
    try:
        hand_over(context, journal, SwapStarted(Swap.ROLLBACK, before, view.served, why), lock_fd)
    except RetrainError as error:
        return _told_once(context, journal, error, Reason.PROBATION, Reason.PROBATION, view)
    message = (
        f"rolled back: {short(before)} serves again, {short(view.served or '')} is out of service: {why}."
        " On the holdout it was better, so see whether that still looks like live traffic"
    )
    return report_of(replace(view, decision=replace(decision, message=message)), options)
