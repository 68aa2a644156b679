"""VGG-19: each source of weights gives the network it should, frozen and in no checkpoint."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.errors import UnhazeError
from unhaze.losses import create_loss, vgg
from unhaze.losses.vgg import TAPS, VGG

# The published architecture, written out a second time: (block, convolutions, channels).
BLOCKS = [(1, 2, 64), (2, 2, 128), (3, 4, 256), (4, 4, 512), (5, 4, 512)]
INDICES = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14, 16), 4: (19, 21, 23, 25), 5: (28, 30, 32, 34)}


def torchvision_features(state: dict[str, Tensor]) -> nn.Sequential:
    """torchvision's `vgg19().features`, filled from `state` up to the blocks that it has."""
    layers, inputs = [], 3
    for _, convolutions, channels in BLOCKS:
        for _ in range(convolutions):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    features = nn.Sequential(*layers)
    own = {key.removeprefix("features."): value for key, value in state.items() if "feat" in key}
    features.load_state_dict(own, strict=False)
    return features


def torchvision_state(blocks: int) -> dict[str, Tensor]:
    """Random weights in torchvision's layout, the classifier's first tensors hinted at."""
    generator = torch.Generator().manual_seed(0)
    state, inputs = {"classifier.0.weight": torch.zeros(5, 7)}, 3
    for block, _, channels in BLOCKS[:blocks]:
        for index in INDICES[block]:
            kernel = torch.randn(channels, inputs, 3, 3, generator=generator)
            state[f"features.{index}.weight"] = kernel * (2 / (9 * inputs)) ** 0.5
            state[f"features.{index}.bias"] = torch.randn(channels, generator=generator) * 0.1
            inputs = channels
    return state


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1


@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
def test_local_file_in_torchvision_layout(how, tmp_path, image):
    state = torchvision_state(5 if how == "legacy" else 2)
    if how == "safetensors":
        path = tmp_path / "vgg.safetensors"
        safetensors.torch.save_file(state, path)
    else:
        path = tmp_path / "vgg.pth"
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    taps = 5 if how == "legacy" else 2
    features = VGG(str(path), taps=TAPS[:taps])(image)
    reference = torchvision_features(state)
    assert len(features) == taps
    # The layers after which the authors' code takes the features.
    for last, feature in zip((1, 6, 11, 20, 29), features):
        torch.testing.assert_close(feature, reference[: last + 1](image), rtol=1e-4, atol=1e-5)


def test_vgg16_has_three_convolutions_in_its_third_block(tmp_path, image):
    state = torchvision_state(3)
    torch.save(state, tmp_path / "vgg19.pth")
    for key in ("weight", "bias"):
        del state[f"features.16.{key}"]
    torch.save(state, tmp_path / "vgg16.pth")
    taps = ("relu1_2", "relu3_3")
    features = VGG(str(tmp_path / "vgg16.pth"), network="vgg16", taps=taps)(image)
    reference = torchvision_features(state)
    for last, feature in zip((3, 15), features):
        torch.testing.assert_close(feature, reference[: last + 1](image), rtol=1e-4, atol=1e-5)
    with pytest.raises(UnhazeError, match=r"hold 'features\.16', which vgg16 does not have"):
        VGG(str(tmp_path / "vgg19.pth"), network="vgg16", taps=taps)


def test_published_file_is_fetched_and_checked(tmp_path, image, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    state = torchvision_state(1) | {"features.5.weight": torch.zeros(1)}
    torch.save(state, site / "vgg19-12345678.pth")
    sha256 = hashlib.sha256((site / "vgg19-12345678.pth").read_bytes()).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SilentHandler, directory=site))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    url = f"http://127.0.0.1:{server.server_port}/vgg19-12345678.pth"
    monkeypatch.setitem(vgg.PUBLISHED, "vgg19", (url, "dcbb9e9d"))
    try:
        with pytest.raises(UnhazeError, match="expected dcbb9e9d"):
            VGG("torchvision", taps=TAPS[:1])
        monkeypatch.setitem(vgg.PUBLISHED, "vgg19", (url, sha256[:8]))
        (feature,) = VGG("torchvision", taps=TAPS[:1])(image)
    finally:
        server.shutdown()
        server.server_close()
    (expected,) = VGG(str(site / "vgg19-12345678.pth"), taps=TAPS[:1])(image)
    assert torch.equal(feature, expected)
    (again,) = VGG("torchvision", taps=TAPS[:1])(image)
    assert torch.equal(again, expected), "the second time comes from the cache: the server is gone"


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_normalize_is_imagenets(image):
    plain, normalizing = VGG("random", taps=TAPS[:1]), VGG("random", taps=TAPS[:1], normalize=True)
    by_hand = torch.stack(
        [
            (image[:, channel] - mean) / std
            for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)])
        ],
        dim=1,
    )
    torch.testing.assert_close(normalizing(image)[0], plain(by_hand)[0])


