"""What `retrain rehearse` prints: a table of policies, and what to read in it."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from msgspec import Struct

from retrain.core.text import counted, duration, iso, moment
from retrain.errors import Report
from retrain.rehearse.policies import CALENDAR, CONFIGURED, HINDSIGHT, NEVER, Policy
from retrain.rehearse.replay import Replay
from retrain.rehearse.stream import Stream

_MUCH = 0.01
"""A promotion that costs more F1 than this is named apart."""
_LEGEND = (
    "mean F1: of whatever served, over the windows. gap closed: 0 % is never to train again, 100 % is hindsight.",
    "harmful: promotions that did worse than the old champion in the next window (in brackets: by more than 0.01);",
    "F1 lost: what these cost in that window, spread over all windows.",
    f"{CALENDAR}: train after every window and promote without a comparison. {HINDSIGHT}: the same, but only what the",
    "next window proves better is promoted, which nobody can know in time: the best to hope for.",
    "Trainings take no time here, and labels are known when their window ends.",
)
_OF_BREAKS = "broken: windows in which a spoiled model served (--break shuffles the labels of some trainings)."


class Prices(Struct, frozen=True):
    """What a training costs, and what one point (0.01) of F1 is worth in one window; None: not known."""

    training: float | None = None
    point: float | None = None


class Row(Struct, frozen=True):
    """A policy in figures; `gap` is None where hindsight gains nothing, `costs` where prices are not known."""

    name: str
    mean: float
    gap: float | None
    trainings: int
    failed: int
    promotions: int
    harmful: int
    much: int
    lost: float
    broken: int
    costs: float | None


def report(  # noqa: PLR0913, PLR0917  (what was replayed, and what is said of it)
    stream: Stream,
    policies: Mapping[str, Policy],
    replays: Mapping[str, Replay],
    prices: Prices,
    broken: float,
    notes: Sequence[str],
) -> Report:
    """The report on each policy by its name."""
    rows = _rows(replays, prices)
    ends = stream.ends[stream.first :]
    length = duration(stream.ends[0] - stream.begin)
    windows = counted(len(ends), "window")
    until = stream.ends[stream.first - 1]
    lines = [
        f"{windows} of {length} from {moment(until)} to {moment(ends[-1])}, {len(stream.times):,} labelled rows in all",
        f"the first champion was trained on what came before, since {moment(stream.begin)}",
        *notes,
        *(f"{each.name}: {counted(each.failed, 'training')} failed (-v shows why)" for each in rows if each.failed),
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
        "policies": [_data(row, replays[row.name]) for row in rows],
        "cheapest": _cheapest(rows),
        "message": message,
    }
    story = replays[CONFIGURED].story
    return Report(message, data, details=(f"{CONFIGURED}:", *story))


def _rows(replays: Mapping[str, Replay], prices: Prices) -> list[Row]:
    means = {name: _mean(replay) for name, replay in replays.items()}
    never, best = means[NEVER], means[HINDSIGHT]
    rows = []
    for name, each in replays.items():
        windows = max(1, len([f1 for f1 in each.f1 if f1 is not None]))
        harm = [promotion.lost for promotion in each.promotions if promotion.lost > 0]
        costs = None
        if prices.training is not None or prices.point is not None:
            missed = max(0.0, best - means[name]) * 100 * windows
            costs = each.trainings * (prices.training or 0.0) + missed * (prices.point or 0.0)
        gap = (means[name] - never) / (best - never) if best > never else None
        much = sum(lost > _MUCH for lost in harm)
        counts = each.trainings, each.failed, len(each.promotions), len(harm), much, sum(harm) / windows, each.broken
        rows.append(Row(name, means[name], gap, *counts, costs))
    return rows


def _mean(replay: Replay) -> float:
    """The mean of the windows in which F1 is defined."""
    return fmean([f1 for f1 in replay.f1 if f1 is not None] or [0.0])


def _data(row: Row, replay: Replay) -> dict[str, object]:
    return {
        "policy": row.name,
        "mean_f1": row.mean,
        "gap_closed": row.gap,
        "trainings": row.trainings,
        "failed": row.failed,
        "promotions": row.promotions,
        "harmful": row.harmful,
        "harmful_by_more_than_0.01": row.much,
        "f1_lost": row.lost,
        "broken_windows": row.broken,
        "costs": row.costs,
        "f1": list(replay.f1),
        "promoted_at": [iso(each.at) for each in replay.promotions],
    }


def _table(rows: Sequence[Row], *, with_breaks: bool) -> list[str]:
    """The policies, one a line."""
    with_costs = any(row.costs is not None for row in rows)
    head = ["policy", "mean F1", "gap closed", "trainings", "promotions", "harmful", "F1 lost"]
    table = [head + ["broken"] * with_breaks + ["costs"] * with_costs]
    for row in rows:
        gap = "-" if row.gap is None else f"{100 * row.gap:.0f} %"
        harmful = f"{row.harmful} ({row.much})"
        cells = [row.name, f"{row.mean:.3f}", gap, f"{row.trainings:,}", f"{row.promotions:,}", harmful]
        cells += [f"{row.lost:.4f}", *([f"{row.broken}"] * with_breaks)]
        table.append(cells + ([f"{row.costs or 0:,.0f}"] * with_costs))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            f"{cell:{'<' if not place else '>'}{width}}"
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]


def _conclusion(rows: Sequence[Row]) -> list[str]:
    """What the table says of the configured policy, and which is the cheapest."""
    by_name = {row.name: row for row in rows}
    row, never = by_name[CONFIGURED], by_name[NEVER]
    lines = [
        f"{CONFIGURED}, F1 would have been {row.mean:.3f}; without any training {never.mean:.3f}, and"
        f" {by_name[HINDSIGHT].mean:.3f} at best."
    ]
    if (cheapest := _cheapest(rows)) is not None:
        costs = by_name[cheapest].costs or 0.0
        saved = (row.costs or 0.0) - costs
        than = f", {saved:,.0f} less than {CONFIGURED}" if cheapest != CONFIGURED else ""
        lines.append(f"cheapest: {cheapest}, {costs:,.0f} for trainings and for F1 that hindsight would have had{than}")
    return lines


def _cheapest(rows: Sequence[Row]) -> str | None:
    """The policy that costs least; None where prices are not known."""
    priced = {row.name: row.costs for row in rows if row.costs is not None and row.name != HINDSIGHT}
    return min(priced, key=lambda name: priced[name]) if priced else None
