"""How long the lock may be held, and what to say of one that is held longer."""

from datetime import datetime, timedelta

from retrain.config import Config
from retrain.core.words import duration
from retrain.effects.lock import Holder

LOCK_SLACK = timedelta(minutes=1)
"""At most this much longer than its time limits allow may a lock be held before anybody is loud about it."""


def longest_hold(config: Config, command: str) -> timedelta:
    """How long this command may hold the lock, by its time limits."""
    training, promotion = config.training, config.promotion
    # A promotion scores, and its hook may run twice.
    reading = promotion.timeout if training.data is not None else timedelta()
    swapping = 3 * promotion.timeout
    if command != "check":
        return swapping
    longest = training.timeout + training.grace + reading
    return max(longest, swapping) if promotion.probation is not None else longest


def stuck(config: Config, holder: Holder, now: datetime) -> str | None:
    """The sentence about a lock that is held longer than its holder may take; None while it may be held."""
    longest, held = longest_hold(config, holder.command), now - holder.since
    if held <= longest + min(LOCK_SLACK, longest / 10):
        return None
    return (
        f"stuck: {holder} has held the lock for {duration(held)}, and may take {duration(longest)}."
        " Look at that process: the lock is free when it and its training have ended"
    )
