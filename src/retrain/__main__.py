"""The entry point of the `retrain` command and of `python -m retrain`."""

import os
import signal


def main() -> None:
    """Run the command."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # While libraries are imported nothing has been done yet, and nothing need be said: Python's own handler would
        # print a traceback. To process 1, as in a container, the kernel sends no signal that has no handler.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, signal.SIG_DFL if os.getpid() != 1 else lambda number, _: os._exit(128 + number))
    from retrain.cli import main

    main()


if __name__ == "__main__":
    main()
