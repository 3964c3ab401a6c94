"""Where a camera is: from the file that training.hand_eye writes, or from the simulated scene."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from tf2_msgs.msg import TFMessage

from vla_ros.core.errors import CameraError
from vla_ros.core.rotations import matrix_from_quat, quat_from_matrix, transform
from vla_ros.nodes import conversions

# A quaternion written with six digits is a unit one to this.
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Extrinsics:
    """A camera's place on the robot.

    Attributes:
        parent: link of the robot, without its namespace, such as base_link.
        T_parent_camera: (4, 4), metres; the camera's frame is optical: z forward, y down.
    """

    parent: str
    T_parent_camera: np.ndarray


def load_extrinsics(path: str, frame_id: str) -> Extrinsics:
    """Return what a YAML file of training.hand_eye says.

    Args:
        path: the file: parent, child, translation_m (3), rotation_xyzw (4), and whatever else.
        frame_id: the frame that its child must be.

    Raises:
        CameraError: the file is missing, is no such file, or is another camera's.
    """
    try:
        data = yaml.safe_load(Path(path).expanduser().read_text())
        parent, child = data["parent"], data["child"]
        translation_m = np.array(data["translation_m"], dtype=np.float64).reshape(3)
        x, y, z, w = np.array(data["rotation_xyzw"], dtype=np.float64).reshape(4)
        if not (isinstance(parent, str) and parent):
            raise ValueError(f"parent is {parent!r}")
        if abs(np.linalg.norm([x, y, z, w]) - 1.0) > _UNIT_TOLERANCE:
            raise ValueError("rotation_xyzw is no unit quaternion")
        if not np.all(np.isfinite(translation_m)):
            raise ValueError("translation_m is not finite")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CameraError(
            f"extrinsics file {path} cannot be used ({error!r}); give the YAML file that "
            "training.hand_eye writes"
        ) from None
    if child != frame_id:
        raise CameraError(
            f"extrinsics file {path} is of frame {child!r}, this camera's is {frame_id!r}; give "
            "this camera's file, or set name to that camera's"
        )
    return Extrinsics(parent, transform(matrix_from_quat(np.array([w, x, y, z])), translation_m))


def sim_extrinsics(camera: str) -> Extrinsics:
    """Return where a camera of the simulated scene is; KeyError where there is none."""
    # MuJoCo is needed, and installed, only where the sim is.
    from vla_ros.sim.mount import mount

    return Extrinsics(*mount(camera))


def extrinsics_to_msg(
    extrinsics: Extrinsics, robot_name: str, frame_id: str, stamp_ns: int
) -> TFMessage:
    """Return the message for /tf_static; the robot's links bear its namespace there."""
    message = TransformStamped(child_frame_id=frame_id)
    message.header.frame_id = f"{robot_name}/{extrinsics.parent}"
    message.header.stamp = conversions.stamp_from_ns(stamp_ns)
    x, y, z = (float(value) for value in extrinsics.T_parent_camera[:3, 3])
    message.transform.translation = Vector3(x=x, y=y, z=z)
    w, x, y, z = (float(value) for value in quat_from_matrix(extrinsics.T_parent_camera[:3, :3]))
    message.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return TFMessage(transforms=[message])
