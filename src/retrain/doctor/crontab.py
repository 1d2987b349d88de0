"""The world as cron gives it to a job of this user: next to no variables, and those that the crontab sets."""

import os
import pwd
import re
import shlex
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
_RETRAIN = re.compile(r"(.*?)((?:\S*/)?retrain)(?=\s)(.*)")
_CD = re.compile(r"(?:^|;|&&)\s*cd\s+([^\s;&|]+)")
_SET_HERE = re.compile(r"\bRETRAIN_CONFIG=(\S+)")
_USED = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)
_WORD = r"[^\s;&|<>()`$*?]+"
_TAME = re.compile(
    rf"(?:(?:(?:\.|source|cd|export)\s+{_WORD}|set\s+[-+]a)\s*(?:;|&&)\s*|[A-Za-z_]\w*={_WORD}\s+)*", re.ASCII
)
"""What a line may do before it calls retrain so that we do it, too: set variables, and read a file of them."""


@dataclass(frozen=True, slots=True)
class Job:
    """A line that runs `retrain check`: the variables above it, what it does `before`, what it calls and how."""

    variables: Mapping[str, str]
    before: str
    program: str
    words: tuple[str, ...]

    def directory(self, environment: Mapping[str, str]) -> Path:
        """Where it calls retrain; cron begins at home."""
        return Path(environment["HOME"], *(_expanded(each, environment) for each in _CD.findall(self.before)))

    def config(self, environment: Mapping[str, str]) -> Path:
        """The configuration that it checks with."""
        set_here = _SET_HERE.search(self.before)
        name = set_here[1] if set_here else self.variables.get("RETRAIN_CONFIG", "config.yaml")
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            if word in ("-c", "--config"):
                name = following
            elif word.startswith("--config="):
                name = word.removeprefix("--config=")
        return self.directory(environment) / _expanded(name, environment)


@dataclass(frozen=True, slots=True)
class World:
    """What a job finds: its environment, and where that comes from.

    `trouble` is why there is no crontab to read, `names` are the variables that it sets, `line` says whether a line of
    it checks with this configuration, `others` how many check with another, `before` what that line does first, and
    `is_done` whether this was done here, too.
    """

    environment: Mapping[str, str]
    trouble: str = ""
    names: tuple[str, ...] = ()
    line: bool = False
    others: int = 0
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


def enter(config: Path) -> World:
    """The world of the cron job that checks with this configuration; its environment is that of this process now."""
    entered = world(config.absolute())
    os.environ.clear()
    os.environ.update(entered.environment)
    return entered


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
    variables, found = jobs(text)
    wanted = os.path.realpath(config)
    for job in found:
        environment = {**bare, **job.variables, "LOGNAME": user.pw_name}
        if os.path.realpath(job.config(environment)) == wanted:
            return _of_job(job, environment, len(found) - 1)
    return World({**bare, **variables, "LOGNAME": user.pw_name}, "", tuple(variables), others=len(found))


def _of_job(job: Job, environment: dict[str, str], others: int) -> World:
    before, is_tame = job.before.strip(), _TAME.fullmatch(job.before) is not None
    if is_tame:
        there, program = job.directory(environment), _expanded(job.program, environment)
        if before:
            environment = _after(job.before, environment)
        path = environment.get("PATH", "")
        program = str(there / program) if "/" in program else program
        if shutil.which(program, path=path) is None:
            raise RetrainError(
                f"the line of the crontab calls {job.program}, which is no program there: cron's PATH is {path}"
                " (give retrain's whole path, as crontab.example does)"
            )
    return World(environment, "", tuple(job.variables), True, others, before, is_tame)


def jobs(text: str) -> tuple[dict[str, str], list[Job]]:
    """All variables that a crontab sets in the end, and each line that checks and trains."""
    variables: dict[str, str] = {}
    found = []
    for line in text.splitlines():
        if set_here := _VARIABLE.fullmatch(line):
            *names, double, single, plain = set_here.groups()
            name = next(each for each in names if each is not None)
            variables[name] = next(each for each in (double, single, plain) if each is not None)
        elif (job := _JOB.fullmatch(line)) and (call := _RETRAIN.match(_until_percent(job[1]))):
            words = _split(call[3])
            if "check" in words and "--dry-run" not in words:
                found.append(Job(dict(variables), call[1], call[2], words))
    return variables, found


def _expanded(word: str, environment: Mapping[str, str]) -> str:
    """The word as the shell hands it on: $HOME, ${HOME} and ~ are what cron's variables say."""
    home = environment["HOME"]
    word = f"{home}{word[1:]}" if word == "~" or word.startswith("~/") else word
    return _USED.sub(lambda found: environment.get(found[1] or found[2], ""), word)


def _split(text: str) -> tuple[str, ...]:
    """The words of a command, up to the next one of its line."""
    plain = re.split(r"[;&|]", text)[0]
    try:
        return tuple(shlex.split(plain))
    except ValueError:
        return tuple(plain.split())


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
        # What it says may quote a secret, of which nothing is known yet.
        shown = re.sub(r"=\S+", "=...", before.strip())
        raise RetrainError(
            f"the line of the crontab does not come to call retrain: `{shown}` fails under cron with exit code"
            f" {done.returncode}; run it by hand to see why"
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
