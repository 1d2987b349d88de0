"""One policy, window by window: what served, what was trained, and what was promoted.

The decisions are those of `check` and `promote`, made by the same functions on the same events. A training takes no
time here, labels are known when their window ends, and a promoted model serves from the next window on.
"""

from collections.abc import Callable
from datetime import datetime

import numpy as np
from msgspec import Struct

from retrain.core.counts import latest
from retrain.core.decide import Asked, look_at
from retrain.core.events import Event, Judged, Promoted, Rejected, RolledBack, TrainingFinished
from retrain.core.fold import advance
from retrain.core.judge import beside_live, judge, next_comparison
from retrain.core.past import Past
from retrain.core.records import Action, Outcome, Snapshot
from retrain.core.text import short
from retrain.core.verdicts import Ruling
from retrain.errors import RetrainError
from retrain.rehearse.policies import JudgedOn, Policy
from retrain.rehearse.stream import Mask, Stream
from retrain.rehearse.trainings import Trained, Trainings


class Promotion(Struct, frozen=True):
    """A promotion after a window, and the F1 of the new and of the replaced champion in the window that followed."""

    at: datetime
    version: str
    new: float | None
    old: float | None
    broken: bool

    @property
    def lost(self) -> float:
        """The F1 that it cost in the window that followed, 0 where it was no worse."""
        return max(0.0, self.old - self.new) if self.old is not None and self.new is not None else 0.0


class Replay(Struct, frozen=True):
    """What came of a policy: F1 by window (None: not defined), the trainings, those that failed or could not be judged.

    `broken` is in how many windows a spoiled model served, `story` what happened, a line each.
    """

    f1: tuple[float | None, ...]
    trainings: int
    failed: int
    promotions: tuple[Promotion, ...]
    broken: int
    story: tuple[str, ...]


def replay(policy: Policy, stream: Stream, models: Trainings, seen: Callable[[], None]) -> Replay:
    """What comes of this policy; `seen` is called after every window."""
    loop = _Loop(policy, stream, models)
    last = len(stream.ends) - 1
    for window in range(stream.first, last + 1):
        loop.serve(window)
        if window < last and policy.acts:  # what is done after the last window shows nowhere
            loop.act(window)
        seen()
    return Replay(
        *(tuple(loop.f1), loop.trainings, loop.failed, tuple(loop.promotions), loop.broken), tuple(loop.story)
    )


class _Waiting(Struct, frozen=True):
    """A challenger, the window after which it was trained, and the rows that were left out of its training."""

    model: Trained
    window: int
    left_out: Mask


