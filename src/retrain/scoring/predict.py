"""Models in processes of their own, as the counter sees them: features go there, labels come back."""

import json
import select
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import IO, Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from msgspec.structs import replace

from retrain.core.records import Label
from retrain.scoring.groups import Coded
from retrain.scoring.plan import EndedError, Plan, Predictions, Remote, Send, Side, Trial, UnusableError, blamed
from retrain.tables import FileError
from retrain.tables.read import Table, brief, columns
from retrain.tables.values import MISSING, is_nested, label, label_codes, quoted, unlabelled, vocabularies_differ

Prepared = TypeVar("Prepared")

TRIED = 100
"""Rows that a challenger predicts at the end of its training."""
MANY_LABELS, ROWS_PER_LABEL = 100, 10
"""More different labels than this, with fewer rows for each, are no classes."""
_AT_ONCE = 2
"""Requests that a model's process has not answered: it reads the second while it predicts the first."""
_MOST_AHEAD, _PREPARED = 128 * 1024**2, 16
"""Bytes that are kept until the models are loaded, and how many what is prepared of a row takes."""
_LONGEST_LINE = 16 * 1024**2
"""Bytes of a message from a model's process, which has each different label once."""
_LONGEST_ERROR = 2000


class RemoteModel:
    """A model in a process of its own. Of what it answers nothing is believed.

    Each request that it is sent it answers with a line of JSON, {"labels": […]} and as many numbers as rows (32 bits
    each), or {"error": sentence}; before all it says {"saved": clause, "unnamed": truth value}. UnusableError where
    that is not so, EndedError where there is none.

    A command may read all rows before it writes a label. So it gets all requests as one, and answers once.
    """

    def __init__(self, side: Side, path: str, features: IO[bytes], answers: IO[bytes], send: Send) -> None:
        """The model of this side; `send` is given the side before each wait for it, and the holdout after it.

        `notes` say by which other versions it was saved, in a clause, and whether it names no columns.
        """
        self.side, self.path = side, path
        self._features, self._answers, self._send = features, answers, send
        self._stream: Any = None
        self._labels: list[Label] | None = None
        self._answers_once = False
        self.notes: tuple[str, bool] | None = None

    def begin(self, rows: int) -> None:
        """Say to a command's process of how many rows it will be sent."""
        self._answers_once = True
        with self._awaited(), suppress(BrokenPipeError):
            self._features.write(f"{rows}\n".encode())

    def finish(self) -> None:
        """Say that these were all rows."""
        _close(self._features)

    def ask(self, features: Any) -> None:
        """Send it some rows. Where its process has ended, the answer says so."""
        # Nothing else is suppressed, or it would wait for rows, and we for an answer.
        with self._awaited(), suppress(BrokenPipeError):
            self._stream = self._stream or pa.ipc.new_stream(self._features, features.schema)
            self._stream.write_table(features)
            self._features.flush()

    def ready(self) -> None:
        """Wait until it is loaded."""
        if self.notes is None:
            with self._blamed():
                said = self._said()
                self.notes = str(said["saved"]), bool(said["unnamed"])

    def is_ready(self) -> bool:
        """Whether it is loaded, or has failed."""
        said = select.poll()
        said.register(self._answers, select.POLLIN)
        return self.notes is not None or bool(said.poll(0))

    def answer(self, rows: int, *, fractional: bool) -> Coded:
        """The labels that it gives to so many rows. Only where `fractional` a label may have decimals."""
        with self._awaited(), self._blamed():
            self.ready()
            if self._labels is None or not self._answers_once:
                self._labels = [label(each) for each in self._said()["labels"]]
            labels = self._labels
            codes = np.frombuffer(self._answers.read(4 * rows), "<u4")
            if len(codes) < rows:
                raise EndedError(self.side)
            if codes.max() >= len(labels):
                raise ValueError("a number without a label")
        decimals = next((each for each in labels if isinstance(each, float)), None)
        if decimals is not None and not fractional:
            self.refuse(f"returns {decimals:.4g}; retrain needs class labels: wrap the model so predict gives them")
        return Coded.of(labels, codes)

    @contextmanager
    def _awaited(self) -> Iterator[None]:
        """Say that this side is at work, and then the holdout again."""
        self._send({"at": self.side})
        yield
        self._send({"at": "holdout"})

    def _said(self) -> Any:
        line = self._answers.readline(_LONGEST_LINE)
        if not line:
            raise EndedError(self.side)
        said = json.loads(line)
        if "error" in said:
            self.refuse(str(said["error"])[:_LONGEST_ERROR])
        return said

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Blame the model for what cannot be read."""
        try:
            yield
        except (LookupError, RecursionError, TypeError, ValueError):
            what = "the answer of the scoring process"
            self.refuse(f"cannot be used: {what} cannot be read; does the model write into open files of its process?")

    def refuse(self, problem: str) -> None:
        """Raise UnusableError: this is wrong with the model."""
        raise UnusableError(self.side, self.path, problem)


@contextmanager
def connected(send: Send, champion: Remote | None, challenger: Remote | None) -> Iterator[list[RemoteModel]]:
    """The models, where there are any, until their pipes are closed."""
    remotes: dict[Side, Remote | None] = {"champion": champion, "challenger": challenger}
    with ExitStack() as stack:
        models = []
        for side, remote in remotes.items():
            if remote is not None:
                pipes = open(remote.features, "wb"), open(remote.predictions, "rb")  # noqa: PTH123, SIM115
                for pipe in pipes:
                    stack.callback(_close, pipe)
                models.append(RemoteModel(side, remote.path, *pipes, send))
        yield models


def _close(file: IO[bytes]) -> None:
    with suppress(BrokenPipeError):  # rows are left that the model did not read
        file.close()


def predicted(  # noqa: PLR0913  (the rows, what is made of them, the models, and how far)
    plan: Plan,
    table: Table,
    models: Sequence[RemoteModel],
    fractional: bool,
    *,
    prepared: Callable[[pd.DataFrame], Prepared],
    most: int | None = None,
) -> Iterator[tuple[Prepared, list[Coded]]]:
    """What is `prepared` of the rows chunk by chunk, `most` chunks at most, and what each model predicts of them.

    A chunk is prepared while the models predict one before, or are loaded; commands predict all before the first.
    """
    names = [name for name in table.columns if name not in (plan.target, *(plan.apart or ()))]
    if plan.apart is not None:
        rows = min(table.rows, plan.chunk * (most or table.rows))
        _feed(models, rows, islice(table.portions(names, plan.chunk), most))
    portions = ((features, prepared(chunk)) for chunk, features in islice(table.portions(names, plan.chunk), most))
    asked: deque[tuple[int, Prepared]] = deque()

    def answered() -> tuple[Prepared, list[Coded]]:
        rows, ready = asked.popleft()
        return ready, [model.answer(rows, fractional=fractional) for model in models]

    for features, ready in _ahead(portions, models):
        for model in models if plan.apart is None else ():
            model.ask(features)
        asked.append((features.num_rows, ready))
        if len(asked) == _AT_ONCE:
            yield answered()
    while asked:
        yield answered()


def _ahead(portions: Iterator[tuple[Any, Prepared]], models: Sequence[RemoteModel]) -> Iterator[tuple[Any, Prepared]]:
    """The portions; while models are loaded, some are read and prepared before the first is needed."""
    waiting: deque[tuple[Any, Prepared]] = deque()
    for each in portions:
        waiting.append(each)
        while waiting and (
            sum(features.nbytes + _PREPARED * features.num_rows for features, _ in waiting) > _MOST_AHEAD
            or all(model.is_ready() for model in models)
        ):
            yield waiting.popleft()
    yield from waiting


def _feed(models: Sequence[RemoteModel], rows: int, portions: Iterator[tuple[pd.DataFrame, Any]]) -> None:
    """Send all rows to the commands, which read them at the same time."""
    for model in models:
        model.begin(rows)
    for _, features in portions:
        for model in models:
            model.ask(features.replace_schema_metadata())  # which is about pandas
    for model in models:
        model.finish()


def tried(plan: Trial, send: Send) -> dict[str, Any]:
    """The answer to "trial". UnusableError where a side cannot be used."""
    send({"at": "holdout"})
    with connected(send, None, plan.challenger) as models:
        if not plan.holdout:
            models[0].ready()
            return {"rows": 0}
        with blamed("holdout", plan.holdout):
            columns(plan.holdout, {plan.target: "promotion.target"})
            table = Table(plan.holdout, plan.dtypes, labels=[plan.target])
            few = replace(plan, chunk=TRIED)
            rows, (guesses,) = next(predicted(few, table, models, has_fractions(plan, table), prepared=len, most=1))
            chunks = table.chunks(plan.chunk, [plan.target])
            truths = {each for chunk in chunks for each in labels_of(plan, chunk).values}
        check_vocabulary("challenger", models[0].path, {*guesses.values}, truths, plan)
    return {"rows": rows}


def labels_of(plan: Plan, chunk: pd.DataFrame) -> Coded:
    """The class label of each row. FileError where one cannot be a label."""
    try:
        codes, known = label_codes(chunk[plan.target])
    except (ValueError, TypeError) as error:
        raise FileError(f"cannot be used: column {plan.target!r}: {brief(error)}") from error
    return Coded.of(known, codes)


def check_vocabulary(side: Side, path: str, predicted: set[Any], truths: set[Any], plan: Plan) -> None:
    """UnusableError where a model's predictions are not in the vocabulary of the holdout's labels."""
    if words := (predicted & MISSING) - truths:
        why = f"predicts {quoted(words)}, which is no class of column {plan.target!r}: does it give some rows no label?"
        raise UnusableError(side, path, why)
    if differ := vocabularies_differ(predicted, truths):
        meant = sorted(truths & MISSING)
        missing = f" ({quoted(meant)} is a class: leave the field empty where a label is missing)" if meant else ""
        why = f"predicts {differ[0]}, but column {plan.target!r} of {plan.holdout} has {differ[1]}"
        remedy = "train it on the holdout's labels, spell each class in one way, or set its type in promotion.dtypes"
        raise UnusableError(side, path, f"{why}: {remedy}{missing}")


def has_fractions(plan: Plan, table: Table) -> bool:
    """Whether some labels are numbers with decimals. FileError where a row has no label, or there is no row."""
    if not table.rows:
        raise FileError("has no rows")
    without, fractional, known = 0, False, set[Any]()
    for chunk in table.chunks(plan.chunk, [plan.target]):
        target = chunk[plan.target]
        if target.dropna().head(1).map(is_nested).any():
            raise FileError(f"holds lists or the like in column {plan.target!r}: a class label is a text or a number")
        without += int(unlabelled(target).sum())
        known |= set(target.dropna().unique())
        fractional |= target.dtype.kind == "f" and bool((target.dropna() % 1 != 0).any())
    if without:
        raise FileError(f"has no label (column {plan.target!r}) in {without} of {table.rows} rows: label or drop them")
    if len(known) > MANY_LABELS and table.rows < ROWS_PER_LABEL * len(known):
        why = f"has {len(known):,} different labels (column {plan.target!r}) in {table.rows:,} rows"
        raise FileError(f"{why}: is this a regression, or an identifier? Class labels are needed")
    return fractional


def written(plan: Predictions, send: Send) -> dict[str, Any]:
    """The answer to "predict". UnusableError where the rows or the model cannot be used."""
    send({"at": "holdout"})
    found = []
    with connected(send, None, plan.challenger) as models, blamed("holdout", plan.holdout):
        table, rows = Table(plan.holdout, plan.dtypes), 0
        for number, (labels,) in predicted(plan, table, models, plan.fractional, prepared=len):
            found.append(labels)
            rows += number
            send({"progress": rows / table.rows})
    total = Coded.joined(found)
    metadata = {"labels": json.dumps(total.values)}
    pa.parquet.write_table(pa.table({"code": total.codes.astype("int32")}).replace_schema_metadata(metadata), plan.into)
    return {"rows": rows}
