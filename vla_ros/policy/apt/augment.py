"""What training may do to a batch before backbone and expert see it.

All functions are given the random numbers that they use, one row a sample: so whoever draws them
for a whole batch may share it out among processes. They change nothing in place and return new
values. None of them moves a label: chunks are in a reference camera's axes, and these follow the
picture.

Legend: B batch, V pictures, E arms.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from vla_ros.policy.apt.observation import Observation

# The authors' optional noise, off by default there: history translation [m], rotation (6-D),
# gripper, and the tool's position [m].
HISTORY_NOISE = (0.005, 0.01, 0.01)
POSITION_NOISE_M = 0.003
# The authors' ranges: brightness, contrast, saturation, then gamma.
COLOUR_RANGE, GAMMA_RANGE = 0.25, 0.15
BLUR_PROBABILITY = 1 / 7
# Brightness, contrast, saturation, gamma, blur.
NUM_COLOURS = 5


def change_colours(images: Tensor, drawn: Tensor) -> Tensor:
    """Return images (B, V, 3, H, W) in [-1, 1] in other light, each picture for itself.

    Brightness, contrast and saturation times 0.75 to 1.25, gamma of 0.85 to 1.15, and one picture
    in seven lightly blurred: on record. Their order and the blur (3 x 3, binomial) are ours.
    `drawn` are (B, V, NUM_COLOURS) uniform in [0, 1).
    """
    numbers = drawn.to(images)[..., None, None, None]  # (B, V, 5, 1, 1, 1)
    factors = 1 + COLOUR_RANGE * (2 * numbers - 1)
    brightness, contrast, saturation = factors[:, :, :3].unbind(2)
    x = (images + 1) / 2 * brightness
    mean = x.mean((2, 3, 4), keepdim=True)
    x = mean + contrast * (x - mean)
    grey = x.mean(2, keepdim=True)
    x = (grey + saturation * (x - grey)).clamp(0, 1)
    x = x ** (1 + GAMMA_RANGE * (2 * numbers[:, :, 3] - 1))
    is_blurred = drawn[..., 4].to(x.device) < BLUR_PROBABILITY
    line = torch.tensor([0.25, 0.5, 0.25]).to(x)
    kernel = torch.outer(line, line).expand(3, 1, 3, 3)
    padded = functional.pad(x[is_blurred], (1, 1, 1, 1), mode="replicate")
    x[is_blurred] = functional.conv2d(padded, kernel, groups=3)
    return x * 2 - 1


def shuffle_cameras(
    images: Tensor, observation: Observation, drawn: Tensor
) -> tuple[Tensor, Observation]:
    """Return images (B, V, 3, H, W) and observation with each sample's pictures in random order.

    The authors' code does so in training. Poses, masks and the references follow their pictures.
    `drawn` are (B, V) uniform numbers, whose order it is.
    """
    order = drawn.argsort(1).to(images.device)
    rank = order.argsort(1)
    rows = torch.arange(len(images), device=images.device)[:, None]
    per_view = ("T_base_camera", "camera_mask", "intrinsics", "extent")
    values = {name: getattr(observation, name) for name in per_view}
    moved = {name: v[rows, order] for name, v in values.items() if v is not None}
    reference = rank.gather(1, observation.reference)
    return images[rows, order], replace(observation, **moved, reference=reference)


def drop_cameras(
    images: Tensor, observation: Observation, probability: float, drawn: Tensor
) -> tuple[Tensor, Observation]:
    """Return images and observation with each picture hidden at `probability`, but never all.

    A hidden picture is grey for the backbone, whose text would see it otherwise, and masked for
    the expert. Its camera may stay a reference: where it is remains known. The authors' code has
    0.15 in one recipe (LIBERO-Object) and 0 elsewhere. `drawn` are (B, V) uniform in [0, 1).
    """
    drawn = drawn.to(images.device)
    there = observation.camera_mask
    if there is None:
        there = torch.ones_like(drawn, dtype=torch.bool)
    # The picture that drew the highest number stays, whatever the probability.
    best = torch.where(there, drawn, -1.0).argmax(1, keepdim=True)
    kept = there & (drawn >= probability).scatter(1, best, True)
    shown = torch.where(kept[:, :, None, None, None], images, 0.0)
    return shown, replace(observation, camera_mask=kept)


def turn_world(observation: Observation, drawn: Tensor) -> Observation:
    """Return the observation in a randomly turned world frame (gauge augmentation).

    The authors' code does so in training. PRoPE sees relations of cameras only, so it changes the
    expert by rounding alone; a style or option that reads absolute poses would need it.
    `drawn` are (B, 4) normal numbers: as a unit quaternion, a uniform rotation.
    """
    w, x, y, z = (drawn / drawn.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    turn = torch.eye(4).repeat(len(drawn), 1, 1)
    turn[:, :3, :3] = torch.stack([torch.stack(row, -1) for row in rows], 1)
    turn = turn[:, None].to(observation.T_base_camera)
    return replace(
        observation,
        T_base_camera=turn @ observation.T_base_camera,
        T_base_tool=turn @ observation.T_base_tool.to(turn),
    )


def shake_proprioception(observation: Observation, drawn: Tensor) -> Observation:
    """Return the observation with the authors' noise on history and tool position.

    `drawn` are (B, E, 3 + 10 (h - 1)) normal numbers for a history of h.
    """
    tools = observation.T_base_tool.clone()
    tools[..., :3, 3] += POSITION_NOISE_M * drawn[..., :3].to(tools)
    history = observation.history
    if history is not None:
        scale = torch.tensor(HISTORY_NOISE).repeat_interleave(torch.tensor([3, 6, 1]))
        history = history + (scale * drawn[..., 3:].unflatten(-1, (-1, 10))).to(history)
    return replace(observation, T_base_tool=tools, history=history)
