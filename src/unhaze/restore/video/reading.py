"""Opens anything that FFmpeg opens and yields decoded frames, and packets of streams to copy."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
from av import Packet, VideoFrame
from av.container import InputContainer
from av.error import ArgumentError, ExitError, FFmpegError, ProtocolNotFoundError
from av.stream import Disposition
from av.video.stream import VideoStream

from unhaze.errors import UnhazeError
from unhaze.restore.video.clock import BROADCAST, Clock, base_of, frame_rate
from unhaze.restore.video.containers import FILE_DEMUXERS
from unhaze.restore.video.declared import missing_bytes
from unhaze.restore.video.streams import PAUSE, Pace, missing_protocol, name_of, readable

# Tags that are not UTF-8 are kept byte by byte, which is PyAV's default from version 19 on.
KEEP_BYTES: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)
MICRO = 1_000_000  # of a second, the unit of containers
UNTIMED = ("avi",)  # containers with a frame rate, but without times
# Formats without an index: a seek may land behind the key frame, so it aims earlier by this much.
UNINDEXED, LEAD = ("mpegts", "mpeg"), 10.0


@dataclass
class Damage:
    """Damage found on the way: broken packets and frames, and why reading ended early.

    `returns`: how often a lost source came back.
    """

    places: int = 0
    end: str | None = None
    returns: int = 0


@dataclass(frozen=True)
class Reading:
    """An open video. `origin`: seconds that its clock shows at its beginning.

    `start`, `end`: the wanted part, in seconds from the beginning, None: from the first, to the
    last. `stop`: when set, reading ends as at the end of the file. `reached`: seconds from the
    beginning at which each stream of pictures or sound ended, by its number. `pace`: of a live
    source. `reopen`: opens a lost source again, tried for `patience` seconds. `piped`: it cannot
    seek.
    """

    container: InputContainer
    video: VideoStream
    start: float | None = None
    end: float | None = None
    pace: Pace | None = None
    reopen: Callable[[], InputContainer] | None = None
    patience: float = 0.0
    piped: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    damage: Damage = field(default_factory=Damage)
    reached: dict[int, float] = field(default_factory=dict)
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        broadcast = not set(self.container.format.name.split(",")).isdisjoint(BROADCAST)
        dense = ("video", "audio")
        sparse = {each.index for each in self.container.streams if each.type not in dense}
        object.__setattr__(self, "clock", Clock(broadcast, frozenset(sparse)))

    @property
    def origin(self) -> float:
        return (self.container.start_time or 0) / MICRO

    @property
    def decoding_times(self) -> bool:
        """Returns whether frames come one by one in the order of the file: their times of display
        are FFmpeg's guess, a frame or more late, and times of decoding state when a frame is due.
        """
        return self.container.format.name in UNTIMED

    @property
    def duration(self) -> float | None:
        """Returns the seconds of the whole, if the file states them."""
        if self.video.duration:
            return float(self.video.duration * base_of(self.video))
        return self.container.duration / MICRO if self.container.duration else None

    @property
    def endless(self) -> bool:
        """Returns whether it has no end of its own, like a camera; stopping it loses nothing."""
        return self.pace is not None and self.duration is None

    @property
    def lacks(self) -> float:
        """Returns by how many seconds the wanted part was shorter than declared."""
        wanted = min(self.end or math.inf, self.duration or 0.0)
        own = self.reached.get(self.video.index, 0.0)
        # What only the whole file declares is the length of its longest stream.
        return wanted - (own if self.video.duration else max(self.reached.values(), default=0.0))

    @property
    def size(self) -> tuple[int, int]:
        """Returns width and height as decoded, not yet turned upright."""
        return self.video.codec_context.width, self.video.codec_context.height

    @property
    def expected_frames(self) -> int | None:
        """Returns the declared number of frames of the wanted part; None if the file states
        nothing.
        """
        if self.start is None and self.end is None and self.video.frames:
            return self.video.frames
        seconds = self.wanted_seconds
        return None if seconds is None else max(0, round(seconds * frame_rate(self.video)))

    @property
    def wanted_seconds(self) -> float | None:
        """Returns the declared seconds of the wanted part; negative if it is behind the end."""
        if self.duration is None:
            return None
        return min(self.end or math.inf, self.duration) - (self.start or 0)

    def time_of(self, moment: Packet | VideoFrame) -> float:
        """Returns the seconds from the beginning at which a packet or frame is due; 0 if it does
        not say.
        """
        stamp = moment.dts if moment.pts is None else moment.pts
        if stamp is None:
            return 0.0
        return float(stamp * base_of(moment)) - self.origin


def open_container(
    source: str | Path | IO[bytes],
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    timeout: float | None = None,
    demuxers: str = FILE_DEMUXERS,
    max_pixels: int | None = None,
) -> InputContainer:
    """Opens a file, a URL or a device. `timeout`: seconds without data after which it is lost.

    A file opens no other file and no URL, and only with one of the `demuxers` (names of FFmpeg,
    separated by commas) unless `format` names one. `max_pixels`: larger frames are not even decoded
    for probing; `find_video` refuses them. UnhazeError: one line, if FFmpeg cannot open it.
    """
    wanted, given = dict(options or {}), source
    local = not isinstance(source, str | Path) or Path(source).exists()
    if local and format is None:
        wanted = {"format_whitelist": demuxers, "protocol_whitelist": "file"} | wanted
    if isinstance(source, str | Path):
        given = f"file:{source}" if local and format is None else str(source)
    else:
        given = readable(source)
    if max_pixels is not None:
        wanted["max_pixels"] = str(max_pixels)
    try:
        return av.open(given, "r", format=format, options=wanted, timeout=timeout, **KEEP_BYTES)
    except (FFmpegError, OSError, ValueError) as error:
        why = reason(error)
        if local and format is None and isinstance(error, ArgumentError):
            why = "pictures, and files that refer to others, such as playlists, are not opened"
        if isinstance(error, ExitError):
            why = f"no answer within {timeout:g} s"
        if isinstance(error, ProtocolNotFoundError) and not local:
            why = missing_protocol(str(source))
        missing = missing_bytes(Path(source)) if local and isinstance(source, str | Path) else 0
        if missing:
            why += f"; it is cut off: at least {missing} declared bytes are missing"
        raise UnhazeError(f"cannot read '{name_of(source)}' as a video: {why}") from error


def find_video(container: InputContainer, source: str | Path | IO[bytes]) -> VideoStream:
    """Returns the stream to restore: FFmpeg's choice among those that are not cover pictures.

    UnhazeError: none, no decoder, or frames larger than the limit of `open_container`; those that
    appear only later in the file are damage.
    """
    covers = Disposition.attached_pic
    videos = [each for each in container.streams.video if not each.disposition & covers]
    best = container.streams.best("video")
    video = next((each for each in videos if each is best), next(iter(videos), None))
    if video is None:
        raise UnhazeError(f"'{name_of(source)}' contains no video")
    if video.codec_context is None:
        raise UnhazeError(f"no decoder for the video in '{name_of(source)}'; convert it first")
    width, height = video.codec_context.width, video.codec_context.height
    limit = container.options.get("max_pixels")
    if limit is not None:
        if width * height > int(limit):
            raise UnhazeError(f"frames of {width} x {height} pixels exceed the limit of {limit}")
        video.codec_context.options = {"max_pixels": limit}
    video.thread_type = "AUTO"
    return video


def read(
    reading: Reading, copied: Collection[int] = ()
) -> Generator[VideoFrame | Packet, None, None]:
    """Yields frames of the wanted part in order of time, and packets of the streams numbered
    `copied`.

    The `pts` of every frame is greater than that of the one before; where the source's clock jumps,
    all streams continue together. Damaged places are skipped and counted. Packets may lie outside
    the wanted part.
    """
    streams = [each for each in reading.container.streams if each.index in copied]
    sounds = [each for each in reading.container.streams.audio if each.index not in copied]
    # Subtitles are sparse: their end is not waited for.
    open_ends = {each.index for each in streams if each.type == "audio"} | {reading.video.index}
    _seek(reading)
    last, rate = None, frame_rate(reading.video)
    # (The last packets of PyAV, which are empty, have a stream but no valid `stream_index`.)
    for packet in reading.clock.ordered(_packets(reading, [reading.video, *streams, *sounds])):
        _note_reach(reading, packet)
        if packet.stream.index == reading.video.index:
            if reading.video.index not in open_ends:
                continue
            for frame in _decoded(packet, reading.damage):
                if reading.decoding_times:
                    frame.pts = frame.dts
                last = _set_time(frame, last, rate)
                if reading.end is not None and reading.time_of(frame) >= reading.end:
                    open_ends.discard(reading.video.index)
                    break
                pace, due = reading.pace, reading.time_of(frame)
                if pace is not None and pace.is_late(due, reading.clock.leaps):
                    continue
                # Half a microsecond: what the user types is rounded, what the file says is not.
                if reading.start is None or reading.time_of(frame) >= reading.start - 5e-7:
                    yield frame
        elif packet.size and packet.stream.index in copied:  # empty ones are for decoders only
            if reading.end is not None and reading.time_of(packet) >= reading.end:
                open_ends.discard(packet.stream.index)
            yield packet
        if not open_ends:
            return


def _note_reach(reading: Reading, packet: Packet) -> None:
    stream = packet.stream
    if packet.size and packet.time_base and stream.type in ("video", "audio"):
        end = reading.time_of(packet) + float((packet.duration or 0) * packet.time_base)
        reading.reached[stream.index] = max(end, reading.reached.get(stream.index, end))


def _set_time(frame: VideoFrame, last: int | None, rate: Fraction) -> int:
    """Gives a frame without a time one, keeps times in order, and returns the frame's."""
    if frame.time_base is None:
        frame.time_base = 1 / rate
    if frame.pts is None:
        usual = frame.duration or round(1 / (rate * frame.time_base)) or 1
        frame.pts = 0 if last is None else last + usual
    if last is not None and frame.pts <= last:
        frame.pts = last + 1
    return frame.pts


