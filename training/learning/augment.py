"""Random changes of the pictures of a batch."""

import numpy as np


def draw_shifts(rng: np.random.Generator, count: int, max_px: int) -> np.ndarray:
    """Return shifts (count, 2) for `shift_images`: as many whatever process takes which."""
    return rng.integers(0, 2 * max_px + 1, (count, 2))


def shift_images(images: np.ndarray, shifts: np.ndarray, max_px: int) -> np.ndarray:
    """Return images (B, V, H, W, 3) uint8, each sample shifted by up to `max_px`; edges repeat.

    Both pictures of a sample move alike, so the motion between them stays. `shifts` are those of
    `draw_shifts`.
    """
    if max_px == 0:
        return images
    height, width = images.shape[2:4]
    pad = ((0, 0), (0, 0), (max_px, max_px), (max_px, max_px), (0, 0))
    padded = np.pad(images, pad, mode="edge")
    shifted = np.empty_like(images)
    for row, (dy, dx) in enumerate(shifts):
        shifted[row] = padded[row, :, dy : dy + height, dx : dx + width]
    return shifted
