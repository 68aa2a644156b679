"""Small videos for the tests, made by PyAV; and a restorer that needs no network."""

import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unhaze.outputs import AS_MODEL, Controls

av = pytest.importorskip("av")

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="no ffmpeg here; on Debian: apt-get install ffmpeg"
)
LOSSLESS = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=error"}}


class Fixed:
    """A restorer whose field is the same everywhere: restored = gain * hazy + offset."""

    native = False
    frame_analysis = 640
    threads = 1
    controls = AS_MODEL

    def __init__(self, gain: float = 1.0, offset: float = 0.0) -> None:
        self.gain, self.offset = gain, offset
        self.seen: list[np.ndarray] = []

    def controlled(self, controls: Controls) -> "Fixed":
        """With those it has: none."""
        assert controls == self.controls
        return self

    def estimate(
        self, pixels: np.ndarray, *, grey: bool = False, profile: bytes | None = None
    ) -> np.ndarray:
        self.seen.append(pixels.copy())
        maps = np.empty((3, 2, *pixels.shape[:2]), np.float32)
        maps[:, 0], maps[:, 1] = self.gain, self.offset
        return maps


def hazy_scene(width: int, height: int, step: int = 0, seed: int = 0) -> np.ndarray:
    """(H,W,3) uint8: waves of low contrast, moving to the left by 2 pixels a step."""
    across, down = np.meshgrid(np.arange(width) + 2.0 * step, np.arange(height))
    waves = [np.sin(across / 9 + seed), np.cos(down / 7 + across / 15 + seed), np.sin(across / 13)]
    return np.clip(np.rint(150 + 45 * np.stack(waves, -1)), 0, 255).astype(np.uint8)


def make_clip(
    path: Path,
    *,
    size: tuple[int, int] = (64, 48),
    count: int = 12,
    rate: int = 10,
    codec: str = "libx264",
    layout: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: int | None = None,
    sound: str | None = None,
    settings: Mapping[str, Any] | None = None,
    frames: Sequence[np.ndarray] | None = None,
    metadata: Mapping[str, str] | None = None,
    chapters: Sequence[tuple[float, float, str]] = (),
) -> Path:
    """Writes a lossless clip. `times`: of the frames in milliseconds; `sound`: codec of a tone;
    `settings`: attributes of the encoder; `chapters`: (start, end, title) in seconds."""
    if frames is None:
        frames = [hazy_scene(*size, step) for step in range(count)]
    milli = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate, options=dict(LOSSLESS.get(codec, {})))
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = layout
        video.codec_context.time_base = milli
        for name, value in (settings or {}).items():
            # Flags come on top of those that the container asks for.
            present = video.codec_context.flags if name == "flags" else 0
            setattr(video.codec_context, name, value | present if present else value)
        if rotation:
            video.set_display_rotation(rotation)
        container.metadata.update(metadata or {})
        tone = container.add_stream(sound, rate=48000) if sound else None
        if tone is not None:
            tone.metadata["language"] = "deu"
        if chapters:
            container.set_chapters(
                [_chapter(number, *each) for number, each in enumerate(chapters)]
            )
        for number, pixels in enumerate(frames):
            kind = "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, kind).reformat(format=layout)
            frame.pts = times[number] if times else round(1000 * number / rate)
            frame.time_base = milli
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if tone is not None:
            _write_tone(container, tone, len(frames) / rate)
    return path


def _chapter(number: int, start: float, end: float, title: str) -> dict[str, Any]:
    times = {"start": round(1000 * start), "end": round(1000 * end)}
    return {"id": number, "time_base": Fraction(1, 1000), "metadata": {"title": title}} | times


def _write_tone(
    container: av.container.OutputContainer, tone: av.AudioStream, seconds: float
) -> None:
    for start in range(0, int(seconds * 48000), 1024):
        wave = 0.3 * np.sin((np.arange(1024) + start) * 0.05)
        form = tone.codec_context.format.name
        samples = wave if form.startswith("flt") else wave * 32767
        kind = np.float32 if form.startswith("flt") else np.int16
        planes = np.repeat(samples.astype(kind)[None], 2, 0)
        packed = planes if form.endswith("p") else planes.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), form, "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux(tone.encode(frame))
    container.mux(tone.encode(None))


def add_subtitles(source: Path, target: Path) -> Path:
    """A copy of `source` with two subtitles, 0.1 to 0.5 s and 0.6 to 1.0 s."""
    texts = [(100, 400, "First"), (600, 400, "Zweitens: ärgerlich")]
    in_mp4 = target.suffix == ".mp4"
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        copies = [container.add_stream_from_template(each, opaque=True) for each in given.streams]
        for each, copy in zip(given.streams, copies):
            copy.metadata.update(each.metadata)
        subtitles = container.add_mux_stream("mov_text" if in_mp4 else "subrip")
        subtitles.time_base = Fraction(1, 1000)
        subtitles.metadata["language"] = "fra"
        for packet in given.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
        for start, length, text in texts:
            encoded = text.encode()
            packet = av.Packet(len(encoded).to_bytes(2, "big") + encoded if in_mp4 else encoded)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = length, Fraction(1, 1000), subtitles
            container.mux(packet)
    return target


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def rgb_of(path: Path) -> np.ndarray:
    """All frames as (n,H,W,3) uint8."""
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames_of(path)])


def packets_of(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """(seconds, content) of the packets of the first stream of a kind, in order."""
    with av.open(str(path)) as container:
        stream = next(each for each in container.streams if each.type == kind)
        packets = [packet for packet in container.demux(stream) if packet.size]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]
