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

Legend: n frames, V pictures of each, S side of a picture, C channels, h x w cells.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.efficientnet import FINE_BLOCK, LiteTrunk
from vla_ros.policy.small_vision import ConvTrunk
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput

# Shares of the diffusion's steps: from hardly any noise to mostly noise.
DENOISED_AT = (0.1, 0.3, 0.5, 0.7)

# (images (n, V, 3, S, S)) -> what the backbone gave, and S summed over the frames.
Score = Callable[[Tensor], tuple[VlmOutput, Tensor]]


def heat_maps(vlm: VisionLanguageModel, images: Tensor, score: Score) -> Tensor:
    """Return heat (n, V, h, w) float32, at least 0 and of no unit.

    Args:
        vlm: the policy's backbone, in evaluation mode.
        images: (n, V, 3, S, S) in [-1, 1].
        score: of `score_of_tap` or `score_of_apt`, of these n frames.
    """
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, found: Tensor) -> None:
        maps.append(found)

    watched = _watched(vlm)
    handle = None if watched is None else watched.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            # Of a frozen backbone too there is a graph then.
            output, total = score(images.detach().requires_grad_())
    finally:
        if handle is not None:
            handle.remove()
    features = maps[-1] if maps else output.embeddings
    (gradient,) = torch.autograd.grad(total, features)
    if maps:
        heat = heat_of(features.detach(), gradient)
    else:
        heat = heat_of(*(_cells(part.detach(), output.view) for part in (features, gradient)))
    return heat.unflatten(0, images.shape[:2]).float()


def heat_of(features: Tensor, gradient: Tensor) -> Tensor:
    """Return Grad-CAM's map (N, h, w) of features and gradient (N, C, h, w)."""
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features).sum(1).relu()


def score_of_tap(
    policy: TapPolicy, text: Sequence[str] | None, answered: list[list[int]] | None = None
) -> Score:
    """Return how sure TAP is of what it answers to instructions (n), None in Stage 1.

    `answered`: the tokens of `TapPolicy.generate`, where they are known: else they are decoded.
    """
    said = None if text is None else [sentence.lower() for sentence in text]

    def score(images: Tensor) -> tuple[VlmOutput, Tensor]:
        if policy.head is not None:
            output = policy.vlm(images, said)
            return output, policy.head(output.last).float().norm(dim=1).sum()
        answers = policy.generate(images.detach(), text) if answered is None else answered
        first, end = policy.vlm.first_action_token, policy.vlm.end_token
        longest = max(map(len, answers))
        padded = [[*row, *[-1] * (longest - len(row))] for row in answers]
        # Decoded freely an answer may have no token, and then nothing says that they are integers.
        tokens = torch.tensor(padded, dtype=torch.int64, device=images.device)
        suffix = torch.where(tokens < 0, end, first + tokens)
        output = policy.vlm(images, said, suffix=suffix)
        sure = output.logits[:, :-1].log_softmax(-1).gather(2, suffix[:, :, None])[:, :, 0]
        return output, sure.masked_fill(tokens < 0, 0.0).sum()

    return score


def score_of_apt(
    policy: AptPolicy,
    text: Sequence[str] | None,
    observation: Observation,
    chunks: Tensor,
    noise: Tensor,
) -> Score:
    """Return how sure APT is of chunks (n, E, H, 10) that it answered to instructions (n).

    `noise`, of the chunks' shape, is what they are hidden in.
    """
    said = None if text is None else [sentence.lower() for sentence in text]

    def score(images: Tensor) -> tuple[VlmOutput, Tensor]:
        # `look` would keep no graph of a frozen backbone.
        output = policy.vlm(images, said, layers=policy.expert.feature_layers)
        total = noise.new_zeros(())
        for share in DENOISED_AT:
            steps = torch.full((len(chunks),), int(share * policy.config.train_steps))
            steps = steps.to(noise.device)
            loss = policy(output, said, observation, chunks, noise, steps)
            # A sum over the frames, so that a frame's heat does not depend on the others.
            total = total - loss.total * len(chunks) / len(DENOISED_AT)
        return output, total

    return score


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
