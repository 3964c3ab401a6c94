"""TAP: one backbone and one head for inverse dynamics (Stage 1) and behaviour cloning (Stage 2).

Shi et al., "Task-Agnostic Pretraining for VLAs", arXiv 2607.02466, equations 2 to 5:
Stage 1  a_t = f(o_t, o_t+1), no text;  Stage 2  a_t = f(o_t, instruction);  loss = MSE.
The text has a 2-layer MLP that regresses the action; the authors' code decodes action tokens.
This is the text's form. Nothing new is initialised at Stage 2.
"""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.backbone import SmallVlm, SmallVlmConfig

ACTION_SIZE = 7


@dataclass(frozen=True)
class TapConfig:
    """Sizes of `TapPolicy`; `head_width` is the hidden width of the action head."""

    backbone: SmallVlmConfig = field(default_factory=SmallVlmConfig)
    head_width: int = 256

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "TapConfig":
        """Return the config of `to_dict`'s result; raises CheckpointError on other keys."""
        try:
            return cls(**{**data, "backbone": SmallVlmConfig(**data["backbone"])})
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"model config does not have the expected keys ({error}); "
                "it was written by another version, so train again"
            ) from None


class TapPolicy(nn.Module):
    """Backbone and 2-layer MLP head on its last token."""

    def __init__(self, config: TapConfig):
        super().__init__()
        self.config = config
        self.backbone = SmallVlm(config.backbone)
        self.head = nn.Sequential(
            nn.Linear(config.backbone.width, config.head_width),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.head_width, ACTION_SIZE),
        )

    def forward(self, images: Tensor, text: list[str] | None) -> Tensor:
        """Return normalised actions (B, 7) float32 for images (B, V, 3, H, W) and B texts."""
        features, _ = self.backbone(images, None if text is None else [t.lower() for t in text])
        return self.head(features[:, -1]).float()

    def set_stage(self, stage: int) -> None:
        """Let only those parameters train that the stage's input reaches.

        Stage 1 sees two images and no text, Stage 2 one image and text. The paper freezes its
        pretrained vision tower in Stage 1 and the authors' code does not; from scratch a frozen
        tower would be random, so here it always trains.
        """
        self.requires_grad_(True)
        unused = self.backbone.parameters_unused(num_images=3 - stage, with_text=stage == 2)
        for parameter in unused:
            parameter.requires_grad_(False)


def num_parameters(module: nn.Module) -> int:
    """Return the number of scalars in the module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def action_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over batch and the 7 normalised dimensions (scalar)."""
    return torch.nn.functional.mse_loss(predicted, target)
