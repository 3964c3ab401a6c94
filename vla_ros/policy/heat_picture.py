"""Heat laid over a picture."""

import cv2
import numpy as np

_STRENGTH = 0.55


def overlay(picture: np.ndarray, heat: np.ndarray, hottest: float, side: int) -> np.ndarray:
    """Return the picture (side, side, 3) uint8 RGB with its heat laid over it.

    Args:
        picture: (S, S, 3) uint8 RGB.
        heat: (h, w), at least 0.
        hottest: the heat that is drawn as the greatest, in red.
        side: of what is returned [px].
    """
    large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    share = np.clip(heat / max(hottest, 1e-12), 0, 1).astype(np.float32)
    share = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)
    level = np.round(255 * share).astype(np.uint8)
    colour = cv2.applyColorMap(level, cv2.COLORMAP_JET)[..., ::-1]
    # Where there is no heat the picture stays as it is.
    part = _STRENGTH * share[..., None]
    return np.clip(large * (1 - part) + colour * part, 0, 255).astype(np.uint8)
