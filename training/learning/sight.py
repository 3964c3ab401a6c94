"""Sight: where is each thing, told by the pictures' own features, without a word?

Words that ask for places themselves (`vla_ros.policy.small_named`) leave pictures nothing to tell,
and what stages without language learn from is pictures alone. So a head with a row for each name
looks at the features of pictures after the last layer, and a regression has it say where the thing
is. The head is thrown away afterwards, as that of `pointing` is.

Legend: B pictures, T tokens of a picture, K names, N things in a batch, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.learning.grounding import Shown
from training.learning.places import BETA
from vla_ros.policy.small_vlm import Encoded, SmallVlm

_HEADS, _HIDDEN = 4, 256


class Sight(nn.Module):
    """The head.

    Attributes:
        names: K of what is looked for.
    """

    def __init__(self, names: Sequence[str], width: int):
        super().__init__()
        self.names = tuple(names)
        self.rows = nn.Parameter(torch.randn(len(self.names), width))
        self.look = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.place = nn.Sequential(nn.Linear(2 * width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return places (B, K, 3) float32, in units of `places`, of features (B, T, D)."""
        rows = self.rows.expand(len(pictures), -1, -1)
        found, _ = self.look(rows, pictures, pictures, need_weights=False)
        return self.place(torch.cat([found, rows], 2)).float()


def sight_loss(sight: Sight, vlm: SmallVlm, encoded: Encoded, shown: Shown) -> Tensor:
    """Return the smooth L1 loss of the places of what shows."""
    output = vlm.read(encoded, None, layers=(vlm.num_layers - 1,))
    features = output.layers[0][:, output.is_image[0]]
    columns = torch.tensor([sight.names.index(name) for name in shown.names])
    guess = sight(features)[shown.about, columns[shown.named]]
    return functional.smooth_l1_loss(guess, shown.places, beta=BETA)
