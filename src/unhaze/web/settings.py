"""What a server allows."""

import math
from dataclasses import dataclass

from unhaze.errors import UnhazeError
from unhaze.restore.models import list_models
from unhaze.restore.priors import PRIORS
from unhaze.restore.resources import usable_cores
from unhaze.validation import one_of
from unhaze.web.access import FORMS

ANALYSIS_BYTES = 600_000_000  # of memory that one look of a model may be expected to take
LARGEST_ANALYSIS = 2048
POSITIVE = (
    "max_bytes", "max_pixels", "max_frame_pixels", "max_frames", "video_seconds", "body_seconds",
    "work_seconds", "worker_bytes", "forgotten_seconds", "max_requests", "max_connections",
)  # fmt: skip
NOT_NEGATIVE = (
    "workers", "queue", "client_places", "client_connections", "kept_bytes", "client_bytes",
    "kept_seconds", "stop_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All limits; the defaults suit one person on one computer.

    max_bytes: of an upload. max_pixels: width * height of a photo, by its header, before decoding;
    max_frame_pixels: of one frame of a video, as many frames are in memory at a time. max_frames:
    of a video, video_seconds: that the work on one may take, work_seconds: on one photo.
    forgotten_seconds: after which a video that nobody asks for is given up.
    workers: photos worked on at a time (0: one for two cores), each in a process of its own that
    may take worker_bytes of memory; videos take turns beside them.
    queue: requests that may wait besides. client_places: how many of all these places one client
    (an address) may hold, 0: all. max_requests: answered at a time, also of downloads; one client
    may have a quarter of them. max_connections: open at a time, client_connections: of one client,
    0: all; behind a proxy all are the proxy's. stop_seconds: that what has begun may still take
    when the server is told to stop. body_seconds: for an upload to come, and for a client to take
    the next piece of an answer.
    kept_bytes: of files kept for the page all together, client_bytes: of one client's (0: half of
    kept_bytes): its oldest make room for its new ones, never another's; kept_seconds: for how long
    after they were last used. token: what clients must show, "" for none. origins: other sites
    whose pages may use the API (CORS). hosts: names under which the server may be called, () for
    any. models: those that clients may name, () for all; without "auto" the first is the default.
    access_log: text or json, a line a request, or off. device, analysis: as for `Restorer`.
    """

    max_bytes: int = 200_000_000
    max_pixels: int = 120_000_000
    max_frame_pixels: int = 9_000_000
    max_frames: int = 3_000
    video_seconds: float = 1800.0
    work_seconds: float = 120.0
    forgotten_seconds: float = 300.0
    workers: int = 0
    worker_bytes: int = 2_000_000_000
    queue: int = 8
    client_places: int = 0
    max_requests: int = 256
    max_connections: int = 1024
    client_connections: int = 0
    stop_seconds: float = 10.0
    body_seconds: float = 120.0
    kept_bytes: int = 4_000_000_000
    client_bytes: int = 0
    kept_seconds: float = 1800.0
    token: str = ""
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    access_log: str = "off"
    device: str = "auto"
    analysis: int = 1024

    def __post_init__(self) -> None:
        for name in (*POSITIVE, *NOT_NEGATIVE):
            if not math.isfinite(getattr(self, name)):
                raise UnhazeError(f"{name} is {getattr(self, name)}; expected a number")
        for name in POSITIVE:
            if getattr(self, name) <= 0:
                raise UnhazeError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UnhazeError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not self.token.isascii() or any(each in self.token for each in ' ";,\\'):
            raise UnhazeError("the token must be of ASCII letters, digits, - and _")
        if "*" in self.origins and not self.token:
            raise UnhazeError("origin '*' lets every web site use the API; set a token as well")
        one_of("access_log", self.access_log, FORMS)
        for name in self.models:
            one_of("model", name, every_model())

    @property
    def places(self) -> int:
        """Photos worked on at a time."""
        return self.workers or max(1, usable_cores() // 2)

    @property
    def threads(self) -> int:
        """Of each of them, so that all cores are used and none is fought over."""
        return max(1, usable_cores() // self.places)

    @property
    def bytes_of_one(self) -> int:
        """That one client's files may take."""
        return self.client_bytes or self.kept_bytes // 2

    def chosen(self, model: str, analysis: int) -> str:
        """The name of the model to load for `model`. UnhazeError: not among those that clients may
        use, or too dear at this `analysis`.
        """
        allowed = self.models or tuple(every_model())
        if model == "auto" and "auto" not in allowed:
            model = allowed[0]
        one_of("model", model, ("auto", *(each for each in allowed if each != "auto")))
        most = largest_analysis(model)
        if analysis > most:
            raise UnhazeError(f"{model} takes an analysis of at most {most} pixels here")
        return model


def every_model() -> list[str]:
    """The names of all that the service has."""
    return ["auto", *(card.name for card in list_models()), *PRIORS]


def largest_analysis(model: str) -> int:
    """Long side in pixels of the picture that a model may see, by the memory that it takes."""
    if model not in PRIORS:
        return LARGEST_ANALYSIS
    side = math.isqrt(ANALYSIS_BYTES // PRIORS[model].bytes_per_pixel)
    return min(LARGEST_ANALYSIS, side)
