"""A record replayed under several rules, on all cores where it is long."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from retrain.core.records import Recorded
from retrain.core.replay import Replay, replay
from retrain.core.rules import Triggers
from retrain.errors import RetrainError

_LONG = 20_000
"""Readings from which on it pays to start workers."""


def replays(looks: Sequence[Recorded], rules: Sequence[Triggers]) -> list[Replay]:
    """What each rule would have done; a long record is replayed on all cores, a rule each."""
    if len(looks) < _LONG:
        return [replay(looks, rule) for rule in rules]
    # Forked, the workers have the record already; a year of it takes seconds to send.
    forked, cores = multiprocessing.get_context("fork"), min(len(rules), os.cpu_count() or 1)
    try:
        with ProcessPoolExecutor(cores, forked, _take, (looks, os.getpid())) as workers:
            return list(workers.map(_replay, rules))
    except BrokenProcessPool as error:
        raise RetrainError(f"a process that replays {len(looks):,} readings was killed (out of memory?)") from error


_taken: list[Sequence[Recorded]] = []
"""The record that a worker replays."""


def _take(looks: Sequence[Recorded], controller: int) -> None:
    # The controller alone answers signals. It ends its workers, and they end when it is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(controller,), daemon=True).start()
    _taken[:] = [looks]


def _end_with(controller: int) -> None:
    while os.getppid() == controller:
        time.sleep(0.5)
    os._exit(1)


def _replay(rule: Triggers) -> Replay:
    return replay(_taken[0], rule)
