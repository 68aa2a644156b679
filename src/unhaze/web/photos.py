"""What the page uses for photos: send one once, see it, take it in any strength, or all as ZIP."""

import asyncio
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from unhaze.errors import UnhazeError
from unhaze.web.answers import BODY, BUSY, UNKNOWN, UPLOAD, content, known_parameters, media_type
from unhaze.web.desk import Busy, Stopping, has_left
from unhaze.web.service import FileName, ModelName, Strength
from unhaze.web.shelf import Kept, size_of
from unhaze.web.work import Clearer, Missing, NoRoom, client_of

router = APIRouter(tags=["page"], dependencies=[Depends(known_parameters)])

# What may happen while an archive is sent.
BREAKS = (UnhazeError, Missing, NoRoom, Stopping, MemoryError, OSError, ClientDisconnect)
PIECE = 1 << 16  # bytes of a file that are read at a time


@dataclass(frozen=True)
class PhotoEntry:
    """A photo that a model has looked at, which took `seconds`; the rest is quick.

    result_name: what to call the restored one. bytes: that it takes here.
    """

    id: str
    name: str
    result_name: str
    width: int
    height: int
    bytes: int
    model: str
    seconds: float


@router.post("/v1/photos", status_code=201, responses=UPLOAD, openapi_extra=BODY)
async def send_photo(
    request: Request, name: FileName = "photo", model: ModelName = "auto"
) -> PhotoEntry:
    """Takes a photo as the body, keeps it for a while, and computes what clears it."""
    clearer: Clearer = request.app.state.clearer
    client = client_of(request)
    with clearer.desk.place(client), ExitStack() as undo:
        chosen = clearer.settings.chosen(model, clearer.settings.analysis)
        item = clearer.shelf.new(name, "photo", client)
        undo.callback(clearer.shelf.remove, item.id)
        await clearer.receive(request, item)
        await clearer.work(lambda stop: clearer.look(item, chosen, stop), item, request)
        undo.pop_all()
    return entry(item)


@router.get("/v1/photos/{ident}", responses=UNKNOWN)
def photo_entry(request: Request, ident: str) -> PhotoEntry:
    """Whether a photo is still kept; its time begins anew."""
    return entry(request.app.state.clearer.find(ident, "photo"))


def entry(item: Kept) -> PhotoEntry:
    """What a client is told."""
    return PhotoEntry(
        id=item.id,
        name=item.name,
        result_name=item.result_name,
        width=item.width,
        height=item.height,
        bytes=size_of(item.folder),
        model=item.model,
        seconds=item.seconds,
    )


@router.get(
    "/v1/photos/{ident}/preview",
    response_class=Response,
    responses=content("image/jpeg") | UNKNOWN | BUSY,
)
async def photo_preview(
    request: Request,
    ident: str,
    side: Literal["hazy", "restored"] = "restored",
    size: Annotated[
        int, Query(ge=16, le=65536, description="Long side in pixels; over 2048: full size.")
    ] = 1600,
) -> Response:
    """JPEG for looking at, of the photo as it came or as it is restored at full strength."""
    clearer: Clearer = request.app.state.clearer
    item = clearer.find(ident, "photo")
    with clearer.desk.place(client_of(request)):
        encoded = await clearer.work(
            lambda stop: clearer.preview(item, side, size, stop), item, request
        )
    headers = {"Cache-Control": "private, max-age=600"}
    return Response(encoded, media_type="image/jpeg", headers=headers)


@router.get(
    "/v1/photos/{ident}/result",
    response_class=Response,
    responses=content("image/*") | UNKNOWN | BUSY,
)
async def photo_result(request: Request, ident: str, strength: Strength = 1.0) -> Response:
    """The restored photo at full size, in its own format, with its metadata and bit depth."""
    clearer: Clearer = request.app.state.clearer
    item = clearer.find(ident, "photo")
    with clearer.desk.place(client_of(request)):
        target = await clearer.work(
            lambda stop: clearer.write_result(item, strength, stop), item, request
        )
    return FileResponse(
        target,
        media_type=media_type(item.suffix),
        filename=item.result_name,
        background=BackgroundTask(target.unlink, missing_ok=True),
    )


