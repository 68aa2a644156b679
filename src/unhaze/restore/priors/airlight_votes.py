"""The airlight by votes: the colour in which most haze-lines meet.

Dana Berman, Tali Treibitz, Shai Avidan: "Air-light Estimation Using Haze-Lines", ICCP 2017. As
there, the votes of three pairs of channels are counted separately and multiplied.

Differs: colours are grouped by a regular grid, not by a palette of 1000.
"""

import numpy as np

LAST = 50  # candidates for a channel of the airlight: 1/50 ... 50/50
LEVELS = 16  # cell size per channel when colours are grouped
GROUPS = 600  # number of largest groups that vote
ANGLES = 40  # directions of lines in a plane of two channels
NEAR = 0.02  # largest distance of a line from an airlight; twice that at the opposite corner
PAIRS = ((0, 1), (1, 2), (0, 2))


def vote_for_airlight(hazy: np.ndarray) -> np.ndarray:
    """Returns (3,) float32: the airlight of `hazy` (3,H,W) in [0,1], at least 0.1 in some
    channel.
    """
    colors, counts = group_colors(hazy)
    tried = np.arange(1, LAST + 1, dtype=np.float32) / LAST
    red_green, green_blue, red_blue = (
        votes_of_pair(colors[:, pair], counts, tried) for pair in PAIRS
    )
    product = red_green[:, :, None] * green_blue[None] * red_blue[:, None, :]
    best = np.unravel_index(product.argmax(), product.shape)
    return tried[list(best)]


def group_colors(hazy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N,3) mean colours and (N,) shares of the picture, of the largest cells of a colour
    grid.
    """
    pixels = hazy.reshape(3, -1)
    cell = np.minimum((pixels * LEVELS).astype(np.intp), LEVELS - 1)
    number = (cell[0] * LEVELS + cell[1]) * LEVELS + cell[2]
    count = np.bincount(number, minlength=LEVELS**3)
    fullest = np.argsort(-count, kind="stable")[:GROUPS]
    fullest = fullest[count[fullest] > 0]
    means = [np.bincount(number, plane, LEVELS**3)[fullest] / count[fullest] for plane in pixels]
    return np.stack(means, 1).astype(np.float32), (count[fullest] / count.sum()).astype(np.float32)


def votes_of_pair(colors: np.ndarray, shares: np.ndarray, tried: np.ndarray) -> np.ndarray:
    """Returns (K,K) votes for the values `tried` (K,) of the airlight's two channels.

    colors: (N,2). A group votes for a brighter airlight if both lie on a line that another group
    also lies on; a near one with up to six times the weight of a far one (their eq. 8).
    """
    candidates = np.stack(np.meshgrid(tried, tried, indexing="ij"), -1).reshape(-1, 1, 2)
    apart = candidates - colors  # (K*K, N, 2)
    brighter = (apart > 0).all(2)
    distance = np.sqrt((apart**2).sum(2))
    near = NEAR * (1 + distance / np.sqrt(np.float32(2)))
    voted = np.zeros(brighter.shape, bool)
    for angle in np.arange(ANGLES) * (np.pi / ANGLES):
        sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
        if cosine < 0:  # such a line has no brighter airlight on it
            continue
        on_line = brighter & (np.abs(apart[..., 0] * sine - apart[..., 1] * cosine) < near)
        on_line[on_line.sum(1) < 2] = False
        voted |= on_line
    weights = shares * (1 + 5 * np.exp(-distance))
    return (weights * voted).sum(1).reshape(len(tried), len(tried))
