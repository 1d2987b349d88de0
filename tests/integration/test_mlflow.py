"""MLflow as a mirror: a real MLflow 3 server with SQLite, through outages, kills and other hands."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.effects.servers import child
from tests.integration.conftest import environment
from tests.integration.relay import Relay, relayed
from tests.stories.conftest import models, project  # noqa: F401  (fixtures)
from tests.stories.project import CHAMPION, Project, until

API = "api/2.0/mlflow"
TOKEN = "s3cr3t-t0ken-of-mlflow"  # noqa: S105  (no password of anything)
REQUIRED = ("mlflow==3.*", "scikit-learn", "skops")


class Registry:
    """What the real server says, asked directly, of one model that no other test uses."""

    def __init__(self, address: str, relay: Relay, url: str, model: str) -> None:
        self.address, self.relay, self.url, self.model = address, relay, url, model

    def call(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        """What this call of the REST API answers."""
        sent = {"params": fields} if method == "GET" else {"json": fields}
        answer = requests.request(method, f"{self.address}/{API}/{path}", timeout=60, **sent)  # type: ignore[arg-type]
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def aliases(self) -> dict[str, str]:
        """The alias of each of our versions that has one, by the version's tag."""
        found = self.call("GET", "registered-models/search", filter=f"name='{self.model}'")["registered_models"][0]
        ours = {number: tags["retrain.version"] for number, tags in self.tags().items() if "retrain.version" in tags}
        return {each["alias"]: ours.get(each["version"], "another's") for each in found.get("aliases", ())}

    def entries(self) -> list[dict[str, Any]]:
        """All versions of the model, the latest first."""
        found = self.call("GET", "model-versions/search", filter=f"name='{self.model}'", max_results=200)
        return list(found.get("model_versions", ()))

    def tags(self) -> dict[str, dict[str, str]]:
        """The tags of each version by its number."""
        return {each["version"]: {tag["key"]: tag["value"] for tag in each.get("tags", ())} for each in self.entries()}

    def tags_of(self, version: str) -> dict[str, str]:
        """The tags of the one entry that is this version of ours."""
        (found,) = (each for each in self.tags().values() if each.get("retrain.version") == version)
        return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server; it takes half a minute to start."""
    directory = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--artifacts-destination", "artifacts"]
    program = environment(*REQUIRED) / "mlflow"
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{address}/health", timeout=5).ok
        except requests.RequestException:
            return False

    with (directory / "log").open("wb") as log, child(program, "server", *words, cwd=directory, output=log) as running:
        try:
            until(answers, 300)
            yield address
        finally:
            running.send_signal(signal.SIGTERM)  # it has workers, which it ends
            running.wait(60)


@pytest.fixture
def registry(server: str, project: Project, request: pytest.FixtureRequest) -> Iterator[Registry]:  # noqa: F811
    """A project with a champion, whose registry is the server behind a relay."""
    name = f"{request.node.name[:40]}-{time.time_ns()}".replace("[", "-").replace("]", "")
    with relayed(int(server.rpartition(":")[2])) as (relay, url):
        registry = Registry(server, relay, url, name)
        project.configure(
            registry={"type": "mlflow", "url": url, "model": name, "headers": {"Authorization": "Bearer ${TOKEN}"}}
        )
        project.environment["TOKEN"] = TOKEN
        project.serve(project.models.weak)
        yield registry


def trained(project: Project) -> str:  # noqa: F811
    """Let a check train a challenger; its version."""
    project.metrics(f1=0.5)
    done = project.json("check")
    assert done["run"]["outcome"] == "succeeded", done
    return str(project.json("status")["challenger"]["version"])


def standing(project: Project) -> dict[str, Any]:  # noqa: F811
    """What `status` says of the registry."""
    found: dict[str, Any] = project.json("status")["registry"]
    return found


def test_the_aliases_follow_what_is_served_and_what_waits_and_tags_say_why(
    registry: Registry,
    project: Project,  # noqa: F811
) -> None:
    """Trained, promoted, rolled back; version, verdict, gain, bounds, comparison, reason and actor are tags."""
    strong = trained(project)
    weak = project.json("status")["champion"]["version"]
    assert registry.aliases() == {"champion": weak, "challenger": strong}
    waiting = registry.tags_of(strong)
    assert "F1" in waiting["retrain.reason"]
    assert "retrain.verdict" not in waiting
    said = project.json("promote")
    assert said["promoted"]
    assert registry.aliases() == {"champion": strong}
    found = registry.tags_of(strong)
    assert found["retrain.verdict"] == "promote"
    assert float(found["retrain.gain"]) == pytest.approx(said["difference"], abs=0.001)
    low, high = map(float, found["retrain.bounds"].split(" to "))
    assert low < float(found["retrain.gain"]) < high
    assert found["retrain.comparison"] == "1"
    assert found["retrain.reason"] == "better than the champion"
    assert " on " in found["retrain.actor"]
    assert standing(project) == {"in_step": True, "since": None, "why": ""}
    assert "registry    in step\n" in project.run("status").stdout
    assert project.run("rollback", "--reason", "false alarms").returncode == 0
    assert registry.aliases() == {"champion": weak}
    assert all(registry.tags_of(each)["retrain.reason"].endswith(": false alarms") for each in (weak, strong))
    assert len(registry.entries()) == 2


def test_the_bytes_that_serve_can_be_had_from_the_server(registry: Registry, project: Project) -> None:  # noqa: F811
    """What no training has logged is uploaded through the server's proxy of artifacts."""
    project.run("check", "--force", "--reason", "test")
    (entry,) = (each for each in registry.entries() if each["version"] == "1")
    path = entry["source"].removeprefix("mlflow-artifacts:/")
    version = project.json("status")["champion"]["version"]
    url = f"{registry.address}/api/2.0/mlflow-artifacts/artifacts/{path}/{version}.joblib"
    assert requests.get(url, timeout=60).content == project.models.weak.read_bytes()


