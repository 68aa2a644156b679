"""Shipped models, and how a model name or file becomes a model that runs."""

import hashlib
import math
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.restore.resources import choose_device, share_heaps
from unhaze.validation import nearest

FOLDER = Path(__file__).parents[1] / "models"
USES = ("photo", "video")
ANALYSIS = 1024  # pixels, if the model's card states none
FRAME_ANALYSIS = 640  # of videos and animations: frames are many, and change little
# Speed classes: each holds models below this number of multiplications per pixel.
SPEEDS = {"fast": 20_000, "medium": 200_000, "slow": math.inf}

begun: "dict[tuple[object, ...], Future[Model]]" = {}  # by the arguments of `open_model`


class Model(Protocol):
    """Maps hazy (1,3,H,W) float32 in [0,1] to restored of the same shape, finite, not clamped.

    card: facts, such as `params`, `bytes_per_pixel` (memory at run time) and `context` (receptive
    field around a pixel; None: the whole picture). device: on which it runs. path: its file, if
    any.
    """

    @property
    def card(self) -> Mapping[str, Any]: ...

    @property
    def device(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    def __call__(self, hazy: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class AutoRule:
    """When "auto" selects a model: if all conditions given hold.

    use: "photo" or "video". device: "cpu" or "gpu" (any other one). megapixels: of the picture at
    full size; a rule with such a condition does not hold if the size is unknown.
    """

    use: str | None = None
    device: str | None = None
    min_megapixels: float = 0
    max_megapixels: float = math.inf

    def holds(self, use: str, device: str, megapixels: float | None) -> bool:
        """`device` is one of `DEVICES`; `megapixels` None if unknown."""
        kind = "cpu" if device == "cpu" else "gpu"
        any_size = self.min_megapixels == 0 and self.max_megapixels == math.inf
        fits = megapixels is not None and self.min_megapixels <= megapixels <= self.max_megapixels
        return self.use in (None, use) and self.device in (None, kind) and (any_size or fits)


@dataclass(frozen=True)
class ModelCard:
    """A shipped model's card in `models.toml`, where the name of the table is `name`.

    `file`: in the folder of the cards; `sha256`: of it. `net`, `arguments`: of `create_net`.
    `recipe`, `data`: how and on what it was trained; `budget`: for how long, `hardware`: on which
    machine. `limits`: its weaknesses. `pictures`: of it, in docs/. `params`: number of weights.
    `macs_per_pixel`: multiplications per pixel of the network's input. `purpose`: in one sentence.
    `measured`: numbers by name, e.g. "psnr on sots-indoor-part (aecr)". `auto`: rules; "auto"
    selects the first card with one that holds.
    """

    name: str
    file: str
    sha256: str
    net: str
    recipe: str
    data: str
    budget: str
    hardware: str
    licence: str
    params: int
    macs_per_pixel: int
    purpose: str
    limits: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    auto: tuple[AutoRule, ...] = ()
    pictures: Sequence[str] = ()

    @property
    def speed(self) -> str:
        """Returns its class in `SPEEDS`."""
        return next(name for name, limit in SPEEDS.items() if self.macs_per_pixel < limit)


def list_models(folder: Path = FOLDER) -> list[ModelCard]:
    """Returns the cards in `folder`, in the order in which "auto" tries them."""
    return list(_read_cards(folder / "models.toml"))


def open_model(
    name: str | Path,
    device: str = "auto",
    *,
    threads: int = 0,
    picture_size: tuple[int, int] | None = None,
    use: str = "photo",
) -> Model:
    """Loads a shipped model, a .onnx file or a prior such as "dcp"; "auto" selects a shipped model.

    A prior takes settings after a colon: "dcp:omega=0.8,patch=9,smallest=0.2".

    `device`: "auto" or one of `DEVICES`; priors always run on the CPU. `threads`: 0 for one per
    core. "auto" depends on the device, on `picture_size`, (height, width) at full size if known,
    and on `use`, "photo" or "video". UnhazeError: as for `find_model` and `Engine`.
    """
    ready = begun.pop((str(name), device, threads, picture_size, use), None)
    return ready.result() if ready else _opened(name, device, threads, picture_size, use)


def open_ahead(name: str | Path, device: str = "auto", *, threads: int = 0) -> None:
    """Begins to load a model for photos, which the next `open_model` with the same arguments
    returns, or whose error it raises.

    ONNX Runtime prepares a network without Python's lock, so that imports go on meanwhile: a tenth
    of a tiny photo's time. The thread gets a heap of its own, since it would wait at that of the
    others: a photo of 12 megapixels takes 5 % more memory.
    """
    import_module("unhaze.restore.engine")  # here, since two threads that import are slower
    share_heaps(2)
    arguments = (str(name), device, threads, None, "photo")
    thread = ThreadPoolExecutor(1)
    begun[arguments] = thread.submit(_opened, *arguments)
    thread.shutdown(wait=False)


def _opened(
    name: str | Path, device: str, threads: int, picture_size: tuple[int, int] | None, use: str
) -> Model:
    chosen = choose_device(device)
    if str(name) != "auto":  # does not import priors
        from unhaze.restore.priors import is_prior, open_prior

        if is_prior(name):
            return open_prior(str(name))
    path = find_model(name, device=chosen, picture_size=picture_size, use=use)
    return open_onnx(path, device, threads=threads)


def open_onnx(path: Path, device: str = "auto", *, threads: int = 0) -> Model:
    """Opens a .onnx file of this project, described by its card, or of others, as `open_foreign`.

    UnhazeError: no such file, not a model, or its input or output is not a picture.
    """
    from unhaze.restore.engine import Engine

    try:
        engine = Engine(path, device, threads=threads)
        if "net" in engine.card or "context" in engine.card:
            return engine
    except UnhazeError as error:
        if "usable" in str(error) or "no model file" in str(error):
            raise
        engine = None
    from unhaze.restore.foreign import open_foreign

    return open_foreign(path, device, engine, threads=threads)


def find_model(
    name: str | Path,
    *,
    device: str = "cpu",
    picture_size: tuple[int, int] | None = None,
    use: str = "photo",
    folder: Path = FOLDER,
) -> Path:
    """Returns the file of a shipped model, after checking its SHA-256; or the path of a given .onnx
    file.

    A PyTorch checkpoint, or the name of one that `unhaze zoo get` has downloaded, is converted to
    ONNX once. "auto" depends on the other arguments. UnhazeError: unknown name (with the nearest
    one), no such file, a damaged shipped one, or an error of `checkpoints.ready`.
    """
    path = Path(name)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UnhazeError(f"no model file '{name}'")
        from unhaze.zoo.kinds import kind_of

        kind = kind_of(path)
        if kind is not None:
            raise UnhazeError(f"'{name}' is not an ONNX model: {kind.reason}")
        return path
    onnx = converted(name)
    if onnx != name:
        return Path(onnx)
    cards = {card.name: card for card in list_models(folder)}
    if str(name) == "auto":
        card = pick_card(list(cards.values()), device, picture_size, use)
    elif str(name) in cards:
        card = cards[str(name)]
    else:
        from unhaze import zoo
        from unhaze.restore.priors import PRIORS

        if path.suffix or len(path.parts) > 1:
            raise UnhazeError(f"no model file '{name}'")
        if str(name) in zoo.list_networks():
            zoo.find_offers(str(name))  # raises an error that states where its weights are
        known = ["auto", *cards, *PRIORS, *zoo.list_offers()]
        raise UnhazeError(f"no model '{name}'; {nearest(str(name), known)}")
    return _checked(folder / card.file, card)


def converted(name: str | Path, net: str | None = None) -> str | Path:
    """Returns the ONNX file of a checkpoint, which the first call creates; any other name as it is.

    net: network of the checkpoint, if it is not recognised. UnhazeError: `net` is given and `name`
    is no checkpoint; errors of `checkpoint_of` and `checkpoints.ready`.
    """
    checkpoint = checkpoint_of(name)
    if checkpoint is not None:
        from unhaze.restore.checkpoints import ready

        return ready(checkpoint, net)
    refuse_net(name, net)
    return name


def refuse_net(name: str | Path, net: str | None) -> None:
    """UnhazeError: a network is given for `name`, which is no checkpoint."""
    if net is not None:
        raise UnhazeError(f"--net is only for checkpoints, but '{name}' is not one; leave it out")


def checkpoint_of(name: str | Path) -> Path | None:
    """Returns the file or run folder `name` if it has to be converted to ONNX, else None.

    Also the file of a network that `unhaze zoo get` has downloaded. UnhazeError: it can be
    downloaded, but has not been.
    """
    path = Path(name)
    if str(name) in ("auto", *(card.name for card in list_models())):
        return None
    if str(name) and path.exists():
        return None if path.suffix == ".onnx" else path
    if path.suffix == ".safetensors" and any(path.parent.glob(f"{path.stem}-[0-9]*.safetensors")):
        return path
    from unhaze import zoo

    return zoo.file_of(str(name)) if zoo.offered(str(name)) else None


def analysis_of(model: Model) -> int:
    """Returns the long side in pixels for this model: published networks were trained at one
    scale.
    """
    side = model.card.get("analysis")
    return side if isinstance(side, int) and side >= 16 else ANALYSIS


def pick_card(
    cards: Sequence[ModelCard], device: str, picture_size: tuple[int, int] | None, use: str
) -> ModelCard:
    """Returns the card that "auto" selects: the first with a rule that holds. UnhazeError: none."""
    if use not in USES:
        raise UnhazeError(f"use is '{use}'; it must be one of {', '.join(USES)}")
    megapixels = None if picture_size is None else picture_size[0] * picture_size[1] / 1e6
    for card in cards:
        if any(rule.holds(use, device, megapixels) for rule in card.auto):
            return card
    raise UnhazeError("no shipped model fits; give a .onnx file as model")


@cache
def _read_cards(table: Path) -> tuple[ModelCard, ...]:
    with table.open("rb") as file:
        entries = tomllib.load(file)
    return tuple(
        ModelCard(name=name, auto=tuple(AutoRule(**rule) for rule in rules), **entry)
        for name, entry in entries.items()
        for rules in [entry.pop("auto", [])]
    )


def _checked(path: Path, card: ModelCard) -> Path:
    if not path.is_file():
        raise UnhazeError(f"the file of model '{card.name}' is missing: '{path}'; reinstall unhaze")
    facts = path.stat()
    found = _sha256(path, facts.st_size, facts.st_mtime_ns)
    if found != card.sha256:
        raise UnhazeError(
            f"model '{card.name}' is damaged: '{path}' has sha256 {found[:12]}...,"
            f" expected {card.sha256[:12]}...; reinstall unhaze"
        )
    return path


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Computed once for each state of the file, because "auto" needs it for every picture."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
