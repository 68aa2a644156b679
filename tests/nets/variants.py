"""What the tests of every network go over: each preset made tiny; presets that then agree, once."""

import pytest

from unhaze.nets import NETS

_distinct = {
    (name, repr(sorted((net.presets.get(preset, {}) | net.tiny).items()))): (name, preset)
    for name, net in NETS.items()
    for preset in reversed([*net.presets] or [None])
}
VARIANTS = sorted(_distinct.values(), key=str)
EVERY_NET = pytest.mark.parametrize("name, preset", VARIANTS)
