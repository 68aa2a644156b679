"""The models that come with the package: their cards, and how a name becomes a checked file."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from unhaze.errors import UnhazeError
from unhaze.names import lookup

FOLDER = Path(__file__).parents[1] / "models"


@dataclass(frozen=True)
class ModelCard:
    """What a shipped model is, as `models.toml` states it; there, the table's name is `name`.

    `file`: in the folder of the cards; `sha256`: of it. `net`, `arguments`: what `create_net`
    takes. `recipe`, `data`: how and on what it was trained. `params`: number of weights.
    `measured`: numbers by name, e.g. "psnr on sots-indoor-part (aecr)". `purpose`: what it is for,
    in one sentence.
    """

    name: str
    file: str
    sha256: str
    net: str
    recipe: str
    data: str
    licence: str
    params: int
    purpose: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    default: bool = False


def list_models(folder: Path = FOLDER) -> list[ModelCard]:
    """The cards in `folder`, the default model first."""
    cards = _read_cards(folder / "models.toml")
    return sorted(cards, key=lambda card: not card.default)


def find_model(name: str | Path, *, folder: Path = FOLDER) -> Path:
    """The file of a shipped model ("auto": the default one), its sha256 checked; or a given path.

    UnhazeError: unknown name (with the nearest), no such file, not .onnx, or a damaged shipped one.
    """
    path = Path(name)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UnhazeError(f"no model file '{name}'")
        return path
    if path.exists() and (path.suffix == ".safetensors" or path.is_dir()):
        raise UnhazeError(
            f"'{name}' is not .onnx; make it so: unhaze export {name} -o {path.stem}.onnx"
        )
    if path.exists():
        raise UnhazeError(f"'{name}' is no model; expected a .onnx file or the name of a model")
    cards = {card.name: card for card in list_models(folder)}
    if str(name) == "auto":
        if not cards:
            raise UnhazeError("no model comes with this copy of unhaze; give a .onnx file as model")
        card = next(iter(cards.values()))
    else:
        card = lookup(cards, str(name), "model")
    return _checked(folder / card.file, card)


@cache
def _read_cards(table: Path) -> tuple[ModelCard, ...]:
    with table.open("rb") as file:
        entries = tomllib.load(file)
    return tuple(ModelCard(name=name, **entry) for name, entry in entries.items())


def _checked(path: Path, card: ModelCard) -> Path:
    if not path.is_file():
        raise UnhazeError(f"the file of model '{card.name}' is missing: '{path}'; reinstall unhaze")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != card.sha256:
        raise UnhazeError(
            f"model '{card.name}' is damaged: '{path}' has sha256 {found[:12]}...,"
            f" expected {card.sha256[:12]}...; reinstall unhaze"
        )
    return path
