"""Grad-CAM of frames of recordings, of either method and stage.

Legend: n frames, V pictures of each, h x w cells.
"""

import numpy as np
import torch

from training.learning.open_loop_frames import AptFrames, Frames, noise_of
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.grad_cam import heat_maps, score_of_apt, score_of_tap
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.tap import TapPolicy

_BATCH = 16


def attention_maps(
    checkpoint: Checkpoint, frames: Frames, rows: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return heat (n, V, h, w) float32, at least 0 and of no unit, of the frames `rows`.

    Args:
        checkpoint: with its policy on `device`, in evaluation mode.
        frames: to take pictures and instructions from.
        rows: (n,) of them.
        device: to compute on.
    """
    policy, parts = checkpoint.policy, []
    for some in np.split(rows, range(_BATCH, len(rows), _BATCH)):
        images = images_to_tensor(frames.pictures(some)).to(device)
        text = list(frames.tasks[some]) if checkpoint.run["stage"] == 2 else None
        if isinstance(policy, TapPolicy):
            score = score_of_tap(policy, text)
        else:
            assert isinstance(frames, AptFrames)
            observation = frames.observation(some).to(device)
            noise = noise_of(some, policy.config.horizon).to(device)
            chunks = policy.sample(images, text, observation, noise)
            score = score_of_apt(policy, text, observation, chunks, noise)
        parts.append(heat_maps(policy.vlm, images, score).cpu().numpy())
    return np.concatenate(parts)
