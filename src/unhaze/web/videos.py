"""What the page uses for short videos: send one, ask how far it is, fetch it."""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from unhaze.errors import UnhazeError
from unhaze.extras import explain_missing
from unhaze.web.answers import BODY, UNKNOWN, UPLOAD, content, media_type
from unhaze.web.service import FileName, ModelName, Strength
from unhaze.web.shelf import Kept
from unhaze.web.work import Clearer, Missing, in_client_words

router = APIRouter(tags=["page"])

MATROSKA = b"\x1a\x45\xdf\xa3"
QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip")
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")  # of results; others become .mkv


@dataclass(frozen=True)
class VideoEntry:
    """How far a video is: waiting, running, done or failed. frames: in all, if that is known."""

    id: str
    name: str
    result_name: str
    state: str
    done: int
    frames: int | None
    seconds: float
    error: str


@router.post("/v1/videos", status_code=202, responses=UPLOAD, openapi_extra=BODY)
async def send_video(
    request: Request,
    name: FileName = "video.mp4",
    model: ModelName = "auto",
    strength: Strength = 1.0,
) -> VideoEntry:
    """Takes a video as the body and begins to restore it; its state tells how far it is."""
    clearer: Clearer = request.app.state.clearer
    with ExitStack() as undo:
        undo.enter_context(clearer.video_desk.place())
        item = clearer.shelf.new(name, "video")
        with ExitStack() as forget:
            forget.callback(clearer.shelf.remove, item.id)
            await clearer.receive(request, item)
            check_container(item.source)
            clearer.restorer(model, clearer.settings.analysis, use="video")
            forget.pop_all()
        place = undo.pop_all()

    async def restore() -> None:
        with place:
            await clearer.video_desk.work(lambda: restore_kept(clearer, item, model, strength))

    task = asyncio.create_task(restore())
    clearer.tasks.add(task)  # else nothing holds it, and it might be dropped
    task.add_done_callback(clearer.tasks.discard)
    return entry(item)


def check_container(source: Path) -> None:
    """UnhazeError unless the first bytes are those of MP4, MOV, MKV, WebM or AVI.

    FFmpeg also reads playlists, which name other files and URLs: those must never reach it.
    """
    with source.open("rb") as file:
        head = file.read(12)
    mp4 = head[4:8] == b"ftyp" or (head[:1] == b"\0" and head[4:8] in QUICKTIME)
    avi = head[:4] == b"RIFF" and head[8:] == b"AVI "
    if not (mp4 or avi or head.startswith(MATROSKA)):
        raise UnhazeError("this is no video that is taken here; expected MP4, MOV, MKV, WebM, AVI")


def restore_kept(clearer: Clearer, item: Kept, model: str, strength: float) -> None:
    """Restores the video; what goes wrong becomes its state."""
    item.state = "running"
    started = time.perf_counter()
    try:
        item.frames = check_video(item.source, clearer)
        item.suffix = item.source.suffix if item.source.suffix in SUFFIXES else ".mkv"
        restore_watched(clearer, item, model, strength)
    except (UnhazeError, MemoryError, OSError) as error:
        item.error = in_client_words(str(error) or "not enough memory", item)
        item.state = "failed"
    except ModuleNotFoundError as error:
        item.error = str(explain_missing(error, "restoring a video") or error)
        item.state = "failed"
    else:
        item.seconds = time.perf_counter() - started
        item.state = "done"


def restore_watched(clearer: Clearer, item: Kept, model: str, strength: float) -> None:
    """Restores it as long as it keeps to the limits and is wanted; UnhazeError otherwise."""
    from unhaze.restore.video import restore_video

    settings = clearer.settings

    def watch(done: int, frames: int | None, seconds: float) -> None:
        item.done, item.frames = done, frames
        item.used = time.monotonic()
        if item.removed:
            raise UnhazeError("it was removed")
        if done > settings.max_frames:
            raise UnhazeError(f"over the limit of {settings.max_frames} frames")
        if seconds > settings.video_seconds:
            raise UnhazeError(f"over the limit of {settings.video_seconds:g} seconds of work")

    restore_video(
        item.source,
        item.folder / f"result{item.suffix}",
        restorer=clearer.restorer(model, settings.analysis, use="video"),
        strength=strength,
        progress=watch,
    )


def check_video(source: Path, clearer: Clearer) -> int | None:
    """The number of frames, if the header tells; UnhazeError for too many, or too large ones."""
    from unhaze.restore.video.reading import Reading, find_video, open_container

    with open_container(source) as container:
        reading = Reading(container, find_video(container, source))
        width, height = reading.size
        frames = reading.expected_frames
    settings = clearer.settings
    if width * height > settings.max_pixels:
        raise UnhazeError(f"{width} x {height} pixels are over the limit of {settings.max_pixels}")
    if frames is not None and frames > settings.max_frames:
        raise UnhazeError(f"{frames} frames are over the limit of {settings.max_frames}")
    return frames


@router.get("/v1/videos/{ident}", responses=UNKNOWN)
def video_state(request: Request, ident: str) -> VideoEntry:
    """How far it is."""
    return entry(request.app.state.clearer.find(ident, "video"))


@router.get(
    "/v1/videos/{ident}/result", response_class=Response, responses=content("video/*") | UNKNOWN
)
def video_result(request: Request, ident: str) -> Response:
    """The restored video, with its sound; 404 until it is done."""
    item = request.app.state.clearer.find(ident, "video")
    if item.state != "done":
        raise Missing(f"the video is {item.state}; ask /v1/videos/{ident} until it is done")
    return FileResponse(
        item.folder / f"result{item.suffix}",
        media_type=media_type(item.suffix),
        filename=item.result_name,
        content_disposition_type="inline",
    )


@router.delete("/v1/videos/{ident}", status_code=204, responses=UNKNOWN)
def remove_video(request: Request, ident: str) -> None:
    """Deletes a video before its time; the work on one that is not done stops."""
    clearer: Clearer = request.app.state.clearer
    clearer.shelf.remove(clearer.find(ident, "video").id)


def entry(item: Kept) -> VideoEntry:
    """What a client is told."""
    return VideoEntry(
        id=item.id,
        name=item.name,
        result_name=item.result_name,
        state=item.state,
        done=item.done,
        frames=item.frames,
        seconds=item.seconds,
        error=item.error,
    )
