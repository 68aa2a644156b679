"""`unhaze data`: is a dataset whole, one small file of it, and hazy pictures from clear ones."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from unhaze.cli.places import PATH
from unhaze.cli.settings import parse_settings, settings_option
from unhaze.errors import counted

border_option = click.option(
    "--border",
    type=click.IntRange(min=0),
    default=0,
    metavar="PX",
    help="Pixels to cut off every side first.",
)


@click.group(no_args_is_help=False)
def data() -> None:
    """Checks, packs and makes training data."""


@data.command()
@click.argument("name")
@click.option("--root", type=PATH, required=True, metavar="DIR", help="Folder of the dataset.")
@settings_option
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Check only N scenes.")
@click.option(
    "--crop", type=click.IntRange(min=0), default=0, metavar="PX", help="Crop size of the training."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def check(
    name: str, root: Path, settings: tuple[str, ...], sample: int | None, crop: int, as_json: bool
) -> int:
    """Reports faults of dataset NAME: unpaired files, sizes, counts, wrong or broken pictures, and
    with --crop pictures that are too small for it.

    The exit status is 1 if there are any; notes do not count.
    """
    from unhaze.data.check import check as find_problems

    problems = find_problems(name, root, sample=sample, crop=crop, **parse_settings(settings))
    errors = sum(problem.error for problem in problems)
    if as_json:
        found = [asdict(problem) | {"file": str(problem.file)} for problem in problems]
        document = {"data": name, "root": str(root), "errors": errors, "problems": found}
        click.echo(json.dumps(document, indent=2))
    else:
        for problem in problems:
            kind = problem.kind if problem.error else f"note: {problem.kind}"
            click.echo(f"{problem.file}: {kind}: {problem.text}")
    told = counted(errors, "problem") if errors else "no problems"
    click.echo(f"unhaze: {name} in '{root}': {told}", err=True)
    return 1 if errors else 0


@data.command()
@click.argument("root", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE", help="The pack to write.")
@border_option
@click.option("--codec", type=click.Choice(["avif", "webp"]), default="avif", show_default=True)
@click.option("--quality", type=click.IntRange(1, 100), default=58, show_default=True, metavar="Q")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def pack(root: Path, out: Path, border: int, codec: str, quality: int, overwrite: bool) -> None:
    """Packs ROOT/clear and ROOT/depth into one small file, which training reads like the folder."""
    from unhaze.data.pack import make_pack

    report = make_pack(root, out, border=border, codec=codec, quality=quality, overwrite=overwrite)
    click.echo(
        f"unhaze: {counted(report.scenes, 'scene')} of {report.size[0]}x{report.size[1]} in "
        f"{report.bytes / 2**20:.2f} MiB: {report.clear_bytes / 1000:.1f} kB of picture and "
        f"{report.depth_bytes / 1000:.1f} kB of depth a scene",
        err=True,
    )
    click.echo(report.path)


@data.command()
@click.argument("root", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, metavar="DIR", help="A new folder.")
@click.option("--each", type=int, default=10, show_default=True, help="Hazy pictures a scene.")
@click.option("--beta", type=(float, float), default=(0.6, 1.8), show_default=True)
@click.option("--airlight", type=(float, float), default=(0.7, 1.0), show_default=True)
@click.option("--airlight-at-one", type=float, default=0.0, help="Share of pictures with A = 1.")
@click.option(
    "--airlight-tint", type=float, default=0.0, help="Largest excess of red over blue in A."
)
@border_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N scenes.")
@click.option("--seed", type=click.IntRange(min=0), default=0)
def synth(
    root: Path,
    out: Path,
    each: int,
    beta: tuple[float, float],
    airlight: tuple[float, float],
    airlight_at_one: float,
    airlight_tint: float,
    border: int,
    limit: int | None,
    seed: int,
) -> None:
    """Adds haze to ROOT/clear by ROOT/depth and writes pairs to DIR/hazy and DIR/clear.

    The haze model is that of RESIDE indoor; depth is relative to the deepest point of its picture.
    """
    from unhaze.data.synth import synthesize
    from unhaze.haze import HazeLaw

    law = HazeLaw(beta, airlight, airlight_at_one, airlight_tint)
    count = synthesize(root, out, law=law, each=each, seed=seed, border=border, limit=limit)
    click.echo(f"unhaze: {counted(count, 'hazy picture')}", err=True)
    click.echo(out)
