"""Servers that repeat what they were sent, secrets and all, in every place of an answer."""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from urllib.parse import unquote

from tests.effects.servers import Request, Respond, page


def repeated(request: Request) -> str:
    """All that the request said, as it came and in other forms, on one line without blanks."""
    basic = [value for value in request.headers.values() if "Basic " in value]
    spelt = [b64decode(value.rpartition(" ")[2]).decode("utf-8", "replace") for value in basic]
    plain = [request.path, unquote(request.path), *request.headers.values(), *spelt]
    tokens = [word for text in plain for word in text.replace("=", " ").split()]
    coded = [b64encode(text.encode()).decode() for text in [*plain, *tokens]]
    return "|".join(" ".join([*plain, *tokens, *coded, *map(json.dumps, plain), *map(repr, plain)]).split())


def echoes(kind: str) -> Mapping[str, Respond]:
    """Servers that repeat what they were sent, by the place that they repeat it in."""

    def body(request: Request) -> list[bytes]:
        return page(repeated(request))

    def error(request: Request) -> list[bytes]:
        return page(json.dumps({"error": repeated(request)[:30_000]}), "400 Bad Request")

    def title(request: Request) -> list[bytes]:
        return page(f"<html><title>{repeated(request)}</title>", "500 Oops")

    def reason(request: Request) -> list[bytes]:
        return [f"HTTP/1.1 403 {repeated(request)[:20_000]}\r\nContent-Length: 0\r\n\r\n".encode("latin-1", "replace")]

    def redirect(request: Request) -> list[bytes]:
        return page("", "302 Found", location=f"file:///{request.path}/{repeated(request)[:20_000]}")

    def no_http(request: Request) -> list[bytes]:
        return [repeated(request)[:20_000].encode(), b"\r\n\r\n"]

    def value(request: Request) -> list[bytes]:
        said = repeated(request)[:20_000]
        if kind == "metrics":
            return page(f"f1_{''.join(filter(str.isalnum, said))[:5000]} 0.1\nf1 {said}\n")
        if kind == "json":
            return page(json.dumps({"f1": said}))
        return page(json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [time.time(), said]}}))

    def labels(request: Request) -> list[bytes]:
        said = repeated(request)[:20_000]
        if kind == "metrics":
            escaped = said.replace("\\", "\\\\").replace('"', '\\"')
            return page(f'f1{{a="{escaped}"}} 0.1\n')
        if kind == "json":
            return page(json.dumps({"f1": 0.1, "w": said}))
        series = {"metric": {"a": said}, "value": [time.time(), "0.1"]}
        return page(json.dumps({"status": "success", "data": {"resultType": "vector", "result": [series]}}))

    every = (body, error, title, reason, redirect, no_http, value, labels)
    return {respond.__name__: respond for respond in every}
