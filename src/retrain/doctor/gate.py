"""The gate on controls: challengers that must not be promoted."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from retrain.config.schema import Remote
from retrain.context import Context
from retrain.core.evidence import latest
from retrain.core.explain import RENEW, because, contradiction, more_rows, name_of
from retrain.core.judge import is_live_f1, judge, next_comparison
from retrain.core.rules import Gate
from retrain.core.score import counts_of
from retrain.core.text import counted
from retrain.core.verdicts import Ruling, Tally
from retrain.doctor import Finding, fail, ok, warn
from retrain.doctor.state import History
from retrain.effects import evaluation, registry

_CONTROLS = {"itself": "the champion itself", "shuffled": "the champion with its predictions shuffled"}
"""What the controls are, by the names of their tallies; the others predict one label for every row."""


def gate(context: Context, known: History, progress: Callable[[float], None]) -> Iterator[Finding]:
    """Holdout and champion, and the verdict on each control. No comparison is used up: nothing can come of it."""
    config = context.config
    try:
        serving = registry.served(config.models)
        champion = serving.path if serving is not None else None
        with _rows(context, serving, known) as (rows, where, lost):
            if rows is None:
                yield ok("holdout", f"is cut before a training, or written by it; the gate was not tested: {where}")
                return
            tallies = evaluation.controls(config, champion, rows, progress, scrub=context.secrets.scrub)
    except evaluation.Unscorable as error:
        what = "holdout" if error.side in ("holdout", "log") else "champion"
        yield fail(what, f"{error.why}; the gate was not tested", error.remedy)
        return
    tally = next(iter(tallies.values()), None)
    if tally is not None:
        yield _holdout(context, tally, known, where, lost)
        shown = counts_of(tally.cells, config.promotion.positive, "champion")
        yield from of_model(tally)
        is_known = config.promotion.rows is not None and serving is not None
        if is_known and is_live_f1(config.gate) and (why := contradiction(shown, latest(known.past))):
            yield warn("holdout", why, RENEW)
    yield from rule_on(tallies, config.gate)


def data(context: Context) -> Iterator[Finding]:
    """Whether the rows of trainings can be known: promote refuses a challenger of unknown ones."""
    file, promotion, what = context.config.training.data, context.config.promotion, "training data"
    if file is None:
        return
    if not file.is_file():
        yield fail(what, f"{file} does not exist", "make it, or change training.data")
        return
    holdout = promotion.rows or file
    try:
        with tempfile.TemporaryDirectory(prefix="retrain-doctor-") as directory:
            rows = evaluation.remember_rows(context.config, file, holdout, Path(directory) / "rows.parquet")
    except evaluation.Unscorable as error:
        if error.side != "holdout":  # that is found by the test of the gate
            yield fail(what, f"{error.why}; promote would refuse every challenger", error.remedy)
        return
    yield ok(what, f"{file} has {counted(rows, 'row')}, which promote can look for in the holdout")


def of_model(tally: Tally) -> Iterator[Finding]:
    """What is to be known of the champion."""
    for model in tally.models:
        if model.saved:
            yield warn("champion", f"was {model.saved}", "train it again with these libraries, or install those")
        if model.unnamed:
            why = "names no columns, so it is given those of the holdout by their position"
            yield warn("champion", why, "fit it on a table whose columns have names")


def rule_on(tallies: Mapping[str, Tally], gate: Gate) -> Iterator[Finding]:
    """The verdict on each control at the first comparison, which is the most generous one.

    A gate that would promote one fails: it, the holdout or the champion is not what it is taken for. The last finding
    is about a challenger that knows every label, and says whether any can be promoted.
    """
    for name, tally in tallies.items():
        yield _control(name, tally, gate)
    if tallies:
        yield _perfect(next(iter(tallies.values())), gate)


def _control(name: str, tally: Tally, gate: Gate) -> Finding:
    verdict, who = judge(tally, gate, 1), _CONTROLS.get(name, f"a model that knows nothing ({name})")
    new, old = verdict.challenger_score, verdict.champion_score
    scores = f"{name_of(gate)} {new:z.3f}" if new is not None else ""
    scores += f", the champion's {old:z.3f}" if old is not None else ""
    if verdict.ruling is not Ruling.PROMOTE:
        return ok("gate", f"turns down {who}", numbers=scores)
    if old is None:
        remedy = "raise promotion.floor above what a model reaches that knows nothing"
    elif gate.min_improvement < 0:
        remedy = f"raise promotion.min_improvement, which is {gate.min_improvement:+g}"
    else:
        remedy = (
            "the champion does worse here than a model that knows nothing; are promotion.positive, promotion.target and"
            " the labels of the holdout right?"
        )
    return fail("gate", f"would promote {who}", remedy, scores)


def _perfect(tally: Tally, gate: Gate) -> Finding:
    """The verdict on a challenger that knows every label."""
    known = replace(tally, cells=tuple(replace(cell, challenger=cell.truth) for cell in tally.cells))
    verdict, none = judge(known, gate, 1), "would not even promote a challenger that knows every label"
    if verdict.ruling is Ruling.PROMOTE:
        return ok("gate", "would promote a challenger that knows every label")
    if verdict.ruling is Ruling.REJECT or verdict.champion_score is None:
        why, remedy = because(verdict, gate)
        return fail("gate", none, remedy, why)
    errors = f"this champion makes {counted(verdict.discordant or 0, 'error')} on it"
    return warn("gate", none, more_rows(gate), errors)


@contextmanager
def _rows(
    context: Context, serving: registry.Served | None, known: History
) -> Iterator[tuple[Path | Remote | None, str, str]]:
    """The rows to test the gate on, where they are from, and what of it is lost; None where there are none, and why.

    Where the holdout is no file they are taken from the log as before a training, else those of a known version.
    """
    config, challenger = context.config, known.past.challenger
    if (rows := config.promotion.rows) is not None:
        yield rows, str(rows), ""
        return
    with tempfile.TemporaryDirectory(prefix="retrain-doctor-") as directory:
        trained_on, rows = Path(directory) / "training.parquet", Path(directory) / "holdout.parquet"
        why, version = f"there is no {config.monitor.log} (monitor.log) yet", serving.version if serving else None
        if config.monitor.log.is_file():
            past = registry.attached(config.models, version, registry.ROWS)
            taken = evaluation.cut(config, context.clock(), training=trained_on, holdout=rows, known_champion=past)
            why = f"{config.monitor.log} (monitor.log) has too few new labelled rows"
            if rows.is_file():
                yield rows, f"what a training now would leave out of {config.monitor.log}", taken.lost
                return
        versions = (challenger.version if challenger is not None else None, version)
        holdout = config.promotion.holdout
        kept = (registry.holdout_of(config.models, holdout, each) for each in versions if each is not None)
        yield next(((file, str(file), "") for file in kept if file is not None), (None, why, ""))


def _holdout(context: Context, tally: Tally, known: History, where: str, lost: str) -> Finding:
    promotion = context.config.promotion
    used = next_comparison(tally, known.ledger, promotion.holdout_uses) - 1
    seen = f"{where} has {counted(tally.rows, 'row')} with the label {promotion.target!r}"
    seen += ", and the champion can predict them all" if tally.cells[0].champion is not None else ""
    uses = f"{used} of {counted(promotion.holdout_uses, 'comparison')} used (promotion.holdout_uses)"
    if promotion.rows is None:
        return warn("holdout", f"{seen}{lost}") if lost else ok("holdout", seen)
    if used < promotion.holdout_uses:
        return ok("holdout", seen, numbers=uses)
    return warn("holdout", seen, "it shows less with each one: take fresh rows, and only fresh ones", uses)
