"""What retrain says of itself as metric families of Prometheus; the textfile and `retrain monitor` print them."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from retrain.core.events import Checked, Entry
from retrain.core.fold import as_of
from retrain.core.past import End, Past
from retrain.core.records import Outcome, Reason
from retrain.core.verdicts import Ruling

Values = Mapping[str, float | None]
"""The values of a family by its one label; of a family without a label there is one, under ""."""


class Family(Struct, frozen=True):
    """A metric family. Its samples are labels, `project` first, and a value."""

    name: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]

    @property
    def kind(self) -> str:
        """The type of Prometheus, which the name ends with where it is a counter."""
        return "counter" if self.name.endswith("_total") else "gauge"


def families(project: str, past: Past, last: Entry | None, now: datetime) -> Iterator[Family]:
    """The families that have a value now; `last` is the latest check."""
    past = as_of(past, None, now)
    for name, help, label, values in (*_of_check(last), *_of_past(past, now)):
        known = {text: float(value) for text, value in values.items() if value is not None}
        samples = [({"project": project} | ({label: text} if label else {}), value) for text, value in known.items()]
        if samples:
            yield Family(f"retrain_{name}", help, tuple(samples))


def _of_check(last: Entry | None) -> Iterator[tuple[str, str, str, Values]]:
    """Name, help text, label and values of what the latest check saw."""
    check = last.event if last is not None and isinstance(last.event, Checked) else None
    seen, at = check.assessments if check is not None else (), last.at.timestamp() if last is not None else None
    yield "last_check_timestamp_seconds", "Time of the latest check", "", {"": at}
    reasons = {each.value: float(check is not None and check.reason is each) for each in Reason}
    yield "check_reason", "1 for the reason of what the latest check did, 0 for the others", "reason", reasons
    values = {each.signal.value: each.judged for each in seen}
    yield "metric_value", "F1 or drift that the latest check read; none where that is unknown", "signal", values
    limits = {each.signal.value: each.limit for each in seen}
    yield "metric_threshold", "What the latest check compared that with", "signal", limits


def _of_past(past: Past, now: datetime) -> Iterator[tuple[str, str, str, Values]]:
    """Name, help text, label and values of what the journal adds up to."""
    waiting, since = past.challenger, past.served_since
    waits = waiting is not None and (not waiting.settled or waiting.ruling is Ruling.PROMOTE)
    yield "consecutive_failures", "Trainings in a row that failed", "", {"": past.failures}
    in_vain = "Trainings in a row that brought no promotion, since a person last rejected a challenger"
    yield "unpromoted_trainings", in_vain, "", {"": _unpromoted(past)}
    yield "challenger_waiting", "1 while a challenger waits to be compared or put in service", "", {"": waits}
    yield "paused", "1 while a person has paused trainings and promotions", "", {"": past.paused(now) is not None}
    yield "champion_info", "1 for the version that serves", "version", {past.served: 1} if past.served else {}
    at = since.timestamp() if since is not None and past.served else None
    yield "champion_since_timestamp_seconds", "Time since which it serves", "", {"": at}
    yield "holdout_comparisons", "Number of the latest comparison on its holdout", "", {"": past.comparisons}
    trainings = {each.value: past.trainings.get(each, 0) for each in Outcome}
    yield "trainings_total", "Trainings that ended, by outcome", "outcome", trainings
    verdicts = {each.value: past.verdicts.get(each, 0) for each in Ruling}
    yield "promotions_total", "Verdicts of promote, without those of --dry-run", "verdict", verdicts


def _unpromoted(past: Past) -> int:
    """The trainings in a row without a promotion; a person who rejects a challenger knows of those up to it."""
    if End.REJECTED not in past.ends:
        return past.unpromoted
    return past.ends[::-1].index(End.REJECTED) + (past.challenger is not None)