def test_a_directory_is_given_with_all_its_files(registry: Registry, project: Project) -> None:  # noqa: F811
    """Under promotion.predict a version may be a directory; each of its files keeps its place."""
    files = {"weights.json": b"{}", "parts/one.bin": b"1", "parts/two three.bin": b"\0\xff"}
    for name, content in files.items():
        (project.root / "models/champion" / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / "models/champion" / name).write_bytes(content)
    names = {"champion": "models/champion", "challenger": "models/challenger"}
    project.configure(models=names, promotion={"predict": "cat"})
    assert project.run("check").returncode == 0
    version = project.json("status")["champion"]["version"]
    assert registry.aliases() == {"champion": version}
    place = registry.entries()[0]["source"].removeprefix("mlflow-artifacts:/")
    url = f"{registry.address}/api/2.0/mlflow-artifacts/artifacts/{place}/{version}"
    assert {name: requests.get(f"{url}/{name}", timeout=60).content for name in files} == files
    assert standing(project)["in_step"]


def test_a_server_without_artifacts_gets_the_place_of_the_file(registry: Registry, project: Project) -> None:  # noqa: F811
    """Where the experiment lies in a store that only clients write to, the entry says where the file is."""
    registry.call("POST", "experiments/create", name=registry.model, artifact_location="s3://bucket/of/others")
    project.run("check", "--force", "--reason", "test")
    assert set(registry.aliases()) == {"champion", "challenger"}
    assert all(f"{project.root}/models/versions/" in each["description"] for each in registry.entries())


def test_in_step_a_check_makes_two_requests(registry: Registry, project: Project) -> None:  # noqa: F811
    """What it says of the aliases, and of the versions."""
    project.run("check", "--force", "--reason", "test")
    registry.relay.pass_all()
    project.metrics()
    assert project.run("check").returncode == 0
    assert [each.partition("?")[0] for each in registry.relay.requests] == [
        f"GET /{API}/registered-models/search",
        f"GET /{API}/model-versions/search",
    ]


def test_what_an_outage_has_left_is_repaired_by_the_next_check(registry: Registry, project: Project) -> None:  # noqa: F811
    """A promotion while the server is down is a promotion; `status` says since when the mirror is behind, and why."""
    strong = trained(project)
    assert standing(project)["in_step"], standing(project)
    registry.relay.refuses = True
    done = project.run("promote")
    assert done.returncode == 0
    assert done.stderr.count("the registry http://127.0.0.1") == 1
    assert "cannot be reached: " in done.stderr
    behind = standing(project)
    assert not behind["in_step"]
    assert behind["since"] is not None
    assert "cannot be reached" in behind["why"]
    assert f"behind since {behind['since'][:10]}" in project.run("status").stdout
    project.metrics()
    again = project.run("check")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", ""), "it is reported once"
    registry.relay.pass_all()
    project.metrics()
    assert project.run("check").returncode == 0
    assert registry.aliases() == {"champion": strong}
    assert registry.tags_of(strong)["retrain.verdict"] == "promote"
    assert standing(project)["in_step"]


