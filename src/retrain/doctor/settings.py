"""The environment, this shell's or cron's, what was read from it, and the commands that will run in it."""

import os
import pwd
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from subprocess import DEVNULL, SubprocessError, run

from msgspec.structs import replace

from retrain.config.schema import HoldoutKind, Training, idle
from retrain.context import Context
from retrain.core.text import counted, duration, one_line
from retrain.doctor import Finding, fail, host, ok, warn
from retrain.effects import files, training
from retrain.errors import RetrainError, Stopped
from retrain.train import environment_of

_PATH = "/usr/bin:/bin"
"""What Debian's cron gives."""
_VARIABLE = re.compile(
    r"""\s*(?:"([^"=]*)"|'([^'=]*)'|([^\s="'\#][^\s=]*))\s*=\s*(?:"([^"]*)"\s*|'([^']*)'\s*|([^\s"'].*?)\s*)"""
)
"""NAME = value as crontab(5) has it: either may be in quotes, and nothing in it is expanded."""
_JOB = re.compile(r"\s*(?:@\w+|[^\s#]\S*(?:\s+\S+){4})\s+(.+)")
_MAKES = ("make", "gmake")
_LIMIT, _GRACE = timedelta(seconds=60), timedelta(seconds=2)
_CHECK = re.compile(r"""(?:^|[\s/;&"'])retrain["']?\s(?:[^;&|]*\s)?check(?:\s|$)(?![^;&|]*--dry-run)""")


def enter_cron() -> tuple[str, bool]:
    """Replace the environment of this process by that of a cron job: next to nothing, and what the crontab sets.

    Returns what it is, in words, and whether a line of the crontab runs `retrain check`.
    """
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError as error:
        raise RetrainError(f"cron runs nothing for user {os.getuid()}, who is not in /etc/passwd") from error
    try:
        variables, checks = parse(_crontab())
        what = f"the crontab sets {', '.join(variables) or 'no variable'}"
    except RetrainError as error:
        variables, checks, what = {}, 0, str(error)
    os.environ.clear()
    os.environ.update({"HOME": user.pw_dir, "PATH": _PATH, "SHELL": "/bin/sh", **variables, "LOGNAME": user.pw_name})
    return f"cron's, with PATH={os.environ['PATH']}; {what}; what a job sets itself is not known here", checks > 0


def parse(crontab: str) -> tuple[dict[str, str], int]:
    """The variables that a crontab sets, and how many of its lines run `retrain check`."""
    variables: dict[str, str] = {}
    checks = 0
    for line in crontab.splitlines():
        if found := _VARIABLE.fullmatch(line):
            name, value = (part for part in found.groups() if part is not None)
            variables[name] = value
        elif (job := _JOB.fullmatch(line)) and _CHECK.search(job[1]):
            checks += 1
    return variables, checks


