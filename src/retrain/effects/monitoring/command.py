"""A command that prints the metrics as one JSON document."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from retrain.config.schema import Monitoring
from retrain.config.secrets import Secrets
from retrain.core.records import Trouble, Unknown
from retrain.effects import process
from retrain.effects.monitoring import Answer, json_text

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

_REMEDY = "it must print one JSON document on standard output, and nothing else there"
_NOT_STARTED = {
    errno.ENOENT: "give its absolute path in monitoring.command, or set PATH in monitoring.environment: that of cron "
    "is short",
    errno.EACCES: "chmod +x it, or change monitoring.command",
    errno.ENOEXEC: "a script needs a first line such as #!/bin/sh",
}


def ask(
    monitoring: Monitoring, expressions: Mapping[str, "ParsedResult"], directory: Path, secrets: Secrets
) -> Mapping[str, Answer]:
    """An answer for each query, from what the command prints when it runs in this directory."""
    body = _printed(monitoring, directory, secrets)
    if isinstance(body, Unknown):
        return dict.fromkeys(expressions, body)
    answers = json_text.read(expressions, body)
    return {query: _of_output(answer) for query, answer in answers.items()}


def _printed(monitoring: Monitoring, directory: Path, secrets: Secrets) -> bytes | Unknown:
    """What the command prints on standard output, or why that cannot be used.

    It gets none of the variables that hold secrets of other services, and inherits nothing that is open here. Once it
    has ended, nothing of its process group runs any more.
    """
    environment = process.environment(os.environ, secrets.variables, monitoring.environment)
    seconds, most = monitoring.timeout.total_seconds(), monitoring.max_body
    try:
        ran = process.ran(monitoring.command or (), directory, environment, seconds=seconds, most=most)
    except (OSError, ValueError) as error:
        return _not_started(error, directory)
    if not ran.is_whole:
        return Unknown(Trouble.TOO_LARGE, f"printed more than {most} bytes", "raise monitoring.max_body")
    if not ran.in_time:
        why = ": ".join([f"did not end within {seconds:g} s", *ran.last_words(secrets.scrub)])
        return Unknown(Trouble.DEADLINE, why, "see what makes it slow, or raise monitoring.timeout")
    if ran.code != 0:
        return Unknown(Trouble.STATUS, ": ".join([ran.how, *ran.last_words(secrets.scrub)]))
    return ran.output if ran.output.strip() else Unknown(Trouble.UNPARSEABLE, "printed nothing", _REMEDY)


def _not_started(error: OSError | ValueError, directory: Path) -> Unknown:
    if not directory.is_dir():
        why = f"could not be started: there is no directory {directory}"
        return Unknown(Trouble.UNREACHABLE, why, "correct training.directory")
    code, said = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
    remedy = _NOT_STARTED.get(code or 0, "check monitoring.command and monitoring.environment")
    return Unknown(Trouble.UNREACHABLE, f"could not be started: {said}", remedy)


def _of_output(answer: Answer) -> Answer:
    """The answer; where the output is no JSON, that is said of what was printed."""
    if isinstance(answer, Unknown) and answer.kind == Trouble.UNPARSEABLE:
        return replace(answer, why=f"printed what {answer.why}", remedy=_REMEDY)
    return answer
