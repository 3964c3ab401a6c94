"""The simulated arm on its table: physics, driver and layout of the objects."""

from collections.abc import Callable

import numpy as np

from vla_ros.core import arm
from vla_ros.core.rotations import transform
from vla_ros.sim import objects as known
from vla_ros.sim import robot, scene
from vla_ros.sim.contacts import Contacts
from vla_ros.sim.gl import mujoco
from vla_ros.sim.layouts import Layout, sample_layout
from vla_ros.sim.robot_info import JOINTS
from vla_ros.sim.servo import STALL_CURRENT_MA, Reference
from vla_ros.sim.xs_driver import XsDriver

CONTROL_PERIOD_NS = 10_000_000
_CONTROL_PERIOD_S = CONTROL_PERIOD_NS * 1e-9
_SUBSTEPS = round(_CONTROL_PERIOD_S / scene.PHYSICS_STEP_S)
DEFAULT_OBJECTS = ("carrot", "plate", "banana", "apple", "pumpkin")

# Torque to servo current: the stall point of an XM430-W350 at 12 V (4.1 N m at 2.3 A), taken as
# linear up to there. Shoulder and elbow share the torque between two servos and report one.
CURRENT_MA_PER_NM = STALL_CURRENT_MA / 4.1
_SERVOS_PER_JOINT = np.array([1.0, 2.0, 2.0, 1.0, 1.0, 1.0])
# Servos look at their load this often; the friction that blocks a joint [N m] or [N].
_TICKS_PER_LOAD_CHECK = 10
_BLOCK_FRICTION = 1000.0


