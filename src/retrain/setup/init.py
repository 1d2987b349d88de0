"""`retrain init`: a configuration of only the keys that are needed, and the steps after it."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

from retrain.config.schema import Monitoring
from retrain.core.records import Unknown
from retrain.effects import http
from retrain.effects.monitoring import prometheus_api
from retrain.errors import ConfigError, Report, RetrainError, UnreachableError, file_errors

_SERIES = "/api/v1/label/__name__/values"
_LIKELY = {"f1": r"(?i)(^|[_:])f1($|[_:])", "drift": r"(?i)drift|psi($|[_:])|wasserstein|jensen"}
"""What the names of series with a signal have in them."""
_MOST = 20
_COLUMNS = {
    "timestamp": r"(?i)timestamp|time|ts|date|datetime|at|created_at|predicted_at|event_time",
    "prediction": r"(?i)prediction|predicted|pred|y_pred|yhat|y_hat|predicted_(class|label)",
    "label": r"(?i)label|target|y|y_true|truth|ground_truth|actual|class|outcome",
    "score": r"(?i)score|probability|proba|prob|y_score|y_proba",
}
"""The usual names of the columns of a prediction log."""
_OWN = {
    "f1": "model_f1_score",
    "drift": "model_drift_psi",
    "observed_at": "{f1: model_labelled_window_end_timestamp_seconds, drift: model_window_end_timestamp_seconds}",
    "samples": "model_labelled_samples",
}
"""The series of `retrain monitor`."""


class Asked(NamedTuple):
    """The flags of the command."""

    directory: Path
    log: Path | None
    prometheus: str | None
    f1: str | None
    drift: str | None
    performance_threshold: float
    drift_threshold: float


def init(file: Path, asked: Asked) -> Report:
    """Write the configuration unless there is one; the report has the steps that remain.

    Raises RetrainError where it cannot be written, or the log or the server does not say what is needed.
    """
    path = asked.directory / file
    if asked.prometheus is None and (asked.f1 or asked.drift):
        raise ConfigError("--f1 and --drift are queries of a Prometheus server: they need --from-prometheus URL")
    if os.path.lexists(path):
        lines = [f"{path} exists, and stays as it is"]
    else:
        queries = _of_server(asked.prometheus, asked) if asked.prometheus is not None else _OWN
        columns = _of_log(asked.log) if asked.log is not None and asked.prometheus is None else {}
        text = "\n".join(_content(asked, queries, columns))
        with file_errors(path):
            asked.directory.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as written:
                written.write(f"{text}\n")
        unsure = [key for key in ("timestamp", "prediction", "label") if columns and key not in columns]
        lines = [f"{path} written" + "".join(f"; no column is known as monitor.{key}: set it" for key in unsure)]
    lines += _steps(path, asked)
    return Report("\n".join(lines), {"message": lines[0], "file": str(path), "steps": lines[1:]})


def _of_server(url: str, asked: Asked) -> Mapping[str, str]:
    """The queries of both signals: those asked for, or the only series of a likely name.

    Raises RetrainError with the candidates where that leaves F1 open.
    """
    names = _names(url)
    likely = {key: [name for name in names if re.search(pattern, name)] for key, pattern in _LIKELY.items()}
    chosen = {key: getattr(asked, key) or (found[0] if len(found) == 1 else None) for key, found in likely.items()}
    if chosen["f1"] is None:
        listed = "; ".join(f"{key}: {', '.join(found[:_MOST]) or 'none'}" for key, found in likely.items())
        why = f"{url} has {len(names)} series, and not exactly one that is named like F1. Candidates: {listed}"
        raise RetrainError(why, "choose with --f1 QUERY and --drift QUERY")
    return {key: query for key, query in chosen.items() if query is not None}


def _names(url: str) -> Sequence[str]:
    """The names of all series. Raises UnreachableError, and ConfigError for a URL with a password."""
    if urlsplit(url).username is not None:
        raise ConfigError("--from-prometheus takes a URL without a password", "add monitoring.headers afterwards")
    answers: list[bytes | Unknown] = []
    asked = Monitoring(url)
    place = prometheus_api.endpoint(url, _SERIES)
    http.exchange(asked, lambda client: answers.append(client.get(place)))
    answer = answers[0] if answers else http.late(asked)
    if isinstance(answer, Unknown):
        raise UnreachableError(f"{http.shown(place)} {answer.why}", answer.remedy)
    try:
        return [str(name) for name in json.loads(answer)["data"]]
    except (ValueError, LookupError, TypeError) as error:
        raise UnreachableError(f"{http.shown(place)} does not answer as a Prometheus server") from error


def _of_log(log: Path) -> Mapping[str, str]:
    """The columns of the log by the keys of `monitor`, as far as their names are usual ones."""
    from retrain.tables import FileError
    from retrain.tables.read import columns

    try:
        names = columns(str(log), {})
    except FileError as error:
        raise RetrainError(f"the log {log} {error}") from error
    found = {}
    for key, pattern in _COLUMNS.items():
        usual = [name for name in names if re.fullmatch(pattern, name)]
        if key in names or len(usual) == 1:
            found[key] = key if key in names else usual[0]
    return found


def _content(asked: Asked, queries: Mapping[str, str], columns: Mapping[str, str]) -> Iterator[str]:
    """The lines of the file."""
    yield "# Every key, with its default and what is in force: retrain config show."
    yield "triggers:"
    yield f"  performance_threshold: {asked.performance_threshold:g}     # train when F1 is below this"
    if "drift" in queries:
        yield f"  drift_threshold: {asked.drift_threshold:g}            # train when drift is above this"
    if asked.prometheus is None:
        yield "  max_age: {f1: 30d, drift: 3d}   # older metrics are stale; F1 waits for labels, which come late"
    yield "monitoring:"
    if asked.prometheus is not None:
        yield "  type: prometheus"
    yield f"  url: {_quoted(asked.prometheus or 'http://127.0.0.1:9109/metrics')}"
    for key, query in queries.items():
        yield f"  {key}: {query if query.startswith('{') else _quoted(query)}"
    if "observed_at" not in queries:
        yield "  # observed_at: QUERY            # the end of the window, if the answer does not say it"
    yield "promotion:"
    yield "  holdout: fresh                  # the newest labelled rows of monitor.log, left out of each training"
    if columns.get("label", "label") != "label":
        yield f"  target: {_quoted(columns['label'])}"
    yield "monitor:                          # the log of predictions, and of labels once they are known"
    yield f"  log: {_quoted(_below(asked.directory, asked.log) if asked.log is not None else 'data/predictions.csv')}"
    for key, column in columns.items():
        if key != column or key == "score":
            yield f"  {key}: {_quoted(column)}"


def _below(directory: Path, file: Path) -> str:
    """The path of the file as a configuration in this directory has it."""
    base, whole = directory.absolute(), file.absolute()
    return str(whole.relative_to(base) if whole.is_relative_to(base) else whole)


def _quoted(text: str) -> str:
    """The text as one value of YAML."""
    plain = text.replace("${", "\\${")
    return yaml.safe_dump(plain, default_flow_style=True, width=10**9, allow_unicode=True).removesuffix("...\n").strip()


def _steps(path: Path, asked: Asked) -> Iterator[str]:
    """What remains to be done, as lines to copy."""
    command = shlex.join([str(Path(sys.argv[0]).absolute()), "check", "-c", str(path.absolute())])
    makefile = path.parent / "Makefile"
    if not (makefile.is_file() and re.search(r"(?m)^train-model\s*:", makefile.read_text(errors="replace"))):
        yield "\nadd to the Makefile, with the command of your training:"
        yield "train-model:"
        yield "\tpython train.py    # learns from $RETRAIN_TRAINING, writes the model to $RETRAIN_CHALLENGER"
    flag = "" if path == Path("config.yaml") else f" -c {shlex.quote(str(path))}"
    yield "\nthen type:"
    if asked.prometheus is None:
        yield f"retrain monitor{flag} &"
    yield f'retrain check{flag} --force --reason "first model"'
    yield f"retrain promote{flag}"
    yield f"retrain check{flag} -v"
    yield f"\n`retrain doctor{flag}` tests the set-up at any time, and says what comes next"
    yield "\nand add to `crontab -e` (retrain recipe cron has more):"
    yield f"*/5 * * * * {command}".replace("%", r"\%")
