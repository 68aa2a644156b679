"""The encoded part of a long video, kept beside its target, from which a killed run resumes.

A file of packets as they leave the encoder, each with a checksum. Everything before the last key
frame is reused; the rest is restored again.
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

LONG = 60.0  # minimum seconds of a video with a journal
WARM = 16.0  # seconds before the gap that the network sees again, to restore the state of the field
HEAD = struct.Struct("<8sI")
RECORD = struct.Struct("<IIqqqB")  # size, checksum, pts, dts, duration, whether a key frame
MAGIC = b"unhaze\x01\n"


@dataclass
class Journal:
    """Packets of the result of one source with the settings in `facts`.

    `begin`, `end`: of the reused ones, in the file. `until`: where to continue in the source, in
    ticks of the encoder; None: at its start. `base`: seconds per tick. `kept`: frames before that.
    `extradata`: a digest of the encoder's description of itself.
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
        """Returns the seconds from the first picture at which to resume."""
        return 0.0 if self.until is None else self.until * self.base

    def packets(self) -> Iterator[Packet]:
        """Yields the reused packets, in the order in which they were encoded."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            while file.tell() < self.end:
                size, _, pts, dts, duration, key = RECORD.unpack(file.read(RECORD.size))
                packet = Packet(file.read(size))
                packet.pts, packet.dts, packet.duration = pts, dts, duration
                packet.is_keyframe = bool(key)
                yield packet

    def note(self, packets: list[Packet]) -> None:
        """Stores what has just been encoded."""
        if self.broken:
            return
        try:
            for packet in packets:
                data = bytes(packet)
                facts = (packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe)
                self.file.write(RECORD.pack(len(data), zlib.crc32(data), *facts) + data)
            self.file.flush()
        except OSError:
            self.give_way()

    def give_way(self) -> bool:
        """Ends the journal for good, as on a full disk: the result needs the room. Returns whether
        there was one.
        """
        if self.broken:
            return False
        self.broken = True
        self.remove()
        return True

    def remove(self) -> None:
        """Removes the file when the result is complete."""
        with contextlib.suppress(OSError):
            self.file.close()
        self.path.unlink(missing_ok=True)

    def begin_with(self, extradata: bytes | None, base: float) -> None:
        """Writes the header of a new journal, once its encoder is open."""
        digest = hashlib.sha256(extradata or b"").hexdigest()
        text = json.dumps([self.facts, digest, base]).encode()
        self.file.write(HEAD.pack(MAGIC, len(text)) + text)

    def check(self, extradata: bytes | None, base: float) -> None:
        """Raises UnhazeError if the current encoder cannot continue the kept packets."""
        found = hashlib.sha256(extradata or b"").hexdigest()
        if self.until is not None and (found, base) != (self.extradata, self.base):
            self.remove()
            raise UnhazeError(
                "the part kept by an earlier run does not match any more; run the command again"
            )


def journal_of(target: Path) -> Path:
    """Returns the path: hidden, beside the target."""
    return target.with_name(f".{target.name}.unfinished")


def open_journal(target: Path, facts: dict[str, Any]) -> Journal | None:
    """Returns the journal of an earlier run with the same `facts`, or a new one; None if
    impossible.

    Another process that writes the same target keeps its own.
    """
    path, text = journal_of(target), json.dumps(facts, sort_keys=True)
    try:
        path.touch(0o600)  # whoever may not read the video may not read this
        file = path.open("r+b")
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
    """Returns the journal up to its last key frame; None if it belongs to something else, or has
    none.
    """
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
        # Nothing displayed before the key frame may come after it.
        if key and count and pts > latest:
            place.until, place.kept, place.end = pts, count, file.tell() - size - RECORD.size
        latest, count = max(latest, pts), count + 1
    return None if place.until is None else place


def _locked(file: BinaryIO) -> bool:
    """Returns whether no other process uses it; True on Windows, which has no such locks."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
