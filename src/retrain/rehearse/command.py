"""`retrain rehearse`: a labelled log under several policies: what would each have been worth?"""

import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from msgspec import Struct

from retrain.config.load import parse_span
from retrain.context import Context
from retrain.core.text import counted
from retrain.effects.files import make_directory
from retrain.errors import Report, Stopped, file_errors
from retrain.rehearse.policies import CONFIGURED, policies
from retrain.rehearse.replay import Drift, MakeGauge, Replay, replay
from retrain.rehearse.report import Prices, check_chart, draw_chart, report
from retrain.rehearse.stream import read
from retrain.rehearse.trainings import Trainings


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
