"""Limits of every request: size, time, token; and the headers of every response."""

import asyncio
import time
from collections import Counter

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unhaze.web import entry
from unhaze.web.desk import Desk, Stopping
from unhaze.web.settings import Settings
from unhaze.web.work import BrokenOff, client_of

# The page needs its own files, its API and images created in the browser; nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"
    " img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self';"
    " manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",  # allows threads for networks in the browser
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
OPEN = ("/healthz", "/readyz")  # for load balancers, without the token
RETRY_SECONDS = {429: "1", 503: str(Stopping().retry_after)}
REST_SECONDS = 2.0  # for reading the rest of a body after its refusal


class TooLarge(Exception):
    """More bytes were sent, or announced, than allowed."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the body is over the limit of {most:,} bytes")


class TooSlow(Exception):
    """The bytes were not sent in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not come within {seconds:g} seconds")


class Guard:
    """ASGI middleware that checks token and announced size, sets headers, and counts the body.

    With a token, every request except those of `OPEN` needs `Authorization: Bearer TOKEN`, or the
    cookie that a browser gets from the form or from `/?token=TOKEN`. `TooLarge` and `TooSlow` are
    raised where the body is read.
    """

    def __init__(self, app: ASGIApp, settings: Settings, desk: Desk) -> None:
        self.app, self.settings, self.desk = app, settings, desk
        self.open: Counter[str] = Counter()  # requests in progress, by client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        body = Body(receive, self.settings.max_bytes, self.settings.body_seconds)
        send = in_time(with_headers(body.unread(send)), self.settings.body_seconds)
        refusal = self.refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            await body.finish()
            return
        client = client_of(request)
        self.open[client] += 1
        try:
            await self.app(scope, body, send)
        except (TooSlow, BrokenOff):  # The connection ends before the response is complete.
            return
        finally:
            self.open[client] -= 1
            self.open += Counter()  # removes entries of zero
            await body.finish()

    def refusal(self, request: Request) -> Response | None:
        """Returns the response to a refused request, whose connection is then closed; None: it may
        pass.
        """
        status, why = 0, ""
        announced = request.headers.get("content-length", "0")
        most = self.settings.max_requests
        own = self.open[client_of(request)]
        if not self.is_known_host(request):
            status, why = 400, "this server is not called so; ask for it as 127.0.0.1 or localhost"
        elif request.url.path in OPEN:
            return None
        elif self.desk.stopping:
            status, why = 503, str(Stopping())
        elif self.open.total() >= most or own >= max(1, most // 4):
            status, why = 429, "too many requests at a time; try again in 1 second"
        elif self.settings.token and not self.may_enter(request):
            if entry.is_browser(request):
                return entry.form(request)
            status, why = 401, "a token is needed: Authorization: Bearer TOKEN"
        elif self.is_foreign(request):
            status, why = 403, "pages of other sites may not use this server; see --origin"
        elif not announced.isdecimal():
            status, why = 400, "the Content-Length is not a number"
        elif int(announced[:20]) > self.settings.max_bytes:
            status, why = 413, str(TooLarge(self.settings.max_bytes))
        if not status:
            return None
        headers = {"Connection": "close"}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if status in RETRY_SECONDS:
            headers["Retry-After"] = RETRY_SECONDS[status]
        return JSONResponse({"detail": why}, status, headers)

    def is_known_host(self, request: Request) -> bool:
        """Checks the host name; a site whose name resolves to this computer could otherwise use the
        API.
        """
        name = request.headers.get("host", "").lower()
        name = name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
        return not self.settings.hosts or name in self.settings.hosts

    def may_enter(self, request: Request) -> bool:
        """Returns whether the request has the token, or is the form that submits it."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = [bearer.strip()] if scheme.lower() == "bearer" else []
        given.append(request.cookies.get(entry.COOKIE, ""))
        if request.url.path == "/":
            given.append(request.query_params.get("token", ""))
        asks = request.url.path == entry.ENTRY and request.method == "POST"
        return asks or any(entry.same(each, self.settings.token) for each in given)

    def is_foreign(self, request: Request) -> bool:
        """Returns whether a browser reports that a page of another site sent the request.

        That page could not read the response, but the request would use processor time.
        """
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return False
        from_elsewhere = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
        allowed = {"*", request.headers.get("origin", "")} & {*self.settings.origins}
        return from_elsewhere and not allowed


class Body:
    """`receive` of ASGI that counts bytes and seconds until the body is complete."""

    def __init__(self, receive: Receive, max_bytes: int, seconds: float) -> None:
        self.receive, self.max_bytes, self.left = receive, max_bytes, max_bytes
        self.seconds, self.deadline = seconds, time.monotonic() + seconds
        self.complete = False
        self.rest: asyncio.Future[None] | None = None

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()
        try:
            async with asyncio.timeout(max(0.0, self.deadline - time.monotonic())):
                message = await self.receive()
        except TimeoutError as error:
            raise TooSlow(self.seconds) from error
        if message["type"] == "http.request":
            self.left -= len(message.get("body", b""))
            if self.left < 0:
                raise TooLarge(self.max_bytes)
            self.complete = not message.get("more_body", False)
        return message

    def unread(self, send: Send) -> Send:
        """`send` of ASGI that reads and discards the rest of the body once a response begins.

        The server would otherwise keep it and never stop waiting to deliver it.
        """

        async def send_and_read(message: Message) -> None:
            if message["type"] == "http.response.start" and not self.complete:
                self.rest = asyncio.ensure_future(self.forget())
            await send(message)

        return send_and_read

    async def forget(self) -> None:
        """Reads until the connection ends."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def finish(self) -> None:
        """Waits until the body is read, for a limited time."""
        if self.rest is not None:
            await asyncio.wait({self.rest}, timeout=REST_SECONDS)
            self.rest.cancel()


def in_time(send: Send, seconds: float) -> Send:
    """`send` of ASGI that raises TooSlow if the client does not accept a part in time."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError as error:
            raise TooSlow(seconds) from error

    return send_in_time


def with_headers(send: Send) -> Send:
    """`send` of ASGI that adds `HEADERS` to every response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {key.lower() for key, _ in message["headers"]}
            added = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
            message["headers"] = [
                *message["headers"],
                *(each for each in added if each[0] not in present),
            ]
        await send(message)

    return send_with_headers
