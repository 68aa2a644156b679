"""Sources and targets of videos that are not files: pipes, and URLs that FFmpeg reads or writes."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from unhaze.errors import UnhazeError
from unhaze.restore.video.containers import FILE_DEMUXERS, VIDEO_BRANDS
from unhaze.validation import lookup

# Protocols whose sender does not wait for the reader; and all that a source may have.
LIVE = ("udp", "rtp", "rtsp", "rtmp", "rtmps", "srt", "tcp")
READ = (*LIVE, "http", "https")
# Protocols of targets: the suffix that stands for the container, and its form, if another.
WRITTEN = {
    "rtmp": (".flv", None),
    "rtmps": (".flv", None),
    "srt": (".ts", None),
    "udp": (".ts", None),
    "tcp": (".ts", None),
    "rtp": (".ts", "rtp_mpegts"),
    "rtsp": (".ts", "rtsp"),
}
# Containers on pipes, by the user's name: the suffix that stands for them.
FORMS = {"matroska": ".mkv", "mpegts": ".ts", "y4m": ".y4m", "flv": ".flv"}
SAME_FORM = {"matroska": ".mkv", "mpegts": ".ts", "yuv4mpegpipe": ".y4m", "flv": ".flv"}
# Allowed formats of a network source, playlists included: those name URLs, never a local file.
NETWORK_DEMUXERS = FILE_DEMUXERS + ",hls,rtsp,sdp,rtp,mpjpeg,dash,aac,ac3,eac3,mp3,webvtt"
NETWORK_PROTOCOLS = "http,https,httpproxy,tls,tcp,udp,rtp,srtp,rtmp,rtmps,rtmpt,srt,crypto,data"
# FFmpeg's options: short probing without buffering, and no end if a buffer overflows.
SHORT = {"analyzeduration": "1000000"}
PROMPT = {"fflags": "nobuffer", "overrun_nonfatal": "1"}
RETRIED = {"reconnect": "1", "reconnect_streamed": "1", "reconnect_on_network_error": "1"}
WRITTEN_AT_ONCE = {"flush_packets": "1", "max_interleave_delta": "300000"}
SILENCE = 5.0  # seconds after which a network source counts as lost
RECONNECT = 30.0  # seconds of attempts to reconnect
PAUSE = 0.5  # seconds between two attempts
LATE = 0.15  # seconds beyond the usual delay after which a frame of a live source is dropped
DRIFT = 1e-3  # by which the sender's clock may run slower than the local one
WAIT = 0.01  # seconds without waiting that mean that there is a backlog
BACKLOG = 5.0  # most seconds of pictures that are skipped
NUMBER = re.compile(r"%(?:0(\d{1,2}))?d")  # number of a picture in a sequence
HEAD = 512  # bytes by which a video on a pipe is recognised
SIGNS = (b"\x1a\x45\xdf\xa3", b"YUV4MPEG2 ", b"FLV\x01", b"OggS", b"\0\0\1\xba", b"\0\0\0\1")


def scheme_of(text: object) -> str | None:
    """Returns http for http://host/path, in lower case; None if it is not a URL."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text) if isinstance(text, str) else None
    return found[1].lower() if found else None


def is_sequence(name: object) -> bool:
    """Returns whether it names numbered pictures: %d or %05d in its last part, and no such file."""
    if not isinstance(name, str | Path) or scheme_of(name):
        return False
    return len(NUMBER.findall(Path(name).name)) == 1 and not Path(name).exists()


def name_of(source: str | Path | IO[bytes]) -> str:
    """Returns the name of a source for messages."""
    if isinstance(source, str | Path):
        return str(source)
    return str(getattr(source, "name", "the stream"))


def is_video_head(head: bytes) -> bool:
    """Returns whether the first bytes are those of a video: MP4 (not AVIF and HEIC), Matroska
    ...
    """
    mp4 = head[4:8] == b"ftyp" and head[8:12].strip() in VIDEO_BRANDS
    avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    broadcast = head[:1] == head[188:189] == head[376:377] == b"G"
    return mp4 or avi or broadcast or head.startswith(SIGNS)


class Piped:
    """Data from a pipe, for PyAV: first `head`, then the rest as it arrives.

    A read returns the available bytes without waiting for more, so that a slow stream is not
    delayed.
    """

    def __init__(self, file: IO[bytes], head: bytes = b"") -> None:
        self.file, self.head = file, head
        self.name = str(getattr(file, "name", "the stream"))

    def read(self, size: int) -> bytes:
        """Returns at most `size` bytes; none at the end."""
        if self.head:
            given, self.head = self.head[:size], self.head[size:]
            return given
        return _some(self.file, size)


def _some(file: IO[bytes], size: int) -> bytes:
    """Returns the available bytes of a pipe; each read of a raw file does this."""
    some: Callable[[int], bytes] = getattr(file, "read1", None) or file.read
    return some(size)


def peek(file: IO[bytes]) -> bytes:
    """Reads the first bytes of a pipe, or fewer at its end; they are taken from it."""
    head = b""
    while len(head) < HEAD:
        some = _some(file, HEAD - len(head))
        if not some:
            break
        head += some
    return head


def readable(source: "IO[bytes] | Piped") -> "IO[bytes] | Piped":
    """Returns a source that PyAV reads without waiting for more than it needs."""
    if isinstance(source, Piped):
        return source
    seekable = getattr(source, "seekable", lambda: False)
    return source if seekable() else Piped(source)


