"""`unhaze export`: trained weights in, a checked ONNX file out."""

import click


@click.command(short_help="Writes a trained network as a checked ONNX file.")
@click.argument("source", metavar="RUN|WEIGHTS")
@click.option("-o", "--out", required=True, metavar="MODEL.onnx", help="The file to write.")
@click.option("--half", is_flag=True, help="Weights in float16: half the file, as fast.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def export(source: str, out: str, half: bool, overwrite: bool) -> None:
    """Writes the network of a run folder or .safetensors file as ONNX, with free picture sizes.

    Its output is held against PyTorch's before the file is kept.
    """
    from unhaze.export import export as export_model

    report = export_model(source, out, half=half, overwrite=overwrite)
    click.echo(
        f"unhaze: {report.params:,} parameters; ONNX Runtime and PyTorch differ by at most "
        f"{report.max_difference:.2g} over {len(report.sizes)} picture sizes",
        err=True,
    )
    click.echo(report.path)
