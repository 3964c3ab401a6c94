"""A model of the Interbotix xs_sdk driver and its servos: commands in, joint references out.

What is modelled: groups and single joints, operating modes, time- and velocity-based profiles,
torque, hardware errors, reboots, the registers in `servo.py`, and what goes wrong in silence: a
group command of the wrong length is refused with a logged sentence, a goal outside a servo's limits
or not a number leaves that joint where it is, a servo in error takes neither goal nor torque,
nothing is clamped or rate-limited, and the last goal is held for ever.

What is not: the bus and its errors, PID gains (stored, without effect), current and pwm modes of
the arm joints (refused with a sentence), 12-bit rounding of positions, and trajectories.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from vla_ros.core import arm
from vla_ros.core.hardware import LIMITS_C
from vla_ros.sim.robot_info import JOINTS, RobotInfo, describe
from vla_ros.sim.servo import ERROR_BITS, MODES, POSITION_MODES, Reference, Servo

# The second servos of two joints, which no group names.
SHADOWS = {"shoulder_shadow": "shoulder", "elbow_shadow": "elbow"}
GROUPS: dict[str, tuple[int, ...]] = {"arm": tuple(range(6)), "all": tuple(range(7))}
# Registers that can be written; the others in `get_register` are read only.
WRITABLE_REGISTERS = ("Profile_Velocity", "Profile_Acceleration", "Goal_Current", "Velocity_Limit")
WRITABLE_REGISTERS += ("Position_P_Gain", "Position_I_Gain", "Position_D_Gain")
# Interbotix's modes.yaml: what the driver sets at start.
_ARM_PROFILE_MS = (2000, 300)
# A duty of 350 counts, xs_modules' strongest, pushes with the gripper's full 20 N; linear.
PWM_FORCE_N = 20.0 / 350.0
# How long each joint is without torque when its mode changes (joint after joint), or it reboots.
MODE_CHANGE_LIMP_S = 0.05
REBOOT_LIMP_S = 0.3


class XsDriver:
    """The driver's state. Call `reference` once a control tick, in simulated time.

    Args:
        read_present: returns the measured angles (7,) [rad] of the six arm joints and the
            gripper's horn; asked when torque returns: from there a servo moves on.
        log: receives each complaint that xs_sdk would log.

    Attributes:
        servos: those of JOINTS, in this order.
    """

    def __init__(
        self, read_present: Callable[[], Sequence[float]], log: Callable[[str], None] = print
    ) -> None:
        self._read_present = read_present
        self._log = log
        self._now_s = 0.0
        self.servos = [
            Servo(float(low), float(high), "position", "time", LIMITS_C[name])
            for name, low, high in zip(arm.ARM_JOINTS, arm.LOWER_RAD, arm.UPPER_RAD, strict=True)
        ]
        # The gripper's servo has its factory limits; the fingers stop earlier.
        self.servos.append(Servo(-math.pi, math.pi, "pwm", "velocity", LIMITS_C["gripper"]))
        self._group_modes = {"arm": ("position", "time"), "all": ("position", "time")}
        for servo in self.servos[:6]:
            servo.registers["Profile_Velocity"] = _ARM_PROFILE_MS[0]
            servo.registers["Profile_Acceleration"] = _ARM_PROFILE_MS[1]
        # The crank's geometry is worked out only when the horn moves.
        self._horn_rad, self._finger_m = math.nan, 0.0
        self.hold_present()

    def hold_present(self) -> None:
        """Make every servo hold where it is measured to be, gripper force 0."""
        for servo, position in zip(self.servos, self._read_present(), strict=True):
            servo.hold(float(position))
        self._settled: Reference | None = None

    # Commands -----------------------------------------------------------------------------------

    def command_group(self, name: str, cmd: Sequence[float]) -> None:
        """Take a JointGroupCommand: one value a joint, in the unit of the group's mode."""
        indices = GROUPS.get(name)
        if indices is None:
            self._log(f"group {name!r} does not exist; use one of {', '.join(GROUPS)}")
            return
        if len(cmd) != len(indices):
            self._log(
                f"command for group {name!r} has {len(cmd)} values and was refused; "
                f"send {len(indices)}"
            )
            return
        for index, value in zip(indices, cmd, strict=True):
            # The group's mode says what the numbers mean: `all` stays in "position", so a gripper
            # in pwm mode ignores the position that it gets with the rest.
            servo = self.servos[index]
            if servo.mode in POSITION_MODES or name != "all":
                servo.command(float(value), self._now_s)
        self._settled = None

    def command_single(self, name: str, cmd: float) -> None:
        """Take a JointSingleCommand for one of the 7 joints, in the unit of the joint's mode."""
        indices = self._indices("single", name)
        if indices:
            self.servos[indices[0]].command(float(cmd), self._now_s)
            self._settled = None

    # Services -----------------------------------------------------------------------------------

    def set_operating_modes(
        self,
        cmd_type: str,
        name: str,
        mode: str,
        profile_type: str,
        profile_velocity: int,
        profile_acceleration: int,
    ) -> None:
        """Change mode and profile, joint after joint; each goes limp for MODE_CHANGE_LIMP_S."""
        indices = self._indices(cmd_type, name)
        if mode not in MODES or profile_type not in ("time", "velocity"):
            self._log(
                f"mode {mode!r} with profile {profile_type!r} does not exist; use one of "
                f"{', '.join(MODES)} with time or velocity"
            )
            return
        arm_joints = [JOINTS[i] for i in indices if i < 6]
        if arm_joints and mode in ("pwm", "current", "linear_position"):
            self._log(
                f"mode {mode!r} of joint {arm_joints[0]!r} is not modelled by the simulated arm; "
                "use position, ext_position, velocity or current_based_position"
            )
            return
        for place, index in enumerate(indices):
            servo = self.servos[index]
            servo.mode, servo.profile_type = mode, profile_type
            servo.registers["Profile_Velocity"] = int(profile_velocity)
            servo.registers["Profile_Acceleration"] = int(profile_acceleration)
            self._go_limp(servo, place * MODE_CHANGE_LIMP_S, MODE_CHANGE_LIMP_S)
        if cmd_type == "group" and indices:
            self._group_modes[name] = (mode, profile_type)

    def torque_enable(self, cmd_type: str, name: str, enable: bool) -> None:
        """Power the joints, which then move to the goals that they kept, or let them go limp.

        A servo in error stays limp: it has to be rebooted first.
        """
        present = self._read_present()
        for index in self._indices(cmd_type, name):
            servo = self.servos[index]
            if not enable:
                servo.go_limp()
            elif not servo.torque and not servo.error:
                servo.power(float(present[index]), self._now_s)
        self._settled = None

    def reboot(self, cmd_type: str, name: str, enable: bool, smart_reboot: bool) -> None:
        """Reboot the joints: limp for REBOOT_LIMP_S, then powered if `enable`.

        Errors are cleared, and so is what lies in RAM: the profile is 0 then, a step to each goal.
        A smart reboot touches only servos in error.
        """
        for index in self._indices(cmd_type, name):
            servo = self.servos[index]
            if smart_reboot and not servo.error:
                continue
            servo.reboot()
            servo.torque = bool(enable)
            self._go_limp(servo, 0.0, REBOOT_LIMP_S)

    def set_register(self, cmd_type: str, name: str, reg: str, value: int) -> None:
        """Write one register; Profile_* take effect at the next goal, no torque is lost."""
        if reg not in WRITABLE_REGISTERS:
            self._log(
                f"register {reg!r} cannot be written on the simulated arm; use one of "
                f"{', '.join(WRITABLE_REGISTERS)}"
            )
            return
        for index in self._indices(cmd_type, name):
            self.servos[index].registers[reg] = int(value)

    def get_register(self, cmd_type: str, name: str, reg: str) -> list[int]:
        """Return the register of each joint in order; an unknown register gives [].

        A shadow servo says what its twin says.
        """
        if cmd_type == "single" and name in SHADOWS:
            name = SHADOWS[name]
        present = self._read_present()
        values = []
        for index in self._indices(cmd_type, name):
            value = self.servos[index].read(reg, float(present[index]))
            if value is None:
                self._log(f"register {reg!r} is not modelled by the simulated arm; ask another")
                return []
            values.append(value)
        return values

    def robot_info(self, cmd_type: str, name: str) -> RobotInfo:
        """Return what get_robot_info answers; an unknown name gives no joints."""
        indices = self._indices(cmd_type, name)
        mode, profile = self._group_modes.get(name, ("", ""))
        if cmd_type == "single" and indices:
            mode, profile = self.servos[indices[0]].mode, self.servos[indices[0]].profile_type
        return describe(cmd_type, name, indices, mode, profile, tuple(GROUPS))

    # What happens to the servos -----------------------------------------------------------------

    def raise_error(self, name: str, bit: str) -> None:
        """Set a bit of ERROR_BITS at one of the 7 servos, which drops its torque."""
        servo = self.servos[JOINTS.index(name)]
        if servo.torque or not servo.error & 1 << ERROR_BITS[bit]:
            servo.raise_error(ERROR_BITS[bit])
            self._settled = None

    def lose_torque(self, name: str) -> None:
        """Let one of the 7 servos go limp without telling anybody."""
        servo = self.servos[JOINTS.index(name)]
        if servo.torque:
            servo.go_limp()
            self._settled = None

    def feel(self, current_ma: Sequence[float], dt_s: float) -> None:
        """Have the servos live `dt_s` [s] with these currents (7,) [mA], which may be too much."""
        for servo, current in zip(self.servos, current_ma, strict=True):
            if servo.feel(float(current), dt_s):
                self._settled = None

    # The servos' clock --------------------------------------------------------------------------

    def reference(self, dt_s: float) -> Reference:
        """Advance by `dt_s` and return what the servos follow now.

        The same object is returned for as long as nothing moves or changes.
        """
        self._now_s += dt_s
        if self._settled is not None:
            return self._settled
        now_s = self._now_s
        moving = False
        torque = []
        for index, servo in enumerate(self.servos):
            if servo.limp_until_s > 0.0:
                moving = True
                if now_s < servo.limp_from_s:
                    torque.append(servo.torque)
                    continue
                if now_s < servo.limp_until_s - 1e-9:
                    torque.append(False)
                    continue
                servo.limp_until_s = -1.0
                servo.hold(float(self._read_present()[index]))
            torque.append(servo.torque)
            moving = servo.advance(now_s, dt_s) or moving
        finger_m, force = self._finger()
        arm_rad = np.array([servo.position for servo in self.servos[:6]])
        result = Reference(arm_rad, finger_m, force, tuple(torque))
        self._settled = None if moving else result
        return result

    def _finger(self) -> tuple[float | None, float]:
        """Return the left finger's position reference [m], or None and the force [N] on it."""
        gripper = self.servos[6]
        if gripper.mode in POSITION_MODES:
            if gripper.position != self._horn_rad:
                self._horn_rad = gripper.position
                quarter = math.pi / 2.0
                self._finger_m = arm.finger_from_horn(min(max(self._horn_rad, -quarter), quarter))
            return self._finger_m, 0.0
        return None, gripper.value * PWM_FORCE_N if gripper.mode in ("pwm", "current") else 0.0

    def _go_limp(self, servo: Servo, delay_s: float, duration_s: float) -> None:
        servo.limp_from_s = self._now_s + delay_s
        servo.limp_until_s = servo.limp_from_s + duration_s
        servo.motion, servo.velocity, servo.value = None, 0.0, 0.0
        self._settled = None

    def _indices(self, cmd_type: str, name: str) -> tuple[int, ...]:
        """Return the joints' places in JOINTS; logs and returns () for an unknown name."""
        if cmd_type == "group" and name in GROUPS:
            return GROUPS[name]
        if cmd_type == "single" and name in JOINTS:
            return (JOINTS.index(name),)
        self._log(
            f"{cmd_type} {name!r} does not exist; use group {' or '.join(GROUPS)}, "
            f"or single {', '.join(JOINTS)}"
        )
        return ()
