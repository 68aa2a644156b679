"""`unhaze list`: what there is to choose from."""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.command("list", short_help="Lists what there is to choose from.")
@click.argument("kind", metavar="KIND")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def list_names(kind: str, as_json: bool) -> None:
    """Lists nets, models, datasets, losses, methods, metrics or recipes.

    Recipes are those in the folder recipes/ of the working directory.
    """
    from unhaze.names import lookup

    rows = lookup(LISTS, kind, "list")()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['title']}".rstrip())


def list_nets() -> list[dict[str, Any]]:
    """Networks with their papers, presets and the published numbers they stand for."""
    from unhaze.nets import NETS

    return [
        {
            "name": name,
            "title": f"{net.title} ({net.paper}): {net.reproduces}",
            "paper": net.paper,
            "reproduces": net.reproduces,
            "presets": list(net.presets),
        }
        for name, net in NETS.items()
    ]


def list_models() -> list[dict[str, Any]]:
    """The cards of the models that come with the package, the default one first."""
    from unhaze.restore.models import list_models as list_cards

    rows = []
    for card in list_cards():
        default = "default, " if card.default else ""
        title = f"{default}{card.params:,} parameters: {card.purpose}"
        rows.append({"title": title} | asdict(card))
    return rows


def list_datasets() -> list[dict[str, Any]]:
    """Datasets with their sources, terms and what a folder of theirs must look like."""
    from unhaze.data.catalog import DATASETS

    return [
        {
            "name": name,
            "title": data.title,
            "paper": data.paper,
            "source": data.source,
            "terms": data.terms,
            "pairing": data.pairing,
        }
        for name, data in DATASETS.items()
    ]


def list_losses() -> list[dict[str, Any]]:
    """Losses that a recipe can weigh and add."""
    from unhaze.losses import LOSSES

    return [
        {"name": name, "title": each.title, "source": each.source} for name, each in LOSSES.items()
    ]


def list_methods() -> list[dict[str, Any]]:
    """Ways to train."""
    from unhaze.methods import METHODS

    return [
        {"name": name, "title": each.title, "source": each.source} for name, each in METHODS.items()
    ]


def list_recipes() -> list[dict[str, Any]]:
    """Every recipes/**/*.toml with the title it gives itself."""
    rows = []
    for path in sorted(Path("recipes").rglob("*.toml")):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            table = {"title": f"unreadable: {error}"}
        rows.append({"name": path.as_posix(), "title": str(table.get("title", ""))})
    return rows


def list_metrics() -> list[dict[str, Any]]:
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


LISTS = {
    "nets": list_nets,
    "models": list_models,
    "datasets": list_datasets,
    "losses": list_losses,
    "methods": list_methods,
    "metrics": list_metrics,
    "recipes": list_recipes,
}
