"""Real-time chunking: a new chunk is sampled so that it goes on where the last one is executed.

Black, Galliker & Levine 2025, "Real-Time Execution of Action Chunking Flow Policies": what will be
done before the new chunk arrives is held fixed, the rest of the old chunk pulls the less the later
it is. They guide by a gradient through the network; here the clean chunk that each prediction
implies is moved to the known one before the noise is put back (in-painting), which holds the fixed
part exactly, lets the network see it at every noise level, and costs no backward pass.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vla_ros.core.chunks import CHUNK_SIZE
from vla_ros.core.errors import ContractError
from vla_ros.policy.apt.diffusion import sampling_steps, signal_power

Predict = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Known:
    """What is already decided of a chunk.

    Attributes:
        chunks: (..., H, 10) of `core.chunks`; any where the weight is 0.
        weights: (H,) from 1, held fixed, to 0, left to the network.
    """

    chunks: Tensor
    weights: Tensor


def known_prefix(chunk: np.ndarray, fixed: int, horizon: int) -> Known:
    """Return what a plan decides of a chunk of one arm (1, 1, horizon, 10).

    Args:
        chunk: (K, 10) the plan at the new chunk's first K <= horizon way-points, as
            `core.chunks.chunk_from_poses` makes it from the tool pose that was commanded at the new
            observation (`core.observation.Decided`).
        fixed: how many of them are executed before the new chunk arrives.
        horizon: way-points of the new chunk.

    Raises:
        ContractError: another shape, a number that is not finite, or more fixed than known.
    """
    chunk = np.asarray(chunk, dtype=np.float32)
    is_chunk = chunk.ndim == 2 and chunk.shape[1] == CHUNK_SIZE and len(chunk) <= horizon
    if not is_chunk or not np.all(np.isfinite(chunk)) or not 0 <= fixed <= len(chunk):
        raise ContractError(
            f"a known prefix must be finite numbers (K, {CHUNK_SIZE}) of which K <= {horizon} and "
            f"the first {fixed} are fixed, got {chunk.shape}; check the hand-over that made it"
        )
    whole = np.zeros((horizon, CHUNK_SIZE), np.float32)
    whole[: len(chunk)] = chunk
    return Known(torch.from_numpy(whole)[None, None], prefix_weights(fixed, len(chunk), horizon))


def prefix_weights(fixed: int, known: int, horizon: int) -> Tensor:
    """Return the paper's soft mask (horizon,): 1 while fixed, then falling to 0 at `known`."""
    place = torch.arange(horizon)
    left = ((known - place) / (known - fixed + 1)).clamp(0.0, 1.0)
    falling = left * torch.expm1(left) / (math.e - 1.0)
    return torch.where(place < fixed, 1.0, torch.where(place < known, falling, 0.0))


def in_painted(predict: Predict, known: Known, num_steps: int, num_samples: int) -> Predict:
    """Return a prediction of noise (..., H, C) for `diffusion.ddim` that keeps to what is known.

    Args:
        predict: (noisy (..., H, C), number of the update) -> the noise in it.
        known: (..., H, C), broadcast.
        num_steps, num_samples: as `ddim`'s.
    """
    power = signal_power(num_steps)
    powers = [power[step] for step in sampling_steps(num_steps, num_samples)]

    def kept(noisy: Tensor, update: int) -> Tensor:
        signal, spread = math.sqrt(powers[update]), math.sqrt(1.0 - powers[update])
        clean = (noisy - spread * predict(noisy, update)) / signal
        weights = known.weights.to(clean)[:, None]
        # torch.where: an unknown part may hold anything, and 0 times infinity is no number.
        goal = torch.where(weights > 0.0, known.chunks.to(clean), clean)
        return (noisy - signal * (clean + weights * (goal - clean))) / spread

    return kept
