"""Networks that others published: facts as their authors state them, and the way to the weights."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from unhaze import fetch
from unhaze.errors import UnhazeError
from unhaze.names import lookup, nearest

FOLDER = Path(__file__).parent
# Files of a repository at a commit; UNHAZE_ZOO_URL names a mirror with the same paths.
HOST = "https://raw.githubusercontent.com"
NO_LICENCE = "none stated"


@dataclass(frozen=True)
class Network:
    """One variant of a published network, a table of `networks.toml`.

    net, preset: in `NETS`. licence: of code and weights, as stated at `commit`. weights: where
    their authors offer them. scores: dataset -> "dB / SSIM", seen at `scores_source`.
    parity: our network gives the reference outputs of theirs, proven by tests/test_zoo*.py.
    """

    name: str
    net: str
    title: str
    venue: str
    year: int
    repository: str
    commit: str
    licence: str
    weights: str
    parameters: int
    preset: str | None = None
    arxiv: str | None = None
    scores: Mapping[str, str] = field(default_factory=dict)
    scores_source: str = ""
    parity: bool = False


@dataclass(frozen=True)
class Offer:
    """One file of weights that lies in its authors' repository, a table of `offers.toml`.

    part: it is only a part of a network's weights.
    """

    name: str
    network: str
    path: str
    bytes: int
    sha256: str
    part: bool = False

    @property
    def licence(self) -> str:
        """As its authors state it."""
        return list_networks()[self.network].licence

    @property
    def has_licence(self) -> bool:
        """Whether they state any."""
        return not self.licence.startswith(NO_LICENCE)

    @property
    def url(self) -> str:
        """Of the file at the pinned commit."""
        network = list_networks()[self.network]
        host = (os.environ.get("UNHAZE_ZOO_URL") or HOST).rstrip("/")
        return f"{host}/{network.repository}/{network.commit}/{self.path}"


@cache
def list_networks() -> dict[str, Network]:
    """By name, in the order of the table."""
    tables = tomllib.loads((FOLDER / "networks.toml").read_text(encoding="utf-8"))
    return {name: Network(name, **facts) for name, facts in tables.items()}


@cache
def list_offers() -> dict[str, Offer]:
    """By name: what `get` fetches."""
    tables = tomllib.loads((FOLDER / "offers.toml").read_text(encoding="utf-8"))
    return {name: Offer(name, **facts) for name, facts in tables.items()}


def find_offer(name: str) -> Offer:
    """The offer called `name`. UnhazeError: none is; says where to get weights by hand."""
    offers, networks = list_offers(), list_networks()
    if name in offers:
        return offers[name]
    if name not in networks:
        raise UnhazeError(f"nothing called '{name}' here; {nearest(name, [*offers, *networks])}")
    network = networks[name]
    own = [offer.name for offer in offers.values() if offer.network == name]
    if own:
        raise UnhazeError(f"'{name}' is offered as {', '.join(own)}; name one of them")
    raise UnhazeError(
        f"the weights of '{name}' are no plain files and must be got by hand: {network.weights}"
        f" (https://github.com/{network.repository}; licence: {network.licence});"
        " then: unhaze photo.jpg --model FILE"
    )


def get(name: str) -> Path:
    """The file of offer `name` in the cache, fetched if it is not there; size and sha256 are right.

    Ask for consent first where no licence is stated. UnhazeError: as `find_offer` and `fetch`.
    """
    offer = find_offer(name)
    return fetch.fetch(offer.url, offer.sha256)


def file_of(name: str) -> Path:
    """The file of offer `name`, which `get` must have brought; UnhazeError says how if not."""
    offer = lookup(list_offers(), name, "weights")
    if offer.part:
        raise UnhazeError(f"'{name}' is only a part of the weights of {offer.network}")
    path = fetch.cached_path(offer.url, offer.sha256)
    if not path.exists():
        consent = "" if offer.has_licence else f"; licence: {offer.licence}"
        raise UnhazeError(
            f"'{name}' is not here yet; get it: unhaze zoo get {name}"
            f" ({offer.bytes / 1e6:.1f} MB{consent})"
        )
    return fetch.fetch(offer.url, offer.sha256)
