"""Training samples of a dataset, gathered by numpy from memory maps, without a loop over samples.

`Windows`: a frame with the pictures before it and the actions after it (Stage 2, and policies that
act in chunks). `Pairs`: two frames and the motion between them (TAP's Stage 1). Both give
`Samples` for indices; `training.learning.sampling` says which indices a step takes.

Legend: B samples, T pictures a sample, S side of a picture, H actions, A numbers of an action.
"""

from dataclasses import dataclass

import numpy as np

from training.datasets.labels import LABELS
from training.learning.dataset import Dataset, Episode
from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.errors import DatasetError

SMALL_SINE = 1e-6


@dataclass(frozen=True)
class Samples:
    """Samples side by side.

    Attributes:
        frames: (B, T) int64, numbers of the frames in their dataset, in order of time or as paired.
        pictures: (B, T, S, S, 3) uint8 RGB by camera; none where none were asked for.
        states: (B, 7) float32 at the last of the frames of `Windows`, the first of `Pairs`.
        actions: (B, H, A) float32; beyond an episode's end its last one is repeated.
        mask: (B, H) bool, whether the action is the episode's own.
        tasks: (B,) object, instructions.
    """

    frames: np.ndarray
    pictures: dict[str, np.ndarray]
    states: np.ndarray
    actions: np.ndarray
    mask: np.ndarray
    tasks: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)


class Windows:
    """Frames of `episodes` with what is before and after them.

    Args:
        dataset: to gather from.
        episodes: of that dataset.
        chunk: actions H from the frame on.
        history: pictures before the frame's own, so T is history + 1; before an episode's start
            its first picture is repeated.
        stride: frames from the start of one window to that of the next.

    Attributes:
        frames: (N,) int64, the frame that each of the N windows is at.
    """

    def __init__(
        self,
        dataset: Dataset,
        episodes: list[Episode],
        chunk: int = 1,
        history: int = 0,
        stride: int = 1,
    ):
        if chunk < 1 or history < 0 or stride < 1:
            raise DatasetError(
                f"windows need a chunk and a stride of at least 1 and a history of at least 0, got "
                f"{chunk}, {stride} and {history}; correct the recipe"
            )
        self.dataset = dataset
        starts = [np.arange(e.first, e.end, stride) for e in episodes]
        counts = [len(part) for part in starts]
        self.frames = np.concatenate(starts) if starts else np.zeros(0, np.int64)
        self._first = np.repeat([e.first for e in episodes], counts)
        self._last = np.repeat([e.end - 1 for e in episodes], counts)
        self._before, self._after = np.arange(-history, 1), np.arange(chunk)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def actions(self) -> np.ndarray:
        """The first action of every window (N, A) float32: for statistics."""
        return self.dataset.actions[self.frames]

    def batch(self, indices: np.ndarray, with_pictures: bool = True) -> Samples:
        """Return the windows `indices` (B,)."""
        at = self.frames[indices]
        seen = np.maximum(at[:, None] + self._before, self._first[indices, None])
        ahead = at[:, None] + self._after
        last = self._last[indices, None]
        return Samples(
            seen,
            self.dataset.pictures_of(seen) if with_pictures else {},
            self.dataset.states[at],
            self.dataset.actions[np.minimum(ahead, last)],
            ahead <= last,
            self.dataset.tasks[at],
        )


@dataclass(frozen=True)
class Pairs:
    """Two frames each and the motion between them (Stage 1), N of them.

    Attributes:
        first, second: (N,) int64 frames.
        actions: (N, 7) float32, the `ee_delta` from first to second, gripper as at second.
    """

    dataset: Dataset
    first: np.ndarray
    second: np.ndarray
    actions: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, indices: np.ndarray, with_pictures: bool = True) -> Samples:
        """Return the pairs `indices` (B,): two pictures each, one action, no instruction."""
        frames = np.stack([self.first[indices], self.second[indices]], axis=1)
        return Samples(
            frames,
            self.dataset.pictures_of(frames) if with_pictures else {},
            self.dataset.states[frames[:, 0]],
            self.actions[indices][:, None],
            np.ones((len(frames), 1), bool),
            np.full(len(frames), "", dtype=object),
        )


