"""Solves large symmetric systems over the pixels of a picture; doubles planes."""

from collections.abc import Callable

import numpy as np

Operator = Callable[[np.ndarray], np.ndarray]


def conjugate_gradient(
    operator: Operator,
    right: np.ndarray,
    start: np.ndarray,
    *,
    precondition: Operator,
    iterations: int,
    tolerance: float = 1e-6,
) -> np.ndarray:
    """Returns the plane p with operator(p) = right, for a symmetric positive definite operator.

    `precondition`: approximately its inverse, also symmetric positive definite. Ends when the
    residual is `tolerance` times `right` in length, or after `iterations`. The type is kept.
    (Hestenes and Stiefel, 1952.)
    """
    solution = start.copy()
    residual = right - operator(solution)
    enough = tolerance * np.linalg.norm(right)
    direction = precondition(residual)
    power = np.vdot(residual, direction)
    for _ in range(iterations):
        if np.linalg.norm(residual) <= enough:
            break
        image = operator(direction)
        step = power / np.vdot(direction, image)
        solution += step * direction
        residual -= step * image
        conditioned = precondition(residual)
        power, previous = np.vdot(residual, conditioned), power
        direction = conditioned + (power / previous) * direction
    return solution


def double(planes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns (...,H,W), enlarged bilinearly; `shape`: (H,W) of what was halved."""
    for axis in (-2, -1):
        count, length = planes.shape[axis], shape[axis]
        centre = np.clip((np.arange(length) - 0.5) / 2, 0, count - 1)
        before = centre.astype(np.intp)
        share = centre - before if axis == -1 else (centre - before)[:, None]
        first = np.take(planes, before, axis)
        after = np.take(planes, np.minimum(before + 1, count - 1), axis)
        planes = first + share * (after - first)
    return planes
