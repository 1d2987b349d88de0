"""What keeps the child from an answer, and the sentence that says so."""

import signal
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from retrain.effects.evaluation.memory import Allowance
from retrain.errors import RetrainError

Side = Literal["champion", "challenger", "holdout", "training data", "known rows"]
Plan = Mapping[str, Any]

_FATAL = {-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
"""How a process may end that was refused memory: by the kernel, or by a library that is not prepared for it."""


class Unscorable(RetrainError):  # noqa: N818 (an adjective, like Unknown)
    """One side of the work is no use; `side` says which."""

    def __init__(self, side: Side, message: str) -> None:
        super().__init__(message)
        self.side = side


def too_late(plan: Plan, at: Side | None, timeout: timedelta) -> str:
    """The sentence on work that took too long. Slow work is nobody's proven fault, so it says only where it stood."""
    where = f", while it was busy with the {at} {_path(plan, at)}" if at else ""
    late = f"was ended after promotion.timeout ({timeout.total_seconds():g} s){where}: raise promotion.timeout"
    if plan["job"] == "rows":
        return f"remembering the rows of {plan['data']} {late}"
    hint = " or promotion.jobs" if plan["job"] == "compare" else ""
    return f"scoring on {plan['holdout']} {late}{hint}, or repair a model that hangs"


def crash(plan: Plan, at: Side | None, code: int | None, words: str, memory: Allowance) -> RetrainError:
    """The error of a child that gave no answer; `words` are the last it printed.

    `code` is how it ended (-N: by signal N; None: it has not, but it closed what it answers through).
    """
    if code is None:
        how = "closed the file of its answers (does a model close files that it did not open?)"
    elif code >= 0:
        how = f"ended with exit code {code}"
    else:
        names = {each.value: each.name for each in signal.Signals}  # those for real time have none
        how = f"ended by {names.get(-code, f'signal {-code}')}"
    if at is None:
        told = f"the scoring process {how}, at whose fault cannot be told"
    else:
        act = "was loaded or predicted" if at in ("champion", "challenger") else "was read"
        told = f"the {at} {_path(plan, at)} is no use: the scoring process {how} while it {act}"
    said = f"; it last printed: {words}" if words else ""
    told = f"{told} (out of memory? Then {memory.way_out}){said}" if code in _FATAL else memory.told(told + said)
    return RetrainError(told) if at is None else Unscorable(at, told)


def _path(plan: Plan, at: Side) -> str:
    return str(plan["data" if at == "training data" else at])
