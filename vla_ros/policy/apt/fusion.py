"""Layer-wise gated fusion: how backbone features enter the vision-language stream.

Code form (default): h <- g h + (1 - g) W phi, g = sigmoid(w), w of one number a channel, from 0.
Paper form (Eq. 3): h <- h + sigmoid(w) W phi, w one number. Here too w starts at 0, where the
paper is silent. Action tokens are untouched in both.
"""

import torch
from torch import Tensor, nn

from vla_ros.policy.apt.config import AptConfig

# sigmoid is exactly 1 here, and exactly 0 at its negative, in float32.
_SATURATED = 200.0


class GatedFusion(nn.Module):
    """One slot's fusion."""

    def __init__(self, config: AptConfig, vlm_width: int):
        super().__init__()
        self.form = config.fusion
        self.gate = nn.Parameter(torch.zeros(config.width if self.form == "code" else 1))
        self.projection = nn.Linear(vlm_width, config.width)

    def close(self) -> None:
        """Saturate the gate: the stream passes unchanged, bit for bit."""
        nn.init.constant_(self.gate, _SATURATED if self.form == "code" else -_SATURATED)

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        """Return the stream (B, L, W) after fusing `feature` (B, L, D) of the slot's layer."""
        gate = self.gate.sigmoid()
        feature = self.projection(feature)
        if self.form == "code":
            return gate * x + (1 - gate) * feature
        return x + gate * feature
