"""What a policy would have done at frames of recordings, against predictors that learn nothing.

Baselines: a constant, which is the median or the mean of training's actions; the motion that led to
the frame, repeated ("repeat last"); the action of the training frame whose pictures are nearest
("nearest neighbour", see `baselines`); for chunks also "hold", the present pose.

Errors are absolute and in units. The last column puts a frame into one number: for TAP the mean
over the seven numbers, motion in halves of the checkpoint's action range; for APT the weighted L1
distance of the chunk that training's loss has (30, 10, 10).

Legend: N tested frames, D columns, H steps of a chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from training.learning.baselines import nearest, picture_features
from training.learning.held_out import Part
from training.learning.open_loop_frames import Frames, frames_of
from vla_ros.core.chunks import GRIPPER, ROTATION, TRANSLATION, rotation_from_6d
from vla_ros.core.errors import DatasetError
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.normalize import Normalizer

POLICY = "policy"
TAP_COLUMNS = (
    *((name, "m") for name in ("dx", "dy", "dz")),
    *((name, "rad") for name in ("drx", "dry", "drz")),
    ("gripper", "opening"),
    ("overall", "of the range"),
)
CHUNK_COLUMNS = (("x", "m"), ("y", "m"), ("z", "m"), ("turn", "rad"), ("gripper", "opening"))
# Steps of a chunk that are told, those that it has.
STEPS = (1, 8, 32)
# More frames of training make neighbours little nearer and the search long.
MAX_KNOWN = 20_000


@dataclass(frozen=True)
class OpenLoop:
    """Errors of the policy and of the baselines.

    Attributes:
        columns: (name, unit) of each.
        errors: (N, D) float64 of POLICY and each baseline; NaN where a chunk has no such step.
        recordings: (N,) int64, which recording a frame is of.
        num_known: frames of training that neighbours were sought among.
    """

    columns: tuple[tuple[str, str], ...]
    errors: dict[str, np.ndarray]
    recordings: np.ndarray
    num_known: int


def measure(
    checkpoint: Checkpoint,
    parts: list[Part],
    samples: int,
    device: torch.device,
    progress: Callable[[str], None] = lambda what: None,
) -> OpenLoop:
    """Return the errors on at most `samples` tested frames, evenly spread: always the same.

    Args:
        checkpoint: with its policy on `device`, in evaluation mode.
        parts: of `held_out.parts_of`.
        samples: most frames.
        device: to compute on.
        progress: told what is done next.

    Raises:
        DatasetError: there is nothing to test or to compare with.
    """
    known = [frames_of(checkpoint, p.dataset, p.trained) for p in parts if p.trained]
    tested = [(p, frames_of(checkpoint, p.dataset, p.tested)) for p in parts if p.tested]
    if not tested:
        raise DatasetError("no episode to test; give --data with some that were not trained on")
    progress("constants and neighbours")
    labels = np.concatenate([frames.labels for frames in known])
    columns, error_of = _errors(checkpoint, labels)
    chosen = _spread([len(frames.labels) for _, frames in tested], samples)
    taken = [(part, frames, rows) for (part, frames), rows in zip(tested, chosen, strict=True)]
    true = np.concatenate([frames.labels[rows] for _, frames, rows in taken])
    mask = np.concatenate([frames.mask[rows] for _, frames, rows in taken])
    guesses = {
        "constant (median)": np.broadcast_to(np.median(labels, axis=0), true.shape),
        "constant (mean)": np.broadcast_to(labels.mean(axis=0), true.shape),
        "repeat last": np.concatenate([frames.last[rows] for _, frames, rows in taken]),
    }
    holds = [hold[rows] for _, frames, rows in taken if (hold := frames.hold) is not None]
    if holds:
        guesses["hold"] = np.concatenate(holds)
    guesses["nearest neighbour"], num_known = _neighbours(parts, known, taken)
    progress(f"the policy on {len(true)} frames")
    found = [frames.predict(checkpoint, rows, device) for _, frames, rows in taken if len(rows)]
    guesses = {POLICY: np.concatenate(found), **guesses}
    errors = {name: error_of(guess, true, mask) for name, guess in guesses.items()}
    return OpenLoop(columns, errors, _recordings(taken), num_known)


def _spread(counts: list[int], samples: int) -> list[np.ndarray]:
    """Return rows of each part: at most `samples` of all, evenly spread."""
    total = sum(counts)
    chosen = np.unique(np.linspace(0, total - 1, min(total, samples)).astype(int))
    starts = np.cumsum([0, *counts])
    ends = np.searchsorted(chosen, starts)
    return [
        chosen[a:b] - start for a, b, start in zip(ends[:-1], ends[1:], starts[:-1], strict=True)
    ]


def _recordings(taken: list[tuple[Part, Frames, np.ndarray]]) -> np.ndarray:
    names = [
        (part.dataset.sha256, bag) for part, frames, rows in taken for bag in frames.bags[rows]
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _neighbours(
    parts: list[Part], known: list[Frames], taken: list[tuple[Part, Frames, np.ndarray]]
) -> tuple[np.ndarray, int]:
    """Return the labels of the nearest training frames, and among how many they were sought.

    A frame of the tested episode itself is no neighbour (tested are trained episodes with "all").
    """
    names = [part.dataset.sha256 for part in parts if part.trained]
    rows = _spread([len(frames.labels) for frames in known], MAX_KNOWN)
    features = np.concatenate([_features(f, r) for f, r in zip(known, rows, strict=True)])
    tasks = np.concatenate([f.tasks[r] for f, r in zip(known, rows, strict=True)])
    labels = np.concatenate([f.labels[r] for f, r in zip(known, rows, strict=True)])
    origin = np.concatenate(
        [[f"{n}/{b}" for b in f.bags[r]] for n, f, r in zip(names, known, rows, strict=True)]
    )
    trained = {(part.dataset.sha256, e.first) for part in parts for e in part.trained}
    found = []
    for part, frames, some in taken:
        if not len(some):
            continue
        barred = None
        if any((part.dataset.sha256, e.first) in trained for e in part.tested):
            own = np.array([f"{part.dataset.sha256}/{bag}" for bag in frames.bags[some]])
            barred = own[:, None] == origin
        found.append(nearest(features, _features(frames, some), tasks, frames.tasks[some], barred))
    return labels[np.concatenate(found)], len(labels)


def _features(frames: Frames, rows: np.ndarray) -> np.ndarray:
    blocks = np.split(rows, range(256, len(rows), 256))
    return np.concatenate([picture_features(frames.pictures(some)) for some in blocks])


def _errors(checkpoint: Checkpoint, labels: np.ndarray):
    """Return the columns, and the function (guess, true, mask) -> errors (N, D)."""
    if checkpoint.normalizer is not None:
        normalizer = checkpoint.normalizer
        return TAP_COLUMNS, lambda guess, true, mask: action_errors(guess, true, normalizer)
    steps = [step for step in STEPS if step <= labels.shape[1]]
    columns = [(f"{name}, step {step}", unit) for step in steps for name, unit in CHUNK_COLUMNS]
    weights = np.array(checkpoint.policy.config.to_dict()["loss_weights"])
    return (*columns, ("overall", "weighted L1")), (
        lambda guess, true, mask: chunk_errors(guess, true, mask, steps, weights)
    )


def action_errors(guess: np.ndarray, true: np.ndarray, normalizer: Normalizer) -> np.ndarray:
    """Return absolute errors (N, 8) of actions (N, 7): each number's, and overall.

    Overall is the mean of all seven, motion over half of the normaliser's range.
    """
    error = np.abs(np.asarray(guess, np.float64) - true)
    half = np.append((normalizer.high - normalizer.low) / 2, 1.0)
    return np.concatenate([error, (error / half).mean(1, keepdims=True)], axis=1)


def chunk_errors(
    guess: np.ndarray, true: np.ndarray, mask: np.ndarray, steps: list[int], weights: np.ndarray
) -> np.ndarray:
    """Return absolute errors (N, 5 len(steps) + 1) of chunks (N, H, 10); NaN beyond the episode.

    At each step: x, y and z [m] in the camera's axes, the angle between the rotations [rad], the
    gripper's opening. Overall: L1 of translation, 6-D rotation and gripper by their `weights`,
    over the steps that exist.
    """
    guess, true = np.asarray(guess, np.float64), np.asarray(true, np.float64)
    error = np.abs(guess - true)
    parts = []
    for step in steps:
        turn = np.swapaxes(rotation_from_6d(true[:, step - 1, ROTATION]), 1, 2)
        turn = turn @ rotation_from_6d(guess[:, step - 1, ROTATION])
        cosine = np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)
        of_step = [
            error[:, step - 1, TRANSLATION],
            np.arccos(cosine)[:, None],
            error[:, step - 1, GRIPPER, None] / 2,
        ]
        parts.append(np.where(mask[:, step - 1, None], np.concatenate(of_step, 1), np.nan))
    slices = (TRANSLATION, ROTATION, slice(GRIPPER, GRIPPER + 1))
    of_parts = np.stack([error[..., s].mean(-1) for s in slices], -1) @ weights
    overall = np.where(mask, of_parts, np.nan)
    return np.concatenate([*parts, np.nanmean(overall, axis=1, keepdims=True)], axis=1)
