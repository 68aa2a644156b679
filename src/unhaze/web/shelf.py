"""The shelf: what a page has sent lies in a private folder, for so long, so many at a time."""

import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Kept:
    """One photo, video or request. `folder` holds its files, `name` is what the client calls it.

    state: waiting, running, done or failed; what waits or runs is not tidied away. suffix: of the
    result. done, frames: how far a video is, of how many if that is known.
    """

    id: str
    folder: Path
    name: str
    kind: str
    model: str = ""
    suffix: str = ""
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    state: str = "waiting"
    error: str = ""
    done: int = 0
    frames: int | None = None
    removed: bool = False
    used: float = field(default_factory=time.monotonic)

    @property
    def source(self) -> Path:
        """The upload, with its suffix and without its name: that could be anything."""
        return self.folder / f"source{safe_suffix(self.name)}"

    @property
    def result_name(self) -> str:
        """What the result is to be called at the client's."""
        return safe_name(self.name, self.suffix)


class Shelf:
    """All that is kept; the oldest unused goes first. Closing it removes every file."""

    def __init__(self, most: int, most_bytes: int, seconds: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="unhaze-"))
        self.most, self.most_bytes, self.seconds = most, most_bytes, seconds
        self.items: dict[str, Kept] = {}
        self.lock = threading.Lock()

    def new(self, name: str, kind: str) -> Kept:
        """An empty place under a name that nobody can guess."""
        self.tidy()
        ident = secrets.token_urlsafe(18)
        item = Kept(ident, self.folder / ident, name, kind)
        item.folder.mkdir(mode=0o700)
        with self.lock:
            self.items[ident] = item
        return item

    def get(self, ident: str, kind: str) -> Kept | None:
        """The item, whose time begins anew; None if there is none of this kind."""
        self.tidy()
        with self.lock:
            item = self.items.get(ident)
            if item is None or item.kind != kind:
                return None
            item.used = time.monotonic()
            return item

    def remove(self, ident: str) -> None:
        """Forgets it and deletes its files; work on it fails soon."""
        with self.lock:
            item = self.items.pop(ident, None)
        if item is not None:
            item.removed = True
            shutil.rmtree(item.folder, ignore_errors=True)

    def tidy(self) -> None:
        """Removes what is too old, and what was not used for longest where there is too much."""
        now = time.monotonic()
        with self.lock:
            sizes = {each.id: size_of(each.folder) for each in self.items.values()}
            idle = [each for each in self.items.values() if each.state in ("done", "failed")]
        count, total = len(sizes), sum(sizes.values())
        for item in sorted(idle, key=lambda each: each.used):
            old = now - item.used > self.seconds
            if old or count > self.most or total > self.most_bytes:
                self.remove(item.id)
                count, total = count - 1, total - sizes[item.id]

    def close(self) -> None:
        """Removes everything."""
        self.items.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of the files in it; of one that vanishes meanwhile, nothing."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except FileNotFoundError:
        return 0


def safe_suffix(name: str) -> str:
    """The last suffix of a client's file name, if it is a plain one, else nothing."""
    _, dot, suffix = name.rpartition(".")
    plain = dot and suffix.isascii() and suffix.isalnum() and len(suffix) <= 5
    return f".{suffix.lower()}" if plain else ""


def safe_name(name: str, suffix: str) -> str:
    """A client's file name as a result's: no folders, no control characters, its own suffix."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    kept = "".join(each for each in stem if each.isprintable() and each not in ':*?"<>|')
    return f"{kept.strip('. ')[:120] or 'photo'}.unhazed{suffix}"
