"""Held-out error of APT: sampled chunks against the true ones, next to two simple answers.

Legend: N samples, H steps of a chunk.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from training.learning.apt_batches import AptBatch, draw
from training.learning.apt_data import AptData, chunk_statistics, observe, thinned
from training.learning.apt_recipes import AptRecipe
from training.learning.apt_windows import ChunkSamples
from training.learning.event_log import prediction_picture
from training.learning.precision import autocast
from training.learning.processes import World
from training.learning.stage import HeldOut
from vla_ros.core.chunks import CHUNK_SIZE, GRIPPER, ROTATION, TRANSLATION, rotation_from_6d
from vla_ros.policy.apt.policy import AptPolicy

# Steps of a chunk, from 1, whose errors are told.
TOLD_STEPS = (1, 8, 32)
DIMENSIONS = ("x", "y", "z", "r1x", "r1y", "r1z", "r2x", "r2y", "r2z", "gripper")
BATCH = 64
# Of the numbers that noise and diffusion steps are drawn with: no training step has it.
EVAL_STEP = 1 << 40
NUM_SHOWN = 4
# What a bar to the edge of a picture of predictions means [m].
SHOWN_M = 0.2
_STILL = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class HeldOutError:
    """Measures a policy on the same held-out samples each time, with the same noise."""

    def __init__(self, policy: AptPolicy, data: AptData, recipe: AptRecipe, world: World):
        self._policy, self._data, self._recipe, self._world = policy, data, recipe, world
        first_camera = replace(recipe, reference="first")
        self._constant = chunk_statistics(data, first_camera)[0].numpy()
        self._chosen = thinned(len(data.held_out), recipe.eval_samples)

    @torch.no_grad()
    def __call__(self) -> HeldOut:
        """Return loss and errors; the policy is in evaluation mode."""
        losses, sampled, true, exist, opening, picture = [], [], [], [], [], None
        for start in range(0, len(self._chosen), BATCH):
            batch, samples = self._batch(start)
            loss, chunks = self._measured(batch)
            losses.append(loss * len(chunks))
            sampled.append(chunks)
            true.append(batch.chunks[:, 0].cpu().numpy())
            exist.append(samples.mask)
            opening.append(samples.opening)
            if start == 0:
                picture = _picture(batch, chunks)
        true, exist, opening = (np.concatenate(x) for x in (true, exist, opening))
        guesses = {
            "val": np.concatenate(sampled),
            "val_constant": np.broadcast_to(self._constant, true.shape),
            "val_still": still_chunks(opening, true.shape[1]),
        }
        metrics: dict = {"val_diffusion_loss": sum(losses) / len(true)}
        for name, guess in guesses.items():
            metrics |= chunk_errors(name, guess, true, exist, self._recipe.apt.loss_weights)
        metrics["units"] = "m of translation, 1 of rotation columns and gripper (-1 to 1)"
        return HeldOut(metrics, picture)

    def _batch(self, start: int) -> tuple[AptBatch, ChunkSamples]:
        """Return samples from number `start` on in the axes of the first camera, as at run time."""
        indices = self._chosen[start : start + BATCH]
        data, recipe = self._data, self._recipe
        samples = data.held_out.batch(indices)
        observation, chunks = observe(samples, np.zeros(len(indices), np.int64))
        draws = draw(recipe, len(indices), len(data.contract.cameras), start, EVAL_STEP)
        images, text = data.images(samples), data.text(samples)
        noise, steps = draws.noise[:, 0], draws.steps[:, 0]
        batch = AptBatch(images, text, observation, chunks, noise, steps, None)
        return batch.to(self._world.device), samples

    def _measured(self, batch: AptBatch) -> tuple[float, np.ndarray]:
        """Return the diffusion loss and sampled chunks (N, H, 10)."""
        device, is_on = self._world.device.type, self._recipe.bf16
        with autocast(device, is_on):
            assert isinstance(batch.scene, Tensor)
            output = self._policy.look(batch.scene, batch.text)
            loss = self._policy(output, *batch[1:])
            chunks = self._policy.denoise(output, batch.observation, batch.noise)
        return float(loss.total), chunks[:, 0].float().cpu().numpy()


def _picture(batch: AptBatch, sampled: np.ndarray) -> np.ndarray:
    """Return some samples with where the chunk ends: x, y, z and gripper."""
    assert isinstance(batch.scene, Tensor)
    images = ((batch.scene[:NUM_SHOWN] + 1) * 127.5).byte().movedim(2, -1).cpu().numpy()
    ends = [
        np.concatenate([chunks[:NUM_SHOWN, -1, :3] / SHOWN_M, chunks[:NUM_SHOWN, -1, GRIPPER:]], 1)
        for chunks in (sampled, batch.chunks[:, 0].cpu().numpy())
    ]
    return prediction_picture(list(images), *ends)


def still_chunks(opening: np.ndarray, horizon: int) -> np.ndarray:
    """Return chunks (N, H, 10) of an arm that stays where it is, with its openings (N,)."""
    chunks = np.empty((len(opening), horizon, CHUNK_SIZE))
    chunks[..., :GRIPPER] = _STILL
    chunks[..., GRIPPER] = 2 * opening[:, None] - 1
    return chunks


def chunk_errors(
    name: str,
    guess: np.ndarray,
    true: np.ndarray,
    exist: np.ndarray,
    weights: tuple[float, float, float],
) -> dict:
    """Return the errors of chunks (N, H, 10) at steps that exist (N, H), named after `name`.

    `name`_loss is the mean absolute error, parts weighed as in training. By step: the mean absolute
    error of each number, of the position [cm] and of the rotation [deg]; a step that no sample has
    is left out.
    """
    off = np.abs(guess - true)[exist]
    parts = (off[:, TRANSLATION], off[:, ROTATION], off[:, GRIPPER])
    loss = sum(weight * part.mean() for weight, part in zip(weights, parts, strict=True))
    steps = sorted({*(s for s in TOLD_STEPS if s <= true.shape[1]), true.shape[1]})
    told = {}
    for step in steps:
        has = exist[:, step - 1]
        if has.any():
            told[str(step)] = _errors_at(guess[has, step - 1], true[has, step - 1])
    return {f"{name}_loss": float(loss), f"{name}_error_by_step": told}


def _errors_at(guess: np.ndarray, true: np.ndarray) -> dict:
    off = np.abs(guess - true).mean(0)
    distance = np.linalg.norm(guess[:, TRANSLATION] - true[:, TRANSLATION], axis=1)
    one, other = (rotation_from_6d(chunk[:, ROTATION]) for chunk in (guess, true))
    cosine = (np.einsum("nij,nij->n", one, other) - 1) / 2
    return {
        **dict(zip(DIMENSIONS, off.tolist(), strict=True)),
        "position_cm": 100 * float(distance.mean()),
        "rotation_deg": float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()),
    }
