"""Training of the exposure of CDD-GAN's generator: only its own layers, by photos, resumable."""

import pytest
import torch
from lightning_fabric import Fabric

from unhaze import photo
from unhaze.config import Optimizer
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.methods.exposure import Exposure
from unhaze.methods.steps import Setup
from unhaze.nets import create_net

SLIM = {"preset": "slim", "width": 4, "blocks": 1}


@pytest.fixture
def photos(tmp_path):
    """Two photos, darker than the batches."""
    for number, light in enumerate((60, 90)):
        pixels = torch.randint(light, (40, 60, 3), dtype=torch.uint8)
        photo.write_rgb(tmp_path / f"{number}.png", pixels.numpy())
    return str(tmp_path)


def set_up(photos: str, *, losses=None, **net) -> Exposure:
    torch.manual_seed(2)
    restorer = create_net("cddgan", **({"exposed": True} | SLIM | net))
    fabric = Fabric(accelerator="cpu", devices=1)
    optimizer = Optimizer(lr=1e-2)
    setup = Setup(fabric, restorer, restorer, losses or {}, {}, optimizer, clip=0.0)
    return Exposure(setup, photos=photos)


def test_only_the_exposure_learns_and_it_learns(photos):
    method = set_up(photos)
    net = method.networks["restorer"]
    before = {name: each.clone() for name, each in net.named_parameters()}
    hazy = 0.5 + 0.4 * torch.rand(4, 3, 32, 32)
    first, *_, last = [method.step([PairedBatch(hazy, hazy)], 1e-2) for _ in range(60)]
    assert first["drawn"] < 0.1 and first["photos"] < 0.1
    assert last["drawn"] < 0.2 and last["photos"] > 0.8 and last["total"] < first["total"]
    moved = {name for name, each in net.named_parameters() if not torch.equal(each, before[name])}
    assert moved and all(name.startswith("exposure.") for name in moved)


def test_what_it_cannot_train_is_named(photos):
    with pytest.raises(UnhazeError, match="net.exposed = true"):
        set_up(photos, exposed=False)
    with pytest.raises(UnhazeError, match="remove \\[losses\\] l1"):
        set_up(photos, losses={"l1": torch.nn.Identity()})
    with pytest.raises(UnhazeError, match="method.photos: there are no pictures in"):
        set_up(photos + "/none")
