"""A holdout that the workers of a Dask cluster count: they read, predict and count, each a piece at a time.

Counts and sketches come back. Between workers travel the hashes of rows, by which copies and groups are found: all rows
of a group must be in one place. A model is loaded on a worker as here, by a process that does nothing else.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Timer
from typing import Any

from msgspec import json
from msgspec.structs import replace

from retrain.scoring import count, groups, rows, sketches
from retrain.scoring.count import Part
from retrain.scoring.plan import EndedError, Remote, Scattered, Send, Side, UnusableError, blamed
from retrain.scoring.predict import RemoteModel, connected, has_fractions
from retrain.tables.read import Table, brief

_PATIENCE = 10
"""Seconds for the scheduler to answer, and to have a worker."""


def compared(plan: Scattered, send: Send) -> dict[str, Any]:
    """The answer to "scattered". UnusableError where the cluster, a model or the holdout cannot be used."""
    plan = rows.checked(plan)
    send({"at": "scheduler"})
    with _cluster(plan) as client:
        send({"at": "holdout"})
        with blamed("holdout", plan.holdout):
            table = count.table_of(plan)
            fractional = has_fractions(plan, table)
            plan = replace(plan, keys=sketches.keys(plan, table))
            pieces = [*table.pieces(plan.piece)]
        number = 1 + table.rows // plan.piece
        models = {side: client.submit(_same, Path(each.file).read_bytes()) for side, each in plan.artifacts.items()}
        known = {side: client.submit(_same, Path(path).read_bytes()) for side, path in rows.files(plan).items()}
        asked = {"models": models, "known": known, "fractional": fractional, "number": number}
        found = [client.submit(_piece, plan, piece, **asked, pure=False) for piece in pieces]
        send({"at": "scheduler"})
        total = _joined(client, plan, found, table.rows, send)

        def tied(cells: groups.Cells, slices: groups.Cells) -> list[groups.Tied]:
            parts = [[client.submit(_shard, each, shard) for each in found] for shard in range(number)]
            return groups.total(_results(plan, [client.submit(_tied, each, cells, slices) for each in parts]))

        sides = {side: artifact.path for side, artifact in plan.artifacts.items()}
        return count.answer(plan, count.finished(plan, total, table.columns, sides), tied)


def _joined(client: Any, plan: Scattered, found: Sequence[Any], every: int, send: Send) -> Part:
    """All pieces, as one."""
    parts = _results(plan, [client.submit(_counts, each) for each in found])
    total: Part = next(parts)
    with blamed("holdout", plan.holdout):
        for part in parts:
            send({"progress": total.content.rows / every})
            total += part
            count.check_few(total.slices)
    return total


@contextmanager
def _cluster(plan: Scattered) -> Iterator[Any]:
    """A client of the scheduler, whose workers have this release. UnusableError where there is none."""
    try:
        from distributed import Client
    except ImportError as error:
        problem = "cannot be asked: promotion.backend: dask needs distributed: pip install 'retrain-controller[dask]'"
        raise UnusableError("scheduler", plan.scheduler, problem) from error
    try:
        client = Client(plan.scheduler, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise UnusableError("scheduler", plan.scheduler, f"cannot be reached: {brief(error)}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise UnusableError("scheduler", plan.scheduler, f"has had no worker for {_PATIENCE} s") from error
        wanted = _release()
        try:
            others = {worker: has for worker, has in client.run(_release).items() if has != wanted}
        except Exception as error:
            why = f"has a worker without retrain {wanted}, which each needs with the libraries of the models"
            raise UnusableError("scheduler", plan.scheduler, f"{why}: {brief(error)}") from error
        if others:
            worker, has = next(iter(others.items()))
            why = f"has worker {worker} with retrain {has}, and this is {wanted}: they must be the same"
            raise UnusableError("scheduler", plan.scheduler, why)
        yield client


def _results(plan: Scattered, futures: Sequence[Any]) -> Iterator[Any]:
    """The results as they come. UnusableError where a task failed."""
    from distributed import as_completed

    for future in as_completed(futures):
        try:
            yield future.result()
        except UnusableError:
            raise
        except Exception as error:
            why = f"gave no answer for a piece of {plan.holdout}: {brief(error)}"
            raise UnusableError("scheduler", plan.scheduler, why) from error


# ---------------------------------------------------------------- what a worker does


def _release() -> str:
    try:
        return f"{version('retrain-controller')} (rows hashed by {rows.HASHING.decode()})"
    except PackageNotFoundError:
        return "of no version"


def _same(content: bytes) -> bytes:
    """What a task of its own holds, so that it is there again after a worker has died."""
    return content


def _piece(  # noqa: PLR0913  (the rows, and what is known of both models)
    plan: Scattered,
    table: Table,
    *,
    models: Mapping[Side, bytes],
    known: Mapping[Side, bytes],
    fractional: bool,
    number: int,
) -> tuple[Part, list[groups.Rows]]:
    """A piece of the holdout, counted, and its rows in so many shards."""
    kept: list[groups.Rows] = []
    files = {side: _placed(content) for side, content in known.items()}
    plan = replace(plan, known_challenger=files.get("challenger"), known_champion=files.get("champion"))
    with _located(), blamed("holdout", plan.holdout), _models(plan, models) as loaded:
        total = count.summed(plan, table, loaded, fractional=fractional, send=lambda _message: None, keep=kept.append)
    return total, groups.Rows.joined(kept).shards(number)


@contextmanager
def _located() -> Iterator[None]:
    """Say on which worker something cannot be used: elsewhere it may be well."""
    from distributed import get_worker

    try:
        yield
    except UnusableError as error:
        side, path, problem = error.args
        raise UnusableError(side, path, f"{problem} (on worker {get_worker().address})") from error


def _counts(found: tuple[Part, list[groups.Rows]]) -> Part:
    return found[0]


def _shard(found: tuple[Part, list[groups.Rows]], shard: int) -> groups.Rows:
    return found[1][shard]


def _tied(parts: Sequence[groups.Rows], cells: Sequence[Any], slices: Sequence[Any]) -> list[groups.Tied]:
    return groups.tie(groups.Rows.joined(parts), cells, slices)


def _placed(content: bytes) -> str:
    """The path of a file with this content on this worker, whatever task has written it."""
    from distributed import get_worker

    path = Path(get_worker().local_directory, f"retrain-{hashlib.sha256(content).hexdigest()}")
    if not path.exists():
        new = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
        new.write_bytes(content)
        new.replace(path)
    return str(path)


@contextmanager
def _models(plan: Scattered, contents: Mapping[Side, bytes]) -> Iterator[list[RemoteModel]]:
    """The models, each in a process of its own on this worker, until their pieces are counted.

    A process is ended where it takes longer than the whole comparison may, for nobody would wait for it then.
    """
    with ExitStack() as stack:
        remotes: dict[Side, Remote] = {}
        for side, artifact in plan.artifacts.items():
            (features, there), (back, predictions) = os.pipe(), os.pipe()
            asked: dict[str, Any] = {"job": "model", "path": _placed(contents[side]), "memory": plan.most}
            asked |= {"trusted": artifact.trusted, "aside": artifact.aside}
            asked |= {"features": features, "predictions": predictions}
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "retrain.scoring"],
                stdin=subprocess.PIPE,
                pass_fds=(features, predictions),
                env={"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_WAIT_POLICY": "PASSIVE", **os.environ},
                start_new_session=True,
            )
            stack.callback(_end, process)
            for descriptor in (features, predictions):
                os.close(descriptor)
            assert process.stdin is not None  # noqa: S101  (asked for above)
            process.stdin.write(json.encode(asked) + b"\n")
            process.stdin.flush()
            late = Timer(plan.timeout, process.kill)
            late.daemon = True
            late.start()
            stack.callback(late.cancel)
            remotes[side] = Remote(artifact.path, there, back)
        models = connected(lambda _message: None, remotes.get("champion"), remotes.get("challenger"))
        try:
            yield stack.enter_context(models)
        except EndedError as error:
            problem = "cannot be used: its process ended on a worker while it was loaded or predicted"
            raise UnusableError(error.side, plan.artifacts[error.side].path, problem) from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its workers: it ends by itself when its standard input does."""
    assert process.stdin is not None  # noqa: S101  (asked for above)
    process.stdin.close()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
