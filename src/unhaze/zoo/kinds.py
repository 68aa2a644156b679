"""What a file that should hold weights is instead: a web page, a pointer, half a download ..."""

import json
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

PRINTABLE = frozenset(b"\t\n\r" + bytes(range(32, 127)))
START = 4096  # bytes that are looked at
# Bytes of a file, also decompressed. The largest network here has 31 M parameters, 125 MB.
LARGEST = 2**30
LFS = b"version https://git-lfs"
ARCHIVES = {b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR", b"\xfd7zXZ": "xz"}
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # opens files of PyTorch before zip
HDF5 = b"\x89HDF"
PICTURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"RIFF": "WebP or AVI"}
PICTURES |= {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP", b"%PDF": "PDF"}


@dataclass(frozen=True)
class Kind:
    """name: in one or two words. reason: what the file is and what to do, a clause after "it is".

    `expected weights as ...` may follow the reason.
    """

    name: str
    reason: str


def kind_of(path: Path) -> Kind | None:
    """What `path` is, if it is certainly no weights. Only of a zip file, more than the first and
    last bytes is looked at.

    OSError if it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(START)
    if not start:
        return Kind("empty", "it is empty: the download failed, fetch it anew")
    # Before all else: its first bytes, a number, may look like anything.
    if start[8:10] in (b'{"', b"{ ", b"{}"):
        return kind_of_safetensors(path)
    if start.startswith(LFS):
        size = re.search(rb"size (\d+)", start)
        what = f" to {int(size[1]):,} bytes" if size else ""
        return Kind("LFS pointer", f"it is a git-LFS pointer{what}: run `git lfs pull` there")
    if re.match(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|\?xml)", start, re.I | re.S):
        title = re.search(rb"<title[^>]*>(.*?)</title>", start, re.I | re.S)
        words = " ".join(title[1].decode("utf-8", "replace").split())[:80] if title else ""
        named = f" ('{words}')" if words else ""
        return Kind(
            "web page", f"it is a web page{named}: download the file behind it in a browser"
        )
    if start[:2] == b"PK":
        return kind_of_zip(path)
    for magic, name in ARCHIVES.items():
        if start.startswith(magic):
            return Kind("archive", f"it is a {name} archive: unpack it and give the file inside")
    if start[257:262] == b"ustar":
        return kind_of_tar(path)
    if start.startswith(HDF5):
        return Kind("HDF5", "it is an HDF5 file, of Keras or MATLAB 7.3, which is not read")
    if start[:1] == b"\x80" and start[2:3] != b"" and MAGIC not in start[:64]:
        reason = "it is a pickle that PyTorch did not write, and would run code when loaded"
        return Kind("code", reason)
    for magic, name in PICTURES.items():
        if start.startswith(magic):
            return Kind("picture", f"it is a {name} file and no weights")
    if not start.startswith(b"MATLAB") and all(each in PRINTABLE for each in start):
        return Kind("text", "it is text and no weights")
    return None


def kind_of_safetensors(path: Path) -> Kind | None:
    """A .safetensors file that ends before the tensors that its header lists."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length < size else b""
    try:
        entries = json.loads(header or b"{}")
        ends = [each["data_offsets"][1] for each in entries.values() if "data_offsets" in each]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None  # its reader says what is wrong
    if whole > size:
        return CUT_OFF
    return None


CUT_OFF = Kind("incomplete", "it is cut off, as by a download that stopped: fetch it anew")


def kind_of_zip(path: Path) -> Kind | None:
    """A zip file that is no checkpoint: cut off, a TorchScript program, an archive of files."""
    if not zipfile.is_zipfile(path):
        return CUT_OFF
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return Kind("damaged", "it is a damaged zip file: fetch it anew")
    if any(re.search(r"(^|/)constants\.pkl$", name) for name in names):
        return Kind("TorchScript", TORCHSCRIPT)
    weights = any(re.search(r"(^|/)data\.pkl$|\.npy$", name) for name in names)
    if weights or not names:
        return kind_of_damage(path)
    inside = [name for name in names if not name.endswith("/")][:3]
    return Kind(
        "archive", f"it is a zip archive of {', '.join(inside)} ...: unpack it and give one of them"
    )


def kind_of_damage(path: Path) -> Kind | None:
    """A zip file of which parts differ from what was stored, which PyTorch ignores.

    If all checksums are wrong, none were computed: `torch.serialization.set_crc32_options(False)`.
    """
    wrong = []
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > LARGEST:
            return None  # its reader refuses it
        for member in members:
            try:
                archive.read(member)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
                wrong.append(member.filename)
    if not wrong or len(wrong) == len(members):
        return None
    told = f"of its {len(members)} parts {len(wrong)} (first '{wrong[0]}') fail their checksum:"
    return Kind("damaged", f"{told} it is damaged; download it again")


TORCHSCRIPT = (
    "it is a TorchScript program, which is code that loading would run, and which can only run in"
    " PyTorch: export the network to ONNX where it comes from, or save its state_dict()"
)


def kind_of_tar(path: Path) -> Kind:
    """A tar archive: of PyTorch's first years, or of files."""
    try:
        with tarfile.open(path) as archive:
            names = archive.getnames()
    except (tarfile.TarError, EOFError, OSError):
        return Kind("damaged", "it is a damaged tar archive: fetch it anew")
    if {"storages", "tensors", "pickle"} <= set(names):
        reason = "it is a checkpoint of PyTorch before 0.1.10: save it anew with a newer PyTorch"
        return Kind("ancient checkpoint", reason)
    inside = ", ".join(names[:3])
    return Kind("archive", f"it is a tar archive of {inside} ...: unpack it and give one of them")
