"""The command line: flags → command → text or JSON → exit code. The only module that ends the process."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial, wraps
from math import isfinite
from pathlib import Path
from typing import Any

import click

from retrain.config.load import parse_span
from retrain.context import Context, is_directory, open_context
from retrain.core.kinds import Kind
from retrain.core.text import one_line, time_of
from retrain.errors import ConfigError, Exit, Report, Stopped, handled
from retrain.output import Output, boundary, repair_streams

EXIT_CODES = """\b
Exit codes:
  0   done: healthy, waiting, trained, promoted, rolled back
  1   an expected failure
  2   wrong flags or wrong configuration
  3   a bug in retrain
  4   metrics unknown
  10  promote: rejected, the challenger is not better
  11  promote: inconclusive, the holdout cannot decide
  75  another run holds the lock or came first
  128+N  ended by signal N
"""


class _File(click.Path):
    """A path; an empty text, which Path would take for the current directory, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" and param is not None:
            raise ConfigError(f"{param.opts[0]} is empty and names no file", "an unset variable?")
        return super().convert(value, param, ctx)


_file, _text = _File(path_type=Path, readable=False), _File(readable=False)


def _common(default: str | None = None, envvar: str | None = None, *, several: bool = False) -> list[click.Parameter]:
    """The flags that may stand before or after a command; only those before it have a default, `several` -c or one."""
    text = "The configuration (default config.yaml; environment RETRAIN_CONFIG)."
    return [
        click.Option(
            ["-c", "--config"], type=_file, metavar="FILE", default=default, envvar=envvar, multiple=several, help=text
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print failures only."),
        click.Option(["-v", "--verbose"], is_flag=True, help="Print more, such as every reading."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object on standard output."),
    ]


def _time(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """The time that a flag says, in UTC where it names no zone."""
    try:
        return None if text is None else time_of(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is not ISO 8601, such as 2026-11-22 or 2026-11-22T16:10Z") from error


def _kinds(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """The kinds of events that a flag names, in lists with commas."""
    found = tuple(filter(None, (each.strip() for text in given for each in text.split(","))))
    if unknown := [each for each in found if each not in [*Kind]]:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(Kind)}")
    return found


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="retrain-controller", prog_name="retrain")
def retrain(**_before: Any) -> None:
    """Keep a deployed model good.

    Train when the live metrics breach a threshold; promote only what a holdout proves better.
    """


retrain.params += _common("config.yaml", "RETRAIN_CONFIG")


class _Finite(click.FloatRange):
    """A number, which is not NaN: that is in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        return number if isfinite(number) else self.fail(f"{value} is not a number", param, ctx)


_number, _share, _bar = _Finite(), _Finite(0, 1), _Finite(0, 1, min_open=True)
_reason = click.option(
    "--reason",
    metavar="TEXT",
    help="Why, for the journal.",
    # On one line, since logs, mails and histories show it so; and without bytes that the journal cannot hold.
    callback=lambda _context, _option, reason: reason and one_line(reason, len(reason)),
)


def _command(
    example: str, *, configured: bool = True, acts: bool = False, several: bool = False
) -> Callable[[Callable[..., Report]], click.Command]:
    """Make a command of a function, with the common flags and the boundary where errors become exit codes.

    The function gets the context of the configuration (or, unless it is `configured`, the path of its file), the output
    and the flags of its own. Notifications follow a command that `acts`. With `several`, it gets the paths where there
    are several, or where one is a directory.
    """

    def decorate(function: Callable[..., Report]) -> click.Command:
        @retrain.command(epilog=f"Example: retrain {example}")
        @wraps(function)
        def run(config: Any, quiet: bool, verbose: bool, as_json: bool, **flags: Any) -> None:
            before = click.get_current_context().find_root().params
            output = Output(
                as_json=as_json or before["as_json"],
                quiet=quiet or before["quiet"],
                verbose=verbose or before["verbose"],
            )
            with boundary(output):
                given: Any = config or before["config"]
                files: tuple[Path, ...] = given if isinstance(given, tuple) else (given,)
                world: Any = files[0]
                if several and (len(files) > 1 or is_directory(world)):
                    world = files
                elif configured:
                    world = _opened(world, output)
                with _notifying(world, output, function.__name__ if acts and not flags.get("dry_run") else ""):
                    report = function(world, output, **flags)
                    output.show(report)
                    sys.exit(report.exit_code)

        run.params += _common(several=several)
        return run

    return decorate


def _opened(file: Path, output: Output) -> Context:
    """The context of this configuration, whose secrets are not printed from now on, and whose name is if it has one."""
    context = open_context(file)
    output.secrets = context.secrets
    name = context.config.name
    output.about, output.name = {"name": name}, name if name != context.file.parent.name else ""
    return context


@contextmanager
def _notifying(context: object, output: Output, command: str) -> Iterator[None]:
    """Let notifications follow the command in the block, unless it has no name or there are none."""
    if not (command and isinstance(context, Context) and context.config.is_followed):
        yield
        return
    from retrain.notify import following

    with following(context, output, command):
        yield


@_command("check --dry-run -v", acts=True, several=True)
@click.option("--dry-run", is_flag=True, help="Decide and show; record nothing and train nothing.")
@click.option("--force", is_flag=True, help="Train whatever the rules say. Needs --reason.")
@_reason
@click.option(
    "--trainings", type=click.IntRange(0), metavar="N", help="Of several projects, so many may train at once (1)."
)
def check(  # noqa: PLR0913, PLR0917  (click passes every flag by name)
    world: Context | tuple[Path, ...],
    output: Output,
    dry_run: bool,
    force: bool,
    reason: str | None,
    trainings: int | None,
) -> Report:
    """Read the metrics, decide, and train if that is due.

    The command for cron: it prints nothing where nothing changed. A failure that lasts is printed once, and again
    after notifications.repeat_after.

    Exit code 0 also means a training that succeeded: its challenger then waits for `retrain promote`. "action" of
    --json says what was done: train, hold or rollback.

    With several -c, or -c DIR, all these projects are checked at once, each under its own lock. The exit code is the
    gravest.
    """
    forced = _forced(force, reason)
    if isinstance(world, tuple):
        from retrain.several import check_all

        if forced is not None:
            raise ConfigError("--force takes one project", "name its config.yaml with -c")
        return check_all(world, output, 1 if trainings is None else trainings, dry_run=dry_run)
    from retrain.check import Options
    from retrain.check import check as run

    echo = _echo if sys.stderr.isatty() and not (output.quiet or output.as_json) else None
    full = None
    if trainings is not None:  # one of several
        output.one_of_several(world.config.name, world.file)
        echo, full = None, lambda: "" if trainings else "no training may begin in this run"
    return run(world, Options(dry_run, forced, echo, full))


@_command("promote --dry-run", acts=True)
@click.argument("challenger", required=False, type=_text, metavar="[PATH|VERSION]")
@click.option("--dry-run", is_flag=True, help="Compare and show; swap nothing. It uses up a comparison.")
@click.option("--if-pending", is_flag=True, help="For cron: judge only a challenger that was not judged yet.")
@click.option("--force", is_flag=True, help="Promote whatever the verdict. Needs --reason.")
@click.option("--reject", is_flag=True, help="Discard the waiting challenger without a comparison. Needs --reason.")
@_reason
@click.option("--report", type=_file, metavar="FILE", help="Write the comparison as a page, too: .html or .md.")
def promote(  # noqa: PLR0913, PLR0917  (click passes every flag by name)
    context: Context,
    output: Output,
    challenger: str | None,
    dry_run: bool,
    if_pending: bool,
    force: bool,
    reject: bool,
    reason: str | None,
    report: Path | None,
) -> Report:
    """Compare the challenger with the champion; swap if better.

    The comparison is made on the holdout. The challenger is a file or a kept version; by default, what the last
    training left.
    """
    from retrain.promote import Options
    from retrain.promote import promote as run

    if reject and (force or dry_run or if_pending or challenger or report):
        raise ConfigError("--reject takes --reason and no other flag")
    if if_pending and (challenger or force):
        raise ConfigError("--if-pending takes no challenger and no --force: it judges what the last training left")
    rejected = _forced(reject, reason, "--reject") if reject else None
    forced = _forced(force, reason) if not reject else None
    with _progress(output) as progress:
        options = Options(challenger, dry_run, if_pending, forced, rejected, progress, _waiting(output), report)
        return run(context, options)


@_command('rollback --reason "false alarms since noon"', acts=True)
@click.option("--to", "version", metavar="VERSION", help="The version to serve; a unique prefix is enough.")
@click.option("--force", is_flag=True, help="Serve a version that has never served, too. Needs --reason.")
@_reason
def rollback(context: Context, output: Output, version: str | None, force: bool, reason: str | None) -> Report:
    """Serve the previous champion again, or another one before it.

    It waits for no training and no comparison. If the command promotion.after fails, the rollback stands.
    """
    from retrain.swap import rollback as run

    if force:
        _forced(force, reason)
    return run(context, version, reason or "", _waiting(output), forced=force)


@_command('pause --reason "the labels of May are wrong" --for 3d', acts=True)
@_reason
@click.option("--for", "length", metavar="DURATION", help="How long, e.g. 3d. Without it, until `retrain resume`.")
def pause(context: Context, output: Output, reason: str | None, length: str | None) -> Report:
    """Train and promote nothing by itself for a while. Needs --reason.

    Checks go on reading the metrics, and a probation still rolls back. What a person asks for is done: promote,
    rollback, check --force. A pause that lasts is reported again after notifications.repeat_after.
    """
    from retrain.pause import pause as run

    if not reason:
        raise ConfigError('pause needs --reason "why", for the journal')
    return run(context, reason, parse_span("--for", length) if length is not None else None)


@_command("resume", acts=True)
def resume(context: Context, output: Output) -> Report:
    """End the pause: checks may train again, and cron may promote."""
    from retrain.pause import resume as run

    return run(context)


@_command("status --html status.html", several=True)
@click.option(
    "--limit", type=click.IntRange(0, 10_000), metavar="N", default=8, show_default=True, help="Events to show."
)
@click.option("--html", type=_file, metavar="FILE", help="Write a page with charts, too: .html.")
def status(world: Context | tuple[Path, ...], _output: Output, limit: int, html: Path | None) -> Report:
    """Show what is served, what waits, and what comes next.

    That is what the next check may do, and why, and the latest events. With several -c, or -c DIR, all these projects
    stand in one table, the worst first.
    """
    if isinstance(world, tuple):
        from retrain.pages import projects

        return projects(world, html, datetime.now(UTC))
    if html is not None:
        from retrain.pages import write_status

        return write_status(world, limit, html)
    from retrain.status import status as run

    return run(world, limit)


@_command("history --since 2026-11-01 --kind promoted")
@click.option("--since", callback=_time, metavar="TIME", help="Events from then on.")
@click.option("--until", callback=_time, metavar="TIME", help="Events before then.")
@click.option("--at", callback=_time, metavar="TIME", help="Who was champion then, and why.")
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    callback=_kinds,
    help=f"Only these; a list with commas, or repeated: {', '.join(Kind)}.",
)
@click.option("--metrics", is_flag=True, help="F1 and drift of each window; CSV where that is no terminal.")
def history(context: Context, output: Output, **flags: Any) -> Report:
    """Show what happened, when, and who did it.

    A line an event, oldest first, without checks unless --kind checked asks for them. With --json an object a line,
    with every field. A TIME is ISO 8601, such as 2026-11-22 or 2026-11-22T16:10+01:00: UTC where it names no zone, and
    a date is its first moment.
    """
    from retrain.history import Options
    from retrain.history import history as run

    if flags["metrics"] and flags["kinds"]:
        raise ConfigError("--metrics and --kind exclude each other")
    if flags["at"] and (flags["metrics"] or flags["kinds"] or flags["since"] or flags["until"]):
        raise ConfigError("--at takes no other flag: it asks for one moment")
    return run(context, Options(**flags))


@_command("versions")
def versions(context: Context, output: Output) -> Report:
    """Show every kept version, the newest first.

    How and when it was made and judged, when it served, and the notes of its training. With --json an object a line.
    """
    from retrain.history import versions as run

    return run(context)


@_command("prune --older-than 180d", acts=True, several=True)
@click.option("--older-than", metavar="DURATION", default="365d", show_default=True, help="Remove older checks.")
def prune(world: Context | tuple[Path, ...], output: Output, older_than: str) -> Report:
    """Remove old checks and old logs.

    Checks leave the journal by age, logs by training.keep_logs. No decision changes; trainings, comparisons and
    promotions stay for good. It also verifies the whole journal. With several -c, or -c DIR, of all these projects.
    """
    from retrain.status import prune as run

    keep = parse_span("--older-than", older_than)
    if isinstance(world, tuple):
        from retrain.several import each

        return each(world, output, "prune", lambda context: run(context, keep))
    return run(world, keep)


@_command("backtest history.csv --rule 'consecutive: 3'")
@click.argument("history", type=_text)
@click.option("--rule", "rules", metavar="RULE", multiple=True, help="Another rule, e.g. 'consecutive: 3'. Repeatable.")
@click.option("--every", metavar="DURATION", default="5m", show_default=True, help="The step of a Prometheus span.")
def backtest(context: Context, output: Output, history: str, rules: tuple[str, ...], every: str) -> Report:
    """Replay recorded metrics under this rule and others.

    The report shows when the configured rule would have trained, and when others would have.

    HISTORY is a CSV or JSON lines with the names of `monitoring` (at, f1, drift, tp, fp, fn, ...), a journal
    (state/journal.db), or a span such as 90d of the configured Prometheus.
    """
    from retrain.backtest.command import backtest as run

    return run(context, history, rules, every)


@_command("rehearse data/predictions.csv --gate fresh --gate none")
@click.argument("log", type=_file)
@click.option("--rule", "rules", metavar="RULE", multiple=True, help="Another rule, e.g. 'max_drop: 0.05'. Repeatable.")
@click.option(
    "--gate",
    "gates",
    metavar="GATE",
    multiple=True,
    help="Another gate: fresh, live, old (a holdout cut once), none; or keys of promotion, e.g. 'alpha: 0.2'; or both."
    " Repeatable.",
)
@click.option("--window", metavar="DURATION", help="The length of a window (default: monitor.window).")
@click.option("--first", metavar="DURATION", help="Train the first champion on so much (default: training.history).")
@click.option("--sample", type=_share, default=1.0, metavar="SHARE", help="Use this share of the rows, e.g. 0.1.")
@click.option("--break", "broken", type=_share, default=0.0, metavar="SHARE", help="Spoil this share of the trainings.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Which trainings --break spoils.")
@click.option("--training-costs", type=_number, metavar="AMOUNT", help="What one training costs.")
@click.option("--f1-point-is-worth", type=_number, metavar="AMOUNT", help="What 0.01 of F1 is worth in one window.")
@click.option("--cache", type=_file, metavar="DIR", help="Where trainings are kept.")
@click.option("--chart", type=_file, metavar="FILE", help="Draw a chart, too: .png or .svg.")
def rehearse(
    context: Context,
    output: Output,
    log: Path,
    training_costs: float | None,
    f1_point_is_worth: float | None,
    **flags: Any,
) -> Report:
    """Replay a labelled log: what is retraining worth here?

    It trains with the configured command on what was known at the end of each window, and compares policies: never,
    after every window, as configured, and others. LOG is a CSV or Parquet as for `retrain monitor`; predictions are not
    needed. It changes neither models nor journal. Trainings are kept in state/rehearse, so that it goes on after an
    interruption.
    """
    from retrain.exporter.measure import Gauge
    from retrain.rehearse.command import Options, Prices
    from retrain.rehearse.command import rehearse as story

    say = partial(output.say, err=True)
    with _progress(output, "rehearsing") as progress:
        prices = Prices(training_costs, f1_point_is_worth)
        return story(context, log, Options(**flags, prices=prices, progress=progress, say=say, gauge=Gauge))


@_command("doctor --cron-env", configured=False)
@click.option("--cron-env", is_flag=True, help="Use the environment that cron gives to the job.")
@click.option("--repair", is_flag=True, help="Repair a journal that is damaged, lost, or an old copy.")
def doctor(config: Path, output: Output, cron_env: bool, repair: bool) -> Report:
    """Test the whole set-up, or repair the journal.

    Without --repair nothing is changed. It tests the configuration and its secrets, every metric and its age, the
    training command, the holdout, the gate, the champion and the directories, the journal, the lock and the clocks.
    Exit code 1 where something fails.
    """
    if repair:
        from retrain.doctor.command import repair as repaired

        if cron_env:
            raise ConfigError("--repair and --cron-env exclude each other")
        return repaired(_opened(config, output), output.say)
    from retrain.doctor.command import doctor as run

    with _progress(output) as progress:
        return run(config, output, progress, cron_env=cron_env)


@_command("monitor --listen 127.0.0.1:9109")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen (default: monitor.listen).")
def monitor(context: Context, output: Output, listen: str | None) -> Report:
    """Serve F1 and drift of a prediction log.

    They are Prometheus metrics at /metrics, served with counts and times until the command is stopped. At / is the page
    of `retrain status --html`, where the extra `report` is installed.
    """
    from retrain.exporter.serve import address, serve
    from retrain.pages import Live

    serve(context.config, address(listen or context.config.monitor.listen), output.announce, Live(context))
    return Report("stopped", {"message": "stopped"}, news=False)


@_command("init --monitor data/predictions.csv", configured=False)
@click.argument("directory", type=_file, default=".", metavar="[DIR]")
@click.option("--monitor", "log", type=_file, metavar="LOG", help="Look at the columns of this log.")
@click.option("--from-prometheus", "prometheus", metavar="URL", help="Look for the series of F1 and drift there.")
@click.option("--f1", metavar="QUERY", help="The query of F1 there.")
@click.option("--drift", metavar="QUERY", help="The query of drift there.")
@click.option("--performance-threshold", type=_bar, default=0.85, metavar="F1", help="Default: 0.85.")
@click.option("--drift-threshold", type=_Finite(0), default=0.2, metavar="DRIFT", help="Default: 0.2.")
def init(config: Path, _output: Output, **flags: Any) -> Report:
    """Write a first config.yaml, and say what comes next.

    Nothing that exists is changed.
    """
    from retrain.setup.init import Asked
    from retrain.setup.init import init as run

    return run(config, Asked(**flags))


@_command("config show", configured=False)
@click.argument("what", type=click.Choice(["check", "show", "schema"]))
def config(config: Path, output: Output, what: str) -> Report:
    """Check config.yaml offline, show it, or print its schema.

    check: without a network, and without the variables of the environment; exit code 2 where it is wrong. show: every
    key as it is in force, `# default` at each that is the default, *** for secrets. schema: JSON Schema, for editors.
    """
    from retrain.setup import command

    match what:
        case "check":
            return command.check(config)
        case "show":
            return command.show(config, output)
        case _:
            return command.describe()


@_command("guide decisions", configured=False)
@click.argument("topic", required=False)
def guide(_config: Path, _output: Output, topic: str | None) -> Report:
    """Show a topic of the documentation, or list the topics.

    It needs no configuration.
    """
    pages = sorted((Path(__file__).parent / "guide").glob("*.md"))
    texts = {page.stem: page.read_text(encoding="utf-8") for page in pages}
    if topic is None:
        lines = {name: text.partition("\n")[0].strip("# ") for name, text in texts.items()}
        return Report("\n".join(f"{name:<12}{line}" for name, line in lines.items()), {"topics": lines})
    if topic not in texts:
        raise ConfigError(f"there is no topic {topic!r}; the topics are {', '.join(texts)}")
    return Report(texts[topic].rstrip("\n"), {"topic": topic, "text": texts[topic]}, paged=True)


@_command("recipe prometheus", configured=False)
@click.argument("name", required=False)
def recipe(config: Path, output: Output, name: str | None) -> Report:
    """Print a file for another system, or list them.

    It is filled in with the name and the paths of this project: a crontab, systemd units, alert rules, a dashboard.
    """
    from retrain import recipes

    return recipes.listed() if name is None else recipes.recipe(_opened(config, output), name)


def _forced(flag: bool, reason: str | None, name: str = "--force") -> str | None:
    """The reason of a person who overrides the rules; None without the flag."""
    if flag and not reason:
        raise ConfigError(f'{name} needs --reason "why", for the journal')
    if reason and not flag:
        raise ConfigError("--reason needs --force (or, for promote, --reject)")
    return reason if flag else None


def _echo(output: bytes) -> None:
    """Show the training's output on the terminal."""
    sys.stderr.buffer.write(output)
    sys.stderr.buffer.flush()


def _waiting(output: Output) -> Callable[[object], None]:
    """What names on standard error the run that is waited for."""
    return lambda holder: output.say(f"waiting for {holder}", err=True)


@contextmanager
def _progress(output: Output, label: str = "scoring on the holdout") -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error where that is a terminal; nothing elsewhere."""
    if output.quiet or output.as_json or not sys.stderr.isatty():
        yield lambda _share: None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr) as bar:
        yield lambda share: bar.update(round(1000 * share) - bar.pos)


def _stop(number: int, _frame: object) -> None:
    raise Stopped(number)


def main() -> None:
    """Run the `retrain` command."""
    repair_streams()
    output = Output(as_json="--json" in sys.argv, quiet=False, verbose=False)
    with boundary(output), handled(_stop):
        try:
            retrain(standalone_mode=False)
        except click.exceptions.Exit as leaving:
            sys.exit(leaving.exit_code)
        except click.ClickException as error:
            if output.as_json:
                output.fail(error.format_message(), Exit.USAGE)
            else:
                error.show()
            sys.exit(Exit.USAGE)
