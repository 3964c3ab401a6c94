"""Diffusion as APT has it: DDPM training, DDIM sampling, noise prediction, L1 (notes and code).

100 steps of the squared-cosine schedule (Nichol & Dhariwal 2021), uniform in training; 20
deterministic DDIM steps (Song et al. 2021) at inference, evenly spaced from 0 and run backward;
samples are not clipped.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vla_ros.core.chunks import GRIPPER, ROTATION, TRANSLATION

MAX_BETA = 0.999


class Loss(NamedTuple):
    """Weighted sum and its parts before weighting, scalars."""

    total: Tensor
    translation: Tensor
    rotation: Tensor
    gripper: Tensor


def signal_power(num_steps: int) -> list[float]:
    """Return the share of the signal's power left after steps 0 to num_steps - 1 ("alpha bar")."""
    power, left = [], 1.0
    for step in range(num_steps):
        after, before = (
            math.cos((t / num_steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (step + 1, step)
        )
        left *= 1 - min(1 - after / before, MAX_BETA)
        power.append(left)
    return power


def add_noise(chunks: Tensor, noise: Tensor, steps: Tensor, num_steps: int) -> Tensor:
    """Return chunks (B, ...) after `steps` (B,) int64 steps of `noise` (B, ...)."""
    power = torch.tensor(signal_power(num_steps), device=chunks.device)[steps]
    power = power.view(-1, *[1] * (chunks.ndim - 1))
    return power.sqrt() * chunks + (1 - power).sqrt() * noise


def sampling_steps(num_steps: int, num_samples: int) -> list[int]:
    """Return the steps at which noise is predicted, from the noisiest to 0."""
    return list(range(0, num_steps, num_steps // num_samples))[::-1]


def _updates(num_steps: int, num_samples: int) -> Iterator[tuple[float, float]]:
    """Yield (a, b) of each DDIM update x <- a x + b noise."""
    power = signal_power(num_steps)
    steps = sampling_steps(num_steps, num_samples)
    for now, following in zip(steps, [*steps[1:], None], strict=True):
        after = 1.0 if following is None else power[following]
        a = math.sqrt(after / power[now])
        yield a, math.sqrt(1 - after) - a * math.sqrt(1 - power[now])


def ddim(
    noise: Tensor, predict: Callable[[Tensor, int], Tensor], num_steps: int, num_samples: int
) -> Tensor:
    """Return the sample that starts at `noise` (B, ...).

    Args:
        noise: standard normal numbers.
        predict: (noisy (B, ...), number of the update from 0) -> the noise in it (B, ...).
        num_steps: of training.
        num_samples: updates; divides num_steps.
    """
    x = noise
    for update, (a, b) in enumerate(_updates(num_steps, num_samples)):
        x = a * x + b * predict(x, update)
    return x


def noise_loss(
    predicted: Tensor, noise: Tensor, is_used: Tensor, weights: tuple[float, float, float]
) -> Loss:
    """Return the weighted L1 distance of noises (B, E, H, 10), each part a mean over its numbers.

    Args:
        predicted, noise: (B, E, H, 10).
        is_used: (B, E, H) bool: steps of arms that are there.
        weights: of translation, rotation and gripper.
    """
    error = (predicted.float() - noise.float()).abs() * is_used[..., None]
    count = is_used.sum().clamp(min=1)
    translation, rotation, gripper = (
        error[..., part].sum() / (count * size)
        for part, size in ((TRANSLATION, 3), (ROTATION, 6), (slice(GRIPPER, GRIPPER + 1), 1))
    )
    total = weights[0] * translation + weights[1] * rotation + weights[2] * gripper
    return Loss(total, translation, rotation, gripper)
