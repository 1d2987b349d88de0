"""What one check saw and decided, and how that is told and recorded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from retrain.core.events import Checked
from retrain.core.past import TRAINING
from retrain.core.records import Assessment, Decision, Outcome, Reason, Run, Snapshot, State
from retrain.core.words import iso, moment
from retrain.errors import Exit
from retrain.report import Report


@dataclass(frozen=True, slots=True)
class Order:
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


def report_of(view: View, order: Order, *, news: bool = True, run: Run | None = None) -> Report:
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
