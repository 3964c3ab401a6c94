"""Random scenes for captions, put together by geometry: no physics runs, so they cost little.

What may be there: any objects out of `objects.OBJECT_NAMES` on the reachable table, a toy on the
plate, a toy between the closed fingers, and the arm wherever the tool points down or nearly so,
most often low and often at an object. Nothing sinks into anything else by more than 3 mm.
"""

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError, SceneError
from vla_ros.core.rotations import inverse_transform, matrix_from_rpy, quat_from_matrix, transform
from vla_ros.sim import objects, scene
from vla_ros.sim.gl import mujoco
from vla_ros.sim.layouts import sample_layout
from vla_ros.sim.tableware import PLATE
from vla_ros.sim.things import Toy

# From the middle of a finger's link to the face of its pad [m]: open, pads are 4.6 cm apart.
PAD_M = 0.014
_MAX_OBJECTS = 5
# Shares of scenes: a toy in the gripper, a toy on the plate (where there is one), and of the rest
# the tool at an object.
_HELD, _ON_PLATE, _NEAR = 0.25, 0.35, 0.5
_NEAR_M = 0.05
_LIFT_M = (0.035, 0.30)
_HEIGHT_M = (0.012, 0.32)
_RADIUS_M, _Y_M = (0.17, 0.42), 0.30
_TILT_RAD, _TURN_RAD = 0.15, 1.6
_SINK_M, _TABLE_GAP_M = 0.003, 0.002
_MAX_DRAWS = 400
# Tool straight down, its fingers opening along y.
_DOWN = matrix_from_rpy(0.0, np.pi / 2, 0.0)