def test_published_weights(shared_data):
    """All taps of the published network are alive; its first kernels see edges and colours."""
    network = VGG(str(shared_data / "weights" / "vgg19_features_to_conv5_1.safetensors"))
    shapes = [tuple(convolution.kernel.shape[:2]) for convolution in network.convolutions]
    assert shapes == [
        (64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256), (256, 256),
        (512, 256), (512, 512), (512, 512), (512, 512), (512, 512),
    ]  # fmt: skip
    ramp = torch.linspace(0, 1, 64)
    scene = torch.stack([ramp.expand(64, 64), ramp.expand(64, 64).T, ramp.flip(0).expand(64, 64)])
    scene[:, 20:40, 24:44] = 1 - scene[:, 20:40, 24:44]
    flat = torch.full_like(scene, 0.5)
    features = network(torch.stack([scene, flat]))
    for feature, channels, side in zip(features, (64, 128, 256, 512, 512), (64, 32, 16, 8, 4)):
        assert feature.shape == (2, channels, side, side)
        assert feature.isfinite().all()
        assert 0.01 < feature.mean() < 10
        assert (feature[0].amax((1, 2)) > 0).float().mean() > 0.5
        assert (feature[0] - feature[1]).abs().mean() > 0.02
    # Most kernels have little mean (they ignore flat colour); some do not (they see it).
    kernels = network.convolutions[0].kernel
    balance = kernels.sum((1, 2, 3)).abs() / kernels.abs().sum((1, 2, 3))
    assert balance.median() < 0.3
    assert balance.max() > 0.5


def test_random_weights_are_always_the_same(image):
    before = torch.get_rng_state()
    first = VGG("random", taps=TAPS[:3])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    second = VGG("random", taps=TAPS[:3])
    assert torch.equal(first(image)[2], second(image)[2])
    assert all(0.2 < feature.mean() < 1 for feature in first(image)), "no layer fades or explodes"


def test_frozen_and_in_no_checkpoint():
    for name in ("contrastive", "perceptual"):
        loss = create_loss(name, weights="random")
        assert list(loss.parameters()) == []
        assert loss.state_dict() == {}
        assert not any(buffer.requires_grad for buffer in loss.buffers())
        assert sum(buffer.numel() for buffer in loss.buffers()) > 500_000
        trained = nn.ModuleDict({"net": nn.Conv2d(3, 3, 1), "loss": loss})
        assert list(trained.state_dict()) == ["net.weight", "net.bias"]
        assert len(list(trained.parameters())) == 2


def test_follows_device_and_type():
    network = VGG("random", taps=TAPS[:2]).double()
    assert network(torch.rand(1, 3, 8, 8))[1].dtype == torch.float64
    assert network.to("meta").convolutions[0].kernel.device.type == "meta"


def test_channels_last_and_autocast(image):
    network = VGG("random", taps=TAPS[:3])
    expected = network(image)
    channels_last = network.to(memory_format=torch.channels_last)
    answered = channels_last(image.contiguous(memory_format=torch.channels_last))
    assert answered[2].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(answered, expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(image)
    assert half[2].dtype == torch.bfloat16
    assert (half[2] - expected[2]).abs().mean() / expected[2].mean() < 0.02


@pytest.mark.parametrize(("taps", "side"), [(5, 16), (3, 4), (1, 1)])
def test_smallest_image(taps, side):
    network = VGG("random", taps=TAPS[:taps])
    assert network(torch.rand(1, 3, side, side + 3))[-1].shape[-2:] == (1, (side + 3) // side)
    if side > 1:
        with pytest.raises(
            UnhazeError, match=f"{side + 3}x{side - 1} pixels are too small.*{side}"
        ):
            network(torch.rand(1, 3, side - 1, side + 3))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a zip file"])
def test_broken_files(suffix, content, tmp_path):
    path = tmp_path / f"vgg{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnhazeError, match="not a readable") as error:
        VGG(str(path))
    assert str(path) in str(error.value)


def test_truncated_files(tmp_path):
    state = torchvision_state(1)
    torch.save(state, tmp_path / "vgg.pth")
    safetensors.torch.save_file(state, tmp_path / "vgg.safetensors")
    for path in sorted(tmp_path.iterdir()):
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(UnhazeError, match="not a readable"):
            VGG(str(path), taps=TAPS[:1])


def test_other_files(tmp_path):
    state = torchvision_state(1)
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(UnhazeError, match=r"lack the tensor 'features\.5\.weight'"):
        VGG(str(tmp_path / "short.pth"))
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(state, tmp_path / "shape.pth")
    with pytest.raises(UnhazeError, match=r"conv1_1 has shapes \(\(64, 3, 5, 5\)"):
        VGG(str(tmp_path / "shape.pth"), taps=TAPS[:1])
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UnhazeError, match="hold a list, not a state dict"):
        VGG(str(tmp_path / "list.pth"))
    with pytest.raises(UnhazeError, match="expected 'torchvision', 'random', or a .pth"):
        VGG(str(tmp_path / "other.npz"))
    with pytest.raises(UnhazeError, match="there is no such file"):
        VGG(str(tmp_path / "absent.pth"))
    with pytest.raises(UnhazeError, match="expected 'torchvision', 'random', or a .pth"):
        VGG("torchvison")


def test_pth_runs_no_code(tmp_path):
    """A pickle that calls a function is refused, not run."""

    class Trap:
        def __reduce__(self):
            return (type(tmp_path.parent).touch, (tmp_path / "ran",))

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UnhazeError, match="not a readable"):
        VGG(str(tmp_path / "trap.pth"))
    assert not (tmp_path / "ran").exists()


def test_gradient_reaches_the_image_only():
    network = VGG("random", taps=TAPS[:2])
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    functional.mse_loss(network(image)[1], torch.zeros(1, 128, 4, 4)).backward()
    assert image.grad.abs().max() > 0
    assert all(buffer.grad is None for buffer in network.buffers())
