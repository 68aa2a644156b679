"""What services use: one picture in, one picture out; which models there are; is all well."""

import html
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from unhaze.restore.models import list_models
from unhaze.restore.priors import PRIORS
from unhaze.web.answers import BODY, UNKNOWN, UPLOAD, content, known_parameters, media_type
from unhaze.web.work import Clearer, client_of

router = APIRouter(tags=["service"], dependencies=[Depends(known_parameters)])

Strength = Annotated[float, Query(ge=0, le=1, description="0 changes nothing, 1 clears fully.")]
ModelName = Annotated[str, Query(max_length=64, description="One of /v1/models, or auto.")]
Analysis = Annotated[
    int, Query(ge=64, le=2048, description="Long side in pixels of the picture the model sees.")
]
FileName = Annotated[
    str, Query(max_length=255, description="Name of the upload: the result is called after it.")
]


@dataclass(frozen=True)
class Health:
    """The server answers, and says how busy it is."""

    status: str
    places_taken: int
    places: int


@dataclass(frozen=True)
class ModelEntry:
    """A model that `model` may name."""

    name: str
    purpose: str
    parameters: int


@dataclass(frozen=True)
class Limits:
    """What an upload may be; bytes_kept: of all that one client has here."""

    bytes: int
    pixels: int
    frames: int
    seconds_kept: float
    bytes_kept: int


@dataclass(frozen=True)
class Models:
    """The models, and the limits of this server."""

    models: list[ModelEntry]
    limits: Limits


@router.get("/healthz")
async def health(request: Request) -> Health:
    """Whether the server answers."""
    desk = request.app.state.clearer.desk
    return Health(status="ok", places_taken=desk.taken, places=desk.places)


@router.get("/v1/models", responses={401: UNKNOWN[401]})
async def models(request: Request) -> Models:
    """The models that come with this server, and its limits."""
    settings = request.app.state.clearer.settings
    entries = [
        ModelEntry(name=card.name, purpose=card.purpose, parameters=card.params)
        for card in list_models()
    ]
    entries += [
        ModelEntry(name=name, purpose=f"{prior.title}; without training", parameters=0)
        for name, prior in PRIORS.items()
    ]
    if settings.models:
        entries = [each for each in entries if each.name in settings.models]
    limits = Limits(
        bytes=settings.max_bytes,
        pixels=settings.max_pixels,
        frames=settings.max_frames,
        seconds_kept=settings.kept_seconds,
        bytes_kept=settings.bytes_of_one,
    )
    return Models(models=entries, limits=limits)


@router.post(
    "/v1/dehaze",
    response_class=Response,
    responses=content("image/*") | UPLOAD,
    openapi_extra=BODY,
)
async def dehaze(
    request: Request,
    strength: Strength = 1.0,
    model: ModelName = "auto",
    analysis: Analysis = 1024,
    name: FileName = "photo",
) -> Response:
    """One image as the body; the answer is the same image without its haze, in the same format
    (PNG where that format cannot be written), with its metadata and bit depth.
    """
    clearer: Clearer = request.app.state.clearer
    client = client_of(request)
    with clearer.desk.place(client), ExitStack() as undo:
        chosen = clearer.settings.chosen(model, analysis)
        item = clearer.shelf.new(name, "request", client)
        undo.callback(clearer.shelf.remove, item.id)
        await clearer.receive(request, item)

        def clear(stop: Event) -> None:
            clearer.clear(item, chosen, analysis, strength, stop)

        await clearer.work(clear, item, request)
        item.state = "done"
        undo.pop_all()
    return FileResponse(
        item.folder / f"result{item.suffix}",
        media_type=media_type(item.suffix),
        filename=item.result_name,
        background=BackgroundTask(clearer.shelf.remove, item.id),
    )


def docs_page(document: dict[str, Any]) -> str:
    """The OpenAPI document as a plain page; it needs no script and no other server."""
    rows = []
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            parameters = ", ".join(each["name"] for each in about.get("parameters", []))
            call = html.escape(f"{method.upper()} {path}")
            given = f"<p>Parameters: {html.escape(parameters)}</p>" if parameters else ""
            text = html.escape(about.get("description", about.get("summary", "")))
            rows.append(f"<dt><code>{call}</code></dt><dd><p>{text}</p>{given}</dd>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>unhaze: HTTP API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="icon.svg">'
        '<link rel="stylesheet" href="style.css"><main class="prose"><h1>HTTP API</h1>'
        f"<p>{html.escape(document['info']['description'])} The whole document:"
        f' <a href="openapi.json">openapi.json</a>. <a href="./">Back to the page</a></p>'
        f"<dl>{''.join(rows)}</dl></main></html>"
    )
