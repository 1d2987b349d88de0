"""The one deadline around everything that a look at the endpoint does."""

import time
from collections.abc import Callable
from threading import Thread

from retrain.config.schema import Monitoring
from retrain.core.records import Unknown
from retrain.effects.monitoring.readings import Trouble


def within(deadline: float, work: Callable[[], None]) -> None:
    """Nothing, when the work has ended or the deadline (monotonic seconds) has come. Its errors are raised here.

    Late work is left behind in a daemon thread: the timeout of a socket starts anew with every byte, and a
    look-up of a name knows none.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="monitoring", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]


def too_late(where: str, monitoring: Monitoring) -> Unknown:
    """Nothing came in time."""
    seconds = monitoring.timeout.total_seconds()
    return Unknown(Trouble.DEADLINE, f"{where} did not answer within {seconds:g} s (monitoring.timeout)")
