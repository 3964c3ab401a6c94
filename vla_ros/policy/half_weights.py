"""Weights in half the bytes, for a repository to carry; computed with they are as before."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from vla_ros.core.errors import CheckpointError


def halve_weights(source: Path, target: Path) -> None:
    """Write a file of weights with what is float32 rounded to float16, by 0.05 % or 3e-8 at most.

    Raises:
        CheckpointError: a weight is beyond float16's range.
    """
    weights = load_file(source)
    rounded = {n: w.half() if w.dtype == torch.float32 else w for n, w in weights.items()}
    beyond = [n for n, w in rounded.items() if w.is_floating_point() and not w.isfinite().all()]
    if beyond:
        raise CheckpointError(
            f"{source} has weights beyond float16's range, in {beyond[0]} first; ship it whole, or "
            "train a smaller model"
        )
    save_file(rounded, target, metadata={"format": "pt"})
