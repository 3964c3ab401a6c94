"""What a frozen backbone makes of the samples that are trained on, computed once.

A frame's features are the same in every epoch as long as its pictures are. In Stage 1 that is a
quarter of a step's time with the small backbone, and nearly all of it with a large one.

Legend: N samples, L tokens, D width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from training.learning.apt_data import AptData
from training.learning.apt_recipes import AptRecipe
from training.learning.dry_run import GIB
from training.learning.precision import autocast
from training.learning.processes import World
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.vlm import VlmOutput

BLOCK = 64
# What padding in front of a shorter prompt holds; 0 but for these.
PADDING = {"view": -1}


class FrozenFeatures:
    """The backbone's output for each of N samples, by number; held once, filled bit by bit."""

    def __init__(self, count: int, device: torch.device):
        """Have room for `count` samples; they are handed out on `device`."""
        self._count, self._device = count, device
        self._kept: dict[str, Tensor] = {}

    @property
    def num_bytes(self) -> int:
        """Of all samples; 0 before the first are there."""
        return sum(tensor.nbytes for tensor in self._kept.values())

    def fill(self, indices: np.ndarray, output: VlmOutput) -> None:
        """Keep the output of samples (B,)."""
        parts = _parts(output)
        length = parts["mask"].shape[1]
        for name, part in parts.items():
            kept = self._kept.get(name)
            if kept is None:
                # Memory that nothing was written to yet is not taken.
                kept = torch.empty(self._count, *part.shape[1:], dtype=part.dtype)
            elif kept.shape[1] < length:
                # One after the other: no two copies of all.
                kept = _padded(kept, length, PADDING.get(name, 0))
            self._kept[name] = kept
            rows = torch.from_numpy(indices)
            kept[rows] = _padded(part.cpu(), kept.shape[1], PADDING.get(name, 0))

    def __call__(self, indices: np.ndarray) -> VlmOutput:
        """Return the output of samples (B,), without what only the backbone's own head reads."""
        rows = torch.from_numpy(indices)
        found = {name: tensor[rows].to(self._device) for name, tensor in self._kept.items()}
        layers = tuple(found.pop(name) for name in list(found) if name.startswith("layer"))
        nothing = found["embeddings"][:, 0, :0]
        return VlmOutput(layers=layers, last=nothing, logits=nothing, **found)


def frozen_features(
    policy: AptPolicy,
    data: AptData,
    recipe: AptRecipe,
    world: World,
    indices: np.ndarray | None = None,
) -> FrozenFeatures | None:
    """Return the features of `data.trained`, or None where they change or take too much memory.

    The recipe's `cache_gib` is shared by the processes of a machine. Given `indices`, only those
    samples are there.
    """
    keeps = recipe.augmentation.keeps_pictures(len(data.contract.cameras))
    budget = recipe.cache_gib * GIB / world.local_size
    if policy.vlm_learns or not keeps or not budget:
        return None
    count = len(data.trained)
    wanted = np.arange(count) if indices is None else indices
    features = FrozenFeatures(count, world.device)
    was_training = policy.training
    policy.eval()
    starts = range(0, len(wanted), BLOCK)
    is_quiet = not world.is_first or indices is not None
    try:
        for start in tqdm(starts, desc="features", unit="block", disable=is_quiet):
            some = wanted[start : start + BLOCK]
            samples = data.trained.batch(some)
            with autocast(world.device.type, recipe.bf16):
                output = policy.look(data.images(samples).to(world.device), data.text(samples))
            if count * _sample_bytes(output) > budget:
                return None
            features.fill(some, output)
    finally:
        policy.train(was_training)
    return features


def _parts(output: VlmOutput) -> dict[str, Tensor]:
    names = ("embeddings", "mask", "is_image", "view", "patch_xy")
    layers: Sequence[Tensor] = output.layers
    return {
        **{name: getattr(output, name) for name in names},
        **{f"layer{number}": layer for number, layer in enumerate(layers)},
    }


def _sample_bytes(output: VlmOutput) -> float:
    return sum(part.nbytes for part in _parts(output).values()) / len(output.mask)


def _padded(x: Tensor, length: int, value: int = 0) -> Tensor:
    """Return (N, length, ...) of (N, L, ...), padded in front."""
    after = (0, 0) * (x.ndim - 2)
    return functional.pad(x, (*after, length - x.shape[1], 0), value=value)
