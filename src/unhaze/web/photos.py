"""What the page uses for photos: send one once, see it, take it in any strength, or all as ZIP."""

import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from unhaze.errors import UnhazeError
from unhaze.web.answers import BODY, BUSY, UNKNOWN, UPLOAD, content, media_type
from unhaze.web.service import FileName, ModelName, Strength
from unhaze.web.shelf import Kept
from unhaze.web.work import Clearer

router = APIRouter(tags=["page"])


@dataclass(frozen=True)
class PhotoEntry:
    """A photo that a model has looked at, which took `seconds`; the rest is quick.

    `result_name`: what to call the restored one.
    """

    id: str
    name: str
    result_name: str
    width: int
    height: int
    model: str
    seconds: float


@router.post("/v1/photos", status_code=201, responses=UPLOAD, openapi_extra=BODY)
async def send_photo(
    request: Request, name: FileName = "photo", model: ModelName = "auto"
) -> PhotoEntry:
    """Takes a photo as the body, keeps it for a while, and computes what clears it."""
    clearer: Clearer = request.app.state.clearer
    with clearer.desk.place(), ExitStack() as undo:
        item = clearer.shelf.new(name, "photo")
        undo.callback(clearer.shelf.remove, item.id)
        await clearer.receive(request, item)

        def look() -> None:
            clearer.receive_photo(item)
            clearer.look(item, model)

        await clearer.work(look, item)
        undo.pop_all()
    return PhotoEntry(
        id=item.id,
        name=item.name,
        result_name=item.result_name,
        width=item.width,
        height=item.height,
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
    with clearer.desk.place():
        encoded = await clearer.work(lambda: clearer.preview(item, side, size), item)
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
    with clearer.desk.place():
        target = await clearer.work(lambda: clearer.write_result(item, strength), item)
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
    """Several results in one ZIP; videos as they are."""
    clearer: Clearer = request.app.state.clearer
    chosen = [read_choice(clearer, each) for each in item]
    with clearer.desk.place(), ExitStack() as undo:
        holder = clearer.shelf.new("unhaze.zip", "archive")
        undo.callback(clearer.shelf.remove, holder.id)
        target = holder.folder / "unhaze.zip"
        for kept, strength in chosen:  # One at a time, so that others have their turns.

            def add(kept: Kept = kept, strength: float = strength) -> None:
                add_to_archive(clearer, kept, strength, target)

            await clearer.work(add, kept)
        holder.state = "done"
        undo.pop_all()
    return FileResponse(
        target,
        media_type="application/zip",
        filename="unhaze.zip",
        background=BackgroundTask(clearer.shelf.remove, holder.id),
    )


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


def add_to_archive(clearer: Clearer, item: Kept, strength: float, target: Path) -> None:
    """Pictures are compressed already: they are only stored. Equal names get numbers."""
    video = item.kind == "video"
    file = item.folder / f"result{item.suffix}" if video else clearer.write_result(item, strength)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_STORED) as archive:
        names = {each.casefold() for each in archive.namelist()}
        name, number = item.result_name, 1
        while name.casefold() in names:
            number += 1
            name = f"{Path(item.result_name).stem} {number}{item.suffix}"
        archive.write(file, name)
    if not video:
        file.unlink()
