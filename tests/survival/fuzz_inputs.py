"""Random answers and random configurations: real ones that were damaged, near ones, and noise."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from retrain.config.schema import MonitorType
from tests.survival.hostile_answers import vector

ROOT = Path(__file__).parents[2]
SAMPLES = [path.read_bytes() for path in sorted((ROOT / "tests/effects/samples").iterdir())]
_SAMPLE = yaml.safe_load((ROOT / "config.yaml").read_text())
DOCUMENTS = [
    {"triggers": _SAMPLE["triggers"], **{name: _SAMPLE[name] for name in names.split()}}
    for names in (
        "monitoring",
        "monitoring training state",
        "models promotion",
        "notifications monitor",
        "monitoring models",
    )
]
"""Parts of the annotated sample; the whole takes too long to read."""
NOW = 1795363200.0
"""2026-11-22 16:00 UTC in epoch seconds."""


def _words(text: str) -> list[str]:
    return text.split()


_NUMBERS = _words(
    "0 -0 0.1 0.85 0.2 0.8499999999999999 0.20000000000000004 1 1.0000000000000002 -1 1e-320 5e-324 -5e-324 1.8e308"
    " 1e308 1e309 -1e309 NaN nan Inf +Inf -Inf Infinity 1e15 9007199254740993 0x10 0b1 1_0 1e 1e+ .5 5. . + - ++1"
    " 1,5 00.1 0.1.1 1795363200 1795363200 1795363200000 -62135596800 253402300800 true null None [] {} [0.1]"
    ' "" "0.1"'
)
_SIGNS = _words(
    "f1 drift at samples window { } [ ] , : \" ' \\ # status success data result resultType vector scalar matrix string"
    " metric value values __name__ histogram <html> HTTP/1.1 le= _total _sum"
)
_CONTROLS = ["\n", "\r\n", "\t", "\0", "\x1b[2J", "\u2028", "\ufeff", "\ud800"]
_NUMBER = st.one_of(
    st.sampled_from(_NUMBERS),
    st.floats().map(repr),
    st.floats(0, 1).map(repr),
    st.integers(-(10**20), 10**20).map(str),
)


def damaged(sound: SearchStrategy[bytes], words: list[bytes]) -> SearchStrategy[bytes]:
    """These bytes with a few pieces of them deleted, doubled, moved, overwritten, or replaced by words."""

    def damage(whole: bytes, seed: int, hits: int) -> bytes:
        dice, made = Random(seed), bytearray(whole)
        for _ in range(hits):
            start = dice.randint(0, len(made))
            end = min(len(made), start + int(dice.expovariate(0.1)))
            piece, other = bytes(made[start:end]), dice.randint(0, len(made))
            act = dice.randint(0, 6)
            if act == 0:
                del made[start:end]
            elif act == 1:
                made[start:start] = piece
            elif act == 2:
                made[other:other] = piece
            elif act == 3 and start < len(made):
                made[start] = dice.randint(0, 255)
            elif act == 4:
                del made[start:]
            else:
                made[start:end] = dice.choice(words)
        return bytes(made)

    return st.builds(damage, sound, st.integers(0, 2**32), st.integers(1, 5))


def _raw(words: list[str]) -> list[bytes]:
    return [word.encode("utf-8", "surrogatepass") for word in words]


# ---------------------------------------------------------------- answers


def answers(kind: MonitorType) -> SearchStrategy[bytes]:
    """Bodies for this type of endpoint."""
    near = {MonitorType.METRICS: _exposition(), MonitorType.JSON: _document(), MonitorType.PROMETHEUS: _api()}[kind]
    sound = near.map(lambda text: text.encode("utf-8", "surrogatepass"))
    broken = damaged(st.sampled_from(SAMPLES) | sound, _raw([*_NUMBERS, *_SIGNS, *_CONTROLS]))
    noise = st.binary(max_size=200) | st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(_sound(kind), sound, sound, broken, broken, noise)


def _sound(kind: MonitorType) -> SearchStrategy[bytes]:
    """Answers with a number for each signal."""

    def said(f1: float, drift: float) -> bytes:
        if kind is MonitorType.PROMETHEUS:
            return vector([{"metric": {"a": "b"}, "value": [NOW, repr(f1)]}]).encode()
        text = f"f1 {f1}\ndrift {drift}\nat {NOW}\n"
        return (json.dumps({"f1": f1, "drift": drift, "at": NOW}) if kind is MonitorType.JSON else text).encode()

    return st.builds(said, st.floats(0, 1), st.floats(0, 1) | st.floats(0))


def _exposition() -> SearchStrategy[str]:
    text = st.text(max_size=8).map(lambda text: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
    label = st.builds('{}="{}"'.format, st.sampled_from(["a", "job", "__name__", "le", ""]), text)
    labels = st.just("") | st.lists(label, max_size=3).map(lambda each: f"{{{','.join(each)}}}")
    name = st.sampled_from(["f1", "f1", "drift", "drift", "at", "f1_total", "f2", "", "f1\u00a0"])
    line = st.builds("{}{} {}{}\n".format, name, labels, _NUMBER, st.sampled_from(["", "", " 1795363200000", " x"]))
    comment = st.sampled_from(["# TYPE f1 counter\n", "# HELP f1 \n", "#\n", "\n", "# EOF\n", "# TYPE f1 gauge\r\n"])
    return st.lists(line | comment, max_size=6).map("".join)


def _values(extra: SearchStrategy[Any]) -> SearchStrategy[Any]:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.floats(0, 1) | st.text(max_size=5) | extra
    keys = st.sampled_from(["f1", "drift", "at", "value", "metric", "result"]) | st.text(max_size=3)
    return st.recursive(
        plain, lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=3), max_leaves=6
    )


def _document() -> SearchStrategy[str]:
    """Objects with the names that are asked for, their numbers as someone may write them."""
    written = _NUMBER | _values(st.nothing()).map(json.dumps)
    pair = st.builds('"{}": {}'.format, st.sampled_from(["f1", "drift", "at", "at", "x"]), written)
    return st.lists(pair, max_size=5).map(lambda pairs: f"{{{', '.join(pairs)}}}") | written


def _api() -> SearchStrategy[str]:
    """Answers of the HTTP API, and what is near them."""
    value = st.tuples(st.just(NOW) | st.floats(), _NUMBER).map(list) | _values(_NUMBER)
    metric = st.dictionaries(st.sampled_from(["__name__", "job", "a"]), st.text(max_size=5), max_size=2)
    item = st.fixed_dictionaries({"metric": metric | _values(st.nothing()), "value": value}) | _values(st.nothing())
    result = st.lists(item, min_size=1, max_size=1) | st.lists(item, max_size=3) | value
    kinds = st.sampled_from(["vector", "vector", "scalar", "matrix", "string", 1])
    data = st.fixed_dictionaries({"resultType": kinds, "result": result})
    whole = st.fixed_dictionaries({"status": st.sampled_from(["success", "success", "error"]), "data": data})
    return st.builds(vector, result) | whole.map(json.dumps) | _values(st.nothing()).map(json.dumps)


# ---------------------------------------------------------------- configurations

_SCALARS = _words(
    "~ null true no 0 -1 1e400 .nan .inf 0x7fffffffffffffff 1_000 2026-01-01 2026-13-45 1h 0s 99999999d 5MiB 0B f1"
    " ${A} ${A:-x} ${UNSET} ${ ${} \\${A} ${A${A}} http://h/ http://user:word@h:99999/ file:///x file://x ftp://h [] {}"
    " [[]] {a:} *a &a !!binary !!python/object/apply:os.getcwd !!int !!float !!set !!timestamp | > - ? : , # % @ `"
    ' ../../x ~nobody/x a.csv f1 max( f1{a="b"} (((( <<:'
)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def configurations() -> SearchStrategy[bytes]:
    """Files that may be taken for a configuration."""
    whole = st.sampled_from([yaml.safe_dump(document, sort_keys=False).encode() for document in DOCUMENTS])
    broken = damaged(whole, _raw([*_SCALARS, *_CONTROLS, "\n", "\n  ", ": ", "\nmonitoring:\n", "\ntriggers: "]))
    noise = st.binary(max_size=100) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(broken, broken, _changed(), _changed(), noise)


def _changed() -> SearchStrategy[bytes]:
    """The sample with a few keys deleted, misspelt, moved or given another value, which may nest."""
    scalar = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.binary(max_size=4),
        st.dates(),
        st.sampled_from([*_SCALARS, *_CONTROLS[:-1]]),
    )
    value = st.recursive(
        scalar, lambda below: st.lists(below, max_size=3) | st.dictionaries(scalar, below, max_size=3), max_leaves=8
    )
    deep = st.integers(1, 40).map(_nested)

    def change(seed: int, values: list[Any]) -> bytes:
        dice = Random(seed)
        document: dict[Any, Any] = deepcopy(dice.choice(DOCUMENTS))
        for new in values:
            place = document if dice.random() < 0.2 else dice.choice([document, *filter(None, document.values())])
            if not isinstance(place, dict) or not place:
                continue
            key = dice.choice(list(place))
            _CHANGES[dice.randint(0, len(_CHANGES) - 1)](place, key, new)
        return yaml.dump(document, Dumper=_DUMPER, allow_unicode=True).encode("utf-8", "surrogatepass")

    return st.builds(change, st.integers(0, 2**32), st.lists(value | deep, min_size=1, max_size=4))


_CHANGES: tuple[Callable[[dict[Any, Any], Any, Any], object], ...] = (
    lambda place, key, _: place.pop(key),
    lambda place, key, new: place.update({key: new}),
    lambda place, key, new: place.update({key: new}),
    lambda place, key, _: place.update({f"{key}s": place.pop(key)}),
    lambda place, key, _: place.update({key: str(place[key])}),
    lambda place, key, _: place.update({key: {key: place[key]}}),
)


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else "f1"
