"""`--dry-run`: what would be written, one line a file; nothing is restored or written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unhaze.cli.progress import passed_over, say
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.batch import FileJob, Settings
    from unhaze.restore.video.planned import PlannedVideo


def tell_plan(
    plan: "Sequence[FileJob]", settings: "Settings", passed: Mapping[Path, str], *, as_json: bool
) -> int:
    """Prints SOURCE -> TARGET and what is known of each; returns the exit status, 1 if some inputs
    would fail. passed: files of folders that are passed over, and why.
    """
    entries = [planned(job, settings) for job in plan]
    for entry in entries:
        words = entry.pop("words")
        if entry["error"]:
            say(f"error: {entry['error']}")
        elif not as_json:
            kept = " (kept)" * (entry["status"] == "skipped")
            click.echo(f"{entry['source']} -> {entry['target']}{kept}{words and ': '}{words}")
    if as_json:
        document = {"dry_run": True, "files": entries, "passed_over": passed_over(passed)}
        click.echo(json.dumps(document, indent=2))
    return 1 if any(entry["error"] for entry in entries) else 0


def planned(job: "FileJob", settings: "Settings") -> dict[str, Any]:
    """Returns what would be done to one file."""
    error, status, video = job.problem, "planned", None
    if error is None and job.target.exists() and not settings.overwrite:
        error = None if settings.resume else f"'{job.target}' exists; --overwrite replaces it"
        status = "skipped"
    if error is None and status == "planned":
        try:
            video = planned_video(job.source, job.target, settings)
        except UnhazeError as failure:
            error = f"'{job.source}': {failure}"
    return {
        "source": str(job.source),
        "target": None if error else str(job.target),
        "status": "failed" if error else status,
        "error": error,
        "words": "" if video is None else str(video),
        "video": None if video is None else video.facts(),
    }


def planned_video(source: Path, target: Path | str, settings: "Settings") -> "PlannedVideo | None":
    """Returns how a video would be written; None for a photo. UnhazeError: it cannot be."""
    from unhaze.batch import is_video
    from unhaze.restore.video.frames import require_av

    if not is_video(source):
        return None
    require_av("restoring a video")
    from unhaze.restore.video.planned import plan_video

    part = {"start": settings.start, "end": settings.end, "strength": settings.strength}
    return plan_video(source, target, encoding=settings.encoding, **part)
