"""`unhaze train`: a recipe in, a run folder out."""

import math
from pathlib import Path

import click

from unhaze.cli.places import PATH

OVER_HELP = (
    "Apply the settings of a file on top of the recipe's, such as recipes/overlays/*.toml. May "
    "be repeated; --set has priority."
)
RESUME_HELP = (
    "Continue a run folder; without RECIPE, with the recipe stored there. With RECIPE "
    "and --budget-minutes, a folder that does not exist yet is started."
)
OUT_HELP = "The new run folder. [default: runs/TITLE-DATE]"


@click.command(short_help="Trains the network that a recipe describes.")
@click.argument("recipe", required=False, type=PATH)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="A.B=V",
    help="Replace a setting of the recipe, as in schedule.steps=1000. May be repeated.",
)
@click.option("--over", "overlays", multiple=True, type=PATH, metavar="FILE", help=OVER_HELP)
@click.option("--resume", type=PATH, metavar="RUN", help=RESUME_HELP)
@click.option(
    "--budget-minutes",
    type=float,
    metavar="M",
    help="Save the state and exit once M minutes have passed since the command started.",
)
@click.option("--check", is_flag=True, help="Validate everything and run one step; save nothing.")
@click.option("--out", type=PATH, metavar="DIR", help=OUT_HELP)
def train(
    recipe: Path | None,
    settings: tuple[str, ...],
    overlays: tuple[Path, ...],
    resume: Path | None,
    budget_minutes: float | None,
    check: bool,
    out: Path | None,
) -> int:
    """Trains the network that RECIPE (a TOML file) describes; prints the run folder.

    Ctrl-C and the end of --budget-minutes save the state; --resume continues exactly from there.
    For time slots, repeat one command: RECIPE --resume RUN --budget-minutes M.
    """
    if resume is not None and out is not None:
        raise click.UsageError("--resume continues in its own folder; leave out --out")
    windows = budget_minutes is not None  # Only then may a mistyped RUN not be one.
    if resume is not None and not is_run(resume, startable=bool(recipe) and windows):
        click.echo(f"unhaze: there is no run '{resume}' yet; starting it", err=True)
        out, resume = resume, None

    if recipe is None:
        if resume is None:
            raise click.UsageError("Missing argument 'RECIPE'.")
        recipe = resume / "recipe.toml"

    from unhaze.config import load_config

    described = load_config(recipe, settings, overlays=overlays)

    from unhaze.training import train as train_recipe

    result = train_recipe(
        described, out=out, resume=resume, check=check, budget_minutes=budget_minutes
    )
    if not math.isnan(result.psnr):
        gain = f"{result.hazy_psnr:.2f} dB hazy, {result.psnr:.2f} dB restored"
        click.echo(f"unhaze: step {result.step}: validation {gain}", err=True)
    if check:
        done = "one step and one validation succeeded"
        if described.validation is None:
            done = "one step succeeded; there is no [validation]"
        click.echo(f"unhaze: checked: {done}", err=True)
        return 0
    click.echo(result.run)
    if result.finished:
        return 0
    why = f"the budget of {budget_minutes:g} min is spent" if result.out_of_time else "stopped"
    go_on = f"unhaze train --resume {result.run}"
    click.echo(f"unhaze: {why} at step {result.step}; continue with `{go_on}`", err=True)
    return 0 if result.out_of_time else 130


def is_run(folder: Path, *, startable: bool) -> bool:
    """Returns whether `folder` is a run. UnhazeError if not, unless it can be `startable`."""
    from unhaze.errors import UnhazeError

    if (folder / "recipe.toml").exists():
        return True
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UnhazeError(f"'{folder}' is not a run folder: there is no '{folder}/recipe.toml'")
    if not startable:
        raise UnhazeError(
            f"there is no run '{folder}'; `unhaze train RECIPE --out {folder}` starts it, and"
            f" so does RECIPE --resume {folder} with --budget-minutes"
        )
    return False