class SimWorld:
    """MuJoCo state, stepped in control ticks of 10 ms; equal seeds give equal bits.

    Args:
        seed: of the first layout.
        objects: names of the objects in play, out of `objects.OBJECT_NAMES`.
        log: receives what the driver complains about.

    Raises:
        SceneError: an object is unknown.
    """

    def __init__(
        self,
        seed: int = 0,
        objects: tuple[str, ...] = DEFAULT_OBJECTS,
        log: Callable[[str], None] = print,
    ) -> None:
        scene.check_objects(objects)
        self.objects = tuple(objects)
        self.model = scene.load_model()
        self.data = mujoco.MjData(self.model)
        self._tool_site = self.model.site(robot.TOOL_SITE).id
        self._body = {name: self.model.body(name).id for name in known.OBJECT_NAMES}
        self._qpos = {
            name: int(self.model.jnt_qposadr[self.model.joint(name).id])
            for name in known.OBJECT_NAMES
        }
        self._gripper_position = self.model.actuator(robot.GRIPPER_POSITION_ACTUATOR).id
        self._gripper_force = self.model.actuator(robot.GRIPPER_FORCE_ACTUATOR).id
        self._gain = self.model.actuator_gainprm.copy()
        self._bias = self.model.actuator_biasprm.copy()
        self._contacts = Contacts(self.model)
        self._ticks = 0
        self._applied: Reference | None = None
        self._power: tuple[bool, ...] = ()
        self.layout: Layout = {}
        self.driver = XsDriver(self._present, log)
        self.reset(seed)

    def reset(
        self,
        seed: int,
        objects: tuple[str, ...] | None = None,
        keep_arm: bool = False,
        layout: Layout | None = None,
        arm_rad: np.ndarray | None = None,
    ) -> Layout:
        """Lay the objects out anew and return where they are; time goes on.

        Args:
            seed: of the layout.
            objects: names of the objects in play from now on; None keeps them.
            keep_arm: leave arm and gripper as they are (at rest) instead of putting the tool over
                the table's centre with the gripper open. The driver keeps its modes either way,
                and holds the pose.
            layout: lay out these objects, just so, whatever `seed` and `objects` are.
            arm_rad: joints (6,) [rad] to begin with instead of those over the table's centre.

        Raises:
            SceneError: an object is unknown.
        """
        if layout is not None:
            objects = tuple(layout)
        if objects is not None:
            scene.check_objects(objects)
            self.objects = tuple(objects)
        arm_qpos = self.data.qpos[:8].copy()
        if not keep_arm:
            arm_qpos[:6] = arm.READY_RAD if arm_rad is None else arm_rad
            arm_qpos[6:8] = arm.FINGER_OPEN_M, -arm.FINGER_OPEN_M
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:8] = arm_qpos
        mujoco.mj_kinematics(self.model, self.data)
        tool_xy = self.data.site_xpos[self._tool_site][:2]
        if layout is None:
            layout = sample_layout(np.random.default_rng(seed), self.objects, tool_xy)
        self.layout = dict(layout)
        for index, name in enumerate(known.OBJECT_NAMES):
            in_play = name in self.layout
            # Parked objects hover without weight: no contact, no motion.
            self.model.body_gravcomp[self._body[name]] = 0.0 if in_play else 1.0
            self._contacts.set_solid(self._body[name], in_play)
            if in_play:
                self._place(name, *self.layout[name])
            else:
                start = self._qpos[name]
                self.data.qpos[start : start + 3] = scene.parking_position(index)
        if not keep_arm:
            self.driver.hold_present()
        self._applied = None
        mujoco.mj_forward(self.model, self.data)
        return self.layout

    def _place(self, name: str, x_m: float, y_m: float, yaw_rad: float) -> None:
        """Put an object in play at rest on the table."""
        height = known.rest_height_m(name)
        half = yaw_rad / 2.0
        start = self._qpos[name]
        self.data.qpos[start : start + 7] = (x_m, y_m, height, np.cos(half), 0, 0, np.sin(half))
        dof = self.model.jnt_dofadr[self.model.joint(name).id]
        self.data.qvel[dof : dof + 6] = 0.0

    def step(self) -> None:
        """Advance one control tick (10 ms)."""
        reference = self.driver.reference(_CONTROL_PERIOD_S)
        if reference is not self._applied:
            self._apply(reference)
        mujoco.mj_step(self.model, self.data, _SUBSTEPS)
        self._ticks += 1
        if self._ticks % _TICKS_PER_LOAD_CHECK == 0:
            self.driver.feel(
                self.joint_state()[3][:7].tolist(), _TICKS_PER_LOAD_CHECK * _CONTROL_PERIOD_S
            )

    def block(self, joint: str, blocked: bool) -> None:
        """Jam one of the 7 joints by dry friction that no servo overcomes, or free it."""
        # The first 7 degrees of freedom are the arm and the left finger, in JOINTS' order.
        dof = JOINTS.index(joint)
        self.model.dof_frictionloss[dof] = _BLOCK_FRICTION if blocked else 0.0
        # As hard as the solver allows: by default friction creeps under load.
        self.model.dof_solimp[dof, :2] = 0.9999

    @property
    def reference(self) -> Reference:
        """What the servos followed in the last control tick."""
        return self._applied or self.driver.reference(0.0)

    @property
    def time_ns(self) -> int:
        """Simulated time since construction [ns]; a reset does not turn it back."""
        return self._ticks * CONTROL_PERIOD_NS

    def joint_state(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
        """Return (names, position, velocity, effort) of 9 joints as xs_sdk publishes them.

        rad and rad/s, fingers m; effort is the current [mA], up to a servo's stall; the fingers'
        velocity and effort are 0, and the right finger is minus the left one.
        """
        qpos, qvel, force = self.data.qpos, self.data.qvel, self.data.actuator_force
        finger = float(qpos[6])
        horn, lever = _horn(finger)
        position, velocity, effort = np.zeros(9), np.zeros(9), np.zeros(9)
        position[:6], velocity[:6] = qpos[:6], qvel[:6]
        position[6:9] = horn, finger, -finger
        velocity[6] = qvel[6] / lever
        effort[:6] = force[:6] * CURRENT_MA_PER_NM / _SERVOS_PER_JOINT
        finger_force = force[self._gripper_position] + force[self._gripper_force]
        effort[6] = finger_force * lever * CURRENT_MA_PER_NM
        effort = np.minimum(np.maximum(effort, -STALL_CURRENT_MA), STALL_CURRENT_MA)
        return arm.JOINT_STATE_NAMES, position, velocity, effort

    def qpos_names(self) -> list[str]:
        """Return the names of the numbers in `qpos`."""
        return scene.qpos_names()

    def qpos(self) -> np.ndarray:
        """Return a copy of the model's qpos; it alone determines the picture."""
        return self.data.qpos.copy()

    def object_pose(self, name: str) -> np.ndarray:
        """Return T_base_object (4, 4) [m].

        Raises:
            SceneError: the object is unknown or not in play.
        """
        return pose_from_qpos(self.data.qpos, self._start_of(name))

    def object_poses(self) -> dict[str, np.ndarray]:
        """Return T_base_object (4, 4) of each object in play."""
        return {name: self.object_pose(name) for name in self.objects}

    def tool_pose(self) -> np.ndarray:
        """Return T_base_tool (4, 4) of the true, unrounded arm."""
        mujoco.mj_kinematics(self.model, self.data)
        rotation = self.data.site_xmat[self._tool_site].reshape(3, 3)
        return transform(rotation, self.data.site_xpos[self._tool_site])

    def opening(self) -> float:
        """Return the gripper's opening, 0 closed to 1 open."""
        return arm.opening_from_finger(self.data.qpos[6])

    def is_touched(self, name: str) -> bool:
        """Return whether a finger touches an object that is in play."""
        self._start_of(name)
        return self._contacts.is_touched(self.data, self._body[name])

    def is_held(self, name: str) -> bool:
        """Return whether both fingers press on an object that is in play."""
        self._start_of(name)
        return self._contacts.is_held(self.data, self._body[name], self.tool_pose()[:3, 1])

    def check_in_play(self, names: tuple[str, ...], what: str) -> None:
        """Refuse objects that are not on the table.

        Raises:
            SceneError: `what` needs one that is not in play.
        """
        for name in names:
            if name not in self.layout:
                raise scene.SceneError(
                    f"{what} needs the {name}, which is not in play; the scene has "
                    f"{', '.join(self.objects)}"
                )

    def _start_of(self, name: str) -> int:
        if name not in self.layout:
            scene.check_objects((name,))
            raise scene.SceneError(
                f"object {name!r} is not in play; the scene has {', '.join(self.objects)}"
            )
        return self._qpos[name]

    def _present(self) -> list[float]:
        return [*map(float, self.data.qpos[:6]), _horn(float(self.data.qpos[6]))[0]]

    def _apply(self, reference: Reference) -> None:
        """Write a reference into MuJoCo's controls, and torque into the actuators' gains."""
        self.data.ctrl[:6] = reference.arm_rad
        grips_position = reference.finger_m is not None
        self.data.ctrl[self._gripper_position] = reference.finger_m if grips_position else 0.0
        self.data.ctrl[self._gripper_force] = reference.finger_force_n
        power = (*reference.torque, grips_position)
        if power != self._power:
            gripper = reference.torque[6]
            on = (*reference.torque[:6], gripper and grips_position, gripper and not grips_position)
            powered = np.array(on)[:, None]
            self.model.actuator_gainprm[:] = np.where(powered, self._gain, 0.0)
            self.model.actuator_biasprm[:] = np.where(powered, self._bias, 0.0)
            self._power = power
        self._applied = reference


def _horn(finger_m: float) -> tuple[float, float]:
    """Return the horn's angle [rad] and the finger's travel per horn angle [m/rad] there.

    The crank's reach ends 1 mm beyond the finger's travel, so contact softness cannot leave it.
    """
    horn = arm.horn_from_finger(min(max(finger_m, 0.0101), 0.0379))
    step = 1e-4
    travel = arm.finger_from_horn(horn + step) - arm.finger_from_horn(horn - step)
    return horn, max(travel / (2 * step), 1e-4)


def pose_from_qpos(qpos: np.ndarray, start: int) -> np.ndarray:
    """Return T_base_object (4, 4) from the seven numbers x, y, z, qw, qx, qy, qz at `start`."""
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, qpos[start + 3 : start + 7])
    return transform(rotation.reshape(3, 3), qpos[start : start + 3])
