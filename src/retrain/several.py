"""`retrain check` and `retrain prune` of several projects in one process; what takes long gets a process of its own.

Each project is looked at in a thread, under its own lock. One that has to act is left to a `retrain check` of its own,
begun when all have been looked at: so a training delays no look, decides on values of that moment, and shares neither
signals nor memory with another. The main thread alone prints and gets signals.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from msgspec import Struct

from retrain.check import ACTS, TRAINS, Options, check
from retrain.context import Context, configurations, open_contexts
from retrain.core.text import counted
from retrain.effects import lock
from retrain.errors import SAME_REQUEST, ConfigError, Exit, Report, Stopped, gravest, handled
from retrain.notify import following
from retrain.output import Output, boundary

_AT_ONCE = 32
"""At most so many projects are looked at at once: a look may wait for its endpoint, and for the disk."""
_TURN = 0.05
"""Seconds. Where this process has used less than half of them, one more thread helps; where it was busy, it costs."""
_WORDS = {
    Exit.DONE: "done",
    Exit.UNKNOWN: "metrics unknown",
    Exit.BUSY: "locked",
    Exit.FAILED: "failed",
    Exit.USAGE: "wrong configuration",
    Exit.BUG: "a bug in retrain",
}


class _Project(Struct, frozen=True):
    """One of several projects, or what is wrong with its configuration; its output is printed when it has ended."""

    file: Path
    context: Context | ConfigError
    output: Output


class _Ended(Struct, frozen=True):
    """What came of a project: its exit code, or TRAINS or ACTS where another process has to go on."""

    project: _Project
    code: int = Exit.DONE
    left: Report | None = None


_Story = Callable[[Context], Report]
_Work = Callable[[_Project], _Ended]


def check_all(given: Sequence[Path], output: Output, trainings: int, *, dry_run: bool) -> Report:
    """The report of the checks of these projects, each of which has spoken for itself; so many `trainings` run at once.

    Raises Stopped when a signal came: what had begun has ended then.
    """
    began, variables = time.monotonic(), dict(os.environ)
    projects = _opened(given, output)
    places = _Places(projects, trainings)
    options = Options(dry_run=dry_run, full=places.taken, brief=True)
    flags = {"--json": output.as_json, "-q": output.quiet, "-v": output.verbose, "--dry-run": dry_run}
    crew = _Crew(variables, [flag for flag, is_given in flags.items() if is_given])
    look = partial(_ended, command="" if dry_run else "check", story=partial(check, options=options))
    with crew.signals():
        ended = list(crew.each((look, projects, _AT_ONCE)))
        acting, training = ([it.project for it in ended if it.left is each] for each in (ACTS, TRAINS))
        acts = (partial(crew.act, trainings=0), acting, os.cpu_count() or 1)
        ended += crew.each(acts, (partial(crew.act, trainings=1), training, len(training)))
    return _summary([it.code for it in ended if it.left is None], "checked", time.monotonic() - began)


def each(given: Sequence[Path], output: Output, command: str, story: _Story) -> Report:
    """The report of this command for these projects, each of which has spoken for itself."""
    began, projects, crew = time.monotonic(), _opened(given, output), _Crew({}, [])
    with crew.signals():
        ended = list(crew.each((partial(_ended, command=command, story=story), projects, _AT_ONCE)))
    return _summary([it.code for it in ended], "done", time.monotonic() - began)


def _opened(given: Sequence[Path], output: Output) -> list[_Project]:
    files = configurations(given)
    return [_project(file, context, output) for file, context in zip(files, open_contexts(files), strict=True)]


def _project(file: Path, context: Context | ConfigError, output: Output) -> _Project:
    own = Output(as_json=output.as_json, quiet=output.quiet, verbose=output.verbose, kept=True)
    if isinstance(context, Context):
        own.secrets = context.secrets
    own.one_of_several(file.parent.name if isinstance(context, ConfigError) else context.config.name, file)
    return _Project(file, context, own)


def _ended(project: _Project, *, command: str, story: _Story) -> _Ended:
    """What came of this command for one project, in a thread of its own; whatever it is, it stops no other."""
    context, output = project.context, project.output
    try:
        with boundary(output):
            if isinstance(context, ConfigError):
                raise context
            are_sent = command and context.config.is_followed
            with following(context, output, command) if are_sent else nullcontext():
                report = story(context)
                if report is ACTS or report is TRAINS:
                    return _Ended(project, left=report)
                output.show(report)
                sys.exit(report.exit_code)
    except SystemExit as leaving:
        return _Ended(project, int(leaving.code or 0))


class _Places:
    """The trainings that may begin: fewer than `most` where some of these projects are training already."""

    def __init__(self, projects: Sequence[_Project], most: int) -> None:
        self._states = [each.context.config.state for each in projects if isinstance(each.context, Context)]
        self._most, self._taken, self._is_full, self._lock = most, 0, False, Lock()

    def taken(self) -> str:
        """Take a place; return why there is none, empty where there was one. What is taken begins later."""
        with self._lock:
            # Once it is full no place is looked for again: all of a thousand projects may ask for one.
            self._is_full = self._is_full or self._taken + sum(map(lock.is_training, self._states)) >= self._most
            if not self._is_full:
                self._taken += 1
                return ""
        return f"{counted(self._most, 'training')} may run at once (--trainings), and no place is free"


class _Crew:
    """The threads that work on projects, and the processes that they wait for.

    `variables` is the environment before secrets were taken out of it, `flags` are those of each process.
    """

    def __init__(self, variables: Mapping[str, str], flags: Sequence[str]) -> None:
        self._variables, self._flags = variables, flags
        self._inbox: SimpleQueue[_Ended | BaseException] = SimpleQueue()
        self._todo: list[deque[_Project]] = []
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._signal, self._since = 0, 0.0

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let signals stop the crew, and be raised as Stopped when all that had begun has ended."""
        with handled(lambda number, _: self._inbox.put(Stopped(number)), reaps=True):
            yield
        if self._signal:
            raise Stopped(self._signal)

    def each(self, *groups: tuple[_Work, Sequence[_Project], int]) -> Iterator[_Ended]:
        """What came of each project, printed as soon as it is known; of each group at most so many at once."""
        self._todo = [deque(projects if not self._signal else ()) for _, projects, _ in groups]
        idle = [
            Thread(target=self._run, args=(work, todo), daemon=True)
            for (work, _, at_once), todo in zip(groups, self._todo, strict=True)
            for _ in range(min(at_once, len(todo)))
        ]
        left, since, used = sum(map(len, self._todo)), time.monotonic() - _TURN, time.process_time()
        while left:
            passed = time.monotonic() - since
            if idle and passed >= _TURN:
                if time.process_time() - used < passed / 2:
                    idle.pop().start()
                since, used = time.monotonic(), time.process_time()
            try:
                found = self._inbox.get(timeout=_TURN if idle else None)
            except Empty:
                continue
            if isinstance(found, Stopped):
                left -= self._stop(found)
            elif isinstance(found, BaseException):
                raise found
            else:
                left -= 1
                yield from _printed(found)

    def _run(self, work: _Work, todo: deque[_Project]) -> None:
        with suppress(IndexError):
            while True:
                project = todo.popleft()
                try:
                    self._inbox.put(work(project))
                except BaseException as error:
                    self._inbox.put(error)

    def _stop(self, stopped: Stopped) -> int:
        """Pass the signal on and begin nothing more; return how many projects are not begun.

        Raises Stopped where a person insists, and no process is waited for: an endpoint may take its time.
        """
        insists = self._signal and time.monotonic() - self._since > SAME_REQUEST
        if not self._signal:
            self._signal, self._since = stopped.number, time.monotonic()
        for process in tuple(self._processes):
            process.send_signal(stopped.number)
        if insists and not self._processes:
            raise stopped
        dropped = 0
        for todo in self._todo:
            with suppress(IndexError):
                while todo.popleft():
                    dropped += 1
        return dropped

    def act(self, project: _Project, trainings: int) -> _Ended:
        """What came of a `retrain check` of this project alone, which prints what it has to say."""
        used = project.context.secrets.used if isinstance(project.context, Context) else ()
        own = {name: self._variables[name] for name in used if name in self._variables}
        words = ["check", "-c", str(project.file), "--trainings", str(trainings), *self._flags]
        try:
            # Out of reach of the terminal's signals, which are passed on to it.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "retrain", *words], env={**os.environ, **own}, start_new_session=True
            )
        except OSError as error:
            project.output.fail(f"no check of its own could be started: {error.strerror}", Exit.FAILED)
            return _Ended(project, Exit.FAILED)
        self._processes.add(process)
        if self._signal:  # it came while the process was being started
            process.send_signal(self._signal)
        code = process.wait()
        self._processes.discard(process)
        if code < 0:
            project.output.fail(f"its check was ended by signal {-code}", Exit.FAILED)
        return _Ended(project, code if code >= 0 else Exit.FAILED)


def _printed(ended: _Ended) -> Iterator[_Ended]:
    """What has ended, printed; and once more with the exit code of what cannot be printed."""
    yield ended
    try:
        with boundary(ended.project.output):
            ended.project.output.release()
    except SystemExit as leaving:
        yield _Ended(ended.project, int(leaving.code or 0))


def _summary(codes: Sequence[int], done: str, seconds: float) -> Report:
    """The report of all, for a terminal and -v: each has said what is news about it."""
    counts = [f"{number} {word}" for code, word in _WORDS.items() if (number := codes.count(code))]
    others = len(codes) - sum(map(codes.count, _WORDS))
    counts += [f"{others} stopped"] if others else []
    message = f"{counted(len(codes), 'project')} {done} in {seconds:.1f} s: {', '.join(counts)}"
    return Report(message, {}, gravest(codes), news=False, lines=())
