"""Renders the sample pictures of samples/: a valley that exists only as formulas, with its true depth.

Run `python tools/render_sample.py valley` or `python tools/render_sample.py tiny`. The land is a height
field (value noise, a lake, a river, a road, trees and houses as bumps) seen by marching every picture
column from near to far; light is a sun with cast shadows and the sky. Haze comes from `unhaze.haze`.
Lengths are metres, heights are above the lake, colours are linear RGB until `to_picture`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips

from unhaze.haze import add_haze, transmission

SAMPLES = Path(__file__).parents[1] / "samples"
FAR = 18_000.0
HAZE_LAYER = 1_300.0
RANDOM = np.random.default_rng(7).random(1 << 16, dtype=np.float32)


@dataclass(frozen=True)
class View:
    """Where the camera stands and looks. `rise`: metres above ground; `heading`: degrees to the right.

    focal: focal length in picture widths. horizon: its row as a share of the picture's height.
    sun: degrees clockwise from straight ahead, and above the horizon.
    """

    place: tuple[float, float]
    rise: float = 12.0
    heading: float = 0.0
    focal: float = 0.95
    horizon: float = 0.36
    sun: tuple[float, float] = (-105.0, 34.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["valley", "tiny"])
    parser.add_argument("--width", type=int, default=1620, help="of the valley, in pixels")
    parser.add_argument("--out", type=Path, default=SAMPLES)
    arguments = parser.parse_args()
    if arguments.what == "valley":
        render_valley(arguments.out, arguments.width)
    else:
        render_tiny(arguments.out / "tiny")


def render_valley(folder: Path, width: int) -> None:
    """valley.jpg (hazy) and valley-clear.jpg, three by two."""
    view = View(place=(-690.0, 0.0), rise=16.0, heading=14.0)
    clear, depth = render(view, width, width * 2 // 3, samples=2)
    airlight = np.array([0.86, 0.885, 0.91], np.float32)
    hazy = add_haze(clear, transmission(depth, 0.30 / 1000)[..., None], airlight)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture, quality in (("valley-clear", clear, 84), ("valley", hazy, 88)):
        save(folder / f"{name}.jpg", shrink(picture, 2), Q=quality, optimize_coding=True)


def render_tiny(folder: Path) -> None:
    """A dozen small scenes as an `rgbd` dataset: clear/NN.jpg, and depth/NN.png with 255 = farthest."""
    rng = np.random.default_rng(12)
    for part in ("clear", "depth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(12):
        view = View(
            place=(float(rng.uniform(-900, 900)), float(rng.uniform(-200, 2600))),
            rise=float(rng.uniform(6, 60)),
            heading=float(rng.uniform(-70, 70)),
            focal=float(rng.uniform(0.8, 1.6)),
            horizon=float(rng.uniform(0.25, 0.45)),
            sun=(float(rng.uniform(-150, 150)), float(rng.uniform(25, 55))),
        )
        clear, depth = render(view, 160, 120, samples=4)
        save(folder / "clear" / f"{number:02d}.jpg", shrink(clear, 4), Q=88)
        depth = shrink(np.minimum(depth, 6_000.0)[..., None] / 6_000.0, 4)[..., 0]
        save(folder / "depth" / f"{number:02d}.png", depth, compression=9)


def render(view: View, width: int, height: int, *, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """clear (H,W,3) in [0,1] sRGB and depth (H,W) in metres, both `samples` times as wide and high."""
    width, height = width * samples, height * samples
    columns = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / (view.focal * width)
    rows = (np.arange(height, dtype=np.float32) + 0.5 - view.horizon * height) / (view.focal * width)
    distance = march_columns(view, columns, rows)
    clear = np.empty((height, width, 3), np.float32)
    depth = np.empty((height, width), np.float32)
    for top in range(0, height, 256):
        band = slice(top, min(top + 256, height))
        clear[band], depth[band] = shade(view, columns, rows[band], distance[band])
    return to_picture(clear), depth


def march_columns(view: View, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distance along the view axis at which each pixel's ray meets the land; inf for the sky (H,W).

    `columns` and `rows` are tangents (right, down). Every column walks away from the camera; a
    pixel is met by the first step whose land stands above it.
    """
    eye = eye_height(view)
    steps = [6.0]
    while steps[-1] < FAR:
        steps.append(steps[-1] * (1 + 4 / len(columns)) + 0.004)
    tops = np.empty((len(steps), len(columns)), np.float32)
    for index, step in enumerate(steps):
        east, north = to_world(view, columns * step, np.float32(step))
        tops[index] = (eye - surface(east, north, np.float32(step / len(columns)))) / step
    highest = np.minimum.accumulate(tops, axis=0)
    steps = np.array(steps, np.float32)
    distance = np.full((len(rows), len(columns)), np.inf, np.float32)
    for column in range(len(columns)):
        first = np.searchsorted(-highest[:, column], -rows, side="left")
        met = first < len(steps)
        after = first[met]
        before = np.maximum(after - 1, 0)
        upper, lower = tops[after, column], tops[before, column]
        share = np.clip((lower - rows[met]) / np.maximum(lower - upper, 1e-9), 0, 1)
        distance[met, column] = steps[before] + share * (steps[after] - steps[before])
    return distance


