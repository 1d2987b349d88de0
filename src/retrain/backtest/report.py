"""What `retrain backtest` prints: a table of rules, and the trainings of the first."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from retrain.backtest.replay import Recorded, Replay
from retrain.core.evidence import YEAR, drop_name
from retrain.core.records import NAMES, Reason
from retrain.core.rules import Triggers
from retrain.core.text import counted, duration, iso, moment
from retrain.errors import Report
from retrain.output import aligned

_LISTED = 5
_ALMOST_A_DAY = timedelta(hours=23)
_ASSUMED = (
    "The record holds the scores of the models that served. So here each training ends at once and changes nothing:",
    "a lasting drop trains again and again, where a better challenger would have ended it.",
)
_OF_EVIDENCE = (
    "false_retrains_per_year bounds trainings by chance, with F1 at the threshold; those of real drops come on top.",
)


def report(
    readings: Sequence[Recorded], rules: Mapping[str, Triggers], replays: Mapping[str, Replay], notes: Sequence[str]
) -> Report:
    """The report on each rule by its name; the trainings of the first are listed."""
    begin, end = readings[0].snapshot.fetched_at, readings[-1].snapshot.fetched_at
    span, name = end - begin, next(iter(replays))
    first = replays[name]
    read = f"{counted(len(readings), 'reading')} from {moment(begin)} to {moment(end)} ({duration(span)})"
    windows = [f"{counted(count, 'window')} of {NAMES[signal]}" for signal, count in first.windows.items() if count]
    lines = [", ".join([read, *windows])]
    if unknown := first.reasons.get(Reason.UNKNOWN, 0):
        lines.append(f"{counted(unknown, 'reading')} without a decision: a metric was unknown")
    lines += [*notes, "", *_table(replays, span), "", *_trainings(f"{name} ({_in_words(rules[name])})", first), ""]
    lines += [*_ASSUMED, *(_OF_EVIDENCE if any(rule.evidence for rule in rules.values()) else ())]
    message = "\n".join(lines)
    data = {
        "readings": len(readings),
        "from": iso(begin),
        "to": iso(end),
        "rules": [{"rule": name} | _data(each, span) for name, each in replays.items()],
        "message": message,
    }
    return Report(message, data, details=tuple(map(_line, first.trainings[_LISTED:])))


def _data(replay: Replay, span: timedelta) -> dict[str, object]:
    return {
        "trainings": len(replay.trainings),
        "per_year": _per_year(replay, span),
        "at": [iso(at) for at, _ in replay.trainings],
        "why": [why for _, why in replay.trainings],
        "reasons": dict(sorted(replay.reasons.items())),
    }


def _per_year(replay: Replay, span: timedelta) -> float | None:
    """Trainings a year; None for a record of less than about a day, which says nothing about a year."""
    return len(replay.trainings) * YEAR / span.total_seconds() if span > _ALMOST_A_DAY else None


def _table(replays: Mapping[str, Replay], span: timedelta) -> list[str]:
    """The rules, one a line: how often each would have trained, and when first and last."""
    rows = [("rule", "trainings", "per year", "first", "last")]
    for name, each in replays.items():
        rate, days = _per_year(each, span), [f"{at:%Y-%m-%d}" for at, _ in each.trainings] or ["-"]
        rows.append((name, f"{len(each.trainings):,}", "-" if rate is None else f"{rate:,.1f}", days[0], days[-1]))
    return aligned(rows)


def _trainings(rule: str, replay: Replay) -> list[str]:
    """When the rule would have trained first, and why."""
    if not replay.trainings:
        return [f"{rule} would not have trained"]
    more = len(replay.trainings) - _LISTED
    lines = [f"{rule} would have trained:", *map(_line, replay.trainings[:_LISTED])]
    return lines + ([f"  and {counted(more, 'more time')} (-v lists them)"] if more > 0 else [])


def _line(training: tuple[datetime, str]) -> str:
    at, why = training
    return f"  {moment(at)}  {why}"


def _in_words(triggers: Triggers) -> str:
    f1, drift, age = triggers.performance_threshold, triggers.drift_threshold, triggers.max_model_age
    words = [f"F1 below {f1:g}"] if f1 is not None else []
    if triggers.evidence is not None:
        words = [f"evidence of {drop_name(triggers)}"]
    words += [f"F1 {triggers.max_drop:g} below the first window"] if triggers.max_drop is not None else []
    words += [f"drift {triggers.drift_breach} {drift:g}"] if drift is not None else []
    words += [f"model older than {duration(age)}"] if age is not None else []
    return f"{' or '.join(words)}, consecutive: {triggers.consecutive}"
