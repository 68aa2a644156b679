"""`unhaze batch`: a folder of thousands of photos and videos, here or in an object store."""

import re
import signal

import click

from unhaze.cli.options import given_in, shared_options
from unhaze.cli.places import TEXT
from unhaze.cli.progress import Reporter, print_plan, say, stopped_by

MANIFEST_HELP = "Path or URL of the manifest. [default: unhaze-manifest.jsonl in DST]"
WORKERS_HELP = "Processes or Ray actors, each with a model. [default: as --jobs; 1 on a GPU]"
CLUSTER_HELP = "Run on Ray: local (started here), auto (running here) or an address."
GPUS_HELP = "GPUs per Ray worker; 0.5 puts two workers on one GPU."
RETRIES_HELP = "Retries of a file after transient errors. [default: 2]"


def part(context: click.Context, option: click.Parameter, given: str | None) -> tuple[int, int]:
    """2/8 -> (2, 8); a usage error for everything else."""
    if given is None:
        return 1, 1
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", given)
    number, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise click.BadParameter(
            f"'{given}' is not a shard; expected i/n with i from 1 to n, such as 2/8"
        )
    return number, parts


@click.command(short_help="Restores thousands of files, on one machine or many.")
@click.argument("source", metavar="SRC", type=TEXT)
@click.argument("target", metavar="DST", type=TEXT)
@click.option("--workers", type=click.IntRange(1, 4096), metavar="N", help=WORKERS_HELP)
@click.option("--cluster", metavar="local|auto|ADDRESS", help=CLUSTER_HELP)
@click.option(
    "--gpus-per-worker", type=click.FloatRange(0, 64), default=0.0, metavar="N", help=GPUS_HELP
)
@click.option("--shard", callback=part, metavar="I/N", help="Only this part of the files, as 2/8.")
@click.option("--retries", type=click.IntRange(0, 100), default=2, metavar="N", help=RETRIES_HELP)
@click.option("--manifest", type=TEXT, metavar="FILE", help=MANIFEST_HELP)
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
    """Removes haze from all photos and videos below SRC; results get the same names in DST.

    SRC and DST are folders or URLs of an object store (s3://bucket/hazy). The manifest has a
    line for each file; --resume continues from it after an interruption.
    """
    given = given_in(context)
    from unhaze.batch import ExecutorConfig, restore_folder
    from unhaze.batch.manifest import NotCopied
    from unhaze.batch.run import foresee_folder

    work = given.work(source, target, retries)
    executor = ExecutorConfig(workers or 0, given.at_once, cluster, gpus_per_worker)
    if given.dry_run:
        plan = foresee_folder(work, manifest=manifest, shard=shard)
        return print_plan(plan, work, as_json=given.as_json)
    reporter = Reporter(given, target, cluster=cluster)
    with stopped_by(signal.SIGINT, signal.SIGTERM) as stop:
        try:
            stats = restore_folder(
                work,
                executor,
                manifest=manifest,
                shard=shard,
                stop=stop,
                on_outcome=reporter.report,
            )
        except NotCopied as error:  # files were restored: not the status of wrong use
            say(f"error: {error}")
            return 1
        return reporter.summarize(stats, stop, {})
