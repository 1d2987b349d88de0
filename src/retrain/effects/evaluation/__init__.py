"""Models and rows → tallies, and a log → rows: what the processes that score are asked, and what they answer."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, convert
from msgspec.structs import replace

from retrain.config.schema import Config, Models, Promotion
from retrain.core.judge import RowKey
from retrain.core.text import one_line
from retrain.core.verdicts import Cell, Groups, Leaked, ModelNote, Sketch, Slice, Tally
from retrain.effects.evaluation.child import Plan, carry_out, garbled
from retrain.effects.evaluation.child import Unscorable as Unscorable
from retrain.effects.evaluation.sandbox import private as private


class Taken(Struct, frozen=True):
    """Rows of the log: those left out of a training, those that it gets, and the labelled ones of complete windows."""

    left_out: int
    training: int
    labelled: int


class Arrived(Struct, frozen=True):
    """The labelled rows after a training, and the whole windows among theirs; whether that is enough."""

    rows: int
    windows: int
    complete: bool


def compare(  # noqa: PLR0913  (the files of training rows belong to the versions that are compared)
    champion: Path | None,
    challenger: Path,
    promotion: Promotion,
    directory: Path,
    progress: Callable[[float], None],
    *,
    models: Models,
    known_challenger: Path | None = None,
    known_champion: Path | None = None,
    aside: Sequence[str] = (),
    keys: Sequence[RowKey] = (),
    dated: tuple[str, float] | None = None,
    scrub: Callable[[str], str] = str,
    hidden: Sequence[Path] = (),
) -> Tally:
    """The tally of both models on the configured holdout; `champion` is None where nothing is served yet.

    `directory` is where the models' own modules are importable from. `progress` is called with the share of
    rows done. `models` says in which format they are, and what is trusted. `known_…` are files from `remember_rows`,
    of the data that each side was trained on. `aside` are columns that only a model is given which names them. `keys`
    are how the rows of earlier holdouts are known, `dated` the column of their time and that of the champion's training
    in epoch seconds, where older rows are to be counted. `scrub` takes secrets out of what the models print, and
    `hidden` is what they do not see in a sandbox. Raises Unscorable where the champion, the challenger, the holdout or
    such a file cannot be used, and RetrainError where the scoring cannot start or does not end in `promotion.timeout`.
    """
    plan = _plan(
        "compare",
        promotion,
        champion=champion,
        challenger=challenger,
        model=_given(models, aside, promotion.group),
        slices=list(promotion.slices),
        group=promotion.group,
        known_challenger=known_challenger,
        known_champion=known_champion,
        keys=list(keys),
        dated=dated,
    )
    answer = carry_out(plan, promotion, directory, progress, scrub, hidden)
    with garbled():
        return tally_of(answer, promotion.group, compared=champion is not None)


def try_out(  # noqa: PLR0913  (as those of compare)
    challenger: Path,
    holdout: Path | None,
    promotion: Promotion,
    directory: Path,
    *,
    models: Models,
    aside: Sequence[str] = (),
    scrub: Callable[[str], str] = str,
    hidden: Sequence[Path] = (),
) -> None:
    """Load the challenger; where there is a holdout, let it predict a few rows of that. Raises as `compare` does."""
    plan = _plan("trial", promotion, challenger=challenger, model=_given(models, aside))
    plan = {**plan, "holdout": "" if holdout is None else str(holdout.absolute())}
    carry_out(plan, promotion, directory, lambda _share: None, scrub, hidden)


def remember_rows(data: Path, promotion: Promotion, into: Path, directory: Path) -> int:
    """The number of rows in the training data, whose hashes are now in the file `into`, as Parquet.

    A row is known by the columns that the data shares with the holdout, so both are read. `compare` takes the file.
    Raises Unscorable where the data, the holdout or the file cannot be used, and RetrainError as `compare` does.
    """
    plan = _plan("rows", promotion, data=data, into=into)
    answer = carry_out(plan, promotion, directory, lambda _share: None)
    with garbled():
        return int(answer["rows"])


def cut(  # noqa: PLR0913  (the log, what is cut from it, and where that goes)
    config: Config,
    now: datetime,
    *,
    training: Path,
    holdout: Path | None,
    known_champion: Path | None = None,
    scrub: Callable[[str], str] = str,
) -> Taken:
    """What was taken from the log: the rows for a training, now in one file, and those left out of it in another.

    Without `holdout` nothing is left out. Where the log has too few rows, no file is written. `known_champion` is the
    file from `remember_rows` about the champion, none of whose rows is left out. Raises Unscorable where the log
    cannot be used, and RetrainError as `compare` does.
    """
    fresh, history = config.promotion.fresh, config.training.history
    plan = _log_plan(
        "cut",
        config,
        now,
        holdout=holdout or training,
        windows=fresh.windows,
        min_rows=fresh.min_rows,
        training=training,
        share=fresh.share if holdout is not None else 0.0,
        since=(now - history).timestamp() if history is not None else 0.0,
        known_champion=known_champion,
        group=config.promotion.group,
    )
    answer = carry_out(plan, config.promotion, config.training.directory, lambda _share: None, scrub)
    with garbled():
        return Taken(int(answer["rows"]), int(answer["training"]), int(answer["labelled"]))


def arrived(config: Config, after: datetime, now: datetime, into: Path, *, every: bool = False) -> Arrived:
    """The labelled rows of the log after this time; the first that are enough, or `every` one, are in the file `into`.

    Raises as `cut` does.
    """
    live, fields = config.promotion.live, {"after": after.timestamp(), "every": every}
    plan = _log_plan("arrived", config, now, holdout=into, windows=live.windows, min_rows=live.min_rows, **fields)
    answer = carry_out(plan, config.promotion, config.training.directory, lambda _share: None)
    with garbled():
        return Arrived(int(answer["rows"]), int(answer["windows"]), bool(answer["complete"]))


def controls(  # noqa: PLR0913  (as those of compare)
    champion: Path | None,
    promotion: Promotion,
    directory: Path,
    progress: Callable[[float], None],
    *,
    models: Models,
    aside: Sequence[str] = (),
    scrub: Callable[[str], str] = str,
    hidden: Sequence[Path] = (),
) -> Mapping[str, Tally]:
    """Tallies against the champion of "itself", of its own predictions "shuffled" over the rows, and of "always x".

    There is one of the last kind for each label of the holdout, the ten most frequent at most; without a champion
    there are no others. The sketches are empty. Raises as `compare` does.
    """
    asked = {"champion": champion, "model": _given(models, aside, promotion.group)}
    plan = _plan("controls", promotion, **asked, slices=list(promotion.slices), group=promotion.group)
    answer = carry_out(plan, promotion, directory, progress, scrub, hidden)
    with garbled():
        return {
            name: Tally(_cells(cells, champion is not None), answer["holdout"], models=_notes(answer))
            for name, cells in answer["controls"].items()
        }


def _log_plan(job: str, config: Config, now: datetime, *, holdout: Path, **fields: Any) -> Plan:
    """What the child is asked about the log."""
    monitor = config.monitor
    fields |= {name: getattr(monitor, name) for name in ("log", "timestamp", "label", "prediction", "score")}
    fields |= {"window": monitor.window.total_seconds(), "now": now.timestamp()}
    return _plan(job, replace(config.promotion, holdout=holdout), **fields)


def predict(  # noqa: PLR0913  (as those of compare)
    model: Path,
    rows: Path,
    into: Path,
    promotion: Promotion,
    directory: Path,
    *,
    models: Models,
    fractional: bool,
    aside: Sequence[str],
    scrub: Callable[[str], str] = str,
    hidden: Sequence[Path] = (),
) -> None:
    """Record in the file `into` what the model predicts of each row: Parquet, one `code` a row, labels in the metadata.

    `fractional` says that labels of the rows have decimals; no model gets the columns in `aside` that does not name
    them. Raises as `compare` does.
    """
    asked = {"challenger": model, "into": into, "model": _given(models, aside), "fractional": fractional}
    plan = _plan("predict", replace(promotion, holdout=rows), **asked)
    carry_out(plan, promotion, directory, lambda _share: None, scrub, hidden)


def _plan(job: str, promotion: Promotion, **fields: Any) -> Plan:
    """What the child is asked: a job, and the fields of its plan in `retrain.scoring.plan`."""
    fields |= {"holdout": promotion.holdout, "target": promotion.target, "dtypes": dict(promotion.dtypes)}
    texts = {name: str(value.absolute()) for name, value in fields.items() if isinstance(value, Path)}
    return {"job": job, **fields, **texts}


def _given(models: Models, aside: Sequence[str], group: str | None = None) -> Plan:
    """What the process of a model is given besides its file: types that are trusted, and columns that are no features.

    The types are those that a skops file may have besides what skops trusts; None where artifacts are joblib files.
    """
    trusted = list(models.trusted) if models.are_skops else None
    return {"trusted": trusted, "aside": [*aside, *([group] if group is not None else [])]}


def tally_of(message: Mapping[str, Any], column: str | None, *, compared: bool) -> Tally:
    """The tally in the answer to "compare", rows being grouped by this column; with a champion where `compared`.

    Raises ArithmeticError, LookupError, TypeError or ValueError where it is no such answer.
    """
    cells = _cells(message["cells"], compared)
    return Tally(
        cells=cells,
        holdout=str(message["holdout"]),
        sketch=tuple(map(int, message["sketch"])),
        sketches=convert(message["sketches"], tuple[Sketch, ...]),
        slices=tuple(_slice(each, compared, column) for each in message["slices"]),
        leaked=Leaked(**message["leaked"]),
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
    return Slice(column, value, cells, _groups(groups, len(cells), group))


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
