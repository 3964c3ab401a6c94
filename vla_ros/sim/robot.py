"""MJCF of the WidowX 250s from boxes, capsules and cylinders.

Joint offsets, axes and limits come from `core.arm`. Shapes follow the bounding boxes of the
public URDF's meshes, masses are its link masses. Stiffness and damping were tried over grasps.
"""

from vla_ros.core import arm

# Position servo of each arm joint: stiffness [N m/rad], damping [N m s/rad], torque limit [N m].
# Stiff enough that gravity bends the stretched arm by about 5 mm at the tool, as on the real arm,
# which has no integral gain either.
SERVO_KP = (300.0, 600.0, 500.0, 150.0, 250.0, 100.0)
SERVO_KV = (13.0, 22.0, 17.0, 5.5, 8.0, 3.5)
TORQUE_LIMIT_NM = 35.0
# Damping of each joint without power [N m s/rad] (the gear train's drag: the arm sinks, it does not
# fall), and the inertia of the rotor
# seen through the gears [kg m^2].
LIMP_DAMPING = (2.0, 3.0, 3.0, 0.5, 1.0, 0.5)
ARMATURE = 0.1
# Gripper: stiffness [N/m] and force limit [N] of the position modes; drag on the left finger
# [N s/m], which sets the free speed to 0.1 m/s at full force.
GRIPPER_KP = 1500.0
GRIPPER_FORCE_LIMIT_N = 20.0
GRIPPER_DAMPING = 200.0

# The finger pad's inner face is this far inside the finger joint's position [m].
PAD_INSET_M = 0.014
# From wrist_rotate along the gripper's x [m] to the fingers' frame.
FINGERS_X_M = 0.043 + 0.023

# solref and solimp of the fingers' stops and coupling: full force bends them by 0.1 mm.
_STIFF = ("0.01 1", "0.99 0.999 0.0005")

TOOL_SITE = "tool"
ARM_ACTUATORS = arm.ARM_JOINTS
GRIPPER_POSITION_ACTUATOR = "gripper_position"
GRIPPER_FORCE_ACTUATOR = "gripper_force"

_DARK, _LINK, _RUBBER, _STEEL = "0.12 0.12 0.13", "0.25 0.25 0.28", "0.42 0.42 0.45", "0.6 0.6 0.62"

# Geoms a link: (class, kind, size, pose, colour, mass). Class "look" is drawn only, "body" is
# drawn and collides. The link's mass sits on its first geom.
_LINK_GEOMS: dict[str, tuple[tuple[str, str, str, str, str, float], ...]] = {
    "base": (
        ("body", "box", "0.075 0.055 0.020", 'pos="-0.045 0 0.020"', _DARK, 0.539),
        ("body", "cylinder", "0.050 0.030", 'pos="0 0 0.042"', _LINK, 0.0),
        ("look", "box", "0.035 0.035 0.014", 'pos="-0.085 0 0.052"', _LINK, 0.0),
        ("look", "cylinder", "0.046 0.0015", 'pos="0 0 0.0715"', _STEEL, 0.0),
    ),
    "waist": (
        ("look", "cylinder", "0.042 0.010", 'pos="0 0 0.012"', _LINK, 0.481),
        ("look", "box", "0.022 0.046 0.024", 'pos="0 0 0.030"', _DARK, 0.0),
    ),
    "shoulder": (
        ("look", "capsule", "0.021", 'fromto="0 0 0.03 0 0 0.235"', _LINK, 0.431),
        ("look", "cylinder", "0.026 0.050", 'quat="0.7071068 0.7071068 0 0"', _DARK, 0.0),
        ("look", "box", "0.016 0.034 0.100", 'pos="0 0 0.125"', _DARK, 0.0),
        ("look", "capsule", "0.022", 'fromto="0 0 0.25 0.050 0 0.25"', _LINK, 0.0),
        ("look", "cylinder", "0.024 0.046", 'pos="0.04975 0 0.25" quat="0.7071068 0.7071068 0 0"',
         _DARK, 0.0),
    ),
    "elbow": (
        ("body", "capsule", "0.020", 'fromto="0.02 0 0 0.160 0 0"', _LINK, 0.235),
        ("look", "box", "0.045 0.024 0.017", 'pos="0.055 0 0"', _DARK, 0.0),
        ("look", "cylinder", "0.0225 0.003", 'pos="0.172 0 0" quat="0.7071068 0 0.7071068 0"',
         _STEEL, 0.0),
    ),
    "forearm_roll": (
        ("body", "box", "0.034 0.021 0.018", 'pos="0.032 0 0"', _DARK, 0.221),
        ("look", "cylinder", "0.020 0.029", 'pos="0.075 0 0" quat="0.7071068 0.7071068 0 0"',
         _LINK, 0.0),
    ),
    "wrist_angle": (
        ("body", "box", "0.028 0.020 0.018", 'pos="0.034 0 0"', _LINK, 0.085),
        ("look", "cylinder", "0.018 0.003", 'pos="0.063 0 0" quat="0.7071068 0 0.7071068 0"',
         _STEEL, 0.0),
    ),
    "wrist_rotate": (
        ("body", "box", "0.020 0.020 0.020", 'pos="0.022 0 0"', _DARK, 0.077),
        ("body", "box", "0.009 0.052 0.013", 'pos="0.050 0 0"', _LINK, 0.034),
        ("look", "box", "0.014 0.016 0.016", 'pos="0.045 0 0"', _DARK, 0.0),
    ),
}  # fmt: skip


