"""What is rehearsed: when to train, and what a challenger must show."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from retrain.config.load import parse_rule
from retrain.config.schema import Config, HoldoutKind
from retrain.core.rules import Gate, MinAge, Triggers
from retrain.errors import ConfigError

NEVER, CALENDAR, CONFIGURED, HINDSIGHT = "never", "calendar", "as configured", "hindsight"


class JudgedOn(StrEnum):
    """Which rows a challenger is judged on."""

    FRESH = "fresh"
    """Rows of the newest window that were left out of its training."""
    LIVE = "live"
    """The rows that come after its training."""
    OLD = "old"
    """Rows that were left out of all trainings once, before the first."""
    NONE = "none"
    """None: it is promoted at once."""
    FUTURE = "future"
    """The window that follows, which nobody knows yet."""


class Policy(Struct, frozen=True):
    """When to train (`triggers`; None: after every window), and the gate, with the rows that it judges on."""

    name: str
    triggers: Triggers | None
    judged_on: JudgedOn
    gate: Gate
    config: Config

    @property
    def acts(self) -> bool:
        """Whether it ever trains."""
        return self.name != NEVER


def policies(config: Config, rules: Sequence[str], gates: Sequence[str]) -> tuple[list[Policy], list[str]]:
    """What to rehearse, in the order of the table, and notes. Raises ConfigError.

    Without --gate those are added that a newcomer asks for: fresh rows where they are not configured, and no gate.
    """
    triggers, notes = _without_drift(config.triggers)
    configured = _gated(CONFIGURED, config, triggers, "")
    if configured.judged_on is JudgedOn.OLD:
        notes.append(
            f"as configured: promotion.holdout is a file, {config.promotion.holdout}; here it is a part of the log that"
            " is cut once, before the first training"
        )
    gates = gates or [each for each in (JudgedOn.FRESH, JudgedOn.NONE) if each is not configured.judged_on]
    return [
        Policy(NEVER, None, JudgedOn.NONE, config.gate, config),
        Policy(CALENDAR, None, JudgedOn.NONE, config.gate, config),
        configured,
        *(
            replace(configured, name=text, triggers=_without_drift(parse_rule(text, config.triggers))[0])
            for text in rules
        ),
        *(_gated(f"gate: {text}", config, triggers, text) for text in gates),
        Policy(HINDSIGHT, None, JudgedOn.FUTURE, config.gate, config),
    ], notes


def _gated(name: str, config: Config, triggers: Triggers, text: str) -> Policy:
    """The configured rule with the gate that this text names: where it is judged, keys of `promotion`, or both."""
    word, _, rest = text.partition(",")
    holdout = config.promotion.holdout
    kinds = [each.value for each in JudgedOn if each is not JudgedOn.FUTURE]
    judged_on = JudgedOn(holdout.value) if isinstance(holdout, HoldoutKind) else JudgedOn.OLD
    if word.strip() in kinds:
        judged_on, text = JudgedOn(word.strip()), rest
    promotion = config.promotion
    if text.strip():
        try:
            promotion = parse_rule(text, promotion)
        except ConfigError as error:
            raise ConfigError(f"{error}", f"--gate takes {', '.join(kinds)}, keys of promotion, or both") from error
    # The guarantee that is the default depends on the kind of the holdout.
    promotion = replace(promotion, holdout=Path() if judged_on is JudgedOn.OLD else HoldoutKind.FRESH)
    tried = replace(config, promotion=promotion)
    return Policy(name, triggers, judged_on, tried.gate, tried)


def _without_drift(triggers: Triggers) -> tuple[Triggers, list[str]]:
    """The rule without drift, which is not rehearsed, and a note on that. Labels do not come late here, either."""
    triggers = replace(triggers, min_age=MinAge())
    if triggers.drift_threshold is None:
        return triggers, []
    triggers = replace(triggers, drift_threshold=None)
    if all(each is None for each in (triggers.performance_threshold, triggers.max_drop, triggers.max_model_age)):
        raise ConfigError("only drift is configured, and it is not rehearsed", "set triggers.performance_threshold")
    return triggers, ["drift is not rehearsed: only F1 and the age of the champion trigger trainings here"]
