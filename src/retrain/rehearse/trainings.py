"""The user's own training command on the rows as of then: each training is made once, and kept."""

import hashlib
import json
import os
import random
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from msgspec import Struct
from msgspec.structs import replace

from retrain.context import Context
from retrain.core.records import Label
from retrain.effects import evaluation, files, registry, training
from retrain.errors import RetrainError, Stopped
from retrain.rehearse.stream import Labels, Mask, Stream
from retrain.train import environment_of

_PREDICTIONS = "predictions.parquet"


class Trained(Struct, frozen=True):
    """A model: its version, the window after which it was trained, on which rows (a bit each), and its predictions."""

    version: str
    window: int
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
    """The trainings of one rehearsal; `reused` counts those that an earlier one left.

    A share `broken` of those after the first is spoiled, which depends on their windows alone: labels are shuffled.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (what is trained on, and where that is kept)
        self, context: Context, stream: Stream, cache: Path, scratch: Path, broken: float, seed: int
    ) -> None:
        """Begin, with the rows to predict written to the directory `scratch`."""
        self._context, self._stream, self._cache, self._scratch = context, stream, cache, scratch
        self._broken, self._seed = broken, seed
        self._known: dict[tuple[int, bytes], Trained | RetrainError] = {}
        self._versions: dict[str, str] = {}
        self.reused = 0
        self._rows = scratch / "rows.parquet"
        stream.rows.to_parquet(self._rows, index=False)
        self._about = self._fixed()

    def first(self) -> Trained:
        """The first champion. Raises RetrainError where its training fails."""
        trained = self.after(self._stream.first - 1, np.zeros(len(self._stream.window), bool))
        if isinstance(trained, RetrainError):
            raise trained
        return trained

    def after(self, window: int, left_out: Mask) -> Trained | RetrainError:
        """The model that is trained after this window on all rows of `training.history` but some; or why there is none.

        Raises Stopped where the controller was sent a signal meanwhile.
        """
        asked = window, np.packbits(left_out).tobytes()
        if asked not in self._known:
            dice = random.Random(f"{self._seed} {window}")  # noqa: S311
            broken = window >= self._stream.first and dice.random() < self._broken
            self._known[asked] = self._trained(window, left_out, broken=broken)
        return self._known[asked]

    def _trained(self, window: int, left_out: Mask, *, broken: bool) -> Trained | RetrainError:
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
        if (kept / _PREDICTIONS).is_file():
            self.reused += 1
        else:
            try:
                self._make(artifact, kept)
            except RetrainError as error:
                return error
        version = (kept / "version").read_text()
        if self._versions.setdefault(version, key) != key:
            raise RetrainError(
                "training.command left the same model for different rows: it does not train on $RETRAIN_TRAINING",
                "let it read that Parquet file, which ends at the time that is rehearsed",
            )
        return Trained(version, window, np.packbits(rows).tobytes(), kept / _PREDICTIONS, broken)

    def _make(self, artifact: Path, kept: Path) -> None:
        """Train, predict all rows of the stream, and keep that. Raises RetrainError where one of them fails."""
        config, scrub = self._context.config, self._context.secrets.scrub
        for file in (artifact, registry.beside(artifact, registry.REFERENCE)):
            files.remove(file)
        log = self._cache / f"{kept.name}.log"
        with Path(os.devnull).open() as nothing:
            ended = training.run(config.training, self._environment(artifact), log, nothing.fileno(), None, scrub)
        if ended.signal is not None:
            log.unlink(missing_ok=True)
            raise Stopped(ended.signal)
        why, artifact = ended.failure(config.training.timeout), registry.model_file(config.models, artifact)
        if not why and not (artifact.is_file() or (config.models.are_any and artifact.is_dir())):
            why = "exited 0 and left no model: it must write its model to $RETRAIN_CHALLENGER"
        if why:
            said = f"training failed: {' '.join(config.training.command)} {why}{ended.quote}"
            raise RetrainError(said, f"log: {log}")
        incoming = self._scratch / "kept"
        incoming.mkdir(exist_ok=True)
        evaluation.predict(
            *(config, artifact, self._rows, incoming / _PREDICTIONS),
            fractional=any(isinstance(each, float) for each in set(self._stream.truth.tolist())),
            scrub=scrub,
        )
        (incoming / "version").write_text(registry.identify(artifact))
        with suppress(OSError):  # another rehearsal has made it meanwhile
            incoming.rename(kept)
        log.unlink(missing_ok=True)

    def _environment(self, artifact: Path) -> dict[str, str]:
        """That of `check`, with all files of this training beside its artifact in the scratch directory."""
        config = self._context.config
        context = replace(self._context, config=replace(config, models=replace(config.models, challenger=artifact)))
        given = {
            "RETRAIN_TRAINING": str(registry.beside(artifact, registry.TRAINING)),
            "RETRAIN_HOLDOUT": str(registry.beside(artifact, registry.HOLDOUT)),
        }
        return environment_of(context, run_id="rehearsal", reason="rehearsal") | given

    def _fixed(self) -> bytes:
        """What predictions depend on besides the rows of a training, as far as known: the commands and their files."""
        settings, digest = self._context.config.training, hashlib.sha256(self._rows.read_bytes())
        words = (*settings.command, *(self._context.config.promotion.predict or ()))
        digest.update(json.dumps([words, str(settings.directory), dict(settings.environment)]).encode())
        for word in (*words, "Makefile"):
            file = settings.directory / word
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.digest()