def shade(view: View, columns, rows, distance) -> tuple[np.ndarray, np.ndarray]:
    """Linear colour (h,W,3) and haze depth (h,W) of a band of pixels."""
    right, down = np.broadcast_arrays(columns[None, :], rows[:, None])
    length = np.sqrt(1 + right**2 + down**2)
    land = np.isfinite(distance)
    color = sky(view, right, down)
    # The sky's depth is what the ray crosses of a haze layer of finite height.
    up = np.maximum(-down / length, 1e-4)
    depth = np.minimum(HAZE_LAYER / up, FAR).astype(np.float32)
    near = distance[land]
    depth[land] = near * length[land]
    east, north = to_world(view, right[land] * near, near)
    height = eye_height(view) - down[land] * near
    color[land] = land_color(view, east, north, height, near / (view.focal * 3200))
    water = land.copy()
    water[land] = (height < 0.25) & (ground(east, north, 1.0) < 0)
    if water.any():
        color[water] = water_color(view, right[water], down[water], distance[water])
    return color, depth


def land_color(view: View, east, north, height, footprint) -> np.ndarray:
    """Lit colour (n,3) of points on the land; `footprint` is a pixel's size there."""
    step = np.maximum(footprint, 0.15)
    here = surface(east, north, footprint)
    slope_east = (surface(east + step, north, footprint) - here) / step
    slope_north = (surface(east, north + step, footprint) - here) / step
    smooth_east = (ground(east + 8, north, 4.0) - ground(east - 8, north, 4.0)) / 16
    smooth_north = (ground(east, north + 8, 4.0) - ground(east, north - 8, 4.0)) / 16
    bump, kind, shade_of = cover(east, north, footprint)
    base = here - bump
    steep = np.hypot(smooth_east, smooth_north)
    material = ground_material(east, north, base, steep, footprint)
    material = np.where((kind == CONIFER)[:, None], conifer_material(shade_of), material)
    material = np.where((kind == BROADLEAF)[:, None], broadleaf_material(shade_of), material)
    house = kind >= HOUSE
    material[house] = house_material(
        east[house], north[house], (height - base)[house], bump[house], kind[house], shade_of[house]
    )
    limit = np.where(house, 1.2, 2.2)
    slope_east, slope_north = np.clip(slope_east, -limit, limit), np.clip(slope_north, -limit, limit)
    sun = sun_direction(view)
    norm = np.sqrt(1 + slope_east**2 + slope_north**2)
    facing = (-slope_east * sun[0] - slope_north * sun[1] + sun[2]) / norm
    tree = (kind == CONIFER) | (kind == BROADLEAF)
    # Foliage scatters light forward and around: it never turns as dark as a wall does.
    facing = np.where(tree, 0.25 + 0.75 * facing, facing)
    lit = np.clip(facing, 0, 1) * sunlight(view, east, north, np.maximum(height, here - 0.5))
    share = np.clip((height - base) / np.maximum(bump, 1e-3), 0, 1)
    openness = np.where(tree, 0.35 + 0.65 * share, 1.0) * (0.55 + 0.45 / norm)
    light = 3.1 * lit[:, None] * SUN + 0.85 * openness[:, None] * SKYLIGHT
    return material * light


def water_color(view: View, right, down, distance) -> np.ndarray:
    """Mirror of land and sky on the lake, more of it the flatter the view (n,3)."""
    east, north = to_world(view, right * distance, distance)
    ripple = 0.004 * fbm(east / 3, north / 9, 3, 51) + 0.003 * fbm(east / 40, north / 60, 2, 52)
    mirrored = -np.abs(down) - ripple
    color = sky(view, right, mirrored)
    open_rays = np.ones(len(right), bool)
    travelled = np.full(len(right), 12.0, np.float32)
    for _ in range(90):
        far = distance + travelled
        there_east, there_north = to_world(view, right * far, far)
        level = -mirrored * travelled
        hit = open_rays & (surface(there_east, there_north, far / 1500) > level)
        if hit.any():
            color[hit] = land_color(
                view, there_east[hit], there_north[hit], level[hit], far[hit] / 1500
            )
        open_rays &= ~hit & (far < FAR)
        travelled *= 1.07
    grazing = np.abs(down) / np.sqrt(1 + down**2)
    fresnel = (0.02 + 0.98 * (1 - grazing) ** 5)[:, None]
    return fresnel * color * 0.92 + (1 - fresnel) * np.array([0.016, 0.05, 0.06], np.float32)