def test_another_hand_is_repaired_by_the_next_check(registry: Registry, project: Project) -> None:  # noqa: F811
    """An alias that was moved, one that was added, a tag that was changed, a version that was deleted."""
    strong = trained(project)
    project.run("promote")
    weak = next(each["retrain.version"] for each in registry.tags().values() if each["retrain.version"] != strong)
    numbers = {tags["retrain.version"]: number for number, tags in registry.tags().items()}
    model = {"name": registry.model}

    def repaired() -> None:
        project.metrics()
        assert project.run("check").returncode == 0
        assert registry.aliases() == {"champion": strong}
        assert registry.tags_of(strong)["retrain.verdict"] == "promote"

    registry.call("POST", "registered-models/alias", **model, alias="champion", version=numbers[weak])
    registry.call("POST", "registered-models/alias", **model, alias="challenger", version=numbers[weak])
    repaired()
    registry.call("POST", "model-versions/set-tag", **model, version=numbers[strong], key="retrain.verdict", value="x")
    repaired()
    registry.call("DELETE", "model-versions/delete", **model, version=numbers[strong])
    repaired()
    registry.call("DELETE", "registered-models/delete", **model)
    repaired()
    assert len(registry.entries()) == 1, "what neither serves nor waits is not registered again"


def test_killed_between_the_link_and_the_alias_the_next_check_completes_it(
    registry: Registry,
    project: Project,  # noqa: F811
) -> None:
    """SIGKILL when the new champion serves and the server has heard nothing; `status` says that it is behind."""
    strong = trained(project)
    registry.relay.hang_after(0)
    promoting = project.start("promote")
    until(registry.relay.stuck.is_set, 120)
    promoting.kill()
    promoting.communicate()
    registry.relay.pass_all()
    assert project.json("status")["champion"]["version"] == strong
    assert registry.aliases()["challenger"] == strong
    behind = standing(project)
    assert (behind["in_step"], behind["why"]) == (False, "the next check or promotion updates it")
    assert behind["since"] is not None
    project.metrics()
    assert project.run("check").returncode == 0
    assert registry.aliases() == {"champion": strong}
    assert standing(project)["in_step"]


def test_killed_between_any_two_requests_nothing_is_lost_and_nothing_twice(
    registry: Registry,
    project: Project,  # noqa: F811
) -> None:
    """SIGKILL after each number of requests of what makes most of them; the next check leaves no version twice."""
    strong = trained(project)
    weak, name, passing, ended = project.json("status")["champion"]["version"], registry.model, 0, False
    while not ended:
        registry.model = f"{name}-{passing}"
        project.configure(registry={"model": registry.model})
        project.metrics()
        registry.relay.hang_after(passing)
        checking = project.start("check")
        until(lambda: registry.relay.stuck.is_set() or checking.poll() is not None, 120)  # noqa: B023
        ended = not registry.relay.stuck.is_set()
        checking.kill()
        checking.communicate()
        registry.relay.pass_all()
        assert project.run("check").returncode == 0
        assert registry.aliases() == {"champion": weak, "challenger": strong}
        assert len(registry.entries()) == 2
        passing += 1
    assert passing > 15


def test_a_server_that_hangs_delays_no_rollback(registry: Registry, project: Project) -> None:  # noqa: F811
    """The old champion serves, and it is printed, while the server is still waited for, for registry.timeout."""
    trained(project)
    project.configure(registry={"timeout": "5s"})
    project.run("promote")
    registry.relay.hang_after(0)
    rolling = project.start("rollback")
    assert rolling.stdout is not None
    assert rolling.stdout.readline().startswith("rolled back: ")
    assert rolling.poll() is None, "the registry comes after the work"
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()
    _, complained = rolling.communicate(timeout=60)
    assert rolling.returncode == 0
    assert "did not answer within 5 s" in complained
    assert "did not answer within 5 s" in standing(project)["why"]


def test_the_run_of_the_training_is_what_is_aliased(registry: Registry, project: Project) -> None:  # noqa: F811
    """By the run that it noted: its version where it registered one, else the file in that run; never twice."""
    experiment = registry.call("POST", "experiments/create", name=registry.model)["experiment_id"]
    runs = [registry.call("POST", "runs/create", experiment_id=experiment)["run"]["info"] for _ in range(2)]
    registry.call("POST", "registered-models/create", name=registry.model)
    own = {"name": registry.model, "run_id": runs[0]["run_id"], "source": f"{runs[0]['artifact_uri']}/model"}
    registry.call("POST", "model-versions/create", **own)
    for number, (run, model) in enumerate(zip(runs, ("fair", "strong"), strict=True)):
        note = json.dumps(json.dumps({"mlflow_run_id": run["run_id"]}))
        copy = f"cp {getattr(project.models, model)} $(RETRAIN_CHALLENGER)"
        project.train(copy, f"echo {note} >$(RETRAIN_NOTES)")
        project.run("check", "--force", "--reason", "test")
        version = project.json("status")["challenger"]["version"]
        (entry,) = (each for each in registry.entries() if each["run_id"] == run["run_id"])
        assert registry.tags()[entry["version"]]["retrain.version"] == version
        assert registry.aliases()["challenger"] == version
        assert len(registry.entries()) == 2 + number