class SceneSampler:
    """Draws scenes; equal generators give equal scenes.

    Args:
        names: what there may be.
    """

    def __init__(self, names: tuple[str, ...] = objects.KNOWN_NAMES) -> None:
        scene.check_objects(names)
        self._names = names
        self._model = scene.load_model()
        self._model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self._data = mujoco.MjData(self._model)
        self._start = {
            name: int(self._model.jnt_qposadr[self._model.joint(name).id])
            for name in objects.OBJECT_NAMES
        }
        self._body = {name: self._model.body(name).id for name in objects.OBJECT_NAMES}

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return the qpos of a random scene.

        Raises:
            SceneError: none was found; that would be a fault of the numbers above.
        """
        for _ in range(_MAX_DRAWS):
            count = int(rng.integers(1, min(_MAX_OBJECTS, len(self._names)) + 1))
            names = [str(name) for name in rng.choice(self._names, count, replace=False)]
            poses = self._laid_out(rng, names)
            toys = [name for name in names if name in objects.TOYS]
            held = str(rng.choice(toys)) if toys and rng.random() < _HELD else ""
            try:
                joints, opening = self._arm(rng, poses, held)
            except KinematicsError:
                continue
            qpos = self.qpos(joints, opening, poses)
            if not self._sinks(qpos, held):
                return qpos
        raise SceneError("no scene without collisions was found; use fewer objects")

    def qpos(
        self, joints_rad: np.ndarray, opening: float, poses: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Return qpos for arm joints (6,), a gripper opening and T_base_object of those in play."""
        qpos = np.zeros(self._model.nq)
        qpos[:6] = joints_rad
        qpos[6] = arm.finger_from_opening(opening)
        qpos[7] = -qpos[6]
        for index, name in enumerate(objects.OBJECT_NAMES):
            start = self._start[name]
            pose = poses.get(name, transform(np.eye(3), scene.parking_position(index)))
            qpos[start : start + 3] = pose[:3, 3]
            qpos[start + 3 : start + 7] = quat_from_matrix(pose[:3, :3])
        return qpos

    def _laid_out(self, rng: np.random.Generator, names: list[str]) -> dict[str, np.ndarray]:
        far_away = np.full(2, 9.0)
        poses = {
            name: at_rest(name, x, y, yaw)
            for name, (x, y, yaw) in sample_layout(rng, tuple(names), far_away).items()
        }
        toys = [name for name in names if name in objects.TOYS]
        if PLATE.name in poses and toys and rng.random() < _ON_PLATE:
            name = str(rng.choice(toys))
            x, y = poses[PLATE.name][:2, 3] + rng.uniform(-0.02, 0.02, 2)
            poses[name] = at_rest(name, x, y, rng.uniform(-np.pi, np.pi))
            poses[name][2, 3] += PLATE.floor_m
        return poses

    def _arm(
        self, rng: np.random.Generator, poses: dict[str, np.ndarray], held: str
    ) -> tuple[np.ndarray, float]:
        """Return joints and opening; the pose of a toy to be held goes into `poses`."""
        near = bool(poses) and not held and rng.random() < _NEAR
        if near:
            target = poses[str(rng.choice(list(poses)))]
            x, y = target[:2, 3] + rng.normal(0.0, _NEAR_M / 2, 2)
        else:
            y = rng.uniform(-_Y_M, _Y_M)
            x = np.sqrt(max(rng.uniform(*_RADIUS_M) ** 2 - y * y, 0.01))
        # Low is where it matters: the square of a uniform number.
        low, high = _LIFT_M if held else _HEIGHT_M
        height = low + (high - low) * rng.random() ** 2
        waist = np.arctan2(y, x)
        turn = matrix_from_rpy(0.0, 0.0, waist + rng.uniform(-_TURN_RAD, _TURN_RAD))
        tilt = matrix_from_rpy(*rng.normal(0.0, _TILT_RAD / 2, 2), 0.0)
        tool = transform(tilt @ turn @ _DOWN, np.array([x, y, height]))
        if kinematics.lowest_gripper_point_m(tool) < _TABLE_GAP_M:
            raise KinematicsError("the fingers would be in the table; draw another pose")
        start = arm.READY_RAD.copy()
        start[0] = waist
        joints = kinematics.inverse(tool, start)
        if not held:
            return joints, float(rng.choice([1.0, 0.0, rng.random()], p=[0.4, 0.2, 0.4]))
        toy = objects.TOYS[held]
        poses[held] = tool @ in_grasp(toy, rng)
        return joints, arm.opening_from_finger(toy.half_width_m + PAD_M)

    def _sinks(self, qpos: np.ndarray, held: str) -> bool:
        """Return whether things are inside each other; the held toy may be in the fingers."""
        data = self._data
        data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_collision(self._model, data)
        exempt = self._body[held] if held else -1
        for k in range(data.ncon):
            contact = data.contact[k]
            if contact.dist < -_SINK_M:
                bodies = self._model.geom_bodyid[[contact.geom1, contact.geom2]]
                others = [int(body) for body in bodies if body != exempt]
                is_of_arm = len(others) == 1 and others[0] not in (0, *self._body.values())
                if not is_of_arm:
                    return True
        return False


def at_rest(name: str, x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
    """Return T_base_object (4, 4) of an object that lies on the table."""
    place = np.array([x_m, y_m, objects.rest_height_m(name)])
    return transform(matrix_from_rpy(0.0, 0.0, yaw_rad), place)


def in_grasp(toy: Toy, rng: np.random.Generator) -> np.ndarray:
    """Return T_tool_object (4, 4) of a toy grasped as the teacher does it, give or take 4 mm."""
    if toy.grasp_axis is None:
        yaw = rng.uniform(-np.pi, np.pi)
    else:
        yaw = rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.05)
    ahead = toy.grasp_height_m - toy.rest_height_m + rng.uniform(-0.004, 0.004)
    along = rng.uniform(-0.006, 0.006)
    rotation = _DOWN.T @ matrix_from_rpy(0.0, 0.0, yaw)
    return transform(rotation, np.array([ahead, 0.0, along]))


def inside_grasp(tool: np.ndarray, finger_m: float, toy: Toy, pose: np.ndarray) -> bool:
    """Return whether the fingers hold a toy: it is between them, and their pads touch it."""
    ahead, across, along = (inverse_transform(tool) @ pose)[:3, 3]
    touches = abs(finger_m - PAD_M - toy.half_width_m) < 0.004
    return bool(touches and abs(ahead) < 0.025 and abs(across) < 0.008 and abs(along) < 0.03)
