"""Pointing: where is the thing that is named? A regression beside the answers in words.

A place told in tokens is learned slowly: each number is a class of its own, and most of the loss
is in how to say it. Told as three numbers by a small head on what the backbone makes of the
prompt, which is how TAP's MLP head reads an action, it is learned in a fraction of the steps
(training/LOG.md). The head is thrown away afterwards.

An instruction names two things: what to move, and where to. Both are pointed at. Any two things
that show may be named, so it says nothing about which pairs a policy is taught.

Legend: N questions, T things that a question names: 1, or 2 of an instruction, D width.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.learning.caption_data import GRIPPER, Captions
from training.learning.places import BETA, UNIT_M, in_units
from training.learning.precision import autocast
from training.learning.sight import Sight
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
# Instructions in the wording of demonstrations; others of the same meaning stay unheard.
TOLD_WORDINGS = ("put the {x} on the {y}", "put the {x} in the {y}")
# What errors of instructions are called in a report.
TOLD = ("what an instruction moves", "where an instruction moves it")
_HIDDEN = 256
_BLANKS = re.compile(r"\{[xy]\}")
_BATCH = 64
# Instructions of a held-out frame.
_TOLD_EACH = 4


class Taught(nn.Module):
    """A backbone, the head that it points with, and the one that looks at its pictures.

    Attributes:
        vlm: the backbone.
        sight: of what its pictures alone tell (`training.learning.sight`).
        head: its features (N, D) to places (N, 6) in units from the origin: of what is named first,
            and second.
    """

    def __init__(self, vlm: SmallVlm, names: Sequence[str]):
        super().__init__()
        self.vlm, self.sight = vlm, Sight(names, vlm.config.width)
        width = vlm.config.width
        self.head = nn.Sequential(nn.Linear(width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 6))


class PlaceQuestions(NamedTuple):
    """Questions for places, and the places.

    Attributes:
        asked: prompts without answers.
        kinds: N tuples of T, what the error of each place counts for in tables.
        places: (N, T, 3) float32 in base_link, in units from the origin.
    """

    asked: Asked
    kinds: list[tuple[str, ...]]
    places: Tensor


def draw_points(
    data: Captions, rng: np.random.Generator, frames: np.ndarray, per_frame: int
) -> PlaceQuestions:
    """Return questions for the gripper and what shows, up to `per_frame` different ones a frame."""
    about, named, places = [], [], []
    for row, frame in enumerate(frames):
        seen = data.places_m(frame)
        for name in rng.permutation(list(seen))[:per_frame].tolist():
            about.append(row)
            named.append({"x": name})
            places.append([seen[name]])
    kinds = [(names["x"],) for names in named]
    return _questions(rng, PLACE_WORDINGS, about, named, kinds, places)


def draw_told(
    data: Captions, rng: np.random.Generator, frames: np.ndarray, per_frame: int
) -> PlaceQuestions:
    """Return instructions about things that show, `per_frame` for each frame that shows two."""
    about, named, places = [], [], []
    for row, frame in enumerate(frames):
        seen = data.places_m(frame)
        things = [name for name in seen if name != GRIPPER]
        for _ in range(per_frame if len(things) > 1 else 0):
            x, y = rng.permutation(things)[:2].tolist()
            about.append(row)
            named.append({"x": x, "y": y})
            places.append([seen[x], seen[y]])
    return _questions(rng, TOLD_WORDINGS, about, named, [TOLD] * len(named), places)


def _questions(
    rng: np.random.Generator,
    wordings: tuple[str, ...],
    about: list[int],
    named: list[dict[str, str]],
    kinds: list[tuple[str, ...]],
    places: list[list[list[float]]],
) -> PlaceQuestions:
    chosen = rng.integers(len(wordings), size=len(named))
    prompts = [wordings[k].format(**names) for k, names in zip(chosen, named, strict=True)]
    rows = torch.tensor(about, dtype=torch.int64)
    asked = Asked(rows, prompts, torch.empty(len(about), 0, dtype=torch.int64))
    things_m = np.array(places).reshape(len(named), len(_BLANKS.findall(wordings[0])), 3)
    return PlaceQuestions(asked, kinds, in_units(things_m))


def pointing_loss(taught: Taught, features: Tensor, places: Tensor) -> Tensor:
    """Return the smooth L1 loss of features (N, 1, D) after the prompts, of places (N, T, 3)."""
    guess = _guessed(taught, features, places.shape[1])
    return functional.smooth_l1_loss(guess, places, beta=BETA)


def _guessed(taught: Taught, features: Tensor, count: int) -> Tensor:
    """Return (N, T, 3) of features (N, 1, D)."""
    return taught.head(features[:, 0]).float().unflatten(1, (-1, 3))[:, :count]


@torch.inference_mode()
def evaluate_pointing(taught: Taught, data: Captions, frames: int, bf16: bool) -> dict[str, float]:
    """Return {what: median distance [cm]} between places and true places on held-out frames."""
    chosen, rng = data.held_out[:frames], np.random.default_rng(0)
    apart: dict[str, list[float]] = {}
    for first in range(0, len(chosen), _BATCH):
        part = chosen[first : first + _BATCH]
        drawn = draw_points(data, rng, part, 1_000), draw_told(data, rng, part, _TOLD_EACH)
        questions = [one for one in drawn if one.kinds]
        with autocast("cpu", bf16):
            seen = taught.vlm.encode(data.pictures(part))
            features = taught.vlm.asked_features(seen, [one.asked for one in questions])
        for one, x in zip(questions, features, strict=True):
            for kinds, distances in zip(one.kinds, _off_cm(taught, x, one).tolist(), strict=True):
                for kind, cm in zip(kinds, distances, strict=True):
                    apart.setdefault(kind, []).append(cm)
    return {kind: float(np.median(apart[kind])) for kind in sorted(apart)}


def _off_cm(taught: Taught, features: Tensor, questions: PlaceQuestions) -> np.ndarray:
    """Return distances (N, T) [cm]."""
    guess = _guessed(taught, features, questions.places.shape[1])
    return (100.0 * UNIT_M * (guess - questions.places).norm(dim=2)).numpy()
