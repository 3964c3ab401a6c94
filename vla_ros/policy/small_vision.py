"""Pictures to tokens for the small model: convolutions, keypoints and patches.

Every picture is encoded alone with shared weights, so what it gives can be kept and shared.

Legend: N pictures, C channels, K keypoints, G side of the grid of patches, D width.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Deviation of a keypoint's logits over the picture; its softmax then covers a few cells.
SHARPNESS = 3.0
# Points move by some hundredths of the picture between two frames; tokens want numbers near 1.
POINT_GAIN = 8.0


class Trunk(Protocol):
    """Convolutions: pictures (N, 3, H, W) in [-1, 1] to a fine and a coarse map of features.

    Attributes:
        fine_channels, coarse_channels: widths of the maps.
        coarse_stride: pixels from one cell of the coarse map to the next.
    """

    fine_channels: int
    coarse_channels: int
    coarse_stride: int

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]: ...


class ConvTrunk(nn.Module):
    """From scratch: two convolutions at 1/4 of the size (fine), one at 1/8 (coarse).

    No normalisation layers: on CPU they cost more than the convolutions they follow. Patches of
    4 x 4 px first: convolutions at full size would be most of the time.
    """

    coarse_stride = 8

    def __init__(self, channels: tuple[int, int, int]):
        super().__init__()
        c1, c2, c3 = channels
        self.fine_channels, self.coarse_channels = c2, c3
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, c1, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(c1, c2, 3, 1, 1),
            nn.ReLU(),
        )
        self.top = nn.Sequential(nn.Conv2d(c2, c3, 3, 2, 1), nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fine map (N, C2, H/4, W/4) and the coarse one (N, C3, H/8, W/8)."""
        fine = self.stem(images.contiguous(memory_format=torch.channels_last))
        return fine, self.top(fine)


class PictureEncoder(nn.Module):
    """A trunk, spatial-softmax keypoints on its fine map and a grid of patches of its coarse one.

    Keypoints (Levine et al. 2016, "End-to-end training of deep visuomotor policies") are expected
    positions of K learned features: motion between two pictures is a difference of them, and a
    transformer over patches alone has to discover subtraction first and sits on a plateau for tens
    of thousands of pairs. A patch token is linear in all cells of the patch, not their mean, which
    would lose where in the patch a thing is.
    """

    def __init__(self, trunk: Trunk, image_size: int, num_keypoints: int, grid: int, width: int):
        super().__init__()
        self.trunk = cast(nn.Module, trunk)
        self.merge = image_size // trunk.coarse_stride // grid
        self.keypoint_logits = nn.Conv2d(trunk.fine_channels, num_keypoints, 1)
        nn.init.kaiming_normal_(self.keypoint_logits.weight, nonlinearity="relu")
        self.patch = nn.Linear(trunk.coarse_channels * self.merge**2, width)
        self.patch_position = nn.Parameter(torch.randn(grid**2, width) * 0.02)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return keypoints, patches and the trunk's fine map of pictures (N, 3, H, W).

        Keypoints are (N, 2K) float32, all x, then all y, times POINT_GAIN; patches (N, G * G, D),
        row by row from the picture's top left.
        """
        fine, coarse = self.trunk(images)
        points = POINT_GAIN * spatial_softmax(self.keypoint_logits(fine))
        return points, self._patches(coarse) + self.patch_position, fine

    def _patches(self, coarse: Tensor) -> Tensor:
        """Return (N, G * G, D) of the coarse map (N, C, h, w), cells as they lie in memory.

        The weight has the order of `pixel_unshuffle`, channels first; turning it costs less than
        turning the map of every picture.
        """
        merge, grid = self.merge, coarse.shape[-1] // self.merge
        cells = coarse.permute(0, 2, 3, 1).unflatten(2, (grid, merge)).unflatten(1, (grid, merge))
        cells = cells.transpose(2, 3).reshape(len(coarse), grid**2, -1)
        weight = self.patch.weight.unflatten(1, (-1, merge**2)).transpose(1, 2).flatten(1)
        return F.linear(cells, weight, self.patch.bias)


def patch_centres(grid: int) -> Tensor:
    """Return (G * G, 2) float32: x and y of patches' centres in [-1, 1], row by row."""
    line = (torch.arange(grid) + 0.5) * (2 / grid) - 1
    return torch.stack([line.repeat(grid), line.repeat_interleave(grid)], -1)


def spatial_softmax(logits: Tensor) -> Tensor:
    """Return the expected positions (N, 2K) of maps (N, K, h, w): all x, then all y, in [-1, 1].

    Equation: x_k = sum_ij softmax(logits_k)_ij * x_ij, Levine et al. 2016, section 5.1. Each map
    is scaled to deviation SHARPNESS first: from random weights the plain softmax is all but flat,
    so every point sits in the middle and no gradient moves it. The scale itself has no gradient.
    In float32 also under autocast: 8 bits of mantissa are a pixel at this size.
    """
    height, width = logits.shape[2:]
    xs = torch.linspace(-1, 1, width, device=logits.device).repeat(height)
    ys = torch.linspace(-1, 1, height, device=logits.device).repeat_interleave(width)
    places = torch.stack([xs, ys, torch.ones_like(xs)])
    points = cast(Tensor, _ExpectedPlaces.apply(logits.flatten(2).transpose(1, 2), places))
    return points.flatten(1)


class _ExpectedPlaces(torch.autograd.Function):
    """Maps (N, hw, K) and what each cell is (3, hw): x, y and 1, to expected x and y (N, 2, K).

    Written out since the maps are the largest tensors of the small model: a third of a training
    step went by in the passes that autograd makes over them.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, places: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            centred = maps - maps.mean(1, keepdim=True, dtype=torch.float32)
            variance = centred.square().sum(1, keepdim=True) / (maps.shape[1] - 1)
            scale = SHARPNESS / (variance.sqrt() + 1e-4)
            highest = centred.amax(1, keepdim=True)
            powers = torch.addcmul(-scale * highest, centred, scale, out=centred).exp_()
            sums = places @ powers
            points = sums[:, :2] / sums[:, 2:]
        ctx.save_for_backward(powers, places, points, scale / sums[:, 2:])
        ctx.dtype = maps.dtype
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        powers, places, points, factor = ctx.saved_tensors
        with torch.autocast(powers.device.type, enabled=False):
            pull = gradients[0] * factor
            pull = torch.cat([pull, -(pull * points).sum(1, keepdim=True)], 1)
            return (places.T @ pull).mul_(powers).to(ctx.dtype), None
