"""Batches of APT's stages: functions of seed and step alone, shared out among processes.

Noise, diffusion steps and augmentation are drawn for the whole batch, and each process takes its
rows of them.

Legend: B samples, n noises of each, V cameras, S side of a picture, H steps of a chunk, h poses of
the history.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.learning.apt_data import AptData, observe
from training.learning.apt_recipes import AptRecipe
from training.learning.processes import World
from training.learning.sampling import Sampler
from vla_ros.core.chunks import CHUNK_SIZE
from vla_ros.policy.apt import augment
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.vlm import VlmOutput

# What a frozen backbone makes of samples, by their numbers among those that are trained on.
Features = Callable[[np.ndarray], VlmOutput]


class AptBatch(NamedTuple):
    """One micro-batch, as `AptPolicy.forward` takes it.

    Attributes:
        scene: images (B, V, 3, S, S) in [-1, 1], or what the backbone has made of them.
        text: B instructions; None in Stage 1.
        observation: where cameras and tools are.
        chunks: (B, 1, H, 10).
        noise: (n B, 1, H, 10), those of a sample side by side; steps: (n B,) int64 diffusion steps.
        mask: (B, 1, H) bool, steps that count; None: all.
    """

    scene: Tensor | VlmOutput
    text: list[str] | None
    observation: Observation
    chunks: Tensor
    noise: Tensor
    steps: Tensor
    mask: Tensor | None

    def to(self, device: torch.device) -> "AptBatch":
        """Return the batch on `device`."""
        moved = {
            name: value.to(device)
            for name, value in self._asdict().items()
            if isinstance(value, Tensor | Observation)
        }
        return self._replace(**moved)


class Draws(NamedTuple):
    """The random numbers of samples, a row each; all of them always: no switch moves the others.

    Attributes:
        noise: (B, n, 1, H, 10); steps: (B, n) int64 diffusion steps.
        reference: (B,) int64 cameras.
        order, dropped: (B, V) uniform; colours: (B, V, 5) uniform.
        turn: (B, 4) normal; shake: (B, 1, 3 + 10 (h - 1)) normal.
    """

    noise: Tensor
    steps: Tensor
    reference: Tensor
    order: Tensor
    dropped: Tensor
    colours: Tensor
    turn: Tensor
    shake: Tensor

    def rows(self, which: slice) -> "Draws":
        """Return those of some samples."""
        return Draws(*(numbers[which] for numbers in self))


def draw(recipe: AptRecipe, count: int, num_cameras: int, seed: int, step: int) -> Draws:
    """Return the numbers of a whole batch of `count` samples: a function of seed and step."""
    state = np.random.SeedSequence([seed, 3, step]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    apt, views, noises = recipe.apt, (count, num_cameras), (count, recipe.noises)
    return Draws(
        torch.randn(*noises, 1, apt.horizon, CHUNK_SIZE, generator=generator),
        torch.randint(apt.train_steps, noises, generator=generator),
        torch.randint(num_cameras, (count,), generator=generator),
        torch.rand(views, generator=generator),
        torch.rand(views, generator=generator),
        torch.rand(*views, augment.NUM_COLOURS, generator=generator),
        torch.randn(count, 4, generator=generator),
        torch.randn(count, 1, 3 + CHUNK_SIZE * (apt.history - 1), generator=generator),
    )


class Batches:
    """Micro-batches of a process by step; see `engine.Job.micro_batches`.

    Attributes:
        features: what a frozen backbone makes of the samples, once that is known.
    """

    def __init__(self, data: AptData, recipe: AptRecipe, seed: int, world: World):
        """Take from `data.trained`.

        Raises:
            VlaError: the processes cannot share the batch.
        """
        self.data, self.recipe, self._seed, self._world = data, recipe, seed, world
        self.features: Features | None = None
        share = world.share(recipe.batch_size, recipe.accumulation)
        mixture = data.trained
        self._sampler = Sampler(
            mixture.counts, share, seed, mixture.weights, world.rank, world.size
        )

    def __call__(self, step: int) -> list[AptBatch]:
        """Return the micro-batches of a step (from 0)."""
        cameras = len(self.data.contract.cameras)
        draws = draw(self.recipe, self.recipe.batch_size, cameras, self._seed, step)
        own = draws.rows(slice(self._world.rank, None, self._world.size))
        indices = self.indices(step)
        size = len(indices) // self.recipe.accumulation
        starts = range(0, len(indices), size)
        return [self._part(indices[i : i + size], own.rows(slice(i, i + size))) for i in starts]

    def indices(self, step: int) -> np.ndarray:
        """Return the numbers of this process's samples of a step."""
        return self._sampler.indices(step)

    def _part(self, indices: np.ndarray, draws: Draws) -> AptBatch:
        recipe, how = self.recipe, self.recipe.augmentation
        samples = self.data.trained.batch(indices, with_pictures=self.features is None)
        reference = draws.reference.numpy()
        if recipe.reference == "first":
            reference = np.zeros_like(reference)
        observation, chunks = observe(samples, reference)
        if how.turn_world:
            observation = augment.turn_world(observation, draws.turn)
        if how.shake:
            observation = augment.shake_proprioception(observation, draws.shake)
        if self.features is not None:
            scene = self.features(indices)
        else:
            scene = self.data.images(samples)
            if how.colours:
                scene = augment.change_colours(scene, draws.colours)
            if how.drop_cameras:
                scene, observation = augment.drop_cameras(
                    scene, observation, how.drop_cameras, draws.dropped
                )
            if how.shuffle_cameras:
                scene, observation = augment.shuffle_cameras(scene, observation, draws.order)
        mask = torch.from_numpy(samples.mask)[:, None] if recipe.mask_ends else None
        text = self.data.text(samples)
        noise, steps = draws.noise.flatten(0, 1), draws.steps.flatten()
        batch = AptBatch(scene, text, observation, chunks, noise, steps, mask)
        return batch.to(self._world.device)