def _geom(kind_class: str, kind: str, size: str, pose: str, rgb: str, mass: float) -> str:
    return (
        f'<geom class="{kind_class}" type="{kind}" size="{size}" {pose} '
        f'rgba="{rgb} 1" mass="{mass:g}"/>'
    )


def _geoms(link: str) -> str:
    return "".join(_geom(*row) for row in _LINK_GEOMS[link])


def _finger(side: str, sign: int) -> str:
    """Return the body of one finger: `sign` +1 is the left one, on +y."""
    low, high = sorted((sign * arm.FINGER_CLOSED_M, sign * arm.FINGER_OPEN_M))
    # The right finger follows the left one, so the gears' drag is on the left alone.
    damping = GRIPPER_DAMPING if sign > 0 else 0.0
    pad_y, back_y = -sign * (PAD_INSET_M - 0.004), -sign * 0.0005
    look = 'class="body" type="box"'
    return f"""
<body name="{side}_finger" pos="{FINGERS_X_M:g} 0 0">
  <joint name="{side}_finger" type="slide" axis="0 1 0" range="{low:g} {high:g}"
         damping="{damping:g}" armature="{ARMATURE:g}"
         solreflimit="{_STIFF[0]}" solimplimit="{_STIFF[1]}"/>
  <geom {look} size="0.0275 0.0055 0.0125" pos="0.0155 {back_y:g} 0" rgba="{_DARK} 1" mass="0.012"/>
  <geom {look} size="0.0275 0.004 0.011" pos="0.016 {pad_y:g} 0" rgba="{_RUBBER} 1" mass="0.004"
        friction="1.5 0.02 0.0001" priority="1"/>
  <geom class="look" type="box" size="0.006 0.012 0.010" pos="-0.012 {-sign * 0.004:g} 0"
        rgba="{_LINK} 1" mass="0"/>
</body>"""


def robot_body(wrist_camera: str) -> str:
    """Return the MJCF body of the arm, standing at the world's origin.

    Args:
        wrist_camera: MJCF camera element to mount on the gripper, in the frame of wrist_rotate.
    """
    tool = " ".join(f"{v:g}" for v in arm.TOOL_OFFSET_M)
    inner = (
        f'{_geoms("wrist_rotate")}{wrist_camera}<site name="{TOOL_SITE}" pos="{tool}" group="4"/>'
        f"{_finger('left', 1)}{_finger('right', -1)}"
    )
    chain = list(
        zip(
            arm.ARM_JOINTS,
            arm.JOINT_OFFSETS_M,
            arm.JOINT_AXES,
            arm.LOWER_RAD,
            arm.UPPER_RAD,
            LIMP_DAMPING,
            strict=True,
        )
    )
    for name, offset, axis, lower, upper, damping in reversed(chain):
        geoms = "" if name == "wrist_rotate" else _geoms(name)
        unit = " ".join("1" if axis == other else "0" for other in "xyz")
        inner = (
            f'<body name="{name}" pos="{offset[0]:.9g} {offset[1]:.9g} {offset[2]:.9g}">'
            f'<joint name="{name}" axis="{unit}" range="{lower:.9g} {upper:.9g}" '
            f'damping="{damping:g}" armature="{ARMATURE:g}"/>'
            f"{geoms}{inner}</body>"
        )
    return f'<body name="base">{_geoms("base")}{inner}</body>'


def robot_actuators() -> str:
    """Return the MJCF actuators: a position servo a joint, two alternative ones for the gripper."""
    servos = "".join(
        f'<position name="{name}" joint="{name}" kp="{kp:g}" kv="{kv:g}" '
        f'forcerange="{-TORQUE_LIMIT_NM:g} {TORQUE_LIMIT_NM:g}"/>'
        for name, kp, kv in zip(ARM_ACTUATORS, SERVO_KP, SERVO_KV, strict=True)
    )
    limit = f'forcerange="{-GRIPPER_FORCE_LIMIT_N:g} {GRIPPER_FORCE_LIMIT_N:g}"'
    return (
        f"{servos}"
        f'<position name="{GRIPPER_POSITION_ACTUATOR}" joint="left_finger" kp="{GRIPPER_KP:g}" '
        f"{limit}/>"
        f'<motor name="{GRIPPER_FORCE_ACTUATOR}" joint="left_finger" gear="1" {limit}/>'
    )


def robot_equalities() -> str:
    """Return the MJCF constraint that makes the right finger mirror the left one."""
    return (
        '<joint joint1="right_finger" joint2="left_finger" polycoef="0 -1 0 0 0" '
        f'solref="{_STIFF[0]}" solimp="{_STIFF[1]}"/>'
    )
