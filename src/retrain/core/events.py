"""What happened: the events of the journal, frozen."""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, field

from retrain.core.records import Action, Assessment, Outcome, Reason
from retrain.core.verdicts import Leaked, Sketch, Verdict


class Actor(Struct, frozen=True):
    """A person who ran a command: `who`, on which `host`; `ci` is for whom, where a CI service ran it. Not proved."""

    who: str
    host: str
    ci: str = ""

    def __str__(self) -> str:
        return f"{self.who} on {self.host}" + (f" for {self.ci}" if self.ci else "")


class Attributed(Struct, frozen=True, kw_only=True):
    """An event with who is behind it: `by` asked for it, or ran the command that did it; None where cron did."""

    by: Actor | None = None


class SameRows(Struct, frozen=True):
    """A champion on probation and the one before on the same rows of the log, all that came since the promotion.

    `window` is the number of the log's window at which they were last asked for, `verdict` the latest on the champion,
    by a metric that people call `metric`; `problem` says why there is no later one. `spent` is the sum of the levels of
    all verdicts so far.
    """

    window: int
    verdict: Verdict | None = None
    metric: str = ""
    spent: float = 0.0
    problem: str = ""


class Checked(Struct, frozen=True):
    """A check looked and decided. `served` is the version the metrics are about.

    `incident` names a failure or a state that needs a person; `news` says that this check reported it. `known` is the
    version that the journal said serves when the check looked ("": none; None: that was not recorded). `same_rows` is
    set where this check scored both champions of a probation, or tried to; `verified` is the stamp of the champion's
    file, where this check has read it and found the bytes of its name. `notice` is what was reported before the
    message, as clauses; `recovered` says that something that was reported has ended.
    """

    action: Action
    reason: Reason
    message: str
    served: str | None
    assessments: tuple[Assessment, ...]
    incident: str | None = None
    news: bool = False
    known: str | None = None
    same_rows: SameRows | None = None
    verified: str = ""
    notice: str = ""
    recovered: bool = False


class TrainingStarted(Attributed, frozen=True):
    """The intent to train, written before the command starts."""

    run: str
    reason: Reason
    message: str


class TrainingFinished(Struct, frozen=True):
    """How a training ended. `news` says that a failure was reported, `cause` which one that was."""

    run: str
    outcome: Outcome
    message: str
    exit_code: int | None = None
    seconds: float | None = None
    challenger: str | None = None
    news: bool = False
    cause: str = ""

    @property
    def failed(self) -> bool:
        """Whether it brought neither a challenger nor the knowledge that there is nothing new."""
        return self.outcome not in (Outcome.SUCCEEDED, Outcome.NOTHING_NEW)


class Judged(Attributed, frozen=True):
    """A comparison on the holdout, or the repetition of a recorded one (`repeated`: it does not count).

    `question` is what was asked besides champion, challenger and holdout (metric, average, margin, level); `file` is
    the holdout file's inode, size and times, so that an unchanged file need not be read again. `classes` counts its
    rows by their label, `sketches` are those of the rows, at their first comparison. `leaked` is about the data of both
    trainings, `known_rows` what changes when more or others of their rows become known.
    """

    challenger: str
    champion: str | None
    holdout: str
    question: str
    file: str
    verdict: Verdict
    repeated: bool = False
    dry_run: bool = False
    source: str = ""
    sketches: tuple[Sketch, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    leaked: Leaked = field(default_factory=Leaked)
    known_rows: str = ""


UNKNOWN_ROWS = "unknown"
"""Why a challenger is refused whose training rows are not known."""


class NotJudged(Attributed, frozen=True):
    """The waiting challenger could not be judged, which was reported.

    `refused` is all that a refusal depends on, where a training has read the holdout; UNKNOWN_ROWS where that is
    not known.
    """

    version: str
    message: str
    refused: str = ""


class Swap(StrEnum):
    """Why the champion link moves."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


class SwapStarted(Attributed, frozen=True):
    """The intent to move the link, written before it moves."""

    swap: Swap
    version: str
    previous: str | None
    reason: str = ""
    forced: bool = False


class SwapUndone(Attributed, frozen=True):
    """A swap that was not completed: the champion before it serves. `failed`: since the hook after it failed."""

    version: str
    previous: str | None
    message: str
    failed: bool = False


class Promoted(Attributed, frozen=True):
    """The challenger is the champion now."""

    version: str
    previous: str | None
    forced: bool = False
    reason: str = ""


class RolledBack(Attributed, frozen=True):
    """An earlier champion serves again. `problem` is what the hook after it failed with: a service may not know it."""

    version: str
    previous: str | None
    reason: str = ""
    problem: str = ""


class Rejected(Attributed, frozen=True):
    """The waiting challenger was turned down by a person, or `given_up`: too few rows came to judge it on."""

    version: str
    reason: str
    given_up: bool = False


class Adopted(Attributed, frozen=True):
    """An ordinary champion file was taken into the registry as it was."""

    version: str


class Paused(Attributed, frozen=True):
    """From now on nothing trains or promotes by itself: for so long, or (None) until a person resumes."""

    reason: str
    length: timedelta | None = None


class Resumed(Attributed, frozen=True):
    """The pause was ended by a person."""


class HistoryLost(Attributed, frozen=True):
    """What came before is not known: the journal was damaged and is kept as the file `kept`, or it was gone ("").

    `served` is the version that served when a person settled this.
    """

    kept: str
    message: str
    served: str | None = None


class Undelivered(Struct, frozen=True):
    """A notification did not arrive by this channel, which was reported."""

    channel: str
    message: str


class Delivered(Struct, frozen=True):
    """Notifications arrive by this channel again."""

    channel: str
    message: str


class Pruned(Struct, frozen=True):
    """So many events that were older than `before` were removed; `past` is what they all added up to, as JSON."""

    events: int
    before: datetime
    past: str


Event = (
    Checked
    | TrainingStarted
    | TrainingFinished
    | Judged
    | NotJudged
    | SwapStarted
    | SwapUndone
    | Promoted
    | RolledBack
    | Rejected
    | Adopted
    | Paused
    | Resumed
    | HistoryLost
    | Undelivered
    | Delivered
    | Pruned
)


class Entry(Struct, frozen=True):
    """One line of the journal."""

    id: int
    at: datetime
    event: Event
