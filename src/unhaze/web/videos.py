"""Video routes of the page: upload a short video, request its progress, download it."""

import asyncio
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response

from unhaze.errors import UnhazeError
from unhaze.extras import explain_missing
from unhaze.outputs import Controls
from unhaze.restore.encoding import Encoding
from unhaze.web import parameters, tasks
from unhaze.web.desk import Stopping
from unhaze.web.parameters import known_parameters
from unhaze.web.responses import UNKNOWN, UPLOAD, body, content, media_type
from unhaze.web.upload_store import Kept
from unhaze.web.work import Clearer, Missing, client_of, in_client_words
from unhaze.web.workers import Dropped

router = APIRouter(tags=["page"], dependencies=[Depends(known_parameters)])

MATROSKA = b"\x1a\x45\xdf\xa3"
QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip")
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")  # suffixes of results; others become .mkv


@dataclass(frozen=True)
class VideoEntry:
    """State of a video: waiting, running, done or failed. frames: total, if known. notes: what was
    damaged or missing, and what the result does not hold, one line each.
    """

    id: str
    name: str
    result_name: str
    state: str
    done: int
    frames: int | None
    seconds: float
    error: str
    notes: tuple[str, ...]


@router.post(
    "/v1/videos", status_code=202, responses=UPLOAD, openapi_extra=body(parameters.SendVideo)
)
async def send_video(
    request: Request, query: Annotated[parameters.SendVideo, Query()]
) -> VideoEntry:
    """Receives a video as the body and starts to restore it; its state shows the progress."""
    clearer: Clearer = request.app.state.clearer
    with ExitStack() as undo:
        undo.enter_context(clearer.video_desk.place(client_of(request)))
        parameters.encoding_of(query)
        async with clearer.received(request, query, "video") as (item, given, model):
            how = given.strength, parameters.encoding_of(given), parameters.controls_of(given)
            check_container(item.source)
        place = undo.pop_all()

    async def restore() -> None:
        with place, suppress(Stopping):
            await clearer.video_desk.work(
                lambda stop: restore_kept(clearer, item, model, how, stop)
            )

    task = asyncio.create_task(restore())
    clearer.tasks.add(task)  # keeps a reference, without which the task could be garbage-collected
    task.add_done_callback(clearer.tasks.discard)
    return entry(item)


def check_container(source: Path) -> None:
    """Raises UnhazeError unless the first bytes are those of MP4, MOV, MKV, WebM or AVI.

    FFmpeg also reads playlists, which name other files and URLs and must never reach it.
    """
    with source.open("rb") as file:
        head = file.read(12)
    mp4 = head[4:8] == b"ftyp" or (head[:1] == b"\0" and head[4:8] in QUICKTIME)
    avi = head[:4] == b"RIFF" and head[8:] == b"AVI "
    if not (mp4 or avi or head.startswith(MATROSKA)):
        raise UnhazeError("this is not a supported video; expected MP4, MOV, MKV, WebM, AVI")


def restore_kept(
    clearer: Clearer,
    item: Kept,
    model: str,
    how: tuple[float, Encoding, Controls],
    stop: threading.Event,
) -> None:
    """Restores the video; errors are stored in its state. `how`: strength and other settings."""
    item.state = "running"
    item.suffix = item.source.suffix if item.source.suffix in SUFFIXES else ".mkv"
    started = time.perf_counter()
    settings, (strength, *how_written) = clearer.settings, how

    def watch(done: int, frames: int | None, seconds: float) -> None:
        item.done, item.frames = done, frames
        item.used = time.monotonic()

    try:
        item.notes = clearer.workers.call(
            tasks.clear_video,
            *(item, model, strength, item.suffix, *how_written),
            stop=Unwanted(stop, item, settings.forgotten_seconds),
            seconds=settings.video_seconds,
            progress=watch,
        )
    except Dropped:
        item.error, item.state = "nobody asked for it any more, or the server stopped", "failed"
    except (UnhazeError, MemoryError, OSError) as error:
        item.error = in_client_words(str(error) or "it needs too much memory", item)
        item.state = "failed"
    except ModuleNotFoundError as error:
        item.error = str(explain_missing(error, "restoring a video") or error)
        item.state = "failed"
    else:
        item.seconds = time.perf_counter() - started
        item.state = "done"


@dataclass(frozen=True)
class Unwanted:
    """Set if the server stops, the video was removed, or its client has not requested it for
    long.
    """

    stop: threading.Event
    item: Kept
    seconds: float

    def is_set(self) -> bool:
        silent = time.monotonic() - self.item.asked
        return self.stop.is_set() or self.item.removed or silent > self.seconds


@router.get("/v1/videos/{ident}", responses=UNKNOWN)
def video_state(request: Request, ident: str) -> VideoEntry:
    """Returns the state of a video."""
    return entry(request.app.state.clearer.find(ident, "video"))


@router.get(
    "/v1/videos/{ident}/result", response_class=Response, responses=content("video/*") | UNKNOWN
)
def video_result(request: Request, ident: str) -> Response:
    """Returns the restored video with its sound; 404 until it is done."""
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
    """Deletes a video before its time; work in progress on it stops."""
    clearer: Clearer = request.app.state.clearer
    clearer.uploads.remove(clearer.find(ident, "video").id)


def entry(item: Kept) -> VideoEntry:
    """Returns the description sent to a client."""
    return VideoEntry(
        id=item.id,
        name=item.name,
        result_name=item.result_name,
        state=item.state,
        done=item.done,
        frames=item.frames,
        seconds=item.seconds,
        error=item.error,
        notes=item.notes.all,
    )
