"""The entry point of the `retrain` command and of `python -m retrain`."""

import signal


def main() -> None:
    """Run the command."""
    # Python's own handler would print a traceback while libraries are imported; nothing has been done yet.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from retrain.cli import main

    main()


if __name__ == "__main__":
    main()
