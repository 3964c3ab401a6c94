"""Grad-CAM: where in its pictures a policy finds the reasons for its own answer.

Selvaraju et al. 2017, "Grad-CAM": features A of a layer (channels x rows x columns) and a number S;
the heat is relu(sum_c w_c A_c) with w_c the mean of dS/dA_c over the picture. The record of TAP has
such maps of both stages and does not say of which layer and number. Here

- S is how sure the policy is of its own answer. TAP, FAST head: the sum of the log-probabilities of
  the tokens that it decodes. TAP, MLP head: the length of the normalised action. APT: minus the
  loss of predicting the noise in its own chunk, mean over diffusion steps DENOISED_AT;
- A is, of the small backbone, the fine map of the picture encoder: keypoints and patches are both
  made of it, and nothing else of the picture goes on. Of a Qwen-VL it is the merged tokens of the
  vision tower as the language model reads them, whose mean over the sequence is that over a
  picture; what Qwen3-VL adds to later layers from within the tower (deepstack) is not in it.

Legend: n frames, V pictures of each, C channels, h x w cells.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from training.learning.open_loop_frames import AptFrames, Frames, noise_of
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.efficientnet import FINE_BLOCK, LiteTrunk
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.small_vision import ConvTrunk
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput

# Shares of the diffusion's steps: from hardly any noise to mostly noise.
DENOISED_AT = (0.1, 0.3, 0.5, 0.7)
_BATCH = 16

# (images (n, V, 3, S, S)) -> what the backbone gave, and S summed over the frames.
Score = Callable[[Tensor], tuple[VlmOutput, Tensor]]


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
    parts = []
    for some in np.split(rows, range(_BATCH, len(rows), _BATCH)):
        images = images_to_tensor(frames.pictures(some)).to(device).requires_grad_()
        text = list(frames.tasks[some]) if checkpoint.run["stage"] == 2 else None
        if isinstance(checkpoint.policy, TapPolicy):
            score = _score_of_tap(checkpoint.policy, text)
        else:
            assert isinstance(frames, AptFrames)
            score = _score_of_apt(checkpoint.policy, text, frames, some)
        heat = _heat(checkpoint.policy.vlm, images, score)
        parts.append(heat.unflatten(0, images.shape[:2]).float().cpu().numpy())
    return np.concatenate(parts)


def heat_of(features: Tensor, gradient: Tensor) -> Tensor:
    """Return Grad-CAM's map (N, h, w) of features and gradient (N, C, h, w)."""
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features).sum(1).relu()


def _heat(vlm: VisionLanguageModel, images: Tensor, score: Score) -> Tensor:
    """Return (n V, h, w)."""
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, found: Tensor) -> None:
        maps.append(found)

    watched = _watched(vlm)
    handle = None if watched is None else watched.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            output, total = score(images)
    finally:
        if handle is not None:
            handle.remove()
    features = maps[-1] if maps else output.embeddings
    (gradient,) = torch.autograd.grad(total, features)
    if maps:
        return heat_of(features.detach(), gradient)
    return heat_of(*(_cells(part.detach(), output.view) for part in (features, gradient)))


def _watched(vlm: VisionLanguageModel) -> nn.Module | None:
    """Return the module whose output is the map; None where it is the prompt's embeddings."""
    if not isinstance(vlm, SmallVlm):
        return None
    trunk = vlm.encoder.trunk
    if isinstance(trunk, LiteTrunk):
        return trunk.blocks[FINE_BLOCK]
    assert isinstance(trunk, ConvTrunk)
    return trunk.stem


def _cells(tokens: Tensor, view: Tensor) -> Tensor:
    """Return (n V, D, side, side) of a prompt's tokens (n, L, D), pictures row by row."""
    of_pictures = tokens[:, view[0] >= 0]
    num_views = int(view.max()) + 1
    side = round((of_pictures.shape[1] / num_views) ** 0.5)
    return of_pictures.unflatten(1, (num_views, side, side)).flatten(0, 1).permute(0, 3, 1, 2)


def _score_of_tap(policy: TapPolicy, text: list[str] | None) -> Score:
    said = None if text is None else [sentence.lower() for sentence in text]

    def score(images: Tensor) -> tuple[VlmOutput, Tensor]:
        if policy.head is not None:
            output = policy.vlm(images, said)
            return output, policy.head(output.last).float().norm(dim=1).sum()
        answers = policy.generate(images.detach(), text)
        first, end = policy.vlm.first_action_token, policy.vlm.end_token
        longest = max(map(len, answers))
        tokens = torch.tensor([[*row, *[-1] * (longest - len(row))] for row in answers])
        tokens = tokens.to(images.device)
        suffix = torch.where(tokens < 0, end, first + tokens)
        output = policy.vlm(images, said, suffix=suffix)
        sure = output.logits[:, :-1].log_softmax(-1).gather(2, suffix[:, :, None])[:, :, 0]
        return output, sure.masked_fill(tokens < 0, 0.0).sum()

    return score


def _score_of_apt(
    policy: AptPolicy, text: list[str] | None, frames: AptFrames, rows: np.ndarray
) -> Score:
    said = None if text is None else [sentence.lower() for sentence in text]
    config = policy.config

    def score(images: Tensor) -> tuple[VlmOutput, Tensor]:
        observation = frames.observation(rows).to(images.device)
        noise = noise_of(rows, config.horizon).to(images.device)
        chunks = policy.sample(images.detach(), text, observation, noise)
        # `look` would keep no graph of a frozen backbone.
        output = policy.vlm(images, said, layers=policy.expert.feature_layers)
        total = noise.new_zeros(())
        for share in DENOISED_AT:
            steps = torch.full((len(rows),), int(share * config.train_steps), device=noise.device)
            loss = policy(output, said, observation, chunks, noise, steps)
            # A sum over the frames, so that a frame's heat does not depend on the others.
            total = total - loss.total * len(rows) / len(DENOISED_AT)
        return output, total

    return score