class _Loop:
    """The state of one replay."""

    def __init__(self, policy: Policy, stream: Stream, models: Trainings) -> None:
        self._policy, self._stream, self._models = policy, stream, models
        self._past = Past()
        self._champion = models.first()
        self._served: dict[str, Trained] = {}
        self._replaced: Trained | None = None
        self._waiting: _Waiting | None = None
        self._ledger: list[Judged] = []
        self._old = np.zeros(len(stream.window), bool)
        self.f1: list[float | None] = []
        self.trainings = self.failed = self.broken = 0
        self.promotions: list[Promotion] = []
        self.story: list[str] = []

    def serve(self, window: int) -> None:
        """Let the champion serve this window, and see what the last promotion was worth."""
        f1 = self._f1(self._champion, window)
        self.f1.append(f1)
        self.broken += self._champion.broken
        if self._replaced is not None:
            old, at = self._f1(self._replaced, window), self._stream.ends[window - 1]
            self.promotions.append(Promotion(at, self._champion.version, f1, old, self._champion.broken))
            self._replaced = None

    def act(self, window: int) -> None:
        """Check, then promote, as cron would at the end of this window."""
        now = self._stream.ends[window]
        if self._is_due(window, now):
            self._train(window, now)
        if self._waiting is not None:
            self._promote(self._waiting, window, now)

    def _f1(self, model: Trained, window: int) -> float | None:
        return self._stream.quality(model.predicted, window).f1

    def _note(self, event: Event, now: datetime) -> None:
        self._past = advance(self._past, event, now)

    def _is_due(self, window: int, now: datetime) -> bool:
        """Whether a training is due; a rollback that is due is made."""
        triggers = self._policy.triggers
        if triggers is None:
            return True
        found = self._stream.quality(self._champion.predicted, window)
        positives = found.counts.tp + found.counts.fn if found.counts is not None else None
        snapshot = Snapshot(
            now, found.f1, f1_observed_at=now, samples=float(found.samples), positives=positives, counts=found.counts
        )
        probation = self._policy.config.promotion.probation if self._past.probation is not None else None
        asked = Asked(self._champion.made_at, probation)
        look = look_at(self._past, self._champion.version, snapshot, triggers, now, asked)
        self._past = look.past
        if look.decision.action is Action.ROLLBACK and self._past.probation is not None:
            before, previous = self._past.probation.before, self._champion.version
            self._note(RolledBack(before, previous), now)
            self._champion = self._served[before]
            self.story.append(f"{now:%Y-%m-%d}  {look.decision.message}")
        if look.decision.action is not Action.TRAIN:
            return False
        self.story.append(f"{now:%Y-%m-%d}  {look.decision.message}")
        return True

    def _train(self, window: int, now: datetime) -> None:
        fresh, left_out = self._policy.config.promotion.fresh, np.zeros(len(self._stream.window), bool)
        if self._policy.judged_on is JudgedOn.FRESH:
            left_out = self._stream.left_out(window, self._champion.rows, fresh)
        elif self._policy.judged_on is JudgedOn.OLD:
            if not self._old.any():  # none of them trains any model, so they must be rows that the first has not seen
                self._old = self._stream.left_out(window, self._champion.rows, fresh)
            left_out = self._old
        self.trainings += 1
        run = f"{self.trainings}"
        model: Trained | RetrainError = RetrainError("training failed: fewer new rows than promotion.fresh.min_rows")
        if left_out.any() or self._policy.judged_on in (JudgedOn.LIVE, JudgedOn.NONE, JudgedOn.FUTURE):
            model = self._models.after(window, left_out)
        if isinstance(model, RetrainError):
            self.failed += 1
            self.story.append(f"{now:%Y-%m-%d}  {model}")
            self._note(TrainingFinished(run, Outcome.FAILED, str(model), 1), now)
        elif model.version in (self._champion.version, *self._past.banned):
            self._note(TrainingFinished(run, Outcome.NOTHING_NEW, ""), now)
        else:
            self._note(TrainingFinished(run, Outcome.SUCCEEDED, "", 0, challenger=model.version), now)
            self._waiting = _Waiting(model, window, left_out)

    def _promote(self, waiting: _Waiting, window: int, now: datetime) -> None:
        """Judge the challenger, if its rows have come; put it in service where it wins."""
        match self._policy.judged_on:
            case JudgedOn.NONE:
                wins: bool | None = True
            case JudgedOn.FUTURE:
                new, old = (self._f1(each, window + 1) or 0.0 for each in (waiting.model, self._champion))
                wins = new > old
            case JudgedOn.LIVE:
                wins = self._live(waiting, window, now)
            case _:
                wins = self._is_better(waiting, waiting.left_out, now)
        if wins is None:
            return
        self._waiting = None
        if wins:
            self._note(Promoted(waiting.model.version, self._champion.version), now)
            self._served[self._champion.version] = self._replaced = self._champion
            self._champion = waiting.model

    def _live(self, waiting: _Waiting, window: int, now: datetime) -> bool | None:
        """Whether the challenger is better on the rows that came after its training; None while they are too few."""
        live = self._policy.config.promotion.live
        rows = (self._stream.window > waiting.window) & (self._stream.window <= window)
        if window - waiting.window >= live.windows and rows.sum() >= live.min_rows:
            return self._is_better(waiting, rows, now)
        if now - waiting.model.made_at < live.give_up:
            return None
        self._note(Rejected(waiting.model.version, "too few rows came"), now)
        return False

    def _is_better(self, waiting: _Waiting, rows: Mask, now: datetime) -> bool:
        """The verdict of `promote` on these rows."""
        gate, model = self._policy.gate, waiting.model
        tally = self._stream.tally(self._champion.predicted, model.predicted, rows)
        verdict = judge(tally, gate, next_comparison(tally, self._ledger, gate.holdout_uses))
        if self._policy.judged_on is JudgedOn.OLD:
            verdict = beside_live(verdict, latest(self._past))
        judged = Judged(
            *(model.version, self._champion.version, tally.holdout, gate.question, "", verdict), sketches=tally.sketches
        )
        self._ledger.append(judged)
        self._note(judged, now)
        gain = f", gain {verdict.difference:+.3f}" if verdict.difference is not None else ""
        self.story.append(f"{now:%Y-%m-%d}  {verdict.ruling} {short(model.version)}: {verdict.reason}{gain}")
        return verdict.ruling is Ruling.PROMOTE
