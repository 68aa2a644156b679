"""A training run described: frozen dataclasses, strict TOML in, complete TOML out."""

import dataclasses
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from unhaze.errors import UnhazeError
from unhaze.recipe_layers import read_layers
from unhaze.validation import nearest, one_of


@dataclass(frozen=True)
class Part:
    """A named thing and its plain arguments: in TOML the keys beside `name` are the arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LossPart:
    """`[losses.NAME]`: its weight in the sum (0: not built), and the loss's own arguments.

    name: the loss, where the table is not named after it, as for an import path.
    """

    weight: float = 1.0
    arguments: dict[str, Any] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True)
class Augment:
    """crop: side in pixels. scale: range of the resize before the crop, drawn once a batch.

    resize: [height, width] in pixels to which every picture is brought before all else, as some
    published settings have it; 0 for one of them keeps the aspect ratio, [0, 0] resizes nothing.
    """

    crop: int = 240
    flip: bool = True
    rotate: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    resize: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Optimizer:
    """adam, adamw (decoupled weight decay), or muon (orthogonal updates of convolutions, Adam for
    the rest; on AECR-Net it learns in 150 steps what Adam learns in 300)."""

    name: str = "adam"
    lr: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """steps: optimizer steps. batch: samples a step over all processes and accumulated parts.

    The learning rate warms up linearly in `warmup` steps to `optimizer.lr`, stays there for the
    share `hold` of the others, then decays: by "cosine" or "linear" to `final_lr` times it; in
    "stairs", times `factor` from each of `stairs` equal pieces to the next; or, by "none", not at
    all. As pieces and shares they shrink with the run.
    clip: largest norm of the gradient, 0 for none. ema: decay of the averaged weights, 0 for none.
    """

    steps: int = 500_000
    batch: int = 16
    warmup: int = 0
    hold: float = 0.0
    decay: str = "cosine"
    final_lr: float = 0.0
    stairs: int = 1
    factor: float = 0.5
    accumulate: int = 1
    clip: float = 0.0
    ema: float = 0.999


@dataclass(frozen=True)
class Hardware:
    """precision: 32-true, bf16-mixed, 16-mixed, or auto: bf16-mixed on a GPU or CPU that gains from
    it. prefetch: batches drawn ahead in threads.

    compile: none, a mode of torch.compile (default, reduce-overhead, max-autotune) for the
    network and the losses, or auto: default for long trainings where precision auto is bf16-mixed.
    measure_peak: multiply matrices for half a second at the start and count
    the first step's operations, so that the log has the run's share of the hardware's peak.
    """

    precision: str = "32-true"
    compile: str = "none"
    channels_last: bool = True
    prefetch: int = 2
    measure_peak: bool = False


@dataclass(frozen=True)
class Watch:
    """Intervals, in steps, of logging, pictures, validation and saving; saves also by the clock."""

    log_every: int = 50
    pictures_every: int = 1000
    validate_every: int = 5000
    validate_limit: int = 50
    save_every: int = 1000
    save_minutes: float = 2.0


@dataclass(frozen=True)
class Recipe:
    """One training run. `source` says where the settings come from.

    start: weights file or run folder that the network starts from (fine-tuning); "" for a random
    start. published: dataset -> PSNR in dB and SSIM that the source prints for this run.
    """

    title: str
    net: Part
    data: Part
    losses: dict[str, LossPart] = field(default_factory=dict)
    source: str = ""
    seed: int = 666
    start: str = ""
    published: dict[str, tuple[float, float]] = field(default_factory=dict)
    method: Part = Part("supervised")
    validation: Part | None = None
    augment: Augment = field(default_factory=Augment)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    hardware: Hardware = field(default_factory=Hardware)
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        check_limits(self)


# Key: the smallest and the largest value that make sense (of each number, for a list).
LIMITS: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**62),
    "augment.crop": (1, None),
    "augment.scale": (0.01, 100),
    "augment.resize": (0, 65_535),
    "optimizer.lr": (0, None),
    "optimizer.betas": (0, 0.999999),
    "optimizer.weight_decay": (0, None),
    "schedule.steps": (1, None),
    "schedule.batch": (1, None),
    "schedule.warmup": (0, None),
    "schedule.hold": (0, 1),
    "schedule.final_lr": (0, 1),
    "schedule.stairs": (1, None),
    "schedule.factor": (0, 1),
    "schedule.accumulate": (1, None),
    "schedule.clip": (0, None),
    "schedule.ema": (0, 0.999999),
    "hardware.prefetch": (0, 64),
    "watch.log_every": (1, None),
    "watch.pictures_every": (1, None),
    "watch.validate_every": (1, None),
    "watch.validate_limit": (1, None),
    "watch.save_every": (1, None),
    "watch.save_minutes": (0, None),
}


DECAYS = ("cosine", "linear", "stairs", "none")


def load_config(
    path: Path | str, overrides: Sequence[str] = (), *, overlays: Sequence[Path | str] = ()
) -> Recipe:
    """Reads a recipe; `overrides` are `a.b=value` with a TOML value (a bare word is a string).

    overlays: files laid over it before those, see `recipe_layers.read_layers`.
    UnhazeError for a missing file, broken TOML, an unknown key, a value of wrong type or size.
    """
    return from_table(Recipe, read_layers(Path(path), [*map(Path, overlays)], overrides), "")


def from_table(kind: type, table: Any, where: str) -> Any:
    """Builds the dataclass `kind` from a TOML table; `where` is its dotted key for messages."""
    if not isinstance(table, dict):
        raise UnhazeError(f"recipe key '{where}' must be a table, not {table!r}")
    table = dict(table)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    if "arguments" in fields:
        own = {key: table.pop(key) for key in list(table) if key in fields and key != "arguments"}
        table = own | {"arguments": table}
    hints = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        dotted = f"{where}.{key}" if where else key
        if key not in fields:
            raise UnhazeError(f"recipe has no key '{dotted}'; {nearest(key, fields)}")
        values[key] = from_value(hints[key], value, dotted)
    for name, each in fields.items():
        required = (
            each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise UnhazeError(f"recipe lacks the key '{where + '.' if where else ''}{name}'")
    return kind(**values)


def from_value(hint: Any, value: Any, dotted: str) -> Any:
    """Checks one TOML value against a field's type; integers serve as floats, lists as tuples."""
    if get_origin(hint) in (types.UnionType,):
        hint = next(each for each in get_args(hint) if each is not type(None))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_table(hint, value, dotted)
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise UnhazeError(f"recipe key '{dotted}' must be a table, not {value!r}")
        inner = get_args(hint)[1]
        return {key: from_value(inner, each, f"{dotted}.{key}") for key, each in value.items()}
    if hint is Any:
        return value
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if not isinstance(value, list) or len(value) != len(inner):
            raise UnhazeError(
                f"recipe key '{dotted}' must be a list of {len(inner)}, not {value!r}"
            )
        return tuple(from_value(kind, each, dotted) for kind, each in zip(inner, value))
    if hint is float and type(value) in (int, float):
        if not abs(value) <= sys.float_info.max:
            raise UnhazeError(f"recipe key '{dotted}' must be a finite number, not {value}")
        return float(value)
    if type(value) is not hint:
        raise UnhazeError(f"recipe key '{dotted}' must be {hint.__name__}, not {value!r}")
    return value


