"""`unhaze zoo`: the networks that others published, their weights, and what a file is of."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unhaze.cli.places import TEXT
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.zoo import Offer


@click.group(invoke_without_command=True, no_args_is_help=False)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["name", "score", "cost", "size", "year"]),
    default="name",
    show_default=True,
    help="Order of the rows; score: as published, on SOTS indoor.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.pass_context
def zoo(context: click.Context, order: str, as_json: bool) -> None:
    """Lists the published networks, with papers, licences and sources of weights.

    `get` downloads weights that authors offer as plain files; `identify` recognises files.
    """
    if context.invoked_subcommand is not None:
        return
    from unhaze.report.zoo import list_rows

    rows = list_rows(order)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {line_of(row)}")


def line_of(row: dict[str, Any]) -> str:
    """For people: paper, size, cost, scores, terms, and where the weights are."""
    cost = f", {row['gmacs_256']:.1f} GMAC at 256" if row["gmacs_256"] is not None else ""
    scores = ", ".join(f"{data} {score}" for data, score in row["scores"].items())
    get = f"unhaze zoo get {' | '.join(row['get'])}" if row["get"] else row["weights"]
    parity = "" if row["parity"] else "; not here yet" if not row["here"] else "; parity not proven"
    return (
        f"{row['venue']}: {row['parameters']:,} parameters{cost}"
        f"{f'; {scores}' if scores else ''} [{row['licence']}]; weights: {get}{parity}"
    )


@zoo.command(short_help="Downloads published weights.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Accept weights without a stated licence.")
def get(names: tuple[str, ...], yes: bool) -> None:
    """Downloads weights that their authors offer as plain files into the cache, and checks them.

    Prints their licence, and asks if none is stated. Prints each file's path; from then on
    `unhaze photo.jpg --model NAME` runs it.
    """
    from unhaze.zoo import find_offers
    from unhaze.zoo import get as fetch_offer

    found = {name: find_offers(name) for name in names}
    for name, offers in found.items():
        for offer in offers:
            click.echo(f"unhaze: {offer.name}: {offer.bytes:,} bytes of {offer.url}", err=True)
        click.echo(f"unhaze: {name}: licence: {offers[0].licence}", err=True)
        if not offers[0].has_licence and not all(offer.fetched for offer in offers):
            check_consent(offers[0], yes)
        click.echo(fetch_offer(name))


def check_consent(offer: "Offer", yes: bool) -> None:
    """Asks on a terminal; without one, --yes must have been given."""
    import sys

    if yes:
        return
    told = "without a licence you may not be permitted to use or redistribute these weights"
    if not sys.stdin.isatty():
        raise click.UsageError(f"'{offer.name}': {told}; give --yes if you are")
    if not click.confirm(f"{told}; download them?", err=True):
        raise UnhazeError(f"'{offer.name}' was not downloaded")


@zoo.command(short_help="Recognises files of weights.")
@click.argument("files", nargs=-1, required=True, type=TEXT, metavar="FILE...")
@click.option("--net", metavar="NAME[/PRESET]", help="Compare with this network only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def identify(files: tuple[str, ...], net: str | None, as_json: bool) -> None:
    """Prints network, variant and layout of checkpoints, and the kind of other files. Runs nothing.

    A folder stands for the files in it, but not for hidden ones.
    """
    from unhaze.published.identify import asked
    from unhaze.published.identify import identify as identify_file

    asked(net)
    paths = [path for name in files for path in files_in(Path(name))]
    found = [identify_file(path, net) for path in paths]
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    for each in found:
        click.echo(f"{each.path}: {each.kind}: {each.told}")


def files_in(path: Path) -> list[Path]:
    """The file itself, or all in a folder but hidden ones. UnhazeError: there is none, or a folder
    cannot be read."""
    from unhaze.batch.places import is_hidden

    if not path.exists():
        raise UnhazeError(f"no file '{path}'")
    if not path.is_dir():
        return [path]

    def failed(error: OSError) -> None:
        raise UnhazeError(f"cannot read '{error.filename}': {error.strerror}") from error

    walk = os.walk(path, onerror=failed)
    found = sorted(Path(parent, name) for parent, _, names in walk for name in names)
    files = [each for each in found if each.is_file() and not is_hidden(each.relative_to(path))]
    if not files:
        raise UnhazeError(f"no files in '{path}'")
    return files
