"""Intrinsics of pictures that are scaled; the same for datasets and for a policy that runs.

Pixel coordinates have the first pixel's centre at 0, so a picture's edges are at -0.5 and at its
side less 0.5, as in OpenCV and ROS.
"""

import numpy as np

# Distortion models of CameraInfo whose K is that of a pinhole.
PINHOLE_MODELS = ("plumb_bob", "rational_polynomial", "")
_HALF_PIXEL = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


def scaled_intrinsics(K: np.ndarray, size: tuple[int, int], side: int) -> np.ndarray:
    """Return K (3, 3) [px] of a picture of `size` (width, height) after resizing to side x side."""
    width, height = size
    scale = np.array([[side / width, 0, 0], [0, side / height, 0], [0, 0, 1]])
    return np.linalg.inv(_HALF_PIXEL) @ scale @ _HALF_PIXEL @ K
