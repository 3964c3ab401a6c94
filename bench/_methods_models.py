"""Models of the CPU size for `bench.methods`, with random weights: no time depends on them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
import torch
from torch import Tensor

from vla_ros.policy.apt.config import AptConfig, small_apt
from vla_ros.policy.apt.expert import AptExpert
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.apt.policy import AptPolicy, PrefixUse
from vla_ros.policy.fast_tokens import SCALE, VOCABULARY, FastTokenizer, largest_coefficient
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import ACTION_SIZE, TapPolicy
from vla_ros.policy.tap_config import TapConfig
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput

CAMERAS = 2
LANGUAGE_TOKENS = 16


class _NoBackbone(VisionLanguageModel):
    """Width and depth of the small backbone, for an expert whose features are given."""

    def __init__(self):
        super().__init__()
        small = SmallVlmConfig()
        self.width, self.num_layers, self.image_size = small.width, small.depth, small.image_size

    def forward(self, images, text, suffix=None, layers=(), with_cache=False):
        raise NotImplementedError

    def decode(self, tokens, cache):
        raise NotImplementedError

    def add_action_tokens(self, count):
        raise NotImplementedError

    def parameter_groups(self):
        return {"vision": [], "language": [], "tokens": []}


@dataclass(frozen=True, eq=False)
class Scene:
    """An expert and what it reads; `denoise` makes one chunk of it."""

    policy: AptPolicy
    output: VlmOutput
    observation: Observation
    noise: Tensor

    def denoise(self, prefix: PrefixUse) -> Tensor:
        """Return the chunk (1, 1, H, 10), the prefix had as `prefix` says."""
        return self.policy.denoise(self.output, self.observation, self.noise, prefix)


def expert_on_noise(config: AptConfig, num_tokens: int) -> Scene:
    """Return an expert before random features of `num_tokens` tokens, the last ones language."""
    torch.manual_seed(0)
    policy = AptPolicy(_NoBackbone(), config).eval()
    expert, width = policy.expert, policy.vlm.width
    assert isinstance(expert, AptExpert)
    per_view = (num_tokens - LANGUAGE_TOKENS) // CAMERAS
    view = torch.arange(CAMERAS).repeat_interleave(per_view)
    view = torch.cat([view, torch.full((num_tokens - len(view),), -1)])[None]

    def tokens() -> Tensor:
        return torch.randn(1, num_tokens, width)

    output = VlmOutput(
        embeddings=tokens(),
        layers=tuple(tokens() for _ in expert.feature_layers),
        mask=torch.ones(1, num_tokens, dtype=torch.bool),
        is_image=view >= 0,
        view=view,
        patch_xy=2 * torch.rand(1, num_tokens, 2) - 1,
        last=torch.zeros(1, width),
        logits=torch.zeros(1, 1, 1),
    )
    noise, _ = policy.draw(1, 1)
    return Scene(policy, output, _two_cameras(), noise)


def _two_cameras() -> Observation:
    """Return one arm before two cameras at different places."""
    cameras = torch.eye(4).repeat(1, CAMERAS, 1, 1)
    cameras[0, :, :3, 3] = torch.tensor([[0.8, 0.0, 0.6], [0.2, 0.3, 0.4]])
    tool = torch.eye(4).repeat(1, 1, 1, 1)
    tool[0, 0, :3, 3] = torch.tensor([0.3, 0.0, 0.2])
    return Observation(cameras, tool, torch.zeros(1, 1, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Actor:
    """A whole policy.

    Attributes:
        policy: TAP's or APT's.
        act: (what gives a camera's picture at a side [px], instruction) -> normalised action, or
            chunk.
    """

    policy: TapPolicy | AptPolicy
    act: Callable[[Callable[[int], np.ndarray], str], Tensor]


def seven_tokens() -> FastTokenizer:
    """Return a tokenizer of the usual size, all of whose actions take seven tokens: the most.

    Each coefficient is its own token, and merged ones are too long to be taken.
    """
    num_letters = 2 * largest_coefficient(SCALE, 1) + 1
    letters = FastTokenizer.fit(np.zeros((1, 1, ACTION_SIZE)), num_letters)
    longer = islice(product(letters.vocabulary, repeat=ACTION_SIZE + 1), VOCABULARY - letters.size)
    return FastTokenizer(
        [*letters.vocabulary, *map("".join, longer)],
        [],
        letters.form,
        scale=letters.scale,
        min_coefficient=letters.min_coefficient,
        horizon=1,
        action_size=ACTION_SIZE,
    )


def tap_on_small() -> Actor:
    """Return TAP's Stage 2 with the FAST head, whose every action takes seven tokens."""
    torch.manual_seed(0)
    tokenizer = seven_tokens()
    policy = TapPolicy(SmallVlm(SmallVlmConfig()), TapConfig(stage=2), tokenizer).eval()

    side = policy.vlm.image_size

    def act(see: Callable[[int], np.ndarray], task: str) -> Tensor:
        return policy.act(images_to_tensor(see(side)[None, None]), [task])

    return Actor(policy, act)


def apt_on_small() -> Actor:
    """Return APT's Stage 2 of the CPU's size with two cameras."""
    torch.manual_seed(0)
    policy = AptPolicy(SmallVlm(SmallVlmConfig()), small_apt(2)).eval()
    observation = _two_cameras()

    side = policy.vlm.image_size

    def act(see: Callable[[int], np.ndarray], task: str) -> Tensor:
        pictures = np.stack([see(side) for _ in range(CAMERAS)])
        noise, _ = policy.draw(1, 1)
        return policy.sample(images_to_tensor(pictures[None]), [task], observation, noise)

    return Actor(policy, act)
