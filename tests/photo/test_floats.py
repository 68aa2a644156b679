"""Samples of float pictures that are no numbers, as GeoTIFF marks places without data."""

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.restore.restorer import Restorer


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_places_without_data_stay_and_harm_no_others(bad, tmp_path, recwarn):
    restorer = Restorer("dcp", "cpu", threads=1)
    down, across = np.mgrid[0:120, 0:160] / 160
    pixels = np.stack([0.4 + 0.4 * down, 0.5 + 0.3 * across, 0.6 + 0 * down], -1).astype(np.float32)
    holed = pixels.copy()
    holed[50:53, 60:64] = bad
    results = []
    for name, values in (("whole", pixels), ("holed", holed)):
        image = pyvips.Image.new_from_array(values).copy(interpretation="scrgb")
        image.tiffsave(str(tmp_path / f"{name}.tif"))
        restorer.restore_file(tmp_path / f"{name}.tif", tmp_path / f"{name}-out.tif")
        results.append(photo.read(tmp_path / f"{name}-out.tif").pixels)
    whole, after = results
    assert not np.isfinite(after[50:53, 60:64]).any() or bad == -np.inf
    outside = np.ones(pixels.shape[:2], bool)
    outside[50:53, 60:64] = False
    assert np.isfinite(after[outside]).all()
    far = outside.copy()
    far[30:75, 40:85] = False  # the prior's own window
    assert np.abs(after - whole)[far].mean() < 0.02
    assert not [each for each in recwarn if issubclass(each.category, RuntimeWarning)]
