"""What doctor tests of the notifications: a real ping, no event."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from retrain.context import open_context
from retrain.doctor.notifications import notifications
from tests.effects.servers import Request, page, serving

SMALLEST = "triggers: {max_model_age: 90d}\nnotifications: "


def found(root: Path, notified: str) -> list[tuple[str, str, str]]:
    (root / "config.yaml").write_text(SMALLEST + notified)
    return [(each.severity, each.what, each.message) for each in notifications(open_context(root / "config.yaml"))]


def test_the_heartbeat_is_tried_by_a_ping_that_says_nothing_of_a_check(tmp_path: Path) -> None:
    """Healthchecks has a place for such pings; one that it does not take is a failure."""
    asked: list[str] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(urlsplit(request.path).path)
        return page("OK") if len(asked) == 1 else page("", "404 Not Found")

    with serving(respond) as url:
        switch = f"{{heartbeat: {{url: '{url}/uuid-1234', style: healthchecks}}}}"
        assert found(tmp_path, switch) == [("ok", "heartbeat", "it takes pings")]
        failed = "the heartbeat answered 404: Not Found (check notifications.heartbeat)"
        assert found(tmp_path, switch) == [("fail", "heartbeat", failed)]
    assert asked == ["/uuid-1234/log"] * 2


def test_a_command_that_cannot_be_started_is_found(tmp_path: Path) -> None:
    """Otherwise its events would wait for the first night on which one matters."""
    assert found(tmp_path, "{command: 'true'}") == [("ok", "notifications", "notifications.command can be started")]
    ((severity, _, message),) = found(tmp_path, "{command: nosuch-command}")
    assert severity == "fail"
    assert "nosuch-command was not found in PATH" in message
    assert "notifications.command" in message


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # Apprise's
def test_a_url_that_apprise_does_not_know_is_found_by_its_number(tmp_path: Path) -> None:
    """It may hold a secret, so it is not quoted."""
    pytest.importorskip("apprise")
    assert found(tmp_path, "{urls: ['json://localhost/x']}")[0][0] == "ok"
    expected = "notifications.urls: Apprise does not know URL 2 of the list"
    ((severity, _, message),) = found(tmp_path, "{urls: ['json://localhost/x', 'nosuch://s3cr3t']}")
    assert (severity, message.partition(" (")[0]) == ("fail", expected)
