"""`python -m tools.report`: the pages of this repository that are made from what was measured.

Run in a clone's folder, as `make tables` does.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from tools.report.cards import models_page
from tools.report.formats import update_page
from tools.report.plane import ELSEWHERE, plane_points, plane_table, sizes_table
from tools.report.readme import update_tables
from tools.report.zoo import zoo_page
from unhaze.errors import UnhazeError
from unhaze.report.results import read_results
from unhaze.restore.models import list_models

PATH = click.Path(path_type=Path)
results_option = click.option(
    "--results", type=PATH, default="results", show_default=True, metavar="DIR"
)
check_option = click.option(
    "--check", is_flag=True, help="Write nothing; exit with status 1 if a page is out of date."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `python -m tools.report ARGUMENTS` and returns the exit status: 2 after an error."""
    try:
        return report.main(arguments, "python -m tools.report", standalone_mode=False) or 0
    except click.ClickException as error:
        message = error.format_message()
    except UnhazeError as error:
        message = str(error)
    click.echo(f"error: {message}", err=True)
    return 2


@click.group(no_args_is_help=False)
def report() -> None:
    """Writes pages and tables from the measurements in results/."""


@report.command()
def zoo() -> None:
    """Prints docs/zoo.md: the published networks, their terms, weights, scores and speed."""
    click.echo(zoo_page(), nl=False)


@report.command()
@click.option("--page", type=PATH, default="docs/use.md", show_default=True, metavar="FILE")
@check_option
def formats(page: Path, check: bool) -> int:
    """Writes the tables of formats and of options for results into docs/use.md."""
    return told([page] if update_page(page, check=check) else [], check)


@report.command()
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def plane(results: Path, as_json: bool) -> None:
    """Prints FADE on hazy photos against PSNR on clear ones, of `eval --long-side 640`."""
    points = plane_points(read_results(results))
    if as_json:
        rows = [asdict(each) | {"passes": each.passes} for each in (*points, *ELSEWHERE)]
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(plane_table(points), nl=False)


@report.command()
@results_option
def sizes(results: Path) -> None:
    """Prints what `eval --rescale` measured: PSNR where the network sees other sizes."""
    click.echo(sizes_table(read_results(results)), nl=False)


@report.command()
@results_option
def models(results: Path) -> None:
    """Prints docs/models.md: the shipped models' cards, plane and sizes."""
    click.echo(models_page(list_models(), read_results(results)), nl=False)


@report.command()
@click.option(
    "--readme",
    "pages",
    type=PATH,
    multiple=True,
    default=("README.md", "docs/results.md"),
    show_default=True,
    metavar="FILE",
    help="Page with the markers of tables. May be repeated.",
)
@results_option
@check_option
def readme(pages: tuple[Path, ...], results: Path, check: bool) -> int:
    """Writes the tables of README.md and of docs/results.md."""
    return told([page for page in pages if update_tables(page, results, check=check)], check)


def told(stale: Sequence[Path], check: bool) -> int:
    """Returns the status: with `check`, 1 if pages are out of date, which it names on stderr."""
    for page in stale if check else ():
        click.echo(f"{page} is out of date; run `make tables`", err=True)
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
