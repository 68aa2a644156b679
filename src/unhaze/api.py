"""`unhaze.dehaze`: one call that returns the type it was given."""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unhaze.errors import UnhazeError
from unhaze.outputs import AS_SOURCE, Controls, Output
from unhaze.validation import check_arguments

if TYPE_CHECKING:
    import numpy as np

    from unhaze.restore.restorer import Restorer

Picture = TypeVar("Picture")
# (H,W,3) uint8, uint16 or float32 in [0,1], grey=bool, alpha=(H,W), profile=ICC -> it, restored.
Clear = Callable[..., "np.ndarray"]


def dehaze(
    picture: Picture,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    strength: float = 1.0,
    protect_sky: float = 0.0,
    lift_shadows: float = 0.0,
    white_balance: float | None = None,
    model: str = "auto",
    device: str = "auto",
    analysis: int | None = None,
    native: bool = False,
    format: str | None = None,
    quality: int | None = None,
    lossless: bool = False,
    bit_depth: int | None = None,
    suffix: str | None = None,
    strip_metadata: bool = False,
    color_space: str | None = None,
    bands: str | None = None,
) -> Picture:
    """Returns `picture` without haze, in the same type, size and range of values.

    picture: path (str or Path) of a photo or video: writes `out`, by default photo.unhazed.jpg
        beside photo.jpg, and returns its path. Bytes of an image file: returns such bytes.
        NumPy (H,W), (H,W,3), (H,W,4) or (B,H,W,3 or 4): RGB, uint8, uint16 or float in [0,1].
        PIL image of modes L, LA, RGB, RGBA, with the same `info`, whose ICC profile is applied;
        or of 16 bits: I;16 and I (of which values up to 255 are 8 bits).
        PyTorch (3,H,W) or (B,3,H,W) on any device: uint8, uint16 or float in [0,1].
        Alpha is kept; pixels that it, or the mask of a masked array, hides have no influence.
    strength: from 0 (unchanged) to 1 (full). protect_sky, lift_shadows, white_balance: from 0 (off)
        to 1; see `unhaze.outputs.Controls`.
    model, device, analysis, native: see Restorer, which is kept for calls with the same values.
    format ... bands: of paths and bytes; see `unhaze.outputs.OPTIONS`.
    Raises UnhazeError for other input, and if `out` exists and `overwrite` is False.
    """
    given = {"device": device, "analysis": analysis, "native": native, "overwrite": overwrite}
    check_arguments(dehaze, {"picture": picture} | given, "dehaze")
    output = Output(
        format, quality, lossless, bit_depth, suffix, strip_metadata, color_space, bands
    )
    use = use_of(picture)
    restorer = restorer_for(str(model), device, analysis, native, use)
    restorer = restorer.controlled(Controls(protect_sky, lift_shadows, white_balance))
    if use == "video" and output.for_photos:
        raise UnhazeError(f"{', '.join(output.for_photos)}: only for photos; leave it out")
    if isinstance(picture, str | os.PathLike):
        how: dict[str, Any] = {"strength": strength, "output": output}
        done = dehaze_file(Path(picture), out, overwrite, restorer, **how)
        as_given: Any = type(picture)  # str and pathlib's types are made of a path
        return as_given(done)
    if out is not None:
        raise UnhazeError("out is only for a picture given by its path; other results are returned")
    if isinstance(picture, bytes):
        return restorer.restore_bytes(picture, strength=strength, output=output)
    if output != AS_SOURCE:
        raise UnhazeError("options of files are only for paths and bytes")
    clear = functools.partial(restorer.restore_pixels, strength=strength)
    return dehaze_pixels(picture, clear)


def dehaze_pixels(picture: Any, clear: Clear) -> Any:
    """`picture`, of a type whose module may not be imported here, restored; of the same type."""
    if is_a(picture, "numpy", "ndarray"):
        return dehaze_array(picture, clear)
    if is_a(picture, "PIL.Image", "Image"):
        return dehaze_pil(picture, clear)
    if is_a(picture, "torch", "Tensor"):
        return dehaze_tensor(picture, clear)
    kinds = "a path, bytes, a NumPy array, a PIL image or a PyTorch tensor"
    raise UnhazeError(f"cannot dehaze a {type(picture).__name__}; expected {kinds}")


