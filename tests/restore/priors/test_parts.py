"""What the priors are made of: window filters, solvers, airlight, each against the plain way."""

import numpy as np
import pytest

from unhaze.image import cell_means, guided_filter, window_mean, window_minimum
from unhaze.restore.priors import airlight, haze_lines, smoothing
from unhaze.restore.priors.airlight_votes import vote_for_airlight
from unhaze.restore.priors.estimate import scaled, scaled_patch
from unhaze.restore.priors.matting import EPSILON, WEIGHT, MattingLaplacian, soft_matting
from unhaze.restore.priors.solver import conjugate_gradient, double


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def window(row: int, column: int, radius: int) -> tuple[slice, slice]:
    """Of the pixels around one, as far as they are in the picture."""
    rows = slice(max(0, row - radius), row + radius + 1)
    return rows, slice(max(0, column - radius), column + radius + 1)


@pytest.mark.parametrize("size", [1, 3, 5, 15, 31])
def test_the_window_minimum_is_that_of_a_loop(random, size):
    plane = random.random((9, 12)).astype(np.float32)
    expected = [
        [plane[window(row, column, size // 2)].min() for column in range(12)] for row in range(9)
    ]
    assert np.array_equal(window_minimum(plane, size), np.array(expected))


@pytest.mark.parametrize("radius", [1, 4, 60])
def test_the_window_mean_divides_by_what_lies_inside(random, radius):
    plane = random.random((9, 12)).astype(np.float32)
    expected = [
        [plane[window(row, column, radius)].mean() for column in range(12)] for row in range(9)
    ]
    mean = window_mean(plane, radius)
    assert mean.dtype == np.float32
    assert np.allclose(mean, expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_guided_filter_is_linear_regression_in_each_window(random, channels):
    guide, plane = random.random((channels, 8, 11)), random.random((8, 11))
    radius, epsilon = 2, 1e-2
    slopes, offsets = np.zeros(guide.shape), np.zeros(plane.shape)
    for row in range(8):
        for column in range(11):
            rows, columns = window(row, column, radius)
            colors = guide[:, rows, columns].reshape(channels, -1)
            values = plane[rows, columns].ravel()
            covariance = (colors * values).mean(1) - colors.mean(1) * values.mean()
            spread = np.cov(colors, bias=True).reshape(channels, channels)
            slope = np.linalg.solve(spread + epsilon * np.eye(channels), covariance)
            slopes[:, row, column] = slope
            offsets[row, column] = values.mean() - slope @ colors.mean(1)
    expected = np.zeros(plane.shape)
    for row in range(8):
        for column in range(11):
            rows, columns = window(row, column, radius)
            slope = slopes[:, rows, columns].mean((1, 2))
            expected[row, column] = slope @ guide[:, row, column] + offsets[rows, columns].mean()
    given = guide[0] if channels == 1 else guide
    found = guided_filter(given, plane, radius=radius, epsilon=epsilon)
    assert np.allclose(found, expected, atol=1e-6)


def dense_laplacian(hazy: np.ndarray) -> np.ndarray:
    """Levin's matrix, entry by entry."""
    _, height, width = hazy.shape
    number = np.arange(height * width).reshape(height, width)
    matrix = np.zeros((number.size, number.size))
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            rows, columns = window(row, column, 1)
            colors = hazy[:, rows, columns].reshape(3, 9)
            apart = colors - colors.mean(1, keepdims=True)
            spread = apart @ apart.T / 9 + EPSILON / 9 * np.eye(3)
            affinity = (1 + apart.T @ np.linalg.solve(spread, apart)) / 9
            pixels = number[rows, columns].ravel()
            matrix[np.ix_(pixels, pixels)] += np.eye(9) - affinity
    return matrix


def test_the_matting_laplacian_is_that_of_levin(random):
    hazy, plane = random.random((3, 6, 7)), random.random((6, 7))
    matrix, laplacian = dense_laplacian(hazy), MattingLaplacian(hazy)
    assert np.allclose(laplacian.times(plane).ravel(), matrix @ plane.ravel(), atol=1e-8)
    assert np.allclose(laplacian.diagonal().ravel(), np.diag(matrix), atol=1e-8)
    # Its rows sum to 0, and what is linear in the colours it takes for free (but for EPSILON).
    assert np.allclose(laplacian.times(np.ones((6, 7))), 0, atol=1e-9)
    assert np.allclose(laplacian.times(hazy[0] - 0.5 * hazy[2]), 0, atol=1e-4)


def test_soft_matting_solves_its_system(random):
    hazy, rough = random.random((3, 6, 7)), random.random((6, 7))
    matrix = dense_laplacian(hazy) + WEIGHT * np.eye(42)
    expected = np.linalg.solve(matrix, WEIGHT * rough.ravel()).reshape(6, 7)
    assert np.allclose(soft_matting(hazy, rough), expected, atol=1e-3)


def test_soft_matting_cuts_at_the_edge_of_the_picture(random):
    hazy = 0.02 * random.random((3, 80, 96))
    hazy[:, :, 48:] += np.array([0.6, 0.5, 0.4])[:, None, None]
    truth = np.where(np.arange(96) < 48, 0.2, 0.8) * np.ones((80, 1))
    rough = window_minimum(truth, 15)
    assert np.abs(rough - truth).mean() > 0.04
    refined = soft_matting(hazy, rough)
    assert np.abs(refined[:, 44:47] - truth[:, 44:47]).max() < 0.1
    # The step is where the picture has it, not seven pixels beside it.
    assert np.diff(refined.mean(0)).argmax() == 47


@pytest.mark.parametrize("shape", [(10, 13), (17, 9), (1, 20), (20, 33)])
def test_smoothing_is_the_least_squares_solution(random, shape):
    height, width = shape
    hazy = random.random((3, *shape)).astype(np.float32)
    rough, reliability = (random.uniform(0.1, 1, shape).astype(np.float32) for _ in range(2))
    number = np.arange(height * width).reshape(shape)
    matrix = np.diag(reliability.astype(float).ravel())
    colors = hazy.reshape(3, -1).astype(float)
    pairs = list(zip(number[:-1].ravel(), number[1:].ravel()))
    pairs += list(zip(number[:, :-1].ravel(), number[:, 1:].ravel()))
    for first, second in pairs:
        apart = ((colors[:, first] - colors[:, second]) ** 2).sum()
        link = 0.1 / (apart + smoothing.FLAT)
        matrix[[first, second], [first, second]] += link
        matrix[[first, second], [second, first]] -= link
    expected = np.linalg.solve(matrix, (reliability * rough).ravel()).reshape(shape)
    found = smoothing.smooth(rough, reliability, hazy, 0.1)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 2e-3


def test_coarser_grids_keep_what_lies_between_blocks(random):
    grid = smoothing.Grid(random.random((5, 6)), random.random((4, 6)), random.random((5, 5)))
    coarse = grid.coarser()
    plane = random.random((3, 3))
    fine = np.repeat(np.repeat(plane, 2, 0), 2, 1)[:5, :6]
    # Galerkin: the energy of a plane of blocks is the same on both.
    assert np.vdot(fine, grid.times(fine)) == pytest.approx(np.vdot(plane, coarse.times(plane)))


def test_conjugate_gradient_ends_with_the_solution(random):
    half = random.random((12, 12))
    matrix, right = half @ half.T + np.eye(12), random.random((3, 4))
    found = conjugate_gradient(
        lambda plane: (matrix @ plane.ravel()).reshape(3, 4),
        right,
        np.zeros((3, 4)),
        precondition=lambda residual: residual / np.diag(matrix).reshape(3, 4),
        iterations=40,
    )
    assert np.allclose(matrix @ found.ravel(), right.ravel(), atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 10), (7, 9), (1, 5)])
def test_halving_and_doubling_keep_a_ramp(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = 0.3 + 0.1 * columns + 0.0 * rows
    again = double(cell_means(ramp, 2), shape)
    assert again.shape == shape
    assert np.allclose(again[:, 1:-2], ramp[:, 1:-2])


def test_the_brightest_is_sought_among_the_haziest():
    hazy = np.zeros((3, 2, 3), np.float32)
    hazy[:, 0, 0] = 1.0  # bright, not hazy
    hazy[:, 0, 1] = (0.7, 0.8, 0.9)
    hazy[:, 0, 2] = (0.8, 0.8, 0.7)
    haziness = np.array([[0.1, 0.9, 0.8], [0.0, 0.0, 0.0]])
    third = 1 / 3
    assert np.allclose(airlight.brightest_of(hazy, haziness, third), (0.7, 0.8, 0.9))
    mean = airlight.brightest_of(hazy, haziness, third, choice="mean")
    assert np.allclose(mean, (0.75, 0.8, 0.8))
    assert np.allclose(airlight.brightest_of(hazy, haziness, 1.0), 1.0)


def test_the_quad_tree_ends_in_the_bright_and_flat_quarter():
    hazy = np.full((3, 64, 64), 0.2, np.float32)
    hazy[:, :32, 32:] = np.array([0.7, 0.75, 0.8])[:, None, None]
    hazy[:, 40:64:2, :] = 1.0  # brighter, but not flat
    assert np.allclose(airlight.quad_tree(hazy, 200), (0.7, 0.75, 0.8))


def test_the_votes_find_where_the_haze_lines_meet(random):
    expected = np.array([0.8, 0.7, 0.9])
    clear = random.uniform(0, 0.6, (3, 12, 1)) * np.ones((1, 1, 2000))
    transmission = random.uniform(0.1, 1, (1, 12, 2000))
    hazy = clear * transmission + expected[:, None, None] * (1 - transmission)
    # The grid is 0.02 wide, and near airlights get more votes: that draws it towards the colours.
    assert np.abs(vote_for_airlight(hazy.astype(np.float32)) - expected).max() < 0.08


def test_directions_cover_the_sphere_evenly(random):
    directions = haze_lines.fibonacci_lattice(500)
    assert np.allclose((directions**2).sum(1), 1, atol=1e-6)
    cosines = directions @ directions.T - 2 * np.eye(500)
    nearest = np.degrees(np.arccos(cosines.max(1)))
    # 500 caps that tile the sphere are about 9 degrees apart.
    assert nearest.min() > 6
    offsets = random.normal(size=(3, 200)).astype(np.float32)
    found = haze_lines.nearest_direction(offsets, directions)
    angles = (directions @ (offsets / np.linalg.norm(offsets, axis=0))).T
    assert np.array_equal(found, angles.argmax(1))


def test_lengths_grow_with_the_picture():
    assert scaled(60, (460, 620), 620) == 60
    assert scaled(60, (3, 920, 1240), 620) == 120
    assert scaled(60, (3, 920, 1240), 0) == 60
    assert scaled(60, (1, 1), 620) == 1
    assert [scaled_patch(15, (1, side), 620) for side in (1, 310, 620, 1240)] == [1, 7, 15, 29]
