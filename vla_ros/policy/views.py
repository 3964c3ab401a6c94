"""What an observation says of a camera besides its picture: where it is, and how it sees."""

from collections.abc import Sequence

import numpy as np

from vla_ros.core.cameras import scaled_intrinsics
from vla_ros.core.errors import ContractError
from vla_ros.core.observation import CameraView
from vla_ros.policy.apt import observation as geometry
from vla_ros.policy.pictures import jpeg_shape


def pose_of(camera: str, view: CameraView) -> np.ndarray:
    """Return where a camera is (4, 4) in base_link [m]; ContractError where it is not known."""
    T = view.T_base_camera
    if T is None or T.shape != (4, 4) or not np.all(np.isfinite(T)):
        raise ContractError(
            f"where camera {camera} is on the robot is not known, and this policy acts in its "
            "axes; measure it with training.hand_eye and set camera_node's extrinsics"
        )
    return T


def relative_intrinsics(
    cameras: Sequence[str], views: Sequence[CameraView], side: int
) -> np.ndarray:
    """Return (V, 4), a row of `_relative_intrinsics` for each camera; ContractError likewise."""
    pairs = zip(cameras, views, strict=True)
    return np.stack([_relative_intrinsics(name, view, side) for name, view in pairs])


def _relative_intrinsics(camera: str, view: CameraView, side: int) -> np.ndarray:
    """Return (4,) intrinsics in halves of the picture's side, of pictures squeezed to a square.

    Raises:
        ContractError: they are not known, or are of another size.
    """
    if view.K is None or view.size is None:
        raise ContractError(
            f"camera {camera} is not calibrated, and this policy was trained with cameras that "
            "are; calibrate it and give the file as calibration:=FILE"
        )
    picture = view.picture
    shape = picture.shape[:2] if isinstance(picture, np.ndarray) else jpeg_shape(picture)
    if shape is not None and shape[::-1] != tuple(view.size):
        raise ContractError(
            f"camera {camera} gives pictures of {shape[1]} x {shape[0]} px and is calibrated for "
            f"{view.size[0]} x {view.size[1]}; calibrate it at this size"
        )
    return geometry.normalised_intrinsics(scaled_intrinsics(view.K, view.size, side), side)
