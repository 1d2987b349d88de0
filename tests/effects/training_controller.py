"""A controller as small as can be: holds a lock, runs a training, prints what came of it as JSON.

Arguments: a JSON object with `command`, `directory`, `log`, `lock` and, where wanted, `timeout` and `grace` in
seconds, and `ignore`, the number of a signal that the controller was started with as ignored.
"""

import fcntl
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from msgspec.structs import asdict

from retrain.config.schema import Training
from retrain.effects import training

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    order = json.loads(sys.argv[1])
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
    if "ignore" in order:
        signal.signal(order["ignore"], signal.SIG_IGN)
    before = [signal.getsignal(number) for number in STOPPING]
    rules = Training(
        command=tuple(order["command"]),
        directory=Path(order["directory"]),
        timeout=timedelta(seconds=order.get("timeout", 60)),
        grace=timedelta(seconds=order.get("grace", 60)),
    )
    lock = os.open(order["lock"], os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    environment = training.environment(os.environ, frozenset(), rules, {})
    ended = training.run(rules, environment, Path(order["log"]), lock, None)
    restored = [signal.getsignal(number) for number in STOPPING] == before
    print(json.dumps(asdict(ended) | {"restored": restored}))


if __name__ == "__main__":
    main()
