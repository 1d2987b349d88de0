"""The entry of the scoring process; see the package for what goes in and out."""

import fcntl
import gc
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import convert

from retrain.scoring import plan as plans
from retrain.scoring.plan import EndedError, Send, UnusableError, limit, or_end, settle, share_heaps, shield


def main() -> None:
    """Do what standard input asks for, send the answer, and end with the controller."""
    gc.disable()  # until all is imported and loaded, a quarter of whose time it would take
    os.umask(0o077)  # what is written is a part of files that perhaps not all may read
    controller, request = _asked()
    if request["job"] == "fork":
        _signal_at_end(controller)  # without a thread: Python forks best with one alone
        if select.select([controller], [], [], 0)[0]:  # the controller had ended before
            return
        or_end(lambda: _fork(request))
        os.close(controller)
        controller, request = _asked()
    _end_with(controller)
    scores = request["job"] == "model"
    limit(request.pop("memory"), last=not scores)
    sys.path.append(str(Path.cwd()))  # last, so that a project's own json.py does not shadow the real one
    if scores:
        or_end(lambda: _serve(request))
        gc.freeze()  # or Python would look through all of it once more at its end
    else:
        shield()
        share_heaps()
        _count(request)
        os._exit(0)  # to free what was read would take a while


def _asked() -> tuple[int, dict[str, Any]]:
    """The descriptor that was standard input, and the line that came from there."""
    controller = os.dup(sys.stdin.fileno())
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())  # a model that asks for input gets none
    with open(controller, "rb", buffering=0, closefd=False) as lines:
        return controller, json.loads(lines.readline())


def _fork(request: dict[str, Any]) -> None:
    """Fork each process as soon as what it needs has been imported. Only the forked processes return from here."""
    limit(request["memory"], last=True)
    # The threads of numpy and pyarrow have handlers for a fork.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    from retrain.tables import read  # noqa: F401  (for the first process, which counts)

    members, ids = request["members"], request["ids"]
    for number, (stdin, output, *others) in enumerate(members):
        if number == 1:
            import sklearn.ensemble  # noqa: F401

            from retrain.scoring import models  # noqa: F401
        begun, begins = os.pipe()
        if (process := os.fork()) == 0:
            os.setsid()
            for stream, file in enumerate((stdin, output, output)):
                os.dup2(file, stream)
            for file in (ids, begun, begins, stdin, output, *chain(*members[number + 1 :])):
                os.close(file)
            import numpy as np

            np.random.seed()  # as Python seeds its own generator; else both models would draw the same numbers
            return
        for file in (begins, stdin, output, *others):
            os.close(file)
        os.read(begun, 1)  # until it has a session: before, what ends us would end it
        os.close(begun)
        os.write(ids, f"{process}\n".encode())
    os._exit(0)


def _serve(request: dict[str, Any]) -> None:
    """Answer for one model."""
    plan = convert(request, plans.Model)
    for descriptor in (plan.features, plan.predictions):
        os.set_inheritable(descriptor, False)
    if plan.command:
        from retrain.scoring import command

        command.serve(plan)
    else:
        from retrain.scoring import models

        models.serve(plan)


def _count(request: dict[str, Any]) -> None:
    """Count, without loading a model."""
    result: int = request.pop("result")
    with open(result, "w") as out:

        def send(message: dict[str, Any]) -> None:
            print(json.dumps(message), file=out, flush=True)

        try:
            or_end(lambda: send(done(request, send)))
        except UnusableError as error:
            send({"error": {"side": error.side, "message": error.message}})
        except EndedError as error:
            send({"ended": error.side})


def done(request: dict[str, Any], send: Send) -> dict[str, Any]:
    """The answer to the job that `request` names; its other keys are the fields of a plan."""
    # Here, and not above: these imports take a second, in which the controller may already have ended.
    from retrain.scoring import cluster, controls, count, cut, predict, rows

    settle()
    jobs: dict[str, tuple[type[plans.Plan], Callable[[Any, Send], dict[str, Any]]]] = {
        "rows": (plans.TrainingRows, rows.recorded),
        "cut": (plans.Cut, cut.fresh),
        "arrived": (plans.Arrival, cut.arrived),
        "trial": (plans.Trial, predict.tried),
        "controls": (plans.Comparison, controls.made),
        "predict": (plans.Predictions, predict.written),
        "compare": (plans.Comparison, count.compared),
        "scattered": (plans.Scattered, cluster.compared),
    }
    plan, act = jobs[request.pop("job")]
    return act(convert(request, plan), send)


def _end_with(controller: int) -> None:
    """End this process and its workers when the controller has closed its end of the pipe.

    Linux does it, even where a model never lets another thread run; elsewhere, and for what is left, a thread.
    """
    _signal_at_end(controller)
    threading.Thread(target=_wait_for_end, args=(controller,), daemon=True).start()


def _signal_at_end(controller: int) -> None:
    """Let Linux send this process and its workers SIGTERM when the controller closes its end of the pipe."""
    if sys.platform == "linux" and os.getpgrp() == os.getpid():
        fcntl.fcntl(controller, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(controller, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(controller, fcntl.F_SETFL, os.O_ASYNC)


def _wait_for_end(controller: int) -> None:
    while os.read(controller, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGTERM)  # which joblib's resource tracker outlives, to clean up after the workers
        time.sleep(1)
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
