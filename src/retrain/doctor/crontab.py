"""The environment that cron gives to a job of this user: next to no variables, and those that the crontab sets."""

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass

from retrain.core.text import one_line
from retrain.errors import RetrainError

_PATH = "/usr/bin:/bin"
"""What Debian's cron gives."""
_SECONDS = 10
_VARIABLE = re.compile(
    r"""\s*(?:"([^"=]*)"|'([^'=]*)'|([^\s="'\#][^\s=]*))\s*=\s*(?:"([^"]*)"\s*|'([^']*)'\s*|([^\s"'].*?)\s*)"""
)
"""NAME = value as crontab(5) has it: either may be in quotes, and nothing in it is expanded."""
_JOB = re.compile(r"\s*(?:@\w+|[^\s#]\S*(?:\s+\S+){4})\s+(.+)")
_CHECK = re.compile(r"""(?:^|[\s/;&"'])retrain["']?\s(?:[^;&|]*\s)?check(?:\s|$)(?![^;&|]*--dry-run)""")


@dataclass(frozen=True, slots=True)
class Cron:
    """What was read: the PATH of a job, the `names` of the variables that the crontab sets, how many lines check.

    `trouble` is why there is no crontab to read.
    """

    path: str
    names: tuple[str, ...] = ()
    checks: int = 0
    trouble: str = ""

    def __str__(self) -> str:
        sets = f"the crontab sets {', '.join(self.names)}" if self.names else "the crontab sets no variable"
        return f"cron's, with PATH={self.path}; {self.trouble or sets}; what a job sets itself is not known here"


def enter() -> Cron:
    """Replace the environment of this process by that of a cron job of its user."""
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError as error:
        raise RetrainError(f"cron runs nothing for user {os.getuid()}, who is not in /etc/passwd") from error
    text = trouble = ""
    try:
        text = _listed()
    except RetrainError as error:
        trouble = str(error)
    variables, checks = parse(text)
    bare = {"HOME": user.pw_dir, "PATH": _PATH, "SHELL": "/bin/sh"}
    os.environ.clear()
    os.environ.update({**bare, **variables, "LOGNAME": user.pw_name})
    return Cron(os.environ["PATH"], tuple(variables), checks, trouble)


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


def _listed() -> str:
    """What `crontab -l` prints. Raises RetrainError that says why there is none."""
    program = shutil.which("crontab", path=f"{os.environ.get('PATH', '')}{os.pathsep}{_PATH}")
    if program is None:
        raise RetrainError("there is no crontab program on this machine")
    try:
        done = subprocess.run(
            [program, "-l"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RetrainError(f"crontab -l failed: {error}") from error
    if done.returncode:
        raise RetrainError(f"crontab -l failed: {one_line(done.stderr.decode(errors='replace'))}")
    return done.stdout.decode(errors="surrogateescape")
