"""What TAP's stages learn from: samples of each stage, and tensors of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.learning.augment import draw_shifts, shift_images
from training.learning.dataset import Dataset
from training.learning.processes import World
from training.learning.sampling import Mixture, Sampler
from training.learning.splits import Split, check_told, stage_1_episodes, stage_2_episodes
from training.learning.tap_datasets import open_for_tap, tap_model_contract
from training.learning.tap_recipes import TapRecipe
from training.learning.trained_on import note, split_stage
from training.learning.windows import Samples, Windows, frame_pairs, pairs_within
from vla_ros.core.contract import Contract
from vla_ros.policy.apt.augment import NUM_COLOURS, change_colours
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.preprocess import images_to_tensor

EVAL_BATCH = 64
# Byte-pair encoding of more takes long and finds the same pairs.
MAX_FITTED = 100_000


class TapBatch(NamedTuple):
    """Samples of a stage as tensors.

    Attributes:
        images: (B, V, 3, S, S) in [-1, 1].
        text: B instructions in Stage 2, None in Stage 1.
        actions: (B, 1, 7) normalised.
    """

    images: Tensor
    text: list[str] | None
    actions: Tensor

    def to(self, device: torch.device) -> "TapBatch":
        """Return it on the device."""
        return TapBatch(self.images.to(device), self.text, self.actions.to(device))


@dataclass(frozen=True)
class TapData:
    """Samples of one stage.

    Attributes:
        datasets: that they are of.
        splits: episodes of each dataset that they are of.
        trained, held_out: samples.
        num_episodes: that were taken.
        normalizer: of the actions.
        actions: (N, 7) normalised, of the samples to train on.
        constant: (7,) mean normalised action of the training frames.
        stage: 1, two pictures and no text, or 2, one picture and its text.
    """

    datasets: list[Dataset]
    splits: list[Split]
    trained: Mixture[Samples]
    held_out: Mixture[Samples]
    num_episodes: int
    normalizer: Normalizer
    actions: np.ndarray
    constant: np.ndarray
    stage: int

    @property
    def contract(self) -> Contract:
        """Of the model."""
        return tap_model_contract(self.datasets[0])

    @property
    def facts(self) -> list[dict]:
        """Provenance, plain JSON."""
        return [note(d, split) for d, split in zip(self.datasets, self.splits, strict=True)]

    def fit_tokens(self, vocabulary: int) -> FastTokenizer:
        """Return an action tokenizer of at most `vocabulary` tokens for what is trained on."""
        places = np.linspace(0, len(self.actions) - 1, min(len(self.actions), MAX_FITTED))
        return FastTokenizer.fit(self.actions[places.astype(int), None], vocabulary)

    def tensors(
        self,
        samples: Samples,
        shifts: np.ndarray | None = None,
        px: int = 0,
        light: np.ndarray | None = None,
    ) -> TapBatch:
        """Return the samples as tensors.

        Args:
            samples: B of them.
            shifts: (B, 2) of `draw_shifts` for up to `px`; None: pictures stay where they are.
            px: see there.
            light: (B, NUM_COLOURS) uniform in [0, 1), the same for both pictures of a sample; None:
                they stay as they are.
        """
        pictures = samples.pictures[self.contract.camera]
        if shifts is not None:
            pictures = shift_images(pictures, shifts, px)
        images = images_to_tensor(pictures)
        if light is not None:
            drawn = torch.from_numpy(light)[:, None]
            images = change_colours(images, drawn.expand(-1, images.shape[1], -1))
        text = list(samples.tasks) if self.stage == 2 else None
        actions = torch.from_numpy(self.normalizer.apply(samples.actions))
        return TapBatch(images, text, actions)

    def micro_batches(
        self, recipe: TapRecipe, seed: int, world: World
    ) -> Callable[[int], list[TapBatch]]:
        """Return what gives this process's parts of a step: a function of seed and step alone.

        All processes together take the same samples with the same changes as one would.

        Raises:
            VlaError: processes and parts do not divide the batch.
        """
        share = world.share(recipe.batch_size, recipe.accumulation)
        mixed, px = self.trained, recipe.shift_px
        sampler = Sampler(mixed.counts, share, seed, mixed.weights, world.rank, world.size)

        def parts(step: int) -> list[TapBatch]:
            rng = np.random.default_rng([seed, 2, step])
            own = slice(world.rank, None, world.size)
            shifts = draw_shifts(rng, recipe.batch_size, px)[own]
            light = rng.random((recipe.batch_size, NUM_COLOURS), np.float32)[own]
            cut = (
                np.split(rows, recipe.accumulation)
                for rows in (sampler.indices(step), shifts, light)
            )
            return [
                self.tensors(mixed.batch(rows), by, px, lit if recipe.colours else None)
                for rows, by, lit in zip(*cut, strict=True)
            ]

        return parts

    def held_out_batches(self, num_samples: int) -> Iterator[tuple[Samples, TapBatch]]:
        """Yield at most `num_samples` held-out samples, evenly spread: always the same."""
        count = len(self.held_out)
        chosen = np.linspace(0, count - 1, min(count, num_samples)).astype(int)
        for first in range(0, len(chosen), EVAL_BATCH):
            samples = self.held_out.batch(chosen[first : first + EVAL_BATCH])
            yield samples, self.tensors(samples)


def stage_1_data(
    paths: list[Path],
    recipe: TapRecipe,
    image_size: int,
    kinds: list[str] | None = None,
    weights: list[float] | None = None,
) -> TapData:
    """Return pairs of frames and the motion between them; `image_size` is the model's [px].

    Raises:
        VlaError: a dataset cannot be read, does not fit, or has nothing for Stage 1.
    """
    datasets = open_for_tap(paths, image_size, stage=1)
    taken = [stage_1_episodes(dataset, kinds) for dataset in datasets]
    splits = split_stage(datasets, taken, recipe.val_fraction)
    trained, held_out = (
        [
            frame_pairs(dataset, split.sides[side], recipe.pair_offset)
            for dataset, split in zip(datasets, splits, strict=True)
            if split.sides[side]
        ]
        for side in (0, 1)
    )
    actions = np.concatenate([part.actions for part in trained])
    normalizer = Normalizer.fit(actions)
    if recipe.pair_span > 0:
        bounds = (normalizer.low, normalizer.high)
        span = max(recipe.pair_span, recipe.pair_offset)
        trained = [
            pairs_within(d, split.trained, span, *bounds)
            for d, split in zip(datasets, splits, strict=True)
        ]
    return TapData(
        datasets,
        splits,
        Mixture(trained, weights),
        Mixture(held_out),
        sum(map(len, taken)),
        normalizer,
        normalizer.apply(np.concatenate([part.actions for part in trained])),
        normalizer.apply(actions).mean(0),
        stage=1,
    )


def stage_2_data(
    paths: list[Path],
    recipe: TapRecipe,
    image_size: int,
    start: Checkpoint | None = None,
    kinds: list[str] | None = None,
    weights: list[float] | None = None,
) -> TapData:
    """Return frames with their instruction and action.

    Args:
        paths, kinds, weights: datasets, episodes to take, share of each dataset.
        recipe: of the run.
        image_size: of the model [px].
        start: checkpoint of Stage 1 that the model starts from.

    Raises:
        VlaError: a dataset cannot be read, does not fit, or has nothing for Stage 2.
    """
    datasets = open_for_tap(paths, image_size, 2, start, recipe.keep_normalizer)
    taken = [stage_2_episodes(dataset, kinds) for dataset in datasets]
    for dataset, episodes in zip(datasets, taken, strict=True):
        check_told(dataset, episodes)
    splits = split_stage(datasets, taken, recipe.val_fraction, start and start.run)
    trained, held_out = (
        [
            Windows(d, split.sides[i])
            for d, split in zip(datasets, splits, strict=True)
            if split.sides[i]
        ]
        for i in (0, 1)
    )
    actions = np.concatenate([part.actions for part in trained])
    kept = start.normalizer if start is not None and recipe.keep_normalizer else None
    normalizer = kept or Normalizer.fit(actions)
    return TapData(
        datasets,
        splits,
        Mixture(trained, weights),
        Mixture(held_out),
        sum(map(len, taken)),
        normalizer,
        normalizer.apply(actions),
        normalizer.apply(actions).mean(0),
        stage=2,
    )
