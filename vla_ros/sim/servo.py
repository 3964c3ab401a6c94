"""One Dynamixel servo: its mode, its registers and the profile that its reference is on."""

import math

from vla_ros.core import arm
from vla_ros.sim.profile import Trapezoid, time_trapezoid, velocity_trapezoid

MODES = ("position", "ext_position", "velocity", "current", "current_based_position", "pwm")
MODES += ("linear_position",)
POSITION_MODES = ("position", "ext_position", "current_based_position", "linear_position")
_DEFAULT_REGISTERS = {
    "Profile_Velocity": 0,
    "Profile_Acceleration": 0,
    "Goal_Current": 1193,
    "Velocity_Limit": 131,
    "Position_P_Gain": 800,
    "Position_I_Gain": 0,
    "Position_D_Gain": 0,
    "Hardware_Error_Status": 0,
    "Present_Temperature": 30,
    "Present_Input_Voltage": 120,
}
# The servo compares rounded positions: 4096 counts a turn.
_HALF_COUNT_RAD = math.pi / 4096.0


class Servo:
    """One servo: mode, registers, and the profile that its reference is on."""

    __slots__ = ("limp_from_s", "limp_until_s", "lower", "mode", "motion", "position")
    __slots__ += ("profile_type", "registers", "started_s", "torque", "upper", "value", "velocity")

    def __init__(self, lower: float, upper: float, mode: str, profile_type: str) -> None:
        self.lower, self.upper = lower, upper
        self.mode, self.profile_type = mode, profile_type
        self.registers = dict(_DEFAULT_REGISTERS)
        self.position = self.velocity = 0.0
        self.motion: Trapezoid | None = None
        self.started_s = 0.0
        self.value = 0.0  # the goal in modes that are no position modes
        self.torque = True
        self.limp_from_s = self.limp_until_s = -1.0

    def hold(self, position: float) -> None:
        self.position, self.velocity, self.value, self.motion = position, 0.0, 0.0, None

    def command(self, value: float, now_s: float) -> None:
        """Take a goal in the mode's unit; a goal that the servo refuses changes nothing."""
        if not math.isfinite(value) or not self.torque:
            return
        if self.mode not in POSITION_MODES:
            self.value = value
            return
        if self.mode == "linear_position":
            try:
                value = arm.horn_from_finger(value / 2.0)
            except (ValueError, ZeroDivisionError):
                return
        if self.mode != "ext_position" and not (
            self.lower - _HALF_COUNT_RAD <= value <= self.upper + _HALF_COUNT_RAD
        ):
            return
        make = time_trapezoid if self.profile_type == "time" else velocity_trapezoid
        first, second = self.registers["Profile_Velocity"], self.registers["Profile_Acceleration"]
        self.motion = make(self.position, self.velocity, value, first, second)
        self.started_s = now_s

    def advance(self, now_s: float, dt_s: float) -> bool:
        """Move the reference to `now_s`; return whether it may still change afterwards."""
        if self.motion is not None:
            elapsed_s = now_s - self.started_s
            self.position, self.velocity = self.motion.at(elapsed_s)
            if elapsed_s >= self.motion.duration_s:
                self.motion = None
            return True
        if self.mode == "velocity" and self.value != 0.0:
            limit = arm.VELOCITY_LIMIT_RAD_S[0]
            self.position += min(max(self.value, -limit), limit) * dt_s
            return True
        return False
