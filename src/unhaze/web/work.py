"""From an upload to a cleared file: what all routes share."""

import asyncio
import contextlib
import re
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from unhaze.errors import UnhazeError
from unhaze.web import tasks
from unhaze.web.connections import network_of
from unhaze.web.desk import Desk, Stopping
from unhaze.web.parameters import Given, with_fields
from unhaze.web.settings import Settings
from unhaze.web.upload_store import Kept, UploadStore
from unhaze.web.uploads import NoRoom, save
from unhaze.web.workers import Dropped, Workers

Result = TypeVar("Result")

TIDY_SECONDS = 20.0  # from one look for old files to the next


class Missing(Exception):
    """No photo or video of this name is kept (any more)."""


class BrokenOff(Exception):
    """An answer that has begun cannot be completed: its connection ends before it does."""


class Clearer:
    """The desks, the upload store and the workers of one application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.desk = Desk(settings.places, settings.queue, settings.client_places)
        waiting = max(1, settings.queue // 4)
        self.video_desk = Desk(1, waiting, settings.client_places)  # a long video stops no photo
        self.uploads = UploadStore(
            settings.kept_bytes, settings.bytes_of_one, settings.kept_seconds
        )
        self.workers = Workers(settings)
        self.tasks: set[asyncio.Task[None]] = set()  # what runs on after its request was answered

    def close(self) -> None:
        """Ends the work and removes all files."""
        for item in list(self.uploads.items.values()):
            item.removed = True
        self.desk.stop_all()
        self.video_desk.stop_all()
        self.workers.close()
        self.desk.close()
        self.video_desk.close()
        self.uploads.close()

    async def drain(self, seconds: float) -> None:
        """Lets photos that have begun, also to be sent, end within so many seconds; begins nothing,
        and gives videos up, as nobody could fetch them any more.
        """
        self.video_desk.stop_all()
        await self.desk.drain(seconds)

    def check(self) -> None:
        """UnhazeError unless the model that clients get unasked can be loaded."""
        model = self.settings.chosen("auto", self.settings.analysis)
        self.call(tasks.load, model, stop=threading.Event())

    @asynccontextmanager
    async def tidying(self) -> AsyncIterator[None]:
        """Meanwhile files die on time, whether anybody asks or not."""

        async def tidy_for_ever() -> None:
            while True:
                await asyncio.sleep(min(TIDY_SECONDS, max(0.1, self.settings.kept_seconds / 4)))
                await asyncio.to_thread(self.uploads.tidy)

        tidying = asyncio.create_task(tidy_for_ever())
        try:
            yield
        finally:
            tidying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tidying

    def readiness(self) -> str:
        """ready; else what hinders."""
        if self.desk.stopping:
            return "stopping"
        free = shutil.disk_usage(self.uploads.folder).free
        return "ready" if free >= 2 * self.settings.max_bytes else "no room"

    def find(self, ident: str, kind: str) -> Kept:
        """What is kept under this name; Missing if nothing is."""
        item = self.uploads.get(ident, kind)
        if item is None:
            raise Missing(f"no such {kind}; it is kept for a while only, send it again")
        return item

    async def receive(self, request: Request, item: Kept, given: Given) -> Given:
        """Writes the file of a request to the item's source, which gets its name; returns all
        parameters: those `given` in the address, and those of a form. UnhazeError: they are wrong,
        or there is no file.
        """
        with (item.folder / "upload").open("wb", buffering=0) as target:
            fields, file_name = await save(request, target)
        given = with_fields(given, fields, file_name)
        item.name = given.name
        (item.folder / "upload").rename(item.source)
        return given

    async def work(
        self, job: Callable[[threading.Event], Result], item: Kept, request: Request | None = None
    ) -> Result:
        """`job(stop)` at the desk; its errors name the upload as its client does."""
        try:
            return await self.desk.work(job, request)
        except Dropped as error:
            raise Stopping if self.desk.ended else ClientDisconnect from error
        except UnhazeError as error:
            if item.removed:
                raise Missing("it was removed meanwhile; send it again") from error
            raise UnhazeError(in_client_words(str(error), item)) from error
        except OSError as error:
            if item.removed:
                raise Missing("it was removed meanwhile; send it again") from error
            raise NoRoom("no room on the server for the result") from error

    def call(self, function: Callable[..., Any], *words: Any, stop: threading.Event) -> Any:
        """A task of `tasks` in a worker, within the time that a photo may take."""
        return self.workers.call(function, *words, stop=stop, seconds=self.settings.work_seconds)

    def look(self, item: Kept, model: str, stop: threading.Event) -> None:
        """Lets the network look at a photo and keeps what it saw, for previews and results."""
        take_over(item, self.call(tasks.look, item, model, stop=stop))
        item.state = "done"

    def clear(
        self, item: Kept, model: str, analysis: int, order: tasks.Order, stop: threading.Event
    ) -> None:
        """Writes the restored photo to `result` in the item's folder."""
        words = (item, model, analysis, order)
        take_over(item, self.call(tasks.clear, *words, stop=stop))

    def write_result(self, item: Kept, order: tasks.Order, stop: threading.Event) -> tasks.Written:
        """A new file in the item's folder: the photo at full size, restored with its field."""
        return self.call(tasks.write_result, item, order, stop=stop)

    def preview(self, item: Kept, side: str, size: int, stop: threading.Event) -> bytes:
        """JPEG of the hazy or the fully restored photo, with a long side of at most `size`."""
        return self.call(tasks.preview, item, side, size, stop=stop)


def client_of(request: Request) -> str:
    """Who asks, by its address."""
    return network_of(request.client.host if request.client else "")


def take_over(item: Kept, facts: dict[str, Any]) -> None:
    """What a worker found out about an item."""
    for name, value in facts.items():
        setattr(item, name, value)


def in_client_words(message: str, item: Kept) -> str:
    """An error without the places of files on this server, and without what only its owner sets."""
    name = item.name or "the upload"
    message = re.sub(re.escape(str(item.folder)) + r"[^'\"\s]*", lambda _: name, message)
    return message.partition("; set UNHAZE_MAX_PIXELS")[0]
