"""APT's samples of a dataset: a frame's pictures, where cameras and tool are, the poses to come.

Gathered by numpy from memory maps and small arrays, without a loop over samples.

Legend: N frames of the dataset, B samples, V cameras, S side of a picture, H steps of a chunk,
h poses of the history, the present among them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.datasets.labels import ACTION, LABELS
from training.learning.dataset import Dataset, Episode
from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.chunks import future_frames
from vla_ros.core.errors import DatasetError
from vla_ros.core.rotations import matrices_from_rotvecs
from vla_ros.policy.apt.observation import normalised_intrinsics

Targets = Literal["desired", "reached"]


@dataclass(frozen=True)
class ChunkSamples:
    """Samples side by side.

    Attributes:
        frames: (B,) int64, numbers of the frames in their dataset.
        pictures: (B, S, S, 3) uint8 RGB by camera; none where none were asked for.
        T_base_camera: (B, V, 4, 4) of each camera.
        intrinsics: (B, V, 4), `normalised_intrinsics`.
        T_base_tool: (B, 4, 4) measured.
        opening: (B,) measured, 0 closed, 1 open.
        T_base_past: (B, h - 1, 4, 4) measured before, oldest first; past_openings: (B, h - 1).
            Before an episode's start its first pose is repeated.
        T_base_future: (B, H, 4, 4); openings: (B, H). Beyond an episode's end its last is repeated.
        mask: (B, H) bool, whether the step is the episode's own.
        tasks: (B,) object, instructions.
    """

    frames: np.ndarray
    pictures: dict[str, np.ndarray]
    T_base_camera: np.ndarray
    intrinsics: np.ndarray
    T_base_tool: np.ndarray
    opening: np.ndarray
    T_base_past: np.ndarray
    past_openings: np.ndarray
    T_base_future: np.ndarray
    openings: np.ndarray
    mask: np.ndarray
    tasks: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)


class Chunks:
    """Every frame of `episodes` with the H steps after it.

    Args:
        dataset: to gather from, opened with the cameras to be seen.
        episodes: of that dataset.
        horizon: H.
        history: h.
        targets: "desired" takes commanded poses where they were recorded, as the authors' code
            does, and "reached" the measured ones. Grippers are commanded where that is known.

    Raises:
        DatasetError: the dataset does not tell where the tool or a camera was.
    """

    def __init__(
        self,
        dataset: Dataset,
        episodes: list[Episode],
        horizon: int,
        history: int = 1,
        targets: Targets = "desired",
    ):
        self.dataset, self._horizon = dataset, horizon
        self._tools = poses_from_vectors(dataset.ee_poses)
        self._next_tools, self._next_openings = targets_of(dataset, self._tools, targets)
        self._openings = np.clip(dataset.states[:, -1], 0.0, 1.0)
        counts = [e.end - e.first for e in episodes]
        parts = [np.arange(e.first, e.end) for e in episodes]
        self.frames = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        self._first = np.repeat([e.first for e in episodes], counts)
        self._count = np.repeat(counts, counts)
        self._episode = np.repeat(np.arange(len(episodes)), counts)
        self._before = np.arange(1 - history, 0)
        cameras = [_cameras(dataset, episode) for episode in episodes]
        num_views = len(dataset.contract.cameras)
        self._poses = np.array([c[0] for c in cameras]).reshape(-1, num_views, 4, 4)
        self._intrinsics = np.array([c[1] for c in cameras]).reshape(-1, num_views, 4)

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, indices: np.ndarray, with_pictures: bool = True) -> ChunkSamples:
        """Return the samples `indices` (B,)."""
        at, first, episode = self.frames[indices], self._first[indices], self._episode[indices]
        # A frame holds the motion to the tick after it: an episode has one tick more than frames.
        ticks, exist = future_frames(at - first, self._count[indices] + 1, self._horizon)
        ahead = first[:, None] + ticks - 1
        past = np.maximum(at[:, None] + self._before, first[:, None])
        return ChunkSamples(
            at,
            self.dataset.pictures_of(at) if with_pictures else {},
            self._poses[episode],
            self._intrinsics[episode],
            self._tools[at],
            self._openings[at],
            self._tools[past],
            self._openings[past],
            self._next_tools[ahead],
            self._next_openings[ahead],
            exist,
            self.dataset.tasks[at],
        )

    def going_on(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return poses (B, H, 4, 4) and openings (B, H) of an arm that goes on as it came.

        From the pose that it is on its way to at the frame, which with commanded targets is ahead
        of the measured one, the measured motion from the frame before is repeated; so is the
        gripper. At an episode's start, where nothing is known to move, it stays as it is.
        """
        at = self.frames[indices]
        is_start = at == self._first[indices]
        before = np.where(is_start, at, at - 1)
        now, past = self._tools[at], self._tools[before]
        aimed = np.where(is_start[:, None, None], now, self._next_tools[before])
        opening = np.where(is_start, self._openings[at], self._next_openings[before])
        turn = now[:, :3, :3] @ np.swapaxes(past[:, :3, :3], 1, 2)
        poses = np.repeat(aimed[:, None], self._horizon, axis=1)
        steps = np.arange(1, self._horizon + 1)[:, None]
        poses[..., :3, 3] += steps * (now - past)[:, None, :3, 3]
        for step in range(self._horizon):
            poses[:, step:, :3, :3] = turn[:, None] @ poses[:, step:, :3, :3]
        return poses, np.repeat(opening[:, None], self._horizon, axis=1)


