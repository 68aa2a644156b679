"""The compiled field is the field in NumPy: to a level of 8 bits, at any size, in strips."""

import numpy as np
import pytest

from unhaze.restore import field

pytestmark = pytest.mark.skipif(field.kernel() is None, reason="no C compiler here")

SIZES = [(1, 1), (3, 2), (7, 130), (65, 64), (160, 214)]
PICTURES = [(1, 1), (5, 9), (200, 2500), (431, 777)]


@pytest.fixture
def numpy_only(monkeypatch):
    """Switches the kernel off and on."""
    compiled = field.kernel

    def switch(off: bool) -> None:
        monkeypatch.setattr(field, "kernel", (lambda: None) if off else compiled)

    return switch


def pictures(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(height)
    hazy = random.random((height, width, 3), np.float32)
    noise = random.random((height, width, 3), np.float32)
    return hazy, np.float32(1.3) * hazy - np.float32(0.1) + np.float32(0.05) * noise


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grey", [False, True])
def test_the_same_maps(size: tuple[int, int], grey: bool, numpy_only):
    hazy, restored = pictures(*size)
    numpy_only(True)
    expected = field.fit_field(hazy, restored, grey=grey)
    numpy_only(False)
    found = field.fit_field(hazy, restored, grey=grey)
    assert found.shape == expected.shape
    # A picture of one pixel has no variance but that of rounding, over the ridge of 1e-4.
    assert np.abs(found - expected).max() < (2e-3 if size == (1, 1) else 1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_same_pictures(size: tuple[int, int], kind: type, channels: int, numpy_only):
    maps = field.fit_field(*pictures(*size))[: 1 if channels < 3 else 3]
    random = np.random.default_rng(1)
    for height, width in PICTURES:
        hazy = random.random((height, width, channels), np.float32)
        if kind != np.float32:
            hazy = np.rint(hazy * np.iinfo(kind).max).astype(kind)
        results = []
        for off in (True, False):
            numpy_only(off)
            strips = (hazy[row : row + 37] for row in range(0, height, 37))
            parts = list(field.apply_to_strips(maps, strips, height, strength=0.9))
            results.append(np.concatenate(parts).astype(np.float64))
        difference = np.abs(results[0] - results[1]).max()
        assert difference <= (1e-5 if kind == np.float32 else 1)
        assert np.array_equal(results[1][..., len(maps) :], hazy[..., len(maps) :])


def test_lamps_and_holes_of_floats():
    """Brighter than white only where that is wanted; what is no number stays none."""
    maps = np.zeros((3, 2, 1, 1), np.float32)
    maps[:, 0] = 2
    hazy = np.array([[[0.2, 0.9, np.nan], [-0.5, 3.0, 0.0]]], np.float32)
    [bounded] = field.apply_to_strips(maps, [hazy], 1)
    [free] = field.apply_to_strips(maps, [hazy], 1, bounded=False)
    assert np.allclose(bounded, [[[0.4, 1, np.nan], [0, 1, 0]]], equal_nan=True)
    assert np.allclose(free, [[[0.4, 1.8, np.nan], [0, 6, 0]]], equal_nan=True)


def test_rows_that_do_not_lie_together():
    """A turned or mirrored view is read as it looks."""
    maps = field.fit_field(*pictures(20, 30))
    hazy = np.random.default_rng(2).integers(0, 256, (90, 60, 3), np.uint8)
    turned = hazy.transpose(1, 0, 2)[::-1]
    expected = field.apply_field(maps, np.ascontiguousarray(turned))
    assert np.array_equal(field.apply_field(maps, turned), expected)


def test_without_a_compiler_nothing_is_missing(monkeypatch):
    field.kernel.cache_clear()
    monkeypatch.setenv("UNHAZE_KERNELS", "off")
    try:
        assert field.kernel() is None
        maps = field.fit_field(*pictures(20, 30))
        hazy = np.full((50, 70, 3), 100, np.uint8)
        assert field.apply_field(maps, hazy).shape == hazy.shape
    finally:
        field.kernel.cache_clear()
