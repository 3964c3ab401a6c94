"""Where a token is, written into queries, keys and values: PRoPE by camera, rotary by index.

PRoPE (Li et al. 2025, "Cameras as relative positional encoding") on the first half of each head,
in groups of 4: a token's 4 x 4 camera pose C multiplies its key and value, its inverse multiplies
query (transposed) and output. So a query of camera q meets C_q^-1 C_k: relations of cameras, the
same in every world frame.

The other half turns by index (rotary, Su et al. 2021). In inherited layers only actions have an
index, their step: the record leaves that half silent, and without it a chunk's steps could not be
told apart. In inserted layers the half that PRoPE would take has no position ("RoPE on half the
head dimensions", authors' code).

Legend: B batch, L tokens, h heads, d width of a head, F = d / 4 frequencies.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

ROTARY_BASE = 10_000.0
# A picture spans so many positions with "mrope": Qwen's 256 px in patches of 32.
MROPE_GRID = 8


@dataclass(frozen=True, eq=False)
class Positions:
    """How tokens are turned, ready to use; parts that turn nothing are None.

    Attributes:
        into: (B, L, 3, 4, 4) for query, key and value; back: (B, L, 4, 4) for the output.
        cos, sin: (B, L, 1, 1, 2 F) for both numbers of a pair, which lie F apart; of the first,
            sin is negative.
    """

    into: Tensor | None = None
    back: Tensor | None = None
    cos: Tensor | None = None
    sin: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """L."""
        turned = self.into if self.into is not None else self.cos
        assert turned is not None
        return turned.shape[1]

    def repeated(self, times: int) -> "Positions":
        """Return those of each sample so often in a row."""
        parts = (self.into, self.back, self.cos, self.sin)
        return Positions(*(None if x is None else x.repeat_interleave(times, 0) for x in parts))

    def place(self, x: Tensor, part: int) -> Tensor:
        """Return x (B, L, n, h, d), turned.

        Args:
            x: queries and keys, queries, keys, or values, along axis 2.
            part: which the first is: 0 query, 1 key, 2 value. Values have no index.
        """
        has_index = self.cos is not None and part < 2
        if self.into is None and not has_index:
            return x
        by_camera, by_index = x.chunk(2, dim=-1)
        if self.into is not None:
            by_camera = _multiply(self.into[:, :, part : part + x.shape[2]], by_camera)
        if has_index:
            assert self.cos is not None
            assert self.sin is not None
            others = by_index.roll(by_index.shape[-1] // 2, -1)
            cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
            by_index = torch.addcmul(by_index * cos, others, sin)
        return torch.cat([by_camera, by_index], -1)

    def unplace(self, attended: Tensor) -> Tensor:
        """Return outputs (B, L, h, d) in each token's own camera."""
        if self.back is None:
            return attended
        by_camera, rest = attended.chunk(2, dim=-1)
        return torch.cat([_multiply(self.back, by_camera), rest], -1)


def _multiply(matrices: Tensor, x: Tensor) -> Tensor:
    """Return x (..., h, 4 g) with each group of 4 multiplied by matrices (..., 4, 4).

    In float32 also under autocast: 8 bits of a pose in metres are millimetres at best.
    """
    with torch.autocast(x.device.type, enabled=False):
        groups = x.float().reshape(*x.shape[:-2], -1, 4)
        return (groups @ matrices.transpose(-1, -2)).reshape(x.shape).to(x.dtype)


def camera_positions(poses: Tensor | None, index: Tensor | None, num_frequencies: int) -> Positions:
    """Return PRoPE by poses (B, L, 4, 4), and rotary by `index` (B, L), where they are given."""
    cos, sin = (None, None) if index is None else _angles(index[..., None], num_frequencies)
    if poses is None:
        return Positions(cos=cos, sin=sin)
    rotation, centre = poses[..., :3, :3], poses[..., :3, 3:]
    inverse = torch.zeros_like(poses)
    inverse[..., :3, :3] = rotation.transpose(-1, -2)
    inverse[..., :3, 3:] = -rotation.transpose(-1, -2) @ centre
    inverse[..., 3, 3] = 1.0
    into = torch.stack([inverse.transpose(-1, -2), poses, poses], 2)
    return Positions(into, inverse, cos, sin)


def index_positions(index: Tensor, num_frequencies: int) -> Positions:
    """Return rotary positions by `index` (B, L, 1), or (B, L, 3) for time, row and column."""
    cos, sin = _angles(index, num_frequencies)
    return Positions(cos=cos, sin=sin)


def _angles(index: Tensor, num_frequencies: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin (B, L, 1, 1, 2 F) as `Positions` has them.

    The axes of `index` take the frequencies by turns.
    """
    order = torch.arange(num_frequencies, device=index.device)
    frequency = ROTARY_BASE ** (-order.float() / num_frequencies)
    angle = (index.float()[..., order % index.shape[-1]] * frequency)[:, :, None, None]
    sin = angle.sin()
    return angle.cos().repeat(1, 1, 1, 1, 2), torch.cat([-sin, sin], -1)


def prefix_index(is_image: Tensor, mask: Tensor, patch_xy: Tensor, form: str) -> Tensor:
    """Return positions (B, L, 1 or 3) of vision-language tokens in inserted layers.

    "rope": pictures share position 0, text counts from 1. "mrope": pictures have time 0 and their
    patch's row and column, text counts all three from MROPE_GRID on, as Qwen's does.
    """
    count = (mask & ~is_image).long().cumsum(1).float()
    if form == "rope":
        return torch.where(is_image, 0.0, count)[..., None]
    column, row = ((patch_xy.float() + 1) * (MROPE_GRID / 2)).unbind(-1)
    of_image = torch.stack([torch.zeros_like(row), row, column], -1)
    return torch.where(is_image[..., None], of_image, (MROPE_GRID + count)[..., None])


def action_index(prefix: Tensor, is_image: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
    """Return positions (B, A, 1 or 3) of actions in inserted layers: on from the text's last.

    Args:
        prefix: (B, L, 1 or 3) of `prefix_index`.
        is_image, mask: (B, L) bool.
        steps: (A,) each action token's step, from 0.
    """
    is_text = (mask & ~is_image)[..., None]
    floor = 0.0 if prefix.shape[-1] == 1 else float(MROPE_GRID)
    last = torch.where(is_text, prefix, floor).amax(1, keepdim=True)  # (B, 1, 1 or 3)
    return last + 1 + steps[None, :, None]
