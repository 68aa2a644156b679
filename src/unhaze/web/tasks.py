"""Tasks of the service's workers: each function runs in a process of its own."""

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from unhaze import photo as photos
from unhaze.errors import UnhazeError, counted
from unhaze.formats import NAMED
from unhaze.image import to_u8
from unhaze.outputs import AS_MODEL, SAME, Controls, Notes, Output, noted
from unhaze.photo.picture import ICC
from unhaze.photo.savers import SAVERS
from unhaze.restore.analysis import analysis_image
from unhaze.restore.controlling import SURE, keeps_cast
from unhaze.restore.encoding import Encoding
from unhaze.restore.field import apply_field
from unhaze.restore.models import FRAME_ANALYSIS
from unhaze.restore.preview import Preview
from unhaze.restore.restorer import Restorer
from unhaze.restore.video.containers import SERVICE_DEMUXERS
from unhaze.restore.video.streams import HEAD, is_video_head
from unhaze.web.negotiation import choose
from unhaze.web.settings import Settings
from unhaze.web.upload_store import Kept

MODELS_HELD = 3  # loaded at a time; the least recently used one is dropped
SHRUNK = 2048  # longest side in pixels up to which a preview is shrunk in memory


class Models:
    """The models that a worker has loaded; `tell` sends progress to the server."""

    def __init__(self, settings: Settings, tell: Callable[..., None]) -> None:
        pyvips.block_untrusted_set(True)  # loaders that parse for minutes or run programs
        self.settings, self.tell = settings, tell
        self.restorers: dict[tuple[str, int, str], Restorer] = {}

    def restorer(self, model: str, analysis: int, use: str = "photo") -> Restorer:
        """Returns a loaded Restorer; `Settings.chosen` has checked the model."""
        key = (model, analysis, use)
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


def load(models: Models, model: str) -> None:
    """Loads a model. UnhazeError: it cannot be loaded, for example because there is no such
    device.
    """
    models.restorer(model, models.settings.analysis)