def _seek(reading: Reading) -> None:
    if not reading.start or reading.piped:
        return  # FFmpeg would read a pipe to its end to find the place
    early = LEAD if reading.container.format.name in UNINDEXED else 0.0
    offset = max(0.0, reading.start - early) + reading.origin
    # A source that cannot seek, at all or that far, is read from here on instead.
    with contextlib.suppress(FFmpegError, OverflowError):
        reading.container.seek(int(offset * MICRO))


def _packets(reading: Reading, streams: list) -> Iterator[Packet]:
    """Yields the packets of the source, also after it was lost and came back."""
    numbers = [each.index for each in streams]
    with contextlib.ExitStack() as others:
        container = reading.container
        while container is not None:
            ended = None
            try:
                packets = container.demux([container.streams[each] for each in numbers])
                for packet in packets if reading.pace is None else _timed(packets, reading.pace):
                    if reading.stop.is_set():
                        return
                    yield packet
            except (FFmpegError, OSError) as error:
                ended = "no more data" if isinstance(error, ExitError) else reason(error)
            container = _back(reading, numbers)
            if container is None:
                reading.damage.end = ended
                return
            others.enter_context(container)


def _timed(packets: Iterator[Packet], pace: Pace) -> Iterator[Packet]:
    """Yields the packets; `pace` receives how long each was waited for."""
    begin = time.monotonic()
    for packet in packets:
        pace.waited(time.monotonic() - begin)
        yield packet
        begin = time.monotonic()


def _back(reading: Reading, numbers: list[int]) -> InputContainer | None:
    """Returns the source, opened again, if it is the same one and comes back in time."""
    until = time.monotonic() + reading.patience
    kinds = [_kind(reading.container, each) for each in numbers]
    while reading.reopen is not None and time.monotonic() < until:
        if reading.stop.wait(PAUSE):
            return None
        try:
            container = reading.reopen()
        except UnhazeError:
            continue
        if [_kind(container, each) for each in numbers] == kinds:
            reading.damage.returns += 1
            if reading.pace is not None:
                reading.pace.start_anew()
            return container
        container.close()
    return None


def _kind(container: InputContainer, number: int) -> tuple[str, str] | None:
    """Returns the type of a stream; None if there is none with that number."""
    if number >= len(container.streams):
        return None
    stream = container.streams[number]
    return stream.type, stream.codec_context.name if stream.codec_context else ""


def _decoded(packet: Packet, damage: Damage) -> list[VideoFrame]:
    try:
        frames = packet.decode()
    except FFmpegError:
        damage.places += 1
        return []
    damage.places += sum(frame.is_corrupt for frame in frames)
    return frames


def reason(error: BaseException) -> str:
    """Returns the message of FFmpeg or the system in one line."""
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
