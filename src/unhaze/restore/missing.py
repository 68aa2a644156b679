"""Maps and orthophotos with places without data: these have no influence, and stay as they are."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyvips

from unhaze.photo import Traits
from unhaze.restore.analysis import WHITES


def with_data_only(image: pyvips.Image, traits: Traits) -> pyvips.Image:
    """Its places without data hidden by alpha; a picture that has an alpha stays as it is."""
    if traits.missing is None or image.hasalpha():
        return image
    # Of a picture, == makes a picture, which pyvips' types do not say.
    empty = image.relational_const("equal", [traits.missing]).bandand()
    alpha = empty.ifthenelse(0, WHITES[str(image.format)]).cast(image.format)
    return image.bandjoin(alpha).copy(interpretation=image.interpretation)


def where_data_is(
    apply: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
    strips: Iterable[np.ndarray],
    traits: Traits,
) -> Iterator[np.ndarray]:
    """Applies `apply` to strips (n,W,C), except where there is no data."""
    if traits.missing is None:
        yield from apply(strips)
        return
    waiting: deque[np.ndarray] = deque()

    def noted() -> Iterator[np.ndarray]:
        for strip in strips:
            waiting.append(strip)
            yield strip

    colours = 1 if traits.grey else 3
    for done in apply(noted()):
        strip = waiting.popleft()
        empty = (strip[..., :colours] == traits.missing).all(axis=2)
        yield np.where(empty[..., None], strip, done) if empty.any() else done
