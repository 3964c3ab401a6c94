"""Frames of recordings as both methods are measured on: labels, motion before, pictures, a guess.

Legend: N frames, S side of a picture, V pictures of a frame, H steps of a chunk.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from training.learning.apt_data import observe
from training.learning.apt_windows import Chunks
from training.learning.baselines import repeat_last
from training.learning.dataset import Dataset, Episode
from training.learning.windows import Windows, frame_pairs
from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.chunks import (
    CHUNK_SIZE,
    GRIPPER,
    ROTATION,
    chunk_from_poses,
    rotation_6d,
)
from vla_ros.core.errors import DatasetError
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.tap import TapPolicy

_BATCH = 32


class Frames(Protocol):
    """Frames of some episodes of one dataset.

    Attributes:
        labels: (N, ...) true actions in units.
        last: (N, ...) the measured motion that led to each frame, repeated, for chunks from the
            pose that was aimed at; no motion at an episode's start.
        hold: (N, ...) the tool stays where it is; None where that is `last` of a single step.
        mask: (N, steps) bool, which steps of the labels exist.
        bags, tasks: (N,) object.
    """

    labels: np.ndarray
    last: np.ndarray
    hold: np.ndarray | None
    mask: np.ndarray
    bags: np.ndarray
    tasks: np.ndarray

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, V, S, S, 3) uint8 RGB of these rows, as the policy is shown them."""
        ...

    def predict(self, checkpoint: Checkpoint, rows: np.ndarray, device: torch.device) -> np.ndarray:
        """Return what the policy answers for these rows, as `labels`."""
        ...


def frames_of(checkpoint: Checkpoint, dataset: Dataset, episodes: list[Episode]) -> Frames:
    """Return the frames that the checkpoint can be measured on."""
    kind = TapFrames if checkpoint.method == "tap" else AptFrames
    return kind(checkpoint, dataset, episodes)


def episode_numbers(episodes: list[Episode], first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each frame's episode, and its bag as object, of frames `first` (N,).

    Raises:
        DatasetError: the episodes are not in the order of their frames, so that a number would be
            another's.
    """
    starts = np.array([e.first for e in episodes])
    if np.any(np.array([e.end for e in episodes])[:-1] > starts[1:]):
        raise DatasetError(
            "episodes to measure on must be in the order of their frames; give them as they are in "
            "the dataset"
        )
    number = np.searchsorted(starts, first, side="right") - 1
    return number, np.array([e.bag for e in episodes], object)[number]


class TapFrames:
    """TAP: (o_t, o_t+k) and the motion between (Stage 1), or o_t with the next action (Stage 2)."""

    def __init__(self, checkpoint: Checkpoint, dataset: Dataset, episodes: list[Episode]):
        policy = checkpoint.policy
        assert isinstance(policy, TapPolicy)
        self.dataset, self._num_images = dataset, policy.config.num_images
        if policy.config.stage == 1:
            offset = int(checkpoint.run["config"].get("pair_offset", 1))
            self._source = frame_pairs(dataset, episodes, offset)
            first, end = self._source.first, self._source.second
        else:
            self._source = Windows(dataset, episodes)
            first, end = self._source.frames, self._source.frames + 1
        self.labels = self._source.actions
        number, self.bags = episode_numbers(episodes, first)
        self.tasks = dataset.tasks[first]
        if policy.config.stage == 1:
            self.tasks = np.full(len(first), "", object)
        self.mask = np.ones((len(first), 1), bool)
        at_rest = np.zeros_like(self.labels)
        at_rest[:, GRIPPER_INDEX] = np.clip(dataset.states[first, -1], 0, 1)
        # A tick more than frames in each episode, so that the last of one is not the next's first.
        self.last = repeat_last(first + number, end + number, self.labels, at_rest)
        self.hold: np.ndarray | None = None

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        found = self._source.batch(rows).pictures[self.dataset.contract.camera]
        return found[:, : self._num_images]

    def predict(self, checkpoint: Checkpoint, rows: np.ndarray, device: torch.device) -> np.ndarray:
        policy, normalizer = checkpoint.policy, checkpoint.normalizer
        assert isinstance(policy, TapPolicy)
        assert normalizer is not None
        parts = []
        for some in _blocks(rows):
            images = images_to_tensor(self.pictures(some)).to(device)
            text = list(self.tasks[some]) if policy.config.stage == 2 else None
            # Of a longer chunk the first action, which is the one that is sent.
            parts.append(normalizer.invert(policy.act(images, text)[:, 0].cpu().numpy()))
        return np.concatenate(parts)


class AptFrames:
    """APT: a frame and the chunk from it, in the axes of the first camera."""

    def __init__(self, checkpoint: Checkpoint, dataset: Dataset, episodes: list[Episode]):
        policy = checkpoint.policy
        assert isinstance(policy, AptPolicy)
        config = policy.config
        targets = checkpoint.run["config"].get("targets", "desired")
        self.dataset = dataset
        self._source = Chunks(dataset, episodes, config.horizon, config.history, targets)
        frames = self._source.frames
        _, self.bags = episode_numbers(episodes, frames)
        self.tasks = dataset.tasks[frames]
        if config.stage == 1:
            self.tasks = np.full(len(frames), "", object)
        found = [self._chunks(some) for some in _blocks(np.arange(len(frames)))]
        parts = zip(*found, strict=True)
        self.labels, self.last, self.mask = (np.concatenate(blocks) for blocks in parts)
        self.hold: np.ndarray | None = np.zeros_like(self.last)
        self.hold[..., ROTATION] = rotation_6d(np.eye(3))
        self.hold[..., GRIPPER] = self.last[..., GRIPPER]

    def _chunks(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return labels, the motion that goes on, and which steps exist."""
        samples = self._source.batch(rows, with_pictures=False)
        _, chunks = observe(samples, np.zeros(len(samples), np.int64))
        poses, openings = self._source.going_on(rows)
        camera = samples.T_base_camera[:, 0]
        last = chunk_from_poses(samples.T_base_tool, poses, openings, camera)
        return chunks[:, 0].numpy(), last, samples.mask

    def observation(self, rows: np.ndarray) -> Observation:
        """Return where cameras and tool are, the first camera being the reference."""
        samples = self._source.batch(rows, with_pictures=False)
        return observe(samples, np.zeros(len(samples), np.int64))[0]

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        found = self._source.batch(rows).pictures
        return np.stack([found[name] for name in self.dataset.contract.cameras], 1)

    def predict(self, checkpoint: Checkpoint, rows: np.ndarray, device: torch.device) -> np.ndarray:
        policy = checkpoint.policy
        assert isinstance(policy, AptPolicy)
        parts = []
        for some in _blocks(rows):
            observation = self.observation(some)
            images = images_to_tensor(self.pictures(some)).to(device)
            text = list(self.tasks[some]) if policy.config.stage == 2 else None
            noise = noise_of(some, policy.config.horizon).to(device)
            parts.append(policy.sample(images, text, observation.to(device), noise)[:, 0])
        return torch.cat(parts).cpu().numpy()


def noise_of(rows: np.ndarray, horizon: int) -> Tensor:
    """Return (n, 1, H, 10): each row's own, whatever others it is sampled with."""
    drawn = [
        torch.randn(1, horizon, CHUNK_SIZE, generator=torch.Generator().manual_seed(int(row)))
        for row in rows
    ]
    return torch.stack(drawn)


def _blocks(rows: np.ndarray) -> Sequence[np.ndarray]:
    return np.split(rows, range(_BATCH, len(rows), _BATCH))
