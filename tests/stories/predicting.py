"""A command for `promotion.predict`: a linear model in JSON, alone or in a directory, which may also misbehave.

A copy of this file lies in the project's directory as `predict.py`. It needs nothing of retrain.
"""

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

CHILD = "import os, time; print(os.getpid(), file=open('child', 'w')); time.sleep(600)"


def main() -> None:
    """Write a label a line; after all rows were read, or batch by batch where the model says so."""
    path = Path(os.environ["RETRAIN_MODEL"])
    model = json.loads((path / "weights.json" if path.is_dir() else path).read_text())
    if "seen" in model:
        seen(path, model["seen"])
    if "does" in model:
        misbehave(model["does"])
    stream = pa.ipc.open_stream(sys.stdin.buffer)
    for batch in stream if model.get("streams") else [stream.read_all()]:
        for a, b, c in zip(*(batch[name].to_pylist() for name in "abc"), strict=True):
            label = int(a + max(-model["reach"], min(model["reach"], b * c)) > 0)
            print(model.get("names", [0, 1])[label])


def seen(path: Path, where: str) -> None:
    """Record what this command is given, and end."""
    table = pa.ipc.open_stream(sys.stdin.buffer).read_all()
    rows = {"schema": {field.name: str(field.type) for field in table.schema}, "first": table.slice(0, 1).to_pylist()}
    said = {"model": str(path), "directory": str(Path.cwd()), "environment": dict(os.environ), "rows": len(table)}
    Path(where).write_text(json.dumps(rows | said))
    print("1\n" * len(table), end="")
    sys.exit()


def misbehave(does: str) -> None:
    """Do what a command must not do; some end here."""
    match does:
        case "hangs":
            time.sleep(600)
        case "hangs in silence":
            os.close(1)
            time.sleep(600)
        case "prints for ever":
            for number in itertools.count():
                print(number % 2)
        case "prints one line for ever":
            while True:
                sys.stdout.write("1" * 65536)
        case "fails":
            sys.exit("first line\nno such model: 17")
        case "aborts":
            os.kill(os.getpid(), signal.SIGABRT)
        case "takes memory":
            print(len([bytes(1 << 20) for _ in range(1 << 14)]))
        case "leaves a child":
            import subprocess

            subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.DEVNULL)
            until_there("child")
        case _:
            rows = len(pa.ipc.open_stream(sys.stdin.buffer).read_all())
            sys.stdout.buffer.write(WRITES[does](rows).encode(errors="surrogateescape"))
            sys.exit()


def until_there(name: str) -> None:
    """Wait until the file has content."""
    while not (Path(name).exists() and Path(name).read_text()):
        time.sleep(0.01)


WRITES: dict[str, Callable[[int], str]] = {
    "too few": lambda rows: "1\n" * (rows - 1),
    "too many": lambda rows: "1\n" * (rows + 1),
    "nothing": lambda rows: "",
    "an empty line": lambda rows: "\n" + "1\n" * (rows - 1),
    "NaN": lambda rows: "NaN\n" + "1\n" * (rows - 1),
    "lists": lambda rows: "[1]\n" * rows,
    "scores": lambda rows: "".join(f"{number / rows}\n" for number in range(rows)),
    "bytes": lambda rows: "\udcff\n" * rows,
    "other labels": lambda rows: "yes\n" * rows,
}

if __name__ == "__main__":
    main()
