"""A year of a project in its journal: daily windows, trainings, promotions, a rollback and a pause."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import sin
from pathlib import Path

from retrain.core.events import (
    Actor,
    Checked,
    Event,
    Judged,
    Paused,
    Promoted,
    Rejected,
    Resumed,
    RolledBack,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.records import Action, Assessment, Counts, Outcome, Reason, Signal, State
from retrain.core.verdicts import Ruling, Verdict, VerdictReason
from retrain.effects.journal import open_journal

NOW = datetime(2026, 11, 28, 6, 30, tzinfo=UTC)
ALICE = Actor("alice", "web1")
NASTY = 'the labels of May <script>alert("1")</script> | are wrong'
"""A reason that a page must escape."""


def version(number: int) -> str:
    return sha256(bytes([number])).hexdigest()


def window(day: int, served: str, at: datetime) -> Checked:
    """A check of the window that ended at midnight; its F1 falls over a month, and is good again after a promotion."""
    age, end = day % 30, at.replace(hour=0, minute=0)
    f1 = 0.91 - 0.0025 * age + 0.008 * sin(day * 2.4)
    tp = round(400 * f1)
    wrong = round(2 * tp / f1 - 2 * tp)
    counts = Counts(tp, wrong // 2, wrong - wrong // 2)
    drift = 0.04 + 0.005 * age + 0.02 * abs(sin(day * 1.7))
    low, far = f1 < 0.85, drift > 0.2
    seen = (
        Assessment(
            *(Signal.F1, State.BREACH if low else State.HEALTHY, f1, 0.85),
            window=f"f{day}",
            observed_at=end,
            dated=True,
            samples=1200,
            counts=counts,
        ),
        Assessment(
            *(Signal.DRIFT, State.BREACH if far else State.HEALTHY, drift, 0.2, True, "feature=age"),
            window=f"d{day}",
            observed_at=end,
            dated=True,
        ),
    )
    return Checked(Action.HOLD, Reason.HEALTHY, "healthy", served, seen, known=served)


def events(now: datetime = NOW) -> list[tuple[datetime, Event]]:
    """What happened in the year before this time, oldest first."""
    first, served = now - timedelta(days=364, hours=10), version(0)
    found: list[tuple[datetime, Event]] = [(first - timedelta(hours=1), Promoted(served, None, reason="the first"))]
    for day in range(365):
        at, number = first + timedelta(days=day), day // 30
        found.append((at, window(day, served, at)))
        if day % 30 == 28:
            new, run = version(number + 1), f"{at:%Y%m%dT%H%M%SZ}-{day:04x}"
            found.append((at, TrainingStarted(run, Reason.BREACH, "F1 0.842 is below 0.850")))
            if number == 4:
                failed = TrainingFinished(run, Outcome.FAILED, "the training failed: exit code 2")
                found.append((at + timedelta(minutes=9), failed))
                continue
            done = TrainingFinished(run, Outcome.SUCCEEDED, "trained in 9 min", 0, 540.0, new)
            wins = number != 7
            verdict = Verdict(
                *(Ruling.PROMOTE if wins else Ruling.REJECT, "f1", 3000, 0.912, 0.871, 0.005, number % 10 + 1),
                reason=VerdictReason.BETTER if wins else VerdictReason.NOT_BETTER,
                discordant=300,
                won=200,
                lost=100,
                difference=0.041,
                interval=(0.021, 0.061),
            )
            asked = Judged(new, served, f"rows{number}", "f1", "", verdict, by=ALICE)
            found += [(at + timedelta(minutes=9), done), (at + timedelta(hours=3), asked)]
            if wins:
                reason = "better than the champion"
                found.append((at + timedelta(hours=3), Promoted(new, served, reason=reason, by=ALICE)))
                old, served = served, new
            else:
                found.append((at + timedelta(hours=4), Rejected(new, "not better", by=ALICE)))
            if number == 9:
                back = at + timedelta(hours=9)
                found.append((back, RolledBack(old, new, "false alarms since noon", by=ALICE)))
                served = old
        if day == 200:
            found.append((at + timedelta(hours=1), Paused(NASTY, None, by=ALICE)))
        if day == 215:
            found.append((at + timedelta(hours=1), Resumed(by=ALICE)))
    return found


def write(state: Path, now: datetime = NOW) -> None:
    """Let the journal in this directory hold the year before this time."""
    with open_journal(state) as journal:
        for at, event in events(now):
            journal.append(event, at)
