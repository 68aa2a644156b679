"""`unhaze weights`: checkpoints that others published, for use here; averages of our own."""

from pathlib import Path

import click

from unhaze.cli.places import PATH, TEXT


@click.group(no_args_is_help=False)
def weights() -> None:
    """Imports published checkpoints, averages trained ones."""


@weights.command("import")
@click.argument("source", metavar="FILE", type=PATH)
@click.option("--net", metavar="NAME", help="See `unhaze list nets`. [default: the recognised one]")
@click.option(
    "--preset", metavar="NAME", help="Preset of the network. [default: the one that fits]"
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=TEXT,
    metavar="WEIGHTS.safetensors",
    help="File to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def import_file(
    source: Path, net: str | None, preset: str | None, out: str, overwrite: bool
) -> None:
    """Writes the weights of a published checkpoint as a file for `unhaze eval` and `unhaze export`.

    FILE is a PyTorch, .npz, .mat or .safetensors file, in the layout of the network's authors.
    Nothing in it is run, and every tensor must have its place and shape.
    """
    from unhaze.published import import_weights

    report = import_weights(source, out, net=net, preset=preset, overwrite=overwrite)
    named = report.net if report.preset is None else f"{report.net}, preset {report.preset}"
    unused = f"; not needed: {', '.join(report.unused)}" if report.unused else ""
    click.echo(
        f"unhaze: {report.params:,} parameters of {named}, from: {report.layout}{unused}", err=True
    )
    click.echo(report.path)


@weights.command()
@click.argument("first", metavar="RUN|WEIGHTS", type=TEXT)
@click.argument("second", metavar="RUN|WEIGHTS", type=TEXT)
@click.option(
    "--share", type=float, default=0.5, show_default=True, help="Weight of the first, 0 to 1."
)
@click.option(
    "--strength", type=float, help="Strength of the network, if it has one; 1: as trained."
)
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="WEIGHTS.safetensors",
    type=PATH,
    help="File to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def average(
    first: str, second: str, share: float, strength: float | None, out: Path, overwrite: bool
) -> None:
    """Averages the weights of two networks of one kind, such as a fine-tuned one and its start.

    The result costs no more to run than one of them, and often combines their strengths.
    """
    from unhaze.weights import average as average_weights
    from unhaze.weights import check_weights_target, save_weights

    check_weights_target(out, overwrite)
    arguments = {} if strength is None else {"strength": strength}
    made = average_weights(first, second, share, arguments)
    save_weights(out, made.net, made.part, **made.facts)
    click.echo(out)
