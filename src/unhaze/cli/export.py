"""`unhaze export`: trained weights in, a checked ONNX file out."""

import click

from unhaze.cli.places import TEXT


@click.command(short_help="Writes a trained network as a checked ONNX file.")
@click.argument("source", metavar="RUN|WEIGHTS|CHECKPOINT", type=TEXT)
@click.option(
    "-o", "--out", required=True, type=TEXT, metavar="MODEL.onnx", help="The file to write."
)
@click.option(
    "--net", metavar="NAME[/PRESET]", help="Network of the checkpoint, if it is not recognised."
)
@click.option(
    "--tolerance",
    type=float,
    default=1e-4,
    show_default=True,
    help="Largest difference from PyTorch.",
)
@click.option("--half", is_flag=True, help="Store float16 weights: half the size, same speed.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def export(
    source: str, out: str, net: str | None, tolerance: float, half: bool, overwrite: bool
) -> None:
    """Writes the network of a run folder or file of weights as ONNX, with free picture sizes.

    A published checkpoint is recognised by its tensors. The file is kept only if its output equals
    PyTorch's.
    """
    from unhaze.exporting import export as export_model
    from unhaze.restore.models import checkpoint_of

    report = export_model(
        checkpoint_of(source) or source,
        out,
        net=net,
        half=half,
        overwrite=overwrite,
        tolerance=tolerance,
    )
    click.echo(
        f"unhaze: {report.params:,} parameters; ONNX Runtime and PyTorch differ by at most "
        f"{report.max_difference:.2g} over {len(report.sizes)} picture sizes",
        err=True,
    )
    click.echo(report.path)
