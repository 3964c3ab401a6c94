"""What becomes action tokens, and what becomes of them (authors' code).

Legend: B batch, E arms, h history steps, H horizon, A = learned + E (h + H) action tokens, W width.
"""

import torch
from torch import Tensor, nn

from vla_ros.core.chunks import CHUNK_SIZE
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.observation import Observation

STEP_TEMPERATURE = 1000.0
# The present relative to itself: no displacement, no turn.
_HERE = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def mlp(inputs: int, width: int, zero: bool = False) -> nn.Sequential:
    """Return a 2-layer MLP from `inputs` to `width`, whose last layer starts at zero if `zero`."""
    last = nn.Linear(width, width)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(approximate="tanh"), last)


class StepEmbedding(nn.Module):
    """Diffusion step to (..., W): sinusoids of temperature 1000, then an MLP."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.layers = mlp(width, width)

    def forward(self, steps: Tensor) -> Tensor:
        """Return (S, W) of steps (S,) int64."""
        half = self.width // 2
        order = torch.arange(half, device=steps.device).float()
        angle = steps.float()[:, None] * STEP_TEMPERATURE ** (-order / half)
        return self.layers(torch.cat([angle.sin(), angle.cos()], -1))


class ActionTokens(nn.Module):
    """History, noisy actions and learned tokens in; predicted noise out.

    Each of an arm's tokens carries the tool's position in the reference camera (an MLP that
    starts at zero) and the arm's embedding. The history token is all there is of proprioception:
    its pose relative to itself is no information, the position is.
    """

    def __init__(self, config: AptConfig):
        super().__init__()
        width = config.width
        self.config = config
        self.history = mlp(CHUNK_SIZE if config.history_gripper else CHUNK_SIZE - 1, width)
        self.noisy = mlp(CHUNK_SIZE, width)
        self.position = mlp(3, width, zero=True)
        self.arm = nn.Parameter(0.02 * torch.randn(config.num_arms, width))
        if config.num_learned_tokens:
            self.learned = nn.Parameter(0.02 * torch.randn(config.num_learned_tokens, width))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = nn.Linear(width, CHUNK_SIZE)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def steps(self, num_arms: int, device: torch.device) -> Tensor:
        """Return the step (A,) of every token within its arm, from 0; 0 for learned ones."""
        own = torch.arange(self.config.history + self.config.horizon, device=device)
        return torch.cat([own.new_zeros(self.config.num_learned_tokens), own.repeat(num_arms)])

    def per_token(self, of_arms: Tensor) -> Tensor:
        """Return (B, A, ...) of (B, E, ...): each token's arm; learned tokens take arm 0's."""
        repeated = of_arms.repeat_interleave(self.config.history + self.config.horizon, 1)
        if not self.config.num_learned_tokens:
            return repeated
        first = of_arms[:, :1].repeat_interleave(self.config.num_learned_tokens, 1)
        return torch.cat([first, repeated], 1)

    def fixed(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return history tokens (B, E, h, W) and what every token of an arm adds (B, E, 1, W).

        Neither depends on the noisy actions. In float32: bfloat16 rounds half a metre to 2 mm.
        """
        batch, num_arms = observation.reference.shape
        with torch.autocast(self.arm.device.type, enabled=False):
            anchor = self.position(observation.tool_positions()) + self.arm[:num_arms]
            past = torch.tensor(_HERE, device=self.arm.device).expand(batch, num_arms, 1, -1)
            if self.config.history_gripper:
                assert observation.opening is not None, "history_gripper needs openings"
                opening = 2 * observation.opening[..., None, None] - 1
                past = torch.cat([past, opening.to(past)], -1)
            if self.config.history > 1:
                assert observation.history is not None, "a longer history needs past steps"
                past = torch.cat([observation.history[..., : past.shape[-1]].to(past), past], 2)
            assert past.shape[2] == self.config.history
            return self.history(past) + anchor[:, :, None], anchor[:, :, None]

    def encode(self, noisy: Tensor, history: Tensor, anchor: Tensor) -> Tensor:
        """Return tokens (B, A, W) of noisy actions (B, E, H, 10) and what `fixed` gave."""
        with torch.autocast(noisy.device.type, enabled=False):
            own = torch.cat([history, self.noisy(noisy.float()) + anchor], 2).flatten(1, 2)
        if not self.config.num_learned_tokens:
            return own
        return torch.cat([self.learned.expand(len(own), -1, -1), own], 1)

    def decode(self, tokens: Tensor, num_arms: int) -> Tensor:
        """Return the predicted noise (B, E, H, 10) float32 of tokens (B, A, W)."""
        own = tokens[:, self.config.num_learned_tokens :].unflatten(1, (num_arms, -1))
        with torch.autocast(tokens.device.type, enabled=False):
            return self.head(self.norm(own[:, :, self.config.history :].float()))
