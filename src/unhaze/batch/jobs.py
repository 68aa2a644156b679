"""What planner and executors share: jobs, outcomes, a plan of both, and how work is to be done."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from unhaze.outputs import AS_MODEL, AS_SOURCE, Controls, Output
from unhaze.restore.encoding import Encoding

if TYPE_CHECKING:
    from unhaze.restore.video import VideoReport

DONE, SKIPPED, FAILED = STATES = ("done", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class Mark:
    """Identifies one state of a file: size in bytes, and its modification time or etag.

    changed: seconds since 1970, None where the store does not say. A date in the future, as of a
    camera whose clock is wrong, is replaced by that of the entry in the file system. file: the
    same for two names of one file.
    """

    size: int
    stamp: str
    changed: float | None = field(default=None, compare=False)
    file: str | tuple[int, int] = field(default="", compare=False)


UNKNOWN = Mark(0, "")


@dataclass(frozen=True, slots=True)
class Job:
    """One file to restore. source, target: paths, or the names of files in two places.

    before: the existing target that is to be replaced. A target in any other state was written
    after planning: by another process, or by a worker that died before it could report it.
    """

    source: str
    target: str
    mark: Mark = UNKNOWN
    before: Mark | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job. why: one line, if it failed. attempts: 0 if its target was found.

    megapixels: of the picture, of a video those of all its frames. worker: computer:process. video:
    what is known of a video. notes: what was left out or converted, one line each.
    """

    job: Job
    state: str
    why: str | None = None
    seconds: float = 0.0
    megapixels: float = 0.0
    model: str | None = None
    worker: str | None = None
    attempts: int = 0
    video: "VideoReport | None" = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """The content of the manifest of an earlier run.

    done: source -> (its state, digest of the settings) for finished files. began: start of the
    first run with the settings `digest`, in seconds since 1970. empty: it lists no file.
    """

    done: Mapping[str, tuple[Mark, str]]
    digest: str | None = None
    began: float = 0.0
    empty: bool = True


@dataclass(frozen=True)
class Plan:
    """jobs: to do. known: outcomes that need no work: failed, skipped, or done by an earlier run
    that ended before reporting it. passed: files in folders that are not restored, with the reason.
    """

    jobs: list[Job]
    known: list[Outcome] = field(default_factory=list)
    passed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Settings for each file.

    strength: 0 (no change) to 1. overwrite: targets that exist are replaced. resume: targets that
    exist and are not older than their source are kept and count as done. compare, save_field: write
    the comparison or the field of a photo beside its target. start, end: the part of a video, in
    seconds. encoding: how videos are written. analysis: long side in pixels of the network's input
    (default: that of `Restorer`). output: how photos are written.
    controls: the user's corrections of the model's result.
    """

    strength: float = 1.0
    overwrite: bool = False
    resume: bool = False
    compare: bool = False
    save_field: bool = False
    start: float | None = None
    end: float | None = None
    encoding: Encoding = Encoding()
    analysis: int | None = None
    output: Output = AS_SOURCE
    controls: Controls = AS_MODEL


PLAIN = Settings()


@dataclass(frozen=True)
class Work:
    """The job description that every worker receives; it is picklable.

    source, target: the places; if empty, names are paths on this computer. at_once: photos at a
    time in one worker. threads: for each photo, or in all for a whole plan; 0: one per core.
    memory: bytes that the network may use, for each photo or in all; None: the free memory.
    retries: of a file, after transient errors and after the death of its worker.
    """

    source: str = ""
    target: str = ""
    settings: Settings = PLAIN
    model: str = "auto"
    device: str = "auto"
    native: bool = False
    at_once: int = 1
    threads: int = 0
    memory: float | None = None
    retries: int = 2

    def facts(self) -> dict[str, Any]:
        """Returns places and settings for the manifest."""
        from importlib.metadata import version  # which loads much

        asked = asdict(self.settings)
        kept = {key: asked[key] for key in asked if key not in ("overwrite", "resume")}
        facts = {"unhaze": version("unhaze"), "from": self.source, "to": self.target}
        return facts | {"settings": {"model": self.model, "native": self.native} | kept}

    def digest(self) -> str:
        """Returns a digest of all that the pixels depend on. UnhazeError: no such model."""
        from unhaze.restore.models import find_model
        from unhaze.restore.priors import is_prior

        given = self.facts()
        facts: dict[str, Any] = given["settings"] | {"unhaze": given["unhaze"]}
        if not is_prior(self.model):
            path = find_model(self.model)
            facts["model"] = f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
