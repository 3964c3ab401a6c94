"""Pictures to tensors; the only such code, for training and robot alike."""

import numpy as np
import torch
from torch import Tensor


def images_to_tensor(images: np.ndarray) -> Tensor:
    """Return (..., 3, H, W) float32 in [-1, 1] of images (..., H, W, 3) uint8."""
    # torch wants writable arrays; those gathered from a memory map are, and need no copy.
    tensor = torch.from_numpy(np.require(images, requirements=["C", "W"])).movedim(-1, -3)
    return tensor.float().div_(127.5).sub_(1.0)
