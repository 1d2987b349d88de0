"""One policy, window by window: what served, what was trained, and what was promoted.

The decisions are those of `check` and `promote`, made by the same functions on the same events. A training takes no
time here, labels are known when their window ends, and a promoted model serves from the next window on.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from retrain.config.schema import Config
from retrain.core.decide import Asked, due_on_same_rows, look_at
from retrain.core.events import Event, Judged, Promoted, Rejected, RolledBack, SameRows, TrainingFinished
from retrain.core.evidence import latest
from retrain.core.explain import because, name_of
from retrain.core.fold import advance, scored
from retrain.core.judge import beside_live, judge, next_comparison, on_same_rows
from retrain.core.past import Past, Probation
from retrain.core.records import Action, Outcome, Snapshot, Trouble, Unknown
from retrain.core.text import short
from retrain.core.verdicts import Ruling
from retrain.errors import RetrainError
from retrain.rehearse.policies import JudgedOn, Policy
from retrain.rehearse.stream import Mask, Stream
from retrain.rehearse.trainings import Trained, Trainings

MakeGauge = Callable[[Config], Any]
"""Makes what measures a log at a time, as the exporter's Gauge does: this wing does not know that one."""


class Drift:
    """The drift of the windows under one policy: the index of a feature that is served stays while it is high."""

    def __init__(self, make: MakeGauge | None, config: Config, stream: Stream, scratch: Path) -> None:
        """Begin, with files in the directory `scratch`; the triggers of the configuration are those of the policy."""
        self._stream, self._trained_on = stream, ""
        self._log, self._reference = scratch / "window.parquet", scratch / "reference.parquet"
        reference, label = config.monitor.reference or self._reference, config.promotion.target
        monitor = replace(
            config.monitor, log=self._log, label=label, score=None, window=stream.length, reference=reference
        )
        self._gauge = make(replace(config, monitor=monitor)) if make is not None else None

    def served(self, window: int, champion: Trained) -> float | Unknown:
        """The drift of a window against monitor.reference or else all rows that the champion was trained on."""
        if self._gauge is None:
            return Unknown(Trouble.MISSING, "nothing here measures it")
        self._stream.rows[self._stream.window == window].to_parquet(self._log, index=False)
        if self._trained_on != champion.version:
            self._trained_on = champion.version
            self._stream.rows[champion.rows].to_parquet(self._reference, index=False)
        found = self._gauge.measure(self._stream.ends[window].timestamp())
        if found.drift is None or not found.drift.shifts:
            return Unknown(Trouble.MISSING, found.problems[-1])  # drift is measured last
        return float(found.drift.psi.get(found.drift.feature, 0.0))


class Replay(Struct):
    """What came of a policy: F1 by window (None: not defined), when it trained, when it promoted.

    Each promotion has the F1 that it cost in the window that followed, 0 where it was no worse. `failed` counts the
    trainings that left no challenger, `broken` the windows in which a spoiled model served; `blind` says why drift was
    unknown, for each window in which it was, and `story` what happened, a line each.
    """

    f1: list[float | None] = []
    trainings: list[datetime] = []
    failed: int = 0
    promotions: dict[datetime, float] = {}
    broken: int = 0
    blind: list[str] = []
    story: list[str] = []


def replay(policy: Policy, stream: Stream, models: Trainings, drift: Drift | None, seen: Callable[[], None]) -> Replay:
    """What comes of this policy; `drift` is None where it does not watch that, `seen` is called after every window."""
    loop = _Loop(policy, stream, models, drift)
    last = len(stream.ends) - 1
    for window in range(stream.first, last + 1):
        loop.serve(window)
        if window < last:  # what is done after the last window shows nowhere
            loop.act()
        seen()
    return loop.found


