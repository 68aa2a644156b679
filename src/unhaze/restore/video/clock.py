"""One clock for a whole recording: time continues where the source's own clock jumps or is
missing.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from av import Packet, VideoFrame
from av.stream import Disposition
from av.video.stream import VideoStream

# Seconds. In an intact file times of decoding do not decrease; those of display may, by REORDERED,
# and some packets have no others. A gap is a pause, except in formats made to be joined.
BACK, REORDERED, AHEAD, OVERHANG = 0.1, 2.0, 10.0, 0.1
FARTHEST = 500  # packets within which the next one of a stream is looked for
MOST_RATE = 10_000  # frames per second; more are the ticks of a clock
BROADCAST = ("mpegts", "mpeg", "mpegtsraw")


def base_of(timed: Packet | VideoFrame | VideoStream) -> Fraction:
    """Returns the seconds per tick of an object with times."""
    assert timed.time_base is not None
    return timed.time_base


def frame_rate(video: VideoStream) -> Fraction:
    """Returns the average frames per second; a default if the file states none, or only ticks."""
    known = (video.average_rate, video.guessed_rate)
    return next((rate for rate in known if rate and rate <= MOST_RATE), Fraction(25))


@dataclass
class Track:
    """State of a stream. `part`: of the recording. Seconds on the joined clock: `last`, before
    which no packet may come, and `next`, when one is due.
    """

    part: int = 0
    last: float | None = None
    next: float = 0.0


@dataclass
class Clock:
    """Puts packets on one clock. `shifts`: seconds to add in each part, one more after each jump.

    A stream enters the next part when its own times jump, because the packets of two parts are
    mixed. Streams that belong together keep their distance, because they share the shifts.
    `broadcast`: whether a gap counts as a jump. `sparse`: numbers of streams such as subtitles,
    whose gaps mean nothing; they follow the others. `wild`: number of meaningless times so far.
    """

    broadcast: bool
    sparse: frozenset[int] = frozenset()
    shifts: list[float] = field(default_factory=lambda: [0.0])
    tracks: dict[int, Track] = field(default_factory=dict)
    wild: int = 0

    @property
    def leaps(self) -> int:
        """Returns how often the source's clock has jumped so far."""
        return len(self.shifts) - 1

    def ordered(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Yields all packets in order, with corrected times.

        Where a time jumps, the next packet of its stream is examined first: if that continues as
        before, the one between was wrong, and is due when expected. Packets without a size, and
        cover pictures, are not changed.
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
        """Returns whether a packet comes about when it is due in its stream."""
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
        """Corrects the packet's times; a packet of sound or data without any gets the next due
        time.
        """
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
        """Enters the part that another stream has entered before, or a new one after everything so
        far.
        """
        for part in range(track.part + 1, len(self.shifts)):
            if abs(seconds + self.shifts[part] - track.next) < AHEAD:
                track.part = part
                return
        # Sound may end a little later and start a little later: it does not overlap.
        longest = max(each.next for each in self.tracks.values())
        self.shifts.append(max(track.next, longest - OVERHANG) - seconds)
        track.part = len(self.shifts) - 1


def _following(packet: Packet, ahead: deque[Packet], source: Iterator[Packet]) -> Packet | None:
    """Returns the next packet of the same stream; those read on the way are kept in `ahead`."""
    index = packet.stream.index
    for each in ahead:
        if each.stream.index == index:
            return each
    for each in itertools.islice(source, FARTHEST):
        ahead.append(each)
        if each.stream.index == index:
            return each
    return None