@router.delete("/v1/photos/{ident}", status_code=204, responses=UNKNOWN)
def remove_photo(request: Request, ident: str) -> None:
    """Deletes a photo before its time."""
    clearer: Clearer = request.app.state.clearer
    clearer.shelf.remove(clearer.find(ident, "photo").id)


@router.get(
    "/v1/archive",
    response_class=Response,
    responses=content("application/zip") | UNKNOWN | BUSY,
)
async def archive(
    request: Request,
    item: Annotated[
        list[str], Query(min_length=1, max_length=100, description="ID:STRENGTH, repeated.")
    ],
) -> Response:
    """Several results in one ZIP, each photo or video once; videos as they are. The results are
    made one after the other as they are taken; if one fails, the answer breaks off.
    """
    clearer: Clearer = request.app.state.clearer
    chosen: dict[str, tuple[Kept, float]] = {}
    for each in item:
        kept, strength = read_choice(clearer, each)
        if chosen.setdefault(kept.id, (kept, strength)) != (kept, strength):
            raise UnhazeError(f"'{kept.id}' is given at two strengths; give each ID once")
    with clearer.desk.place(client_of(request)):
        pass  # Busy now rather than after the answer has begun.
    return Archive(zipped(clearer, list(chosen.values()), client_of(request)))


class Archive(Response):
    """A ZIP that is made while it is taken; its length is not known before."""

    media_type = "application/zip"

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"content-disposition": 'attachment; filename="unhaze.zip"'})
        del self.headers["content-length"]
        self.pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        leaving = asyncio.ensure_future(has_left(Request(scope, receive)))
        try:
            await send(start)
            sending = asyncio.ensure_future(self.send_all(send))
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
            # Too late for another status: the connection ends before the answer does.
            with suppress(asyncio.CancelledError, *BREAKS):
                await sending
        finally:
            leaving.cancel()

    async def send_all(self, send: Send) -> None:
        async for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def read_choice(clearer: Clearer, text: str) -> tuple[Kept, float]:
    """ID:STRENGTH -> what is kept, and the strength."""
    ident, _, number = text.partition(":")
    try:
        strength = float(number or 1)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise UnhazeError("item must be ID:STRENGTH with a strength from 0 to 1")
    video = clearer.shelf.get(ident, "video")
    if video is not None and video.state == "done":
        return video, strength
    return clearer.find(ident, "photo"), strength


class Sink:
    """What `zipfile` writes to; each piece is taken away at once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        """All that was written since the last time."""
        taken, self.pieces = b"".join(self.pieces), []
        return taken


async def zipped(
    clearer: Clearer, chosen: list[tuple[Kept, float]], client: str
) -> AsyncIterator[bytes]:
    """The ZIP in pieces; one result at a time lies on disk. Equal names get numbers."""
    sink, names = Sink(), set()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)  # pictures are compressed already
    for item, strength in chosen:
        video = item.kind == "video"
        file = item.folder / f"result{item.suffix}"
        if not video:
            file = await result_in_turn(clearer, item, strength, client)
        try:
            name, number = item.result_name, 1
            while name.casefold() in names:
                number += 1
                name = f"{Path(item.result_name).stem} {number}{item.suffix}"
            names.add(name.casefold())
            for _ in stored(archive, file, name):
                yield sink.take()
            item.used = time.monotonic()
        finally:
            if not video:
                file.unlink(missing_ok=True)
    archive.close()
    yield sink.take()


def stored(archive: zipfile.ZipFile, file: Path, name: str) -> Iterator[None]:
    """Adds a file; stops after each piece of it."""
    about = zipfile.ZipInfo.from_file(file, name)
    with file.open("rb") as source, archive.open(about, "w", force_zip64=True) as target:
        while piece := source.read(PIECE):
            target.write(piece)
            yield
    yield


async def result_in_turn(clearer: Clearer, item: Kept, strength: float, client: str) -> Path:
    """The result of a photo, made as soon as there is a place."""
    while True:
        with suppress(Busy), clearer.desk.place(client):
            return await clearer.work(lambda stop: clearer.write_result(item, strength, stop), item)
        await asyncio.sleep(0.2)
