"""Access log: one line per request, with the id by which it can be found."""

import json
import logging
import re
import sys
import time
import uuid
from typing import TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("unhaze.access")
HEADER = "x-request-id"
GIVEN = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")  # other characters could forge log lines
FORMS = ("text", "json", "off")
PROBES = ("/healthz", "/readyz", "/metrics")  # requested all the time: only failures are logged


class Access:
    """ASGI middleware that keeps the X-Request-ID of a request, or generates one.

    The id is in the response and in the log line; `request_id` returns it to routes. Lines contain
    no query string, which may hold a token or the name of a photo.
    """

    def __init__(self, app: ASGIApp, form: str) -> None:
        self.app, self.form = app, form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for key, value in scope["headers"] if key == HEADER.encode()), b"")
        ident = given if GIVEN.fullmatch(given) else uuid.uuid4().hex.encode()
        scope["unhaze.request_id"] = ident.decode()
        started, status, size = time.perf_counter(), 500, 0

        async def send_and_note(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER.encode(), ident)]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self.note(scope, status, size, time.perf_counter() - started)

    def note(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        """Writes the log line of one request."""
        path = scope.get("raw_path", scope["path"].encode()).decode("ascii", "backslashreplace")
        path = path.partition("?")[0]
        if self.form == "off" or (path in PROBES and status < 400):
            return
        facts = {
            "client": (scope.get("client") or ("-",))[0],
            "method": scope["method"],
            "path": path,
            "status": status,
            "bytes": size,
            "seconds": round(seconds, 3),
            "id": scope["unhaze.request_id"],
        }
        if self.form == "json":
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            log.info("%s", json.dumps({"time": moment} | facts))
        else:
            moment = time.strftime("%Y-%m-%d %H:%M:%S")
            log.info("%s %s", moment, " ".join(str(each) for each in facts.values()))


def request_id(scope: Scope) -> str:
    """Returns the id of the current request."""
    return scope.get("unhaze.request_id", "")


def log_to(stream: TextIO = sys.stderr) -> None:
    """Sends log lines to `stream`, unformatted."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
