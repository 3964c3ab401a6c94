"""What APT's stages learn from: datasets fit for one model, samples of each stage, tensors.

Legend: B samples, V cameras, S side of a picture, H steps of a chunk, one arm.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.learning.apt_recipes import AptRecipe
from training.learning.apt_windows import Chunks, ChunkSamples
from training.learning.checks import check_compatible
from training.learning.dataset import Dataset, open_dataset
from training.learning.sampling import Mixture
from training.learning.splits import Split, check_told, stage_1_episodes, stage_2_episodes
from training.learning.trained_on import note, split_stage
from vla_ros.core.chunks import chunk_from_poses
from vla_ros.core.contract import Contract, apt_contract
from vla_ros.core.errors import DatasetError
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.preprocess import images_to_tensor


@dataclass(frozen=True)
class AptData:
    """Samples of one stage.

    Attributes:
        datasets: that they are of.
        splits: episodes of each dataset that they are of.
        trained, held_out: samples.
        num_episodes: that were taken.
        contract: of the model.
        stage: 1, pictures alone, or 2, pictures and their instruction.
    """

    datasets: list[Dataset]
    splits: list[Split]
    trained: Mixture[ChunkSamples]
    held_out: Mixture[ChunkSamples]
    num_episodes: int
    contract: Contract
    stage: int

    @property
    def facts(self) -> list[dict]:
        """Provenance, plain JSON."""
        return [note(d, split) for d, split in zip(self.datasets, self.splits, strict=True)]

    def images(self, samples: ChunkSamples) -> Tensor:
        """Return (B, V, 3, S, S) in [-1, 1]."""
        views = [images_to_tensor(samples.pictures[name]) for name in self.contract.cameras]
        return torch.stack(views, 1)

    def text(self, samples: ChunkSamples) -> list[str] | None:
        """Return the instructions of Stage 2. Stage 1's masks would isolate them: none is read."""
        return list(samples.tasks) if self.stage == 2 else None


def apt_data(
    paths: list[Path],
    recipe: AptRecipe,
    image_size: int,
    cameras: tuple[str, ...] | None = None,
    start: Checkpoint | None = None,
    kinds: list[str] | None = None,
    weights: list[float] | None = None,
) -> AptData:
    """Return the samples of the recipe's stage.

    Stage 1 takes the episodes that TAP's takes, Stage 2 successful demonstrations (`splits`).

    Args:
        paths: datasets, one or more.
        recipe: of the stage.
        image_size: of the backbone [px].
        cameras: to be seen, the first one being the reference at run time; None: all.
        start: checkpoint that training goes on from; None: the contract is the first dataset's.
        kinds: of episodes, instead of the rule.
        weights: share of each dataset in the batches.

    Raises:
        VlaError: a dataset cannot be read, does not fit, has nothing for the stage, or does not
            tell where its cameras were.
    """
    apt = recipe.apt
    contract = None if start is None else start.contract
    cameras = cameras if contract is None else contract.cameras
    datasets, episodes = [], []
    for path in paths:
        dataset = open_dataset(path, image_size, () if cameras is None else cameras)
        own = model_contract(dataset, apt.horizon)
        contract, cameras = contract or own, own.cameras
        contract.require_match(own, f"dataset {path}")
        check_compatible(dataset, dataset.contract)
        if dataset.sha256 in [other.sha256 for other in datasets]:
            raise DatasetError(f"{path} is given twice; give each dataset once")
        choose = stage_1_episodes if apt.stage == 1 else stage_2_episodes
        chosen = choose(dataset, kinds)
        if apt.stage == 2:
            check_told(dataset, chosen)
        datasets.append(dataset)
        episodes.append(chosen)
    assert contract is not None
    splits = split_stage(datasets, episodes, recipe.val_fraction, start and start.run)
    trained, held_out = (
        [
            Chunks(dataset, split.sides[side], apt.horizon, apt.history, recipe.targets)
            for dataset, split in zip(datasets, splits, strict=True)
            if split.sides[side]
        ]
        for side in (0, 1)
    )
    return AptData(
        datasets,
        splits,
        Mixture(trained, weights),
        Mixture(held_out),
        sum(map(len, episodes)),
        contract,
        apt.stage,
    )


def model_contract(dataset: Dataset, horizon: int) -> Contract:
    """Return what an APT model trained on the dataset sees and does.

    Arm, cameras, rate and size are the dataset's, the action is a chunk whatever its label.
    """
    known = dataset.contract
    apt = apt_contract(known.cameras, known.image.shape[0], known.rate_hz, horizon)
    return replace(apt, robot_model=known.robot_model, image=known.image, state=known.state)


def observe(samples: ChunkSamples, reference: np.ndarray) -> tuple[Observation, Tensor]:
    """Return where things are, and the chunks (B, 1, H, 10) in the axes of cameras (B,)."""
    T_base_camera = samples.T_base_camera[np.arange(len(samples)), reference]
    now = samples.T_base_tool
    future, past = (
        chunk_from_poses(now, poses, openings, T_base_camera)
        for poses, openings in (
            (samples.T_base_future, samples.openings),
            (samples.T_base_past, samples.past_openings),
        )
    )
    observation = Observation(
        torch.from_numpy(samples.T_base_camera.astype(np.float32)),
        torch.from_numpy(now[:, None].astype(np.float32)),
        torch.from_numpy(reference[:, None]),
        torch.from_numpy(samples.opening[:, None].astype(np.float32)),
        torch.from_numpy(past[:, None]) if past.shape[1] else None,
        intrinsics=torch.from_numpy(samples.intrinsics),
    )
    return observation, torch.from_numpy(future[:, None])


def chunk_statistics(data: AptData, recipe: AptRecipe, most: int = 2048) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (H, 10) of evenly spread chunks that are trained on.

    In the axes of every camera that is a reference in training.
    """
    num_cameras = len(data.contract.cameras) if recipe.reference == "random" else 1
    samples = data.trained.batch(thinned(len(data.trained), most), with_pictures=False)
    cameras = [np.full(len(samples), camera, np.int64) for camera in range(num_cameras)]
    chunks = torch.cat([observe(samples, camera)[1] for camera in cameras]).flatten(0, 1).double()
    return chunks.mean(0).float(), chunks.std(0, unbiased=False).float()


def thinned(count: int, most: int) -> np.ndarray:
    """Return the numbers of all of `count` samples, or of `most` that are evenly spread."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).astype(np.int64)
