"""`unhaze train`: a recipe in, a run folder out."""

import math
from pathlib import Path

import click


@click.command(short_help="Trains the network that a recipe describes.")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="A.B=V",
    help="Replace a setting of the recipe, as in schedule.steps=1000. May be repeated.",
)
@click.option(
    "--over",
    "overlays",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Lay the settings of a file over the recipe's, such as recipes/overlays/*.toml. May be "
    "repeated; --set wins.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on in a run folder; without RECIPE, with the recipe stored there.",
)
@click.option("--check", is_flag=True, help="Validate everything and do one step; keeps nothing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The new run folder. [default: runs/TITLE-DATE]",
)
def train(
    recipe: Path | None,
    settings: tuple[str, ...],
    overlays: tuple[Path, ...],
    resume: Path | None,
    check: bool,
    out: Path | None,
) -> int:
    """Trains the network that RECIPE (a TOML file) describes; prints the run folder.

    Ctrl-C saves the state; --resume goes on as if nothing had happened.
    """
    if recipe is None and resume is None:
        raise click.UsageError("Missing argument 'RECIPE'.")
    if resume is not None and out is not None:
        raise click.UsageError("--resume goes on in its own folder; leave out --out")

    from unhaze.config import load_config

    described = load_config(recipe or resume / "recipe.toml", settings, overlays=overlays)

    from unhaze.train import train as train_recipe

    result = train_recipe(described, out=out, resume=resume, check=check)
    if not math.isnan(result.psnr):
        gain = f"{result.hazy_psnr:.2f} dB hazy, {result.psnr:.2f} dB restored"
        click.echo(f"unhaze: step {result.step}: validation {gain}", err=True)
    if check:
        click.echo("unhaze: checked: one step and one validation went well", err=True)
        return 0
    click.echo(result.run)
    if not result.finished:
        go_on = f"unhaze train --resume {result.run}"
        click.echo(f"unhaze: stopped at step {result.step}; `{go_on}` goes on", err=True)
        return 130
    return 0
