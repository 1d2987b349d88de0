"""The kinds of events that can be notified of, the words of notifications.events."""

from enum import StrEnum


class Kind(StrEnum):
    """What an event is about; those up to UNDELIVERED are what a person would want to hear."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    TRAINED = "trained"
    TRAINING_FAILED = "training_failed"
    NEEDS_A_PERSON = "needs_a_person"
    UNKNOWN = "unknown"
    RECOVERED = "recovered"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    PAUSED = "paused"
    RESUMED = "resumed"
    UNDELIVERED = "undelivered"
    DELIVERED = "delivered"
    CHECKED = "checked"
    TRAINING_STARTED = "training_started"
    JUDGED = "judged"
    SWAP_STARTED = "swap_started"
    SWAP_UNDONE = "swap_undone"
    ADOPTED = "adopted"
    HISTORY_LOST = "history_lost"
    PRUNED = "pruned"


BY_DEFAULT = tuple(Kind)[: list(Kind).index(Kind.UNDELIVERED) + 1]
