"""How a project stands and how it came to that, as values for its page: no HTML, and nothing is read here."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import sqrt

from msgspec import Struct

from retrain.config import Config
from retrain.core import events
from retrain.core.describe import describe
from retrain.core.events import Entry, Judged
from retrain.core.evidence import hits_of
from retrain.core.explain import disclosed, signed
from retrain.core.history import Window, periods, windows
from retrain.core.records import NAMES, Assessment, Signal
from retrain.core.rules import Gate
from retrain.core.text import moment, one_line, short
from retrain.core.verdicts import Ruling
from retrain.page import Standing
from retrain.page.chart import Scale, gathered, line

SPAN = timedelta(days=366)
MOST_WINDOWS, MOST_CHAMPIONS, MOST_EVENTS, MOST_COMPARISONS = 370, 40, 20, 20
"""What a page of 60 KB has room for; the newest are shown."""
LEFT, RIGHT = 84.0, 712.0
_BAND = 16.0
_SIGN = 6.8
"""A band narrower than its label, of signs so wide, has none."""


class Chart(Struct, frozen=True):
    """One signal over time: the line through its windows, the outline of its 95 % bounds, what it is compared with."""

    name: str
    signal: str
    top: float
    bottom: float
    ticks: tuple[tuple[float, str], ...]
    line: str
    bounds: str
    limit: str
    latest: str


class Row(Struct, frozen=True):
    """Events of one kind: each marker is (x, how many, what and when). A span is (x, width, what)."""

    name: str
    tone: str
    y: float
    marks: tuple[tuple[float, int, str], ...] = ()
    spans: tuple[tuple[float, float, str], ...] = ()


class Band(Struct, frozen=True):
    """A champion: where it stands in the drawing, and the row of the table."""

    x: float
    width: float
    version: str
    score: str
    label: str
    since: str
    until: str
    why: str


class View(Struct, frozen=True):
    """All that the page of a project shows; `cells` are the rows of the tables, as texts."""

    project: str
    at: str
    standing: Standing
    tone: str
    span: str
    charts: tuple[Chart, ...]
    rows: tuple[Row, ...]
    bands: tuple[Band, ...]
    months: tuple[tuple[float, str], ...]
    height: float
    bands_at: float
    windows: tuple[tuple[str, ...], ...]
    left_out: int
    comparisons: tuple[tuple[str, ...], ...]
    events: tuple[tuple[str, ...], ...]


_TONES = {"HEALTHY": "good", "NEEDS A PERSON": "bad", "IN BREACH": "bad", "CANNOT BE READ": "bad"}


def tone_of(word: str) -> str:
    """The colour of a state."""
    return _TONES.get(word, "wait")


def view(config: Config, standing: Standing, now: datetime, checks: Sequence[Entry], changes: Sequence[Entry]) -> View:
    """The values of the page: of these checks of the last year, and of all other events, oldest first."""
    found = sorted(windows(checks), key=_end)
    shown = found[-MOST_WINDOWS:]
    daily = all(not (_end(each).hour or _end(each).minute) for each in shown)
    first = _end(shown[0]) if shown else min((entry.at for entry in changes), default=now)
    first = max(min(first, now - timedelta(hours=1)), now - SPAN)
    x = Scale(first.timestamp(), now.timestamp(), LEFT, RIGHT)
    charts, y = [], 8.0
    for signal, height in ((Signal.F1, 150.0), (Signal.DRIFT, 100.0)):
        if (chart := _chart(signal, shown, x, y, y + height)) is not None:
            charts.append(chart)
            y += height + 22
    rows = []
    for row in _rows(changes, x, now):
        rows.append(Row(row.name, row.tone, y + 8, row.marks, row.spans))
        y += 22
    return View(
        project=config.name,
        at=moment(now),
        standing=standing,
        tone=tone_of(standing.word),
        span=f"{first:%Y-%m-%d} to {now:%Y-%m-%d}",
        charts=tuple(charts),
        rows=tuple(rows),
        bands=tuple(_bands(changes, x, now, config.gate)),
        months=tuple(_months(first, now, x)),
        height=y + _BAND + 26,
        bands_at=y,
        windows=tuple(_cells(each, short_dates=daily) for each in reversed(shown)),
        left_out=len(found) - len(shown),
        comparisons=tuple(_comparisons(changes, config.gate)),
        events=tuple(_events(changes, config.gate)),
    )


def _end(window: Window) -> datetime:
    return window.observed_at or window.at


# ---------------------------------------------------------------- the drawing


def _chart(signal: Signal, shown: Sequence[Window], x: Scale, top: float, bottom: float) -> Chart | None:
    """The chart of a signal; None where no window has it."""
    points = [(x(_end(window).timestamp()), each) for window in shown if (each := getattr(window, signal)) is not None]
    if not points:
        return None
    around = [(at, bounds) for at, each in points if (bounds := f1_bounds(each)) is not None]
    limits = [(at, each.limit) for at, each in points if each.limit is not None]
    values = [each.value or 0.0 for _, each in points] + [limit for _, limit in limits]
    values += [end for _, bounds in around for end in bounds]
    y = Scale.around(min(values), max(values), bottom, top)
    outline = [(at, y(high)) for at, (_, high) in around] + [(at, y(low)) for at, (low, _) in reversed(around)]
    return Chart(
        name=NAMES[signal],
        signal=str(signal),
        top=top,
        bottom=bottom,
        ticks=tuple((y(value), text) for value, text in y.ticks(3)),
        line=line((at, y(each.value or 0.0)) for at, each in points),
        bounds=line(outline) if len(around) > 1 else "",
        limit=line(_steps([(at, y(limit)) for at, limit in limits])),
        latest=points[-1][1].sentence,
    )


def _steps(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The corners of a line that is level between its changes, to the right edge."""
    level = None
    for at, y in points:
        if y != level:
            yield from [(at, level)] if level is not None else []
            yield at, y
            level = y
    if level is not None:
        yield RIGHT, level