def frame_pairs(dataset: Dataset, episodes: list[Episode], offset: int = 1) -> Pairs:
    """Return the pairs (o_t, o_t+offset) of the episodes; TAP's have offset 1.

    Labels are the measured motion, summed up over the steps between, whatever label the dataset's
    `action` has.

    Raises:
        DatasetError: the dataset has no tool poses, or no episode is long enough.
    """
    first = _concatenated([np.arange(e.first, e.end - offset) for e in episodes])
    if offset < 1 or len(first) == 0:
        raise DatasetError(
            f"{dataset.path} has no two frames {offset} apart in the {len(episodes)} episodes "
            "taken; record longer ones, or choose an offset of at least 1"
        )
    return Pairs(dataset, first, first + offset, _motion(dataset, first, first + offset))


def pairs_within(
    dataset: Dataset, episodes: list[Episode], span: int, low: np.ndarray, high: np.ndarray
) -> Pairs:
    """Return pairs up to `span` frames apart, forward and backward in time.

    Their labels are exact: the displacement between two measured poses. Those whose motion (6,)
    leaves [low, high], the range of what is measured, are left out.
    """
    first, second = [], []
    for offset in [*range(-span, 0), *range(1, span + 1)]:
        for e in episodes:
            # The gripper's command at j is in the action that leads to j: the first frame has none.
            ends = np.arange(max(e.first + 1, e.first + offset), min(e.end, e.end + offset))
            first.append(ends - offset)
            second.append(ends)
    i, j = _concatenated(first), _concatenated(second)
    actions = _motion(dataset, i, j)
    motion = actions[:, :GRIPPER_INDEX]
    kept = np.all((motion >= low) & (motion <= high), axis=1)
    return Pairs(dataset, i[kept], j[kept], actions[kept])


def _concatenated(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _motion(dataset: Dataset, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return `core.actions.ee_delta` (P, 7) float32 of many pairs of frames.

    The gripper is that of the action which leads to the second frame.
    """
    positions, w, xyz = _positions_and_quaternions(dataset.ee_poses)
    # The quaternion of R_second R_first^T: q_second times the conjugate of q_first.
    (w1, v1), (w2, v2) = (w[first], xyz[first]), (w[second], xyz[second])
    real = w1 * w2 + np.sum(v1 * v2, axis=1)
    vector = w1[:, None] * v2 - w2[:, None] * v1 - np.cross(v2, v1)
    sign = np.where(real < 0, -1.0, 1.0)
    real, vector = real * sign, vector * sign[:, None]
    sine = np.linalg.norm(vector, axis=1)
    is_small = sine < SMALL_SINE
    scale = np.where(is_small, 2.0, 2.0 * np.arctan2(sine, real) / np.where(is_small, 1.0, sine))
    actions = np.empty((len(first), 7), np.float32)
    actions[:, :3] = positions[second] - positions[first]
    actions[:, 3:6] = scale[:, None] * vector
    # Beside another label; else it is the action itself.
    reached = dataset.vectors.get(LABELS["reached"], dataset.actions)
    actions[:, GRIPPER_INDEX] = reached[second - 1, GRIPPER_INDEX]
    return actions


def _positions_and_quaternions(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N, 3) [m], (N,) and (N, 3): real and imaginary parts, of poses (N, 6)."""
    poses = poses.astype(np.float64)
    rotvecs = poses[:, 3:]
    half = np.linalg.norm(rotvecs, axis=1) / 2
    # np.sinc(x) is sin(pi x) / (pi x), also at 0.
    return poses[:, :3], np.cos(half), rotvecs * (np.sinc(half / np.pi) / 2)[:, None]