def poses_from_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return poses (N, 4, 4) float64 of positions [m] and rotation vectors [rad] (N, 6)."""
    poses = np.tile(np.eye(4), (len(vectors), 1, 1))
    poses[:, :3, :3] = matrices_from_rotvecs(vectors[:, 3:6])
    poses[:, :3, 3] = vectors[:, :3]
    return poses


def targets_of(
    dataset: Dataset, tools: np.ndarray, targets: Targets
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tool pose (N, 4, 4) and opening (N,) in [0, 1] that each frame leads to.

    Args:
        dataset: to read.
        tools: (N, 4, 4) measured poses.
        targets: see `Chunks`.
    """
    desired = dataset.vectors.get(LABELS["ee"])
    if targets == "desired" and desired is not None:
        return poses_from_vectors(desired), np.clip(desired[:, GRIPPER_INDEX], 0.0, 1.0)
    # Beside another label; else it is the action itself.
    motion = dataset.vectors.get(LABELS["reached"], dataset.vectors[ACTION])
    reached = tools.copy()
    reached[:, :3, :3] = matrices_from_rotvecs(motion[:, 3:6]) @ tools[:, :3, :3]
    reached[:, :3, 3] += motion[:, :3]
    return reached, np.clip(motion[:, GRIPPER_INDEX], 0.0, 1.0)


def _cameras(dataset: Dataset, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """Return poses (V, 4, 4) and intrinsics (V, 4) of the dataset's cameras in an episode."""
    size_px = dataset.contract.image.shape[0]
    poses, intrinsics = [], []
    for name in dataset.contract.cameras:
        known = episode.cameras.get(name)
        absent = [
            what
            for what, value in (
                ("pose (T_base_camera)", known and known.T_base_camera),
                ("intrinsics (K)", known and known.K),
            )
            if value is None
        ]
        if known is None or known.T_base_camera is None or known.K is None:
            raise DatasetError(
                f"{dataset.path} does not tell the {' and the '.join(absent)} of camera {name} in "
                f"bag {episode.bag}, and APT's actions are in a camera's axes; record camera_info "
                "and the transform that training.hand_eye finds, or choose others by --cameras"
            )
        poses.append(known.T_base_camera)
        intrinsics.append(normalised_intrinsics(np.asarray(known.K), size_px))
    return np.array(poses), np.array(intrinsics)
