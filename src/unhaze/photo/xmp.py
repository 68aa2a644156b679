"""Corrects XMP packets so that they do not mention removed parts, and merges two packets.

Packets are edited in place and not rewritten, so that programs find their own data unchanged. If a
packet was XML and would no longer be, the edit is not used.
"""

import re
from xml.parsers import expat

# Word -> (namespaces, usual prefixes, pattern of the names in them) that announce it.
Names = tuple[tuple[bytes, bytes, bytes], ...]
PHOTOS = b"http://ns.google.com/photos/1.0/"
GAIN_MAP: Names = (
    (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"hdrgm", rb"\w+"),
    (b"http://ns.apple.com/HDRGainMap/1.0/", b"HDRGainMap", rb"\w+"),
    (b"http://ns.apple.com/pixeldatainfo/1.0/", b"apdi", rb"\w+"),
)
VIDEO: Names = (
    (PHOTOS + b"camera/", b"GCamera", rb"(?:MotionPhoto|MicroVideo)\w*"),
    (PHOTOS + b"camera/", b"Camera", rb"(?:MotionPhoto|MicroVideo)\w*"),
)
DEPTH: Names = (
    (PHOTOS + b"depthmap/", b"GDepth", rb"\w+"),
    (b"http://ns.google.com/photos/dd/1.0/device/", b"Device", rb"\w+"),
)
EXTENSION: Names = ((b"http://ns.adobe.com/xmp/note/", b"xmpNote", rb"HasExtendedXMP"),)
CREDENTIALS: Names = ((b"http://purl.org/dc/terms/", b"dcterms", rb"provenance"),)
# A list of the file's content: its items and their names there.
ITEM = rb"<rdf:li\b(?:(?!</rdf:li>).)*?Semantic\s*(?:=\s*[\"']|>)\s*(?:%s)\b.*?</rdf:li>\s*"
DIRECTORY = re.compile(rb"<([\w.-]+:Directory)\b.*?</\1\s*>", re.DOTALL)
RDF = re.compile(rb"<rdf:RDF\b[^>]*>(.*)</rdf:RDF>", re.DOTALL)


def without(packet: bytes, names: Names, semantics: bytes = b"") -> bytes | None:
    """Returns the packet without those names, and without items of the content list that match a
    pattern `semantics`; None if it was XML and would no longer be.
    """
    changed = packet
    for space, usual, words in names:
        declared = re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(space), packet)
        for prefix in {usual, *declared}:
            changed = _without(changed, re.escape(prefix) + b":" + words)
    if semantics:
        changed = re.sub(ITEM % semantics, b"", changed, flags=re.DOTALL)
        changed = DIRECTORY.sub(_unless_lone, changed)
    return changed if changed == packet or is_xml(changed) or not is_xml(packet) else None


def merged(packet: bytes, extension: bytes) -> bytes | None:
    """Merges a packet and its extension; None if they do not fit together."""
    inner, main = RDF.search(extension), without(packet, EXTENSION)
    if inner is None or main is None or b"</rdf:RDF>" not in main:
        return None
    at = main.rindex(b"</rdf:RDF>")
    joined = main[:at] + inner[1] + main[at:]
    return joined if is_xml(joined) else None


def extension_of(packet: bytes) -> bytes | None:
    """Returns the 32 digits by which a packet names its extension."""
    found = re.search(rb"HasExtendedXMP\s*(?:=\s*[\"']|>)\s*([0-9A-Fa-f]{32})", packet)
    return found[1] if found else None


def is_xml(packet: bytes) -> bool:
    """Returns whether it is well-formed, including namespaces."""
    parser = expat.ParserCreate(namespace_separator=" ")
    try:
        parser.Parse(packet.strip(b"\0 \r\n\t"), True)
    except expat.ExpatError:
        return False
    return True


def _without(packet: bytes, name: bytes) -> bytes:
    """Removes attributes and elements of that name."""
    packet = re.sub(rb"\s+" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", packet)
    element = rb"<(" + name + rb")\b(?:[^>]*?/>|[^>]*>.*?</\1\s*>)\s*"
    return re.sub(element, b"", packet, flags=re.DOTALL)


def _unless_lone(directory: re.Match[bytes]) -> bytes:
    """Returns the list, unless only the picture itself is left in it."""
    return directory[0] if len(re.findall(rb"<rdf:li\b", directory[0])) > 1 else b""
