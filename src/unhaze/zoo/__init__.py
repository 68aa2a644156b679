"""Networks that others published: facts as their authors state them, and the way to the weights."""

import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from unhaze.cache import cache_folder
from unhaze.errors import UnhazeError
from unhaze.validation import nearest

FOLDER = Path(__file__).parent
# Files of a repository at a commit; UNHAZE_ZOO_URL names a mirror with the same paths.
HOST = "https://raw.githubusercontent.com"
NO_LICENCE = "none stated"


@dataclass(frozen=True)
class Network:
    """One variant of a published network, a table of `networks.toml`.

    net, preset: in `NETS`. licence: of code and weights, as stated at `commit`. weights: where
    their authors offer them. scores: dataset -> "dB / SSIM", seen at `scores_source`.
    parity: our network gives the reference outputs of theirs, proven by tests/zoo.
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

    @property
    def fetched(self) -> bool:
        """Whether it is in the cache."""
        from unhaze import fetch

        return fetch.cached_path(self.url, self.sha256).exists()


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


def find_offers(name: str) -> list[Offer]:
    """The offer called `name`, or all parts of a network called so.

    UnhazeError: none is; says where to get weights by hand.
    """
    offers, networks = list_offers(), list_networks()
    parts = [offer for offer in offers.values() if offer.part and offer.network == name]
    if name in offers or parts:
        return parts or [offers[name]]
    if name not in networks:
        raise UnhazeError(f"nothing is called '{name}' here; {nearest(name, [*offers, *networks])}")
    network = networks[name]
    own = [offer.name for offer in offers.values() if offer.network == name]
    if own:
        raise UnhazeError(f"'{name}' is offered as {', '.join(own)}; name one of them")
    raise UnhazeError(
        f"the weights of '{name}' cannot be downloaded by unhaze; get them by hand:"
        f" {network.weights}"
        f" (https://github.com/{network.repository}; licence: {network.licence});"
        " then: unhaze photo.jpg --model FILE"
    )


def get(name: str) -> Path:
    """The file `name` in the cache, or a folder of its parts, fetched if it is not there.

    Its sha256 is right. Ask for consent first where no licence is stated. UnhazeError: as
    `find_offers` and `fetch`.
    """
    from unhaze import fetch  # not above: it loads much, and "auto" is looked up here, too

    offers = find_offers(name)
    paths = [fetch.fetch(offer.url, offer.sha256) for offer in offers]
    if not offers[0].part:
        return paths[0]
    folder = cache_folder() / "zoo" / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    return folder


def offered(name: str) -> bool:
    """Whether `get` takes this name."""
    return name in list_offers() or any(
        offer.part and offer.network == name for offer in list_offers().values()
    )


def file_of(name: str) -> Path:
    """What `get` brought under `name`, a file or folder; UnhazeError says how if it has not yet."""
    offers = find_offers(name)
    if not all(offer.fetched for offer in offers):
        consent = "" if offers[0].has_licence else f"; licence: {offers[0].licence}"
        size = sum(offer.bytes for offer in offers) / 1e6
        raise UnhazeError(
            f"'{name}' has not been downloaded; run: unhaze zoo get {name} ({size:.1f} MB{consent})"
        )
    return get(name)
