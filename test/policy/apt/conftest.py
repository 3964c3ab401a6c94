"""A tiny backbone behind the real interface, and samples with identifiable geometry."""

import numpy as np
import pytest
import torch
from torch import nn

from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput


class FakeVlm(VisionLanguageModel):
    """4 patches a picture, one token a letter, causal running means as layers."""

    def __init__(self, width: int = 12, num_layers: int = 5):
        super().__init__()
        self.width, self.num_layers, self.image_size = width, num_layers, 4
        self.first_action_token, self.num_action_tokens, self.end_token = 128, 0, 0
        self.patch = nn.Linear(3, width)
        self.letters = nn.Embedding(128, width)
        self.mixers = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))

    def forward(self, images, text, suffix=None, layers=(), with_cache=False):
        batch, num_views = images.shape[:2]
        pooled = nn.functional.adaptive_avg_pool2d(images.flatten(0, 1), 2).flatten(2)
        patches = self.patch(pooled.transpose(1, 2)).unflatten(0, (batch, num_views)).flatten(1, 2)
        words = list(text or [""] * batch)
        # One token of chat template, then the letters, then padding.
        length = 1 + max(map(len, words))
        codes = [[ord(c) for c in ("#" + word).ljust(length, "\0")] for word in words]
        ids = torch.tensor(codes)
        embeddings = torch.cat([patches, self.letters(ids)], 1)
        seen = 4 * num_views
        mask = torch.cat([torch.ones(batch, seen, dtype=torch.bool), ids != 0], 1)
        is_image = torch.zeros_like(mask)
        is_image[:, :seen] = True
        view = torch.full(mask.shape, -1)
        view[:, :seen] = torch.arange(num_views).repeat_interleave(4)
        corners = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])
        patch_xy = torch.zeros(*mask.shape, 2)
        patch_xy[:, :seen] = corners.repeat(num_views, 1)
        x, features = embeddings, []
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        for mixer in self.mixers:
            x = x + mixer(x.cumsum(1) / count).tanh()
            features.append(x)
        logits = torch.zeros(batch, 1, 128)
        chosen = tuple(features[i] for i in layers)
        return VlmOutput(embeddings, chosen, mask, is_image, view, patch_xy, x[:, -1], logits)

    def decode(self, tokens, cache):
        raise NotImplementedError

    def add_action_tokens(self, count):
        raise NotImplementedError

    def parameter_groups(self):
        return {
            "vision": list(self.patch.parameters()),
            "language": list(self.mixers.parameters()),
            "tokens": list(self.letters.parameters()),
        }


@pytest.fixture
def make_policy():
    """Return a function that builds a small policy: with all weights random, or fresh."""

    def build(stage: int = 1, fresh: bool = False, **switches) -> AptPolicy:
        torch.manual_seed(0)
        sizes = {"num_layers": 4, "width": 32, "num_heads": 2, "horizon": 3, "num_arms": 2}
        policy = AptPolicy(FakeVlm(), AptConfig(stage, **{**sizes, **switches}))
        return policy if fresh else scatter(policy)

    return build


def scatter(policy: AptPolicy) -> AptPolicy:
    """Move every weight of the expert off its start: zeros would hide what they multiply."""
    with torch.no_grad():
        for parameter in policy.expert.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return policy


def pose(rotvec, position) -> np.ndarray:
    return transform(matrix_from_rotvec(np.array(rotvec)), np.array(position))


@pytest.fixture
def observation():
    """Return two samples of two cameras and two arms; the second sample lacks its second arm."""
    cameras = np.stack([pose([2.0, 0.1, 0.3], [1.0, 0.0, 0.6]), pose([0, 3, 0.2], [0.3, 0.2, 0.4])])
    tools = np.stack([pose([0, 0.3, 0.1], [0.3, 0.1, 0.2]), pose([0.2, 0, 0.4], [0.2, -0.2, 0.1])])
    return Observation(
        T_base_camera=torch.tensor(np.stack([cameras, cameras[::-1]]), dtype=torch.float32),
        T_base_tool=torch.tensor(np.stack([tools, tools]), dtype=torch.float32),
        reference=torch.tensor([[0, 1], [1, 0]]),
        arm_mask=torch.tensor([[True, True], [True, False]]),
    )


@pytest.fixture
def images():
    return torch.rand(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def noise():
    return torch.randn(2, 2, 3, 10, generator=torch.Generator().manual_seed(2))
