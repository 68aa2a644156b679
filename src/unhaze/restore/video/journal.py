"""What a long video has encoded so far, kept beside its target: a killed run goes on from there.

A file of packets as they leave the encoder, each with a checksum. All before the last key frame is
used again; what comes after it is restored once more.
"""

import contextlib
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from av import Packet

from unhaze.errors import UnhazeError

LONG = 60.0  # seconds from which on a video has one
WARM = 8.0  # seconds before the gap that the network sees again: then the field is what it was
HEAD = struct.Struct("<8sI")
RECORD = struct.Struct("<IIqqqB")  # size, checksum, pts, dts, duration, whether a key frame
MAGIC = b"unhaze\x01\n"


@dataclass
class Journal:
    """Packets of the result of one source by one way of restoring it, which `facts` tell.

    `begin`, `end`: of those that are used again, in the file. `until`: where the source is to be
    gone on with, in ticks of the encoder; None: at its start. `base`: seconds in a tick. `kept`:
    frames before that. `extradata`: a digest of what the encoder says of itself.
    """

    path: Path
    file: BinaryIO
    facts: str
    begin: int = 0
    end: int = 0
    until: int | None = None
    base: float = 0.0
    kept: int = 0
    extradata: str = ""
    broken: bool = False

    @property
    def resumes_at(self) -> float:
        """Seconds from the first picture."""
        return 0.0 if self.until is None else self.until * self.base

    def packets(self) -> Iterator[Packet]:
        """Those that are used again, in the order in which they were encoded."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            while file.tell() < self.end:
                size, _, pts, dts, duration, key = RECORD.unpack(file.read(RECORD.size))
                packet = Packet(file.read(size))
                packet.pts, packet.dts, packet.duration = pts, dts, duration
                packet.is_keyframe = bool(key)
                yield packet

    def note(self, packets: list[Packet]) -> None:
        """Keeps what has just been encoded. A disk that takes no more ends the journal only."""
        if self.broken:
            return
        try:
            for packet in packets:
                data = bytes(packet)
                facts = (packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe)
                self.file.write(RECORD.pack(len(data), zlib.crc32(data), *facts) + data)
            self.file.flush()
        except OSError:
            self.broken = True
            self.remove()

    def remove(self) -> None:
        """When the result is whole."""
        with contextlib.suppress(OSError):
            self.file.close()
        self.path.unlink(missing_ok=True)

    def begin_with(self, extradata: bytes | None, base: float) -> None:
        """Writes the head of a new one, once its encoder is open."""
        digest = hashlib.sha256(extradata or b"").hexdigest()
        text = json.dumps([self.facts, digest, base]).encode()
        self.file.write(HEAD.pack(MAGIC, len(text)) + text)

    def check(self, extradata: bytes | None, base: float) -> None:
        """UnhazeError if an encoder of today does not go on with what is kept."""
        found = hashlib.sha256(extradata or b"").hexdigest()
        if self.until is not None and (found, base) != (self.extradata, self.base):
            self.remove()
            raise UnhazeError("what an earlier run has kept does not fit any more; run it again")


def journal_of(target: Path) -> Path:
    """Hidden, beside the target."""
    return target.with_name(f".{target.name}.unfinished")


def open_journal(target: Path, facts: dict[str, Any]) -> Journal | None:
    """That of an earlier run with the same `facts`, or a new one; None where none can be kept.

    Another process that writes the same target keeps its own.
    """
    path, text = journal_of(target), json.dumps(facts, sort_keys=True)
    try:
        file = path.open("r+b") if path.exists() else path.open("x+b")
    except OSError:
        return None
    if not _locked(file):
        file.close()
        return None
    found = _read(path, file, text)
    if found is not None:
        file.truncate(found.end)
        file.seek(found.end)
        return found
    file.seek(0)
    file.truncate()
    return Journal(path, file, text)


def _read(path: Path, file: BinaryIO, facts: str) -> Journal | None:
    """The journal up to its last key frame; None if it is of something else, or has none."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size or not head.startswith(MAGIC):
        return None
    text = file.read(HEAD.unpack(head)[1])
    try:
        told, extradata, base = json.loads(text)
    except ValueError:
        return None
    if told != facts:
        return None
    start = file.tell()
    place = Journal(path, file, facts, start, start, base=base, extradata=extradata)
    latest, count = -(1 << 62), 0
    while len(head := file.read(RECORD.size)) == RECORD.size:
        size, checksum, pts, _, _, key = RECORD.unpack(head)
        data = file.read(size)
        if len(data) < size or zlib.crc32(data) != checksum:
            break
        # Nothing that is shown before the key frame may come behind it.
        if key and count and pts > latest:
            place.until, place.kept, place.end = pts, count, file.tell() - size - RECORD.size
        latest, count = max(latest, pts), count + 1
    return None if place.until is None else place


def _locked(file: BinaryIO) -> bool:
    """Whether no other process has it; Windows has no such locks, there all have."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