SUN = np.array([1.0, 0.87, 0.70], np.float32)
SKYLIGHT = np.array([0.42, 0.55, 0.78], np.float32)
CONIFER, BROADLEAF, HOUSE, CHURCH = 1, 2, 3, 4


def sky(view: View, right, down) -> np.ndarray:
    """Blue that pales towards the horizon, with clouds on a layer at 2,600 m (..,3)."""
    up = np.clip(-down / np.sqrt(1 + right**2 + down**2), 0, 1)[..., None]
    blue = np.array([0.10, 0.26, 0.66]) + np.exp(-up * 7) * np.array([0.44, 0.40, 0.20])
    reach = 2600 / np.maximum(-down, 0.012)
    east, north = to_world(view, right * reach, reach)
    dense = fbm(east / 2600 + 0.3, north / 2600, 7, 81) + 0.35 * fbm(east / 9000, north / 9000, 2, 82)
    cloud = smooth(dense, 0.08, 0.75)[..., None] * smooth(-down, 0.012, 0.09)[..., None]
    white = 0.80 + 0.25 * smooth(fbm(east / 1500 + 9, north / 1500, 4, 83), -0.5, 0.6)[..., None]
    return (blue * (1 - cloud) + white * cloud * np.array([1.0, 0.99, 0.97])).astype(np.float32)


def sunlight(view: View, east, north, height) -> np.ndarray:
    """1 in the sun, 0 in the shadow of land, trees, houses; clouds dim the far hills (n,)."""
    sun = sun_direction(view)
    rise = sun[2] / np.hypot(sun[0], sun[1])
    along = sun[:2] / np.hypot(sun[0], sun[1])
    light = np.ones(len(east), np.float32)
    reach = 0.7
    while reach < 2500:
        above = height + rise * reach - surface(
            east + along[0] * reach, north + along[1] * reach, max(2.0, 0.05 * reach)
        )
        light = np.minimum(light, np.clip(0.5 + above / (0.02 * reach + 0.6), 0, 1))
        reach *= 1.32
    clouds = smooth(fbm(east / 2400 + 40, north / 2400, 3, 61), -0.1, 0.5)
    return light * (1 - 0.55 * clouds * smooth(north, 1800, 3200))


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
    height = height + closing * (120 + 2700 * relief * relief)
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
    """Height of the tree or house at each point, its kind (0 for none) and a random number of it."""
    land = ground(east, north, 4.0) if land is None else land
    village = village_density(east, north)
    forest = forest_density(east, north, land) * (1 - village)
    bump, kind, shade_of = houses(east, north, village)
    for seed, cell in ((5, 7.5), (6, 11.0), (8, 17.0)):
        tree, tree_kind, tree_shade = trees(east, north, forest * (0.25 if seed == 8 else 1), cell, seed)
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
        east - (column + 0.5 + 0.25 * (left - 0.5)) * cell, north - (row + 0.5 + 0.25 * (low - 0.5)) * cell
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
    angle = 0.5 * noise(column / 3, row / 3, 73) + np.where(scramble(column, row, 74) < 0.4, 1.571, 0)
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


CHURCH_PLACE = (-35.0, 1330.0)


def village_density(east, north) -> np.ndarray:
    """Share of cells with a house: one village by the lake, and farms along the valley."""
    middle = np.hypot((east - CHURCH_PLACE[0]) / 250, (north - CHURCH_PLACE[1]) / 170)
    side = np.abs(east - valley_axis(north))
    near_church = np.hypot(east - CHURCH_PLACE[0], north - CHURCH_PLACE[1]) > 34
    farms = 0.9 * smooth(noise(east / 210, north / 210, 91), 0.62, 0.72) * (side < 420) * (lake_share(east, north) > 1.3)
    return np.maximum(0.8 * (1 - smooth(middle, 0.55, 1.1)), farms) * near_church


