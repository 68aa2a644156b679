"""Settings and limits of a server."""

import math
from dataclasses import dataclass

from unhaze.errors import UnhazeError
from unhaze.restore.models import ANALYSIS, list_models
from unhaze.restore.priors import PRIORS
from unhaze.restore.resources import usable_cores
from unhaze.validation import one_of
from unhaze.web.access import FORMS

ANALYSIS_BYTES = 600_000_000  # expected memory that one analysis may use
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
    max_frame_pixels: of one frame of a video, of which several are in memory at a time. max_frames:
    of a video. video_seconds, work_seconds: time limits for one video and one photo.
    forgotten_seconds: after which a video whose state nobody requests is abandoned.
    workers: photos in parallel (0: one for two cores), each in its own process, which may use
    worker_bytes of memory; videos are processed one at a time besides. queue: requests that may
    wait. client_places: how many of all these places one client (an address) may hold, 0: all.
    max_requests: in progress at a time, downloads included; one client may have a quarter of them.
    max_connections: open at a time. client_connections: of one client, 0: all; behind a proxy all
    are the proxy's. stop_seconds: for work in progress on shutdown. body_seconds: for receiving an
    upload, and for a client to accept the next part of a response.
    kept_bytes: of all files kept for the page. client_bytes: of one client's (0: half of
    kept_bytes); its oldest files are removed for its new ones, never those of others. kept_seconds:
    after the last use. token: required of clients, "" for none. origins: other sites whose pages
    may use the API (CORS). hosts: accepted host names of the server, () for any. models: that
    clients may name, () for all; without "auto" the first is the default. access_log: text or json,
    a line per request, or off. device, analysis: as for `Restorer`.
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
    analysis: int = ANALYSIS

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
        """Returns the number of photos in parallel."""
        return self.workers or max(1, usable_cores() // 2)

    @property
    def threads(self) -> int:
        """Returns the threads of each worker, which together use all cores."""
        return max(1, usable_cores() // self.places)

    @property
    def bytes_of_one(self) -> int:
        """Returns the space that the files of one client may take."""
        return self.client_bytes or self.kept_bytes // 2

    def chosen(self, model: str, analysis: int) -> str:
        """Returns the name of the model to load for `model`. UnhazeError: it is not available to
        clients, or needs too much memory at this `analysis`.
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
    """Returns the names of all models of the service."""
    return ["auto", *(card.name for card in list_models()), *PRIORS]


def largest_analysis(model: str) -> int:
    """Returns the longest side in pixels that a model may see, given the memory that it uses."""
    if model not in PRIORS:
        return LARGEST_ANALYSIS
    side = math.isqrt(ANALYSIS_BYTES // PRIORS[model].bytes_per_pixel)
    return min(LARGEST_ANALYSIS, side)
