"""One Dynamixel servo: its mode, its registers and the profile that its reference is on."""

import math
from typing import NamedTuple

import numpy as np

from vla_ros.core import arm
from vla_ros.core.hardware import HOT_BELOW_C, MODEL_LIMIT_C, WARM_BELOW_C
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
    "Present_Input_Voltage": 120,
}
# Kept by a servo that is rebooted; the other registers are in RAM and start anew.
_EEPROM = ("Velocity_Limit",)
# The servo compares rounded positions: 4096 counts a turn.
_HALF_COUNT_RAD = math.pi / 4096.0
_COUNTS_PER_RAD = 4096.0 / (2.0 * math.pi)
# Operating_Mode register values of the X series; linear_position is the driver's own invention.
_MODE_REGISTER = dict(zip(MODES, (3, 4, 1, 0, 5, 16, 3), strict=True))

# Bits of Hardware_Error_Status; any of them switches the torque off (register Shutdown).
ERROR_BITS = {"input_voltage": 0, "overheating": 2, "encoder": 3, "shock": 4, "overload": 5}
# What an XM430-W350 draws when it is blocked at 12 V. The manual calls an overload a persistent
# load above the maximum output, without numbers: 85 % for 2 s is ours.
STALL_CURRENT_MA = 2300.0
OVERLOAD_MA, OVERLOAD_S = 0.85 * STALL_CURRENT_MA, 2.0
# A motor warms with the square of its current; 0.5 A end at about 45 degrees. Tried, not measured.
AMBIENT_C, HEAT_C_PER_A2, WARM_UP_S = 30.0, 60.0, 600.0


class Reference(NamedTuple):
    """What the servos follow during one control tick.

    Attributes:
        arm_rad: position references (6,) [rad].
        finger_m: position reference of the left finger [m], None while a force is commanded.
        finger_force_n: force on the left finger [N], positive opens, used when finger_m is None.
        torque: whether each of the 7 servos is powered.
    """

    arm_rad: np.ndarray
    finger_m: float | None
    finger_force_n: float
    torque: tuple[bool, ...]


class Servo:
    """One servo: mode, registers, errors, and the profile that its reference is on."""

    __slots__ = (
        *("goal", "heated_c", "limit_c", "limp_from_s", "limp_until_s", "loaded_s", "lower"),
        *("mode", "motion", "position", "profile_type", "registers", "started_s"),
        *("temperature_c", "torque", "upper", "value", "velocity"),
    )

    def __init__(
        self,
        lower: float,
        upper: float,
        mode: str,
        profile_type: str,
        limit_c: int = MODEL_LIMIT_C,
    ) -> None:
        self.lower, self.upper = lower, upper
        self.mode, self.profile_type = mode, profile_type
        self.registers = dict(_DEFAULT_REGISTERS)
        self.position = self.velocity = 0.0
        # The register Goal_Position [rad]: the last one taken, with torque or without.
        self.goal = 0.0
        self.motion: Trapezoid | None = None
        self.started_s = 0.0
        self.value = 0.0  # the goal in modes that are no position modes
        self.torque = True
        self.limp_from_s = self.limp_until_s = -1.0
        self.loaded_s = 0.0
        self.temperature_c = AMBIENT_C
        self.limit_c = limit_c
        # Warmed from outside to this temperature [degrees Celsius]; None: by its current alone.
        self.heated_c: float | None = None

    @property
    def error(self) -> int:
        """Hardware_Error_Status; a servo in error has no torque until it is rebooted."""
        return self.registers["Hardware_Error_Status"]

    def hold(self, position: float) -> None:
        """Make the position goal and reference, at rest, and push with nothing."""
        self.position, self.velocity, self.value, self.motion = position, 0.0, 0.0, None
        self.goal = position

    def go_limp(self) -> None:
        """Lose the torque until somebody enables it; the goal stays as it was."""
        self.torque = False
        self.velocity, self.value, self.motion = 0.0, 0.0, None

    def power(self, present: float, now_s: float) -> None:
        """Get the torque back at a position [rad], and move to the goal that was kept.

        The worst that is told of real servos; others take their position as their goal.
        """
        goal = self.goal
        self.hold(present)
        self.torque = True
        if self.mode in POSITION_MODES and goal != present:
            self._aim(goal, now_s)

    def raise_error(self, bit: int) -> None:
        """Set one bit of Hardware_Error_Status and drop the torque."""
        self.registers["Hardware_Error_Status"] |= 1 << bit
        self.go_limp()

    def feel(self, current_ma: float, dt_s: float) -> bool:
        """Live `dt_s` [s] with a current [mA]; return whether that set an error."""
        ampere = current_ma * 1e-3
        warmest = AMBIENT_C + HEAT_C_PER_A2 * ampere * ampere
        self.temperature_c += (warmest - self.temperature_c) * min(1.0, dt_s / WARM_UP_S)
        if self.heated_c is not None:
            self.temperature_c = self.heated_c
        self.loaded_s = self.loaded_s + dt_s if abs(current_ma) > OVERLOAD_MA else 0.0
        before = self.error
        if self.loaded_s >= OVERLOAD_S:
            self.raise_error(ERROR_BITS["overload"])
        if self.temperature_c > self.limit_c:
            self.raise_error(ERROR_BITS["overheating"])
        return self.error != before

    def warm(self, how: str) -> None:
        """Be warmed from outside: "warm", "hot", or "" for no more, and cool at once."""
        below_c = {"warm": WARM_BELOW_C - 1, "hot": HOT_BELOW_C - 1}.get(how)
        self.heated_c = None if below_c is None else self.limit_c - below_c
        self.temperature_c = AMBIENT_C if self.heated_c is None else self.heated_c

    def reboot(self) -> None:
        """Clear errors and what lies in RAM: profile, goal current and gains are lost."""
        kept = {name: self.registers[name] for name in _EEPROM}
        self.registers = {**_DEFAULT_REGISTERS, **kept}
        self.loaded_s = 0.0

    def read(self, register: str, present_rad: float) -> int | None:
        """Return a register's value, None for one that is not modelled."""
        derived = {
            "Torque_Enable": int(self.torque),
            "Operating_Mode": _MODE_REGISTER[self.mode],
            "Min_Position_Limit": _counts(self.lower),
            "Max_Position_Limit": _counts(self.upper),
            "Present_Position": _counts(present_rad),
            "Present_Temperature": round(self.temperature_c),
            "Temperature_Limit": self.limit_c,
        }
        return derived.get(register, self.registers.get(register))

    def command(self, value: float, now_s: float) -> None:
        """Take a goal in the mode's unit; a goal that the servo refuses changes nothing.

        Without torque a position is taken all the same, for when the torque is back.
        """
        if not math.isfinite(value):
            return
        if self.mode not in POSITION_MODES:
            if self.torque:
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
        self.goal = value
        if self.torque:
            self._aim(value, now_s)

    def _aim(self, goal: float, now_s: float) -> None:
        """Begin the profile from the reference to a goal [rad]."""
        self.goal = goal
        make = time_trapezoid if self.profile_type == "time" else velocity_trapezoid
        first, second = self.registers["Profile_Velocity"], self.registers["Profile_Acceleration"]
        self.motion = make(self.position, self.velocity, goal, first, second)
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


def _counts(angle_rad: float) -> int:
    """Return the servo's position value, 2048 at 0 rad, 4096 a turn."""
    return round(angle_rad * _COUNTS_PER_RAD) + 2048
