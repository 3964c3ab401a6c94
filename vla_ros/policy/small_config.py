"""Sizes and vocabulary of the small model."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.efficientnet import LiteTrunk
from vla_ros.policy.small_vision import ConvTrunk

EncoderName = Literal["conv", "efficientnet_lite0"]


@dataclass(frozen=True)
class SmallVlmConfig:
    """Sizes and vocabulary of `SmallVlm`.

    Attributes:
        image_size: side of the square pictures [px].
        num_slots: most pictures of a sample; each place has its own embedding.
        encoder: "conv", or "efficientnet_lite0" for a trunk that may start from ImageNet's
            weights (`load_pretrained_encoder`).
        channels: widths of "conv": two at 1/4 of the size, one at 1/8.
        num_keypoints: spatial-softmax points a picture.
        keypoint_tokens: tokens that the points of one picture become.
        grid: side of the grid of patch tokens of a picture.
        joint_pictures: whether tokens of one picture see those of the others. Without, features of
            a picture depend on it and its slot alone.
        width, depth, num_heads: the transformer.
        max_text, max_suffix: tokens of an instruction, beyond which it is cut, and of a suffix.
        tokenizer: JSON text of `text_tokens.train_tokenizer`; "" has the 256 bytes alone.
        named_points: whether each text token has a keypoint of its own (`small_named`).
        num_action_tokens: see `SmallVlm.add_action_tokens`.
    """

    image_size: int = 128
    num_slots: int = 4
    encoder: EncoderName = "conv"
    channels: tuple[int, int, int] = (64, 64, 128)
    num_keypoints: int = 64
    keypoint_tokens: int = 4
    grid: int = 4
    joint_pictures: bool = True
    width: int = 192
    depth: int = 6
    num_heads: int = 6
    max_text: int = 128
    max_suffix: int = 256
    tokenizer: str = ""
    named_points: bool = False
    num_action_tokens: int = 0

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.encoder not in get_args(EncoderName):
            raise CheckpointError(
                f"encoder must be one of {', '.join(get_args(EncoderName))}, got {self.encoder!r}; "
                "correct the recipe"
            )
        cell = self.grid * (LiteTrunk if self.encoder != "conv" else ConvTrunk).coarse_stride
        if self.image_size % cell or self.width % self.num_heads or len(self.channels) != 3:
            raise CheckpointError(
                f"small model needs an image size in multiples of {cell} px (grid times stride), a "
                f"width in multiples of its heads and 3 channel widths, got {self.image_size} px, "
                f"{self.width} by {self.num_heads} and {self.channels}; correct the recipe"
            )

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {**asdict(self), "channels": list(self.channels)}

    @classmethod
    def from_dict(cls, data: dict) -> "SmallVlmConfig":
        """Return the config of `to_dict`'s result; raises CheckpointError on other keys."""
        try:
            return cls(**data)
        except TypeError as error:
            raise CheckpointError(
                f"config of the small model does not have the expected keys ({error}); "
                "it was written by another version, so train again"
            ) from None


def toy_config(depth: int = 1, max_suffix: int = 16) -> SmallVlmConfig:
    """Return sizes for tests and for recipes that only show that everything fits together."""
    return SmallVlmConfig(
        image_size=32,
        channels=(8, 8, 8),
        num_keypoints=4,
        keypoint_tokens=1,
        grid=2,
        width=16,
        depth=depth,
        num_heads=2,
        max_suffix=max_suffix,
    )
