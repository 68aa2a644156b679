"""XMP packets are corrected: what is gone is announced no more, and two packets become one.

A packet is changed where it must be, byte by byte, and is not written anew: programs find their own
words again. What is no XML afterwards is not used.
"""

import re
from collections.abc import Iterable
from xml.parsers import expat

NOTE = b"http://ns.adobe.com/xmp/note/"
CAMERA = b"http://ns.google.com/photos/1.0/camera/"
# Payload -> (namespace, pattern of the names in it) of what announces it.
ANNOUNCED: dict[str, tuple[tuple[bytes, bytes], ...]] = {
    "gain map": (
        (b"http://ns.adobe.com/hdr-gain-map/1.0/", rb"\w+"),
        (b"http://ns.apple.com/HDRGainMap/1.0/", rb"\w+"),
    ),
    "motion video": ((CAMERA, rb"(?:MotionPhoto|MicroVideo)\w*"),),
    "depth": (
        (b"http://ns.google.com/photos/1.0/depthmap/", rb"\w+"),
        (b"http://ns.google.com/photos/1.0/image/", rb"\w+"),
        (b"http://ns.google.com/photos/dd/1.0/device/", rb"\w+"),
    ),
    "extended XMP": ((NOTE, rb"HasExtendedXMP"),),
    "content credentials": ((b"http://purl.org/dc/terms/", rb"provenance"),),
}
# Payload -> the words by which a list of what the file holds calls it (Item:Semantic).
SEMANTICS = {
    "gain map": b"GainMap",
    "motion video": b"MotionPhoto",
    "depth": b"(?:Depth|Confidence)",
}
ITEM = rb"<rdf:li\b(?:(?!</rdf:li>).)*?Semantic\s*(?:=\s*[\"']|>)\s*%s\b.*?</rdf:li>\s*"
CONTAINER = b"http://ns.google.com/photos/1.0/container/"


def extension_of(packet: bytes) -> bytes | None:
    """The 32 digits by which a packet names another one, its extension."""
    found = re.search(rb"HasExtendedXMP\s*(?:=\s*[\"']|>)\s*([0-9A-Fa-f]{32})", packet)
    return found[1] if found else None


def without(packet: bytes, names: Iterable[str]) -> bytes | None:
    """The packet without what announces those payloads; None if that leaves no XML."""
    changed = packet
    for name in names:
        for space, words in ANNOUNCED.get(name, ()):
            for prefix in set(
                re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(space), packet)
            ):
                changed = _without(changed, re.escape(prefix) + b":" + words)
        if name in SEMANTICS:
            changed = re.sub(ITEM % SEMANTICS[name], b"", changed, flags=re.DOTALL)
    changed = _without_lone_directory(changed) if changed != packet else changed
    return changed if changed == packet or is_xml(changed) else None


def merged(packet: bytes, extension: bytes) -> bytes | None:
    """One packet that says what both say; None if they do not fit each other."""
    inner = re.search(rb"<rdf:RDF\b([^>]*)>(.*)</rdf:RDF>", extension, re.DOTALL)
    main = without(packet, ["extended XMP"])
    if inner is None or main is None or b"</rdf:RDF>" not in main:
        return None
    body = inner[2]
    at = main.rindex(b"</rdf:RDF>")
    joined = main[:at] + body + main[at:]
    return joined if is_xml(joined) else None


def pointing_to(digest: bytes) -> bytes:
    """A packet that says nothing but which one it is extended by."""
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmpNote="%s" xmpNote:HasExtendedXMP="%s"/>'
        b"</rdf:RDF></x:xmpmeta>" % (NOTE, digest)
    )


def is_xml(packet: bytes) -> bool:
    """Whether a parser that knows namespaces reads it to its end."""
    try:
        expat.ParserCreate(namespace_separator=" ").Parse(packet.strip(b"\0 \r\n\t"), True)
    except expat.ExpatError:
        return False
    return True


def _without(packet: bytes, name: bytes) -> bytes:
    """Without attributes and elements of that name."""
    packet = re.sub(rb"\s+" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", packet)
    element = rb"<(" + name + rb")\b(?:[^>]*?/>|[^>]*>.*?</\1\s*>)\s*"
    return re.sub(element, b"", packet, flags=re.DOTALL)


def _without_lone_directory(packet: bytes) -> bytes:
    """Without a list of the file's contents in which nothing but the picture itself is left."""
    for prefix in set(re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(CONTAINER), packet)):
        name = re.escape(prefix) + b":Directory"
        found = re.search(rb"<" + name + rb"\b.*?</" + name + rb"\s*>", packet, re.DOTALL)
        if found and len(re.findall(rb"<rdf:li\b", found[0])) <= 1:
            packet = packet.replace(found[0], b"")
    return packet
