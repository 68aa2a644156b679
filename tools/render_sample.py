"""Renders the pictures of samples/ with their true depth, from the formulas of landscape.py.

`python tools/render_sample.py valley` (half an hour) or `tiny` (some minutes). Every column of the
picture is marched from near to far over the land; light is a sun with cast shadows, and the sky.
The haze is that of `unhaze.haze`. Lengths are metres, colours linear RGB until `to_picture`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips
from landscape import (
    BROADLEAF,
    CONIFER,
    HOUSE,
    broadleaf_material,
    conifer_material,
    cover,
    fbm,
    ground,
    ground_material,
    house_material,
    smooth,
    surface,
    valley_axis,
)

from unhaze.haze import add_haze, transmission

SAMPLES = Path(__file__).parents[1] / "samples"
FAR = 18_000.0
HAZE_LAYER = 1_300.0


@dataclass(frozen=True)
class View:
    """Where the camera stands and looks. rise: metres above ground; heading: degrees to the right.

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
    view = View(place=(-60.0, 300.0), rise=150.0, heading=9.0)
    clear, depth = render(view, width, width * 2 // 3, samples=2)
    airlight = np.array([0.86, 0.885, 0.91], np.float32)
    hazy = add_haze(clear, transmission(depth, 0.30 / 1000)[..., None], airlight)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (("valley-clear", clear), ("valley", hazy)):
        save_within(folder / f"{name}.jpg", shrink(picture, 2), 400_000)


def render_tiny(folder: Path) -> None:
    """Twelve scenes as an `rgbd` dataset: clear/NN.jpg, depth/NN.png (255: 2.5 km or more)."""
    rng = np.random.default_rng(12)
    for part in ("clear", "depth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(12):
        north = float(rng.uniform(-200, 2400))
        view = View(
            place=(float(valley_axis(north) + rng.uniform(-350, 350)), north),
            rise=float(rng.uniform(45, 150)),
            heading=float(rng.uniform(-35, 35) + rng.choice([0, 0, 180])),
            focal=float(rng.uniform(0.8, 1.6)),
            horizon=float(rng.uniform(0.25, 0.45)),
            sun=(float(rng.uniform(-150, 150)), float(rng.uniform(25, 55))),
        )
        clear, depth = render(view, 160, 120, samples=2)
        save(folder / "clear" / f"{number:02d}.jpg", shrink(clear, 2), Q=88)
        depth = shrink(np.minimum(depth, 2_500.0)[..., None] / 2_500.0, 2)[..., 0]
        save(folder / "depth" / f"{number:02d}.png", depth, compression=9)


def render(view: View, width: int, height: int, *, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """clear (H,W,3), sRGB in [0,1], and depth (H,W) in metres; both `samples` times the size."""
    width, height = width * samples, height * samples
    columns = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / (view.focal * width)
    rows = (np.arange(height, dtype=np.float32) + 0.5 - view.horizon * height) / (
        view.focal * width
    )
    distance = march_columns(view, columns, rows)
    clear = np.empty((height, width, 3), np.float32)
    depth = np.empty((height, width), np.float32)
    rows_a_time = max(60_000 // width, 1)
    for top in range(0, height, rows_a_time):
        band = slice(top, min(top + rows_a_time, height))
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
    near = on_top(view, right[land], down[land], distance[land], len(columns))
    depth[land] = near * length[land]
    east, north = to_world(view, right[land] * near, near)
    height = eye_height(view) - down[land] * near
    color[land] = land_color(view, east, north, height, near / (view.focal * len(columns)))
    water = land.copy()
    water[land] = (height < 0.25) & (ground(east, north, 1.0) < 0)
    if water.any():
        color[water] = water_color(view, right[water], down[water], distance[water])
    return color, depth


def on_top(view: View, right, down, distance, width: int) -> np.ndarray:
    """Moves points that interpolation left in the air before a tree onto it, a step on."""
    for _ in range(2):
        east, north = to_world(view, right * distance, distance)
        height = eye_height(view) - down * distance
        before = height > surface(east, north, distance / width) + 0.4
        distance = np.where(before, distance * np.float32(1 + 2.4 / width), distance)
    return distance


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
    slope_east, slope_north = (
        np.clip(slope_east, -limit, limit),
        np.clip(slope_north, -limit, limit),
    )
    sun = sun_direction(view)
    norm = np.sqrt(1 + slope_east**2 + slope_north**2)
    facing = (-slope_east * sun[0] - slope_north * sun[1] + sun[2]) / norm
    tree = (kind == CONIFER) | (kind == BROADLEAF)
    # Foliage scatters light forward and around: it never turns as dark as a wall does.
    facing = np.where(tree, 0.25 + 0.75 * facing, facing)
    lit = np.clip(facing, 0, 1) * sunlight(view, east, north, np.maximum(height, here - 0.5))
    share = np.clip((height - base) / np.maximum(bump, 1e-3), 0, 1)
    openness = np.where(tree, 0.45 + 0.55 * share, 1.0) * (0.55 + 0.45 / norm)
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


def sky(view: View, right, down) -> np.ndarray:
    """Blue that pales towards the horizon, with clouds on a layer at 2,600 m (..,3)."""
    up = np.clip(-down / np.sqrt(1 + right**2 + down**2), 0, 1)[..., None]
    blue = np.array([0.10, 0.26, 0.66]) + np.exp(-up * 7) * np.array([0.44, 0.40, 0.20])
    reach = 2600 / np.maximum(-down, 0.012)
    east, north = to_world(view, right * reach, reach)
    dense = fbm(east / 2600 + 0.3, north / 2600, 7, 81) + 0.35 * fbm(
        east / 9000, north / 9000, 2, 82
    )
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
        above = (
            height
            + rise * reach
            - surface(east + along[0] * reach, north + along[1] * reach, max(2.0, 0.05 * reach))
        )
        light = np.minimum(light, np.clip(0.5 + above / (0.02 * reach + 0.6), 0, 1))
        reach *= 1.42
    clouds = smooth(fbm(east / 2400 + 40, north / 2400, 3, 61), -0.1, 0.5)
    return light * (1 - 0.55 * clouds * smooth(north, 1800, 3200))


def eye_height(view: View) -> float:
    east, north = (np.array([each], np.float32) for each in view.place)
    return float(np.maximum(ground(east, north, 1.0), 0)[0]) + view.rise


def to_world(view: View, right, ahead):
    """From metres right of and ahead of the camera to east and north."""
    sine, cosine = (
        np.float32(np.sin(np.radians(view.heading))),
        np.float32(np.cos(np.radians(view.heading))),
    )
    return (
        view.place[0] + right * cosine + ahead * sine,
        view.place[1] - right * sine + ahead * cosine,
    )


def sun_direction(view: View) -> np.ndarray:
    """Unit vector towards the sun: east, north, up."""
    azimuth, elevation = np.radians(view.heading + view.sun[0]), np.radians(view.sun[1])
    flat = np.cos(elevation)
    return np.array([flat * np.sin(azimuth), flat * np.cos(azimuth), np.sin(elevation)], np.float32)


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


def save_within(path: Path, picture: np.ndarray, limit: int) -> None:
    """A JPEG of the best quality that fits into `limit` bytes."""
    for quality in range(92, 40, -1):
        save(path, picture, Q=quality, optimize_coding=True)
        if path.stat().st_size <= limit:
            return
    raise SystemExit(f"{path} does not fit into {limit} bytes")


def save(path: Path, picture: np.ndarray, **options: int) -> None:
    """`picture` in [0,1], (H,W) or (H,W,3); `options` are the file format's (Q: JPEG quality)."""
    pixels = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path), **options)


if __name__ == "__main__":
    main()
