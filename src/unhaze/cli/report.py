"""`unhaze report`: the paper's tables and figures, strips and galleries, from your own runs."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from unhaze.cli.places import PATH, TEXT
from unhaze.cli.settings import settings_option

recipes_option = click.option(
    "--recipes", type=PATH, default="recipes", show_default=True, metavar="DIR"
)
results_option = click.option(
    "--results", type=PATH, default="results", show_default=True, metavar="DIR"
)
out_option = click.option(
    "-o", "--out", type=PATH, required=True, metavar="FILE", help="Picture to write."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what exists.")


@click.group(no_args_is_help=False)
def report() -> None:
    """Tables and figures from the measurements in results/."""


@report.command()
@recipes_option
@results_option
@click.option("--table", type=click.IntRange(1, 4), metavar="N", help="Only this one.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def paper(
    recipes: Path, results: Path, table: int | None, as_markdown: bool, as_json: bool
) -> None:
    """Prints the AECR-Net paper's tables: its numbers, ours, the budget, the difference."""
    from unhaze.report.paper import HEAD, INTRODUCTION, TABLES, paper_rows, table_of
    from unhaze.report.results import aligned, markdown

    rows = paper_rows(recipes, results)
    if table is not None:
        rows = [row for row in rows if row.table == f"table{table}"]
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    if as_markdown:
        click.echo(f"# The tables of the AECR-Net paper\n\n{INTRODUCTION}\n")
    for name, (title, _) in TABLES.items():
        cells = table_of(rows, name)
        if cells and as_markdown:
            click.echo(f"## {title}\n\n{markdown(HEAD, cells)}")
        elif cells:
            click.echo(f"{title}\n\n{aligned(HEAD, cells)}")
    if table is None:
        echo_studies(results, as_markdown)


def echo_studies(results: Path, as_markdown: bool) -> None:
    """The tables of our own studies, below the paper's."""
    from unhaze.report.results import aligned, markdown
    from unhaze.report.studies import HEAD, STUDIES, study_rows, study_table

    for name, (title, remark) in STUDIES.items():
        cells = study_table(study_rows(results, name))
        if cells and as_markdown:
            click.echo(f"## {title}\n\n{remark}\n\n{markdown(HEAD, cells)}")
        elif cells:
            click.echo(f"{title}\n{remark}\n\n{aligned(HEAD, cells)}")


@report.command()
@recipes_option
@results_option
@out_option
@overwrite_option
def figure(recipes: Path, results: Path, out: Path, overwrite: bool) -> None:
    """Draws PSNR against parameters (Figure 2): the paper's points and ours."""
    from unhaze.atomic import check_replaceable
    from unhaze.report.figures import draw_parameters
    from unhaze.report.paper import paper_rows

    check_replaceable(out, overwrite)
    draw_parameters(paper_rows(recipes, results), out)
    click.echo(out)


@report.command()
@click.argument("models", nargs=-1, required=True, type=TEXT)
@click.option("--hazy", type=PATH, required=True, metavar="DIR")
@click.option("--clear", type=PATH, metavar="DIR")
@click.option("--limit", type=click.IntRange(min=1), default=3, show_default=True, metavar="N")
@click.option("--device", default="auto", show_default=True)
@settings_option
@out_option
@overwrite_option
def strips(
    models: tuple[str, ...],
    hazy: Path,
    clear: Path | None,
    limit: int,
    device: str,
    settings: tuple[str, ...],
    out: Path,
    overwrite: bool,
) -> None:
    """Writes rows of hazy | each of MODELS | clear (Figures 6 to 8), evenly chosen from DIR."""
    from unhaze.atomic import check_replaceable
    from unhaze.cli.eval import pairs_of
    from unhaze.report.figures import write_strips

    check_replaceable(out, overwrite)
    pairs = pairs_of(hazy, clear, None, None, settings)
    count = min(limit, len(pairs))
    chosen = [pairs[index * len(pairs) // count] for index in range(count)]
    write_strips(models, chosen, out, device=device)
    click.echo(out)


@report.command()
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("-o", "--out", type=PATH, default="gallery", show_default=True, metavar="OUT")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=TEXT,
    metavar="MODEL",
    help="Show these instead of dcp and every shipped model. May be repeated.",
)
@click.option(
    "--also",
    multiple=True,
    type=TEXT,
    metavar="MODEL",
    help="Also show this model. May be repeated.",
)
@click.option(
    "--long-side",
    type=click.IntRange(min=0),
    default=1024,
    show_default=True,
    metavar="N",
    help="Shrink larger photos to so many pixels; 0 shrinks none.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N photos.")
@click.option("--device", default="auto", show_default=True)
@overwrite_option
def gallery(
    folder: Path,
    out: Path,
    models: tuple[str, ...],
    also: tuple[str, ...],
    long_side: int,
    limit: int | None,
    device: str,
    overwrite: bool,
) -> int:
    """Makes a page and PNG strips of the photos in DIR: hazy | dcp | every shipped model.

    MODEL is any model of `unhaze eval`: .onnx, .safetensors (`unhaze weights import`), a prior.
    """
    from unhaze.report.gallery import write_gallery

    made = write_gallery(
        folder,
        out,
        models,
        also=also,
        long_side=long_side,
        limit=limit,
        device=device,
        overwrite=overwrite,
    )
    for fault in made.faults:
        click.echo(f"unhaze: error: {' '.join(fault.split())}", err=True)
    click.echo(out / "index.html")
    return 1 if made.faults else 0
