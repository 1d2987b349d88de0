"""The environment, the configuration and its secrets. That they could be read at all is why we are here."""

from collections.abc import Iterator

from retrain.context import Context
from retrain.core.text import counted
from retrain.doctor import host
from retrain.doctor.crontab import World
from retrain.doctor.findings import Finding, broken, mind, ok


def environment(context: Context, world: World | None) -> Iterator[Finding]:
    """Whose environment all else was looked at with."""
    what = "environment"
    if world is None:
        path = context.environ.get("PATH", "")
        yield ok(what, f"that of this shell, with PATH={path} (--cron-env looks with the one that cron gives)")
    elif world.line:
        yield ok(what, str(world))
    else:
        file = context.file
        missing = "" if world.trouble else f"; no line of it runs retrain check -c {file}"
        missing += f" ({counted(world.others, 'line')} of it with another)" if world.others else ""
        yield mind(what, f"{world}{missing}. What runs retrain check, and with which environment? See crontab.example")


def configuration(context: Context) -> Iterator[Finding]:
    """Which file it is, and who may write it: it names commands that are run."""
    file, what = context.file, "configuration"
    if host.open_to_others(file):
        yield broken(what, f"everybody may write {file}, which names commands that are run: chmod o-w {file}")
    elif host.replaceable_by_others(file):
        yield broken(what, f"everybody may replace {file}, which names commands that are run: chmod o-w {file.parent}")
    else:
        yield ok(what, f"{file} can be read, and every key and value in it is known")


def secrets(context: Context) -> Iterator[Finding]:
    """Whether every variable that a secret is read from holds one. Their values are nobody's business."""
    what, blank = "secrets", context.blank
    names = sorted(context.secrets.variables)
    for name in names:
        if blank.get(name) is True:
            yield broken(what, f"${{{name}}} is set, but empty: give it the secret where the others are set")
        elif name in blank:
            yield mind(what, f"${{{name}}} is not set, so that the default in the configuration stands in for it")
    present = [f"${{{name}}}" for name in names if name not in blank]
    if present:
        yield ok(what, f"{', '.join(present)} {'is' if len(present) == 1 else 'are'} set")
    elif not names:
        yield ok(what, "the configuration reads none from the environment")
