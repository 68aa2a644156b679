"""`unhaze eval`: a model and pictures in, numbers out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unhaze.cli.places import PATH, TEXT
from unhaze.cli.settings import parse_settings, settings_option
from unhaze.errors import counted
from unhaze.restore.resources import DEVICES

if TYPE_CHECKING:
    from unhaze.data.pairing import PairFiles
    from unhaze.evaluation import Evaluation

# What is printed, with its unit and number of decimals.
SHOWN = {
    "psnr": ("dB", 3),
    "ssim": ("", 4),
    "ciede2000": ("", 3),
    "fade": ("", 4),
    "vi": ("", 4),
    "ri": ("", 4),
    "fade_hazy": ("", 4),
    "luminance": ("", 4),
    "seconds": ("s", 2),
}


def only_one(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> str:
    """Returns the value. A usage error if there are several, of which the last would count."""
    value, *more = given
    if more:
        raise click.BadParameter("one at a time; run `unhaze eval` once for each")
    return value


@click.command("eval", short_help="Measures a model on hazy pictures.")
@click.argument("model", type=TEXT)
@click.option("--hazy", type=PATH, metavar="DIR", help="Folder of hazy pictures.")
@click.option(
    "--clear",
    type=PATH,
    metavar="DIR",
    help="Ground truth; without it, FADE and side effects are measured.",
)
@click.option(
    "--unchanged", type=PATH, metavar="DIR", help="Clear photos, which should not change."
)
@click.option("--data", metavar="NAME", help="Published dataset, see `unhaze list datasets`.")
@click.option("--root", type=PATH, metavar="DIR", help="Folder of that dataset.")
@settings_option
@click.option(
    "--protocol",
    multiple=True,
    default=["aecr"],
    callback=only_one,
    metavar="NAME",
    help="How PSNR and SSIM are computed. [default: aecr]",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Measure this and no other; may be repeated. See `unhaze list metrics`.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures.")
@click.option(
    "--long-side",
    type=int,
    metavar="N",
    help="Resize all pictures first, in pixels.",
)
@click.option(
    "--rescale",
    type=float,
    default=1.0,
    metavar="F",
    help="Run the model at F times the size and resize its output back.",
)
@click.option(
    "--save", type=PATH, metavar="DIR", help="Write pictures, strips and a CSV to this folder."
)
@click.option("--result", type=PATH, metavar="FILE", help="Write the numbers as a JSON record.")
@click.option(
    "--net", metavar="NAME[/PRESET]", help="Network of the checkpoint, if it is not recognised."
)
@click.option("--device", type=click.Choice(["auto", *DEVICES]), default="auto")
@click.option("--overwrite", is_flag=True, help="Replace --save and --result that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def evaluate(
    model: str,
    hazy: Path | None,
    clear: Path | None,
    unchanged: Path | None,
    data: str | None,
    root: Path | None,
    settings: tuple[str, ...],
    protocol: str,
    metrics: tuple[str, ...],
    limit: int | None,
    long_side: int | None,
    rescale: float,
    save: Path | None,
    result: Path | None,
    net: str | None,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Restores hazy pictures with MODEL and measures them against the clear ones.

    MODEL is a shipped name, an .onnx or .safetensors file, a run folder, a published checkpoint of
    any network here, a name of `unhaze zoo get`, `identity`, or a folder of results of another
    program, named like the hazy pictures.

    Without ground truth, FADE is measured. Clear photos (--unchanged) are compared with the output
    of MODEL, which should not change them. In both cases side effects are measured: clipped and
    black pixels, halos, noise and brightness. A picture that cannot be measured is reported, the
    others continue, and the exit status is 1.
    """
    check_source(hazy, clear, unchanged, data, root, save)

    from unhaze.atomic import check_replaceable
    from unhaze.evaluation import evaluate as evaluate_model
    from unhaze.evaluation import write_result

    if result is not None:
        check_replaceable(result, overwrite)
    evaluation = evaluate_model(
        model,
        pairs_of(unchanged or hazy, unchanged or clear, data, root, settings),
        protocol=protocol,
        metrics=metrics or None,
        limit=limit,
        long_side=long_side,
        rescale=rescale,
        save=save,
        overwrite=overwrite,
        device=device,
        net=net,
        progress=True,
    )
    click.echo(evaluation.to_json() if as_json else table(evaluation))
    if result is not None:
        source = " ".join([data, *settings]) if data else name_of(unchanged or hazy)
        write_result(evaluation, result, data=source, overwrite=overwrite)
    return tell_failures(evaluation)


