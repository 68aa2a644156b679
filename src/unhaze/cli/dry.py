"""`--dry-run`: what would be written, one line a file; nothing is restored or written."""

import json
from typing import TYPE_CHECKING, Any

import click

from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.batch import FileJob, Settings


def tell_plan(plan: "list[FileJob]", settings: "Settings", *, as_json: bool) -> int:
    """Prints SOURCE -> TARGET and what is known of each; returns the exit status, 1 if some inputs
    would fail.
    """
    entries = [planned(job, settings) for job in plan]
    for entry in entries:
        if as_json:
            continue
        if entry["error"]:
            click.echo(f"unhaze: error: {entry['error']}", err=True)
        else:
            known = f": {entry['words']}" if entry["words"] else ""
            click.echo(f"{entry['source']} -> {entry['target']}{known}")
    if as_json:
        hidden = [{key: each[key] for key in each if key != "words"} for each in entries]
        click.echo(json.dumps({"dry_run": True, "inputs": len(plan), "files": hidden}, indent=2))
    return 1 if any(entry["error"] for entry in entries) else 0


def planned(job: "FileJob", settings: "Settings") -> dict[str, Any]:
    """What would become of one file."""
    from unhaze.batch import is_video
    from unhaze.restore.video.frames import require_av

    error, video = job.problem, None
    if error is None and job.target.exists() and not settings.overwrite and not settings.resume:
        error = f"'{job.target}' exists; --overwrite replaces it"
    if error is None and is_video(job.source):
        try:
            require_av("restoring a video")
            from unhaze.restore.video.planned import plan_video

            part = {"start": settings.start, "end": settings.end}
            video = plan_video(job.source, job.target, encoding=settings.encoding, **part)
        except UnhazeError as failure:
            error = f"'{job.source}': {failure}"
    return {
        "source": str(job.source),
        "target": str(job.target),
        "error": error,
        "words": "" if video is None else str(video),
        "video": None if video is None else video.facts(),
    }
