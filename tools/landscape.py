"""A valley that exists only as formulas: its land, water, trees and houses, and their colours.

Every function takes arrays of points, metres east and north of an origin, and returns an array of
the same shape (colours have a last axis of 3). Heights are metres above the lake; colours are
linear reflectances. `footprint` is the size in metres of what one pixel sees: finer detail is left
out. All randomness comes from one table of numbers, so that the valley is the same everywhere.
"""

import numpy as np

RANDOM = np.random.default_rng(7).random(1 << 16, dtype=np.float32)
CONIFER, BROADLEAF, HOUSE, CHURCH = 1, 2, 3, 4
CHURCH_PLACE = (-35.0, 1330.0)


def surface(east, north, footprint) -> np.ndarray:
    """Height of what is seen: ground or water, with trees and houses on it."""
    land = ground(east, north, footprint)
    bump, _, _ = cover(east, north, footprint, land)
    return np.maximum(land, 0) + bump


def ground(east, north, footprint) -> np.ndarray:
    """Height of the bare land; below 0 lies water."""
    axis = valley_axis(north)
    side = np.abs(east - axis + 130 * noise(east / 700, north / 700, 3))
    relief = ridges(east / 3100, north / 3100, footprint / 3100)
    rolling = fbm(east / 420, north / 420, 9, 21, footprint / 420)
    wall = smooth(side, 330, 3300)
    closing = smooth(north + 0.2 * np.abs(east), 4600, 12500)
    height = 9 + 5 * rolling + 150 * smooth(side, 250, 1000) + wall * (120 + 820 * relief)
    height = height + closing * (120 + 2050 * relief**1.6)
    height = height + smooth(side, 300, 900) * 32 * rolling
    lake = lake_share(east, north) + 0.22 * fbm(east / 330, north / 330, 5, 31, footprint / 330)
    height = height - 60 * (1 - smooth(lake, 0.55, 1.12)) * (1 - wall)
    river = np.abs(east - axis - 60 * np.sin(north / 190) - 25 * np.sin(north / 77))
    return (height - 19 * (1 - smooth(river, 7, 34)) * (1 - closing)).astype(np.float32)


def valley_axis(north) -> np.ndarray:
    return 420 * np.sin(north / 1700) + 160 * np.sin(north / 610 + 1)


def lake_share(east, north) -> np.ndarray:
    """Distance from the middle of the lake, about 1 on its shore."""
    return np.hypot((east - 330) / 640, (north - 2750) / 900)