class _Loop:
    """The state of one replay: `found` is what came of it so far."""

    def __init__(self, policy: Policy, stream: Stream, models: Trainings, drift: Drift | None) -> None:
        self._policy, self._stream, self._models, self._drift = policy, stream, models, drift
        self._window, self._now = 0, stream.begin
        self._past = Past()
        self._champion = models.first()
        self._served: dict[str, Trained] = {}
        self._replaced: Trained | None = None
        self._waiting: Trained | None = None
        self._ledger: list[Judged] = []
        self._left_out: Mask = np.zeros(len(stream.window), bool)
        self.found = Replay()

    def serve(self, window: int) -> None:
        """Let the champion serve this window, and see what the last promotion was worth."""
        f1 = self._f1(self._champion, window)
        self.found.f1.append(f1)
        self.found.broken += self._champion.broken
        if self._replaced is not None:
            old = self._f1(self._replaced, window)
            self.found.promotions[self._now] = max(0.0, old - f1) if old is not None and f1 is not None else 0.0
            self._replaced = None
        self._window, self._now = window, self._stream.ends[window]

    def act(self) -> None:
        """Check, then promote, as cron would at the end of the window that was served last."""
        if self._policy.always or self._is_due():
            self._train()
        if self._waiting is not None and (wins := self._wins(self._waiting)) is not None:
            challenger, self._waiting = self._waiting, None
            if wins:
                self._note(Promoted(challenger.version, self._champion.version))
                self._served[self._champion.version] = self._replaced = self._champion
                self._champion = challenger

    def _f1(self, model: Trained, window: int) -> float | None:
        return self._stream.quality(model.predicted, window).f1

    def _note(self, event: Event) -> None:
        self._past = advance(self._past, event, self._now)

    def _say(self, text: str) -> None:
        self.found.story.append(f"{self._now:%Y-%m-%d}  {text}")

    def _is_due(self) -> bool:
        """Whether a training is due; a rollback that is due is made."""
        probation = self._policy.config.promotion.probation if self._past.probation is not None else None
        asked, snapshot = Asked(self._stream.ends[self._champion.window], probation), self._snapshot()
        seen = self._champion.version, snapshot, self._policy.config.triggers, self._now, asked
        look = look_at(self._past, *seen)
        due = due_on_same_rows(look.past, look.assessments, asked, self._stream.length, self._now)
        if due is not None and look.past.probation is not None:
            look = look_at(scored(self._past, self._on_same_rows(look.past.probation, *due)), *seen)
        self._past = look.past
        if look.decision.action is not Action.HOLD:
            self._say(look.decision.message)
        if look.decision.action is Action.ROLLBACK and self._past.probation is not None:
            before, previous = self._past.probation.before, self._champion.version
            self._note(RolledBack(before, previous))
            self._champion = self._served[before]
        return look.decision.action is Action.TRAIN

    def _on_same_rows(self, new: Probation, window: int, level: float) -> SameRows:
        """What both champions of a probation do on all rows since the promotion."""
        since = (self._stream.times >= new.since.timestamp()) & (self._stream.window <= self._window)
        tally = self._stream.tally(self._served[new.before].predicted, self._champion.predicted, since)
        gate, last = self._policy.config.gate, new.same_rows or SameRows(window)
        verdict = on_same_rows(replace(tally, slices=()), gate, level)
        if verdict.difference is None:
            return replace(last, window=window, problem=because(verdict, gate)[0])
        return SameRows(window, verdict, name_of(gate), last.spent + level)

    def _snapshot(self) -> Snapshot:
        """What `retrain monitor` would have served at the end of the window."""
        found = self._stream.quality(self._champion.predicted, self._window)
        positives = found.counts.tp + found.counts.fn if found.counts is not None else None
        drift = self._drift.served(self._window, self._champion) if self._drift is not None else None
        if isinstance(drift, Unknown):
            self.found.blind.append(drift.why)
        signals = found.f1, drift, self._now, self._now
        return Snapshot(self._now, *signals, samples=float(found.samples), positives=positives, counts=found.counts)

    def _train(self) -> None:
        self.found.trainings.append(self._now)
        run, model = f"{len(self.found.trainings)}", self._trained()
        if isinstance(model, RetrainError):
            self.found.failed += 1
            self._say(f"{model}")
            self._note(TrainingFinished(run, Outcome.FAILED, f"{model}", 1))
        elif model.version in (self._champion.version, *self._past.banned):
            self._note(TrainingFinished(run, Outcome.NOTHING_NEW, ""))
        else:
            self._note(TrainingFinished(run, Outcome.SUCCEEDED, "", 0, challenger=model.version))
            self._waiting = model

    def _trained(self) -> Trained | RetrainError:
        """The challenger of a training after this window, without rows to judge it on; or why there is none."""
        judged_on = self._policy.judged_on
        # None of the old rows trains any model, so they are cut once: rows that the first champion has not seen.
        if judged_on is JudgedOn.FRESH or (judged_on is JudgedOn.OLD and not self._left_out.any()):
            known, fresh = self._champion.rows, self._policy.config.promotion.fresh
            self._left_out = self._stream.left_out(self._window, known, fresh)
            if not self._left_out.any():
                return RetrainError("training failed: fewer new rows than promotion.fresh.min_rows")
        return self._models.after(self._window, self._left_out)

    def _wins(self, challenger: Trained) -> bool | None:
        """Whether the challenger is put in service; None while the rows to judge it on are too few."""
        match self._policy.judged_on:
            case JudgedOn.NONE:
                return True
            case JudgedOn.FUTURE:
                new, old = (self._f1(each, self._window + 1) or 0.0 for each in (challenger, self._champion))
                return new > old
            case JudgedOn.LIVE:
                return self._live(challenger)
        return self._is_better(challenger, self._left_out)

    def _live(self, challenger: Trained) -> bool | None:
        """Whether the challenger is better on the rows that came after its training; None while they are too few."""
        live, since = self._policy.config.promotion.live, challenger.window
        rows = (self._stream.window > since) & (self._stream.window <= self._window)
        if self._window - since >= live.windows and rows.sum() >= live.min_rows:
            return self._is_better(challenger, rows)
        if self._now - self._stream.ends[since] < live.give_up:
            return None
        self._note(Rejected(challenger.version, "too few rows came", given_up=True))
        return False

    def _is_better(self, model: Trained, rows: Mask) -> bool:
        """The verdict of `promote` on these rows."""
        gate = self._policy.config.gate
        tally = self._stream.tally(self._champion.predicted, model.predicted, rows)
        verdict = judge(tally, gate, next_comparison(tally, self._ledger, gate.holdout_uses))
        if self._policy.judged_on is JudgedOn.OLD:
            verdict = beside_live(verdict, latest(self._past))
        judged = Judged(
            *(model.version, self._champion.version, tally.holdout, gate.question, "", verdict), sketches=tally.sketches
        )
        self._ledger.append(judged)
        self._note(judged)
        gain = f", gain {verdict.difference:+.3f}" if verdict.difference is not None else ""
        self._say(f"{verdict.ruling} {short(model.version)}: {because(verdict, gate)[0]}{gain}")
        return verdict.ruling is Ruling.PROMOTE
