"""`retrain rehearse`: a labelled log under several policies: what would each have been worth?"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, cycle, repeat
from pathlib import Path
from statistics import fmean

from msgspec import Struct, field, to_builtins

from retrain.config.load import parse_span
from retrain.context import Context
from retrain.core.text import counted, duration, iso, moment
from retrain.effects.files import make_directory
from retrain.errors import ConfigError, Report, RetrainError, Stopped, file_errors
from retrain.output import aligned
from retrain.rehearse.policies import CALENDAR, CONFIGURED, HINDSIGHT, NEVER, policies
from retrain.rehearse.replay import Drift, MakeGauge, Replay, replay
from retrain.rehearse.stream import Stream, read
from retrain.rehearse.trainings import Trainings


class Prices(Struct, frozen=True):
    """What a training costs, and what one point (0.01) of F1 is worth in one window; None: not known."""

    training: float | None = None
    point: float | None = None


class Options(Struct, frozen=True):
    """The flags, what measures drift, and what shows progress, called with the share that is done.

    `sample` and `broken` are shares.
    """

    rules: Sequence[str] = ()
    gates: Sequence[str] = ()
    window: str | None = None
    first: str | None = None
    sample: float = 1.0
    broken: float = 0.0
    seed: int = 0
    prices: Prices = Prices()
    cache: Path | None = None
    chart: Path | None = None
    gauge: MakeGauge | None = None
    progress: Callable[[float], None] = lambda _share: None
    say: Callable[[str], None] = lambda _text: None


def rehearse(context: Context, log: Path, options: Options) -> Report:
    """The report of the rehearsal: a table of policies. A second run goes on where an interrupted one was."""
    config = context.config
    length = parse_span("--window", options.window) if options.window is not None else config.monitor.window
    first = parse_span("--first", options.first) if options.first is not None else None
    if options.chart is not None:
        check_chart(options.chart)
    tried, notes = policies(config, options.rules, options.gates)
    stream, left_out = read(config, log, length, first, options.sample)
    if left_out:
        notes.append(f"{counted(left_out, 'row')} without a label or a time left out")
    cache = options.cache or config.state / "rehearse"
    with file_errors(cache):
        make_directory(cache)
        scratch = tempfile.TemporaryDirectory(prefix=".scratch-", dir=cache)
    with scratch as directory:
        models = Trainings(context, stream, cache, Path(directory), options.broken, options.seed)
        replays: dict[str, Replay] = {}
        done, steps = count(1), len(tried) * (len(stream.ends) - stream.first)
        try:
            for name, policy in tried.items():
                drift = Drift(options.gauge, policy.config, stream, Path(directory)) if policy.watches_drift else None
                replays[name] = replay(policy, stream, models, drift, lambda: options.progress(next(done) / steps))
        except Stopped:
            options.say(f"all trainings are kept in {cache}: the same command goes on from there")
            raise
    if models.reused:
        reused = counted(models.reused, "training")
        notes.append(f"{reused} of an earlier rehearsal used again (remove {cache} where the training has changed)")
    if options.chart is not None:
        draw_chart(options.chart, log, stream, tried[CONFIGURED].config.triggers.performance_threshold, replays)
        notes.append(f"the chart is in {options.chart}")
    return report(stream, replays, options.prices, options.broken, notes)


_MUCH = 0.01
"""A promotion that costs more F1 than this is named apart."""
_LEGEND = (
    "mean F1: of whatever served, over the windows. gap closed: 0 % is never to train again, 100 % is hindsight.",
    "harmful: promotions that did worse than the old champion in the next window (in brackets: by more than 0.01);",
    "F1 lost: the F1 that these lost in that window, as a mean over all windows.",
    "gate: old: challengers are judged on rows that are cut once, before the first training. gate: none: on none.",
    f"{CALENDAR}: train after every window and promote without a comparison. {HINDSIGHT}: the same, but only what the",
    "next window proves better is promoted, which nobody can know in time: the best to hope for.",
    "Trainings take no time here, and labels are known when their window ends.",
)
_OF_BREAKS = "broken: windows in which a spoiled model served (--break shuffles the labels of some trainings)."
_FORMATS = (".png", ".svg")
_SOLID = {CONFIGURED: ("black", "-", 2.0), HINDSIGHT: ("0.5", "-", 1.0)}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Those that the colour-blind can tell apart. Source: Okabe & Ito 2008, Color Universal Design."""
_STYLES = ("--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (9, 3)), (0, (3, 1, 3, 1, 1, 1)))
"""One more than the colours, so that no pair of both comes again before 42 policies."""


class Row(Struct, frozen=True):
    """A policy in figures; `gap_closed` is None where hindsight gains nothing, `costs` where prices are not known."""

    policy: str
    mean_f1: float
    gap_closed: float | None
    trainings: int
    failed: int
    promotions: int
    harmful: int
    much: int = field(name="harmful_by_more_than_0.01")
    f1_lost: float
    broken_windows: int
    costs: float | None


def report(
    stream: Stream, replays: Mapping[str, Replay], prices: Prices, broken: float, notes: Sequence[str]
) -> Report:
    """The report on each policy by its name."""
    rows = _rows(replays, prices)
    until, *ends = stream.ends[stream.first - 1 :]
    over = f"{counted(len(ends), 'window')} of {duration(stream.length)} from {moment(until)} to {moment(ends[-1])}"
    lines = [
        f"{over}, {len(stream.times):,} labelled rows in all",
        f"the first champion was trained on what came before, since {moment(stream.begin)}",
        *notes,
        *(line for name, each in replays.items() for line in _troubles(name, each)),
        "",
        *_table(rows, with_breaks=broken > 0),
        "",
        *_conclusion(rows),
        "",
        *_LEGEND,
        *([_OF_BREAKS] if broken else []),
    ]
    message = "\n".join(lines)
    data = {
        "windows": [iso(end) for end in ends],
        "rows": len(stream.times),
        "policies": [
            to_builtins(row)
            | {"f1": replays[row.policy].f1, "promoted_at": [iso(at) for at in replays[row.policy].promotions]}
            for row in rows
        ],
        "cheapest": _cheapest(rows),
        "message": message,
    }
    return Report(message, data, details=(f"{CONFIGURED}:", *replays[CONFIGURED].story))


def _troubles(policy: str, replay: Replay) -> Iterator[str]:
    """How many trainings failed, and in how many windows drift was unknown."""
    if replay.failed:
        yield f"{policy}: {counted(replay.failed, 'training')} failed (-v shows why)"
    if replay.blind:
        yield f"{policy}: drift of {counted(len(replay.blind), 'window')} is unknown; the last: {replay.blind[-1]}"


def _rows(replays: Mapping[str, Replay], prices: Prices) -> list[Row]:
    defined = {name: [f1 for f1 in each.f1 if f1 is not None] or [0.0] for name, each in replays.items()}
    means = {name: fmean(each) for name, each in defined.items()}
    never, best = means[NEVER], means[HINDSIGHT]
    rows = []
    for name, each in replays.items():
        mean, windows = means[name], len(defined[name])
        harm = [lost for lost in each.promotions.values() if lost > 0]
        costs = None
        if prices.training is not None or prices.point is not None:
            missed = max(0.0, best - mean) * 100 * windows
            costs = len(each.trainings) * (prices.training or 0.0) + missed * (prices.point or 0.0)
        row = Row(
            policy=name,
            mean_f1=mean,
            gap_closed=(mean - never) / (best - never) if best > never else None,
            trainings=len(each.trainings),
            failed=each.failed,
            promotions=len(each.promotions),
            harmful=len(harm),
            much=sum(lost > _MUCH for lost in harm),
            f1_lost=sum(harm) / windows,
            broken_windows=each.broken,
            costs=costs,
        )
        rows.append(row)
    return rows


def _table(rows: Sequence[Row], *, with_breaks: bool) -> list[str]:
    """The policies, one a line."""
    with_costs = any(row.costs is not None for row in rows)
    head = ["policy", "mean F1", "gap closed", "trainings", "promotions", "harmful", "F1 lost"]
    table = [head + ["broken"] * with_breaks + ["costs"] * with_costs]
    for row in rows:
        gap = "-" if row.gap_closed is None else f"{100 * row.gap_closed:.0f} %"
        counts = f"{row.trainings:,}", f"{row.promotions:,}", f"{row.harmful} ({row.much})"
        cells = [row.policy, f"{row.mean_f1:.3f}", gap, *counts, f"{row.f1_lost:.4f}"]
        table.append(cells + [f"{row.broken_windows}"] * with_breaks + [f"{row.costs or 0:,.0f}"] * with_costs)
    return aligned(table)


def _conclusion(rows: Sequence[Row]) -> list[str]:
    """What the table says of the configured policy, and which is the cheapest."""
    by_name = {row.policy: row for row in rows}
    row, never, best = by_name[CONFIGURED], by_name[NEVER].mean_f1, by_name[HINDSIGHT].mean_f1
    lines = [
        f"{CONFIGURED}, F1 would have been {row.mean_f1:.3f}; without any training {never:.3f}, and {best:.3f} at best."
    ]
    if (cheapest := _cheapest(rows)) is not None:
        costs = by_name[cheapest].costs or 0.0
        saved = (row.costs or 0.0) - costs
        than = f", {saved:,.0f} less than {CONFIGURED}" if cheapest != CONFIGURED else ""
        lines.append(f"cheapest: {cheapest}, {costs:,.0f} for trainings and for F1 that hindsight would have had{than}")
    return lines


def _cheapest(rows: Sequence[Row]) -> str | None:
    """The policy that costs least; None where prices are not known."""
    priced = {row.policy: row.costs for row in rows if row.costs is not None and row.policy != HINDSIGHT}
    return min(priced, key=lambda name: priced[name]) if priced else None


def check_chart(file: Path) -> None:
    """Raise RetrainError where no chart can be drawn into this file, before hours of trainings."""
    if file.suffix not in _FORMATS:
        raise ConfigError(f"--chart: {file} must end in {' or '.join(_FORMATS)}")
    if not file.parent.is_dir():
        raise ConfigError(f"--chart: there is no directory {file.parent}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise RetrainError("--chart needs matplotlib", "pip install 'retrain-controller[report]'") from error


def draw_chart(file: Path, log: Path, stream: Stream, threshold: float | None, replays: Mapping[str, Replay]) -> None:
    """Draw all policies by name, and the threshold of F1. Raises RetrainError where the file cannot be written."""
    from matplotlib.figure import Figure

    ends = stream.ends[stream.first :]
    figure = Figure(figsize=(11, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(9, 1))
    others = zip(cycle(_COLOURS), cycle(_STYLES), repeat(1.2), strict=False)
    for name, found in replays.items():
        colour, style, width = _SOLID.get(name) or next(others)
        f1 = [float("nan") if each is None else each for each in found.f1]
        above.plot(ends, f1, color=colour, linestyle=style, linewidth=width, zorder=1 + width, label=name)
    if threshold is not None:
        label = f"performance_threshold {threshold:g}"
        above.axhline(threshold, color="0.5", linestyle=(0, (9, 6)), linewidth=0.8, label=label)
    configured = replays[CONFIGURED]
    acts = {"promoted": configured.promotions, "trained": configured.trainings}
    for height, (times, marker) in enumerate(zip(acts.values(), "^o", strict=True)):
        below.plot(list(times), [height] * len(times), marker, color="black", markersize=4)
    below.set(yticks=range(len(acts)), yticklabels=list(acts), ylim=(-0.7, len(acts) - 0.3))
    below.set_title(CONFIGURED, loc="left", fontsize="medium")
    below.set_xlabel("end of the window (UTC)")
    above.set(title=f"{log.name}: live F1 by window", ylabel=f"F1 of a window of {duration(stream.length)}")
    above.grid(axis="y", color="0.9")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    with file_errors(file):
        figure.savefig(file, dpi=150)
