"""Where the cameras of the simulated scene are on the robot."""

import numpy as np

from vla_ros.core.rotations import transform
from vla_ros.sim import scene
from vla_ros.sim.looks import STANDARD, Look


def mount(camera: str, look: Look = STANDARD) -> tuple[str, np.ndarray]:
    """Return the link that holds a camera, and T_link_camera (4, 4) [m] of its optical frame.

    A look may have moved the front camera. The optical frame has x right, y down and z forward;
    KeyError where there is no such camera.
    """
    spec = scene.CAMERAS[camera]
    if camera == "front":
        spec = scene.front_camera(look)
    # MuJoCo's cameras have y up and look along -z; the x axis is the same.
    x, y = (np.array(axis) / np.linalg.norm(axis) for axis in (spec.x_axis, spec.y_axis))
    rotation = np.stack([x, -y, -np.cross(x, y)], axis=1)
    # The scene's only moving mount is the body of the last joint: the gripper's link in the URDF.
    return "gripper_link" if spec.body else "base_link", transform(
        rotation, np.array(spec.position_m)
    )
