"""What a policy's last answer hung on, for people: heat over its pictures, and its gates.

It takes passes of the network of its own, with gradients, and changes nothing of the policy's: its
noise goes on as if nobody had looked.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from vla_ros.core.observation import Chunk, Observation
from vla_ros.policy.apt.gates import Gates, GateWatch
from vla_ros.policy.grad_cam import heat_maps, score_of_apt, score_of_tap
from vla_ros.policy.heat_picture import overlay
from vla_ros.policy.runner import AptRunner, PolicyRunner, TapRunner

SIDE_PX = 320


@dataclass(frozen=True, eq=False)
class Overlays:
    """Of one answer.

    Attributes:
        pictures: by camera, (SIDE_PX, SIDE_PX, 3) uint8 RGB as the network was shown it, with heat;
            the hottest place of all of them is red, where there is no heat they are as they were.
        gates: of APT's fused layers; None where a policy has none.
    """

    pictures: dict[str, np.ndarray]
    gates: Gates | None


def overlays_of(runner: PolicyRunner, observation: Observation, chunk: Chunk) -> Overlays:
    """Return what the answer `chunk` to `observation` hung on.

    In the thread that the runner lives in, and while it does not act.

    Raises:
        ContractError: the observation is none that the runner acts on.
    """
    images, text = runner.images(observation), [observation.task]
    watch = None
    if isinstance(runner, AptRunner):
        policy = runner.policy
        chunks = torch.from_numpy(chunk.actions)[None, None].float().to(images.device)
        # Drawn apart from the runner's own noise, and the same each time: heat compares.
        noise = torch.randn(chunks.shape, generator=torch.Generator().manual_seed(0))
        told = runner.told(observation)[0].to(images.device)
        score = score_of_apt(policy, text, told, chunks, noise.to(images.device))
        watch = GateWatch(policy.expert)
    else:
        assert isinstance(runner, TapRunner)
        policy = runner.policy
        answered = None if chunk.tokens is None else [list(chunk.tokens)]
        score = score_of_tap(policy, text, answered)
    with nullcontext() if watch is None else watch.watched():
        heat = heat_maps(policy.vlm, images, score)[0].cpu().numpy()
    pictures = {
        name: overlay(runner.see(name, observation.views[name].picture), cells, heat.max(), SIDE_PX)
        for name, cells in zip(runner.cameras, heat, strict=True)
    }
    return Overlays(pictures, None if watch is None else watch.seen())
