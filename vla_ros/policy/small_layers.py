"""The transformer of the small model: pictures first, then language that reads them.

Legend: B batch, V pictures of one sample, K tokens of a picture, T tokens of one pass, M all tokens
up to the end of this pass, D width, h heads.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

# (B, h, M, D / h) each.
KeysValues = tuple[Tensor, Tensor]


class Layer(nn.Module):
    """Pre-norm transformer layer that may read keys and values of what came before."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width)
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: Tensor, past: KeysValues | None = None, visible: Tensor | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Return (B, T, D), and keys and values of past and present.

        Args:
            x: (B, T, D).
            past: of what came before.
            visible: (B, 1, T, M) bool, which tokens each one sees; None: all.
        """
        normed = self.norm1(x)
        keys, values = self.remember(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        queries = self._split(self.queries(normed))
        # Plain matrix products: PyTorch's fused CPU attention is slow backward on short sequences.
        scores = (queries @ keys.transpose(-1, -2)) * queries.shape[-1] ** -0.5
        if visible is not None:
            scores = scores.masked_fill(~visible, float("-inf"))
        attended = scores.softmax(-1).to(values.dtype) @ values
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x)), (keys, values)

    def remember(self, normed: Tensor) -> KeysValues:
        """Return keys and values alone of tokens (B, T, D) behind `norm1`."""
        keys, values = self.keys_values(normed).chunk(2, -1)
        return self._split(keys), self._split(values)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class Transformer(nn.Module):
    """Layers and a final norm; the feature of the last layer is behind that norm."""

    def __init__(self, width: int, depth: int, num_heads: int):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def see(
        self, pictures: Tensor, joint: bool, wanted: Sequence[int]
    ) -> tuple[list[KeysValues], dict[int, Tensor]]:
        """Pass pictures (B, V, K, D) through; they see each other if `joint`, else themselves.

        Returns:
            Every layer's keys and values (B, h, V * K, D / h), and the features (B, V * K, D) of
            the wanted layers by number.
        """
        batch, num_images = pictures.shape[:2]
        x = pictures.flatten(1, 2) if joint else pictures.flatten(0, 1)
        past, kept = [], {}
        last = len(self.layers) - 1
        for index, module in enumerate(self.layers):
            layer = cast(Layer, module)
            if index == last and last not in wanted:
                # Nobody reads what pictures become in the last layer, only what it shows to text.
                keys, values = layer.remember(layer.norm1(x))
            else:
                x, (keys, values) = layer(x)
            past.append((_together(keys, batch), _together(values, batch)))
            if index in wanted:
                kept[index] = self.norm(x) if index == last else x
        if not joint:
            kept = {i: k.unflatten(0, (batch, num_images)).flatten(1, 2) for i, k in kept.items()}
        return past, kept

    def hear(
        self, x: Tensor, past: Sequence[KeysValues], mask: Tensor, wanted: Sequence[int]
    ) -> tuple[Tensor, list[KeysValues], dict[int, Tensor]]:
        """Pass language (B, T, D) through, each token seeing itself and what is before.

        Args:
            x: embeddings.
            past: of every layer.
            mask: (B, M) bool, which of past and present tokens are valid. Every sample has some
                valid one before x.
            wanted: layers whose features to return.

        Returns:
            Normed features (B, T, D), keys and values of past and present, and the features of the
            wanted layers by number.
        """
        count, total = x.shape[1], mask.shape[1]
        causal = torch.ones(count, total, dtype=torch.bool, device=x.device).tril(total - count)
        visible = causal & mask[:, None, None]
        grown, kept = [], {}
        for index, layer in enumerate(self.layers):
            x, keys_values = layer(x, past[index], visible)
            grown.append(keys_values)
            if index in wanted:
                kept[index] = x
        x = self.norm(x)
        if len(self.layers) - 1 in kept:
            kept[len(self.layers) - 1] = x
        return x, grown, kept


def _together(x: Tensor, batch: int) -> Tensor:
    """Return (B, h, V * K, D / h) of (B * V, h, K, D / h), or of what is together already."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)
