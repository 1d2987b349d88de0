"""The environment, the configuration and its secrets, which have been read before any test runs."""

from collections.abc import Iterator

from retrain.context import Context
from retrain.doctor import host
from retrain.doctor.crontab import Cron
from retrain.doctor.findings import Finding, fail, ok, warn


def environment(context: Context, cron: Cron | None) -> Iterator[Finding]:
    """In which environment everything is tested."""
    what = "environment"
    if cron is None:
        path = context.environ.get("PATH", "")
        yield ok(what, f"this shell's, with PATH={path}; --cron-env tests in the one that cron gives")
    elif cron.checks:
        yield ok(what, str(cron))
    else:
        seen = str(cron) if cron.trouble else f"{cron}; no line of it runs retrain check"
        yield warn(what, seen, remedy="what runs retrain check, and in which environment? See crontab.example")


def configuration(context: Context) -> Iterator[Finding]:
    """Who may write the configuration: it names commands that are run."""
    file, what = context.file, "configuration"
    if host.world_writable(file):
        yield fail(what, f"{file} is world-writable, and names commands that are run", remedy=f"chmod o-w {file}")
    elif host.replaceable(file):
        seen = f"{file.parent} is world-writable, so anybody can replace {file.name}, which names commands that are run"
        yield fail(what, seen, remedy=f"chmod o-w {file.parent}")
    else:
        yield ok(what, f"{file} can be read, and every key and value in it is known")


def secrets(context: Context) -> Iterator[Finding]:
    """Whether every variable that a secret is read from has a value, which is never shown."""
    what, blank = "secrets", context.blank
    names = sorted(context.secrets.variables)
    for name in names:
        if blank.get(name) is True:
            yield fail(what, f"${{{name}}} is set, but empty", remedy="give it the secret where the others are set")
        elif name in blank:
            yield warn(what, f"${{{name}}} is not set, so the default in the configuration is used")
    present = [f"${{{name}}}" for name in names if name not in blank]
    if present:
        yield ok(what, f"{', '.join(present)} {'is' if len(present) == 1 else 'are'} set")
    elif not names:
        yield ok(what, "the configuration reads none from the environment")
