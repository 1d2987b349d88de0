"""An MLflow registry by its REST API: what it says of a model, and the steps that change that.

See https://mlflow.org/docs/latest/api_reference/rest-api.html. Each request can be made again: a kill between two
of them leaves nothing that the next look does not find.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from retrain.config.schema import Monitoring, Registry
from retrain.core.mirror import VERSION, Create, Found, Point, Register, Registered, Step, Tag, Wanted, entry_of, steps
from retrain.core.records import Unknown
from retrain.core.text import one_line, short
from retrain.effects import http
from retrain.effects.files import opened

_API, _ARTIFACTS = "api/2.0/mlflow/", "api/2.0/mlflow-artifacts/artifacts/"
_PROXIED = "mlflow-artifacts"
"""The scheme of artifacts that the server takes and gives itself."""
_PAGE = 200
_LOOKS = 4
"""A model is created and registered, aliased, and seen in step; more than these looks means that another changes it."""
_NOT_FOUND = 404
_FOREIGN = "answered what is not MLflow's JSON (check registry.url)"


class _FailedError(Exception):
    """The registry does not do what was asked: why, as what is said of it."""


def follow(asked: Registry, wanted: Sequence[Wanted], file_of: Callable[[str], Path]) -> str:
    """Let the registry say what is wanted, where it does not; return why it does not, empty where it is in step.

    `file_of` gives the file of a version that has to be registered.
    """

    def work(api: _Api) -> None:
        for _ in range(_LOOKS):
            if not (todo := steps(wanted, api.look(wanted))):
                return
            for step in todo:
                api.do(step, file_of)
        raise _FailedError("is changed by others all the time, so that it is not in step")

    return _asked(asked, work)


def look(asked: Registry) -> Found | str:
    """What the registry says of the model; else why it cannot be asked."""
    found: list[Found] = []
    return _asked(asked, lambda api: found.append(api.look(()))) or found[0]


def _asked(asked: Registry, work: Callable[["_Api"], None]) -> str:
    """Why the work on this registry has failed, within its time; empty where it has not."""
    # Another attempt could register a version twice: the next command looks first.
    settings = Monitoring(
        asked.url,
        timeout=asked.timeout,
        retries=0,
        headers={**asked.headers, "Content-Type": "application/json"},
        ca_file=asked.ca_file,
    )
    ended: list[str] = []

    def run(client: http.Client) -> None:
        try:
            work(_Api(asked, client))
            ended.append("")
        except _FailedError as error:
            ended.append(str(error))
        except OSError as error:
            ended.append(f"was not given {error.filename}: {error.strerror}")
        except (LookupError, TypeError, AttributeError, ValueError):  # an answer of other fields
            ended.append(_FOREIGN)

    http.exchange(settings, run)
    return ended[0] if ended else http.late(settings).why


class _Api:
    """The calls of the registry's API. They raise _FailedError."""

    def __init__(self, asked: Registry, client: http.Client) -> None:
        self._name, self._client, self._base = asked.model, client, asked.url.rstrip("/") + "/"
        self._named = f"name = '{asked.model}'"

    def look(self, wanted: Sequence[Wanted]) -> Found:
        """What the registry says of the model, with all entries of the wanted versions."""
        (model, *_) = self._call("GET", "registered-models/search", filter=self._named).get("registered_models", [None])
        if model is None:
            return Found(known=False, aliases={}, entries=())
        aliases = {each["alias"]: str(each["version"]) for each in model.get("aliases", ())}
        entries: list[Registered] = []
        for page in self._pages("model-versions/search", order_by="version_number DESC"):
            entries += map(_registered, page.get("model_versions", ()))
            if all(entry_of(each, entries) for each in wanted if each.alias):  # a page has more than are kept
                break
        return Found(known=True, aliases=aliases, entries=tuple(entries))

    def do(self, step: Step, file_of: Callable[[str], Path]) -> None:
        """Do this step."""
        match step:
            case Create():
                self._call("POST", "registered-models/create", name=self._name)
            case Point(alias, None):
                self._call("DELETE", "registered-models/alias", name=self._name, alias=alias)
            case Point(alias, number):
                self._call("POST", "registered-models/alias", name=self._name, alias=alias, version=number)
            case Tag(number, key, value):
                self._call("POST", "model-versions/set-tag", name=self._name, version=number, key=key, value=value)
            case Register(wanted):
                self._register(wanted, file_of(wanted.version))

    def _register(self, wanted: Wanted, file: Path) -> None:
        """Register the model that the training has logged; else the file, which the run is given.

        A server without a proxy of artifacts takes no file: the entry then says where it is.
        """
        run = self._run_of_training(wanted.run) or self._own_run(wanted.version)
        number, place, about = run["info"]["run_id"], run["info"]["artifact_uri"].rstrip("/"), {}
        logged = [each["model_id"] for each in run.get("outputs", {}).get("model_outputs", ())]
        if number == wanted.run and len(logged) == 1:
            source, about = f"models:/{logged[0]}", {"model_id": logged[0]}
        else:
            source = f"{place}/retrain-{short(wanted.version)}"
            if urlsplit(place).scheme == _PROXIED:
                for each in [file] if file.is_file() else filter(Path.is_file, sorted(file.rglob("*"))):
                    self._upload(each, f"{source}/{each.relative_to(file.parent)}")
            else:
                about = {"description": f"The file is {file}: this server takes no artifacts."}
        given = [{"key": key, "value": value} for key, value in wanted.tags.items() if value]
        self._call("POST", "model-versions/create", name=self._name, source=source, run_id=number, tags=given, **about)

    def _run_of_training(self, number: str) -> dict[str, Any] | None:
        """The run with this number; None where there is none."""
        found = self._call("GET", "runs/get", run_id=number, absent={}) if number else {}
        return found.get("run")

    def _own_run(self, version: str) -> dict[str, Any]:
        """The run that this version is logged in by us, in the experiment with the name of the model."""
        named = self._call("GET", "experiments/get-by-name", experiment_name=self._name, absent={})
        experiment = named.get("experiment") or self._call("POST", "experiments/create", name=self._name)
        place, is_ours = experiment["experiment_id"], f"tags.`{VERSION}` = '{version}'"
        known = self._call("POST", "runs/search", experiment_ids=[place], filter=is_ours, max_results=1).get("runs")
        if known:  # a crash came before it was registered
            return dict(known[0])
        tags = [{"key": VERSION, "value": version}]
        now, name = int(time() * 1000), f"retrain {short(version)}"
        begun = self._call("POST", "runs/create", experiment_id=place, start_time=now, run_name=name, tags=tags)["run"]
        self._call("POST", "runs/update", run_id=begun["info"]["run_id"], status="FINISHED", end_time=now)
        return dict(begun)

    def _upload(self, file: Path, place: str) -> None:
        """Give the server this file as an artifact."""
        with opened(file) as content:
            path = quote(urlsplit(place).path.lstrip("/"))
            self._answer(self._client.get(f"{self._base}{_ARTIFACTS}{path}", content, "PUT"))

    def _pages(self, path: str, **fields: Any) -> Iterator[Mapping[str, Any]]:
        """The pages of a search for what belongs to the model."""
        token = ""
        while True:
            fields |= {"page_token": token} if token else {}
            page = self._call("GET", path, filter=self._named, max_results=_PAGE, **fields)
            yield page
            if not (token := page.get("next_page_token", "")):
                return

    def _call(self, method: str, path: str, *, absent: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """What this call answers; `absent` where it names what is not there."""
        url = f"{self._base}{_API}{path}"
        if method == "GET":
            answer = self._client.get(f"{url}?{urlencode(fields)}")
        else:
            answer = self._client.get(url, msgspec.json.encode(fields), method)
        if absent is not None and isinstance(answer, Unknown) and self._client.status == _NOT_FOUND:
            return absent
        try:
            found: dict[str, Any] = msgspec.json.decode(self._answer(answer), type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _FailedError(_FOREIGN) from error
        return found

    @staticmethod
    def _answer(answer: bytes | Unknown) -> bytes:
        if isinstance(answer, Unknown):
            raise _FailedError(one_line(answer.why))
        return answer


def _registered(entry: Mapping[str, Any]) -> Registered:
    tags = {each["key"]: each.get("value", "") for each in entry.get("tags", ())}
    return Registered(str(entry["version"]), entry.get("run_id", ""), tags)
