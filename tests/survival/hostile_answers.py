"""Answers that are whole HTTP, and no F1."""

import gzip
import json
import time
import zlib
from collections.abc import Mapping

from retrain.config.schema import MonitorType
from tests.effects.servers import Respond, page

QUERY = {MonitorType.METRICS: "f1", MonitorType.PROMETHEUS: "f1", MonitorType.JSON: "f1"}
AT_THE_CAP = {"5 MiB of empty lists", "5 MiB of small objects"}
"""What takes the most memory for its size."""
_CAP = 5 * 1024**2
_LOGIN = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>f1 0.1</body></html>\n"


def body(kind: MonitorType, value: str) -> str:
    """A sound answer of this kind with this number as F1, or whatever is written in its place."""
    if kind is MonitorType.METRICS:
        return f"# TYPE f1 gauge\nf1 {value}\n"
    if kind is MonitorType.JSON:
        return f'{{"f1": {value}}}'
    return vector([{"metric": {"__name__": "f1"}, "value": [time.time(), value]}])


def vector(result: object) -> str:
    """An answer of the Prometheus HTTP API with this result."""
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def answers(kind: MonitorType) -> Mapping[str, Respond]:
    """A server for every answer, by name."""
    whole = {
        **{f"value {value}": page(body(kind, value)) for value in _values(kind)},
        **{name: page(said) for name, said in _texts(kind).items()},
        **{f"status {status}": page(body(kind, "0.1"), status) for status in _STATUSES},
        **_packed(body(kind, "0.1").encode()),
        "login page": page(_LOGIN, content_type="text/html"),
        "many titles": page("<html>" + "<title>" * 9000, "503 Busy", content_type="text/html"),
        "long wait": page("busy", "503 Busy", retry_after="86400"),
        "a picture": page(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, content_type="image/png"),
    }
    return {name: (lambda _, answer=answer: answer) for name, answer in whole.items()}  # type: ignore[misc]


_STATUSES = (
    "300 Multiple Choices",
    "302 Found",
    "304 Not Modified",
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "407 Proxy Authentication Required",
    "418 I'm a teapot",
    "429 Too Many Requests",
    "500 Internal Server Error",
    "503 Service Unavailable",
    "999 Nonsense",
)


def _values(kind: MonitorType) -> tuple[str, ...]:
    """What stands where F1 should."""
    common = ("NaN", "1.8e308", "-1.8e308", "-0.1", "1.5", "1e400", "9" * 5000, "-1e-320")
    if kind is MonitorType.JSON:
        other = ('"0.1"', '"low"', '""', "true", "false", "null", "[]", "[0.1]", "[0.1, 0.2]", "{}", '{"value": 0.1}')
        return (*common, "Infinity", "-Infinity", *other, '"\\ud800"', '"\\u001b[2J"', "")
    return (*common, "+Inf", "-Inf", "low", "", "true", "null", "0x1p-3", "0,1", "0.1.2", "1_0e-2")


def _texts(kind: MonitorType) -> dict[str, bytes | str]:
    """Whole bodies."""
    low = body(kind, "0.1")
    texts: dict[str, bytes | str] = {
        "empty": b"",
        "blanks": b" \r\n\t" * 1000,
        "cut off": low.rstrip()[:-1],
        "invalid UTF-8": low.encode() + b"\xff\n",
        "UTF-16": low.encode("utf-16"),
        "UTF-16 without a mark": low.encode("utf-16-le"),
        "EBCDIC": low.encode("cp500"),
        "zeros": bytes(100_000),
        "no line end": "f1" * 1_000_000,
        "deep": "[" * 1_000_000,
        "deep objects": '{"f1":' * 200_000,
        "5 MiB of digits": '{"f1": ' + "9" * (_CAP - 20) + "}",
        "5 MiB of empty lists": "[" + "[]," * (_CAP // 3 - 2) + "[]]",
        "5 MiB of small objects": "[" + '{"f":1},' * (_CAP // 8 - 2) + "{}]",
        "5 MiB of lines": "f1 0.1\n" * (_CAP // 7),
        "5 MiB of names": "".join(f"a{n} 1\n" for n in range(_CAP // 12)),
        "long lines": (f'f1{{a="{chr(92) * 2 * 32000}"}} 0.1\n') * 80,
        "more than the cap": low + " " * _CAP,
        "XML": '<?xml version="1.0"?><f1>0.1</f1>',
        "SQL error": "ERROR 1045 (28000): Access denied for user 'f1'@'0.1'\n",
    }
    if kind is not MonitorType.JSON:
        texts["JSON of somebody else"] = '{"f1": 0.1}'
    if kind is not MonitorType.METRICS:
        texts["metrics"] = "f1 0.1\n"
    if kind is MonitorType.METRICS:
        texts |= {
            "two series": 'f1{a="1"} 0.1\nf1{a="2"} 0.1\n',
            "the same series twice": "f1 0.1\nf1 0.1\n",
            "a label without an end": 'f1{a="1} 0.1\n',
            "another name": "f2 0.1\n",
            "NUL": "f1\0 0.1\n",
        }
    if kind is MonitorType.PROMETHEUS:
        one = {"metric": {}, "value": [time.time(), "0.1"]}
        texts |= {
            "two series": vector([one, one]),
            "no series": vector([]),
            "a number": vector([{"metric": {}, "value": [time.time(), 0.1]}]),
            "three parts": vector([{"metric": {}, "value": [time.time(), "0.1", "0.1"]}]),
            "a list of values": vector([{"metric": {}, "values": [[time.time(), "0.1"]]}]),
            "an error": '{"status": "error", "errorType": "timeout", "error": "query timed out"}',
            "a result that is none": vector(None),
            "labels that are none": vector([{"metric": "f1", "value": [time.time(), "0.1"]}]),
        }
    return texts


def _packed(low: bytes) -> dict[str, list[bytes]]:
    """Bodies that unpack to too much, or to nothing."""
    big = 200_000_000
    bomb = gzip.compress(bytes(big), 9)
    again = gzip.compress(bomb, 9)
    deflated = zlib.compress(bytes(big), 9)
    raw = zlib.compressobj(9, wbits=-15)
    bare = raw.compress(bytes(big)) + raw.flush()
    layers = low
    for _ in range(12):
        layers = gzip.compress(layers)
    return {
        "gzip bomb": page(bomb, content_encoding="gzip"),
        "gzip bomb in an error": page(bomb, "500 Oops", content_encoding="gzip"),
        "gzip bomb in gzip": page(again, content_encoding="gzip, gzip"),
        "gzip bomb in another name": page(bomb, content_encoding="x-gzip"),
        "many small bombs": page(gzip.compress(bytes(1_000_000), 9) * 200, content_encoding="gzip"),
        "deflate bomb": page(deflated, content_encoding="deflate"),
        "deflate bomb without a head": page(bare, content_encoding="deflate"),
        "deflate bomb in gzip": page(gzip.compress(deflated, 9), content_encoding="deflate, gzip"),
        "twelve layers of gzip": page(layers, content_encoding=", ".join(["gzip"] * 12)),
        "gzip that is none": page(low, content_encoding="gzip"),
        "gzip that is cut off": page(gzip.compress(low)[:-16], content_encoding="gzip"),
        "gzip that is not told": page(gzip.compress(low)),
        "brotli that is none": page(b"\xff" * 100, content_encoding="br"),
        "zstd that is none": page(b"\x28\xb5\x2f\xfd" + bytes(100), content_encoding="zstd"),
    }