def check_limits(recipe: Recipe) -> None:
    """Raises an UnhazeError for the first number outside its `LIMITS`."""
    for dotted, (smallest, largest) in LIMITS.items():
        value: Any = recipe
        for name in dotted.split("."):
            value = getattr(value, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number < smallest or (largest is not None and number > largest):
                expected = f"from {smallest} to {largest}" if largest else f"at least {smallest}"
                raise UnhazeError(f"recipe key '{dotted}' must be {expected}, not {number}")
    for name, loss in recipe.losses.items():
        if loss.weight < 0:
            raise UnhazeError(
                f"recipe key 'losses.{name}.weight' must be at least 0, not {loss.weight:g}"
            )
    one_of("recipe key 'schedule.decay'", recipe.schedule.decay, DECAYS)
    low, high = recipe.augment.scale
    if low > high:
        raise UnhazeError(f"recipe key 'augment.scale' must be [low, high], not [{low}, {high}]")
    crop, given = recipe.augment.crop, [side for side in recipe.augment.resize if side]
    if given and low == high == 1 and min(given) < crop:
        raise UnhazeError(
            f"recipe key 'augment.resize' must hold a crop of {crop}, not"
            f" {[*recipe.augment.resize]}; set augment.crop lower, or resize = [0, 0] for none"
        )


def to_toml(recipe: Recipe) -> str:
    """Every setting of the run, defaults written out; `load_config` reads it back equal."""
    import tomli_w

    return tomli_w.dumps(to_table(recipe))


def to_table(part: Any) -> Any:
    """The inverse of `from_table`: nested plain dicts, absent optional keys left out."""
    if dataclasses.is_dataclass(part):
        table = {each.name: getattr(part, each.name) for each in dataclasses.fields(part)}
        arguments = table.pop("arguments", {})
        return {key: to_table(each) for key, each in table.items() if each is not None} | arguments
    if isinstance(part, dict):
        return {key: to_table(each) for key, each in part.items()}
    return list(part) if isinstance(part, tuple) else part
