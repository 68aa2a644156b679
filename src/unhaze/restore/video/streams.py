"""Sources and targets of videos that are no files: pipes, and URLs that FFmpeg reads or writes."""

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

# Protocols whose sender does not wait for who reads; and those that a source may have at all.
LIVE = ("udp", "rtp", "rtsp", "rtmp", "rtmps", "srt", "tcp")
READ = (*LIVE, "http", "https")
# Protocols that a target may have: the suffix that stands for its form, and that form, if another.
WRITTEN = {
    "rtmp": (".flv", None),
    "rtmps": (".flv", None),
    "srt": (".ts", None),
    "udp": (".ts", None),
    "tcp": (".ts", None),
    "rtp": (".ts", "rtp_mpegts"),
    "rtsp": (".ts", "rtsp"),
}
# Forms of pipes, by the name that a user gives them: the suffix that stands for them.
FORMS = {"matroska": ".mkv", "mpegts": ".ts", "y4m": ".y4m", "flv": ".flv"}
SAME_FORM = {"matroska": ".mkv", "mpegts": ".ts", "yuv4mpegpipe": ".y4m", "flv": ".flv"}
# What a source in the network may be of, playlists too: those name URLs, and never a file here.
NETWORK_DEMUXERS = FILE_DEMUXERS + ",hls,rtsp,sdp,rtp,mpjpeg,dash,aac,ac3,eac3,mp3,webvtt"
NETWORK_PROTOCOLS = "http,https,httpproxy,tls,tcp,udp,rtp,srtp,rtmp,rtmps,rtmpt,srt,crypto,data"
# For FFmpeg: a short look at the beginning; nothing of it kept, and no end if a buffer runs over.
SHORT = {"analyzeduration": "1000000"}
PROMPT = {"fflags": "nobuffer", "overrun_nonfatal": "1"}
RETRIED = {"reconnect": "1", "reconnect_streamed": "1", "reconnect_on_network_error": "1"}
WRITTEN_AT_ONCE = {"flush_packets": "1", "max_interleave_delta": "300000"}
SILENCE = 5.0  # seconds after which a source in the network is lost
RECONNECT = 30.0  # seconds for which a lost one is tried again
PAUSE = 0.5  # seconds between two attempts
LATE = 0.15  # seconds behind the usual after which a frame of a live source is left out
DRIFT = 1e-3  # by which the sender's clock may run slower than ours
WAIT = 0.01  # seconds for which nobody waits who has a backlog
BACKLOG = 5.0  # seconds of pictures that are passed over at most
NUMBER = re.compile(r"%(?:0(\d{1,2}))?d")  # of a picture in a sequence
HEAD = 512  # bytes by which a video on a pipe is known
SIGNS = (b"\x1a\x45\xdf\xa3", b"YUV4MPEG2 ", b"FLV\x01", b"OggS", b"\0\0\1\xba", b"\0\0\0\1")


def scheme_of(text: object) -> str | None:
    """http of http://host/path, in small letters; None for what is no URL."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text) if isinstance(text, str) else None
    return found[1].lower() if found else None


def is_sequence(name: object) -> bool:
    """Whether it stands for numbered pictures: %d or %05d in its last part, and no such file."""
    if not isinstance(name, str | Path) or scheme_of(name):
        return False
    return len(NUMBER.findall(Path(name).name)) == 1 and not Path(name).exists()


def name_of(source: str | Path | IO[bytes]) -> str:
    """What to call a source in a message."""
    if isinstance(source, str | Path):
        return str(source)
    return str(getattr(source, "name", "the stream"))


def check_source_url(url: str) -> None:
    """UnhazeError for a protocol that no source has."""
    if scheme_of(url) not in READ:
        known = ", ".join(f"{each}://" for each in READ)
        raise UnhazeError(f"cannot read '{url}'; expected a file, or a URL by {known}")


def is_video_head(head: bytes) -> bool:
    """Whether the first bytes are those of a video: MP4 (AVIF and HEIC are kin), Matroska ..."""
    mp4 = head[4:8] == b"ftyp" and head[8:12].strip() in VIDEO_BRANDS
    avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    broadcast = head[:1] == head[188:189] == head[376:377] == b"G"
    return mp4 or avi or broadcast or head.startswith(SIGNS)


class Piped:
    """What comes from a pipe, for PyAV: first `head`, then the rest as it arrives.

    A read returns what is there, and waits for nothing more: so a slow stream is not held back.
    """

    def __init__(self, file: IO[bytes], head: bytes = b"") -> None:
        self.file, self.head = file, head
        self.name = str(getattr(file, "name", "the stream"))

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        if self.head:
            given, self.head = self.head[:size], self.head[size:]
            return given
        return _some(self.file, size)


def _some(file: IO[bytes], size: int) -> bytes:
    """What is there of a pipe; of a raw file each read is like that."""
    some: Callable[[int], bytes] = getattr(file, "read1", None) or file.read
    return some(size)


def peek(file: IO[bytes]) -> bytes:
    """The first bytes of a pipe, or less at its end; they are taken from it."""
    head = b""
    while len(head) < HEAD:
        some = _some(file, HEAD - len(head))
        if not some:
            break
        head += some
    return head


def readable(source: "str | Path | IO[bytes] | Piped") -> Any:
    """A source as PyAV reads it without waiting for more than it needs."""
    if isinstance(source, str | Path | Piped):
        return source
    seekable = getattr(source, "seekable", lambda: False)
    return source if seekable() else Piped(source)


class Pipe:
    """A pipe that FFmpeg writes into: bytes leave at once, and nothing winds back."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def write(self, data: bytes) -> int:
        """All of `data`."""
        self.file.write(data)
        self.file.flush()
        return len(data)


