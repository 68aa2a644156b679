"""Maps and orthophotos with places without data, which do not influence the result or change."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyvips

from unhaze.photo import Traits
from unhaze.restore.analysis import WHITES


def with_data_only(image: pyvips.Image, traits: Traits) -> pyvips.Image:
    """Hides places without data with alpha; a picture with alpha does not change."""
    if traits.missing is None or image.hasalpha():
        return image
    # For images, == returns an image, unlike pyvips' type stubs.
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
