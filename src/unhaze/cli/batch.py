"""`unhaze batch`: a folder of thousands of photos and videos, here or in an object store."""

import json
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unhaze.cli.dry import planned_video
from unhaze.cli.options import given_in, shared_options
from unhaze.cli.progress import ERASE, say, stopped_by
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.batch.folder import BatchStats
    from unhaze.batch.tasks import Outcome, Plan, Task
    from unhaze.batch.worker import Work
    from unhaze.restore.video.planned import PlannedVideo

MANIFEST_HELP = "Path or URL of the manifest. [default: unhaze-manifest.jsonl in DST]"
WORKERS_HELP = "Processes or Ray actors, each with a model. [default: as --jobs; 1 on a GPU]"
CLUSTER_HELP = "Run on Ray: local (started here), auto (running here) or an address."
GPUS_HELP = "GPUs per Ray worker; 0.5 puts two workers on one GPU."
RETRIES_HELP = "Retries of a file after transient errors. [default: 2]"
TELL_SECONDS = 10.0  # between two lines on progress; on a terminal it is told in place


def part(context: click.Context, option: click.Parameter, given: str | None) -> tuple[int, int]:
    """2/8 -> (2, 8); a usage error for everything else."""
    if given is None:
        return 1, 1
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", given)
    number, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise click.BadParameter(f"'{given}' is no shard; expected i/n with i from 1 to n, as 2/8")
    return number, parts


@click.command(short_help="Clears thousands of files, on one machine or many.")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--workers", type=click.IntRange(1, 4096), metavar="N", help=WORKERS_HELP)
@click.option("--cluster", metavar="local|auto|ADDRESS", help=CLUSTER_HELP)
@click.option(
    "--gpus-per-worker", type=click.FloatRange(0, 64), default=0.0, metavar="N", help=GPUS_HELP
)
@click.option("--shard", callback=part, metavar="I/N", help="Only this part of the files, as 2/8.")
@click.option("--retries", type=click.IntRange(0, 100), default=2, metavar="N", help=RETRIES_HELP)
@click.option("--manifest", metavar="FILE", help=MANIFEST_HELP)
@shared_options
@click.pass_context
def batch(
    context: click.Context,
    source: str,
    target: str,
    workers: int | None,
    cluster: str | None,
    gpus_per_worker: float,
    shard: tuple[int, int],
    retries: int,
    manifest: str | None,
) -> int:
    """Clears haze from all photos and videos below SRC, into DST, under their names.

    SRC and DST are folders or URLs of an object store (s3://bucket/hazy). What becomes of each file
    is a line of the manifest, by which --resume goes on after a stop or a kill.
    """
    given = given_in(context)
    from unhaze.batch.folder import ExecutorConfig, plan_folder, restore_folder
    from unhaze.batch.manifest import NotCopied
    from unhaze.batch.worker import Work

    work = Work(
        source,
        target,
        given.settings(),
        given.model,
        given.device,
        given.native,
        threads=given.threads or 0,
        memory=given.memory,
        retries=retries,
    )
    executor = ExecutorConfig(
        workers or 0, given.jobs or int(given.native), cluster, gpus_per_worker
    )
    if given.dry_run:
        return tell_tasks(plan_folder(work, resume=given.resume, shard=shard), work, given.as_json)
    with stopped_by(signal.SIGINT, signal.SIGTERM) as stop:
        try:
            stats = restore_folder(
                work,
                executor,
                manifest=manifest,
                resume=given.resume,
                shard=shard,
                stop=stop,
                hear=Teller(given.quiet, given.verbose).hear,
            )
        except NotCopied as error:  # files were restored: not the status of wrong use
            say(f"error: {error}")
            return 1
    stopped = stop.is_set() and sum(stats.counts.values()) < stats.total
    if given.as_json:
        facts = {"model": given.model, "cluster": cluster, "stopped": stopped} | stats.facts()
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(stats.manifest)
    return conclude(stats, stopped, given.quiet)


def tell_tasks(plan: "Plan", work: "Work", as_json: bool) -> int:
    """Prints what would become what, of a video here how; status 1 if something cannot be done."""
    videos = {task.source: video_of(task, work) for task in plan.tasks}
    entries = [("planned", task, None) for task in plan.tasks]
    entries += [(outcome.state, outcome.task, outcome.why) for outcome in plan.known]
    for state, task, why in entries:
        if why is not None:
            say(f"error: {why}")
        elif not as_json:
            video = videos.get(task.source)
            words = f": {video}" if video else " (kept)" * (state != "planned")
            click.echo(f"{task.source} -> {task.target}{words}")
    if as_json:
        files = [
            {"source": task.source, "target": task.target, "status": state, "error": why}
            | ({"video": video.facts()} if (video := videos.get(task.source)) else {})
            for state, task, why in entries
        ]
        click.echo(json.dumps({"dry_run": True, "files": files}, indent=2))
    return 1 if any(why for _, _, why in entries) else 0


def video_of(task: "Task", work: "Work") -> "PlannedVideo | None":
    """Returns the plan of a local video; None for photos, stores, and videos that fail."""
    source = Path(work.source, task.source)
    try:
        return planned_video(source, task.target, work.settings) if source.is_file() else None
    except UnhazeError as error:
        say(f"error: '{task.source}': {error}")
        return None


class Teller:
    """Prints each failure, and from time to time the progress of the batch, to stderr.

    quiet: not of the latter. verbose: of each file.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.told, self.quiet, self.verbose = 0.0, quiet, verbose

    def hear(self, stats: "BatchStats", outcome: "Outcome | None") -> None:
        """Reports an outcome, after it has been counted."""
        if outcome is not None and outcome.why is not None:
            say(f"error: {outcome.why}")
        elif outcome is not None and self.verbose:
            say(f"{outcome.task.source}: {outcome.seconds:.2f} s")
        if self.quiet:
            return
        terminal = sys.stderr.isatty()
        if outcome is None or stats.seconds - self.told < (0.2 if terminal else TELL_SECONDS):
            return
        self.told = stats.seconds
        count = sum(stats.counts.values())
        line = f"unhaze: {count} of {stats.total}, {rate(stats)}"
        click.echo((ERASE if terminal else "") + line, err=True, nl=not terminal)


def rate(stats: "BatchStats") -> str:
    """Files and megapixels a second."""
    facts = stats.facts()
    files, pixels = facts["files_per_second"], facts["megapixels_per_second"]
    return f"{files:.1f} files/s, {pixels:.1f} megapixels/s"


def conclude(stats: "BatchStats", stopped: bool, quiet: bool) -> int:
    """Prints the summary and returns the exit status."""
    counts = stats.counts
    words = ", ".join(f"{counts[state]} {state}" for state in ("done", "skipped", "failed"))
    if not quiet or counts["failed"]:
        say(f"{words} of {stats.total} in {stats.seconds:.1f} s: {rate(stats)}")
    if stopped:
        say("stopped; --resume goes on from here")
        return 130
    return 1 if counts["failed"] else 0
