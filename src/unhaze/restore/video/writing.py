"""Writes restored frames to a video file, with the source's other streams; the file is complete or
absent, and every failure is raised.
"""

import contextlib
import errno
import io
import itertools
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from av import Packet
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from unhaze.atomic import new_file
from unhaze.errors import UnhazeError, counted
from unhaze.restore.video.ahead import Ahead, timed
from unhaze.restore.video.clock import base_of
from unhaze.restore.video.codecs import carried_by, left_out
from unhaze.restore.video.copying import Sound, is_cover
from unhaze.restore.video.journal import Journal
from unhaze.restore.video.output import Output, configure, in_full_range
from unhaze.restore.video.pixels import Picture, to_frame
from unhaze.restore.video.reading import Reading

WARM_UP = 0.08  # seconds of sound that decoders need before the audible part; Opus the most


def write(
    items: Ahead, output: Output, reading: Reading, seconds: dict[str, float]
) -> Iterator[float]:
    """Encodes pictures, copies packets (`items` are both), ends the file; yields pictures' times.

    UnhazeError: there was not one picture, or the encoder refuses them.
    """
    converter = VideoReformatter()
    layout, shift = None, reading.origin
    waiting: list[Packet] = []
    with contextlib.closing(items):
        for item in items:
            if isinstance(item, Packet):
                waiting.append(item)
            else:
                if layout is None:
                    layout = configure(output, item, reading)
                    if reading.start:  # sound is cut where the first picture is
                        shift += reading.time_of(item.frame)
                    _copy_chapters(output, reading, shift)
                time = reading.time_of(item.frame)
                with timed(seconds, "write"):
                    _encode(output, item, converter, layout, shift)
                yield time
            if layout is not None:
                for packet in waiting:
                    _copy(packet, output, reading, shift)
                waiting.clear()
    if layout is None:
        length = "" if reading.duration is None else f" of its {reading.duration:g} s"
        piped = (
            "; from a pipe, MP4 must begin with its index; Matroska has no such limit"
            * reading.piped
        )
        raise UnhazeError(f"no frame could be decoded in the requested part{length}{piped}")
    with timed(seconds, "write"):
        _finish(output)


def _encode(
    output: Output, item: Picture, converter: VideoReformatter, layout: str, shift: float
) -> None:
    """Encodes a picture, or writes what an earlier run has encoded up to it."""
    assert item.frame.pts is not None  # `read` gives each frame a time
    if not output.still:
        output.carried |= carried_by(item.frame)
    pts = item.frame.pts - round(shift / base_of(item.frame))
    until = None if output.journal is None else output.journal.until
    if until is not None and pts < until:
        _mux_kept(output, pts)
        return
    if until is not None:
        _mux_kept(output, None)
    frame = to_frame(item, converter, layout, in_full_range(output, item))
    frame.pts = pts
    frame.pict_type = PictureType.NONE  # the source's types must not influence the encoder
    _mux_new(output, output.video.encode(frame))


def _mux_kept(output: Output, until: int | None) -> None:
    """Writes the kept packets due before a time in ticks of the encoder; None: all of them."""
    while output.kept and (until is None or (output.kept[0].dts or 0) <= until):
        packet = output.kept.popleft()
        output.kept.extend(itertools.islice(output.replay, 1))
        output.last = packet.dts
        packet.stream, packet.time_base = output.video, output.video.codec_context.time_base
        output.container.mux(packet)


def _mux_new(output: Output, packets: list[Packet]) -> None:
    """Writes newly encoded packets; times increase, also after those of an earlier run."""
    for packet in packets:
        if output.last is not None and packet.dts is not None and packet.dts <= output.last:
            packet.dts = output.last + 1
        output.last = packet.dts
    if output.journal is not None:
        output.journal.note(packets)
    output.container.mux(packets)


def _copy(packet: Packet, output: Output, reading: Reading, shift: float) -> None:
    """Writes a packet to its track, `shift` seconds earlier, if it lies in the wanted part."""
    if is_cover(packet.stream):
        packet.pts = packet.dts = 0
    elif not _cut(packet, reading, shift) or _unheard(packet):
        return
    _mux_copies(output, output.copies[packet.stream.index].take(packet))


