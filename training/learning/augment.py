"""Random changes of the pictures of a batch."""

import numpy as np


def shift_images(images: np.ndarray, max_px: int, rng: np.random.Generator) -> np.ndarray:
    """Return images (B, V, H, W, 3) uint8, each sample shifted by up to `max_px`; edges repeat.

    Both pictures of a sample move alike, so the motion between them stays.
    """
    if max_px == 0:
        return images
    height, width = images.shape[2:4]
    pad = ((0, 0), (0, 0), (max_px, max_px), (max_px, max_px), (0, 0))
    padded = np.pad(images, pad, mode="edge")
    shifted = np.empty_like(images)
    for row, (dy, dx) in enumerate(rng.integers(0, 2 * max_px + 1, (len(images), 2))):
        shifted[row] = padded[row, :, dy : dy + height, dx : dx + width]
    return shifted
