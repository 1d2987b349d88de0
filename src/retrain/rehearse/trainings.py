"""The user's own training command on the rows as of then: each training is made once, and kept."""

import hashlib
import json
import os
import random
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from msgspec import Struct

from retrain.context import Context
from retrain.core.records import Label
from retrain.effects import evaluation, registry, training
from retrain.errors import RetrainError, Stopped
from retrain.rehearse.stream import Labels, Mask, Stream

_PREDICTIONS = "predictions.parquet"


class Trained(Struct, frozen=True):
    """A model: its version, when it was trained, on which rows (a bit each), and its predictions of all rows."""

    version: str
    made_at: datetime
    trained_on: bytes
    predictions: Path
    broken: bool = False

    @property
    def rows(self) -> Mask:
        """The rows that it was trained on."""
        return np.unpackbits(np.frombuffer(self.trained_on, np.uint8), count=len(self.predicted)).astype(bool)

    @property
    def predicted(self) -> Labels:
        """The prediction of each row of the stream."""
        return _labels(self.predictions)


@lru_cache(maxsize=8)
def _labels(file: Path) -> Labels:
    table = pa.parquet.read_table(file)
    known: list[Label] = json.loads(table.schema.metadata[b"labels"])
    labels: Labels = np.array(known, dtype=object)
    chosen: Labels = labels[np.asarray(table["code"])]
    return chosen


class Trainings:
    """The trainings of one rehearsal. `made` counts those that ran now, `reused` those that an earlier one left.

    A share `broken` of them, which depends on their windows alone, is spoiled: its labels are shuffled.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (what is trained on, and where that is kept)
        self, context: Context, stream: Stream, cache: Path, scratch: Path, broken: float, seed: int
    ) -> None:
        """Begin, with the rows to predict written to the directory `scratch`."""
        self._context, self._stream, self._cache, self._scratch = context, stream, cache, scratch
        self._broken, self._seed = broken, seed
        self._known: dict[tuple[int, bytes], Trained | RetrainError] = {}
        self._versions: dict[str, str] = {}
        self.made = self.reused = 0
        self._rows = scratch / "rows.parquet"
        stream.rows.to_parquet(self._rows, index=False)
        self._about = self._fixed()

    def first(self) -> Trained:
        """The first champion. Raises RetrainError where its training fails."""
        trained = self.after(self._stream.first - 1, np.zeros(len(self._stream.window), bool), sound=True)
        if isinstance(trained, RetrainError):
            raise trained
        return trained

    def after(self, window: int, left_out: Mask, *, sound: bool = False) -> Trained | RetrainError:
        """The model that is trained after this window on all rows of `training.history` but some; or why there is none.

        Raises Stopped where the controller was sent a signal meanwhile.
        """
        asked = window, np.packbits(left_out).tobytes()
        if asked not in self._known:
            broken = not sound and random.Random(f"{self._seed} {window}").random() < self._broken  # noqa: S311
            try:
                self._known[asked] = self._trained(window, left_out, broken=broken)
            except _SameModelError:
                raise
            except RetrainError as error:
                self._known[asked] = error
        return self._known[asked]

    def _trained(self, window: int, left_out: Mask, *, broken: bool) -> Trained:
        stream, history = self._stream, self._context.config.training.history
        rows = (stream.window <= window) & ~left_out
        if history is not None:
            rows &= stream.times >= (stream.ends[window] - history).timestamp()
        frame = stream.rows[rows]
        if broken:
            target = self._context.config.promotion.target
            order = np.random.default_rng([self._seed, window]).permutation(len(frame))
            frame = frame.assign(**{target: frame[target].to_numpy()[order]})
        artifact = self._scratch / self._context.config.models.challenger.name
        given = registry.beside(artifact, registry.TRAINING)
        frame.to_parquet(given, index=False)
        stream.rows[left_out].to_parquet(registry.beside(artifact, registry.HOLDOUT), index=False)
        key = hashlib.sha256(self._about + given.read_bytes()).hexdigest()[:32]
        kept = self._cache / key
        if not (kept / _PREDICTIONS).is_file():
            self._make(artifact, kept)
            self.made += 1
        else:
            self.reused += 1
        version = (kept / "version").read_text()
        if self._versions.setdefault(version, key) != key:
            raise _SameModelError(
                "training.command left the same model for different rows: it does not train on $RETRAIN_TRAINING",
                "let it read that Parquet file, which ends at the time that is rehearsed",
            )
        return Trained(version, stream.ends[window], np.packbits(rows).tobytes(), kept / _PREDICTIONS, broken)

    def _make(self, artifact: Path, kept: Path) -> None:
        """Train, predict all rows of the stream, and keep that. Raises RetrainError where one of them fails."""
        config, scrub = self._context.config, self._context.secrets.scrub
        for file in (artifact, registry.beside(artifact, registry.REFERENCE)):
            file.unlink(missing_ok=True)
        log = self._cache / f"{kept.name}.log"
        own = config.models.challenger
        before = own.stat().st_mtime_ns if own.exists() else None
        with Path(os.devnull).open() as nothing:
            ended = training.run(config.training, self._environment(artifact), log, nothing.fileno(), None, scrub)
        if ended.signal is not None:
            log.unlink(missing_ok=True)
            raise Stopped(ended.signal)
        why = ended.failure(config.training.timeout)
        if not why and not artifact.is_file():
            wrote = (
                f"wrote {own} instead" if (own.stat().st_mtime_ns if own.exists() else None) != before else "left none"
            )
            why = f"exited 0 and {wrote}: it must write its model to $RETRAIN_CHALLENGER"
        if why:
            said = f"training failed: {' '.join(config.training.command)} {why}{ended.quote}"
            raise RetrainError(said, f"log: {log}")
        incoming = self._scratch / "kept"
        incoming.mkdir(exist_ok=True)
        directory, models = config.training.directory, config.models
        evaluation.predict(
            *(artifact, self._rows, incoming / _PREDICTIONS, config.promotion, directory),
            models=models,
            fractional=self._stream.fractional,
            aside=[config.monitor.timestamp, config.promotion.group or ""],
            scrub=scrub,
        )
        (incoming / "version").write_text(registry.identify(artifact))
        with suppress(OSError):  # another rehearsal has made it meanwhile
            incoming.rename(kept)
        log.unlink(missing_ok=True)

    def _environment(self, artifact: Path) -> dict[str, str]:
        extra = {
            "RETRAIN_RUN_ID": "rehearsal",
            "RETRAIN_REASON": "rehearsal",
            "RETRAIN_CHALLENGER": str(artifact),
            "RETRAIN_REFERENCE": str(registry.beside(artifact, registry.REFERENCE)),
            "RETRAIN_TRAINING": str(registry.beside(artifact, registry.TRAINING)),
            "RETRAIN_HOLDOUT": str(registry.beside(artifact, registry.HOLDOUT)),
        }
        return training.environment(
            self._context.environ, self._context.secrets.variables, self._context.config.training, extra
        )

    def _fixed(self) -> bytes:
        """What a model depends on besides the rows of its training, as far as known: the command and its files."""
        settings, digest = self._context.config.training, hashlib.sha256(self._rows.read_bytes())
        digest.update(json.dumps([settings.command, str(settings.directory), dict(settings.environment)]).encode())
        for word in (*settings.command, "Makefile"):
            file = settings.directory / word
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.digest()


class _SameModelError(RetrainError):
    """The command does not train on the rows that it is given."""
