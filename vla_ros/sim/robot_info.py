"""What the simulated driver answers about its joints."""

from dataclasses import dataclass

from vla_ros.core import arm

JOINTS = (*arm.ARM_JOINTS, "gripper")
# Shoulder and elbow have a shadow servo each, which takes the next id.
_IDS = (1, 2, 4, 6, 7, 8, 9)
_FINGER_VELOCITY_M_S = 1.0
_LOWER = (*map(float, arm.LOWER_RAD), arm.FINGER_CLOSED_M)
_UPPER = (*map(float, arm.UPPER_RAD), arm.FINGER_OPEN_M)
_VELOCITY = (*map(float, arm.VELOCITY_LIMIT_RAD_S), _FINGER_VELOCITY_M_S)
_SLEEP = (*map(float, arm.SLEEP_RAD), 0.0)


@dataclass(frozen=True)
class RobotInfo:
    """The answer of get_robot_info; limits of the gripper are those of left_finger in metres."""

    mode: str
    profile_type: str
    joint_names: tuple[str, ...]
    joint_ids: tuple[int, ...]
    joint_lower_limits: tuple[float, ...]
    joint_upper_limits: tuple[float, ...]
    joint_velocity_limits: tuple[float, ...]
    joint_sleep_positions: tuple[float, ...]
    joint_state_indices: tuple[int, ...]
    num_joints: int
    name: tuple[str, ...]


def describe(
    cmd_type: str,
    name: str,
    indices: tuple[int, ...],
    mode: str,
    profile_type: str,
    groups: tuple[str, ...],
) -> RobotInfo:
    """Return the answer about the joints at `indices` of JOINTS, asked for as `name`.

    Asked about the gripper alone, the driver names the left finger.
    """

    def pick(values: tuple) -> tuple:
        return tuple(values[index] for index in indices)

    names = (*arm.ARM_JOINTS, "left_finger") if cmd_type == "single" else JOINTS
    return RobotInfo(
        mode=mode,
        profile_type=profile_type,
        joint_names=pick(names),
        joint_ids=pick(_IDS),
        joint_lower_limits=pick(_LOWER),
        joint_upper_limits=pick(_UPPER),
        joint_velocity_limits=pick(_VELOCITY),
        joint_sleep_positions=pick(_SLEEP),
        joint_state_indices=indices,
        num_joints=len(indices),
        name=groups if name == "all" else (name,),
    )
