"""Pointing: where is the thing that is named? A regression beside the answers in words.

A place told in tokens is learned slowly: each number is a class of its own, and most of the loss
is in how to say it. Told as three numbers by a small head on what the backbone makes of the
prompt, which is how TAP's MLP head reads an action, it is learned in a fraction of the steps
(training/LOG.md). The head is thrown away afterwards.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.learning.caption_data import Captions
from training.learning.precision import autocast
from vla_ros.policy.small_vlm import Asked, SmallVlm

# Those of captions' `where_place` but for the held-out one: head and answers in words share them.
PLACE_WORDINGS = (
    "where is the {x}?",
    "where on the table is the {x}?",
    "position of the {x}",
    "give the position of the {x} in millimetres",
    "where does the {x} lie?",
    "locate the {x}",
    "at which coordinates is the {x}?",
)
# The head's zero, in front of the arm, and its unit [m].
_ORIGIN_M, _UNIT_M = (0.25, 0.0, 0.05), 0.1
_HIDDEN = 256
_BATCH = 64


class Taught(nn.Module):
    """A backbone and the head that it points with.

    Attributes:
        vlm: the backbone.
        head: its features (N, D) to places (N, 3) in units from the origin.
    """

    def __init__(self, vlm: SmallVlm):
        super().__init__()
        self.vlm = vlm
        width = vlm.config.width
        self.head = nn.Sequential(nn.Linear(width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 3))


class Pointed(NamedTuple):
    """Questions for places, and the places.

    Attributes:
        asked: prompts without answers.
        names: N of what is asked for.
        places: (N, 3) float32 in base_link, in units from the origin.
    """

    asked: Asked
    names: list[str]
    places: Tensor


def draw_points(
    data: Captions, rng: np.random.Generator, frames: np.ndarray, per_frame: int
) -> Pointed:
    """Return questions for the gripper and what shows, up to `per_frame` different ones a frame."""
    about, names, places = [], [], []
    for row, frame in enumerate(frames):
        seen = data.places_m(frame)
        for name in rng.permutation(list(seen))[:per_frame].tolist():
            about.append(row)
            names.append(name)
            places.append(seen[name])
    wordings = rng.integers(len(PLACE_WORDINGS), size=len(names))
    prompts = [PLACE_WORDINGS[k].format(x=name) for k, name in zip(wordings, names, strict=True)]
    asked = Asked(torch.tensor(about), prompts, torch.empty(len(about), 0, dtype=torch.int64))
    scaled = ((np.array(places) - _ORIGIN_M) / _UNIT_M).astype(np.float32)
    return Pointed(asked, names, torch.from_numpy(scaled))


def pointing_loss(taught: Taught, features: Tensor, places: Tensor) -> Tensor:
    """Return the smooth L1 loss of features (N, 1, D) after the prompts."""
    return functional.smooth_l1_loss(taught.head(features[:, 0]).float(), places)


@torch.inference_mode()
def evaluate_pointing(taught: Taught, data: Captions, frames: int, bf16: bool) -> dict[str, float]:
    """Return {what: median distance [cm]} between places and true places on held-out frames."""
    chosen, rng = data.held_out[:frames], np.random.default_rng(0)
    apart: dict[str, list[float]] = {}
    for first in range(0, len(chosen), _BATCH):
        part = chosen[first : first + _BATCH]
        pointed = draw_points(data, rng, part, 1_000)
        with autocast("cpu", bf16):
            seen = taught.vlm.encode(data.pictures(part))
            (features,) = taught.vlm.asked_features(*seen, [pointed.asked])
            guess = taught.head(features[:, 0]).float()
        off_cm = 100.0 * _UNIT_M * (guess - pointed.places).norm(dim=1)
        for name, cm in zip(pointed.names, off_cm.tolist(), strict=True):
            apart.setdefault(name, []).append(cm)
    return {name: float(np.median(apart[name])) for name in sorted(apart)}
