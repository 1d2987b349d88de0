"""What is rehearsed: when to train, and what a challenger must show."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from retrain.config.load import parse_rule
from retrain.config.schema import Config, HoldoutKind
from retrain.core.rules import MinAge, Side, Triggers
from retrain.errors import ConfigError

NEVER, CALENDAR, CONFIGURED, HINDSIGHT = "never", "calendar", "as configured", "hindsight"


class JudgedOn(StrEnum):
    """Which rows a challenger is judged on."""

    FRESH = "fresh"  # rows of the newest window that were left out of its training
    LIVE = "live"  # the rows that come after its training
    OLD = "old"  # rows that were left out of all trainings once, before the first
    NONE = "none"  # none: it is promoted at once
    FUTURE = "future"  # the window that follows, which nobody knows yet


class Policy(Struct, frozen=True):
    """A rule and a gate (`config`), the rows that the gate judges on, and whether every window trains anyway."""

    name: str
    judged_on: JudgedOn
    config: Config
    always: bool = False

    @property
    def watches_drift(self) -> bool:
        """Whether drift can train."""
        return not self.always and self.config.triggers.drift_threshold is not None


def policies(config: Config, rules: Sequence[str], gates: Sequence[str]) -> tuple[dict[str, Policy], list[str]]:
    """What to rehearse, by name and in the order of the table, and notes. Raises ConfigError.

    Without --gate those are added that a newcomer asks for: fresh rows where they are not configured, and no gate.
    """
    given, notes = config.triggers, list[str]()
    config = replace(config, triggers=_rehearsed(given))
    if config.triggers.drift_threshold != given.drift_threshold:
        notes.append("drift is not rehearsed: triggers.drift_breach is below, and `retrain monitor` serves no p-value")
    configured = _gated(CONFIGURED, config, "")
    if configured.judged_on is JudgedOn.OLD:
        notes.append(
            f"as configured: promotion.holdout is a file, {config.promotion.holdout}; here it is a part of the log that"
            " is cut once, before the first training"
        )
    ruled = [(text, replace(configured.config, triggers=_rehearsed(parse_rule(text, given)))) for text in rules]
    gates = gates or [each for each in (JudgedOn.FRESH, JudgedOn.NONE) if each is not configured.judged_on]
    tried = [
        Policy(NEVER, JudgedOn.NONE, replace(config, triggers=Triggers())),
        Policy(CALENDAR, JudgedOn.NONE, config, always=True),
        configured,
        *(replace(configured, name=text, config=each) for text, each in ruled),
        *(_gated(f"gate: {text}", config, text) for text in gates),
        Policy(HINDSIGHT, JudgedOn.FUTURE, config, always=True),
    ]
    by_name = {each.name: each for each in tried}
    if len(by_name) < len(tried):
        raise ConfigError("a --rule or a --gate is given twice")
    if any(each.watches_drift for each in tried):
        notes.append("drift is the PSI of `retrain monitor`, against all rows that the serving model was trained on")
    return by_name, notes


def _gated(name: str, config: Config, text: str) -> Policy:
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
    return Policy(name, judged_on, replace(config, promotion=promotion))


def _rehearsed(triggers: Triggers) -> Triggers:
    """The rule as far as it is rehearsed: without drift that is a p-value. Labels do not come late here, either."""
    drift = triggers.drift_threshold if triggers.drift_breach is Side.ABOVE else None
    rule = replace(triggers, min_age=MinAge(), drift_threshold=drift)
    if not rule.watched and rule.max_model_age is None:
        raise ConfigError("only drift is watched, and it is not rehearsed", "set triggers.performance_threshold")
    return rule
