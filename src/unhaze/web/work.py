"""From an upload to a restored file: the steps that all routes share."""

import asyncio
import contextlib
import re
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

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

if TYPE_CHECKING:
    from unhaze.web.parameters import Asked

Result = TypeVar("Result")

TIDY_SECONDS = 20.0  # between two removals of expired files


class Missing(Exception):
    """No photo or video of this name is kept (any more)."""


class BrokenOff(Exception):
    """A response in progress cannot be completed; its connection is closed early."""


class Clearer:
    """The desks, the upload store and the workers of one application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.desk = Desk(settings.places, settings.queue, settings.client_places)
        waiting = max(1, settings.queue // 4)
        self.video_desk = Desk(1, waiting, settings.client_places)  # videos do not block photos
        self.uploads = UploadStore(
            settings.kept_bytes, settings.bytes_of_one, settings.kept_seconds
        )
        self.workers = Workers(settings)
        self.tasks: set[asyncio.Task[None]] = set()  # tasks that continue after the response

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
        """Gives photos in progress, downloads included, up to `seconds` to finish and starts
        nothing new. Videos are abandoned, because nobody could download them any more.
        """
        self.video_desk.stop_all()
        await self.desk.drain(seconds)

    def check(self) -> None:
        """Raises UnhazeError unless the default model can be loaded."""
        model = self.settings.chosen("auto", self.settings.analysis)
        self.call(tasks.load, model, stop=threading.Event())

    @asynccontextmanager
    async def tidying(self) -> AsyncIterator[None]:
        """Removes expired files within the context, whether or not there are requests."""

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
        """Returns "ready", or the reason why not."""
        if self.desk.stopping:
            return "stopping"
        free = shutil.disk_usage(self.uploads.folder).free
        return "ready" if free >= 2 * self.settings.max_bytes else "no room"

    def find(self, ident: str, kind: str) -> Kept:
        """Returns the kept item of this name. Missing: there is none."""
        item = self.uploads.get(ident, kind)
        if item is None:
            raise Missing(f"no such {kind}; it is kept for a while only, send it again")
        return item

    @asynccontextmanager
    async def received(
        self, request: Request, query: Given, kind: str
    ) -> AsyncIterator[tuple[Kept, Given, str]]:
        """Receives the file of a request. Yields its item, all parameters (of the query and of a
        form) and the model; the item is removed if the context fails.

        UnhazeError: a parameter is invalid, the model is not available, or there is no file.
        """
        self.model_for(query)  # before the body is complete
        item = self.uploads.new(query.name, kind, client_of(request))
        with contextlib.ExitStack() as undo:
            undo.callback(self.uploads.remove, item.id)
            with (item.folder / "upload").open("wb", buffering=0) as target:
                fields, file_name = await save(request, target)
            given = with_fields(query, fields, file_name)
            item.name = given.name
            (item.folder / "upload").rename(item.source)
            yield item, given, self.model_for(given)
            undo.pop_all()

    def model_for(self, given: "Asked") -> str:
        """Returns the name of the model that parameters ask for, as `Settings.chosen`."""
        return self.settings.chosen(given.model, getattr(given, "analysis", self.settings.analysis))

    async def work(
        self, job: Callable[[threading.Event], Result], item: Kept, request: Request | None = None
    ) -> Result:
        """Runs `job(stop)` at the desk; errors name the upload as its client does."""
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
        """Runs a function of `tasks` in a worker, within the time limit of a photo."""
        return self.workers.call(function, *words, stop=stop, seconds=self.settings.work_seconds)

    def look(self, item: Kept, model: str, stop: threading.Event) -> None:
        """Runs the network on a photo and keeps the analysis, for previews and results."""
        take_over(item, self.call(tasks.look, item, model, stop=stop))
        item.state = "done"

    def clear(
        self, item: Kept, model: str, analysis: int, order: tasks.Order, stop: threading.Event
    ) -> None:
        """Writes the restored photo to `result` in the folder of the item."""
        words = (item, model, analysis, order)
        take_over(item, self.call(tasks.clear, *words, stop=stop))

    def write_result(self, item: Kept, order: tasks.Order, stop: threading.Event) -> tasks.Written:
        """Writes the photo at full size, restored with its kept field, to a new file in the item's
        folder.
        """
        return self.call(tasks.write_result, item, order, stop=stop)

    def preview(self, item: Kept, side: str, size: int, stop: threading.Event) -> bytes:
        """Returns a JPEG of the hazy or the fully restored photo, with a long side of at most
        `size`.
        """
        return self.call(tasks.preview, item, side, size, stop=stop)


def client_of(request: Request) -> str:
    """Returns the client of a request: its address."""
    return network_of(request.client.host if request.client else "")


def take_over(item: Kept, facts: dict[str, Any]) -> None:
    """Copies what a worker found out to the item."""
    for name, value in facts.items():
        setattr(item, name, value)


def in_client_words(message: str, item: Kept) -> str:
    """Removes paths of this server, and advice that only its owner can follow, from an error."""
    name = item.name or "the upload"
    message = re.sub(re.escape(str(item.folder)) + r"[^'\"\s]*", lambda _: name, message)
    return message.partition("; set UNHAZE_MAX_PIXELS")[0]
