"""What the scoring process is asked to do, what it may take for it, and who is at fault when it cannot.

Nothing heavy is imported here, since the limits are set before anything heavy is loaded.
"""

import ctypes
import gc
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from msgspec import Struct

from retrain.core.records import Label
from retrain.tables import CHUNK, FileError

_PR_SET_DUMPABLE, _M_ARENA_MAX = 4, -8
Answer = TypeVar("Answer")
Send = Callable[[dict[str, Any]], None]
"""Sends a message to the controller."""
Side = Literal["champion", "challenger", "holdout", "training data", "training rows", "log", "scheduler"]
Triple = tuple[Label, Label | None, Label | None]
"""Truth, the champion's prediction, the challenger's; None without such a model."""
Key = tuple[Sequence[str], int | None]
"""Columns, and the decimals that their numbers are rounded to; None: as they are, up to the error of 32-bit floats."""


class Plan(Struct, frozen=True, kw_only=True):
    """The holdout, and how it is read. Paths are absolute, `chunk` is in rows.

    `apart` are the columns, besides the target, that no command of promotion.predict gets; None where there is none.
    """

    holdout: str
    target: str
    dtypes: Mapping[str, str]
    chunk: int = CHUNK
    apart: Sequence[str] | None = None


class Remote(Struct, frozen=True):
    """A model in a process of its own: its file, and the descriptors for features there and predictions back."""

    path: str
    features: int
    predictions: int


class Model(Struct, frozen=True):
    """What the process of a model is asked: to predict the features that come, until they end.

    `trusted` are the types that a skops file may have besides skops' own; where it is None, the model is a joblib file.
    A model that names no columns does not get those in `aside`. Where there is a `command`, it reads the features and
    writes the labels, in this `environment`, and no file is loaded.
    """

    path: str
    trusted: tuple[str, ...] | None
    aside: Sequence[str]
    features: int
    predictions: int
    command: Sequence[str] = ()
    environment: Mapping[str, str] = {}


class Comparison(Plan, frozen=True, kw_only=True):
    """Two models; the columns whose values slice the holdout; the files of rows that each side was trained on.

    Rows with the same value in the column `group` belong together (without it, rows that are equal in all columns).
    `keys` are the columns and decimals by which the rows of earlier holdouts are known. `dated` is the column with the
    time of a row, and the epoch seconds of the champion's training, which rows of it may be older than.

    Without a challenger, controls are made from the champion's predictions.
    """

    champion: Remote | None
    challenger: Remote | None = None
    slices: Sequence[str] = ()
    group: str | None = None
    keys: Sequence[Key] = ()
    known_challenger: str | None = None
    known_champion: str | None = None
    dated: tuple[str, float] | None = None


class Artifact(Struct, frozen=True):
    """A model's file, as messages name it (`path`) and where its bytes are, and what else its process is asked."""

    path: str
    file: str
    trusted: tuple[str, ...] | None
    aside: Sequence[str]


class Scattered(Comparison, frozen=True, kw_only=True):
    """A comparison by the workers of the Dask cluster with this scheduler.

    Each process of a model gets `most` bytes of memory there, and is ended after `timeout` seconds. A task counts about
    as many rows as a `piece`, or those of a shard, as many.
    """

    scheduler: str
    artifacts: Mapping[Side, Artifact]
    most: int | None = None
    timeout: float
    piece: int = 1_000_000


class Trial(Plan, frozen=True, kw_only=True):
    """A challenger that is to predict a few rows; without a holdout it is only loaded."""

    challenger: Remote


class TrainingRows(Plan, frozen=True, kw_only=True):
    """Training data whose rows are to be recorded in a file."""

    data: str
    into: str


class LogRows(Plan, frozen=True, kw_only=True):
    """A log of predictions, some rows of which are written to `holdout`; its columns, and its windows in seconds.

    `now` is the time in epoch seconds.
    """

    log: str
    timestamp: str
    label: str
    prediction: str
    score: str | None = None
    window: float
    now: float
    windows: int
    min_rows: int


class Cut(LogRows, frozen=True, kw_only=True):
    """Rows for a training, since a time (epoch seconds), and those that are left out of it.

    `known_champion` is the file of the rows that the champion was trained on: none of these is left out. `sample` is
    where a sample of the rows for the training goes.
    """

    training: str
    sample: str | None = None
    share: float
    since: float
    group: str | None = None
    known_champion: str | None = None


class Arrival(LogRows, frozen=True, kw_only=True):
    """Rows after a time (epoch seconds): the first that are enough, or `every` one so far."""

    after: float
    every: bool = False


class Predictions(Plan, frozen=True, kw_only=True):
    """A model whose predictions of the rows are to be recorded in a file; `fractional` as their labels may be."""

    challenger: Remote
    fractional: bool
    into: str


class UnusableError(Exception):
    """One side cannot be used, in a sentence for a person."""

    def __init__(self, side: Side, path: str, problem: str) -> None:
        super().__init__(side, path, problem)  # with which it is made again in another process
        self.side = side
        self.message = f"the {side} {path} {problem}"

    def __str__(self) -> str:
        return self.message


class EndedError(Exception):
    """The process of this side's model has ended, or closed the file that it answers through."""

    def __init__(self, side: Side) -> None:
        super().__init__(f"the {side} gives no answer")
        self.side = side


@contextmanager
def blamed(side: Side, path: str) -> Iterator[None]:
    """Raise UnusableError, which names the side and its file, where that file cannot be used."""
    try:
        yield
    except FileError as error:
        raise UnusableError(side, path, str(error)) from error


@contextmanager
def answering(plan: Model, buffering: int = -1) -> Iterator[tuple[Any, Callable[..., None]]]:
    """The features that come, and what sends a message and codes behind it, until the counter has ended."""
    with (
        suppress(BrokenPipeError),
        open(plan.features, "rb", buffering) as features,  # noqa: PTH123
        open(plan.predictions, "wb") as out,  # noqa: PTH123
    ):

        def send(message: dict[str, Any], codes: bytes = b"") -> None:
            out.write(json.dumps(message).encode() + b"\n" + codes)
            out.flush()

        yield features, send


def limit(memory: int | None, *, last: bool) -> None:
    """Let this process and each of its workers have this many bytes of memory, and be what the kernel ends first.

    Where memory is short it ends the process `last` that counts, after those of the models.

    It is data (RLIMIT_DATA) that is limited, for address space (RLIMIT_AS) says little: glibc reserves 64 MiB of it
    for every thread and uses a fraction. Data is heap, stacks of threads and private maps, touched or not; not
    memory that processes share.
    """
    with suppress(OSError):  # there is no such file but on Linux
        Path("/proc/self/oom_score_adj").write_text("900" if last else "1000")
    if memory is not None:
        inherited = [each for each in resource.getrlimit(resource.RLIMIT_DATA) if each != resource.RLIM_INFINITY]
        most = min([memory, *inherited])
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def settle() -> None:
    """Collect garbage from now on in a process that has not yet, but nothing of what it has imported and loaded."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def shield() -> None:
    """Close the memory of this process to others of the same user (Linux): a model could write its answer there."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def share_heaps() -> None:
    """Let the threads of this process share two heaps (glibc): each heap keeps memory for itself."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def or_end(act: Callable[[], Answer]) -> Answer:
    """The result of the act. Where memory runs out, end at once, as the kernel would end this process.

    There may be none left for an error message, and without any CPython never gets out of a `with` or a `finally`.
    """
    try:
        return act()
    except MemoryError:
        signal.raise_signal(signal.SIGKILL)
        raise