def receive(models: Models, item: Kept, bands: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Reads the header of a photo. UnhazeError: it is no picture or has too many pixels."""
    limit = models.settings.max_pixels
    try:
        with photos.open_photo(item.source, max_pixels=limit, bands=bands) as opened:
            height, width, _ = opened.shape
            if opened.traits.orientation >= 5:
                height, width = width, height
            suffix = photos.kept_suffix(opened.traits, item.name)
    except UnhazeError as error:
        with item.source.open("rb") as file:
            if is_video_head(file.read(HEAD)):
                raise UnhazeError("this is a video; send videos to /v1/videos") from error
        raise
    return {"width": width, "height": height, "suffix": suffix}


def look(models: Models, item: Kept, model: str) -> dict[str, Any]:
    """Runs the network on a photo and keeps the analysis, for previews and results."""
    started = time.perf_counter()
    facts = receive(models, item)
    restorer = models.restorer(model, models.settings.analysis)
    with noted(item.source) as notes, photos.open_photo(item.source) as opened:
        seen = restorer.look(opened)
    np.savez(item.folder / "preview.npz", hazy=seen.hazy, maps=seen.maps)
    name = restorer.name_for(facts["height"], facts["width"])
    balance = float(keeps_cast(seen.hazy, seen.restored, SURE))
    facts |= {"model": name, "seconds": time.perf_counter() - started, "white_balance": balance}
    return facts | {"notes": Notes(remarks=notes.remarks)}


@dataclass(frozen=True)
class Order:
    """The result that a client requests. output: settings by the names of `outputs.OPTIONS`;
    wanted: the formats that it accepts with their quality, if `output` does not name one.
    """

    strength: float = 1.0
    output: Mapping[str, Any] = field(default_factory=lambda: {"format": SAME})
    wanted: Mapping[str, float] = field(default_factory=dict)
    controls: Controls = AS_MODEL

    def suffix(self, own: str) -> str:
        """Returns the suffix of the result of a photo with suffix `own`. UnhazeError: no such
        format.
        """
        format = self.output["format"]
        if format == SAME and self.wanted:
            format = choose(self.wanted, own)
        if format == SAME:
            return own
        if format not in NAMED:
            raise UnhazeError(f"format is '{format}'; it must be one of {', '.join(NAMED)}")
        same = own in SAVERS and SAVERS[own] is SAVERS[NAMED[format]]
        return own if same else NAMED[format]

    def how(self) -> Output:
        """Returns how the result is written. UnhazeError: invalid or conflicting values."""
        chosen: dict[str, Any] = {
            name: None if value in (0, "", SAME) else value for name, value in self.output.items()
        }
        chosen |= {name: self.output.get(name, False) for name in ("lossless", "strip_metadata")}
        return Output(**chosen)


@dataclass(frozen=True)
class Written:
    """A result, and what is to be known about it."""

    file: Path
    notes: Notes


def clear(models: Models, item: Kept, model: str, analysis: int, order: Order) -> dict[str, Any]:
    """Writes the restored photo to `result` in the folder of the item."""
    started = time.perf_counter()
    restorer = models.restorer(model, analysis).controlled(order.controls)
    with noted(item.source) as notes:
        output = order.how()
        facts = receive(models, item, output.channels)
        facts["suffix"] = order.suffix(facts["suffix"])
        target = item.folder / f"result{facts['suffix']}"
        restorer.restore_file(item.source, target, strength=order.strength, output=output)
    name = restorer.name_for(facts["height"], facts["width"])
    seconds = time.perf_counter() - started
    return facts | {"model": name, "seconds": seconds, "notes": notes}


def write_result(models: Models, item: Kept, order: Order) -> Written:
    """Writes the photo at full size, restored with its kept field, to a new file in the item's
    folder.
    """
    target = item.folder / f"{secrets.token_hex(8)}{order.suffix(item.suffix)}"
    controls = replace(order.controls, white_balance=order.controls.white_balance or 0.0)
    restorer = models.restorer(item.model, models.settings.analysis).controlled(controls)
    # The kept analysis is that of the model alone; controls need another field.
    alone = order.strength and not any(asdict(controls).values())
    seen = _seen(models, item) if alone else None
    with noted(item.source) as notes:
        how = {"strength": order.strength, "output": order.how()}
        restorer.restore_file(item.source, target, seen=seen, **how)
    if seen is not None:
        notes.remarks.extend(item.notes.remarks)
    return Written(target, notes)


def preview(models: Models, item: Kept, side: str, size: int) -> bytes:
    """Returns a JPEG of the hazy or the fully restored photo, with a long side of at most
    `size`.
    """
    if size > SHRUNK:
        return _full_preview(models, item, side)
    threads = models.settings.threads
    seen = _seen(models, item)
    with photos.open_photo(item.source) as opened, opened.reading():
        traits, pixels = opened.traits, getattr(seen, side)
        if size < max(pixels.shape):
            pixels = analysis_image(pixels, size)
        elif max(pixels.shape) < max(item.width, item.height):
            small = analysis_image(opened.to_shrink(size), size)
            pixels = photos.upright(small, traits.orientation)
            if side == "restored":
                pixels = apply_field(seen.maps, pixels, threads=threads)
    profile = {key: value for key, value in traits.metadata.items() if key == ICC}
    shown = photos.Traits(grey=traits.grey, metadata=profile, quality=88, full_chroma=False)
    return photos.encode(photos.Photo(to_u8(pixels), traits=shown), ".jpg")


def _full_preview(models: Models, item: Kept, side: str) -> bytes:
    """Restores every pixel, in strips, so that memory does not depend on the size of the photo."""
    target = item.folder / f"{secrets.token_hex(8)}.jpg"
    restorer = models.restorer(item.model, models.settings.analysis)
    strength = 1.0 if side == "restored" else 0.0
    seen = _seen(models, item) if strength else None
    try:
        restorer.restore_file(item.source, target, strength=strength, seen=seen)
        return target.read_bytes()
    finally:
        with suppress(FileNotFoundError):
            target.unlink()


def _seen(models: Models, item: Kept) -> Preview:
    with np.load(item.folder / "preview.npz") as kept:
        hazy, maps = kept["hazy"], kept["maps"]
    return Preview(hazy, apply_field(maps, hazy, threads=models.settings.threads), maps)


def clear_video(
    models: Models,
    item: Kept,
    model: str,
    strength: float,
    suffix: str,
    encoding: Encoding | None = None,
    controls: Controls = AS_MODEL,
) -> Notes:
    """Writes the restored video to `result` and returns the notes on it. Reports progress as
    (frames done, total frames, seconds).
    """
    from unhaze.restore.video import restore_video

    settings = models.settings
    analysis = min(FRAME_ANALYSIS, settings.analysis)
    frames = check_video(models, item.source)
    models.tell(0, frames, 0.0)
    passes = 2 if encoding is not None and encoding.target_size else 1

    def watch(done: int, frames: int | None, seconds: float) -> None:
        models.tell(done, frames, seconds)
        if done > passes * settings.max_frames:
            raise UnhazeError(f"over the limit of {counted(settings.max_frames, 'frame')}")

    report = restore_video(
        item.source,
        item.folder / f"result{suffix}",
        restorer=models.restorer(model, analysis, use="video").controlled(controls),
        strength=strength,
        encoding=encoding,
        progress=watch,
        demuxers=SERVICE_DEMUXERS,
        max_pixels=settings.max_frame_pixels,
    )
    return Notes(remarks=list(report.notes))


def check_video(models: Models, source: Path) -> int | None:
    """Returns the number of frames, if the header states it. UnhazeError: too many or too large
    frames.

    FFmpeg also reads playlists, manifests and session descriptions, which name other files and
    addresses. None of those is opened, regardless of its first bytes.
    """
    from unhaze.restore.video.reading import Reading, find_video, open_container

    settings = models.settings
    opened = open_container(source, demuxers=SERVICE_DEMUXERS, max_pixels=settings.max_frame_pixels)
    with opened as container:
        frames = Reading(container, find_video(container, source)).expected_frames
    if frames is not None and frames > settings.max_frames:
        raise UnhazeError(f"{frames} frames are over the limit of {settings.max_frames}")
    return frames
