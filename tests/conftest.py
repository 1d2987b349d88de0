"""What every test may rely on: nothing of the user's environment, and real components by name."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

IN_CI = bool(os.environ.get("CI"))

# Under nohup, or in the background of a script, signals are ignored that our children would inherit so.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that at the end no worker waits for another."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def clean_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the user's home, configuration, proxies or an outer make."""
    for name in list(os.environ):
        if name.startswith(("RETRAIN_", "MAKE", "MFLAGS")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    yield


def real(program: str) -> Path:
    """The path of a real component. In CI a missing one fails the test, elsewhere it skips it by name."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        message = f"{program} is not installed"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)


@pytest.fixture
def scored_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score without processes of its own, which take seconds to start, unless the test is marked `own_process`."""
    if request.node.get_closest_marker("own_process") is None:
        from retrain.effects import evaluation
        from tests.scoring import carry_out

        monkeypatch.setattr(evaluation, "carry_out", carry_out)