Z = 1.96


def f1_bounds(each: Assessment) -> tuple[float, float] | None:
    """The 95 % bounds of a window's F1, where its counts or its positives are known; those of J, which it follows from.

    Wilson 1927, Probable inference; F1 = 2J / (1 + J).
    """
    known = hits_of(each.value or 0.0, each.counts, each.positives) if each.signal is Signal.F1 else None
    if known is None or not known[1]:
        return None
    hits, trials = known
    share, spread = hits / trials, Z * sqrt(hits * (1 - hits / trials) + Z**2 / 4)
    low, high = ((hits + Z**2 / 2 + sign * spread) / (trials + Z**2) for sign in (-1, 1))
    low, high = min(low, share), max(high, share)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def _rows(changes: Sequence[Entry], x: Scale, now: datetime) -> Iterator[Row]:
    """Trainings, failed trainings, promotions and rollbacks that happened, one row a kind; and pauses."""
    kinds: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for entry in changes:
        if entry.at.timestamp() < x.low or (kind := _kind(entry.event)) is None:
            continue
        kinds.setdefault(kind, []).append((x(entry.at.timestamp()), f"{moment(entry.at)}: {_name(entry.event)}"))
    for kind in (("trained", "f1"), ("failed", "bad"), ("promoted", "good"), ("rolled back", "bad")):
        if kind in kinds:
            yield Row(*kind, 0.0, tuple(gathered(kinds[kind], 16.0)))
    if spans := [span for span in _pauses(changes, now) if span[1].timestamp() > x.low]:
        drawn = [(x(since.timestamp()), x(until.timestamp()), reason) for since, until, reason in spans]
        yield Row("paused", "wait", 0.0, spans=tuple((at, max(3.0, round(end - at, 1)), why) for at, end, why in drawn))


def _kind(event: events.Event) -> tuple[str, str] | None:
    match event:
        case events.TrainingFinished():
            return ("failed", "bad") if event.failed else ("trained", "f1")
        case events.Promoted():
            return "promoted", "good"
        case events.RolledBack():
            return "rolled back", "bad"
    return None


def _name(event: events.Event) -> str:
    version = getattr(event, "version", None) or getattr(event, "challenger", None)
    return short(version) if version else one_line(getattr(event, "message", ""), 80)


def _pauses(changes: Sequence[Entry], now: datetime) -> Iterator[tuple[datetime, datetime, str]]:
    """From when until when nothing happened by itself, and why; a pause ends the one before."""
    opened: tuple[datetime, datetime, str] | None = None
    for entry in changes:
        if not isinstance(entry.event, events.Paused | events.Resumed):
            continue
        if opened is not None:
            yield opened[0], min(entry.at, opened[1]), opened[2]
        opened = None
        if isinstance(entry.event, events.Paused):
            length = entry.event.length
            until = min(now, entry.at + length) if length is not None else now
            opened = entry.at, until, f"{moment(entry.at)}: {one_line(entry.event.reason, 80)}"
    if opened is not None:
        yield opened


