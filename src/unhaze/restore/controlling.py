"""Protects skies, lifts shadows and balances white in the small restored picture, and detects
a cast that the last would remove.

This happens before the field is fitted. It therefore costs little for any size, and is the same in
previews, strips, animations and videos. `strength` is applied afterwards.
"""

import numpy as np

from unhaze.image import LUMA, guided_filter
from unhaze.outputs import Controls

GRID = 128  # cells along the longer side for the search for sky
SKY = (0.08, 0.2)  # dissimilarity (luma) up to which a place is sky, and from which on it is not
BRIGHT = 0.8  # minimum luma of sky, as a share of the brightest cells'
SOFT = 1e-3  # variance of luma above which an edge of the picture is an edge of the sky
DARK, LIFT = 0.4, 2.0  # luma below which it is shadow; largest addition to a gain of 1
AROUND, EVEN = 0.02, 0.01  # radius (share of the longer side) and variance within one shadow
NORM = 6  # Minkowski norm of "shades of grey" (Finlayson and Trezzi, CIC 2004)
FURTHEST = 2.0  # gain of a channel
WHITE = 0.97  # least channel from which on a place is white
BLOCKS = 10  # blocks along the longer side, each with a shadow whose colour is that of the haze
VEIL = 0.2  # luma of these shadows; darker ones have little haze before them
SURE = 0.31  # the same, from which on a warm room behind light haze is ruled out
DUSTY = (1.06, 1.3)  # red over green and over blue from which on haze is dust or smoke
COLOURED = 1.15  # red over blue of a cast that is seen
COLOURED_HAZE = "the haze has the colour of dust or smoke; its cast "
REMOVED = COLOURED_HAZE + "was removed (white balance 1; 0 keeps it)"
STAYS = COLOURED_HAZE + "stays unless white balance is 1"


def controlled(hazy_hwc: np.ndarray, restored_hwc: np.ndarray, controls: Controls) -> np.ndarray:
    """Returns the restored picture (h,w,3) float32, not clamped, adjusted by `controls`; both are
    sRGB.
    """
    result = restored_hwc
    if controls.white_balance:
        result = result * cast_of(result) ** np.float32(-controls.white_balance)
    if controls.lift_shadows:
        result = result * (1 + np.float32(controls.lift_shadows * LIFT) * shade_of(result) ** 2)
    if controls.protect_sky:
        share = np.float32(controls.protect_sky) * sky_of(hazy_hwc)
        result = result + share * (hazy_hwc - result)
    return result.astype(np.float32, copy=False)


def sky_of(hazy_hwc: np.ndarray) -> np.ndarray:
    """Returns (h,w,1) in [0,1]: how sky-like a place is, by the edges between it and the bright
    top.

    Paths go up or diagonally from cell to cell. Changes of luma and detail within cells are added
    along the path, and at the top the difference from the brightness of skies.
    """
    luma = hazy_hwc @ LUMA
    side = max(1, round(max(luma.shape) / GRID))
    height, width = (-(-length // side) * side for length in luma.shape)
    margin = (0, height - luma.shape[0]), (0, width - luma.shape[1])
    blocks = np.pad(luma, margin, "edge").reshape(height // side, side, width // side, side)
    cells, detail = blocks.mean((1, 3)), blocks.std((1, 3))
    unlike = np.empty_like(cells)
    unlike[0] = np.maximum(0, BRIGHT * np.percentile(cells, 95) - cells[0]) + detail[0]
    for row in range(1, len(cells)):
        ways = []
        for step in (-1, 0, 1):
            before = np.clip(np.arange(cells.shape[1]) + step, 0, cells.shape[1] - 1)
            ways.append(unlike[row - 1, before] + np.abs(cells[row] - cells[row - 1, before]))
        unlike[row] = np.min(ways, axis=0) + np.maximum(0, detail[row] - detail[0].min() - 0.01)
    none, some = SKY[1], SKY[1] - SKY[0]
    likely = np.clip((none - unlike) / np.float32(some), 0, 1).astype(np.float32)
    likely = likely.repeat(side, 0).repeat(side, 1)[: luma.shape[0], : luma.shape[1]]
    fine = guided_filter(luma, likely, radius=2 * side, epsilon=SOFT)
    return np.clip(fine, 0, 1)[..., None]


def shade_of(restored_hwc: np.ndarray) -> np.ndarray:
    """Returns (h,w,1) in [0,1]: 1 where the surroundings, up to edges, are black, 0 from DARK
    on.
    """
    luma = np.clip(restored_hwc @ LUMA, 0, 1)
    radius = max(2, round(AROUND * max(luma.shape)))
    return (
        1 - np.clip(guided_filter(luma, luma, radius=radius, epsilon=EVEN) / DARK, 0, 1)[..., None]
    )


def cast_of(restored_hwc: np.ndarray) -> np.ndarray:
    """Returns (3,): the colour of the light by "shades of grey", with a luma of 1, limited to
    FURTHEST. White frames and blown places have none.
    """
    bounded = np.clip(restored_hwc.reshape(-1, 3), 0, 1).astype(np.float64)
    bounded = bounded[bounded.min(1) < WHITE]
    if not len(bounded):
        return np.ones(3, np.float32)
    norms = np.maximum((bounded**NORM).mean(0) ** (1 / NORM), 1e-3)
    cast = np.clip(norms / norms.mean(), 1 / FURTHEST, FURTHEST)
    means = bounded.mean(0) * LUMA
    light = (means / cast).sum() / max(means.sum(), 1e-6)  # keeps the brightness
    return (cast * (light or 1)).astype(np.float32)


def keeps_cast(hazy_hwc: np.ndarray, restored_hwc: np.ndarray, veiled: float = VEIL) -> bool:
    """Returns whether the haze has the colour of dust or smoke and the restored picture a cast of
    that colour; both (h,w,3) sRGB. veiled: least luma of shadows, `VEIL` or `SURE`.

    Haze differs from warm scenes by what it adds to everything: shadows are coloured as well. Of
    61 real hazy photos this finds four (surely two), all of them dust storms, behind `photo`, which
    removes thinner dust with its colour; of 80 clear ones, one (none); and of 40 clear ones with
    light grey haze, four warm rooms (none).
    """
    veil = darkest(hazy_hwc).mean((0, 1))
    if veil @ LUMA < veiled or veil[0] < DUSTY[0] * veil[1] or veil[0] < DUSTY[1] * veil[2]:
        return False
    red, _, blue = cast_of(restored_hwc)
    return bool(red > COLOURED * blue)


def darkest(hazy_hwc: np.ndarray) -> np.ndarray:
    """Returns (m,n,3): the least value of each channel in blocks, of cells of GRID, which average
    noise.
    """
    for parts, pick in ((GRID, np.mean), (BLOCKS, np.min)):
        side = max(1, round(max(hazy_hwc.shape) / parts))
        rows, columns = (max(1, length // side) for length in hazy_hwc.shape[:2])
        blocks = hazy_hwc[: rows * side, : columns * side]
        blocks = blocks.reshape(rows, -1, columns, blocks.shape[1] // columns, 3)
        hazy_hwc = pick(blocks, axis=(1, 3))
    return hazy_hwc
