"""From an upload to a cleared file: what all routes share."""

import asyncio
import re
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from starlette.requests import Request

from unhaze import photo as photos
from unhaze.errors import UnhazeError
from unhaze.names import one_of
from unhaze.photo.picture import ICC
from unhaze.restore.field import apply_field
from unhaze.restore.models import list_models
from unhaze.restore.priors import PRIORS
from unhaze.restore.restorer import Glance, Restorer, analysis_image, as_u8
from unhaze.web.desk import Desk
from unhaze.web.settings import Settings
from unhaze.web.shelf import Kept, Shelf

Result = TypeVar("Result")
MODELS_HELD = 3  # loaded at a time, the least used goes first
SHRUNK = 2048  # long side in pixels up to which a preview is shrunk in memory


class Missing(Exception):
    """No photo or video of this name is kept (any more)."""


class NoRoom(Exception):
    """The folder for uploads and results is full."""


class Clearer:
    """The desks, the shelf and the loaded models of one application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.desk = Desk(settings.places, settings.queue)
        self.video_desk = Desk(1, max(1, settings.queue // 4))  # a long video stops no photo
        self.shelf = Shelf(settings.kept, settings.kept_bytes, settings.kept_seconds)
        self.restorers: dict[tuple[str, int, str], Restorer] = {}
        self.lock = threading.Lock()
        self.tasks: set[asyncio.Task[None]] = set()  # what runs on after its request was answered

    def close(self) -> None:
        """Ends the work and removes all files."""
        for item in list(self.shelf.items.values()):
            item.removed = True  # a video at work stops at its next frame
        self.desk.close()
        self.video_desk.close()
        self.shelf.close()

    def restorer(self, model: str, analysis: int, use: str = "photo") -> Restorer:
        """A loaded one; only shipped models and priors, never a path of the client's."""
        one_of("model", model, model_names())
        key = (model, analysis, use)
        with self.lock:
            found = self.restorers.pop(key, None) or Restorer(
                model,
                self.settings.device,
                analysis=analysis,
                threads=self.settings.threads,
                use=use,
            )
            self.restorers[key] = found
            while len(self.restorers) > MODELS_HELD:
                del self.restorers[next(iter(self.restorers))]
        return found

    def find(self, ident: str, kind: str) -> Kept:
        """What is kept under this name; Missing if nothing is."""
        item = self.shelf.get(ident, kind)
        if item is None:
            raise Missing(f"no such {kind}; it is kept for a while only, send it again")
        return item

    async def receive(self, request: Request, item: Kept) -> None:
        """Writes the body of a request to the item's source. UnhazeError: it is empty."""
        size = 0
        with item.source.open("wb", buffering=0) as file:
            async for chunk in request.stream():
                size += len(chunk)
                try:
                    await asyncio.to_thread(file.write, chunk)
                except OSError as error:
                    raise NoRoom("no room on the server for this upload") from error
        if not size:
            raise UnhazeError("the body is empty; send the bytes of a picture")

    async def work(self, job: Callable[[], Result], item: Kept) -> Result:
        """`job()` at the desk; its errors name the upload as its client does."""
        try:
            return await self.desk.work(job)
        except UnhazeError as error:
            if item.removed:
                raise Missing("it was removed meanwhile; send it again") from error
            raise UnhazeError(in_client_words(str(error), item)) from error
        except OSError as error:
            if item.removed:
                raise Missing("it was removed meanwhile; send it again") from error
            raise NoRoom("no room on the server for the result") from error

    def receive_photo(self, item: Kept) -> None:
        """Fills in what the header of a photo tells. UnhazeError: no picture, too many pixels."""
        with photos.open_photo(item.source, max_pixels=self.settings.max_pixels) as opened:
            height, width, _ = opened.shape
            turned = opened.traits.orientation >= 5
            item.width, item.height = (height, width) if turned else (width, height)
            item.suffix = photos.kept_suffix(opened.traits, item.name)

    def look(self, item: Kept, model: str) -> None:
        """Lets the network look at a photo and keeps what it saw, for previews and results."""
        started = time.perf_counter()
        restorer = self.restorer(model, self.settings.analysis)
        with photos.open_photo(item.source) as opened:
            glance = restorer.look(opened)
        np.savez(item.folder / "glance.npz", hazy=glance.hazy, maps=glance.maps)
        item.model = restorer.name_for(item.height, item.width)
        item.seconds = time.perf_counter() - started
        item.state = "done"

    def write_result(self, item: Kept, strength: float) -> Path:
        """A new file in the item's folder: the photo at full size, restored with its field."""
        target = item.folder / f"{secrets.token_hex(8)}{item.suffix}"
        restorer = self.restorer(item.model, self.settings.analysis)
        glance = self._glance(item) if strength else None
        restorer.restore_file(item.source, target, strength=strength, glance=glance)
        return target

    def preview(self, item: Kept, side: str, size: int) -> bytes:
        """JPEG of the hazy or the fully restored photo, with a long side of at most `size`."""
        if size > SHRUNK:
            return self._full_preview(item, side)
        glance = self._glance(item)
        with photos.open_photo(item.source) as opened, opened.reading():
            traits, pixels = opened.traits, getattr(glance, side)
            if size < max(pixels.shape):
                pixels = analysis_image(pixels, size)
            elif max(pixels.shape) < max(item.width, item.height):
                small = analysis_image(opened.image(), size)
                pixels = photos.upright(small, traits.orientation)
                if side == "restored":
                    pixels = apply_field(glance.maps, pixels, threads=self.settings.threads)
        profile = {key: value for key, value in traits.metadata.items() if key == ICC}
        shown = photos.Traits(grey=traits.grey, metadata=profile, quality=88, full_chroma=False)
        return photos.encode(photos.Photo(as_u8(pixels), traits=shown), ".jpg")

    def _full_preview(self, item: Kept, side: str) -> bytes:
        """Every pixel; in strips, so that memory does not grow with the photo."""
        target = item.folder / f"{secrets.token_hex(8)}.jpg"
        restorer = self.restorer(item.model, self.settings.analysis)
        strength = 1.0 if side == "restored" else 0.0
        glance = self._glance(item) if strength else None
        try:
            restorer.restore_file(item.source, target, strength=strength, glance=glance)
            return target.read_bytes()
        finally:
            with suppress(FileNotFoundError):
                target.unlink()

    def _glance(self, item: Kept) -> Glance:
        with np.load(item.folder / "glance.npz") as kept:
            hazy, maps = kept["hazy"], kept["maps"]
        return Glance(hazy, apply_field(maps, hazy, threads=self.settings.threads), maps)


def model_names() -> list[str]:
    """All that a client may ask for."""
    return ["auto", *(card.name for card in list_models()), *PRIORS]


def in_client_words(message: str, item: Kept) -> str:
    """An error without the places of files on this server, and without what only its owner sets."""
    name = item.name or "the upload"
    message = re.sub(re.escape(str(item.folder)) + r"[^'\"\s]*", lambda _: name, message)
    return message.partition("; set UNHAZE_MAX_PIXELS")[0]
