"""Notifications: does the heartbeat take a ping, and can the command and the services be used?"""

from collections.abc import Iterator
from importlib.util import find_spec

from msgspec.structs import replace

from retrain.context import Context
from retrain.doctor import Finding, fail, ok
from retrain.effects import heartbeat, training


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


def _services(urls: tuple[str, ...]) -> Finding:
    """Whether Apprise is installed, and knows these URLs."""
    from retrain.effects import notify

    if find_spec("apprise") is None:
        why = "notifications.urls cannot be used: Apprise is not installed"
        return fail("notifications", why, "install the extra: pip install 'PATH_OF_THE_CLONE[notify]'")
    unknown = [str(number) for number, url in enumerate(urls, 1) if not notify.is_known(url)]
    if unknown:
        why = f"notifications.urls: Apprise does not know URL {', '.join(unknown)} of the list"
        return fail("notifications", why, "see https://github.com/caronc/apprise/wiki")
    return ok("notifications", "Apprise knows every URL of notifications.urls")
