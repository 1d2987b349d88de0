"""Where the command begins: a signal that comes before the command can handle it ends it without a word."""

import signal


def main() -> None:
    """The `retrain` command."""
    # Python's own handler would show a traceback while libraries are imported; nothing has been done yet.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from retrain.cli import main

    main()
