"""`retrain prune`: remove old checks and logs; what was trained, compared and promoted stays."""

from datetime import timedelta

from retrain.context import Context
from retrain.core.text import counted, duration
from retrain.effects import training
from retrain.effects.journal import open_journal
from retrain.errors import Report


def prune(context: Context, keep: timedelta) -> Report:
    """The report of what was removed: checks older than `keep`, and logs as configured."""
    config, now = context.config, context.clock()
    with open_journal(config.state, champion=config.models.champion) as journal:
        journal.verify()
        events = journal.prune(now - keep, now)
    logs = training.tidy(context.logs, config.training.keep_logs, now)
    done = f"pruned {counted(events, 'check')} older than {duration(keep)} and {counted(logs, 'log')}"
    message = f"{done} (trainings, comparisons and promotions stay)"
    return Report(message, {"events": events, "logs": logs, "message": message}, news=bool(events or logs))
