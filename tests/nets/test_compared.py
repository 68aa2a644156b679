"""The networks that AECR-Net is compared with: published sizes, slim presets, guards."""

import pytest
import torch

from unhaze.errors import UnhazeError
from unhaze.nets import create_net

PUBLISHED = [
    ("dehazenet", "official", 8_305),
    ("aodnet", None, 1_761),
    ("griddehazenet", "paper", 958_051),
    ("ffanet", "19-blocks", 4_455_913),
    ("ffanet", "20-blocks", 4_682_356),
]


def parameters(name: str, preset: str | None) -> int:
    with torch.device("meta"):
        net = create_net(name, preset=preset)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("name, preset, count", PUBLISHED)
def test_published_parameter_counts(name, preset, count):
    assert parameters(name, preset) == count


@pytest.mark.parametrize("name", ["griddehazenet", "ffanet"])
def test_slim_presets_are_what_a_cpu_trains(name):
    assert 100_000 < parameters(name, "slim") < 400_000


def test_aodnet_is_the_published_formula():
    """With zero kernels K is the last bias: restored = ReLU(K hazy - K + 1)."""
    net = create_net("aodnet")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.conv5.bias.fill_(2.0)
        hazy = torch.tensor([0.2, 0.5, 0.9]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
        torch.testing.assert_close(net(hazy)[0, 0, 0], torch.tensor([0.0, 0.0, 0.8]))


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("griddehazenet", {"width": 0}, "both be at least 1"),
        ("griddehazenet", {"growth": -3}, "both be at least 1"),
        ("ffanet", {"width": 12}, "a multiple of 8"),
        ("ffanet", {"blocks": 0}, "at least 1"),
        ("aodnet", {"width": 3}, "no argument 'width'"),
    ],
)
def test_wrong_values_say_what_to_do(name, arguments, message):
    with pytest.raises(UnhazeError, match=message) as raised:
        create_net(name, **arguments)
    assert "\n" not in str(raised.value)
