"""The application: the page, its files, and the API for the page and for programs.

FastAPI generates the OpenAPI document from signatures; the page is the build of site/.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Response,
)
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unhaze.errors import UnhazeError
from unhaze.validation import nearest
from unhaze.web import entry, openapi, photos, service, videos
from unhaze.web.access import Access, request_id
from unhaze.web.connections import Door
from unhaze.web.desk import Busy, Stopping
from unhaze.web.limits import HEADERS, Guard, TooLarge, TooSlow
from unhaze.web.metrics import Counting, Metrics
from unhaze.web.negotiation import NotAcceptable
from unhaze.web.parameters import one_line
from unhaze.web.responses import EXPOSED
from unhaze.web.settings import Settings
from unhaze.web.static import add_files
from unhaze.web.upload_store import Full
from unhaze.web.uploads import NoRoom
from unhaze.web.work import Clearer, Missing

PAGE = Path(__file__).parent / "site"  # built by `make site`
PAGE_METHODS = {"GET", "HEAD"}
DESCRIPTION = (
    "Clears haze from photos and short videos. A file is sent as the body, as it is, or in a form."
)
# FastAPI exports traces if OTLP variables are set; the service sends no telemetry.
SILENT: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the ASGI application. Its state is in memory and in one private temporary folder."""
    settings = settings or Settings()
    clearer = Clearer(settings)
    door = Door(settings.max_connections, settings.client_connections)
    metrics = Metrics(clearer, door)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with clearer.tidying():
            yield
        await asyncio.to_thread(clearer.close)

    app = FastAPI(
        title="unhaze",
        version=version("unhaze"),
        description=DESCRIPTION,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        telemetry=SILENT,
    )
    app.state.clearer, app.state.door = clearer, door
    app.include_router(entry.router)
    app.include_router(service.router)
    app.include_router(photos.router)
    app.include_router(videos.router)
    openapi.describe(app, with_token=bool(settings.token))
    add_errors(app)

    @app.get("/metrics", include_in_schema=False)
    def show_metrics() -> Response:
        return Response(metrics.text(), media_type=metrics.media_type)

    add_page(app)
    add_middleware(app, settings, metrics, clearer)
    return app


def add_page(app: FastAPI) -> None:
    """Adds the page at /, its files, and a plain description of the API at /docs."""

    @app.get("/", include_in_schema=False)
    def page(request: Request, token: str = "") -> Response:
        return entry.admit(request, token) if token else FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(openapi.page(app.openapi()))

    add_files(app, PAGE)


def add_middleware(app: FastAPI, settings: Settings, metrics: Metrics, clearer: Clearer) -> None:
    """Adds the middleware; the last one added runs first."""
    app.add_middleware(PlainAsJson)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Guard, settings=settings, desk=clearer.desk)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["accept", "authorization", "content-type", "x-request-id"],
            expose_headers=[*EXPOSED, "content-disposition", "retry-after", "x-request-id"],
        )
    app.add_middleware(Counting, metrics=metrics)
    app.add_middleware(Access, form=settings.access_log)


# Exception, its status, and whether the connection is closed.
STATUSES: dict[type[Exception], tuple[int, bool]] = {
    UnhazeError: (422, False),
    NotAcceptable: (406, False),
    Missing: (404, False),
    NoRoom: (507, False),
    TooLarge: (413, True),
    TooSlow: (408, True),
}


def add_errors(app: FastAPI) -> None:
    """Adds handlers that turn exceptions into one JSON line and a status."""
    for kind, (status, ends) in STATUSES.items():
        headers = {"Connection": "close"} if ends else {}
        app.add_exception_handler(kind, partial(_refused, status=status, headers=headers))

    @app.exception_handler(RequestValidationError)
    def wrong_parameters(_: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(422, one_line(error.errors()))

    @app.exception_handler(Busy)
    @app.exception_handler(Full)
    def busy(_: Request, error: Busy | Full) -> JSONResponse:
        return refusal(429, str(error), {"Retry-After": str(error.retry_after)})

    @app.exception_handler(Stopping)
    def stopping(_: Request, error: Stopping) -> JSONResponse:
        return refusal(503, str(error), {"Retry-After": str(error.retry_after)})

    @app.exception_handler(500)
    def fault(request: Request, _: BaseException) -> JSONResponse:
        ident = request_id(request.scope)  # this response does not pass through the middleware
        why = f"a fault of the server; its log says more about request {ident}"
        return refusal(500, why, HEADERS | {"X-Request-ID": ident})

    @app.exception_handler(404)
    @app.exception_handler(405)
    def no_route(request: Request, error: HTTPException) -> JSONResponse:
        return refused_route(app, request, error)

    @app.exception_handler(MemoryError)
    def memory(_: Request, __: MemoryError) -> JSONResponse:
        return refusal(413, "not enough memory for this picture")

    @app.exception_handler(ClientDisconnect)
    def gone(_: Request, __: ClientDisconnect) -> JSONResponse:
        return refusal(400, "the body ended early")


def _refused(_: Request, error: Exception, status: int, headers: dict[str, str]) -> JSONResponse:
    return refusal(status, str(error), headers)


def refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Returns an error response with one line that gives the reason."""
    return JSONResponse({"detail": detail}, status, headers)


def refused_route(app: FastAPI, request: Request, error: HTTPException) -> JSONResponse:
    """Sends unknown paths to the files of the page, none of which is a path of the API."""
    path, methods = request.url.path, methods_of(app, request)
    if path.startswith("/v1/") and not methods:
        paths = (each for each in app.openapi()["paths"] if each.startswith("/v1/"))
        return refusal(404, f"no path '{path}'; {nearest(path, paths)}")
    if error.status_code == 404 and request.method in (methods or PAGE_METHODS):
        return refusal(404, error.detail)
    allowed = ", ".join(sorted(methods or PAGE_METHODS))
    return refusal(405, f"expected one of {allowed}", {"Allow": allowed})


def methods_of(app: FastAPI, request: Request) -> set[str]:
    """Returns the methods of all routes of a path; none if it is a file."""
    found: set[str] = set()
    routers = (entry.router, service.router, photos.router, videos.router)
    for route in (*app.routes, *(each for router in routers for each in router.routes)):
        if not isinstance(route, Mount) and route.matches(request.scope)[0] is not Match.NONE:
            found |= set(getattr(route, "methods", None) or ())
    return found | {"HEAD"} if "GET" in found else found


class PlainAsJson:
    """Middleware that gives errors in plain text, as of Starlette for a wrong `Range`, the form of
    all others."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain: Message | None = None  # the start of an error, until its text is there

        async def send_json(message: Message) -> None:
            nonlocal plain
            if message["type"] == "http.response.start" and message["status"] >= 400:
                kind = dict(message["headers"]).get(b"content-type", b"")
                plain = message if kind.startswith(b"text/plain") else None
            if plain is None:
                await send(message)
            elif message["type"] == "http.response.body":
                detail = message["body"].decode() or "the file has no such range"
                headers = dict(Headers(raw=plain["headers"]))
                del headers["content-type"], headers["content-length"]  # of the text
                await refusal(plain["status"], detail, headers)(scope, receive, send)

        await self.app(scope, receive, send_json)


class HeadAsGet:
    """Middleware that answers HEAD on every path that has GET: as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self.app({**scope, "method": "GET"}, receive, send_head)
        else:
            await self.app(scope, receive, send)