@functools.lru_cache(maxsize=4)
def restorer_for(
    model: str, device: str, analysis: int | None, native: bool, use: str = "photo"
) -> "Restorer":
    """A Restorer that later calls with the same settings share."""
    from unhaze.restore.restorer import Restorer

    return Restorer(model, device, analysis=analysis, native=native, use=use)


def use_of(picture: Any) -> str:
    """Returns the use for which "auto" chooses a model. UnhazeError: an empty path."""
    if not isinstance(picture, str | os.PathLike):
        return "photo"
    if not str(picture).strip():
        raise UnhazeError("picture is an empty path; expected that of a photo or video")
    from unhaze.batch import is_video

    path = Path(picture)
    return "video" if is_video(path) else "photo"


def is_a(picture: Any, module: str, name: str) -> bool:
    """isinstance without importing: who has such an object has imported its module."""
    return module in sys.modules and isinstance(picture, getattr(sys.modules[module], name))


def dehaze_file(
    path: Path,
    out: str | Path | None,
    overwrite: bool,
    restorer: "Restorer",
    **given: Any,
) -> Path:
    """Writes the restored photo or video and returns its path. given: of `batch.Settings`."""
    from unhaze.batch import Settings, TargetExists, plan_files, restore_file

    if path.is_dir():
        raise UnhazeError(f"'{path}' is a folder; give one file, or use unhaze.batch for many")
    if not path.exists():
        raise UnhazeError(f"no file '{path}'")
    settings = Settings(overwrite=True, **given)
    [job] = plan_files([path], out, settings).jobs
    target = Path(job.target)
    try:
        restore_file(path, target, restorer, replace(settings, overwrite=overwrite))
    except TargetExists as error:
        raise UnhazeError(f"'{target}' exists; overwrite=True replaces it") from error
    return target


def dehaze_array(picture: "np.ndarray", clear: Clear) -> "np.ndarray":
    """(H,W), (H,W,3), (H,W,4), or (B,H,W,3 or 4) -> the same shape and type."""
    import numpy as np

    if isinstance(picture, np.ma.MaskedArray):
        return _dehaze_masked(picture, clear)
    picture = np.asarray(picture)
    if picture.ndim == 4 and len(picture):
        stack = np.stack([dehaze_array(each, clear) for each in picture])
        return stack.astype(picture.dtype, copy=False)
    grey = picture.ndim == 2
    samples = np.repeat(picture[..., None], 3, axis=2) if grey else picture
    if samples.ndim != 3 or samples.shape[2] not in (3, 4) or samples.size == 0:
        expected = "(H,W), (H,W,3), (H,W,4), or (B,H,W,3 or 4)"
        raise UnhazeError(f"the array is {picture.shape}; expected {expected}")
    check_range(samples)
    native = np.float32 if samples.dtype.kind == "f" else samples.dtype.newbyteorder("=")
    pixels = np.ascontiguousarray(samples[..., :3], native)
    alpha = np.ascontiguousarray(samples[..., 3], native) if samples.shape[2] == 4 else None
    restored = clear(pixels, grey=grey, alpha=alpha)
    if grey:
        restored = restored[..., 0]
    elif samples.shape[2] == 4:
        restored = np.dstack([restored, picture[..., 3]])
    return restored.astype(picture.dtype, copy=False)