def _mux_copies(output: Output, packets: list[Packet]) -> None:
    """Writes copied packets; one that the container refuses does not fail the whole video."""
    for packet in packets:
        try:
            output.container.mux(packet)
        except (ArgumentError, InvalidDataError):
            output.refused += 1


def _finish(output: Output) -> None:
    """Writes what encoders still hold, and the end of the file."""
    _mux_new(output, output.video.encode(None))
    for track in output.copies.values():
        _mux_copies(output, track.take(None))
    lost = sum(track.lost for track in output.copies.values() if isinstance(track, Sound))
    if lost:
        output.notes.append(f"skipped {counted(lost, 'damaged place')} in the audio")
    if said := left_out(output.carried, output.chosen.encoder.encoder, output.codec):
        output.notes.append(said)
    if output.refused:
        output.notes.append(
            f"lost {counted(output.refused, 'packet')} of copied streams,"
            " which the container refused"
        )
    output.container.close()


def _unheard(packet: Packet) -> bool:
    """Returns whether the edit list removes a packet of sound that no decoder needs to start."""
    due = float((packet.pts or 0) * base_of(packet))
    return packet.is_discard and packet.stream.type == "audio" and not -WARM_UP <= due < 0


def _cut(packet: Packet, reading: Reading, shift: float) -> bool:
    """Returns whether the packet lies in the wanted part; sets its times and shortens subtitles."""
    due = packet.dts if packet.pts is None else packet.pts
    if due is None:
        return False
    base = base_of(packet)
    first = round(shift / base)
    packet.pts = due = due - first
    packet.dts = None if packet.dts is None else packet.dts - first
    lasting = packet.duration or 0 if packet.stream.type == "subtitle" else 0
    if reading.end is not None:
        left = round((reading.origin + reading.end) / base) - first - due
        if left <= 0:
            return False
        if lasting:
            packet.duration = lasting = min(lasting, left)
    if reading.start and due < 0:
        if not lasting or due + lasting <= 0:
            return False
        packet.duration = lasting + due
        packet.pts = packet.dts = 0
    return True


def _copy_chapters(output: Output, reading: Reading, shift: float) -> None:
    """Copies the chapters of the wanted part, with their times there."""
    begin, end = shift, math.inf if reading.end is None else reading.origin + reading.end
    chapters = []
    for chapter in reading.container.chapters():
        base = chapter["time_base"]
        assert base is not None  # as read from a file
        if chapter["end"] * base <= begin or chapter["start"] * base >= end:
            continue
        first, last = max(chapter["start"] * base, begin), min(chapter["end"] * base, end)
        times = {"start": round((first - shift) / base), "end": round((last - shift) / base)}
        chapters.append(chapter | times)
    output.container.set_chapters(chapters)


@contextlib.contextmanager
def target_file(target: Path, *, original: Path | None, overwrite: bool) -> Iterator["TargetFile"]:
    """Yields a file that gets its name if no error was raised. UnhazeError: for any failure."""
    try:
        with (
            new_file(target, original=original, overwrite=overwrite) as descriptor,
            contextlib.closing(TargetFile(descriptor)) as file,
        ):
            yield file
    except (FFmpegError, OSError) as error:
        raise UnhazeError(f"cannot write '{target}': {error.strerror or error}") from error


class TargetFile:
    """A new file for FFmpeg to write to through PyAV, by its descriptor. `journal`: gives way if
    the disk is full.
    """

    def __init__(self, descriptor: int) -> None:
        self.journal: Journal | None = None
        # Unbuffered: closing after a failure writes nothing that could fail again.
        self.file = io.FileIO(descriptor, "r+b", closefd=False)

    def write(self, data: bytes) -> int:
        """Writes all of `data`, which a raw file does not guarantee."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.file.write(rest) :]
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not full or self.journal is None or not self.journal.give_way():
                    raise
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    @property
    def closed(self) -> bool:
        """PyAV reads this: it writes no trailer to a closed file."""
        return self.file.closed

    def close(self) -> None:
        self.file.close()

    def copy(self, path: Path, original: Path | None) -> None:
        """Copies the content to `path` and replaces what was there, except the `original`."""
        self.file.seek(0)
        with (
            new_file(path, original=original, overwrite=True) as descriptor,
            contextlib.closing(io.FileIO(descriptor, "wb", closefd=False)) as copied,
        ):
            shutil.copyfileobj(self.file, copied, 1 << 20)
