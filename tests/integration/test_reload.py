"""The recipe `reload` with real services: they answer with the new champion, and no request fails meanwhile."""

import json
import re
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import requests

from tests.conftest import real
from tests.effects.servers import Request, page, serving
from tests.integration.conftest import environment
from tests.stories.project import Models, Project, make_models, until

SKLEARN = f"scikit-learn=={__import__('sklearn').__version__}"
ROW = {"a": 0.4, "b": -2.0, "c": 2.0}
"""A row that the weak model takes for 1, since it does not see b·c, and the strong one for 0."""
_FLASK = """
import os
from pathlib import Path
import joblib
from flask import Flask, request

path = os.path.realpath("models/champion.joblib")
model, version = joblib.load(path), Path(path).stem
app = Flask("churn")

@app.get("/version")
def served():
    return version

@app.post("/predict")
def predict():
    return str(model.predict({name: [value] for name, value in request.json.items()})[0])
"""
_FASTAPI = """
import os
from functools import lru_cache
from pathlib import Path
import joblib
from fastapi import FastAPI

{champion}

app = FastAPI()

@app.get("/version")
def served() -> str:
    return champion()[1]

@app.post("/predict")
def predict(row: dict[str, float]) -> str:
    return str(champion()[0].predict({{name: [value] for name, value in row.items()}})[0])
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models) -> Project:
    """A project with a champion and a better challenger, and its reload.sh."""
    real("curl")
    project = Project(tmp_path, models)
    project.serve(models.weak)
    assert project.run("check", "--force", "--reason", "test").returncode == 0
    (tmp_path / "reload.sh").write_text(project.run("recipe", "reload").stdout)
    return project


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def service(project: Project, *command: str | Path) -> Iterator[None]:
    """The service in the project's directory; what it writes is in service.log."""
    with (project.root / "service.log").open("w") as log:
        process = subprocess.Popen(list(map(str, command)), cwd=project.root, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


class Client(Thread):
    """Asks for a prediction again and again, each time by a new connection, and keeps every answer."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.stopped, self.answers = url, Event(), list[str]()

    def run(self) -> None:
        while not self.stopped.wait(0.005):
            try:
                answer = requests.post(f"{self.url}/predict", json=ROW, timeout=10)
                self.answers.append(answer.json() if "json" in answer.headers["content-type"] else answer.text)
            except (requests.RequestException, ValueError) as error:
                self.answers.append(f"failed: {error}")

    def __enter__(self) -> "Client":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()

    def during(self, project: Project, command: str) -> int:
        """Run the command amid twenty answers before and twenty after it; how many there were when it ended."""
        self.wait()
        done = project.run(command)
        assert done.returncode == 0, done
        known = len(self.answers)
        self.wait()
        return known

    def wait(self) -> None:
        """Wait for twenty answers more."""
        known = len(self.answers)
        until(lambda: len(self.answers) > known + 20)


def test_gunicorn_serves_the_new_champion_and_no_request_fails(project: Project) -> None:
    """After a SIGHUP to two workers that load the model when they start."""
    programs, port = environment("gunicorn==23.*", "flask==3.*", SKLEARN), free_port()
    (project.root / "service.py").write_text(_FLASK)
    url, words = f"http://127.0.0.1:{port}", ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--pid", "gunicorn.pid"]
    project.configure(promotion={"after": f"sh reload.sh gunicorn gunicorn.pid {url}/version"})
    with service(project, programs / "gunicorn", *words, "service:app"):
        until(lambda: answers(f"{url}/version"), 60)
        with Client(url) as client:
            known, last = client.during(project, "promote"), client.during(project, "rollback")
    assert set(client.answers) == {"0", "1"}, "no answer but those of both models"
    assert set(client.answers[known + 1 : known + 20]) == {"0"}, "the challenger answers when promote ends"
    assert set(client.answers[last + 1 : last + 20]) == {"1"}, "the champion before answers when rollback ends"


def test_a_service_that_watches_the_link_needs_no_signal(project: Project) -> None:
    """FastAPI in two workers of uvicorn, with the lines that the recipe shows."""
    programs, port = environment("fastapi==0.*", "uvicorn==0.*", SKLEARN), free_port()
    shown = re.findall(r"^#     ((?:def |@lru|    ).*)$", project.run("recipe", "reload").stdout, re.M)
    lines = "\n".join(line for line in shown if "promotion" not in line and "after:" not in line)
    (project.root / "service.py").write_text(_FASTAPI.format(champion=textwrap.dedent(lines)))
    url = f"http://127.0.0.1:{port}"
    project.configure(promotion={"after": f"sh reload.sh watching {url}/version"})
    with service(project, programs / "uvicorn", "--port", str(port), "--workers", "2", "service:app"):
        until(lambda: answers(f"{url}/version"), 60)
        with Client(url) as client:
            known = client.during(project, "promote")
    assert set(client.answers[:20]) == {"1"}
    assert set(client.answers) == {"0", "1"}, "no answer but those of both models"
    assert set(client.answers[known + 1 :]) == {"0"}


def test_a_service_that_keeps_the_old_model_undoes_the_promotion(project: Project) -> None:
    """The hook says what it answers, and succeeds for the champion before."""
    old = project.json("status")["champion"]["version"]
    script = project.root / "reload.sh"
    script.write_text(script.read_text().replace("seconds=60", "seconds=1"))

    def respond(_request: Request) -> list[bytes]:
        return page(json.dumps(old))

    with serving(respond) as url:
        project.configure(promotion={"after": f"sh reload.sh watching {url}"})
        done = project.run("promote")
    assert done.returncode == 1
    assert f"{url} does not answer" in done.stderr
    assert "the hook failed for" not in done.stderr
    assert project.json("status")["champion"]["version"] == old


def test_mlserver_loads_the_new_champion_by_its_model_repository(project: Project) -> None:
    """The protocol of Triton, too. A model that MLServer does not know undoes the promotion."""
    programs = environment(
        "mlserver==1.*", "mlserver-sklearn==1.*", "uvloop<0.22", SKLEARN
    )  # 1.7 fails with later uvloops
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    url = f"http://127.0.0.1:{ports['http_port']}"
    (project.root / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, **ports}))
    known = {
        "name": "churn",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(project.root / "models/champion.joblib")},
    }
    (project.root / "model-settings.json").write_text(json.dumps(known))
    inputs = [
        {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [value], "parameters": {"content_type": "np"}}
        for name, value in ROW.items()
    ]
    question = {"parameters": {"content_type": "pd"}, "inputs": inputs}

    def predicted() -> int:
        answer = requests.post(f"{url}/v2/models/churn/infer", json=question, timeout=30).json()
        return int(answer["outputs"][0]["data"][0])

    with service(project, programs / "mlserver", "start", "."):
        until(lambda: answers(f"{url}/v2/models/churn/ready"), 120)
        assert predicted() == 1
        project.configure(promotion={"after": f"sh reload.sh repository {url} another"})
        assert project.run("promote").returncode == 1
        project.configure(promotion={"after": f"sh reload.sh repository {url} churn"})
        done = project.run("promote")
        assert done.returncode == 0, done
        assert predicted() == 0
