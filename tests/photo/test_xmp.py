"""XMP packets that announce what is gone are corrected and stay XML."""

import hashlib
import re
import struct
from xml.etree import ElementTree

import numpy as np
import pytest

from unhaze import photo
from unhaze.photo import Photo, inventory, jpeg, xmp
from unhaze.photo.picture import XMP

HEAD = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
)
END = b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
CONTAINER = (
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" '
)
LI = b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="%s"/></rdf:li>'


def packet(attributes: bytes, inner: bytes = b"") -> bytes:
    return HEAD + attributes + b'dc:format="stays">' + inner + END


def directory(*semantics: bytes) -> bytes:
    items = b"".join(LI % each for each in semantics)
    return b"<Container:Directory><rdf:Seq>" + items + b"</rdf:Seq></Container:Directory>"


def names_in(data: bytes) -> set[str]:
    """Of all elements and attributes, as an XML parser reads them."""
    found = set()
    for element in ElementTree.fromstring(data.strip(b"\0")).iter():
        found |= {element.tag, *element.attrib}
    return {name.rpartition("}")[2] for name in found}


def semantics_in(data: bytes) -> list[bytes]:
    return re.findall(rb'Semantic="(\w+)"', data)


GOOGLE = b"http://ns.google.com/photos/1.0/"
# Words -> (namespace, a name in it that announces such a thing).
ANNOUNCING = {
    inventory.GAIN_MAP: (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"Version"),
    inventory.VIDEO: (GOOGLE + b"camera/", b"MotionPhoto"),
    inventory.DEPTH: (GOOGLE + b"depthmap/", b"Near"),
    inventory.EXTENDED: (b"http://ns.adobe.com/xmp/note/", b"HasExtendedXMP"),
    inventory.CREDENTIALS: (b"http://purl.org/dc/terms/", b"provenance"),
}


@pytest.mark.parametrize("prefix", [b"usual", b"ns1"])
@pytest.mark.parametrize("words", ANNOUNCING)
def test_what_is_gone_is_announced_by_no_prefix(words, prefix):
    space, name = ANNOUNCING[words]
    source = packet(b'xmlns:%s="%s" %s:%s="1" ' % (prefix, space, prefix, name))
    corrected = inventory.without_announcements(source, (words,))
    assert names_in(source) - names_in(corrected) == {name.decode()}


def test_elements_go_like_attributes():
    space = b'xmlns:G="http://ns.google.com/photos/1.0/camera/" '
    inner = b"<G:MotionPhoto>1</G:MotionPhoto><G:MotionPhotoVersion>1</G:MotionPhotoVersion>"
    corrected = inventory.without_announcements(packet(space, inner), (inventory.VIDEO,))
    assert not {name for name in names_in(corrected) if "Motion" in name}


def test_only_the_item_that_is_gone_leaves_the_list():
    source = packet(CONTAINER, directory(b"Primary", b"GainMap", b"MotionPhoto"))
    corrected = inventory.without_announcements(source, (inventory.GAIN_MAP,))
    assert semantics_in(corrected) == [b"Primary", b"MotionPhoto"]
    corrected = inventory.without_announcements(corrected, (inventory.VIDEO,))
    assert semantics_in(corrected) == [] and "Directory" not in names_in(corrected)
    assert xmp.is_xml(corrected)


def test_a_packet_that_cannot_be_corrected_is_not_used():
    """An attribute in the text of a CDATA section, which ends it when it is cut."""
    source = packet(b"", b"<dc:a><![CDATA[<hdrgm:b>]]></dc:a><dc:c><![CDATA[</hdrgm:b>]]></dc:c>")
    assert xmp.is_xml(source)
    assert inventory.without_announcements(source, (inventory.GAIN_MAP,)) is None
    found = {XMP: source}
    assert inventory.correct_xmp(found, (inventory.GAIN_MAP,)) == ("XMP",) and found == {}


EXTENSION = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="" xmlns:crs="http://ns.adobe.com/camera-raw-'
    b'settings/1.0/" crs:Big="' + b"b" * 100_000 + b'"/></rdf:RDF></x:xmpmeta>'
)


def with_extension(*, complete: bool = True) -> bytes:
    name = hashlib.md5(EXTENSION).hexdigest().upper().encode()
    note = b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s" ' % name
    room = 65_000
    parts = [
        name + struct.pack(">II", len(EXTENSION), at) + EXTENSION[at : at + room]
        for at in range(0, len(EXTENSION), room)
    ]
    chosen = parts[::-1] if complete else parts[:1]  # in whatever order
    segments = [jpeg.segment(0xE1, jpeg.XMP_SIGN + packet(note))]
    segments += [jpeg.segment(0xE1, jpeg.EXTENDED_SIGN + part) for part in chosen]
    plain = photo.encode(Photo(np.full((16, 16, 3), 99, np.uint8)), ".jpg")
    return plain[:2] + b"".join(segments) + plain[2:]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".avif"])
def test_an_extension_becomes_part_of_the_packet_elsewhere(suffix, caplog):
    written = photo.encode(photo.read(with_extension()), suffix)
    names = names_in(photo.read(written).traits.metadata[XMP])
    assert {"Big", "format"} <= names and "HasExtendedXMP" not in names
    assert caplog.text == ""


def test_half_an_extension_is_lost_and_that_is_reported(caplog):
    written = photo.encode(photo.read(with_extension(complete=False)), ".png")
    names = names_in(photo.read(written).traits.metadata[XMP])
    assert "format" in names and not {"Big", "HasExtendedXMP"} & names
    assert caplog.messages == ["'.png' holds no extended XMP; left out"]
