"""Ultra HDR photos, decoded to light by another library: the result is the restored scene."""

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.photo.profile import srgb_curve
from unhaze.restore.restorer import Restorer

imagecodecs = pytest.importorskip("imagecodecs")
if not imagecodecs.ULTRAHDR.available:
    pytest.skip("this imagecodecs has no libultrahdr", allow_module_level=True)
if not pyvips.type_find("VipsOperation", "uhdrsave"):
    pytest.skip("this libvips writes no Ultra HDR", allow_module_level=True)

SHAPE = (192, 256)


def scene_light() -> np.ndarray:
    """A hazy hill below a sky three times as bright as white, linear."""
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    hill = 0.35 + 0.12 * np.sin(columns / 11) * rows / SHAPE[0]
    colours = np.stack([hill, hill * 1.05, hill * 1.12], axis=2)
    colours[: SHAPE[0] // 3] = 3 * (0.7 + 0.1 * np.sin(columns[: SHAPE[0] // 3, :, None] / 19))
    return colours.astype(np.float32)


def luminance(light: np.ndarray) -> np.ndarray:
    return light[..., :3].astype(float) @ np.array([0.2126, 0.7152, 0.0722])


def gain(encoded: bytes) -> np.ndarray:
    """How much brighter each pixel is on a screen of high dynamic range, in stops."""
    hdr = luminance(imagecodecs.ultrahdr_decode(encoded))
    standard = luminance(srgb_curve(photo.read(encoded).pixels / 255.0))
    return np.log2((hdr + 0.02) / (standard + 0.02))


def test_the_map_brightens_the_restored_picture_as_it_did_the_hazy_one():
    image = pyvips.Image.new_from_array(scene_light()).copy(interpretation="scrgb")
    before = image.uhdrsave_buffer()
    after = Restorer("dcp", analysis=128).restore_bytes(before)
    hazy, clear = (photo.read(each).pixels.astype(float) for each in (before, after))
    assert clear.mean() < hazy.mean() - 5, "nothing was restored"
    gains = gain(before), gain(after)
    assert gains[0][:40].mean() > 1, "the sky of the source is no brighter than white"
    assert np.abs(gains[1] - gains[0]).mean() < 0.25, "the map gives another picture"
    # Highlights are not doubled, and the hill does not get its haze back.
    hdr = [luminance(imagecodecs.ultrahdr_decode(each)) for each in (before, after)]
    assert hdr[1].max() < 1.3 * hdr[0].max()
    assert hdr[1][120:].mean() < hdr[0][120:].mean()
