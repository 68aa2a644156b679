"""Routes for programs: one picture in, one picture out; models; health."""

from dataclasses import dataclass
from threading import Event
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from unhaze.restore.models import list_models
from unhaze.restore.priors import PRIORS
from unhaze.web import parameters
from unhaze.web.negotiation import wanted_formats
from unhaze.web.parameters import controls_of, known_parameters, output_of
from unhaze.web.responses import ANY, CHOICE, UPLOAD, body, content, facts_of, media_type
from unhaze.web.tasks import Order
from unhaze.web.work import Clearer, client_of

router = APIRouter(tags=["service"], dependencies=[Depends(known_parameters)])


@dataclass(frozen=True)
class Health:
    """The server is alive; its load."""

    status: str
    places_taken: int
    places: int


@dataclass(frozen=True)
class Readiness:
    """ready, stopping, or no room (on disk for one more upload and its result)."""

    status: str


@dataclass(frozen=True)
class ModelEntry:
    """A model that `model` may name."""

    name: str
    purpose: str
    parameters: int


@dataclass(frozen=True)
class Limits:
    """Limits of an upload; bytes_kept: of all files of one client."""

    bytes: int
    pixels: int
    frames: int
    seconds_kept: float
    bytes_kept: int


@dataclass(frozen=True)
class Models:
    """The models and the limits of this server."""

    models: list[ModelEntry]
    limits: Limits


@router.get("/healthz")
async def health(request: Request) -> Health:
    """Returns whether the server is alive; /readyz returns whether it can take more requests."""
    desk = request.app.state.clearer.desk
    return Health(status="ok", places_taken=desk.taken, places=desk.places)


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not now."}})
async def ready(request: Request, response: Response) -> Readiness:
    """Returns whether to send more requests: not during shutdown, or without room on disk."""
    status = request.app.state.clearer.readiness()
    response.status_code = 200 if status == "ready" else 503
    return Readiness(status)


@router.get("/v1/models", responses=ANY)
async def models(request: Request) -> Models:
    """Returns the models of this server and its limits."""
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
    responses=content("image/*", facts=True) | UPLOAD | CHOICE,
    openapi_extra=body(parameters.Dehaze),
)
async def dehaze(request: Request, query: Annotated[parameters.Dehaze, Query()]) -> Response:
    """Takes one image as the body or in a form and returns it without haze, in the same format
    unless `format` or `Accept` select another (PNG if that format cannot be written), with its
    metadata and bit depth.
    """
    clearer: Clearer = request.app.state.clearer
    wanted = wanted_formats(request.headers.get("accept", ""))
    with clearer.desk.place(client_of(request)):
        async with clearer.received(request, query, "request") as (item, given, model):
            order = Order(given.strength, output_of(given), wanted, controls_of(given))

            def clear(stop: Event) -> None:
                clearer.clear(item, model, given.analysis, order, stop)

            await clearer.work(clear, item, request)
            item.state = "done"
    return FileResponse(
        item.folder / f"result{item.suffix}",
        media_type=media_type(item.suffix),
        filename=item.result_name,
        headers=facts_of(item, item.seconds, item.notes),
        background=BackgroundTask(clearer.uploads.remove, item.id),
    )
