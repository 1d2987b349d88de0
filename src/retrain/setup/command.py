"""`retrain config check`, `config show` and `config schema`."""

import json
import os
from pathlib import Path

from retrain.config.load import load, unset
from retrain.errors import Report
from retrain.output import Output
from retrain.setup.described import schema
from retrain.setup.shown import as_yaml, keys


def check(file: Path) -> Report:
    """Say that the file is valid. Raises ConfigError, exit code 2, that lists every problem."""
    missing = unset(file, os.environ)
    more = f"; not set here: {', '.join(missing)}" if missing else ""
    return Report(f"{file} is valid{more}", {"message": f"{file} is valid{more}", "unset": missing})


def show(file: Path, output: Output) -> Report:
    """Print every key as it is in force, with a mark at each default. Secrets become `***`."""
    config, output.secrets = load(file, os.environ)
    found = list(keys(config, file.absolute().parent))
    values = {
        ".".join(each.path): {"value": output.secrets.scrub(each.text), "default": each.is_default}
        for each in found
        if each.text is not None
    }
    return Report(as_yaml(found), {"keys": values}, on_stdout=True)


def describe() -> Report:
    """Print the JSON schema of the file."""
    return Report(json.dumps(schema(), indent=2, ensure_ascii=False), schema(), on_stdout=True)