def tell_failures(evaluation: "Evaluation") -> int:
    """One line on stderr for each picture that failed, and one for them all; the exit status."""
    for each in evaluation.failed:
        click.echo(f"unhaze: error: {' '.join(each['error'].split())}", err=True)
    if evaluation.failed:
        failed = len(evaluation.failed)
        total = counted(evaluation.images + failed, "picture")
        click.echo(f"unhaze: error: {failed} of {total} failed", err=True)
    return 1 if evaluation.failed else 0


def name_of(hazy: Path | None) -> str:
    """Returns the name of a folder's data: NAME for NAME/hazy, else the folder's own name."""
    assert hazy is not None  # `check_source` has seen to it
    hazy = hazy.absolute()
    return hazy.parent.name if hazy.name.lower() in ("hazy", "haze") else hazy.name


def check_source(
    hazy: Path | None,
    clear: Path | None,
    unchanged: Path | None,
    data: str | None,
    root: Path | None,
    save: Path | None,
) -> None:
    """The pictures come from folders or from a dataset, not from both; `save` is beside them."""
    for folder in (hazy, clear, unchanged):
        if save and folder and save.resolve().is_relative_to(folder.resolve()):
            raise click.UsageError(f"--save '{save}' is inside '{folder}'; choose another folder")
    if unchanged and (hazy or clear or data or root):
        raise click.UsageError(
            "--unchanged excludes the other folders: its pictures are input and ground truth"
        )
    if unchanged:
        return
    if (hazy or clear) and (data or root):
        raise click.UsageError("give --hazy and --clear, or --data and --root, not both")
    if not hazy and not data:
        raise click.UsageError(
            "give --hazy DIR --clear DIR, or --data NAME --root DIR, or --unchanged DIR"
        )
    if data and not root:
        raise click.UsageError(f"give --root DIR, the folder of {data}")


def pairs_of(
    hazy: Path | None,
    clear: Path | None,
    data: str | None,
    root: Path | None,
    settings: tuple[str, ...],
) -> "list[PairFiles]":
    """The pictures that the options name; UnhazeError for missing folders or partners."""
    from unhaze.data.catalog import find_pairs
    from unhaze.data.pairing import PairFiles, list_pictures
    from unhaze.errors import UnhazeError

    if data is not None and root is not None:
        return find_pairs(data, root, **parse_settings(settings))
    assert hazy is not None  # `check_source` has seen to it
    if clear is not None and clear != hazy:
        folders = {"hazy": str(hazy.absolute()), "clear": str(clear.absolute())}
        return find_pairs("folders", ".", **folders, **parse_settings(settings, *folders))
    if settings:
        raise click.UsageError(f"--set {settings[0]} is for hazy pictures with clear ones")
    if not hazy.is_dir():
        raise UnhazeError(f"there is no folder '{hazy}'")
    own = clear is not None  # Clear photos are their own truth.
    pairs = [PairFiles(path.stem, path, path if own else None) for path in list_pictures(hazy)]
    if not pairs:
        raise UnhazeError(f"there are no pictures in '{hazy}'")
    return pairs


def table(evaluation: "Evaluation") -> str:
    """The means for people, one a line."""
    lines = [f"{name:<10} {getattr(evaluation, name)}" for name in ("model", "images", "protocol")]
    if evaluation.params is not None:
        lines.append(f"{'params':<10} {evaluation.params:,}")
    for name, (unit, decimals) in SHOWN.items():
        value = getattr(evaluation, name)
        if value is not None:
            lines.append(f"{name:<10} {value:.{decimals}f} {unit}".rstrip())
    for name, value in (evaluation.harm or {}).items():
        if value is not None:
            lines.append(f"{name:<12} {value:.3f}")
    return "\n".join(lines)
