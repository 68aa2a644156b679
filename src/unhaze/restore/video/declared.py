"""The size that a video file declares of itself: a truncated file is shorter."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Top-level boxes of MP4 and QuickTime; others mark data that does not belong to the video.
BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx")
BOXES += (b"mfra", b"meta", b"udta", b"pnot", b"emsg", b"prft", b"pdin", b"ssix", b"PICT", b"junk")
# Identifiers of Matroska: the head, and elements whose children are read.
EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
# Children of a segment; one of these ends a cluster without a declared size.
MASTERS = (CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770)
MASTERS += (0x1254C367, 0xEC, 0xBF)  # and the ids of padding and checksums
BLOCKS = (0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854)  # children of a cluster
ASF_HEAD = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
FLV_SIZE = b"filesize\0"  # and a number of 64 bits
KLV_HEAD = 17  # minimum bytes of a part of an MXF file
MXF_PARTITION = bytes.fromhex("060e2b34020501010d010201")
MOST_PARTS = 2_000_000  # limit of parts of a file that are read
SLACK = 8  # bytes: some writers count their own header, or omit the last padding
HEAD = 1 << 16  # bytes at the start or the end that are searched


def missing_bytes(path: Path) -> int:
    """Returns by how many bytes a file is shorter than declared; 0 if it is complete, or
    unknown.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        for begins, declared in DECLARED:
            if begins(head):
                file.seek(0)
                lack = declared(file, size) - size
                return lack if lack > SLACK else 0
    return 0


def _boxes_end(file: BinaryIO, size: int) -> int:
    """ISO/IEC 14496-12: a box declares its length; 0: up to the end."""
    place = 0
    for _ in range(MOST_PARTS):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8 or head[4:8] not in BOXES:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:
            break
        place += length
        if place >= size:
            break
    return place


def _elements_end(file: BinaryIO, size: int) -> int:
    """RFC 8794: an element declares its length or, if written live, its children do."""
    place, end = 0, 0
    for _ in range(MOST_PARTS):
        file.seek(place)
        head = file.read(12)
        number, length, width = _element(head)
        if number is None or number not in (EBML, SEGMENT, *MASTERS, *BLOCKS):
            break
        entered = number == SEGMENT or (number == CLUSTER and length is None)
        if length is None and not entered:
            break
        end = max(end, place + width + (length or 0))
        place += width if entered else width + (length or 0)
        if place >= size:
            break
    return end


def _element(head: bytes) -> tuple[int | None, int | None, int]:
    """Returns identifier, size (None: unknown) and bytes of an element's header."""
    first = 9 - head[0].bit_length() if head and head[0] else 9
    if first > 4 or len(head) <= first or not head[first]:
        return None, None, 0
    second = 9 - head[first].bit_length()
    if len(head) < first + second:
        return None, None, 0
    mask = (1 << (7 * second)) - 1
    length = int.from_bytes(head[first : first + second], "big") & mask
    number = int.from_bytes(head[:first], "big")
    return number, None if length == mask else length, first + second


def _riff_end(file: BinaryIO, size: int) -> int:
    """AVI, whose parts of a gigabyte each follow one another; a size of 0 was never filled in."""
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] not in (b"AVI ", b"AVIX"):
            break
        length = int.from_bytes(head[4:8], "little")
        if length in (0, 0xFFFFFFFF):
            break
        place += 8 + length + length % 2
    return place


def _asf_size(file: BinaryIO, size: int) -> int:
    """Reads the file properties object; a broadcast has no size."""
    head = file.read(HEAD)
    place = head.find(ASF_FILE)
    if place < 0 or len(head) < place + 92:
        return 0
    declared, flags = head[place + 40 : place + 48], head[place + 88 : place + 92]
    return 0 if flags[0] & 1 else int.from_bytes(declared, "little")


def _tags_end(file: BinaryIO, size: int) -> int:
    """FLV: a number in the first tag; and tags, each of 11 bytes, its data and its length again."""
    head = file.read(HEAD)
    place, told = int.from_bytes(head[5:9], "big") + 4, head.find(FLV_SIZE)
    end = 0
    if 0 <= told <= len(head) - len(FLV_SIZE) - 8:
        (number,) = struct.unpack_from(">d", head, told + len(FLV_SIZE))
        end = int(number) if 0 < number < 2**53 else 0
    for _ in range(MOST_PARTS):
        file.seek(place)
        head = file.read(11)
        if len(head) < 11 or head[0] & 0x1F not in (8, 9, 18):
            break
        length = 11 + int.from_bytes(head[1:4], "big")
        end, place = max(end, place + length), place + length + 4
    return end


def _page_end(file: BinaryIO, size: int) -> int:
    """RFC 3533: the last page of an Ogg file declares its length."""
    start = max(0, size - 2 * HEAD)
    file.seek(start)
    tail = file.read()
    place = tail.rfind(b"OggS\0")
    if place < 0:
        return 0
    if len(tail) < place + 27:
        return start + place + 27 + SLACK
    segments = tail[place + 27 : place + 27 + tail[place + 26]]
    return start + place + 27 + tail[place + 26] + sum(segments)


def _footer(file: BinaryIO, size: int) -> int:
    """SMPTE ST 377-1: the header partition declares the start of the footer, once that is
    written.
    """
    head = file.read(HEAD)
    place = head.find(MXF_PARTITION)
    if place < 0 or len(head) < place + 64:
        return 0
    width = head[place + 16] & 0x7F if head[place + 16] & 0x80 else 0  # of the length's field
    value = place + 17 + width
    footer = int.from_bytes(head[value + 24 : value + 32], "big")
    return place + footer + KLV_HEAD if footer else 0


def _packets_end(file: BinaryIO, size: int) -> int:
    """MPEG-TS: whole packets; their number is not declared."""
    start = file.read(5 * 192)
    for length, place in ((188, 0), (192, 4), (204, 0)):
        if start[place::length][:4] == b"GGGG":
            return -(-size // length) * length
    return 0


def _is_box(head: bytes) -> bool:
    return head[4:8] in BOXES


def _starts(*words: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(words)


# How a container is recognised by its first 16 bytes, and the function that finds its declared end.
DECLARED: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], int]], ...] = (
    (_is_box, _boxes_end),
    (_starts(b"\x1aE\xdf\xa3"), _elements_end),
    (_starts(b"RIFF"), _riff_end),
    (_starts(ASF_HEAD), _asf_size),
    (_starts(b"FLV"), _tags_end),
    (_starts(b"OggS"), _page_end),
    (_starts(MXF_PARTITION), _footer),
    (lambda head: b"G" in (head[:1], head[4:5]), _packets_end),
)
