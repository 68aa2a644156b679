"""Describes the result of restoring a video without restoring it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unhaze.restore.encoding import Encoding
from unhaze.restore.video.clock import frame_rate
from unhaze.restore.video.codecs import choose_layout
from unhaze.restore.video.output import bit_rate_of, choose
from unhaze.restore.video.reading import Reading, find_video, open_container


@dataclass(frozen=True)
class PlannedVideo:
    """What `restore_video` would write. `rate`: frames per second; `seconds`, `frames`: as the
    source states, None if it does not; `bytes`: of pictures and sound, None for constant quality.
    """

    width: int
    height: int
    rate: float
    seconds: float | None
    frames: int | None
    codec: str
    encoder: str
    options: dict[str, str]
    bit_rate: int | None
    passes: int
    pixel_format: str
    audio: str
    bytes: int | None
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """One line."""
        said = [f"{self.width} x {self.height}", f"{self.rate:.6g} frames/s"]
        said += [f"{self.seconds:.1f} s"] if self.seconds is not None else []
        hidden = ("x265-params", "level", "slicecrc", "row-mt", "deadline")
        told = [f"{key} {value}" for key, value in self.options.items() if key not in hidden]
        told += [f"{self.bit_rate / 1e6:.3g} Mbit/s"] if self.bit_rate else []
        told += ["two passes"] if self.passes == 2 else []
        said.append(f"{self.codec} by {self.encoder}" + (f" ({', '.join(told)})" if told else ""))
        said += [self.pixel_format, f"audio {self.audio}"]
        said += [f"about {self.bytes / 1e6:.3g} MB"] if self.bytes else []
        return ", ".join(said) + "".join(f"; {note}" for note in self.notes)


def plan_video(
    source: str | Path,
    target: str | Path,
    *,
    encoding: Encoding,
    start: float | None = None,
    end: float | None = None,
    strength: float = 1.0,
) -> PlannedVideo:
    """Opens the source, decodes nothing, and writes nothing. UnhazeError: as for
    `restore_video`.
    """
    with open_container(source) as container:
        reading = Reading(container, find_video(container, source), start, end)
        chosen = choose(reading, Path(target), encoding, strength=strength)
        stored = reading.video.format.name if reading.video.format else "yuv420p"
        layout, notes = choose_layout(
            chosen.codec,
            stored,
            *reading.size,
            encoder=chosen.encoder,
            wanted=encoding.pixel_format,
        )
        seconds, sounds = reading.wanted_seconds, container.streams.audio
        size = encoding.target_size
        if size is None and chosen.bit_rate and seconds:
            silent = encoding.audio == "none"
            sound = 0 if silent else sum(bit_rate_of(each) or 0 for each in sounds)
            size = round((chosen.bit_rate + sound) * seconds / 8)
        return PlannedVideo(
            *reading.size,
            rate=float(frame_rate(reading.video)),
            seconds=seconds,
            frames=reading.expected_frames,
            codec=chosen.codec,
            encoder=chosen.encoder.encoder,
            options=chosen.options,
            bit_rate=chosen.bit_rate,
            passes=chosen.passes,
            pixel_format=layout,
            audio=encoding.audio if sounds else "none",
            bytes=size,
            notes=(*chosen.notes, *notes),
        )
