"""The world as cron gives it to a job of this user: next to no variables, and those that the crontab sets."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrain.errors import RetrainError

_PATH = "/usr/bin:/bin"
"""What Debian's cron gives."""
_SECONDS = 10
_VARIABLE = re.compile(
    r"""\s*(?:"([^"=]*)"|'([^'=]*)'|([^\s="'\#][^\s=]*))\s*=\s*(?:"([^"]*)"\s*|'([^']*)'\s*|([^\s"'].*?)\s*)"""
)
"""NAME = value as crontab(5) has it: either may be in quotes, and nothing in it is expanded."""
_JOB = re.compile(r"\s*(?:@\w+|(?:[^\s#]\S*\s+)(?:\S+\s+){3}\S+)\s+(.+)")
_RETRAIN = re.compile(r"(.*?)(?:\S*/)?retrain(?=\s)(?=.*\scheck\b)")
_WORD = r"[^\s;&|<>()`$*?]+"
_TAME = re.compile(
    rf"(?:(?:(?:\.|source|cd|export)\s+{_WORD}|set\s+[-+]a)\s*(?:;|&&)\s*|[A-Za-z_]\w*={_WORD}\s+)*", re.ASCII
)
"""What a line may do before it calls retrain so that we do it, too: set variables, and read a file of them."""


@dataclass(frozen=True, slots=True)
class World:
    """What a job finds: its environment, and where that comes from.

    `trouble` is why there is no crontab to read, `names` are the variables that it sets, `line` says whether a line of
    it runs `retrain check`, `before` what that line does first, and `is_done` whether this was done here, too.
    """

    environment: Mapping[str, str]
    trouble: str = ""
    names: tuple[str, ...] = ()
    line: bool = False
    before: str = ""
    is_done: bool = False

    def __str__(self) -> str:
        told = f"cron's, with PATH={self.environment['PATH']}"
        if self.trouble:
            return f"{told}, and with no variables of a crontab ({self.trouble})"
        told += f", {', '.join(self.names)} set by the crontab" if self.names else ", nothing set by the crontab"
        if self.before:
            done = "done here, too" if self.is_done else "not looked into"
            told += f"; what its line does before it calls retrain is {done}"
        return told


def world(config: Path) -> World:
    """The world of the job that checks with this configuration; without one, of any job of this user.

    Raises RetrainError where that job would not even come to call retrain.
    """
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError as error:
        raise RetrainError(f"cron runs nothing for user {os.getuid()}, who is not in /etc/passwd") from error
    bare = {"HOME": user.pw_dir, "LOGNAME": user.pw_name, "PATH": _PATH, "SHELL": "/bin/sh"}
    try:
        text = _listed()
    except RetrainError as error:
        return World(bare, str(error))
    variables, command = settings(text, str(config))
    environment = {**bare, **variables, "LOGNAME": user.pw_name}
    found = _RETRAIN.match(command) if command is not None else None
    before = found[1].strip() if found is not None else ""
    is_tame = found is not None and _TAME.fullmatch(found[1]) is not None
    if found is not None and before and is_tame:
        environment = _after(found[1], environment)
    return World(environment, "", tuple(variables), command is not None, before, is_tame)


def settings(text: str, config: str) -> tuple[dict[str, str], str | None]:
    """The variables that hold for the line that checks with this configuration, and its command.

    Without such a line: those of the first one that checks at all; without any, all variables, and None.
    """
    variables: dict[str, str] = {}
    found = []
    for line in text.splitlines():
        if set_here := _VARIABLE.fullmatch(line):
            *names, double, single, plain = set_here.groups()
            name = next(each for each in names if each is not None)
            variables[name] = next(each for each in (double, single, plain) if each is not None)
        elif (job := _JOB.fullmatch(line)) and _RETRAIN.match(command := _until_percent(job[1])):
            found.append((dict(variables), command))
    if not found:
        return variables, None
    return next((each for each in found if config in each[1].split()), found[0])


def _until_percent(command: str) -> str:
    """The command without what cron feeds to it, which begins at the first bare %."""
    return re.split(r"(?<!\\)%", command)[0].replace(r"\%", "%")


def _listed() -> str:
    """What `crontab -l` prints. Raises RetrainError that says why there is none."""
    program = shutil.which("crontab", path=f"{os.environ.get('PATH', '')}{os.pathsep}{_PATH}")
    if program is None:
        raise RetrainError("there is no crontab program on this machine")
    done = _ran([program, "-l"], os.environ, "/")
    if done.returncode:
        raise RetrainError(f"crontab -l says: {_last(done.stderr)}")
    return done.stdout.decode(errors="surrogateescape")


def _after(before: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment that retrain finds in that line: the very line, with env in the place of retrain."""
    done = _ran([environment["SHELL"], "-c", f"{before} /usr/bin/env -0"], environment, environment["HOME"])
    if done.returncode:
        raise RetrainError(
            f"the line of the crontab does not come to call retrain: `{before.strip()}` fails under cron:"
            f" {_last(done.stderr)}"
        )
    return dict(_pairs(done.stdout.decode(errors="surrogateescape")))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for each in text.split("\0"):
        name, sign, value = each.partition("=")
        if sign and name != "_":
            yield name, value


def _ran(words: list[str], environment: Mapping[str, str], directory: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            words,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise RetrainError(f"{words[0]} cannot be started in {directory}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise RetrainError(f"{words[0]} did not end within {_SECONDS} s") from error


def _last(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return "".join(filter(str.isprintable, lines[-1])).strip() if lines else "nothing"
