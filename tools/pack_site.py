"""Puts the built page (site/dist) into the package, where `unhaze serve` finds it.

Small files are committed, so that a plain `pip install` has a page; the runtime for browsers and
the sample are ignored by git and go into wheels that are built where `make site` has run.
"""

import hashlib
import json
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "site" / "dist"
TARGET = ROOT / "src" / "unhaze" / "web" / "site"
# Only on static hosts: the service worker, config.json, the models (the package has them), the
# runtime for graphics cards, and the codecs, for which a server has the libraries themselves.
LEFT_OUT = ("sw.js", "config.json", "models/", "codecs/", "runtime/ort-wasm-simd-threaded.asyncify")
SOURCES = ("index.html", "package-lock.json", "vite.config.ts", "src", "public")
STAMP = "build.json"


def digest_of_sources() -> str:
    """By which the committed page is known to be that of the sources beside it."""
    hashed = hashlib.sha256()
    for name in SOURCES:
        place = ROOT / "site" / name
        files = [place] if place.is_file() else sorted(each for each in place.rglob("*"))
        for file in (each for each in files if each.is_file()):
            hashed.update(file.relative_to(ROOT).as_posix().encode() + b"\0")
            hashed.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return hashed.hexdigest()


def pack() -> None:
    """Replaces what was there."""
    if not (BUILT / "index.html").is_file():
        raise SystemExit(f"nothing built in '{BUILT}'; run `npm run build` in site/ first")
    shutil.rmtree(TARGET, ignore_errors=True)
    for file in sorted(BUILT.rglob("*")):
        name = file.relative_to(BUILT).as_posix()
        if file.is_file() and not name.startswith(LEFT_OUT):
            (TARGET / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, TARGET / name)
    stamp = json.dumps({"sources": digest_of_sources()}, indent=1)
    (TARGET / STAMP).write_text(stamp + "\n", encoding="utf-8")


if __name__ == "__main__":
    pack()
