"""Models and rows → tallies, and a log → rows: what the processes that score are asked, and what they answer."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, convert

from retrain.config.schema import Config, Remote
from retrain.core.judge import RowKey
from retrain.core.records import Label
from retrain.core.text import one_line
from retrain.core.verdicts import Cell, Groups, Leaked, ModelNote, Sketch, Slice, Tally
from retrain.effects.evaluation.child import Plan, Progress, Scrub, carry_out, garbled
from retrain.effects.evaluation.child import Unscorable as Unscorable


def _silent(_share: float) -> None:
    pass


class Taken(Struct, frozen=True):
    """The labelled rows of a log in complete windows; the end of a sentence where it gives no rows of some windows."""

    labelled: int
    lost: str


class Arrived(Struct, frozen=True):
    """The labelled rows after a training, and the whole windows among theirs; whether that is enough; and as above."""

    rows: int
    windows: int
    complete: bool
    lost: str = ""


def compare(  # noqa: PLR0913  (the files of training rows belong to the versions that are compared)
    config: Config,
    champion: Path | None,
    challenger: Path,
    holdout: Path | Remote,
    progress: Progress = _silent,
    *,
    named: Path | None = None,
    known_challenger: Path | None = None,
    known_champion: Path | None = None,
    keys: Sequence[RowKey] = (),
    dated: tuple[str, float] | None = None,
    scrub: Scrub = str,
) -> Tally:
    """The tally of both models on these rows; `champion` is None where nothing is served yet.

    `progress` is called with the share of rows done. Messages call a challenger that is a copy as it is `named`.
    `known_…` are files from `remember_rows`, of the data that each side was trained on. `keys` are how the rows of
    earlier holdouts are known, `dated` the column of their time and that of the champion's training in epoch seconds,
    where older rows are to be counted. `scrub` takes secrets out of what the models print. Raises Unscorable where the
    champion, the challenger, the holdout or such a file cannot be used, and RetrainError where the scoring
    cannot start or does not end in `promotion.timeout`.
    """
    rules, scattered = config.promotion, dict[str, Any]()
    if rules.backend is not None and holdout == rules.rows:  # other rows are a file of this machine
        timeout = rules.timeout.total_seconds()
        scattered = {"scheduler": rules.scheduler, "most": rules.max_memory, "timeout": timeout}
    plan = _counted(
        *(config, "scattered" if scattered else "compare", holdout),
        **scattered,
        champion=champion,
        challenger=named or challenger,
        copy=challenger,
        known_challenger=known_challenger,
        known_champion=known_champion,
        keys=list(keys),
        dated=dated,
    )
    answer = carry_out(plan, config, progress, scrub)
    with garbled():
        return tally_of(answer, config.promotion.group, compared=champion is not None)


def try_out(config: Config, challenger: Path, holdout: Path | Remote | None, *, scrub: Scrub = str) -> None:
    """Load the challenger; where there is a holdout, let it predict a few rows of that. Raises as `compare` does."""
    plan = _plan(config, "trial", holdout or "", challenger=challenger, model=_given(config, holdout))
    carry_out(plan, config, scrub=scrub)


def remember_rows(config: Config, data: Path, holdout: Path | Remote, into: Path) -> int:
    """The number of rows in the training data, whose hashes are now in the file `into`, as Parquet.

    A row is known by the columns that the data shares with the holdout, so both are read. `compare` takes the file.
    Raises Unscorable where the data, the holdout or the file cannot be used, and RetrainError as `compare` does.
    """
    answer = carry_out(_plan(config, "rows", holdout, data=data, into=into), config)
    with garbled():
        return int(answer["rows"])


def cut(  # noqa: PLR0913  (the log, what is cut from it, and where that goes)
    config: Config,
    now: datetime,
    *,
    training: Path,
    holdout: Path | Remote | None,
    sample: Path | None = None,
    known_champion: Path | None = None,
    scrub: Scrub = str,
) -> Taken:
    """What was taken from the log: the rows for a training, now in one file, and those left out of it in another.

    Without `holdout` nothing is left out. `sample` is where a sample of the rows for the training goes. Where the log
    has too few rows, no file is written. `known_champion` is the file from `remember_rows` about the champion, none of
    whose rows is left out. Raises Unscorable where the log cannot be used, and RetrainError as `compare` does.
    """
    fresh, history = config.promotion.fresh, config.training.history
    plan = _of_log(
        *(config, "cut", now, holdout or training),
        windows=fresh.windows,
        min_rows=fresh.min_rows,
        training=training,
        sample=sample,
        share=fresh.share if holdout is not None else 0.0,
        since=(now - history).timestamp() if history is not None else 0.0,
        known_champion=known_champion,
        group=config.promotion.group,
    )
    answer = carry_out(plan, config, scrub=scrub)
    with garbled():
        return Taken(int(answer["labelled"]), str(answer["lost"]))


def arrived(config: Config, after: datetime, now: datetime, into: Path, *, every: bool = False) -> Arrived:
    """The labelled rows of the log after this time; the first that are enough, or `every` one, are in the file `into`.

    Raises as `cut` does.
    """
    live, wanted = config.promotion.live, {"after": after.timestamp(), "every": every}
    plan = _of_log(config, "arrived", now, into, windows=live.windows, min_rows=live.min_rows, **wanted)
    answer = carry_out(plan, config)
    with garbled():
        return Arrived(int(answer["rows"]), int(answer["windows"]), bool(answer["complete"]), str(answer["lost"]))


def controls(
    config: Config, champion: Path | None, holdout: Path | Remote, progress: Progress = _silent, *, scrub: Scrub = str
) -> Mapping[str, Tally]:
    """Tallies against the champion of "itself", of its own predictions "shuffled" over the rows, and of "always x".

    There is one of the last kind for each label of the holdout, the ten most frequent at most; without a champion
    there are no others. The sketches are empty. Raises as `compare` does.
    """
    answer = carry_out(_counted(config, "controls", holdout, champion=champion), config, progress, scrub)
    with garbled():
        return {
            name: Tally(_cells(cells, champion is not None), answer["holdout"], models=_notes(answer))
            for name, cells in answer["controls"].items()
        }


def predict(  # noqa: PLR0913  (a model, its rows, and where its predictions go)
    config: Config, model: Path, rows: Path, into: Path, *, fractional: bool, scrub: Scrub = str
) -> None:
    """Record in the file `into` what the model predicts of each row: Parquet, one `code` a row, labels in the metadata.

    `fractional` says that labels of the rows have decimals. Raises as `compare` does.
    """
    asked = {"challenger": model, "into": into, "fractional": fractional, "model": _given(config, rows)}
    carry_out(_plan(config, "predict", rows, **asked), config, scrub=scrub)


def _plan(config: Config, job: str, holdout: Path | Remote | str, **fields: Any) -> Plan:
    """What is asked: a job, and the fields of its plan in `retrain.scoring.plan`."""
    promotion = config.promotion
    fields |= {"holdout": holdout, "target": promotion.target, "dtypes": dict(promotion.dtypes)}
    texts = {name: str(value.absolute()) for name, value in fields.items() if isinstance(value, Path)}
    return {"job": job, **fields, **texts}


def _counted(config: Config, job: str, holdout: Path | Remote, **fields: Any) -> Plan:
    """What is asked where the predictions of models are counted."""
    fields |= {"slices": list(config.promotion.slices), "group": config.promotion.group}
    return _plan(config, job, holdout, model=_given(config, holdout), **fields)


def _of_log(config: Config, job: str, now: datetime, holdout: Path | Remote, **fields: Any) -> Plan:
    """What is asked about the log."""
    monitor = config.monitor
    fields |= {name: getattr(monitor, name) for name in ("log", "timestamp", "label", "prediction", "score")}
    return _plan(config, job, holdout, window=monitor.window.total_seconds(), now=now.timestamp(), **fields)


def _given(config: Config, holdout: Path | Remote | None) -> Plan:
    """What the process of a model is given besides its file.

    That is the types that a skops file may have besides what skops trusts (None where artifacts are joblib files), and
    columns that are no features: the group, and the time where the rows are not the configured file but from the log.
    """
    models, group = config.models, config.promotion.group
    aside = [] if holdout == config.promotion.holdout else [config.monitor.timestamp]
    return {
        "trusted": list(models.trusted) if models.are_skops else None,
        "aside": [*aside, *([group] if group is not None else [])],
    }


def tally_of(message: Mapping[str, Any], column: str | None, *, compared: bool) -> Tally:
    """The tally in the answer to "compare", rows being grouped by this column; with a champion where `compared`.

    Raises ArithmeticError, LookupError, TypeError or ValueError where it is no such answer.
    """
    cells = _cells(message["cells"], compared)
    return Tally(
        cells=cells,
        holdout=convert(message["holdout"], str),
        sketches=convert(message["sketches"], tuple[Sketch, ...]),
        slices=tuple(_slice(each, compared, column) for each in message["slices"]),
        leaked=convert(message["leaked"], Leaked),
        groups=_groups(message["groups"], len(cells), column),
        models=_notes(message),
    )


def _notes(message: Mapping[str, Any]) -> tuple[ModelNote, ...]:
    return tuple(
        ModelNote(str(side), one_line(str(saved)), bool(unnamed)) for side, saved, unnamed in message["models"]
    )


def _slice(message: list[Any], compared: bool, group: str | None) -> Slice:
    column, value, rows, groups = message
    cells = _cells(rows, compared)
    return Slice(convert(column, str), convert(value, Label | None), cells, _groups(groups, len(cells), group))


def _groups(found: dict[str, Any] | None, cells: int, column: str | None) -> Groups | None:
    """The groups of so many cells. Raises ValueError where they are about others."""
    if found is None:
        return None
    together = tuple((int(one), int(other), int(count)) for one, other, count in found["together"])
    if any(not 0 <= one <= other < cells for one, other, _ in together):
        raise ValueError("no groups of what was counted")
    return Groups(int(found["number"]), int(found["discordant"]), together, column)


def _cells(rows: list[Any], compared: bool) -> tuple[Cell, ...]:
    """The cells of an answer, which has the champion's predictions where a champion is `compared`, and none elsewhere.

    Raises ValueError where it has not: without them a challenger has nothing to beat.
    """
    cells = tuple(Cell(_label(truth), _label(old), _label(new), int(count)) for truth, old, new, count in rows)
    if not cells or any(cell.rows < 1 or (cell.champion is not None) != compared for cell in cells):
        raise ValueError("no tally of what was asked")
    return cells


def _label(value: Any) -> Any:
    if value is not None and not isinstance(value, str | int | float):
        raise TypeError("no class label")
    return value