def _bands(changes: Sequence[Entry], x: Scale, now: datetime, gate: Gate) -> Iterator[Band]:
    """The champions of the drawing's time, oldest first."""
    served = [each for each in periods(changes) if each.version and (each.until or now).timestamp() > x.low]
    for period in served[-MOST_CHAMPIONS:]:
        at, end = x(period.since.timestamp()), x((period.until or now).timestamp())
        judged, score = period.comparison.event if period.comparison is not None else None, ""
        if isinstance(judged, Judged) and judged.verdict.challenger_score is not None:
            score = f"{judged.verdict.challenger_score:.3f}"
        name, until = short(period.version or ""), _time(period.until) if period.until is not None else "now"
        width = round(max(1.0, end - at), 1)
        label = f"{name[:7]} {score}".rstrip()
        label = label if width > _SIGN * len(label) else name[:7] if width > _SIGN * 7 else ""
        yield Band(at, width, name, score, label, _time(period.since), until, describe(period.began.event, gate))


def _months(first: datetime, now: datetime, x: Scale) -> Iterator[tuple[float, str]]:
    """Ticks of the time axis: the first days of months, or of fewer where they would be crowded; else two days."""
    year, month = first.year, first.month
    starts = []
    while (start := datetime(year, month, 1, tzinfo=UTC)) <= now:
        starts += [start] if start >= first else []
        year, month = year + month // 12, month % 12 + 1
    if len(starts) < 2:
        yield x.start, f"{first:%d %b %H:%M}"
        yield x.end - 70, f"{now:%d %b %H:%M}"
        return
    for start in starts[:: len(starts) // 7 + 1]:
        if x(start.timestamp()) < x.end - 40:
            yield x(start.timestamp()), f"{start:%b %Y}" if start.month == 1 or start == starts[0] else f"{start:%b}"


# ---------------------------------------------------------------- the tables


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _cells(window: Window, *, short_dates: bool) -> tuple[str, ...]:
    """End, F1, its bounds, drift and rows of a window."""
    f1, drift = window.f1, window.drift
    bounds = f1_bounds(f1) if f1 is not None else None
    return (
        f"{_end(window):%Y-%m-%d}" if short_dates else f"{_end(window):%Y-%m-%d %H:%M}",
        f"{f1.value:.3f}" if f1 is not None and f1.value is not None else "",
        f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds is not None else "",
        f"{drift.value:.3f}" if drift is not None and drift.value is not None else "",
        f"{f1.samples:g}" if f1 is not None and f1.samples is not None else "",
    )


def _comparisons(changes: Sequence[Entry], gate: Gate) -> Iterator[tuple[str, ...]]:
    """The comparisons of the holdout, newest first: when, who against whom, the verdict, scores, gain, who asked."""
    judged = [entry for entry in changes if isinstance(entry.event, Judged) and not entry.event.repeated]
    for entry in judged[: -MOST_COMPARISONS - 1 : -1]:
        event = entry.event
        assert isinstance(event, Judged)  # noqa: S101  (as chosen above)
        shown = disclosed(event.verdict, gate, wins=event.verdict.ruling is Ruling.PROMOTE)
        scores = [f"{each:.3f}" for each in (shown.challenger_score, shown.champion_score) if each is not None]
        bounds = f" ({' to '.join(map(signed, shown.interval))})" if shown.interval and shown.difference else ""
        gain = signed(shown.difference) + bounds if shown.difference is not None else ""
        by = str(event.by) if event.by is not None else ""
        number = f"{event.verdict.look}"
        yield _time(entry.at), short(event.challenger), str(shown.ruling), " against ".join(scores), gain, number, by


def _events(changes: Sequence[Entry], gate: Gate) -> Iterator[tuple[str, ...]]:
    """The last events, newest first: when, what and why, who."""
    for entry in changes[: -MOST_EVENTS - 1 : -1]:
        by = getattr(entry.event, "by", None)
        yield _time(entry.at), describe(entry.event, gate), str(by) if by is not None else ""
