"""Photo routes of the page: upload once, preview, download at any strength, or all as a ZIP."""

import asyncio
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from unhaze.errors import UnhazeError
from unhaze.web import parameters
from unhaze.web.desk import Busy, Stopping
from unhaze.web.negotiation import wanted_formats
from unhaze.web.parameters import controls_of, known_parameters, output_of
from unhaze.web.responses import (
    BUSY,
    CHOICE,
    UNKNOWN,
    UPLOAD,
    body,
    content,
    facts_of,
    media_type,
)
from unhaze.web.tasks import Order
from unhaze.web.upload_store import Kept, safe_name, size_of
from unhaze.web.work import BrokenOff, Clearer, Missing, NoRoom, client_of

router = APIRouter(tags=["page"], dependencies=[Depends(known_parameters)])

# Expected while an archive is sent.
BREAKS = (UnhazeError, Missing, NoRoom, Stopping, MemoryError, OSError, ClientDisconnect)
PIECE = 1 << 16  # bytes per read


@dataclass(frozen=True)
class PhotoEntry:
    """A photo that a model has analysed in `seconds`; results are then fast.

    result_name: name of the restored file. bytes: space that it takes on the server.
    white_balance: that suits it: 1 if its haze has the colour of dust or smoke, otherwise 0.
    """

    id: str
    name: str
    result_name: str
    width: int
    height: int
    bytes: int
    model: str
    seconds: float
    white_balance: float


@router.post(
    "/v1/photos", status_code=201, responses=UPLOAD, openapi_extra=body(parameters.SendPhoto)
)
async def send_photo(
    request: Request, query: Annotated[parameters.SendPhoto, Query()]
) -> PhotoEntry:
    """Receives a photo as the body, keeps it for a while, and computes its field."""
    clearer: Clearer = request.app.state.clearer
    with clearer.desk.place(client_of(request)):
        async with clearer.received(request, query, "photo") as (item, _, model):
            await clearer.work(lambda stop: clearer.look(item, model, stop), item, request)
    return entry(item)


@router.get("/v1/photos/{ident}", responses=UNKNOWN)
def photo_entry(request: Request, ident: str) -> PhotoEntry:
    """Returns whether a photo is still kept, and renews its time."""
    return entry(request.app.state.clearer.find(ident, "photo"))


def entry(item: Kept) -> PhotoEntry:
    """Returns the description sent to a client."""
    return PhotoEntry(
        id=item.id,
        name=item.name,
        result_name=item.result_name,
        width=item.width,
        height=item.height,
        bytes=size_of(item.folder),
        model=item.model,
        seconds=item.seconds,
        white_balance=item.white_balance,
    )


@router.get(
    "/v1/photos/{ident}/preview",
    response_class=Response,
    responses=content("image/jpeg") | UNKNOWN | BUSY,
)
async def photo_preview(
    request: Request,
    ident: str,
    query: Annotated[parameters.Preview, Query()],
) -> Response:
    """Returns a JPEG preview of the photo, hazy or restored at full strength."""
    clearer: Clearer = request.app.state.clearer
    item = clearer.find(ident, "photo")
    with clearer.desk.place(client_of(request)):
        encoded = await clearer.work(
            lambda stop: clearer.preview(item, query.side, query.size, stop), item, request
        )
    headers = {"Cache-Control": "private, max-age=600"}
    return Response(encoded, media_type="image/jpeg", headers=headers)


@router.get(
    "/v1/photos/{ident}/result",
    response_class=Response,
    responses=content("image/*", facts=True) | UNKNOWN | BUSY | CHOICE,
)
async def photo_result(
    request: Request, ident: str, query: Annotated[parameters.Result, Query()]
) -> Response:
    """Returns the restored photo at full size, with its metadata and bit depth, in its own format
    unless `format` or `Accept` select another.
    """
    clearer: Clearer = request.app.state.clearer
    wanted = wanted_formats(request.headers.get("accept", ""))
    order = Order(query.strength, output_of(query), wanted, controls_of(query))
    item, started = clearer.find(ident, "photo"), time.perf_counter()
    with clearer.desk.place(client_of(request)):
        written = await clearer.work(
            lambda stop: clearer.write_result(item, order, stop), item, request
        )
    suffix = written.file.suffix
    return FileResponse(
        written.file,
        media_type=media_type(suffix),
        filename=safe_name(item.name, suffix),
        headers=facts_of(item, time.perf_counter() - started, written.notes),
        background=BackgroundTask(written.file.unlink, missing_ok=True),
    )


