"""The door: flags → story → face → exit code. The only place that exits."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Concatenate, ParamSpec

import click

from retrain.config.load import parse_span
from retrain.context import Context
from retrain.errors import ConfigError, Exit, Stopped
from retrain.face import Face, boundary, mend_streams
from retrain.outset import context_of
from retrain.report import Report

P = ParamSpec("P")
EPILOG = """\b
Exit codes: 0 done (healthy, held back, trained, promoted, rolled back); 1 an expected failure;
2 wrong flags or configuration; 3 a bug in retrain; 4 metrics unknown; 10 promote: rejected;
11 promote: the holdout cannot tell; 75 another run holds the lock; 128+N ended by signal N.
"""


def common(command: Callable[Concatenate[Context, Face, P], Report]) -> Callable[..., None]:
    """Give a command the flags that all have, its context, and the boundary where errors become exit codes."""

    @click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        default="config.yaml",
        show_default=True,
        envvar="RETRAIN_CONFIG",
        help="The configuration file (environment: RETRAIN_CONFIG).",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Say only what failed.")
    @click.option("-v", "--verbose", is_flag=True, help="Say more: every reading.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, and nothing else there.")
    @wraps(command)
    def run(config: Path, quiet: bool, verbose: bool, as_json: bool, *args: P.args, **kwargs: P.kwargs) -> None:
        face = Face(as_json=as_json, quiet=quiet, verbose=verbose)
        with boundary(face):
            context = context_of(config, face, as_cron=bool(kwargs.pop("cron_env", False)))
            report = command(context, face, *args, **kwargs)
            face.show(report)
            sys.exit(report.exit_code)

    return run


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="retrain-controller", prog_name="retrain")
def retrain() -> None:
    """Keeps a deployed model good: trains when its live metrics say so, promotes what a holdout proves better."""


@retrain.command()
@click.option("--dry-run", is_flag=True, help="Decide and show; write nothing and train nothing.")
@click.option("--force", is_flag=True, help="Train whatever the rules say (not past the lock). Needs --reason.")
@click.option("--reason", help="Why, for the journal.")
@common
def check(context: Context, face: Face, dry_run: bool, force: bool, reason: str | None) -> Report:
    """Fetch the metrics, decide, and train if the decision is to train.

    The command for cron: where nothing changed and nothing failed it writes nothing.
    """
    from retrain.check import check as story
    from retrain.view import Order

    echo = _echo if sys.stderr.isatty() and not (face.quiet or face.as_json) else None
    return story(context, Order(dry_run, _forced(force, reason), echo))


@retrain.command()
@click.argument("challenger", required=False)
@click.option("--dry-run", is_flag=True, help="Compare and show; swap nothing (the look at the holdout counts).")
@click.option("--if-pending", is_flag=True, help="Exit 0 in silence when no challenger waits that is not judged yet.")
@click.option("--force", is_flag=True, help="Promote whatever the verdict. Needs --reason.")
@click.option("--reject", is_flag=True, help="Turn the waiting challenger down unjudged. Needs --reason.")
@click.option("--reason", help="Why, for the journal.")
@common
def promote(  # noqa: PLR0913, PLR0917  (click passes every flag by name)
    context: Context,
    face: Face,
    challenger: str | None,
    dry_run: bool,
    if_pending: bool,
    force: bool,
    reject: bool,
    reason: str | None,
) -> Report:
    """Compare CHALLENGER with the champion on the holdout, and swap if it is better.

    CHALLENGER is a path or a version; without it, the one that the last training left.
    """
    from retrain.case import Order
    from retrain.promote import promote as story

    if reject and (force or dry_run or if_pending or challenger):
        raise ConfigError("--reject goes with --reason alone")
    if if_pending and (challenger or force):
        raise ConfigError("--if-pending is about the challenger that training left; it takes no other and no --force")
    rejected = _forced(reject, reason, "--reject") if reject else None
    forced = _forced(force, reason) if not reject else None
    with _progress(face) as progress:
        return story(context, Order(challenger, dry_run, if_pending, forced, rejected, progress))


@retrain.command()
@click.option("--to", "version", help="The version to serve (a unique prefix is enough).")
@click.option("--reason", default="", help="Why, for the journal.")
@common
def rollback(context: Context, face: Face, version: str | None, reason: str) -> Report:
    """Put the champion before this one back."""
    from retrain.rollback import rollback as story

    return story(context, version, reason)


@retrain.command()
@click.option("--limit", type=click.IntRange(0, 10_000), default=8, show_default=True, help="How many events to show.")
@common
def status(context: Context, face: Face, limit: int) -> Report:
    """Show what is served, what waits, what the next check may do and why, and what happened lately."""
    from retrain.status import status as story

    return story(context, limit)


@retrain.command()
@click.option("--older-than", default="365d", show_default=True, help="How old an event must be to be removed.")
@common
def prune(context: Context, face: Face, older_than: str) -> Report:
    """Remove old events from the journal, but no look at a holdout, and logs beyond training.keep_logs.

    Nothing changes but what status and backtest can tell of the time before. It also reads the whole journal, and
    sets it aside where it is damaged.
    """
    from retrain.prune import prune as story

    return story(context, parse_span("--older-than", older_than))


@retrain.command()
@click.argument("history")
@click.option("--rule", "rules", multiple=True, help="A rule to try beside it, e.g. 'consecutive: 3'. Repeatable.")
@click.option("--every", default="5m", show_default=True, help="The time between two looks, for a span of Prometheus.")
@common
def backtest(context: Context, face: Face, history: str, rules: tuple[str, ...], every: str) -> Report:
    """Replay recorded metrics: when would the configured rule have trained, and when would others?

    HISTORY is a CSV or JSON lines with the names of `monitoring` (at, f1, drift, tp, fp, fn, ...), a journal
    (state/journal.db), or a span such as 90d to ask the configured Prometheus for.
    """
    from retrain.backtest import backtest as story

    return story(context, history, rules, every)


@retrain.command()
@click.option("--cron-env", is_flag=True, help="Look at the world with the environment that cron gives to a job.")
@common
def doctor(context: Context, face: Face) -> Report:
    """Look at all that an operator would otherwise find out at night; change nothing.

    A line each: the configuration and its secrets, every metric and its age, the training command, the holdout, the
    gate on challengers that know nothing, the champion and the directories, the journal, the lock and the clocks.
    Exit code 1 where something is BROKEN.
    """
    from retrain.doctor import doctor as story

    with _progress(face) as progress:
        return story(context, progress)


@retrain.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to listen (default: monitor.listen).")
@common
def monitor(context: Context, face: Face, listen: str | None) -> Report:
    """Serve F1, counts and drift of a log of labelled predictions as Prometheus metrics, until stopped."""
    from retrain.monitor.serve import address, serve

    def announce(line: str) -> None:
        click.echo(line, err=True)

    serve(context.config, address(listen or context.config.monitor.listen), announce)
    return Report("stopped", {"message": "stopped"}, news=False)


def _forced(flag: bool, reason: str | None, name: str = "--force") -> str | None:
    """The reason of a person who overrides the rules; None where nobody does."""
    if flag and not (reason and reason.strip()):
        raise ConfigError(f'{name} needs --reason "why", for the journal')
    if reason and not flag:
        raise ConfigError("--reason goes with --force (or, for promote, --reject)")
    return reason.strip() if flag and reason else None


def _echo(output: bytes) -> None:
    """Show the training's output to the person at the terminal."""
    sys.stderr.buffer.write(output)
    sys.stderr.buffer.flush()


@contextmanager
def _progress(face: Face) -> Iterator[Callable[[float], None]]:
    """A progress bar on the terminal that reads standard error; nothing elsewhere."""
    if face.quiet or face.as_json or not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring both models on the holdout", total=1.0, start=True)
        yield lambda share: bar.update(task, completed=share)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def main() -> None:
    """The `retrain` command."""
    mend_streams()
    face = Face(as_json="--json" in sys.argv, quiet=False, verbose=False)
    with boundary(face):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _stop)
        try:
            retrain(standalone_mode=False)
        except click.exceptions.Exit as leaving:
            sys.exit(leaving.exit_code)
        except click.ClickException as error:
            if face.as_json:
                face.fail(error.format_message(), Exit.USAGE)
            else:
                error.show()
            sys.exit(Exit.USAGE)
