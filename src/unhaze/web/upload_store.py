"""The upload store: files of the page in a private folder, with limits of time and of size per
client.
"""

import math
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from unhaze.outputs import Notes
from unhaze.scratch import PREFIX, lease, remove_leftovers


class Full(Exception):
    """Files of other clients fill the store. retry_after: seconds until the first of them
    expires.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"no room for more files; try again in {retry_after} seconds")
        self.retry_after = retry_after


@dataclass
class Kept:
    """One photo, video or request. `folder` holds its files, `name` is the client's name for it.

    client: its owner. state: waiting, running, done or failed; waiting and running items are not
    removed. suffix: of the result. notes: on the result. white_balance: that suits a photo. done,
    frames: progress of a video, and the total if known. used: time of the last use; asked: when its
    client last requested it.
    """

    id: str
    folder: Path
    name: str
    kind: str
    client: str = ""
    model: str = ""
    suffix: str = ""
    notes: Notes = field(default_factory=Notes)
    white_balance: float = 0.0
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
        """Returns the path of the upload. Its name is not the client's, which could be anything."""
        return self.folder / f"source{safe_suffix(self.name)}"

    @property
    def result_name(self) -> str:
        """Returns the name of the result for the client."""
        return safe_name(self.name, self.suffix)


class UploadStore:
    """All kept items. A client over its limit loses its own oldest files; closing removes every
    file.

    most_bytes: of all files; client_bytes: of one client's. seconds: kept after the last use.
    """

    def __init__(self, most_bytes: int, client_bytes: int, seconds: float) -> None:
        remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}web-"))
        self.lease = lease(self.folder)
        self.most_bytes, self.client_bytes, self.seconds = most_bytes, client_bytes, seconds
        self.items: dict[str, Kept] = {}
        self.lock = threading.Lock()

    def new(self, name: str, kind: str, client: str = "") -> Kept:
        """Creates an empty item with a name that cannot be guessed. Full: files of others leave no
        room.
        """
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
        """Returns the item and renews its time; None if there is none of this kind."""
        self.tidy()
        with self.lock:
            item = self.items.get(ident)
            if item is None or item.kind != kind:
                return None
            item.used = item.asked = time.monotonic()
            return item

    def remove(self, ident: str) -> None:
        """Removes an item and its files; work on it fails soon afterwards."""
        with self.lock:
            item = self.items.pop(ident, None)
        if item is not None:
            item.removed = True
            shutil.rmtree(item.folder, ignore_errors=True)

    def sizes(self) -> dict[str, int]:
        """Returns the bytes of each item."""
        with self.lock:
            items = list(self.items.values())
        return {each.id: size_of(each.folder) for each in items}

    def tidy(self) -> None:
        """Removes expired items, and the least recently used ones of clients over their limit."""
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
    """Returns the bytes of the files in `folder`; files that vanish meanwhile count nothing."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except FileNotFoundError:
        return 0


def safe_suffix(name: str) -> str:
    """Returns the last suffix of a client's file name if it is plain, else an empty string."""
    _, dot, suffix = name.rpartition(".")
    plain = dot and suffix.isascii() and suffix.isalnum() and len(suffix) <= 5
    return f".{suffix.lower()}" if plain else ""


def safe_name(name: str, suffix: str) -> str:
    """Turns a client's file name into that of a result: no folders, no control characters,
    `suffix`.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    kept = "".join(each for each in stem if each.isprintable() and each not in ':*?"<>|')
    return f"{kept.strip('. ')[:120] or 'photo'}.unhazed{suffix}"
