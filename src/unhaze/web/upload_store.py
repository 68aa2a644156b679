"""The upload store: what a page sent lies in a private folder, for so long, so much a client."""

import math
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from unhaze.scratch import PREFIX, lease, remove_leftovers


class Full(Exception):
    """The files of others fill the store. retry_after: seconds until the first of them goes."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"no room for more files; try again in {retry_after} seconds")
        self.retry_after = retry_after


@dataclass
class Kept:
    """One photo, video or request. `folder` holds its files, `name` is what the client calls it.

    client: whose it is. state: waiting, running, done or failed; what waits or runs is not tidied
    away. suffix: of the result. lost: what of the upload the result does not hold.
    done, frames: how far a video is, of how many if that is known.
    used: when it was last of use, asked: when its client last asked for it.
    """

    id: str
    folder: Path
    name: str
    kind: str
    client: str = ""
    model: str = ""
    suffix: str = ""
    lost: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    state: str = "waiting"
    error: str = ""
    done: int = 0
    frames: int | None = None
    removed: bool = False
    used: float = field(default_factory=time.monotonic)
    asked: float = field(default_factory=time.monotonic)

    @property
    def source(self) -> Path:
        """The upload, with its suffix and without its name: that could be anything."""
        return self.folder / f"source{safe_suffix(self.name)}"

    @property
    def result_name(self) -> str:
        """What the result is to be called at the client's."""
        return safe_name(self.name, self.suffix)


class UploadStore:
    """All that is kept. Whoever has too much loses the own oldest; closing it removes every file.

    most_bytes: of all files, client_bytes: of one client's. seconds: kept after the last use.
    """

    def __init__(self, most_bytes: int, client_bytes: int, seconds: float) -> None:
        remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}web-"))
        self.lease = lease(self.folder)
        self.most_bytes, self.client_bytes, self.seconds = most_bytes, client_bytes, seconds
        self.items: dict[str, Kept] = {}
        self.lock = threading.Lock()

    def new(self, name: str, kind: str, client: str = "") -> Kept:
        """An empty place under a name that nobody can guess. Full: others' files leave no room."""
        self.tidy()
        idle = [each for each in self.items.values() if each.state in ("done", "failed")]
        own = sorted((each for each in idle if each.client == client), key=lambda each: each.used)
        while (total := sum(self.sizes().values())) >= self.most_bytes and own:
            self.remove(own.pop(0).id)
        if total >= self.most_bytes > 0:
            first = min((each.used for each in idle), default=time.monotonic())
            raise Full(max(1, math.ceil(first + self.seconds - time.monotonic())))
        ident = secrets.token_urlsafe(18)
        item = Kept(ident, self.folder / ident, name, kind, client)
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
            item.used = item.asked = time.monotonic()
            return item

    def remove(self, ident: str) -> None:
        """Forgets it and deletes its files; work on it fails soon."""
        with self.lock:
            item = self.items.pop(ident, None)
        if item is not None:
            item.removed = True
            shutil.rmtree(item.folder, ignore_errors=True)

    def sizes(self) -> dict[str, int]:
        """Bytes of each item."""
        with self.lock:
            items = list(self.items.values())
        return {each.id: size_of(each.folder) for each in items}

    def tidy(self) -> None:
        """Removes what is too old, and of clients that have too much what they used longest ago."""
        now, sizes = time.monotonic(), self.sizes()
        with self.lock:
            items = list(self.items.values())
        totals: dict[str, int] = {}
        for item in items:
            totals[item.client] = totals.get(item.client, 0) + sizes.get(item.id, 0)
        idle = [each for each in items if each.state in ("done", "failed")]
        for item in sorted(idle, key=lambda each: each.used):
            if now - item.used > self.seconds or totals[item.client] > self.client_bytes:
                self.remove(item.id)
                totals[item.client] -= sizes.get(item.id, 0)

    def close(self) -> None:
        """Removes everything."""
        self.items.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.lease is not None:
            self.lease.close()


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
