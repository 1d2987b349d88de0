"""`retrain check`: fetch the metrics, decide, and train or roll back if that is the decision. The command of cron."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from retrain.context import Context
from retrain.core import evidence, recall
from retrain.core.assess import assess
from retrain.core.decide import decide
from retrain.core.events import Checked, Swap, SwapStarted
from retrain.core.past import PROMOTION, TRAINING, Past
from retrain.core.records import Action, Assessment, Decision, Outcome, Reason, Run, Snapshot, State
from retrain.core.words import duration, iso, moment, short
from retrain.effects import lock, monitoring, notify, registry
from retrain.effects.journal import Journal, open_journal
from retrain.errors import BusyError, Exit, RetrainError
from retrain.handover import hand_over, settle
from retrain.report import Report
from retrain.train import train

LOCK_SLACK = timedelta(minutes=1)
"""At most this much longer than its time limits allow may a lock be held before a check is loud about it."""


class StuckError(BusyError):
    """The lock has been held for longer than a training may take."""


@dataclass(frozen=True, slots=True)
class Order:
    """How the command was given. `forced` is the person's reason; `echo` a terminal that follows the training."""

    dry_run: bool = False
    forced: str | None = None
    echo: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class _View:
    """What one check saw and decided; `served` is the version that the metrics are about.

    `evidence` is the score of the evidence rule in words, empty without that rule. `before` is the champion that a
    rollback puts back.
    """

    snapshot: Snapshot
    assessments: tuple[Assessment, ...]
    decision: Decision
    served: str | None
    evidence: str = ""
    before: str | None = None


def check(context: Context, order: Order) -> Report:
    """The report of one check."""
    config = context.config
    with open_journal(config.state, writable=not order.dry_run) as journal:
        try:
            report = _check(context, journal, order)
        except StuckError as error:
            report = _told_once(context, journal, error, Reason.BUSY, "stuck")
    if config.notifications.heartbeat is not None and not order.dry_run:
        notify.heartbeat(config.notifications.heartbeat)
    return report


def _check(context: Context, journal: Journal, order: Order) -> Report:
    config = context.config
    settled = () if order.dry_run else _settle_if_free(context, journal)
    snapshot = Snapshot(context.clock())
    if config.monitoring is not None:
        snapshot = monitoring.fetch(config.monitoring, context.secrets, context.clock())
    view = _decide(context, journal.past(), snapshot, order)
    if order.dry_run:
        return _report(view, order)
    if view.decision.action is Action.HOLD:
        report = _hold(context, journal, view, order)
    else:
        report = _act_if_free(context, journal, view, order)
    return _after(settled, report)


def _after(settled: tuple[str, ...], report: Report) -> Report:
    """The report, with what had to be settled before."""
    if not settled:
        return report
    return replace(report, news=True, message=f"{report.message} (before that, {'; '.join(settled)})")


def _settle_if_free(context: Context, journal: Journal) -> tuple[str, ...]:
    """What a crash had left open and is settled now. Raises StuckError when the lock is held for too long."""
    past = journal.past()
    if past.run is None and past.swap is None:
        return ()
    try:
        with lock.hold(context.config.state, "check", context.clock()) as lock_fd:
            return settle(context, journal, lock_fd)
    except lock.HeldError as error:
        _complain_if_stuck(context, error)
        return ()


def _complain_if_stuck(context: Context, error: lock.HeldError) -> None:
    """Raise StuckError when the lock has been held for longer than its holder may take."""
    training, promotion, holder = context.config.training, context.config.promotion, error.holder
    if holder is None:
        return
    # A promotion scores, and its hook may run twice.
    reading = promotion.timeout if training.data is not None else timedelta()
    swapping = 3 * promotion.timeout
    longest = swapping
    if holder.command == "check":
        longest = training.timeout + training.grace + reading
        longest = max(longest, swapping) if promotion.probation is not None else longest
    held = context.clock() - holder.since
    if held > longest + min(LOCK_SLACK, longest / 10):
        raise StuckError(
            f"stuck: {holder} has held the lock for {duration(held)}, and may take {duration(longest)}."
            " Look at that process: the lock is free when it and its training have ended"
        ) from error


def _told_once(context: Context, journal: Journal, error: RetrainError, reason: Reason, incident: str) -> Report:
    """The report of a check that could not do what it should; cron asks again, and is told once."""
    now, message = context.clock(), str(error)
    news = journal.past().is_news(incident, now, context.config.notifications.repeat_after)
    journal.append(Checked(Action.HOLD, reason, message, None, (), incident, news), now)
    return Report(message, {"error": message, "exit_code": error.exit_code}, error.exit_code, news)


