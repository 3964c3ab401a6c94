"""Curves and pictures of a run, as event files that TensorBoard shows: `tensorboard --logdir DIR`.

Written by tensorboardX: no server, no network, no account.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tensorboardX import SummaryWriter

from vla_ros.core.errors import CheckpointError

BAR_ROWS_PX = 7
TRUE_RGB, GUESS_RGB, GROUND_RGB = (90, 200, 90), (230, 120, 60), (24, 24, 24)


class EventLog:
    """Event files of one run; use it in a `with`, or close it."""

    def __init__(self, folder: Path, step: int = 0):
        """Write into `folder`; what a stopped run wrote after `step` is not shown.

        Raises:
            CheckpointError: the disk refuses.
        """
        try:
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        except OSError as error:
            raise CheckpointError(
                f"{folder} cannot hold event files ({error}); free the disk or choose another --out"
            ) from None

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not on disk yet."""
        self._writer.close()

    def step(self, step: int, result: dict, rate: float, steps_per_s: float) -> None:
        """Add loss, its parts, the gradient's norm, rate and throughput after `step` steps."""
        self.scalars(step, {f"train/{name}": value for name, value in result["scalars"].items()})
        self.scalars(
            step,
            {
                "train/loss": result["loss"],
                "train/gradient_norm": result["gradient_norm"],
                "train/rate": rate,
                "train/steps_per_s": steps_per_s,
            },
        )

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Add one number a curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Add a picture (H, W, 3) uint8 RGB."""
        self._writer.add_image(name, image, step, dataformats="HWC")


def prediction_picture(
    images: Sequence[np.ndarray], predicted: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Return samples side by side (H, W, 3) uint8 RGB: pictures, below them actions as bars.

    Args:
        images: of each of N samples (V, S, S, 3) uint8 RGB.
        predicted, target: (N, A) normalised; a bar starts at the middle, 1 is the edge. The true
            one is green and above the guess.
    """
    columns = []
    for views, guess, true in zip(images, predicted, target, strict=True):
        shown = np.concatenate(list(views), axis=1)
        width = shown.shape[1]
        bars = np.full((len(true) * 2 * BAR_ROWS_PX, width, 3), GROUND_RGB, np.uint8)
        values = np.stack([true, guess], axis=1).ravel()
        for row, value in enumerate(np.clip(np.nan_to_num(values), -1, 1)):
            end = round(float(width - 1) * (1 + float(value)) / 2)
            top = row * BAR_ROWS_PX
            colour = GUESS_RGB if row % 2 else TRUE_RGB
            cv2.rectangle(bars, (width // 2, top + 1), (end, top + BAR_ROWS_PX - 2), colour, -1)
        columns.append(np.concatenate([shown, bars]))
    return np.concatenate(columns, axis=1)
