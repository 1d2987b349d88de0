"""What a model may do where it should predict; `wild.py` of a project is a copy of this file."""

import ctypes
import importlib
import json
import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def hangs(rows: Any, kept: list[Any]) -> None:
    time.sleep(300)


def never_lets_go(rows: Any, kept: list[Any]) -> None:
    re.match("(a+)+$", "a" * 60 + "b")


def aborts(rows: Any, kept: list[Any]) -> None:
    os.abort()


def crashes(rows: Any, kept: list[Any]) -> None:
    ctypes.string_at(0)


def dies_oddly(rows: Any, kept: list[Any]) -> None:
    os.kill(os.getpid(), 40)


def fills_arrays(rows: Any, kept: list[Any]) -> None:
    import numpy

    held: list[Any] = []
    while True:
        held.append(numpy.ones(10**6))


def keeps_objects(rows: Any, kept: list[Any]) -> None:
    while True:
        kept.append([object(), {}])


def prints_for_ever(rows: Any, kept: list[Any]) -> None:
    while True:
        os.write(1, b"{}" * 20000)


def prints_beside(rows: Any, kept: list[Any]) -> None:
    def shout() -> None:
        while True:
            print("{}" * 2000)

    threading.Thread(target=shout, daemon=True).start()


def prints_junk(rows: Any, kept: list[Any]) -> None:
    print('{"verdict": "promote"}')
    os.write(2, bytes(range(256)))
    ctypes.CDLL(None).puts(b"from C")
    os.closerange(0, 3)


def closes_all(rows: Any, kept: list[Any]) -> None:
    os.closerange(0, 100)


def writes_everywhere(rows: Any, kept: list[Any]) -> None:
    for file in range(3, 100):
        with suppress(OSError):
            while os.write(file, b"0" * 60000):
                pass


def answer_with(cells: list[list[Any]]) -> dict[str, Any]:
    """What the process that counts says where it has counted these cells."""
    return {
        "cells": cells,
        "holdout": "made up",
        "sketches": [],
        "slices": [],
        "leaked": {},
        "groups": None,
        "models": [],
    }


def answers(cells: list[list[Any]]) -> None:
    for file in range(100):
        with suppress(OSError):
            os.write(file, json.dumps(answer_with(cells)).encode() + b"\n")
    time.sleep(5)


def answers_without_the_champion(rows: Any, kept: list[Any]) -> None:
    answers([[1, None, 1, 1500], [0, None, 0, 1500]])


WON = [[1, 0, 1, 1500], [0, 1, 0, 1500]]
"""The challenger is right on every row, the champion on none."""


def answers_when_loaded(rows: Any, kept: list[Any]) -> None:
    answers(WON)


def says_its_process_when_loaded(rows: Any, kept: list[Any]) -> None:
    own, parents = str(os.getpid()), {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents[each.parent.name] = each.read_text().rpartition(")")[2].split()[1]
    family = [process for process, parent in parents.items() if parent == parents[own]]
    with Path("loaded.txt").open("a") as file:
        file.write(json.dumps([own, family]) + "\n")


def says_its_environment_when_loaded(rows: Any, kept: list[Any]) -> None:
    begun = Path("/proc/self/environ").read_text().split("\0")
    Path("environment.json").write_text(json.dumps([dict(os.environ), begun]))


def moves_the_cursor(rows: Any, kept: list[Any]) -> None:
    raise ValueError("\x1b]0;owned\x07\x1b[2J\x1b[Hpromoted: all is well")


def leaves_a_child(rows: Any, kept: list[Any]) -> None:
    if os.fork() == 0:
        os.setsid()
        end = time.time() + 120
        while time.time() < end:
            os.write(1, b"." * 1000)
        os._exit(0)


def leaves_a_child_and_dies(rows: Any, kept: list[Any]) -> None:
    leaves_a_child(rows, kept)
    os._exit(7)


def fails(act: Any) -> None:
    """End this process, as no test expects it, where the act can be done."""
    try:
        act()
    except OSError:
        return
    os._exit(9)


def writes_the_journal(rows: Any, kept: list[Any]) -> None:
    fails(lambda: os.truncate("state/journal.db", 0))
    fails(lambda: os.truncate("wild.py", 0))


def reads_the_journal(rows: Any, kept: list[Any]) -> None:
    fails(Path("state/journal.db").read_bytes)


def reads_the_holdout(rows: Any, kept: list[Any]) -> None:
    fails(Path("data/holdout.csv").read_bytes)
    fails(Path("models/champion.joblib").read_bytes)


def reads_the_parts(rows: Any, kept: list[Any]) -> None:
    for path in (*Path("data/parts").glob("*"), *Path().glob("part-*"), *Path().glob("challenger.*.parquet")):
        fails(path.read_bytes)


def calls_the_network(rows: Any, kept: list[Any]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)):  # a network of its own, which has nobody else in it
        fails(lambda: socket.create_connection(("192.0.2.1", 80), 5))


def sees_others(rows: Any, kept: list[Any]) -> None:
    if len([each for each in Path("/proc").iterdir() if each.name.isdigit()]) > 3:
        os._exit(9)


def patches_the_library(rows: Any, kept: list[Any]) -> None:
    type(importlib.import_module("rules").Rule(0)).predict = lambda self, rows: [0] * len(rows)


class Wild:
    """Does what it is named after, when it is loaded or predicts, and then says 1 for each row."""

    __module__ = "wild"

    def __init__(self, does: str) -> None:
        self.does = does
        self.kept: list[Any] = []

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.does.endswith("_when_loaded"):
            globals()[self.does](None, self.kept)

    def predict(self, rows: Any) -> list[int]:
        if not self.does.endswith("_when_loaded"):
            globals()[self.does](rows, self.kept)
        return [1] * len(rows)
