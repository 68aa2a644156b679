"""`unhaze preview`: a look at what would become of a video, before hours of work."""

from pathlib import Path

import click

from unhaze.cli.options import seconds
from unhaze.cli.places import PATH
from unhaze.errors import UnhazeError
from unhaze.restore.resources import DEVICES

OUT_HELP = "Picture or clip to write. [default: VIDEO.preview.jpg or .mp4]"


@click.command(short_help="Shows one frame of a video before and after, or a split screen.")
@click.argument("video", type=PATH)
@click.option("-o", "--out", type=PATH, metavar="OUT", help=OUT_HELP)
@click.option("--at", type=seconds, metavar="TIME", help="Time of the frame. [default: the middle]")
@click.option(
    "--clip", type=seconds, metavar="TIME", help="Write a split-screen clip of this length."
)
@click.option("--model", default="auto", metavar="NAME|FILE", help="Model, as for `unhaze run`.")
@click.option("--strength", default=1.0, metavar="S", help="How much haze to remove, from 0 to 1.")
@click.option("--device", type=click.Choice(["auto", *DEVICES]), default="auto")
@click.option("--overwrite", is_flag=True, help="Replace a result that exists.")
def preview(
    video: Path,
    out: Path | None,
    at: float | None,
    clip: float | None,
    model: str,
    strength: float,
    device: str,
    overwrite: bool,
) -> int:
    """Shows a frame of VIDEO, hazy beside restored, as a picture.

    --clip 3 writes three seconds instead: the left half as it was, the right half restored.
    """
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.frames import require_av

    if not video.exists():
        raise UnhazeError(f"no file '{video}'")
    if video.is_dir():
        raise UnhazeError(f"'{video}' is a folder; give a video")
    if clip == 0:
        raise click.UsageError("--clip is 0 s; give a length above 0")
    require_av("a preview of a video")
    from unhaze.restore.video.previews import preview_clip, preview_frame

    out = out or video.with_name(f"{video.stem}.preview{'.jpg' if clip is None else '.mp4'}")
    restorer = Restorer(model, device, use="video")
    how = {"restorer": restorer, "at": at, "strength": strength, "overwrite": overwrite}
    if clip is None:
        preview_frame(video, out, **how)
    else:
        preview_clip(video, out, seconds=clip, **how)
    click.echo(out)
    return 0
