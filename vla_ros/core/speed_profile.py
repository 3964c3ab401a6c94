"""Motion of several joints within speed and acceleration, counted in command periods.

Steps are radians a period, changes radians a period squared; all arrays are (joints,).
"""

import numpy as np


def step_towards(
    error: np.ndarray, step: np.ndarray, step_max: np.ndarray, change: np.ndarray
) -> np.ndarray:
    """Return the next step for the distance left, where the last one was `step`.

    With change d a period, a joint that steps u, u - d, u - 2d ... travels
    (n + 1) u - d n (n + 1) / 2 with n = floor(u / d). Solved for u, that is the fastest
    step that still stops at the target.
    """
    distance = np.abs(error)
    n = np.floor((np.sqrt(1.0 + 8.0 * distance / change) - 1.0) / 2.0)
    u = np.minimum((distance + change * n * (n + 1.0) / 2.0) / (n + 1.0), step_max)
    # One time to go for all joints: near a straight line, all arrive together.
    moving = distance > 0.0
    if moving.any():
        u = distance * (u[moving] / distance[moving]).min()
    return np.minimum(np.maximum(np.copysign(u, error), step - change), step + change)


def straightened(error: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the longest step along the distance left in which no joint goes beyond `step`.

    `step_towards` sets out with all joints as fast as each can, so at first beside the line.
    """
    moving = error != 0.0
    if not moving.any():
        return np.zeros_like(step)
    return error * max(0.0, (step[moving] / error[moving]).min())


def braked(step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return the next step of braking."""
    return np.copysign(np.maximum(np.abs(step) - change, 0.0), step)


def braking_way(step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return each joint's way (N, joints) in 0 ... N - 1 periods of braking from `step`.

    The last row is the whole way to rest.
    """
    speed = np.abs(step)
    periods = np.floor(speed / change)
    n = np.minimum(np.arange(periods.max() + 1.0)[:, None], periods)
    return np.copysign(n * speed - change * n * (n + 1.0) / 2.0, step)
