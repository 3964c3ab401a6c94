"""A vision-language backbone of a few million parameters for CPUs, trained from scratch.

The interface that a pretrained model can stand behind later:
`forward(images (B, V, 3, H, W), text: list[str] | None) -> features (B, L, D), mask (B, L)`,
where the last position is always valid and is the one to read an answer from.

Legend: B batch, V images of one sample, C channels, K keypoints, L tokens, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.small_vision import POINT_GAIN, spatial_softmax
from vla_ros.policy.tokenizer import MAX_WORDS, PADDING, tokenize


@dataclass(frozen=True)
class SmallVlmConfig:
    """Sizes of `SmallVlm`.

    Attributes:
        image_size: side of the square input image [px], a multiple of 32.
        num_slots: images a sample may have; each has its own embedding.
        channels: widths of the three convolution stages: two at 1/4 of the size, one at 1/8.
        num_keypoints: spatial-softmax points an image.
        keypoint_tokens: tokens that the points of one image become.
        grid: side of the pooled grid of feature tokens an image.
        width, depth, num_heads: the transformer.
        text_buckets: rows of the hashed text embedding.
    """

    image_size: int = 128
    num_slots: int = 2
    channels: tuple[int, int, int] = (64, 64, 128)
    num_keypoints: int = 64
    keypoint_tokens: int = 4
    grid: int = 4
    width: int = 192
    depth: int = 4
    num_heads: int = 6
    text_buckets: int = 4096

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.image_size % 32 or self.width % self.num_heads or len(self.channels) != 3:
            raise CheckpointError(
                f"backbone needs an image size in multiples of 32, a width in multiples of its "
                f"heads and 3 channel widths, got {self}; correct the recipe"
            )


class SmallVlm(nn.Module):
    """Convolutional image encoder, hashed-word text, transformer over the tokens.

    Every image is encoded alone with shared weights. Beside pooled feature tokens it yields
    spatial-softmax keypoints (Levine et al. 2016, "End-to-end training of deep visuomotor
    policies"): expected image positions of K learned features. Each slot has its own projection
    of these positions, so motion between two images is a linear function of the tokens; a
    transformer over pooled features alone has to discover subtraction first and sits on a
    plateau for tens of thousands of pairs.
    """

    def __init__(self, config: SmallVlmConfig):
        super().__init__()
        self.config = config
        c1, c2, c3 = config.channels
        width, slots = config.width, config.num_slots
        # No normalisation layers: on CPU they cost more than the convolutions they follow. Patches
        # of 4 x 4 px first: convolutions at full size would be most of the time.
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, c1, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(c1, c2, 3, 1, 1),
            nn.ReLU(),
        )
        self.keypoint_logits = nn.Conv2d(c2, config.num_keypoints, 1)
        self.top = nn.Sequential(nn.Conv2d(c2, c3, 3, 2, 1), nn.ReLU())
        self.grid_projection = nn.Linear(c3, width)
        self.grid_position = nn.Parameter(torch.randn(config.grid**2, width) * 0.02)
        projections = [
            nn.Linear(2 * config.num_keypoints, (config.keypoint_tokens + 1) * width)
            for _ in range(slots)
        ]
        # Slots start with opposite signs, so what the readout sees first is displacement.
        with torch.no_grad():
            for slot, projection in enumerate(projections):
                projection.weight[:width] = (-1) ** slot * projections[0].weight[:width]
        self.slot_projections = nn.ModuleList(projections)
        self.slot_embeddings = nn.ParameterList(
            nn.Parameter(torch.randn(width) * 0.02) for _ in range(slots)
        )
        self.text_embedding = nn.Embedding(config.text_buckets, width, padding_idx=PADDING)
        self.text_position = nn.Parameter(torch.randn(MAX_WORDS, width) * 0.02)
        self.readout = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, config.num_heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.text_embedding.weight, std=0.2)

    def parameters_unused(self, num_images: int, with_text: bool) -> list[nn.Parameter]:
        """Return the parameters that an input of this form never reaches."""
        unused = []
        for slot in range(num_images, self.config.num_slots):
            unused += [*self.slot_projections[slot].parameters(), self.slot_embeddings[slot]]
        if not with_text:
            unused += [self.text_embedding.weight, self.text_position]
        return unused

    def forward(self, images: Tensor, text: list[str] | None) -> tuple[Tensor, Tensor]:
        """Return features (B, L, D) and mask (B, L) bool, True where a token is valid.

        Args:
            images: (B, V, 3, H, W) in [-1, 1], H = W = image_size, V <= num_slots.
            text: B instructions, or None for no text token at all.
        """
        batch, num_images = images.shape[:2]
        assert num_images <= self.config.num_slots
        assert images.shape[-1] == self.config.image_size
        points, grid = self.encode_images(images.flatten(0, 1))
        points = points.unflatten(0, (batch, num_images))  # (B, V, 2K)
        grid = grid.unflatten(0, (batch, num_images))  # (B, V, G*G, D)
        tokens: list[Tensor] = []
        readout = self.readout.expand(batch, 1, -1)
        for slot in range(num_images):
            projected = self.slot_projections[slot](points[:, slot])
            projected = projected.unflatten(1, (-1, self.config.width))  # (B, 1 + P, D)
            # The residual stream carries the points straight to the readout.
            readout = readout + projected[:, :1]
            tokens += [projected[:, 1:], grid[:, slot] + self.slot_embeddings[slot]]
        count = sum(part.shape[1] for part in tokens)
        masks = [torch.ones(batch, count, dtype=torch.bool, device=images.device)]
        if text is not None:
            embedded, text_mask = self.embed_text(text)
            tokens.append(embedded)
            masks.append(text_mask)
        tokens.append(readout)
        masks.append(masks[0][:, :1])
        x = torch.cat(tokens, dim=1)  # (B, L, D)
        mask = torch.cat(masks, dim=1)  # (B, L)
        for block in self.blocks:
            x = block(x, mask if text is not None else None)
        return self.norm(x), mask

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints (N, 2K) and grid tokens (N, G*G, D) of images (N, 3, H, W)."""
        images = images.contiguous(memory_format=torch.channels_last)
        features = self.stem(images)  # (N, C2, H/4, W/4)
        points = POINT_GAIN * spatial_softmax(self.keypoint_logits(features))
        pooled = F.adaptive_avg_pool2d(self.top(features), self.config.grid)  # (N, C3, G, G)
        grid = self.grid_projection(pooled.flatten(2).transpose(1, 2)) + self.grid_position
        return points, grid

    def embed_text(self, text: list[str]) -> tuple[Tensor, Tensor]:
        """Return word tokens (B, W, D) and their mask (B, W) bool."""
        ids, mask = tokenize(text, self.config.text_buckets)
        device = self.text_position.device
        embedded = self.text_embedding(torch.from_numpy(ids).to(device)).sum(2)  # (B, W, D)
        return embedded + self.text_position[: ids.shape[1]], torch.from_numpy(mask).to(device)


class Block(nn.Module):
    """Pre-norm transformer block with full attention."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return (B, L, D); tokens attend where mask (B, L) is True, everywhere if None."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, L, D/heads) each
        # Plain matrix products: PyTorch's fused CPU attention is slow backward on short sequences.
        scores = (q @ k.transpose(-1, -2)) * (width // self.num_heads) ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        attended = (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).reshape(batch, length, -1)
        x = x + self.out(attended)
        return x + self.mlp(self.norm2(x))