def forest_density(east, north, land) -> np.ndarray:
    """Share of cells with a tree: woods on the slopes up to the tree line, groves in the valley."""
    patch = fbm(east / 520, north / 520, 4, 41)
    slopes = smooth(patch + 0.55 * smooth(land, 40, 190), 0.12, 0.30)
    below_line = 1 - smooth(land + 160 * patch, 560, 760)
    groves = 0.9 * smooth(fbm(east / 130, north / 130, 3, 42), 0.42, 0.52)
    density = np.maximum(slopes, groves) * below_line
    near_camera = smooth(np.hypot(east + 690, north), 150, 330)
    return density * near_camera * (road_distance(east, north) > 9)


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
    petals = np.where((scramble(np.floor(east / 0.16), np.floor(north / 0.16), 17) > 0.4)[:, None],
                      rgb(0.75, 0.72, 0.62), rgb(0.72, 0.52, 0.05))
    color = np.where(flower[:, None], petals, grass)
    color = mix(color, field_material(east, north, fine), 1 - smooth(height + 9 * broad, 26, 34))
    color = mix(color, rgb(0.42, 0.37, 0.29) * (1 + 0.15 * fine)[:, None], 1 - smooth(height, 0.4, 1.6))
    bare = smooth(steep + 0.25 * broad + smooth(height, 520, 1000) * 0.45, 0.62, 0.86)
    strata = 0.5 * fbm(height / 40 + 2 * broad, east / 500, 5, 13) + broad
    rock = mix(rgb(0.17, 0.155, 0.14), rgb(0.36, 0.335, 0.30), 0.5 + 0.5 * strata + 0.2 * fine)
    color = mix(color, rock, bare)
    snow = smooth(height + 150 * broad - 420 * smooth(steep, 0.7, 1.5), 860, 1010)
    color = mix(color, rgb(0.86, 0.88, 0.92), snow)
    edge = road_distance(east, north) + 0.5 * fine
    track = mix(rgb(0.40, 0.36, 0.30), rgb(0.30, 0.27, 0.22), 0.5 + 0.5 * fine)
    return mix(color, track, (1 - smooth(edge, 1.9, 2.6)) * (height > 2)).astype(np.float32)


def field_material(east, north, fine) -> np.ndarray:
    """A patchwork of meadow, corn, rape and ploughed land with plough lines (n,3)."""
    across, along = turned(east, north, 0.42)
    column = np.floor(across / 95 + 0.5 * noise(along / 300, across / 900, 23))
    row = np.floor(along / (120 + 60 * scramble(column, column, 24)))
    pick = scramble(column, row, 25)[:, None]
    color = np.where(pick < 0.42, rgb(0.10, 0.15, 0.040), rgb(0.24, 0.21, 0.08))
    color = np.where(pick > 0.66, rgb(0.34, 0.27, 0.10), color)
    color = np.where(pick > 0.83, rgb(0.42, 0.36, 0.05), color)
    color = np.where(pick > 0.90, rgb(0.15, 0.10, 0.06), color)
    return color * (1 + 0.12 * fine + 0.06 * np.sin(across * 1.1))[:, None]


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
    """Ridged noise in about [0,1]: sharp crests, each octave strongest where the last one was high."""
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
        total = total + strength * noise(east, north, seed + octave) * visible(0.5**octave, footprint)
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


def eye_height(view: View) -> float:
    east, north = (np.array([each], np.float32) for each in view.place)
    return float(np.maximum(ground(east, north, 1.0), 0)[0]) + view.rise


def to_world(view: View, right, ahead):
    """From metres right of and ahead of the camera to east and north."""
    sine, cosine = np.float32(np.sin(np.radians(view.heading))), np.float32(np.cos(np.radians(view.heading)))
    return (
        view.place[0] + right * cosine + ahead * sine,
        view.place[1] - right * sine + ahead * cosine,
    )


def sun_direction(view: View) -> np.ndarray:
    """Unit vector towards the sun: east, north, up."""
    azimuth, elevation = np.radians(view.heading + view.sun[0]), np.radians(view.sun[1])
    flat = np.cos(elevation)
    return np.array([flat * np.sin(azimuth), flat * np.cos(azimuth), np.sin(elevation)], np.float32)


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


def to_picture(light: np.ndarray) -> np.ndarray:
    """Tone curve that rolls highlights off, then sRGB's encoding; [0,1]."""
    light = np.maximum(light, 0) * 1.15
    curve = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    curve = np.clip(curve, 0, 1)
    return np.where(curve <= 0.0031308, 12.92 * curve, 1.055 * curve ** (1 / 2.4) - 0.055)


def shrink(picture: np.ndarray, factor: int) -> np.ndarray:
    """Mean of each block of `factor` by `factor` pixels (H,W,C)."""
    height, width, channels = picture.shape
    blocks = picture.reshape(height // factor, factor, width // factor, factor, channels)
    return blocks.mean((1, 3))


def save(path: Path, picture: np.ndarray, **options: int) -> None:
    """`picture` in [0,1], (H,W) or (H,W,3); `options` are the file format's (Q: JPEG quality)."""
    pixels = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path), **options)


if __name__ == "__main__":
    main()
