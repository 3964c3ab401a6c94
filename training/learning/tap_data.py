"""What TAP's stages learn from: datasets fit for one model, samples of each stage, tensors."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.learning.augment import shift_images
from training.learning.checks import check_compatible
from training.learning.dataset import Dataset, open_dataset
from training.learning.recipes import RunConfig
from training.learning.sampling import Mixture, Sampler
from training.learning.splits import split_episodes, stage_1_episodes, stage_2_episodes
from training.learning.windows import Samples, Windows, frame_pairs, pairs_within
from vla_ros.core.contract import Contract, tap_contract
from vla_ros.core.errors import DatasetError
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.preprocess import images_to_tensor

TapBatch = tuple[Tensor, list[str] | None, Tensor]


@dataclass(frozen=True)
class TapData:
    """Samples of one stage.

    Attributes:
        datasets: that they are of.
        trained, held_out: samples.
        num_episodes: that both are of.
        normalizer: of the actions.
        constant: (7,) mean normalised action of the training frames.
        stage: 1, two pictures and no text, or 2, one picture and its text.
    """

    datasets: list[Dataset]
    trained: Mixture
    held_out: Mixture
    num_episodes: int
    normalizer: Normalizer
    constant: np.ndarray
    stage: int

    @property
    def contract(self) -> Contract:
        """Of the model."""
        return self.datasets[0].contract

    @property
    def facts(self) -> list[dict]:
        """Provenance, plain JSON."""
        return [{"name": d.path.name, "sha256": d.sha256} for d in self.datasets]

    def sampler(self, config: RunConfig, seed: int) -> Sampler:
        """Return what says which samples a step trains on."""
        return Sampler(self.trained.counts, config.batch_size, seed, self.trained.weights)

    def tensors(
        self, samples: Samples, shift_px: int = 0, rng: np.random.Generator | None = None
    ) -> TapBatch:
        """Return images (B, V, 3, S, S) in [-1, 1], texts in Stage 2, normalised actions (B, 7).

        With `rng`, pictures are shifted by up to `shift_px`.
        """
        pictures = samples.pictures[self.contract.camera]
        if rng is not None:
            pictures = shift_images(pictures, shift_px, rng)
        text = list(samples.tasks) if self.stage == 2 else None
        target = torch.from_numpy(self.normalizer.apply(samples.actions[:, 0]))
        return images_to_tensor(pictures), text, target

    def batch(self, config: RunConfig, sampler: Sampler, step: int, seed: int) -> TapBatch:
        """Return the batch of a step: a function of step and seed alone."""
        samples = self.trained.batch(sampler.indices(step))
        return self.tensors(samples, config.shift_px, np.random.default_rng([seed, 2, step]))


def stage_1_data(
    paths: list[Path],
    config: RunConfig,
    seed: int,
    kinds: list[str] | None = None,
    weights: list[float] | None = None,
) -> TapData:
    """Return pairs of frames and the motion between them.

    Raises:
        VlaError: a dataset cannot be read, does not fit, or has nothing for Stage 1.
    """
    datasets = open_for_tap(paths, config.model.backbone.image_size)
    taken = [stage_1_episodes(dataset, kinds) for dataset in datasets]
    splits = [split_episodes(episodes, config.val_fraction, seed) for episodes in taken]
    offset = config.pair_offset
    trained, held_out = (
        [frame_pairs(d, s[i], offset) for d, s in zip(datasets, splits, strict=True)]
        for i in (0, 1)
    )
    actions = np.concatenate([part.actions for part in trained])
    normalizer = Normalizer.fit(actions)
    if config.pair_span > 0:
        bounds = (normalizer.low, normalizer.high)
        trained = [
            pairs_within(d, split[0], config.pair_span, *bounds)
            for d, split in zip(datasets, splits, strict=True)
        ]
    return TapData(
        datasets,
        Mixture(trained, weights),
        Mixture(held_out),
        sum(map(len, taken)),
        normalizer,
        normalizer.apply(actions).mean(0),
        stage=1,
    )


def stage_2_data(
    paths: list[Path],
    config: RunConfig,
    seed: int,
    start: Checkpoint | None = None,
    kinds: list[str] | None = None,
    weights: list[float] | None = None,
) -> TapData:
    """Return frames with their instruction and action; `start` is what the model starts from.

    Raises:
        VlaError: a dataset cannot be read, does not fit, or has nothing for Stage 2.
    """
    model = config.model if start is None else start.policy.config
    datasets = open_for_tap(paths, model.backbone.image_size, start, config.keep_normalizer)
    taken = [stage_2_episodes(dataset, kinds) for dataset in datasets]
    splits = [split_episodes(episodes, config.val_fraction, seed) for episodes in taken]
    trained, held_out = (
        [Windows(d, split[i]) for d, split in zip(datasets, splits, strict=True)] for i in (0, 1)
    )
    actions = np.concatenate([part.actions for part in trained])
    is_kept = start is not None and config.keep_normalizer
    normalizer = start.normalizer if start is not None and is_kept else Normalizer.fit(actions)
    return TapData(
        datasets,
        Mixture(trained, weights),
        Mixture(held_out),
        sum(map(len, taken)),
        normalizer,
        normalizer.apply(actions).mean(0),
        stage=2,
    )


def open_for_tap(
    paths: list[Path], image_size: int, start: Checkpoint | None = None, keep_scale: bool = False
) -> list[Dataset]:
    """Return the datasets opened with the one camera that TAP sees, all fit for one model.

    Args:
        paths: folders, one or more.
        image_size: of the model [px].
        start: checkpoint that the model starts from; None for one from scratch, which takes the
            first dataset's main camera.
        keep_scale: whether the checkpoint's action scale is kept.

    Raises:
        ContractError, DatasetError: a dataset cannot be read or does not fit, see
            `check_compatible`, or is given twice.
    """
    contract = None if start is None else start.contract
    datasets: list[Dataset] = []
    for path in paths:
        dataset = open_dataset(path, image_size, contract and contract.cameras)
        contract = contract or tap_model_contract(dataset)
        scale = start.normalizer if start is not None and keep_scale else None
        check_compatible(dataset, contract, scale)
        if dataset.sha256 in [other.sha256 for other in datasets]:
            raise DatasetError(f"{path} is given twice; give each dataset once")
        datasets.append(dataset)
    return datasets


def tap_model_contract(dataset: Dataset) -> Contract:
    """Return what a TAP model trained from scratch on the dataset sees and does.

    Arm, rate and size are the dataset's; main camera and motion are TAP's.
    """
    contract = dataset.contract
    tap = tap_contract(contract.camera)
    return replace(
        contract,
        cameras=(contract.camera,),
        action_space=tap.action_space,
        action=tap.action,
        name=tap.name if contract.robot_model == tap.robot_model else contract.name,
    )