@router.delete("/v1/photos/{ident}", status_code=204, responses=UNKNOWN)
def remove_photo(request: Request, ident: str) -> None:
    """Deletes a photo before its time."""
    clearer: Clearer = request.app.state.clearer
    clearer.uploads.remove(clearer.find(ident, "photo").id)


@router.get(
    "/v1/archive",
    response_class=Response,
    responses=content("application/zip") | UNKNOWN | BUSY,
)
async def archive(request: Request, query: Annotated[parameters.Archive, Query()]) -> Response:
    """Returns several results as a ZIP, each photo or video once; videos as they are. Results are
    computed one after the other while the archive is sent; if one fails, the response is cut off.
    """
    clearer: Clearer = request.app.state.clearer
    chosen: dict[str, tuple[Kept, float]] = {}
    for each in query.item:
        kept, strength = read_choice(clearer, each)
        if chosen.setdefault(kept.id, (kept, strength)) != (kept, strength):
            raise UnhazeError(f"'{kept.id}' is given at two strengths; give each ID once")
    with clearer.desk.place(client_of(request)):
        pass  # Busy is raised here rather than after the response has begun.
    return StreamingResponse(
        zipped(clearer, list(chosen.values()), client_of(request)),
        media_type="application/zip",
        headers={"content-disposition": 'attachment; filename="unhaze.zip"'},
    )


def read_choice(clearer: Clearer, text: str) -> tuple[Kept, float]:
    """Parses ID:STRENGTH and returns the kept item and the strength."""
    ident, _, number = text.partition(":")
    try:
        strength = float(number or 1)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise UnhazeError("item must be ID:STRENGTH with a strength from 0 to 1")
    video = clearer.uploads.get(ident, "video")
    if video is not None and video.state == "done":
        return video, strength
    return clearer.find(ident, "photo"), strength


class Sink:
    """The target of `zipfile`; each piece is taken out at once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Does nothing, as no bytes are held back."""

    def close(self) -> None:
        """Does nothing; remaining bytes can still be taken."""

    def take(self) -> bytes:
        """Returns everything written since the last call."""
        taken, self.pieces = b"".join(self.pieces), []
        return taken


async def zipped(
    clearer: Clearer, chosen: list[tuple[Kept, float]], client: str
) -> AsyncIterator[bytes]:
    """Yields the ZIP in pieces, with one result at a time on disk. Equal names get numbers.

    BrokenOff: a result could not be computed, too late for another status.
    """
    sink, names = Sink(), set()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)  # images are compressed already
    for item, strength in chosen:
        video = item.kind == "video"
        file = item.folder / f"result{item.suffix}"
        try:
            if not video:
                file = await result_in_turn(clearer, item, strength, client)
            for _ in stored(archive, file, free_name(item, names)):
                yield sink.take()
        except BREAKS as error:
            raise BrokenOff from error
        finally:
            if not video:
                file.unlink(missing_ok=True)
        item.used = time.monotonic()
    archive.close()
    yield sink.take()


def free_name(item: Kept, names: set[str]) -> str:
    """Returns the name of a result, with a number if it is in `names`, and adds it to them."""
    name, number = item.result_name, 1
    while name.casefold() in names:
        number += 1
        name = f"{Path(item.result_name).stem} {number}{item.suffix}"
    names.add(name.casefold())
    return name


def stored(archive: zipfile.ZipFile, file: Path, name: str) -> Iterator[None]:
    """Adds a file to the archive; yields after each piece."""
    about = zipfile.ZipInfo.from_file(file, name)
    with file.open("rb") as source, archive.open(about, "w", force_zip64=True) as target:
        while piece := source.read(PIECE):
            target.write(piece)
            yield
    yield


async def result_in_turn(clearer: Clearer, item: Kept, strength: float, client: str) -> Path:
    """Computes the result of a photo as soon as there is a place."""
    while True:
        with suppress(Busy), clearer.desk.place(client):
            written = await clearer.work(
                lambda stop: clearer.write_result(item, Order(strength), stop), item
            )
            return written.file
        await asyncio.sleep(0.2)
