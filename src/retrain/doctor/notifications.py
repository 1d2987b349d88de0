"""Notifications and the registry: does the heartbeat take a ping, can the services be used, is the model there?"""

from collections.abc import Iterator
from importlib.util import find_spec

from msgspec.structs import replace

from retrain.context import Context
from retrain.core.mirror import Found
from retrain.core.text import counted
from retrain.doctor import Finding, fail, ok, warn
from retrain.effects import heartbeat, http, training


def notifications(context: Context) -> Iterator[Finding]:
    """What is wrong with them. One ping is sent, which says nothing of a check where the switch can know; no event."""
    config, wanted = context.config, context.config.notifications
    if wanted.heartbeat is not None:
        problem = heartbeat.attempt(config, context.run)
        yield fail("heartbeat", problem) if problem else ok("heartbeat", "it takes pings")
    if wanted.command is not None:
        hook, key = replace(config.training, command=wanted.command), "notifications.command"
        environment = training.environment(context.environ, context.secrets.variables, hook, {})
        obstacle = training.obstacle(hook, environment, key)
        found = fail("notifications", obstacle.why, obstacle.remedy) if obstacle else None
        yield found or ok("notifications", f"{key} can be started")
    if wanted.urls:
        yield _services(wanted.urls)


def followed(context: Context) -> Iterator[Finding]:
    """Whether the registry of others answers, and knows the model."""
    asked = context.config.registry
    if asked is None:
        return
    from retrain.effects import mlflow

    found, where = mlflow.look(asked), http.shown(asked.url)
    if not isinstance(found, Found):
        yield fail("registry", f"{where} {found}", "check registry.url and registry.headers")
    elif not found.known:
        yield warn("registry", f"{where} answers, and has no model {asked.model}; the next command creates it")
    else:
        aliases = ", ".join(f"{alias} is {number}" for alias, number in sorted(found.aliases.items())) or "no alias"
        known = f"model {asked.model} with {counted(len(found.entries), 'version')}"
        yield ok("registry", f"{where} answers, and has {known}", numbers=aliases)


def _services(urls: tuple[str, ...]) -> Finding:
    """Whether Apprise is installed, and knows these URLs."""
    from retrain.effects import notify

    if find_spec("apprise") is None:
        why = "notifications.urls cannot be used: Apprise is not installed"
        return fail("notifications", why, "pip install 'retrain-controller[notify]'")
    unknown = [str(number) for number, url in enumerate(urls, 1) if not notify.is_known(url)]
    if unknown:
        why = f"notifications.urls: Apprise does not know URL {', '.join(unknown)} of the list"
        return fail("notifications", why, "see https://github.com/caronc/apprise/wiki")
    return ok("notifications", "Apprise knows every URL of notifications.urls")
