"""Facts of the Interbotix WidowX 250s: names, limits, poses, link offsets, gripper geometry.

Everything is in SI units and radians. Frames: `base_link` has x forward, y left, z up and its
origin on the table the arm stands on. Numbers are those of the public wx250s URDF and of the
Interbotix X-Series driver's configuration; nothing here is measured on one particular arm.
"""

import math

import numpy as np

ROBOT_MODELS = ("wx250s",)

ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
# The driver publishes the six arm joints, the gripper's servo horn and the two fingers.
JOINT_STATE_NAMES = (*ARM_JOINTS, "gripper", "left_finger", "right_finger")
NUM_ARM_JOINTS = len(ARM_JOINTS)


def _constant(*values: float) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


LOWER_RAD = _constant(-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158)
UPPER_RAD = _constant(3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158)
# Velocity_Limit register 131 x 0.229 rpm = pi rad/s on every arm servo.
VELOCITY_LIMIT_RAD_S = _constant(*[np.pi] * 6)
# The limit of Interbotix's MoveIt configuration; the servos enforce none of their own.
ACCELERATION_LIMIT_RAD_S2 = _constant(*[5.0] * 6)

HOME_RAD = _constant(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
SLEEP_RAD = _constant(0.0, -1.80, 1.55, 0.0, 0.8, 0.0)
# Tool straight down, 0.15 m above the table at x = 0.25 m: the solution of
# `kinematics.inverse` that keeps the elbow up (to 0.1 mm).
READY_RAD = _constant(0.0, -0.1707, 0.4003, 0.0, 1.3412, 0.0)

# Serial chain from base_link. Each joint turns about one axis of its parent frame after a pure
# translation; at all-zero every frame is parallel to base_link.
JOINT_OFFSETS_M = np.array(
    [
        [0.0, 0.0, 0.072],
        [0.0, 0.0, 0.03865],
        [0.04975, 0.0, 0.25],
        [0.175, 0.0, 0.0],
        [0.075, 0.0, 0.0],
        [0.065, 0.0, 0.0],
    ]
)
JOINT_OFFSETS_M.setflags(write=False)
JOINT_AXES = ("z", "y", "y", "x", "y", "x")
# wrist_rotate to the tool point between the finger tips (ee_arm + fingers + ee_gripper).
TOOL_OFFSET_M = _constant(0.043 + 0.023 + 0.027575, 0.0, 0.0)

# One finger's distance from the centre line.
FINGER_CLOSED_M = 0.015
FINGER_OPEN_M = 0.037
# The gripper's servo turns a horn that pushes the fingers through a rod.
HORN_RADIUS_M = 0.014
ROD_LENGTH_M = 0.024

# What the servos need while commands stream: cmd_type, name, register and value of a RegisterValues
# request. A time profile of 1.25 and 0.5 of the command period of 20 ms; the largest current of a
# grasp, about 0.54 A of the XM430's 2.3 A stall current, in its 2.69 mA units. The profile of the
# gripper is set with its mode, too, but a reboot forgets it.
STREAM_REGISTERS = (
    ("single", "gripper", "Goal_Current", 200),
    ("group", "arm", "Profile_Velocity", 25),
    ("group", "arm", "Profile_Acceleration", 10),
    ("single", "gripper", "Profile_Velocity", 200),
    ("single", "gripper", "Profile_Acceleration", 50),
)
# The gripper's mode, and its profile: a position command limited by current neither slips nor
# overheats the servo.
GRIPPER_MODE = ("current_based_position", "time", 200, 50)


def finger_from_opening(opening: float) -> float:
    """Return one finger's distance from the centre [m] for an opening in [0 closed, 1 open]."""
    return FINGER_CLOSED_M + float(opening) * (FINGER_OPEN_M - FINGER_CLOSED_M)


def opening_from_finger(finger_m: float) -> float:
    """Return the opening (0 closed, 1 open; not clipped) of one finger's distance [m]."""
    return (float(finger_m) - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M)


def finger_from_horn(horn_rad: float) -> float:
    """Return one finger's distance from the centre [m] for a horn angle [rad].

    A slider crank: r sin(a) + sqrt(l^2 - (r cos a)^2), as the Interbotix driver computes it.
    """
    across = HORN_RADIUS_M * math.cos(horn_rad)
    return HORN_RADIUS_M * math.sin(horn_rad) + math.sqrt(ROD_LENGTH_M**2 - across**2)


def horn_from_finger(finger_m: float) -> float:
    """Return the horn angle [rad] that puts one finger at `finger_m` [m] from the centre.

    The inverse of `finger_from_horn` by the law of cosines, on the branch [-pi/2, pi/2].

    Raises:
        ValueError: the crank cannot reach that distance.
    """
    sine = (HORN_RADIUS_M**2 + finger_m**2 - ROD_LENGTH_M**2) / (2 * HORN_RADIUS_M * finger_m)
    if not -1.0 <= sine <= 1.0:
        raise ValueError(
            f"finger distance {finger_m} m is out of the gripper's reach: use "
            f"{FINGER_CLOSED_M} to {FINGER_OPEN_M} m"
        )
    return math.asin(sine)


def horn_from_opening(opening: float) -> float:
    """Return the gripper servo's angle [rad] for an opening in [0 closed, 1 open]."""
    return horn_from_finger(finger_from_opening(opening))


def opening_from_horn(horn_rad: float) -> float:
    """Return the opening (0 closed, 1 open; not clipped) for the gripper servo's angle [rad]."""
    return opening_from_finger(finger_from_horn(horn_rad))
