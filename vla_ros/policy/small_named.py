"""Where in the pictures what a word names may be: points that a word's own embedding asks for.

Spatial-softmax keypoints (`small_vision`) are found without language, so a transformer has to learn
which of them is the carrot's, and that is slow: a place costs many times the steps that recognising
the thing costs (training/LOG.md). Here each text token has a keypoint of its own in each picture,
whose map is the product of a linear function of its embedding with a linear function of the
picture's fine map. The expected position is added to the token. A word that names nothing in sight
gets some point, too, which its reader learns to leave alone; features of pictures stay without
language.

Legend: B batch, V pictures of one sample, C channels, M cells of the map, N words, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_ros.policy.small_vision import POINT_GAIN, patch_centres

_CHANNELS = 64


class Pointed(NamedTuple):
    """Where words point in the pictures of a batch.

    Attributes:
        words: (N,) int64, tokens in rising order.
        places: (B, V, N, 2) float32, expected x and y in [-1, 1] times POINT_GAIN.
    """

    words: Tensor
    places: Tensor


class NamedPoints(nn.Module):
    """Maps of words on a picture, and what their points add to the tokens."""

    def __init__(self, fine_channels: int, width: int, num_slots: int):
        super().__init__()
        self.cells = nn.Conv2d(fine_channels, _CHANNELS, 1)
        self.query = nn.Linear(width, _CHANNELS)
        # One tensor for all slots, as the keypoints' of `SmallVlm`.
        self.weight = nn.Parameter(torch.empty(num_slots, 2, width).uniform_(-0.5, 0.5))

    def heat(self, words: Tensor, cells: Tensor) -> Tensor:
        """Return logits (B, V, N, M) over the cells, row by row, of embedded words (N, D).

        Args:
            words: as the transformer takes them, without positions.
            cells: (B, V, C, M), what `cells` makes of the fine maps.
        """
        return self.query(words) @ cells

    def forward(self, tokens: Tensor, words: Tensor, cells: Tensor) -> Pointed:
        """Return where the tokens (N,), embedded as words (N, D), point in the pictures."""
        heat = self.heat(words, cells)
        # In float32 also under autocast: 8 bits of mantissa are a pixel at this size.
        with torch.autocast(heat.device.type, enabled=False):
            centres = patch_centres(round(heat.shape[-1] ** 0.5)).to(heat.device)
            places = POINT_GAIN * (heat.float().softmax(-1) @ centres)
        return Pointed(tokens, places)

    def added(self, pointed: Pointed, ids: Tensor, about: Tensor | None = None) -> Tensor:
        """Return (Q, T, D), what is added to text tokens `ids` (Q, T).

        `about` (Q,) tells which sample each is of; None: Q is B, in order.
        """
        places = pointed.places if about is None else pointed.places[about]
        which = torch.searchsorted(pointed.words, ids)[:, None, :, None]  # (Q, 1, T, 1)
        count = places.shape[1]
        picked = places.gather(2, which.expand(-1, count, -1, 2))  # (Q, V, T, 2)
        return torch.einsum("qvtx,vxd->qtd", picked.to(self.weight.dtype), self.weight[:count])