def _decide(context: Context, past: Past, snapshot: Snapshot, order: Order) -> _View:
    serving = registry.served(context.config.models)
    version = serving.version if serving is not None else None
    now, triggers = context.clock(), context.config.triggers
    past = recall.as_of(past, version, now)
    assessments = assess(snapshot, triggers, past)
    watched = recall.watch(past, assessments)
    made_at = serving.made_at if serving is not None else None
    probation = context.config.promotion.probation
    if past.trial is not None and past.trial.before not in registry.kept(context.config.models):
        probation = None  # there is nothing to go back to
    decision = decide(
        past, watched, assessments, triggers, now, champion_made_at=made_at, probation=probation, forced=order.forced
    )
    gathered = ""
    if triggers.evidence is not None:
        gathered = f"{evidence.told(watched.evidence, triggers)}: {evidence.meaning(triggers)}"
    return _View(snapshot, assessments, decision, version, gathered, past.trial.before if past.trial else None)


def _hold(context: Context, journal: Journal, view: _View, order: Order) -> Report:
    """The report of a check that does not train, which is recorded; news if nobody was told of it yet."""
    now, past, incident = context.clock(), journal.past(), _incident(view)
    repeat_after = context.config.notifications.repeat_after
    news = incident is not None and past.is_news(incident, now, repeat_after)
    journal.append(_checked(view, incident, news=news), now)
    if incident is None and view.decision.reason is not Reason.BUSY and past.told.keys() - {PROMOTION}:
        view = replace(view, decision=replace(view.decision, message=f"recovered: {view.decision.message}"))
        news = True
    return _report(view, order, news=news)


def _incident(view: _View) -> str | None:
    """The failure, or the state that needs a person, which this hold is part of."""
    reason = view.decision.reason
    if reason is Reason.UNKNOWN:
        return "unknown:" + ",".join(sorted({each.kind for each in view.assessments if each.state is State.UNKNOWN}))
    if reason is Reason.BACKING_OFF:
        return TRAINING
    return reason if reason in (Reason.NEEDS_A_PERSON, Reason.NOT_REARMED, Reason.PROBATION) else None


def _act_if_free(context: Context, journal: Journal, view: _View, order: Order) -> Report:
    """Take the lock, decide again on what the journal says now, and act if that still is the decision."""
    try:
        with lock.hold(context.config.state, "check", context.clock()) as lock_fd:
            settled = settle(context, journal, lock_fd)
            view = _decide(context, journal.past(), view.snapshot, order)
            if view.decision.action is Action.HOLD:
                return _after(settled, _hold(context, journal, view, order))
            if view.decision.action is Action.ROLLBACK:
                return _after(settled, _roll_back(context, journal, view, order, lock_fd))
            run, news = train(context, journal, _checked(view), lock_fd, order.echo)
    except lock.HeldError as error:
        if order.forced is not None:
            raise
        _complain_if_stuck(context, error)
        due = view.decision.message.removeprefix("training: ").removeprefix("rolling back: ")
        message = f"held: {due}, but {error.holder or 'another run'} holds the lock (the next check looks again)"
        busy = replace(view.decision, action=Action.HOLD, reason=Reason.BUSY, message=message)
        return _hold(context, journal, replace(view, decision=busy), order)
    then = " waits (retrain promote)" if run.outcome is Outcome.SUCCEEDED else ""
    view = replace(view, decision=replace(view.decision, message=f"{view.decision.message}; {run.message}{then}"))
    return _after(settled, _report(view, order, news=news, run=run))


def _roll_back(context: Context, journal: Journal, view: _View, order: Order, lock_fd: int) -> Report:
    """Put the champion before this one back: what serves now has failed its probation."""
    decision, before = view.decision, view.before or ""
    why = decision.message.removeprefix("rolling back: ")
    journal.append(_checked(view), context.clock())
    try:
        hand_over(context, journal, SwapStarted(Swap.ROLLBACK, before, view.served, why), lock_fd)
    except RetrainError as error:
        return _told_once(context, journal, error, Reason.PROBATION, Reason.PROBATION)
    message = (
        f"rolled back: {short(before)} serves again, {short(view.served or '')} is out of service: {why}."
        " On the holdout it was better, so see whether that still looks like live traffic"
    )
    return _report(replace(view, decision=replace(decision, message=message)), order)


def _checked(view: _View, incident: str | None = None, *, news: bool = False) -> Checked:
    decision = view.decision
    return Checked(decision.action, decision.reason, decision.message, view.served, view.assessments, incident, news)


def _report(view: _View, order: Order, *, news: bool = True, run: Run | None = None) -> Report:
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
        "dry_run": order.dry_run,
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
