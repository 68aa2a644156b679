"""One clock for a whole recording: where the source's own leaps or is silent, time goes on."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from av import Packet, VideoFrame
from av.stream import Disposition
from av.video.stream import VideoStream

# Seconds. In a sound file times of decoding do not go back; those of display may, by REORDERED, and
# some packets have no others. Ahead it is a pause, but in formats that are made to be joined.
BACK, REORDERED, AHEAD, OVERHANG = 0.1, 2.0, 10.0, 0.1
FARTHEST = 500  # packets among which the next one of a stream is looked for
MOST_RATE = 10_000  # frames a second; more are the ticks of a clock
BROADCAST = ("mpegts", "mpeg", "mpegtsraw")


def base_of(timed: Packet | VideoFrame | VideoStream) -> Fraction:
    """Seconds a tick, of what has a time."""
    assert timed.time_base is not None
    return timed.time_base


def frame_rate(video: VideoStream) -> Fraction:
    """Frames a second on average, or the usual where the file says nothing, or only its ticks."""
    known = (video.average_rate, video.guessed_rate)
    return next((rate for rate in known if rate and rate <= MOST_RATE), Fraction(25))


@dataclass
class Track:
    """Where a stream is. `part`: of the recording. Seconds on the joined clock: `last`, before
    which no packet is to come, and `next`, when one is due.
    """

    part: int = 0
    last: float | None = None
    next: float = 0.0


@dataclass
class Clock:
    """Puts packets on one clock. `shifts`: seconds to add in each part, a leap after the other.

    A stream enters the next part when its own times leap there: the packets of two parts come
    mixed. Streams that belong together keep their distance, because they share the shifts.
    `broadcast`: whether a gap ahead is a leap, too. `sparse`: numbers of streams such as subtitles,
    whose gaps mean nothing; they follow the others. `wild`: times so far that were of no meaning.
    """

    broadcast: bool
    sparse: frozenset[int] = frozenset()
    shifts: list[float] = field(default_factory=lambda: [0.0])
    tracks: dict[int, Track] = field(default_factory=dict)
    wild: int = 0

    @property
    def leaps(self) -> int:
        """How often the source's clock has leapt so far."""
        return len(self.shifts) - 1

    def ordered(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """All packets, in their order, corrected.

        Where a time leaps, the next one of its stream is looked at first: if that goes on as
        before, the one between was wild, and is due when it would have been. Packets without a
        size, and cover pictures, pass as they are.
        """
        source, ahead = iter(packets), deque[Packet]()
        while (packet := ahead.popleft() if ahead else next(source, None)) is not None:
            if packet.size and not packet.stream.disposition & Disposition.attached_pic:
                if self._stamp(packet) is not None and not self._goes_on(packet):
                    follower = _following(packet, ahead, source)
                    if follower is not None and self._goes_on(follower):
                        self._calm(packet)
                self.correct(packet)
            yield packet

    def _stamp(self, packet: Packet) -> int | None:
        return packet.pts if packet.dts is None else packet.dts

    def _goes_on(self, packet: Packet) -> bool:
        """Whether a packet comes about when it is due in its stream."""
        stamp, base = self._stamp(packet), packet.time_base
        track = self.tracks.get(packet.stream.index)
        sparse = packet.stream.index in self.sparse
        if sparse or not base or stamp is None or track is None or track.last is None:
            return sparse or track is None or track.last is None
        here = float(stamp * base) + self.shifts[track.part]
        return track.last <= here <= track.next + AHEAD

    def _calm(self, packet: Packet) -> None:
        track = self.tracks[packet.stream.index]
        due = round((track.next - self.shifts[track.part]) / packet.time_base)
        packet.pts, packet.dts = due, None if packet.dts is None else due
        self.wild += 1

    def correct(self, packet: Packet) -> None:
        """Moves the packet's times; one of sound or data without any gets the next that is due."""
        stream, base = packet.stream, packet.time_base
        if not base:
            return
        track = self.tracks.setdefault(stream.index, Track())
        stamp = self._stamp(packet)
        pts, dts = packet.pts, packet.dts
        if pts is not None and dts is not None and abs(float((pts - dts) * base)) > AHEAD:
            packet.pts, self.wild = dts, self.wild + 1
        if stamp is None:
            if stream.type == "video":  # its frames are counted when they are decoded
                return
            stamp = packet.pts = packet.dts = round((track.next - self.shifts[track.part]) / base)
        seconds = float(stamp * base)
        if stream.index in self.sparse:
            track.part = len(self.shifts) - 1
        elif self._leaps(track, seconds):
            self._enter_part(track, seconds)
        shift = self.shifts[track.part]
        ticks = round(shift / base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        track.last = seconds + shift - (REORDERED if packet.dts is None else BACK)
        track.next = seconds + shift + float((packet.duration or 0) * base)

    def _leaps(self, track: Track, seconds: float) -> bool:
        if track.last is None:
            return False
        here = seconds + self.shifts[track.part]
        return here < track.last or (self.broadcast and here > track.next + AHEAD)

    def _enter_part(self, track: Track, seconds: float) -> None:
        """That which another stream has entered before, or a new one after all that was there."""
        for part in range(track.part + 1, len(self.shifts)):
            if abs(seconds + self.shifts[part] - track.next) < AHEAD:
                track.part = part
                return
        # Sound may run on a little longer, and begins a little later: it does not overlap.
        longest = max(each.next for each in self.tracks.values())
        self.shifts.append(max(track.next, longest - OVERHANG) - seconds)
        track.part = len(self.shifts) - 1


def _following(packet: Packet, ahead: deque[Packet], source: Iterator[Packet]) -> Packet | None:
    """The next packet of the same stream; those that are read on the way are kept in `ahead`."""
    index = packet.stream.index
    for each in ahead:
        if each.stream.index == index:
            return each
    for each in itertools.islice(source, FARTHEST):
        ahead.append(each)
        if each.stream.index == index:
            return each
    return None
