"""A sound track that the target container cannot hold as it is, encoded anew."""

from collections.abc import Mapping

import av
from av import Packet
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

# By FFmpeg's name of a container: an encoder whose sound every player of such files plays.
ENCODERS = {"webm": "libopus"}
USUAL = "aac"
BITS = 96_000  # a second and channel


class Sound:
    """One track: packets of the source go in, packets for the target come out.

    Broken packets are passed over. `target`: the new stream; `codec`: FFmpeg's name of what it is.
    """

    def __init__(self, container: OutputContainer, source: AudioStream, words: Mapping[str, str]):
        decoder = source.codec_context
        encoder = ENCODERS.get(container.format.name, USUAL)
        rate = 48_000 if encoder == "libopus" else decoder.sample_rate
        layout = "mono" if decoder.channels == 1 else "stereo"
        self.target = container.add_stream(encoder, rate=rate, layout=layout)
        self.target.bit_rate = BITS * self.target.codec_context.channels
        self.target.metadata.update(words)
        self.target.disposition = source.disposition
        self.codec = self.target.codec_context.codec.canonical_name
        made = self.target.codec_context
        self.resampler = AudioResampler(made.format, made.layout, made.sample_rate)

    def encode(self, packet: Packet) -> list[Packet]:
        """What became of one packet of the source, its times as they are to be."""
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return []
        return [made for frame in frames for made in self._encode_frame(frame)]

    def end(self) -> list[Packet]:
        """What was still on its way."""
        rest = self._encode_frame(None) if self.target.codec_context.is_open else []
        return [*rest, *self.target.encode(None)] if self.target.codec_context.is_open else []

    def _encode_frame(self, frame: AudioFrame | None) -> list[Packet]:
        return [
            packet
            for resampled in self.resampler.resample(frame)
            for packet in self.target.encode(resampled)
        ]