class Pipe:
    """A pipe that FFmpeg writes to: bytes are sent at once, and it cannot seek."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def write(self, data: bytes) -> int:
        """Writes all of `data`."""
        self.file.write(data)
        self.file.flush()
        return len(data)


@dataclass(frozen=True)
class Sink:
    """A target that is not a file. `to`: a URL, or an open binary file.

    `suffix`: stands for the container, None for the source's; `form`: FFmpeg's name of it, if it is
    not that of the suffix.
    """

    to: str | IO[bytes]
    suffix: str | None = None
    form: str | None = None

    def name_for(self, source_form: str) -> Path:
        """Returns a name with the suffix of the container, for a source of FFmpeg's
        `source_form`.
        """
        alike = [SAME_FORM[each] for each in source_form.split(",") if each in SAME_FORM]
        return Path(f"stream{self.suffix or next(iter(alike), '.mkv')}")

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """Returns what PyAV writes to. UnhazeError: the other side refuses, or disconnects."""
        from av.error import FFmpegError

        if not isinstance(self.to, str):
            yield Pipe(self.to)
            return
        try:
            yield self.to
        except (FFmpegError, OSError) as error:
            why = _why(getattr(error, "strerror", None) or str(error), self.to)
            raise UnhazeError(f"cannot write to '{self.to}': {why}") from error


def sink_of(target: str | Path | IO[bytes], container: str | None) -> Sink | None:
    """Returns the target as a sink; None if it is a file. UnhazeError: no such protocol or
    container.
    """
    if container is not None:
        lookup(FORMS, container, "container of streams")
    scheme = scheme_of(target)
    if isinstance(target, str) and scheme is not None:
        if scheme not in WRITTEN:
            known = ", ".join(f"{each}://" for each in WRITTEN)
            raise UnhazeError(f"cannot write to '{target}'; expected a file, or a URL by {known}")
        suffix, form = WRITTEN[scheme]
        return Sink(target, FORMS[container] if container else suffix, form)
    if isinstance(target, str | Path):
        if container is not None:
            raise UnhazeError("the suffix of a file sets its container; leave container out")
        return None
    return Sink(target, FORMS[container] if container else None)


def opening_options(source: object) -> dict[str, Any]:
    """Returns options for `open_container`: formats and timeouts of a URL; none for other
    sources. UnhazeError: an unsupported protocol.
    """
    scheme = scheme_of(source)
    if scheme is None:
        return {}
    if scheme not in READ:
        known = ", ".join(f"{each}://" for each in READ)
        raise UnhazeError(f"cannot read '{source}'; expected a file, or a URL by {known}")
    options = {"format_whitelist": NETWORK_DEMUXERS, "protocol_whitelist": NETWORK_PROTOCOLS}
    options |= SHORT | (PROMPT if scheme in LIVE else RETRIED)
    if scheme == "rtsp":
        options["rtsp_transport"] = "tcp"
    return {"options": options, "timeout": SILENCE}


def is_live(source: object, container: Any) -> bool:
    """Returns whether an open source sends in real time, so that what comes late is lost.

    For HTTP, those without an end; playlists come in pieces, which are waited for.
    """
    scheme, known = scheme_of(source), container.duration is not None or container.size > 0
    if scheme in ("http", "https"):
        return not known and container.format.name not in ("hls", "dash")
    return scheme in LIVE


@dataclass
class Pace:
    """Delay of the frames of a live source. `least`: the usual one, in seconds between two clocks;
    `leaps`: jumps of the source's clock so far; `left_out`: dropped frames.

    At first there is a backlog of what was sent during probing. It is skipped, and so is what
    accumulates whenever a frame is late. `skipped_from`: where skipping began; None once the reader
    had to wait for the next frame.
    """

    least: float = math.inf
    seen: float = 0.0
    leaps: int = 0
    left_out: int = 0
    skipped_from: float | None = math.nan

    def waited(self, seconds: float) -> None:
        """Records that the reader had to wait, so that from now on frames are current."""
        if seconds > WAIT and not math.isnan(self.skipped_from or 0.0):
            self.skipped_from = None

    def is_late(self, due: float, leaps: int) -> bool:
        """Returns whether to drop a frame, due at these seconds of the source's clock."""
        now = time.monotonic()
        behind = now - due
        if leaps != self.leaps:
            self.start_anew()
            self.leaps = leaps
        self.least = min(behind, self.least + DRIFT * (now - self.seen))
        self.seen = now
        if self.skipped_from is not None:
            self.skipped_from = due if math.isnan(self.skipped_from) else self.skipped_from
            if not 0 <= due - self.skipped_from < BACKLOG:
                self.skipped_from = None
        elif behind - self.least > LATE:
            self.skipped_from = due
        self.left_out += self.skipped_from is not None
        return self.skipped_from is not None

    def start_anew(self) -> None:
        """Resets the state after the source's clock has jumped, or it was lost and is back."""
        self.least = math.inf


def _why(said: str, url: str) -> str:
    reason = " ".join(said.split())
    return missing_protocol(url) if "Protocol not found" in reason else reason


def missing_protocol(url: str) -> str:
    """Returns what to do if PyAV's FFmpeg lacks a protocol, such as SRT."""
    return (
        f"the FFmpeg of PyAV has no {scheme_of(url)}; let one that has it pass the stream on:"
        f" ffmpeg -i '{url}' -c copy -f matroska - | unhaze - -o -"
    )
