"""Why a command cannot be started and how to mend it: asked before it is tried, or told after that has failed."""

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from retrain.config.schema import Training


def obstacle(training: Training, environment: Mapping[str, str], key: str = "training.command") -> str | None:
    """Why the command could not be started, as far as can be told without starting it; None where nothing is seen.

    `key` is where the configuration has the command.
    """
    found = _found(training, environment)
    problem: OSError | None = None
    if not _may_enter(training.directory) or found is None or not found.exists():
        problem = FileNotFoundError()
    elif found.is_dir() or not os.access(found, os.X_OK):
        problem = PermissionError()
    else:
        problem = _no_program(found)
    return why_not_started(training, environment, problem, key) if problem is not None else None


def why_not_started(training: Training, environment: Mapping[str, str], error: OSError | ValueError, key: str) -> str:
    """Why the command could not be started and how to mend it, in a sentence."""
    program, directory = training.command[0], training.directory
    if not _may_enter(directory):
        return f"the directory {directory} is missing or may not be entered (create it or change training.directory)"
    found = _found(training, environment)
    match error:
        case FileNotFoundError() if found is None:
            return (
                f"the command {program} was not found in PATH={_path(environment)} (install it, give its absolute path"
                f" in {key}, or set PATH in training.environment; cron's own PATH is short)"
            )
        case FileNotFoundError() if found is not None and found.exists():
            return f"the interpreter that {found} names in its first line (#!) does not exist (mend that line)"
        case FileNotFoundError():
            return f"the command {found} does not exist (create it or change {key})"
        case PermissionError():
            return f"the command {program} may not be executed (chmod +x it or change {key})"
        case OSError(errno=errno.ENOEXEC):
            return f"the command {program} is not a program (a script needs a first line such as #!/bin/sh)"
        case _:
            return f"the command {program} could not be started: {error} (see {key} and training.environment)"


def _no_program(file: Path) -> OSError | None:
    """What the kernel will say of a file that is no program; None also where its content cannot be read."""
    with suppress(OSError), file.open("rb") as opened_file:
        head = opened_file.read(256)
        if head.startswith(b"#!"):
            words = head[2:].splitlines()[0].split()
            return None if words and Path(os.fsdecode(words[0])).exists() else FileNotFoundError()
        if b"\0" not in head:
            return OSError(errno.ENOEXEC, "")
    return None


def _may_enter(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.X_OK)


def _found(training: Training, environment: Mapping[str, str]) -> Path | None:
    """The file that the command's first word means, there or in the command's own PATH."""
    program = training.command[0]
    found = training.directory / program if "/" in program else shutil.which(program, path=_path(environment))
    return Path(found) if found is not None else None


def _path(environment: Mapping[str, str]) -> str:
    return os.pathsep.join(os.get_exec_path(environment))