def _dehaze_masked(picture: "np.ma.MaskedArray", clear: Clear) -> "np.ma.MaskedArray":
    """Masked pixels are ignored, like those that alpha hides, and stay unchanged."""
    import numpy as np

    def clear_unmasked(
        pixels: "np.ndarray", *, grey: bool, alpha: "np.ndarray | None" = None
    ) -> "np.ndarray":
        full = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        shown = np.where(hidden, 0, full if alpha is None else alpha).astype(pixels.dtype)
        return clear(pixels, grey=grey, alpha=shown)

    if picture.ndim == 4 and len(picture):
        return np.ma.stack([_dehaze_masked(each, clear) for each in picture])
    mask = np.ma.getmaskarray(picture)
    hidden = mask if mask.ndim == 2 else mask[..., :3].any(axis=2)
    restored = dehaze_array(picture.filled(0), clear_unmasked)
    samples = np.where(mask, picture.data, restored)
    return np.ma.array(samples, mask=picture.mask, fill_value=picture.fill_value)


def check_range(samples: "np.ndarray") -> None:
    """UnhazeError unless uint8, uint16, or float in [0,1]."""
    import numpy as np

    if samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        return
    if samples.dtype.kind != "f":
        raise UnhazeError(f"the array is {samples.dtype}; expected uint8, uint16 or float in [0,1]")
    if not np.isfinite(samples).all():
        raise UnhazeError("the array has values that are no finite numbers; expected [0,1]")
    low, high = float(samples.min()), float(samples.max())
    if not (low >= 0 and high <= 1):
        raise UnhazeError(f"the array has values from {low:g} to {high:g}; expected [0,1]")


def dehaze_pil(picture: Any, clear: Clear) -> Any:
    """A PIL image -> one of the same size, with its transparency and `info`."""
    import numpy as np
    from PIL import Image

    if picture.mode == "I" or picture.mode.startswith("I;16"):
        restored = Image.fromarray(dehaze_deep_grey(np.asarray(picture), clear))
        restored.info = dict(picture.info)
        return restored
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise UnhazeError(f"cannot dehaze a PIL image of mode {picture.mode}; convert it to RGB")
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    grey = picture.mode in ("1", "L", "LA")
    samples = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
    pixels = np.ascontiguousarray(samples[..., :3])
    alpha = np.ascontiguousarray(samples[..., 3]) if has_alpha else None
    # PIL's own conversion of CMYK to RGB does not go by its profile.
    icc = None if picture.mode == "CMYK" else picture.info.get("icc_profile")
    restored = Image.fromarray(clear(pixels, grey=grey, alpha=alpha, profile=icc))
    if grey:
        restored = restored.getchannel(0)
    if has_alpha:
        restored.putalpha(Image.fromarray(np.ascontiguousarray(samples[..., 3])))
    lost = {"transparency"} | ({"icc_profile"} if picture.mode == "CMYK" else set())
    restored.info = {key: value for key, value in picture.info.items() if key not in lost}
    return restored


def dehaze_deep_grey(samples: "np.ndarray", clear: Clear) -> "np.ndarray":
    """(H,W) uint16 of any byte order -> uint16; int32 with values of 8 or 16 bits -> int32."""
    import numpy as np

    if samples.dtype.kind == "i" and not (samples.min() >= 0 and samples.max() <= 65535):
        low, high = samples.min(), samples.max()
        raise UnhazeError(f"the PIL image has values from {low} to {high}; expected 0 to 65535")
    deep = samples.dtype.kind != "i" or samples.max() > 255
    restored = dehaze_array(samples.astype(np.uint16 if deep else np.uint8), clear)
    return restored.astype(np.int32) if samples.dtype.kind == "i" else restored


def dehaze_tensor(picture: Any, clear: Clear) -> Any:
    """(3,H,W) or (B,3,H,W) -> the same shape, type and device."""
    import numpy as np
    import torch

    if picture.ndim == 4 and len(picture):
        return torch.stack([dehaze_tensor(each, clear) for each in picture])
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise UnhazeError(f"the tensor is {tuple(picture.shape)}; expected (3,H,W) or (B,3,H,W)")
    samples = picture.detach().cpu()
    samples = samples.float() if samples.is_floating_point() else samples
    restored = dehaze_array(samples.permute(1, 2, 0).numpy(), clear)
    channels_first = torch.from_numpy(np.ascontiguousarray(restored.transpose(2, 0, 1)))
    return channels_first.to(picture.device, picture.dtype)