def test_a_run_that_is_gone_is_done_without(registry: Registry, project: Project) -> None:  # noqa: F811
    """The version is then registered from its file; so is one whose note is no run at all."""
    for note in ("0" * 32, "a b&c='"):
        text = json.dumps({"mlflow_run_id": note})
        (project.root / "note").write_text(text)
        project.train(f"cp {project.models.strong} $(RETRAIN_CHALLENGER)", "cp note $(RETRAIN_NOTES)")
        project.run("check", "--force", "--reason", "test")
        assert standing(project)["in_step"]
    assert set(registry.aliases()) == {"champion", "challenger"}


def test_no_secret_is_printed_kept_or_sent_as_a_tag(registry: Registry, project: Project) -> None:  # noqa: F811
    """Of the headers and of the URL, also where the server is down or the address another's; the server gets both."""
    address = registry.url
    project.configure(registry={"url": address.replace("http://", "http://user:hidden-passw0rd@")})
    project.environment["TOKEN"] = TOKEN
    said = ""
    for refuses in (False, True):
        registry.relay.refuses = refuses
        for words in (["check", "--force", "--reason", f"with {TOKEN}"], ["status"], ["doctor", "-v"], ["history"]):
            done = project.run(*words)
            said += done.stdout + done.stderr
    said += "".join(text.decode("latin-1") for _, text in project.files().values() if b"registry:" not in text)
    assert "registry" in said
    assert TOKEN not in said
    assert "hidden-passw0rd" not in said
    assert TOKEN not in json.dumps(registry.tags())


def test_doctor_asks_for_the_server_and_the_model(registry: Registry, project: Project) -> None:  # noqa: F811
    """A model that is missing is a warning, a server that does not answer, or is no MLflow, a failure."""

    def found() -> tuple[str, str]:
        (one,) = (each for each in project.json("doctor")["findings"] if each["what"] == "registry")
        return one["verdict"], one["message"]

    assert found()[0] == "warn"
    assert f"has no model {registry.model}" in found()[1]
    project.run("check", "--force", "--reason", "test")
    assert found()[0] == "ok"
    assert found()[1].endswith("with 2 versions: challenger is 2, champion is 1")
    project.configure(registry={"url": f"{registry.url}/nosuch"})
    assert found()[0] == "fail"
    assert "404" in found()[1]
    registry.relay.refuses = True
    assert found()[0] == "fail"
    assert "cannot be reached" in found()[1]


# ---------------------------------------------------------------- models of MLflow


@pytest.fixture
def safe(registry: Registry, project: Project) -> Project:  # noqa: F811
    """A project of skops files that has no champion yet, and trains with the recipe, which logs to the server."""
    names = {"champion": "models/champion.skops", "challenger": "models/challenger.skops"}
    (project.root / CHAMPION).unlink()
    project.link(project.models.training, "data/training.csv")
    project.configure(models=names, training={"data": "data/training.csv"}, promotion={"max_memory": "1GiB"})
    text = str(project.json("recipe", "mlflow")["text"])
    (project.root / "train_mlflow.py").write_text(text)
    project.train(f"{environment(*REQUIRED)}/python train_mlflow.py")
    return project


def test_the_recipe_trains_logs_and_is_promoted_with_the_bytes_of_mlflow(registry: Registry, safe: Project) -> None:
    """The version of the model is of the run of its training; what serves is the file in MLflow's directory."""
    for _ in range(2):  # the directory of the training before is no obstacle
        done = safe.json("check", "--force", "--reason", "first model")
        assert done["run"]["outcome"] in ("succeeded", "nothing_new"), done
    version = safe.json("status")["challenger"]["version"]
    assert safe.json("promote", "--force", "--reason", "first model")["promoted"]
    assert registry.aliases() == {"champion": version}
    tags = registry.tags()
    (entry,) = (each for each in registry.entries() if tags[each["version"]]["retrain.version"] == version)
    assert (
        entry["run_id"]
        == json.loads((safe.root / f"models/versions/{version}.notes.json").read_text())["mlflow_run_id"]
    )
    logged = registry.call("GET", f"logged-models/{entry['source'].removeprefix('models:/')}")["model"]["info"]
    path = logged["artifact_uri"].removeprefix("mlflow-artifacts:/")
    url = f"{registry.address}/api/2.0/mlflow-artifacts/artifacts/{path}/model.skops"
    assert requests.get(url, timeout=60).content == (safe.root / "models/champion.skops").read_bytes()
    assert (safe.root / "models/challenger.skops/MLmodel").is_file()