@dataclass(frozen=True)
class Sink:
    """A target that is no file. `to`: a URL, or an open binary file.

    `suffix`: stands for the container, None for the source's; `form`: FFmpeg's name of it, if it is
    not that of the suffix.
    """

    to: str | IO[bytes]
    suffix: str | None = None
    form: str | None = None

    def name_for(self, source_form: str) -> Path:
        """A name with the suffix of the container, for a source of FFmpeg's `source_form`."""
        alike = [SAME_FORM[each] for each in source_form.split(",") if each in SAME_FORM]
        return Path(f"stream{self.suffix or next(iter(alike), '.mkv')}")

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """What PyAV writes into. UnhazeError: the other side refuses, or goes away."""
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
    """The target as a sink; None if it is a file. UnhazeError: no such protocol or container."""
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
            raise UnhazeError("a file's container is told by its suffix; leave container out")
        return None
    return Sink(target, FORMS[container] if container else None)


def opening_options(source: object) -> dict[str, Any]:
    """For `open_container`: what a URL may be of, and how soon it is lost; of all else nothing."""
    scheme = scheme_of(source)
    if scheme is None:
        return {}
    options = {"format_whitelist": NETWORK_DEMUXERS, "protocol_whitelist": NETWORK_PROTOCOLS}
    options |= SHORT | (PROMPT if scheme in LIVE else RETRIED)
    if scheme == "rtsp":
        options["rtsp_transport"] = "tcp"
    return {"options": options, "timeout": SILENCE}


def is_live(source: object, container: Any) -> bool:
    """Whether an open source sends on its own time, so that what comes late is lost.

    By HTTP that is what has no end; playlists come in pieces, and are waited for.
    """
    scheme, known = scheme_of(source), container.duration is not None or container.size > 0
    if scheme in ("http", "https"):
        return not known and container.format.name not in ("hls", "dash")
    return scheme in LIVE


@dataclass
class Pace:
    """How late the frames of a live source are. `least`: what is usual, in seconds of two clocks;
    `leaps`: of the source's clock so far; `left_out`: frames that came too late.

    At first there is a backlog, of what was sent while the source was looked at; it is passed over,
    as is what has gathered whenever a frame is late. `skipped_from`: where passing over began; None
    once the reader had to wait for what comes next.
    """

    least: float = math.inf
    seen: float = 0.0
    leaps: int = 0
    left_out: int = 0
    skipped_from: float | None = math.nan

    def waited(self, seconds: float) -> None:
        """The reader has waited for what comes next: from now on it is what is sent just then."""
        if seconds > WAIT and not math.isnan(self.skipped_from or 0.0):
            self.skipped_from = None

    def is_late(self, due: float, leaps: int) -> bool:
        """Whether a frame, due at these seconds of the source's clock, is better left out."""
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
        """The source's clock has leapt, or it was lost and is back."""
        self.least = math.inf


def _why(said: str, url: str) -> str:
    reason = " ".join(said.split())
    return missing_protocol(url) if "Protocol not found" in reason else reason


def missing_protocol(url: str) -> str:
    """What to do where PyAV's FFmpeg lacks a protocol, as SRT."""
    return (
        f"the FFmpeg of PyAV has no {scheme_of(url)}; let one that has it pass the stream on:"
        f" ffmpeg -i '{url}' -c copy -f matroska - | unhaze - -o -"
    )
