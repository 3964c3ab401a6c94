"""Grounding: in which cell of the picture is what a word names? For backbones with named points.

A cross-entropy over the cells for each thing that shows. It teaches the convolutions to tell things
apart within some hundred steps, where pointing and answers alone take thousands; and as words ask
for cells by their own embeddings, what is learned here is what text tokens begin with
(`vla_ros.policy.small_named`, training/LOG.md).

`words_off` says how much of it a backbone has kept through later training.

Legend: N things in a batch.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.learning.caption_data import Captions
from training.learning.places import in_units
from vla_ros.policy.small_vlm import Encoded, SmallVlm

# A word is off where its cell is further than this from what it names [picture widths]; for the
# front camera that is some 9 cm on the table.
OFF_WIDTHS = 0.1
_BATCH = 64


class Shown(NamedTuple):
    """Things that show in the pictures of a batch.

    Attributes:
        names: different ones.
        about: (N,) int64, which picture each thing is in.
        named: (N,) int64, which of the names it has.
        uv: (N, 2) float32, where in the picture, (0, 0) its upper left corner, (1, 1) the other.
        places: (N, 3) float32, where in base_link, in units of `places`.
    """

    names: list[str]
    about: Tensor
    named: Tensor
    uv: Tensor
    places: Tensor


def shown_things(data: Captions, frames: np.ndarray) -> Shown:
    """Return all things that show in the frames, and the gripper where it is in the picture."""
    found = []
    for row, frame in enumerate(frames):
        places_m = data.places_m(frame)
        found += [(row, name, uv, places_m[name]) for name, uv in data.places_uv(frame).items()]
    names = sorted({name for _, name, _, _ in found})
    return Shown(
        names,
        torch.tensor([row for row, _, _, _ in found], dtype=torch.int64),
        torch.tensor([names.index(name) for _, name, _, _ in found], dtype=torch.int64),
        torch.tensor([uv for _, _, uv, _ in found], dtype=torch.float32).reshape(-1, 2),
        in_units(np.array([place_m for _, _, _, place_m in found]).reshape(-1, 3)),
    )


def grounding_loss(vlm: SmallVlm, encoded: Encoded, shown: Shown) -> Tensor:
    """Return the mean cross-entropy of the things' cells, of pictures with one camera each."""
    heat, side = _heat(vlm, encoded, shown)
    column, line = (shown.uv * side).long().clamp(0, side - 1).unbind(1)
    return functional.cross_entropy(heat, line * side + column)


def _heat(vlm: SmallVlm, encoded: Encoded, shown: Shown) -> tuple[Tensor, int]:
    """Return logits (N, M) of where each thing is, by its name, and how many cells a side has."""
    heat = vlm.heat(encoded, shown.names)[shown.about, 0, shown.named].float()
    return heat, round(heat.shape[1] ** 0.5)


@torch.inference_mode()
def words_off(vlm: SmallVlm, data: Captions) -> dict[str, float]:
    """Return the share of held-out pictures in which a word points elsewhere, by name.

    Of the things that show. The cell is the one that a word's embedding asks for most: what its
    token begins with, before the transformer.

    Raises:
        ContractError: the model has no named points.
    """
    off: dict[str, list[bool]] = {}
    for first in range(0, len(data.held_out), _BATCH):
        frames = data.held_out[first : first + _BATCH]
        shown = shown_things(data, frames)
        if not shown.names:
            continue
        heat, side = _heat(vlm, vlm.encode(data.pictures(frames)), shown)
        cells = heat.argmax(1)
        found = (torch.stack([cells % side, cells // side], 1) + 0.5) / side
        is_off = (found - shown.uv).norm(dim=1) > OFF_WIDTHS
        for number, name in enumerate(shown.names):
            off.setdefault(name, []).extend(is_off[shown.named == number].tolist())
    return {name: sum(each) / len(each) for name, each in sorted(off.items())}
