"""A record replayed under several rules, on all cores where it is long."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from retrain.backtest.replay import Replay, replay
from retrain.core.records import Recorded
from retrain.core.rules import Triggers
from retrain.errors import RetrainError

_LONG = 20_000
"""Readings from which on it pays to start workers."""
_ANSWERED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def replays(looks: Sequence[Recorded], rules: Sequence[Triggers]) -> list[Replay]:
    """What each rule would have done; a long record is replayed on all cores, a rule each."""
    if len(looks) < _LONG:
        return [replay(looks, rule) for rule in rules]
    # Forked, the workers have the record already; a year of it takes seconds to send.
    forked, cores = multiprocessing.get_context("fork"), min(len(rules), os.cpu_count() or 1)
    reader, writer = os.pipe()
    try:
        with ProcessPoolExecutor(cores, forked, _take, (looks, reader, writer)) as workers, _closed_early(writer):
            with _signals_held():
                replayed = [workers.submit(_replay, rule) for rule in rules]
            return [each.result() for each in replayed]
    except BrokenProcessPool as error:
        raise RetrainError(f"a process that replays {len(looks):,} readings was killed (out of memory?)") from error
    finally:
        os.close(reader)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals wait while workers are forked: what a handler raises there is lost, or leaves a pool half made."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)


@contextmanager
def _closed_early(writer: int) -> Iterator[None]:
    """Close the controller's end before its workers are waited for: where something went wrong they still replay."""
    try:
        yield
    finally:
        os.close(writer)


_taken: list[Sequence[Recorded]] = []
"""The record that a worker replays."""


def _take(looks: Sequence[Recorded], reader: int, writer: int) -> None:
    # The controller alone answers signals. Its workers end when it has closed its end of the pipe, or is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)
    os.close(writer)
    threading.Thread(target=_end_with, args=(reader,), daemon=True).start()
    _taken[:] = [looks]


def _end_with(reader: int) -> None:
    os.read(reader, 1)
    os._exit(1)


def _replay(rule: Triggers) -> Replay:
    return replay(_taken[0], rule)
