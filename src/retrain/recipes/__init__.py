"""`retrain recipe`: files for other systems, each filled in with the name and the paths of this project.

A recipe is one file beside this one, named NAME.FORMAT (NAME.py.txt for Python, which would be a module otherwise), of
which the first line is its title (of JSON, which has no comments, its `description`). It takes a fact as @FACT@, and as
@FACT:FORM@ written so that it can stand where it is put.
"""

import json
import math
import os
import pwd
import re
import shlex
import sys
import sysconfig
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from retrain.config.schema import Config, HoldoutKind
from retrain.context import Context
from retrain.effects import http
from retrain.errors import ConfigError, Report

_FACT = re.compile(r"@([a-z]+)(?::([a-z]+))?@")
_RECIPES = Path(__file__).parent
FORMS: Mapping[str, Callable[[str], str]] = {
    "": str,
    "cron": lambda text: shlex.quote(text).replace("%", r"\%"),  # for which cron would begin a new line
    "shell": shlex.quote,
    "file": lambda text: re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.") or "retrain",
    "json": lambda text: json.dumps(text, ensure_ascii=False),  # also of YAML, Python, PromQL and Alertmanager
    "inner": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "dns": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower())[:30].strip("-") or "project",  # also of an image
    "unit": lambda text: text.replace("%", "%%"),  # a value of a systemd unit; its program, and a word after that
    "program": lambda text: json.dumps(text, ensure_ascii=False).replace("%", "%%"),
    "word": lambda text: json.dumps(text, ensure_ascii=False).replace("%", "%%").replace("$", "$$"),
}
"""How a fact is written in a place, by the name of its form."""


def listed() -> Report:
    """The report of all recipes, with their titles."""
    titles = {name: _title(file) for name, file in _files().items()}
    return Report("\n".join(f"{name:<14}{title}" for name, title in titles.items()), {"recipes": titles})


def recipe(context: Context, name: str) -> Report:
    """The report of one, filled in. Raises ConfigError for an unknown name, or a path that nothing can quote."""
    files = _files()
    if name not in files:
        raise ConfigError(f"there is no recipe {name!r}; the recipes are {', '.join(files)}")
    text = filled(files[name].read_text(encoding="utf-8"), facts(context))
    return Report(text.rstrip("\n"), {"recipe": name, "text": text}, paged=True)


def filled(template: str, facts: Mapping[str, str]) -> str:
    """The text of a recipe with these facts in it."""
    return _FACT.sub(lambda found: FORMS[found[2] or ""](facts[found[1]]), template)


def facts(context: Context) -> dict[str, str]:
    """What a recipe can be filled in with."""
    config, called = context.config, Path(os.path.abspath(sys.argv[0]))  # noqa: PTH100  (a link in PATH stays one)
    is_called = called.name == "retrain" and called.is_file()
    home = Path("/srv", FORMS["dns"](config.name))
    kept = {"state": config.state, "models": config.models.champion.parent, "data": config.monitor.log.parent}
    found = {name: _inside(path, context.file.parent, home) for name, path in kept.items()}
    paths = {
        "config": str(context.file),
        "directory": str(context.file.parent),
        "champion": str(config.models.champion),
        "python": sys.executable,
        "retrain": str(called if is_called else Path(sysconfig.get_path("scripts"), "retrain")),
    }
    for path in paths.values():
        if not path.isprintable():
            raise ConfigError(f"{path!r} has characters that no crontab and no unit can hold; rename it")
    longest = config.training.timeout + config.promotion.timeout
    is_live = config.promotion.holdout is HoldoutKind.LIVE  # then it waits for rows first
    patience = config.triggers.challenger_ttl if is_live else timedelta(days=1)
    found |= {
        "home": str(home),
        "file": context.file.name,
        "version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "grace": str(config.training.grace // timedelta(seconds=1) + 30),
        "name": config.name,
        "group": f"retrain {config.name}",
        "promotions": f"retrain {config.name}: promotions",
        "scripts": os.path.dirname(paths["retrain"]),  # noqa: PTH120
        "user": _user(),
        "unpromoted": str(config.triggers.max_unpromoted),
        "minutes": str(longest // timedelta(minutes=1) + 10),
        "limit": str(math.ceil(config.training.timeout.total_seconds())),
        "longest": f"{longest // timedelta(seconds=1)}s",
        "patience": f"{patience // timedelta(seconds=1)}s",
        "repeat": f"{max(1, config.notifications.repeat_after // timedelta(seconds=1))}s",
    }
    return dict(**paths, **found, **_of_monitor(config), **_of_mlflow(context))  # TypeError for one name of two facts


def _inside(path: Path, directory: Path, home: Path) -> str:
    """Where a path of the project in this directory is in a container; outside of the project, it is the same."""
    return str(home / path.relative_to(directory) if path.is_relative_to(directory) else path)


def _of_mlflow(context: Context) -> dict[str, str]:
    """What a training script is filled in with."""
    config, registry = context.config, context.config.registry
    return {
        "target": config.promotion.target,
        "learned": str(config.training.data or context.file.parent / "data/training.csv"),
        "model": registry.model if registry is not None else config.name,
        "registry": http.shown(registry.url) if registry is not None else "http://127.0.0.1:5000",
    }


def _of_monitor(config: Config) -> dict[str, str]:
    """Where the predictions are logged, the names of its columns, and the positive label; the last two as Python."""
    monitor = config.monitor
    return {
        "listen": monitor.listen,
        "log": str(monitor.log),
        "reference": str(monitor.reference or monitor.log.with_name("reference.csv")),
        "timestamp": monitor.timestamp,
        "prediction": monitor.prediction,
        "label": monitor.label,
        "score": monitor.score or "score",
        "features": repr(list(monitor.features)) if monitor.features else "None",
        "positive": repr(config.promotion.positive),
    }


def _user() -> str:
    """Who runs this, for a unit: the name, or the number of one without."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _files() -> dict[str, Path]:
    """Every recipe by its name."""
    found = (file for file in sorted(_RECIPES.iterdir()) if file.suffix not in (".py", "") and file.is_file())
    return {file.name.partition(".")[0]: file for file in found}


def _title(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return str(json.loads(text)["description"]) if file.suffix == ".json" else text.partition("\n")[0].lstrip("# ")
