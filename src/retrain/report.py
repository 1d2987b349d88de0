"""What a command has to say when it is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrain.errors import Exit


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a command: a sentence, the object for `--json` and the exit code.

    `news` is False where nothing changed and nothing failed: then cron hears nothing. `details` are further
    lines for `-v`.
    """

    message: str
    data: Mapping[str, Any]
    exit_code: int = Exit.DONE
    news: bool = True
    details: tuple[str, ...] = field(default=())