def _crontab() -> str:
    """What `crontab -l` prints. Raises RetrainError that says why there is none."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}{os.pathsep}{_PATH}"}
    command = ["crontab", "-l"]
    try:
        done = run(command, env=environment, stdin=DEVNULL, capture_output=True, timeout=10, check=False)
    except (OSError, SubprocessError) as error:
        raise RetrainError(f"crontab -l failed: {error}") from error
    if done.returncode:
        raise RetrainError(f"crontab -l failed: {one_line(done.stderr.decode(errors='replace'))}")
    return done.stdout.decode(errors="surrogateescape")


def environment(context: Context, cron: tuple[str, bool] | None) -> Iterator[Finding]:
    """In which environment everything is tested."""
    what, path = "environment", context.environ.get("PATH", "")
    text, checks = cron or (f"this shell's, with PATH={path}; --cron-env tests in the one that cron gives", True)
    remedy = "what runs retrain check, and in which environment? retrain recipe cron has a crontab"
    yield ok(what, text) if checks else warn(what, f"{text}; no line that runs retrain check was found", remedy)


def configuration(context: Context) -> Iterator[Finding]:
    """Who may write the configuration: it names commands that are run."""
    files.refuse_writable_by_others(context.file, "any user can change the commands that it names")
    yield ok("configuration", f"{context.file} can be read, and every key and value in it is known")
    for key in idle(context.config):
        yield warn("configuration", f"{key} has no effect any more", "delete it")
    promotion, wait = context.config.promotion, context.config.triggers.challenger_ttl
    needed = context.config.monitor.window * (promotion.live.windows + 1)  # the first whole one begins within a window
    if promotion.holdout is HoldoutKind.LIVE and wait < needed:
        windows = counted(promotion.live.windows, "whole window")
        why = f"triggers.challenger_ttl is {duration(wait)}, and {windows} after a training may take {duration(needed)}"
        remedy = f"set it above {duration(needed)} and the time that labels take"
        yield warn("configuration", f"{why}: a new training may replace a challenger before it is judged", remedy)


def secrets(context: Context) -> Iterator[Finding]:
    """Whether every variable that a secret is read from has a value, which is never shown."""
    what, blank = "secrets", context.blank
    names = sorted(context.secrets.variables)
    for name in names:
        if blank.get(name) is True:
            yield fail(what, f"${{{name}}} is set, but empty", "give it the secret where the others are set")
        elif name in blank:
            yield warn(what, f"${{{name}}} is not set, so the default in the configuration is used")
    present = [f"${{{name}}}" for name in names if name not in blank]
    if present:
        yield ok(what, f"{', '.join(present)} {'is' if len(present) == 1 else 'are'} set")
    elif not names:
        yield ok(what, "the configuration reads none from the environment")


def textfile(context: Context) -> Iterator[Finding]:
    """Whether the metrics of retrain itself can be written for node_exporter."""
    file = context.config.notifications.textfile
    if file is not None and not host.may(file.parent, os.W_OK | os.X_OK):
        why = f"{file.parent} is missing, or not writable by the user who runs retrain"
        yield warn("textfile", why, "name a file in a directory that node_exporter reads, and chmod g+w it")
    elif file is not None:
        yield ok("textfile", f"{file} can be written")


# ---------------------------------------------------------------- commands


def commands(context: Context) -> Iterator[Finding]:
    """Whether the training and the other commands can be started. Nothing is built."""
    asked, promotion = context.config.training, context.config.promotion
    environment = environment_of(context, f"{context.clock():%Y%m%dT%H%M%SZ}-test", "retrain doctor")
    yield _training(asked, environment, context.secrets.scrub)
    for what, key, command in (
        ("predictions", "promotion.predict", promotion.predict),
        ("after a swap", "promotion.after", promotion.after),
    ):
        if command is not None:
            # Its environment is the training's, less what is about a run.
            other = replace(asked, command=command)
            plain = training.environment(context.environ, context.secrets.variables, other, {})
            problem, works = training.obstacle(other, plain, key), f"{command[0]} exists and may be run"
            yield fail(what, problem.why, problem.remedy) if problem is not None else ok(what, works)


def _training(asked: Training, environment: dict[str, str], scrub: Callable[[str], str]) -> Finding:
    what, program = "training", asked.command[0]
    problem = training.obstacle(asked, environment)
    if problem is not None:
        return fail(what, problem.why, problem.remedy)
    if Path(program).name not in _MAKES:
        return ok(what, f"{program} exists and may be run in {asked.directory}; only a training shows if it trains")
    dry = replace(asked, command=(program, "-n", *asked.command[1:]), timeout=_LIMIT, grace=_GRACE)
    with tempfile.TemporaryDirectory(prefix="retrain-doctor-") as apart, Path(os.devnull).open() as nothing:
        ended = training.run(dry, environment, Path(apart) / "log", nothing.fileno(), None, scrub)
    if ended.signal is not None:
        raise Stopped(ended.signal)
    last, shown = ended.tail[-1] if ended.tail else "", f"`{' '.join(dry.command)}`"
    if ended.problem is not None:
        return fail(what, ended.problem)
    if failure := ended.failure(_LIMIT):
        seen = f"{shown} {failure} in {asked.directory}"
        return fail(what, seen, "correct the Makefile or training.command", last)
    return ok(what, f"{shown} finds its target and what that needs in {asked.directory}")
