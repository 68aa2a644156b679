"""What every request must keep to: size, time, token; and the headers of every answer."""

import asyncio
import hmac
import time

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unhaze.web.settings import Settings

# The page needs its own files, its API and pictures made in the browser; nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
OPEN = "/healthz"  # what a load balancer may ask without the token
COOKIE = "unhaze"


class TooLarge(Exception):
    """More bytes came, or were announced, than allowed."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the body is over the limit of {most:,} bytes")


class TooSlow(Exception):
    """The bytes did not come in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not come within {seconds:g} seconds")


class Guard:
    """ASGI middleware: the token, the announced size, the headers; the body is counted as it comes.

    With a token every request but /healthz needs `Authorization: Bearer TOKEN`, or the cookie that
    the page gets by `/?token=TOKEN`. `TooLarge` and `TooSlow` are raised where the body is read.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self.refusal(Request(scope))
        if refusal is not None:
            await refusal(scope, receive, with_headers(send))
            return
        body = Body(receive, self.settings.max_bytes, self.settings.body_seconds)
        await self.app(scope, body, with_headers(send))

    def refusal(self, request: Request) -> JSONResponse | None:
        """The answer to a request that is not let in; the connection is not used again."""
        status, why = 0, ""
        announced = request.headers.get("content-length", "0")
        if self.settings.token and request.url.path != OPEN and not self.may_enter(request):
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
        return JSONResponse({"detail": why}, status, headers)

    def may_enter(self, request: Request) -> bool:
        """Whether the request carries the token; compared in constant time."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = [bearer.strip()] if scheme.lower() == "bearer" else []
        given.append(request.cookies.get(COOKIE, ""))
        if request.url.path == "/":
            given.append(request.query_params.get("token", ""))
        token = self.settings.token.encode()
        return any(hmac.compare_digest(each.encode(), token) for each in given)

    def is_foreign(self, request: Request) -> bool:
        """Whether a browser says that another site's page sends this: it could at least cost time,
        as a page may send, though not read, what it likes.
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


def with_headers(send: Send) -> Send:
    """`send` of ASGI that adds `HEADERS` to those of the answer."""

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
