"""What a frozen backbone makes of the samples that are trained on, computed once.

A frame's features are the same in every epoch as long as its pictures are. In Stage 1 that is a
quarter of a step's time with the small backbone, and nearly all of it with a large one.

Legend: N samples, L tokens, D width.
"""

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


class FrozenFeatures:
    """The backbone's output for each of N samples, by number."""

    def __init__(self, blocks: list[VlmOutput], device: torch.device):
        """Keep blocks of samples in order; shorter prompts are padded in front, and masked."""
        length = max(block.mask.shape[1] for block in blocks)
        self._device = device
        self._embeddings = torch.cat([_padded(b.embeddings, length) for b in blocks])
        layers = zip(*(block.layers for block in blocks), strict=True)
        self._layers = [torch.cat([_padded(x, length) for x in parts]) for parts in layers]
        self._mask = torch.cat([_padded(b.mask, length) for b in blocks])
        self._is_image = torch.cat([_padded(b.is_image, length) for b in blocks])
        self._view = torch.cat([_padded(b.view, length, -1) for b in blocks])
        self._patch_xy = torch.cat([_padded(b.patch_xy, length) for b in blocks])

    def __call__(self, indices: np.ndarray) -> VlmOutput:
        """Return the output of samples (B,), without what only the backbone's own head reads."""
        rows = torch.from_numpy(indices)
        embeddings, mask, is_image, view, patch_xy, *layers = (
            tensor[rows].to(self._device)
            for tensor in (
                self._embeddings,
                self._mask,
                self._is_image,
                self._view,
                self._patch_xy,
                *self._layers,
            )
        )
        nothing = embeddings[:, 0, :0]
        return VlmOutput(
            embeddings, tuple(layers), mask, is_image, view, patch_xy, nothing, nothing
        )


def frozen_features(
    policy: AptPolicy, data: AptData, recipe: AptRecipe, world: World
) -> FrozenFeatures | None:
    """Return the features of `data.trained`, or None where they change or take too much memory."""
    keeps = recipe.augmentation.keeps_pictures(len(data.contract.cameras))
    if policy.vlm_learns or not keeps or not recipe.cache_gib:
        return None
    count = len(data.trained)
    blocks: list[VlmOutput] = []
    was_training = policy.training
    policy.eval()
    starts = range(0, count, BLOCK)
    for start in tqdm(starts, desc="features", unit="block", disable=not world.is_first):
        samples = data.trained.batch(np.arange(start, min(start + BLOCK, count)))
        with autocast(world.device.type, recipe.bf16):
            output = policy.look(data.images(samples).to(world.device), data.text(samples))
        blocks.append(_on_cpu(output))
        if start == 0 and _size(blocks[0]) * count / len(samples) > recipe.cache_gib * GIB:
            return None
    policy.train(was_training)
    return FrozenFeatures(blocks, world.device)


def _on_cpu(output: VlmOutput) -> VlmOutput:
    nothing = output.embeddings[:, 0, :0].cpu()
    return VlmOutput(
        output.embeddings.cpu(),
        tuple(layer.cpu() for layer in output.layers),
        output.mask.cpu(),
        output.is_image.cpu(),
        output.view.cpu(),
        output.patch_xy.cpu(),
        nothing,
        nothing,
    )


def _size(output: VlmOutput) -> int:
    tensors = (output.embeddings, output.patch_xy, output.view, *output.layers)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _padded(x: Tensor, length: int, value: int = 0) -> Tensor:
    """Return (N, length, ...) of (N, L, ...), padded in front."""
    after = (0, 0) * (x.ndim - 2)
    return functional.pad(x, (*after, length - x.shape[1], 0), value=value)
