"""Models that do one thing, right or wrong; a child process imports this module to load them."""

import ctypes
import fcntl
import os
import re
import socket
import sys
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd


class Says:
    """Answers every request with the same value, once a row."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def predict(self, rows: pd.DataFrame) -> list[Any]:
        return [self.value] * len(rows)


class Returns:
    """Answers every request with this very object."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, rows: pd.DataFrame) -> Any:
        return self.answer


class Sign:
    """1 where column `a` is positive. Remembers nothing of the columns it was fitted on."""

    def predict(self, rows: pd.DataFrame) -> Any:
        return (rows["a"] > 0).to_numpy().reshape(-1, 1)


class Vandal:
    """Right like Sign, but spoils the rows it was given."""

    def predict(self, rows: pd.DataFrame) -> Any:
        answer = (rows["a"] > 0).to_numpy()
        rows["a"] = 0.0
        return answer


class Named:
    """Says it was fitted on these names, or has a method that does, and predicts the values of one column."""

    def __init__(self, names: Any, column: str) -> None:
        self.feature_names_in_ = names
        self.column = column

    def predict(self, rows: pd.DataFrame) -> Any:
        return rows[self.column].to_numpy()


class Ratio:
    """A wrapper of one's own, which gives the model within a column that it has made; it has any attribute or fails."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __getattr__(self, name: str) -> Any:
        if name == "booster_":
            raise KeyError(name)
        raise AttributeError(name)

    def predict(self, rows: Any) -> Any:
        return self.estimator.predict(rows.assign(ratio=rows["a"] / rows["b"])[["ratio"]])


class Raises:
    """Raises the error; where there is a `first` one, while that is handled."""

    def __init__(self, error: BaseException, first: BaseException | None = None) -> None:
        self.error = error
        self.first = first

    def predict(self, rows: pd.DataFrame) -> None:
        try:
            if self.first is not None:
                raise self.first
        finally:
            raise self.error


class Tires:
    """Right for no row of its first request, and `ends` at the second as another model does."""

    def __init__(self, ends: Any) -> None:
        self.ends, self.requests = ends, 0

    def predict(self, rows: pd.DataFrame) -> Any:
        self.requests += 1
        return [0] * len(rows) if self.requests == 1 else self.ends.predict(rows)


class Mute:
    """Closes the files of its process that one can only write to, but for its output; a process it forks keeps them."""

    def predict(self, rows: pd.DataFrame) -> list[int]:
        if os.fork() == 0:
            time.sleep(600)
        for file in range(3, 100):
            with suppress(OSError):
                if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                    os.close(file)
        return [0] * len(rows)


class RaisesOnLoading:
    def __setstate__(self, state: Any) -> None:
        sys.exit("licence expired")

    def __getstate__(self) -> dict[str, int]:
        return {"state": 1}


class Prints(Says):
    """Prints from Python and past Python."""

    def predict(self, rows: pd.DataFrame) -> list[Any]:
        print('{"cells": [], "holdout": "forged"}', flush=True)
        os.write(1, b"raw on 1\n")
        os.write(2, b"raw on 2\n")
        return super().predict(rows)


class Lists:
    """Writes which files its process has open into a file, and is right for no row."""

    def __init__(self, into: str) -> None:
        self.into = into

    def predict(self, rows: pd.DataFrame) -> list[int]:
        with open(self.into, "w") as file:  # noqa: PTH123
            numbers = [name for name in os.listdir("/proc/self/fd") if int(name) != file.fileno()]  # noqa: PTH208
            links = [f"/proc/self/fd/{name}" for name in numbers]
            print(*(os.readlink(each) for each in links if os.path.islink(each)), file=file)  # noqa: PTH114, PTH115
        return [0] * len(rows)


class Draws(Lists):
    """Writes a number drawn by numpy's own generator into a file, and is right for no row."""

    def predict(self, rows: pd.DataFrame) -> list[int]:
        with open(self.into, "w") as file:  # noqa: PTH123
            print(np.random.random(), file=file)
        return [0] * len(rows)


class Exits:
    def predict(self, rows: pd.DataFrame) -> None:
        print("giving\x1b[31m up", file=sys.stderr, flush=True)
        os._exit(7)


class Segfaults:
    def predict(self, rows: pd.DataFrame) -> None:
        ctypes.string_at(0)


class Sleeps:
    def predict(self, rows: pd.DataFrame) -> None:
        time.sleep(120)


class Calls:
    """Connects to a port and keeps the line open as long as its process lives; the second request never ends."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.line: socket.socket | None = None

    def predict(self, rows: pd.DataFrame) -> list[int]:
        if self.line is not None:
            self.line.recv(1)
        self.line = socket.create_connection(("127.0.0.1", self.port))
        return [1] * len(rows)


class Keeps(Calls):
    """Calls like that, and then keeps the interpreter to itself for longer than any test."""

    def predict(self, rows: pd.DataFrame) -> list[int]:
        super().predict(rows)
        re.match("(a+)+$", "a" * 60 + "b")
        return [1] * len(rows)


class Fills:
    """Takes memory without end, as bytes or numbers."""

    def __init__(self, what: str) -> None:
        self.what = what

    def predict(self, rows: pd.DataFrame) -> None:
        held: list[Any] = []
        while True:
            match self.what:
                case "bytes":
                    held.append(bytes(10**5))
                case _:
                    held.append(len(held))
