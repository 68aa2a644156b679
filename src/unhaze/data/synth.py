"""Writes hazy pictures, from clear ones with depth, as a dataset of pairs."""

from pathlib import Path

import numpy as np

from unhaze import photo
from unhaze.atomic import made_aside
from unhaze.data.pack import cut
from unhaze.data.pairing import SceneFiles, find_scenes
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw, add_haze, tint, transmission
from unhaze.image import to_float, to_u8


def synthesize(
    root: Path | str,
    out: Path | str,
    *,
    law: HazeLaw | None = None,
    each: int = 10,
    seed: int = 0,
    border: int = 0,
    limit: int | None = None,
) -> int:
    """Writes `out`/hazy/SCENE_K_A_BETA.png and `out`/clear/SCENE.png; returns how many hazy ones.

    `root` holds clear/ and depth/ (8 or 16 bit, larger is farther). each: hazy pictures per
    scene. border: pixels cut from every side first. limit: number of scenes, from the first. The
    haze of a picture depends only on `seed`, scene name and K. `out` appears when it is complete.
    UnhazeError: no scenes, depth that is zero or of another size, `out` exists.
    """
    root, out = Path(root), Path(out)
    law = law or HazeLaw()
    if each < 1:
        raise UnhazeError(f"each is {each}; expected at least 1 hazy picture per scene")
    if out.exists():
        raise UnhazeError(f"'{out}' exists; choose another folder")
    scenes = find_scenes(root)[:limit]
    with made_aside(out) as aside:
        for kind in ("hazy", "clear"):
            (aside / kind).mkdir(parents=True)
        for scene in scenes:
            synthesize_scene(scene, aside, law=law, each=each, seed=seed, border=border)
    return each * len(scenes)


def synthesize_scene(
    scene: SceneFiles, out: Path, *, law: HazeLaw, each: int, seed: int, border: int
) -> None:
    """Writes one clear picture and its hazy ones."""
    clear_u8 = cut(photo.read_rgb(scene.clear), border, scene.clear)
    clear = to_float(clear_u8)
    depth = to_float(cut(photo.read_rgb(scene.depth), border, scene.depth)[..., :1])
    if depth.shape[:2] != clear.shape[:2]:
        raise UnhazeError(f"scene '{scene.name}': clear and depth differ in size")
    if depth.max() == 0:
        raise UnhazeError(f"scene '{scene.name}': its depth is zero everywhere")
    photo.write_rgb(out / "clear" / f"{scene.name}.png", clear_u8)
    random = np.random.default_rng([seed, *scene.name.encode()])
    for number in range(1, each + 1):
        beta, airlight = draw(law, random)
        hazy = add_haze(clear, transmission(depth / depth.max(), beta), airlight)
        name = f"{scene.name}_{number}_{airlight.mean():.5f}_{beta:.5f}.png"
        photo.write_rgb(out / "hazy" / name, to_u8(hazy))


def draw(law: HazeLaw, random: np.random.Generator) -> tuple[float, np.ndarray]:
    """Draws beta, and airlight (3,) in [0,1]."""
    beta = float(random.uniform(*law.beta))
    grey = random.uniform(*law.airlight)
    at_one = random.random() < law.airlight_at_one
    colour = np.array(tint(law.airlight_tint, *random.uniform(-1, 1, 2)))
    return beta, np.clip((1.0 if at_one else grey) + colour, 0, 1)
