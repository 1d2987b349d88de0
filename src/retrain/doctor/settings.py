"""The environment, this shell's or cron's, and the configuration and its secrets, which have been read from it."""

import os
import pwd
import re
from collections.abc import Iterator
from subprocess import DEVNULL, SubprocessError, run

from retrain.context import Context
from retrain.core.text import one_line
from retrain.doctor import host
from retrain.doctor.findings import Finding, fail, ok, warn
from retrain.errors import RetrainError

_PATH = "/usr/bin:/bin"
"""What Debian's cron gives."""
_VARIABLE = re.compile(
    r"""\s*(?:"([^"=]*)"|'([^'=]*)'|([^\s="'\#][^\s=]*))\s*=\s*(?:"([^"]*)"\s*|'([^']*)'\s*|([^\s"'].*?)\s*)"""
)
"""NAME = value as crontab(5) has it: either may be in quotes, and nothing in it is expanded."""
_JOB = re.compile(r"\s*(?:@\w+|[^\s#]\S*(?:\s+\S+){4})\s+(.+)")
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
    remedy = "what runs retrain check, and in which environment? See crontab.example"
    seen = f"{text}; no line that runs retrain check was found"
    yield ok(what, text) if checks else warn(what, seen, remedy=remedy)


def configuration(context: Context) -> Iterator[Finding]:
    """Who may write the configuration: it names commands that are run."""
    file, what = context.file, "configuration"
    if host.world_writable(file):
        yield fail(what, f"{file} is world-writable, and names commands that are run", remedy=f"chmod o-w {file}")
    elif host.replaceable(file):
        seen = f"{file.parent} is world-writable, so anybody can replace {file.name}, which names commands that are run"
        yield fail(what, seen, remedy=f"chmod o-w {file.parent}")
    else:
        yield ok(what, f"{file} can be read, and every key and value in it is known")


def secrets(context: Context) -> Iterator[Finding]:
    """Whether every variable that a secret is read from has a value, which is never shown."""
    what, blank = "secrets", context.blank
    names = sorted(context.secrets.variables)
    for name in names:
        if blank.get(name) is True:
            yield fail(what, f"${{{name}}} is set, but empty", remedy="give it the secret where the others are set")
        elif name in blank:
            yield warn(what, f"${{{name}}} is not set, so the default in the configuration is used")
    present = [f"${{{name}}}" for name in names if name not in blank]
    if present:
        yield ok(what, f"{', '.join(present)} {'is' if len(present) == 1 else 'are'} set")
    elif not names:
        yield ok(what, "the configuration reads none from the environment")
