"""One layer of the expert: attention and gated GELU, weights shared by both streams.

Pre-norm: RMSNorm on vision-language tokens; RMSNorm and FiLM (scale and shift from the diffusion
step, zero-initialised) on action tokens, before attention and before the feed-forward part;
queries and keys RMS-normalised; no biases (authors' code; FiLM also in the paper).

Legend: B batch, L vision-language tokens, A action tokens, W width, D backbone width, h heads,
d width of a head.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.positions import Positions
from vla_ros.policy.apt.rms_norm import NORM_EPS, rms_norm


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
    """Return (B, Q, h, d) of q (B, h, Q, d) and k, v (B, h, K, d).

    `hidden` (B, 1, Q, K) bool is True where a query may not look; None: nowhere.
    """
    if q.device.type == "cpu":
        # Plain matrix products: PyTorch's fused CPU attention is slow backward.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if hidden is not None:
            scores = scores.masked_fill(hidden, float("-inf"))
        attended = scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
    else:
        seen = None if hidden is None else ~hidden
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return attended.transpose(1, 2)


class Film(NamedTuple):
    """What a diffusion step makes of a layer's normalised actions, (S or B, 1, W) each.

    Attributes:
        scale1, shift1: before attention; the norm's own gain is in the scale.
        scale2, shift2: before the feed-forward part.
    """

    scale1: Tensor
    shift1: Tensor
    scale2: Tensor
    shift2: Tensor


class GatedGelu(nn.Module):
    """Feed-forward part: down(gelu(a) b) with a and b of one matrix."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.up = nn.Linear(width, 2 * ratio * width, bias=False)
        self.down = nn.Linear(ratio * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.gelu(gate, approximate="tanh") * value)


class Block(nn.Module):
    """A layer; what its actions attend depends on the style.

    Attributes:
        reads_prefix, reads_actions: both but in "groot", whose layers read one of them by turns.
        has_stream: whether vision-language tokens go on through this layer ("apt").
    """

    def __init__(self, config: AptConfig, place: int, is_last: bool, vlm_width: int):
        """Build layer number `place`; the last one only hands keys and values to the actions."""
        super().__init__()
        width = config.width
        self.num_heads = config.num_heads
        self.has_stream = config.style == "apt"
        is_groot = config.style == "groot"
        self.reads_prefix = not is_groot or place % 2 == 1
        self.reads_actions = not is_groot or place % 2 == 0
        if self.has_stream:
            self.prefix_norm1 = nn.RMSNorm(width, eps=NORM_EPS)
            self.prefix_norm2 = None if is_last else nn.RMSNorm(width, eps=NORM_EPS)
        elif self.reads_prefix:
            self.prefix_kv = nn.Linear(vlm_width, 2 * width, bias=False)
        self.action_norm1 = nn.RMSNorm(width, eps=NORM_EPS)
        self.action_norm2 = nn.RMSNorm(width, eps=NORM_EPS)
        self.film = nn.Linear(width, 4 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        # Queries alone where the keys are the prefix's.
        self.qkv = nn.Linear(width, (3 if self.reads_actions else 1) * width, bias=False)
        self.query_gain = nn.Parameter(torch.ones(width // config.num_heads))
        self.key_gain = nn.Parameter(torch.ones(width // config.num_heads))
        self.out = nn.Linear(width, width, bias=False)
        self.ffn = GatedGelu(width, config.ffn_ratio)

    def close(self) -> None:
        """Set the output projections to zero: what goes in comes out, bit for bit."""
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.ffn.down.weight)

    def _keyed(self, projected: Tensor, positions: Positions, part: int) -> Tensor:
        """Return queries and keys (n, B, h, L, d), normalised and turned, of (B, L, n W).

        `part` is 0 where the first is a query, 1 where it is a key.
        """
        gains = torch.stack([self.query_gain, self.key_gain])[:, None]
        parts = self._heads(projected)
        normed = rms_norm(parts, gains[part : part + parts.shape[2]])
        return positions.place(normed, part).permute(2, 0, 3, 1, 4)

    def _values(self, projected: Tensor, positions: Positions) -> Tensor:
        """Return values (B, h, L, d), turned, of (B, L, W)."""
        return positions.place(self._heads(projected), 2)[:, :, 0].transpose(1, 2)

    def _heads(self, projected: Tensor) -> Tensor:
        head_width = self.query_gain.numel()
        return projected.unflatten(-1, (-1, self.num_heads, head_width))  # (B, L, n, h, d)

    def read(
        self, x: Tensor, positions: Positions, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys and values (B, h, L, d) for the actions, and the stream (B, L, W) after.

        Args:
            x: (B, L, W) vision-language stream; without a stream, a backbone feature (B, L, D).
            positions: of its tokens.
            hidden: (B, 1, L, L) bool, True where a token may not look.
        """
        width = self.out.in_features
        if not self.has_stream:
            keys, values = self.prefix_kv(x).split(width, dim=-1)
            return self._keyed(keys, positions, 1)[0], self._values(values, positions), x
        projected = self.qkv(rms_norm(x, self.prefix_norm1.weight))
        q, k = self._keyed(projected[..., : 2 * width], positions, 0)
        v = self._values(projected[..., 2 * width :], positions)
        if self.prefix_norm2 is None:
            return k, v, x
        x = x + self.out(positions.unplace(attend(q, k, v, hidden)).flatten(2))
        return k, v, x + self.ffn(rms_norm(x, self.prefix_norm2.weight))

    def condition(self, embedded: Tensor) -> Film:
        """Return scales and shifts of embedded diffusion steps (S, W)."""
        scale1, shift1, scale2, shift2 = self.film(embedded)[:, None].chunk(4, dim=-1)
        return Film(
            self.action_norm1.weight * (1 + scale1),
            shift1,
            self.action_norm2.weight * (1 + scale2),
            shift2,
        )

    def ask(
        self, x: Tensor, film: Film, positions: Positions
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return q and, where actions are read, k and v (B, h, A, d) of actions x (B, A, W).

        `film` is of this layer's `condition`.
        """
        width = x.shape[-1]
        projected = self.qkv(torch.addcmul(film.shift1, rms_norm(x, None), film.scale1))
        keyed = self._keyed(projected[..., : 2 * width], positions, 0)
        if not self.reads_actions:
            return keyed[0], None, None
        return keyed[0], keyed[1], self._values(projected[..., 2 * width :], positions)

    def finish(self, x: Tensor, attended: Tensor, film: Film, positions: Positions) -> Tensor:
        """Return the actions (B, A, W) after attention's output (B, A, h, d)."""
        x = x + self.out(positions.unplace(attended).flatten(2))
        return x + self.ffn(torch.addcmul(film.shift2, rms_norm(x, None), film.scale2))
