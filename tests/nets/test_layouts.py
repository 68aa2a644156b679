"""MSBDN-DFF, KDDN and PFDN: published parameter counts, and their parts by hand."""

import pytest
import torch
from torch import nn

from unhaze.errors import UnhazeError
from unhaze.nets import create_net
from unhaze.nets.kddn import SWRCAB
from unhaze.nets.msbdn import DecoderLevel, DenseFeatureFusion
from unhaze.nets.pfdn import FeatureDehazingUnit


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("msbdn", {}, 31_353_061),
        ("kddn", {}, 5_853_187),
        ("kddn", {"preset": "3-blocks"}, 2_404_867),
        ("kddn-teacher", {}, 557_443),
        ("pfdn", {}, 11_268_611),
    ],
)
def test_published_parameter_counts(name, arguments, count):
    net = create_net(name, **arguments)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("name", ["msbdn", "kddn", "kddn-teacher", "pfdn"])
def test_slim_is_for_a_cpu(name):
    net = create_net(name, preset="slim")
    assert 50_000 < sum(parameter.numel() for parameter in net.parameters()) < 400_000


class Doubled(nn.Module):
    """Nearest-neighbour scaling of one channel, in place of a trained convolution."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, features):
        return nn.functional.interpolate(features, scale_factor=self.factor, mode="nearest")


def test_fusion_adds_the_differences_one_after_the_other():
    """Constant maps 1, 5 and 2: 2 + (2 - 1) = 3, then 3 + (3 - 5) = 1."""
    fusion = DenseFeatureFusion([4, 8], 16)
    assert [each[0].weight.shape[1] for each in fusion.away] == [8, 4]
    assert [each[0].weight.shape[0] for each in fusion.back] == [16, 8]
    fusion.away = nn.ModuleList([Doubled(2), Doubled(2)])
    fusion.back = nn.ModuleList([Doubled(0.5), Doubled(0.5)])
    features, near, far = (
        torch.full((1, 1, 3 * side, 4 * side), value)
        for side, value in ((1, 2.0), (2, 5.0), (4, 1.0))
    )
    fused = fusion(features, [far, near])
    assert torch.equal(fused, torch.full_like(features, 1.0))


def test_encoder_fusion_goes_up_and_decoder_fusion_down():
    """Widths grow towards coarse levels, and the direction of the scaling follows from them."""
    finer, coarser = DenseFeatureFusion([4, 8], 16), DenseFeatureFusion([16, 8], 4)
    assert all(isinstance(each[0], nn.ConvTranspose2d) for each in finer.away)
    assert all(isinstance(each[0], nn.Conv2d) for each in finer.back)
    assert all(isinstance(each[0], nn.Conv2d) for each in coarser.away)
    assert all(isinstance(each[0], nn.ConvTranspose2d) for each in coarser.back)


def test_decoder_strengthens_operates_subtracts():
    """With operator O: O(up + skip) - up, here with up = 0.5 everywhere and O(s) = 2 s."""
    level = DecoderLevel([8], 4, blocks=1)
    nn.init.zeros_(level.up.weight)
    nn.init.constant_(level.up.bias, 0.5)
    level.blocks = nn.Identity()  # and the sum around it makes 2 s
    level.fusion.away = nn.ModuleList([Doubled(0.5)])
    level.fusion.back = nn.ModuleList([Doubled(2)])
    skip = torch.rand(1, 4, 6, 8)
    boosted = 2 * (0.5 + skip) - 0.5
    coarser = Doubled(0.5)(boosted)  # so that fusion finds no difference
    restored = level(torch.rand(1, 8, 3, 4), skip, [coarser])
    torch.testing.assert_close(restored, boosted)


def test_swrcab_weighs_channels_by_what_attention_sees():
    block = SWRCAB(4)
    for layer in (block.enter, block.attention, block.conv):
        nn.init.zeros_(layer.weight)
    nn.init.constant_(block.enter.bias, -1.0)
    nn.init.constant_(block.attention.bias, 0.0)  # half of every place
    block.conv.bias.data = torch.tensor([0.0, 1.0, 2.0, 4.0])
    nn.init.eye_(block.weigh.weight)
    nn.init.zeros_(block.weigh.bias)
    features = torch.rand(1, 4, 5, 5)
    inner = block.conv.bias.data
    expected = features + (inner * torch.sigmoid(inner / 2)).view(1, 4, 1, 1)
    torch.testing.assert_close(block(features), expected)


def test_dehazing_unit_scales_and_shifts_each_channel():
    unit = FeatureDehazingUnit(16)
    features = torch.rand(2, 16, 3, 5)
    estimate = unit.estimate(features.mean((2, 3)))
    assert estimate.min() > 0 and estimate.max() < 1
    expected = features * estimate[:, :16, None, None] + estimate[:, 16:, None, None]
    torch.testing.assert_close(unit(features), expected)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("msbdn", {"levels": 0}, "must be at least 1"),
        ("kddn", {"blocks": 0}, "must be at least 1"),
        ("kddn-teacher", {"width": -1}, "must be at least 1"),
        ("pfdn", {"width": 2}, "width is 2"),
        ("msbdn", {"width": 1.5}, "'width' must be of type int"),
        ("gunet", {"width": -1}, r"net 'gunet': .*negative.* \(with {'width': -1}\)"),
        ("cddgan", {"exposed": True}, "net 'cddgan': exposed needs"),
    ],
)
def test_impossible_sizes(name, arguments, message):
    with pytest.raises(UnhazeError, match=message) as raised:
        create_net(name, **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["kddn", "kddn-teacher"])
def test_features_are_those_of_the_answer(name):
    net = create_net(name, preset="slim").eval()
    image = torch.rand(2, 3, 13, 18)
    with torch.no_grad():
        restored, features = net(image, features=True)
        assert torch.equal(restored, net(image))
    assert [tuple(each.shape) for each in features] == [(2, 24, 4, 5)] * 6
