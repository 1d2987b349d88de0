"""The endpoint's clock beside ours, from real HTTP servers on loopback."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from retrain.config.schema import Monitoring
from retrain.doctor.endpoint import ahead_of
from tests.effects.servers import Request, page, serving

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def heard(headers: dict[str, str], status: str = "200 OK") -> timedelta | None:
    """How far an endpoint that answers with these headers is ahead, at noon."""
    with serving(lambda _: page("{}", status, **headers)) as url:
        return ahead_of(Monitoring(url), lambda: NOON)


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "404 Not Found"])
@pytest.mark.parametrize("minutes", [-90, 0, 5])
def test_the_date_of_any_answer_tells(minutes: int, status: str) -> None:
    """Ahead is positive, behind negative; an error has a date, too."""
    date = format_datetime(NOON + timedelta(minutes=minutes), usegmt=True)
    assert heard({"Date": date}, status) == timedelta(minutes=minutes)


def test_a_cache_adds_the_age_of_its_answer() -> None:
    """Date is when the answer was made, Age how many seconds the cache has kept it."""
    date = format_datetime(NOON - timedelta(minutes=5), usegmt=True)
    assert heard({"Date": date, "Age": "300"}) == timedelta()


@pytest.mark.parametrize(("minutes", "age", "apart"), [(0, "3600", 0), (20, "60", 20), (-90, "3600", -30)])
def test_a_cache_may_write_a_date_of_its_own(minutes: int, age: str, apart: int) -> None:
    """Then the age says nothing of its clock; a clock that is wrong either way is wrong."""
    date = format_datetime(NOON + timedelta(minutes=minutes), usegmt=True)
    assert heard({"Date": date, "Age": age}) == timedelta(minutes=apart)


@pytest.mark.parametrize(
    "headers", [{}, {"Date": ""}, {"Date": "yesterday"}, {"Date": "Sun, 99 Nov 2026 12:00:00 GMT"}]
)
def test_without_a_date_nothing_is_known(headers: dict[str, str]) -> None:
    """No guess is made."""
    assert heard(headers) is None


def test_a_file_and_a_dead_endpoint_tell_no_time(tmp_path: Path) -> None:
    """Both are somebody else's finding."""
    file = tmp_path / "metrics.json"
    file.write_text("{}")
    assert ahead_of(Monitoring(file.as_uri()), lambda: NOON) is None
    with serving(lambda _: page("{}")) as url:
        pass
    assert ahead_of(Monitoring(url, timeout=timedelta(seconds=2)), lambda: NOON) is None


def test_it_is_asked_as_the_metrics_are() -> None:
    """With the configured headers, and without them at another host; the last answer counts."""
    seen: list[Request] = []
    there = format_datetime(NOON + timedelta(hours=1), usegmt=True)

    def answer(request: Request) -> Iterable[bytes]:
        seen.append(request)
        return page("{}", Date=there)

    with serving(answer) as other:

        def redirect(request: Request) -> Iterable[bytes]:
            seen.append(request)
            return page("", "302 Found", Location=f"{other}/x", Date=format_datetime(NOON, usegmt=True))

        with serving(redirect) as url:
            asked = Monitoring(url, headers={"Authorization": "Bearer marker"})
            assert ahead_of(asked, lambda: NOON) == timedelta(hours=1)
    assert [each.headers.get("authorization") for each in seen] == ["Bearer marker", None]