def cover(east, north, footprint, land=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height of the tree or house at each point, its kind (0: none) and a random number of it."""
    land = ground(east, north, 4.0) if land is None else land
    village = village_density(east, north)
    forest = forest_density(east, north, land) * (1 - village)
    bump, kind, shade_of = houses(east, north, village)
    for seed, cell in ((5, 7.5), (6, 11.0), (8, 17.0)):
        tree, tree_kind, tree_shade = trees(
            east, north, forest * (0.25 if seed == 8 else 1), cell, seed
        )
        higher = (tree > bump) & (land > 1.5)
        bump = np.where(higher, tree, bump)
        kind = np.where(higher, tree_kind, kind)
        shade_of = np.where(higher, tree_shade, shade_of)
    return bump, kind, shade_of


def trees(east, north, density, cell, seed):
    """At most one tree a cell of a jittered grid: cones and domes with ragged outlines."""
    column, row = np.floor(east / cell), np.floor(north / cell)
    shade_of, size, left, low = (scramble(column, row, seed + 10 * k) for k in range(4))
    radius = cell * (0.30 + 0.17 * size)
    away = np.hypot(
        east - (column + 0.5 + 0.25 * (left - 0.5)) * cell,
        north - (row + 0.5 + 0.25 * (low - 0.5)) * cell,
    )
    ragged = 1 + 0.35 * noise(east * 1.3, north * 1.3, seed)
    share = 1 - away / (radius * ragged)
    leafy = scramble(column, row, seed + 50) < 0.30 + 0.45 * noise(east / 260, north / 260, 7)
    tall = cell * (0.95 + 0.75 * size)
    dome = 0.62 * tall * np.sqrt(np.clip(1 - (1 - share) ** 2, 0, 1))
    cone = tall * 1.25 * share
    there = (scramble(column, row, seed + 60) < density) & (share > 0)
    bump = np.where(there, np.where(leafy, dome, cone), 0)
    return bump, np.where(there, np.where(leafy, BROADLEAF, CONIFER), 0), shade_of


def houses(east, north, density):
    """Gabled houses, one a cell of 30 m, and a church in the middle of the village."""
    column, row = np.floor(east / 30), np.floor(north / 30)
    shade_of, size = scramble(column, row, 71), scramble(column, row, 72)
    angle = 0.5 * noise(column / 3, row / 3, 73) + np.where(
        scramble(column, row, 74) < 0.4, 1.571, 0
    )
    left, low = (0.35 + 0.3 * scramble(column, row, seed) for seed in (77, 78))
    across, along = turned(east - (column + left) * 30, north - (row + low) * 30, angle)
    half, long = 3.6 + 1.4 * size, 5.4 + 3.0 * scramble(column, row, 75)
    eave = 4.0 + 2.6 * size
    inside = (np.abs(across) < half) & (np.abs(along) < long)
    inside &= scramble(column, row, 76) < density
    bump = np.where(inside, eave + 0.85 * (half - np.abs(across)), 0)
    kind = np.where(inside, HOUSE, 0)
    across, along = turned(east - CHURCH_PLACE[0], north - CHURCH_PLACE[1], 0.4)
    nave = (np.abs(across) < 5.5) & (np.abs(along) < 13)
    church = np.where(nave, 9 + 1.3 * (5.5 - np.abs(across)), 0)
    wide = np.maximum(np.abs(across), np.abs(along - 15))
    church = np.where(wide < 3.4, 24 + 5.5 * (3.4 - wide), church)
    return np.maximum(bump, church), np.where(church > 0, CHURCH, kind), shade_of


def village_density(east, north) -> np.ndarray:
    """Share of cells with a house: one village by the lake, and farms along the valley."""
    middle = np.hypot((east - CHURCH_PLACE[0]) / 250, (north - CHURCH_PLACE[1]) / 170)
    side = np.abs(east - valley_axis(north))
    near_church = np.hypot(east - CHURCH_PLACE[0], north - CHURCH_PLACE[1]) > 34
    farms = (
        0.9
        * smooth(noise(east / 210, north / 210, 91), 0.62, 0.72)
        * (side < 420)
        * (lake_share(east, north) > 1.3)
    )
    return np.maximum(0.8 * (1 - smooth(middle, 0.55, 1.1)), farms) * near_church


def forest_density(east, north, land) -> np.ndarray:
    """Share of cells with a tree: woods on the slopes up to the tree line, groves in the valley."""
    patch = fbm(east / 520, north / 520, 4, 41)
    slopes = smooth(patch + 0.55 * smooth(land, 40, 190), 0.12, 0.30)
    below_line = 1 - smooth(land + 160 * patch, 560, 760)
    groves = 0.9 * smooth(fbm(east / 130, north / 130, 3, 42), 0.36, 0.47)
    across, along = turned(east, north, 0.42)
    hedge = 0.5 * (np.abs(across / 95 - np.round(across / 95)) < 0.035) * (patch > -0.1)
    density = np.maximum(np.maximum(slopes, groves), hedge * (land < 60)) * below_line
    glade = smooth(np.hypot(east + 690, north), 150, 330)
    return density * glade * (road_distance(east, north) > 9)


def road_distance(east, north) -> np.ndarray:
    """Metres to the middle of the road that runs from the camera to the village and on."""
    bend = smooth(north, 0, 1300)
    middle = -655 * (1 - bend) - 70 * bend + 75 * np.sin(north / 140) * smooth(north, 40, 300)
    middle = middle + 900 * (1 - np.cos(np.clip(north - 1300, 0, 1600) / 900)) * -0.35
    return np.abs(east - middle) * 0.8


def ground_material(east, north, height, steep, footprint) -> np.ndarray:
    """Reflectance (n,3) of meadow, fields, road, shore, rock and snow."""
    fine = fbm(east / 2.2, north / 2.2, 4, 11, footprint / 2.2)
    broad = fbm(east / 70, north / 70, 5, 12, footprint / 70)
    grass = mix(rgb(0.075, 0.115, 0.028), rgb(0.19, 0.18, 0.060), 0.5 + 0.45 * broad + 0.35 * fine)
    flower = scramble(np.floor(east / 0.16), np.floor(north / 0.16), 15) > 0.985
    flower &= (fbm(east / 9, north / 9, 2, 16) > 0.05) & (footprint < 0.05)
    petals = np.where(
        (scramble(np.floor(east / 0.16), np.floor(north / 0.16), 17) > 0.4)[:, None],
        rgb(0.75, 0.72, 0.62),
        rgb(0.72, 0.52, 0.05),
    )
    color = np.where(flower[:, None], petals, grass)
    color = mix(color, field_material(east, north, fine), 1 - smooth(height + 9 * broad, 26, 34))
    color = mix(
        color, rgb(0.24, 0.22, 0.17) * (1 + 0.15 * fine)[:, None], 1 - smooth(height, 0.4, 1.6)
    )
    bare = smooth(steep + 0.25 * broad + smooth(height, 520, 1000) * 0.45, 0.62, 0.86)
    bare = bare * smooth(height, 40, 120)
    strata = 0.5 * fbm(height / 40 + 2 * broad, east / 500, 5, 13) + broad
    rock = mix(rgb(0.17, 0.155, 0.14), rgb(0.36, 0.335, 0.30), 0.5 + 0.5 * strata + 0.2 * fine)
    color = mix(color, rock, bare)
    snow = smooth(height + 220 * broad - 700 * smooth(steep, 0.7, 1.5), 860, 1060)
    color = mix(color, rgb(0.74, 0.77, 0.83), snow)
    edge = road_distance(east, north) + 0.5 * fine
    track = mix(rgb(0.40, 0.36, 0.30), rgb(0.30, 0.27, 0.22), 0.5 + 0.5 * fine)
    return mix(color, track, (1 - smooth(edge, 1.9, 2.6)) * (height > 2)).astype(np.float32)


def field_material(east, north, fine) -> np.ndarray:
    """A patchwork of meadow, corn, rape and ploughed land with plough lines (n,3)."""
    across, along = turned(east, north, 0.42)
    column = np.floor(across / 95 + 0.5 * noise(along / 300, across / 900, 23))
    row = np.floor(along / (120 + 60 * scramble(column, column, 24)))
    pick = scramble(column, row, 25)[:, None]
    color = np.where(pick < 0.40, rgb(0.10, 0.15, 0.040), rgb(0.145, 0.165, 0.055))
    color = np.where(pick > 0.70, rgb(0.31, 0.25, 0.10), color)
    color = np.where(pick > 0.83, rgb(0.42, 0.36, 0.05), color)
    color = np.where(pick > 0.90, rgb(0.15, 0.10, 0.06), color)
    patchy = 0.18 * fbm(east / 38, north / 38, 3, 26)
    return color * (1 + patchy + 0.12 * fine + 0.06 * np.sin(across * 1.1))[:, None]


def conifer_material(shade_of) -> np.ndarray:
    return mix(rgb(0.022, 0.052, 0.018), rgb(0.050, 0.085, 0.026), shade_of)


def broadleaf_material(shade_of) -> np.ndarray:
    green = mix(rgb(0.055, 0.105, 0.020), rgb(0.12, 0.15, 0.030), shade_of * 1.3)
    return np.where((shade_of > 0.86)[:, None], rgb(0.24, 0.14, 0.025), green)


def house_material(east, north, height, bump, kind, shade_of) -> np.ndarray:
    """Plaster with windows below the roof, tiles above (n,3)."""
    plaster = np.where((shade_of > 0.7)[:, None], rgb(0.62, 0.52, 0.36), rgb(0.74, 0.72, 0.66))
    window = ((east + north) % 2.6 < 1.0) & (height % 2.9 > 1.1) & (height % 2.9 < 2.2)
    plaster = np.where(window[:, None], rgb(0.05, 0.06, 0.08), plaster)
    tiles = mix(rgb(0.30, 0.085, 0.045), rgb(0.22, 0.13, 0.09), shade_of)
    tiles = np.where((kind == CHURCH)[:, None], rgb(0.16, 0.15, 0.17), tiles)
    return np.where((height > bump - 0.6)[:, None], tiles, plaster)


def ridges(east, north, footprint) -> np.ndarray:
    """Ridged noise in about [0,1]: sharp crests, each octave strongest where the last was high."""
    total, strength, weight = 0.0, 0.52, 1.0
    for octave in range(11):
        if np.all(0.5**octave <= footprint):
            break
        crest = (1 - np.abs(noise(east, north, 100 + octave))) ** 2 * weight
        total = total + strength * crest * visible(0.5**octave, footprint)
        weight = np.clip(crest * 1.8, 0, 1)
        strength *= 0.5
        east, north = 1.6 * east + 1.2 * north, -1.2 * east + 1.6 * north
    return total


def fbm(east, north, octaves: int, seed: int, footprint=0.0) -> np.ndarray:
    """Sum of noises, each half as strong and half as long as the last; about [-1,1]."""
    total, strength = np.zeros(np.broadcast(east, north).shape, np.float32), 0.55
    for octave in range(octaves):
        if np.all(0.5**octave <= footprint):
            break
        total = total + strength * noise(east, north, seed + octave) * visible(
            0.5**octave, footprint
        )
        strength *= 0.5
        east, north = 1.6 * east + 1.2 * north, -1.2 * east + 1.6 * north
    return total


def visible(wavelength: float, footprint) -> np.ndarray | float:
    """Fades detail finer than a pixel."""
    return np.clip(wavelength / np.maximum(footprint, 1e-9) - 1, 0, 1)


def noise(east, north, seed: int) -> np.ndarray:
    """Smooth value noise in [-1,1] with unit cells; repeats after 256 of them."""
    column, row = np.floor(east), np.floor(north)
    right, up = east - column, north - row
    right, up = right * right * (3 - 2 * right), up * up * (3 - 2 * up)
    column, row = lattice(column, 37 * seed), lattice(row, 71 * seed) << 8
    next_column, next_row = (column + 1) & 255, (row + 256) & 0xFFFF
    low, high = RANDOM[row | column], RANDOM[next_row | column]
    low = low + right * (RANDOM[row | next_column] - low)
    high = high + right * (RANDOM[next_row | next_column] - high)
    return 2 * (low + up * (high - low)) - 1


def scramble(column, row, seed: int) -> np.ndarray:
    """A random number in [0,1) for each cell."""
    return RANDOM[lattice(row, 71 * seed) << 8 | lattice(column, 37 * seed)]


def lattice(number, offset: int) -> np.ndarray:
    return (np.asarray(number).astype(np.int32) + offset) & 255


def turned(across, along, angle):
    sine, cosine = np.sin(angle), np.cos(angle)
    return across * cosine + along * sine, along * cosine - across * sine


def smooth(value, low: float, high: float) -> np.ndarray:
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def mix(first, second, share) -> np.ndarray:
    share = np.clip(share, 0, 1)[..., None]
    return first * (1 - share) + second * share


def rgb(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], np.float32)
