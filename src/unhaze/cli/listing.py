"""`unhaze list`: what there is to choose from."""

import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

Row = dict[str, Any]


@click.command("list", short_help="Lists what there is to choose from.")
@click.argument("kind", metavar="KIND")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def list_names(kind: str, as_json: bool) -> None:
    """Lists nets, models, datasets, losses, methods, metrics or recipes.

    Recipes are those in the folder recipes/ of the working directory, or, where there is none,
    those that come with unhaze; `unhaze train` takes either by the name shown here.
    """
    from unhaze.validation import lookup

    rows_of, line_of = lookup(LISTS, kind, "list")
    rows = rows_of()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {line_of(row)}".rstrip())


def title_of(row: Row) -> str:
    """Returns the title of an entry."""
    return row["title"]


def list_nets() -> list[Row]:
    """Networks and priors with their papers, terms and the published numbers they stand for."""
    from unhaze.nets import NETS, net_of
    from unhaze.plugins import everything
    from unhaze.restore.priors import PRIORS

    nets = [
        {"name": name, "kind": "net", "title": net.title, "paper": net.paper}
        | {"reproduces": net.reproduces, "licence": net.licence, "presets": list(net.presets)}
        for name, net in everything(NETS, "net", net_of).items()
    ]
    priors = [
        {"name": name, "kind": "prior", "title": prior.title, "paper": prior.paper}
        | {"reproduces": prior.reproduces, "licence": prior.licence}
        for name, prior in PRIORS.items()
    ]
    return nets + priors


def line_of_net(row: Row) -> str:
    """Returns a line of `list nets`: title, paper, what it reproduces, terms."""
    kind = "" if row["kind"] == "net" else "prior, no training: "
    return f"{kind}{row['title']} ({row['paper']}): {row['reproduces']} [{row['licence']}]"


def list_models() -> list[Row]:
    """The cards of the models that come with the package, in the order in which "auto" tries them.

    With `bytes`, the size of the file, and `speed`, its class.
    """
    from unhaze.restore.models import FOLDER
    from unhaze.restore.models import list_models as list_cards

    rows = []
    for card in list_cards():
        rules = [
            {key: each for key, each in asdict(rule).items() if each not in (None, 0, math.inf)}
            for rule in card.auto
        ]
        size = (FOLDER / card.file).stat().st_size
        rows.append(asdict(card) | {"auto": rules, "bytes": size, "speed": card.speed})
    return rows


def line_of_model(row: Row) -> str:
    """Returns a line of `list models`: size, speed, purpose, limits, when "auto" takes it."""
    rules = [" and ".join(f"{key} {each}" for key, each in rule.items()) for rule in row["auto"]]
    auto = f" [auto: {', or '.join(rule or 'all else' for rule in rules)}]" if rules else ""
    size = f"{row['params']:,} parameters, {row['bytes'] / 1e6:.1f} MB"
    # One GMAC for a megapixel is 1000 multiplications for each of its pixels.
    speed = f"{row['speed']} ({row['macs_per_pixel'] / 1000:.0f} GMAC per megapixel)"
    return f"{size}, {speed}: {row['purpose']} Limits: {row['limits']}{auto}"


def list_datasets() -> list[Row]:
    """Datasets with their sources, terms and what a folder of theirs must look like."""
    from unhaze.data.catalog import DATASETS, dataset_of
    from unhaze.plugins import everything

    return [
        {
            "name": name,
            "title": data.title,
            "paper": data.paper,
            "source": data.source,
            "terms": data.terms,
            "pairing": data.pairing,
        }
        for name, data in everything(DATASETS, "dataset", dataset_of).items()
    ]


def list_losses() -> list[Row]:
    """Losses that a recipe can weigh and add."""
    from unhaze.losses import LOSSES, loss_of
    from unhaze.plugins import everything

    return [
        {"name": name, "title": each.title, "source": each.source}
        for name, each in everything(LOSSES, "loss", loss_of).items()
    ]


def list_methods() -> list[Row]:
    """Ways to train."""
    from unhaze.methods import METHODS, method_of
    from unhaze.plugins import everything

    return [
        {"name": name, "title": each.title, "source": each.source}
        for name, each in everything(METHODS, "method", method_of).items()
    ]


def list_recipes() -> list[Row]:
    """Every recipes/**/*.toml with the title it gives itself; without such a folder, the shipped
    ones by their names (table2/cr)."""
    from unhaze.recipe_layers import SHIPPED

    rows, own = [], Path("recipes").is_dir()
    for path in sorted((Path("recipes") if own else SHIPPED).rglob("*.toml")):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            table = {"title": f"unreadable: {error}"}
        name = path if own else path.relative_to(SHIPPED).with_suffix("")
        rows.append({"name": name.as_posix(), "title": str(table.get("title", ""))})
    return rows


def list_metrics() -> list[Row]:
    """Measures, and the protocols by which `unhaze eval` takes PSNR and SSIM."""
    from unhaze.metrics import METRICS, PROTOCOLS

    metrics = [
        {
            "name": name,
            "title": each.title,
            "kind": "metric",
            "lower_is_better": each.lower_is_better,
            "needs_clear": each.needs_clear,
            "source": each.source,
        }
        for name, each in METRICS.items()
    ]
    protocols = [
        {"name": name, "title": f"protocol: {each.title}", "kind": "protocol"}
        | {"source": each.source}
        for name, each in PROTOCOLS.items()
    ]
    return metrics + protocols


# What `unhaze list KIND` shows: the rows, as JSON has them, and the line that a person reads.
LISTS: dict[str, tuple[Callable[[], list[Row]], Callable[[Row], str]]] = {
    "nets": (list_nets, line_of_net),
    "models": (list_models, line_of_model),
    "datasets": (list_datasets, title_of),
    "losses": (list_losses, title_of),
    "methods": (list_methods, title_of),
    "metrics": (list_metrics, title_of),
    "recipes": (list_recipes, title_of),
}
