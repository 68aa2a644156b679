"""What the tests of every network go over: each preset made tiny; presets that then agree, once."""

import pytest

from tests.quick import slow_but
from unhaze.nets import NETS

_distinct = {
    (name, repr(sorted((net.presets.get(preset, {}) | net.tiny).items()))): (name, preset)
    for name, net in NETS.items()
    for preset in reversed([*net.presets] or [None])
}
VARIANTS = sorted(_distinct.values(), key=str)
EVERY_NET = pytest.mark.parametrize("name, preset", VARIANTS)
# For what takes seconds with most of them.
EVERY_NET_SLOWLY = pytest.mark.parametrize(
    "name, preset",
    slow_but([("aodnet", None), ("light-dehazenet", "paper"), ("aecr", "slim")], VARIANTS),
)
