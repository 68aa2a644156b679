"""DehazeNet's parts against plain NumPy, and its guards."""

import numpy as np
import pytest
import torch

from unhaze.errors import UnhazeError
from unhaze.nets import create_net
from unhaze.nets.dehazenet import box_mean, brightest_of_haziest, continued, guided_filter


def random_map(height: int, width: int, channels: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(height * 100 + width)
    return torch.rand(2, channels, height, width, generator=random)


def window_mean(image: np.ndarray, radius: int) -> np.ndarray:
    """Mean over the part of each window that lies in the (H,W) image."""
    means = np.empty_like(image)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            rows = slice(max(0, row - radius), row + radius + 1)
            columns = slice(max(0, column - radius), column + radius + 1)
            means[row, column] = image[rows, columns].mean()
    return means


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (12, 7)])
@pytest.mark.parametrize("radius", [1, 3, 50])
def test_box_mean_counts_only_the_picture(size, radius):
    image = random_map(*size)
    expected = window_mean(image[1, 0].double().numpy(), radius)
    np.testing.assert_allclose(box_mean(image, radius)[1, 0], expected, atol=1e-6)


def test_guided_filter_equals_its_definition():
    """A regression of the filtered map on the guide in every window, then the mean of its lines."""
    guide, filtered = random_map(9, 11), random_map(9, 11).flip(3)
    image, other = guide[0, 0].double().numpy(), filtered[0, 0].double().numpy()
    covariance = window_mean(image * other, 2) - window_mean(image, 2) * window_mean(other, 2)
    slope = covariance / (window_mean(image**2, 2) - window_mean(image, 2) ** 2 + 1e-3)
    offset = window_mean(other, 2) - slope * window_mean(image, 2)
    expected = window_mean(slope, 2) * image + window_mean(offset, 2)
    result = guided_filter(guide, filtered, 2, 1e-3)[0, 0]
    np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (20, 20), (31, 40)])
def test_airlight_is_the_brightest_of_the_haziest_hundredth(size):
    hazy, transmission = random_map(*size, channels=3), random_map(*size).flip(2)
    grey = (hazy * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    airlight = brightest_of_haziest(hazy, grey, transmission)
    for picture in range(2):
        rank = max(1, int(size[0] * size[1] / 100 + 0.5))
        threshold = np.sort(transmission[picture].numpy(), axis=None)[rank - 1]
        haziest = transmission[picture, 0].numpy() <= threshold
        assert haziest.sum() == rank
        brightest = np.argmax(np.where(haziest, grey[picture, 0].numpy(), -1))
        colour = hazy[picture].numpy().reshape(3, -1)[:, brightest]
        np.testing.assert_allclose(airlight[picture, :, 0, 0], colour, atol=1e-6)


def test_equally_bright_pixels_share_the_airlight():
    hazy = torch.zeros(1, 3, 4, 5)
    hazy[0, :, 0, 0] = torch.tensor([0.9, 0.8, 0.7])
    hazy[0, :, 2, 3] = torch.tensor([0.7, 0.8, 0.9])
    grey = hazy[:, 1:2]
    airlight = brightest_of_haziest(hazy, grey, torch.zeros(1, 1, 4, 5))
    torch.testing.assert_close(airlight.flatten(), torch.tensor([0.8, 0.8, 0.8]))


@pytest.mark.parametrize("symmetric, mode", [(True, "symmetric"), (False, "reflect")])
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_pictures_continue_as_numpy_pads(symmetric, mode, size):
    expected = np.pad(np.arange(size), (2, 3), mode=mode)
    found = continued(size, 2, 3, symmetric, torch.device("cpu"))
    np.testing.assert_array_equal(found, expected)


def test_restored_is_the_scattering_model_inverted():
    """In preset "paired": white airlight, the transmission as it is."""
    net = create_net("dehazenet", preset="paired").eval()
    hazy = random_map(12, 9, channels=3)
    with torch.no_grad():
        torch.nn.init.constant_(net.last.bias, -1.0)
        transmission = net.transmission(hazy)
        torch.testing.assert_close(net(hazy), (hazy - 1) / transmission + 1)
        assert (transmission - torch.sigmoid(torch.tensor(-1.0))).abs().max() < 0.01


def test_transmission_has_a_floor():
    net = create_net("dehazenet", refine_radius=0, airlight="white").eval()
    torch.nn.init.constant_(net.last.bias, -5.0)
    hazy = random_map(6, 6, channels=3)
    with torch.no_grad():
        torch.testing.assert_close(net(hazy), (hazy - 1) / 0.1 + 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"padding": "zero"}, "one of symmetric, reflect"),
        ({"bound": "relu"}, "one of clip, sigmoid"),
        ({"airlight": "black"}, "one of brightest, white"),
        ({"last_kernel": 5}, "must be 6 or 7"),
        ({"refine_radius": -1}, "at least 0"),
        ({"lowest_transmission": 0.0}, r"in \(0, 1\)"),
        ({"lowest_transmission": float("nan")}, r"in \(0, 1\)"),
    ],
)
def test_wrong_values_say_what_to_do(arguments, message):
    with pytest.raises(UnhazeError, match=message):
        create_net("dehazenet", **arguments)
