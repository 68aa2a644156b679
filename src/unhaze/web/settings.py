"""What a server allows."""

from dataclasses import dataclass

from unhaze.errors import UnhazeError
from unhaze.restore.resources import usable_cores


@dataclass(frozen=True)
class Settings:
    """All limits; the defaults suit one person on one computer.

    max_bytes: of an upload. max_pixels: width * height of a photo, by its header, before decoding;
    of a video, of one frame. max_frames: of a video, video_seconds: that the work on one may take.
    workers: photos worked on at a time (0: one for two cores); videos take turns beside them.
    queue: requests that may wait besides. body_seconds: for an upload to come. kept: photos and
    videos kept for the page at most, kept_bytes: of files all together; kept_seconds: for how long
    after they were last used. token: what clients must show, "" for none. origins: other sites
    whose pages may use the API (CORS). hosts: names under which the server may be called, () for
    any. device, analysis: as for `Restorer`.
    """

    max_bytes: int = 200_000_000
    max_pixels: int = 120_000_000
    max_frames: int = 3_000
    video_seconds: float = 1800.0
    workers: int = 0
    queue: int = 8
    body_seconds: float = 120.0
    kept: int = 32
    kept_bytes: int = 4_000_000_000
    kept_seconds: float = 1800.0
    token: str = ""
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    device: str = "auto"
    analysis: int = 1024

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_frames", "video_seconds", "body_seconds"):
            if getattr(self, name) <= 0:
                raise UnhazeError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in ("workers", "queue", "kept", "kept_bytes", "kept_seconds"):
            if getattr(self, name) < 0:
                raise UnhazeError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not self.token.isascii() or any(each in self.token for each in ' ";,\\'):
            raise UnhazeError("the token must be of ASCII letters, digits, - and _")
        if "*" in self.origins and not self.token:
            raise UnhazeError("origin '*' lets every web site use the API; set a token as well")

    @property
    def places(self) -> int:
        """Photos worked on at a time."""
        return self.workers or max(1, usable_cores() // 2)

    @property
    def threads(self) -> int:
        """Of each of them, so that all cores are used and none is fought over."""
        return max(1, usable_cores() // self.places)
