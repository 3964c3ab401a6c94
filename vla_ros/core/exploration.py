"""Undirected play: random safe waypoints that keep touching the table's things.

After Algorithm 1 of TAP (arXiv 2607.02466): waypoints at a minimum distance, a contact heuristic
with forced descent, cosine interpolation, bounded noise, a random gripper. The paper gives no
values; the defaults here are ours. Poses come from the workspace, checked by inverse kinematics.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.core.segments import Segment, cosine

# Tool x axis straight down, fingers along y: a quarter turn about y.
_TOOL_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
_BRAKE_S = 0.3  # a forced descent first brings the arm to rest in this time
_MIN_SEGMENT_S = 0.5  # bounds the acceleration of short segments
_NOISE_SPAN = 2.0  # noise is cut at this many standard deviations
_PATH_FRACTIONS = (0.25, 0.5, 0.75, 1.0)  # where a segment's inverse kinematics is checked
_MAX_TRIES = 200
# A trajectory may begin this far outside the region and with the tool leaning this much.
_START_MARGIN_M = 0.05
_START_HEIGHT_M = 0.30
_START_TILT_RAD = 1.0


def _parameter(default: float, low: float, high: float, unit: str, meaning: str) -> Any:
    facts = {"low": low, "high": high, "unit": unit, "meaning": meaning}
    return field(default=default, metadata=facts)


@dataclass(frozen=True)
class ExplorationParameters:
    """Every threshold of play; unit, range and meaning are in each field's metadata.

    Heights are those of the lowest point of the gripper over the table.

    Raises:
        SafetyError: a value is out of its range, or two contradict each other.
    """

    x_low_m: float = _parameter(0.14, 0.10, 0.5, "m", "nearest tool position in front of the base")
    x_high_m: float = _parameter(0.36, 0.10, 0.5, "m", "furthest tool position in front")
    y_limit_m: float = _parameter(0.30, 0.01, 0.4, "m", "largest tool position to either side")
    radius_limit_m: float = _parameter(0.42, 0.15, 0.46, "m", "largest distance from the waist")
    height_low_m: float = _parameter(0.01, 0.006, 0.2, "m", "least height of the finger tips")
    height_high_m: float = _parameter(0.12, 0.02, 0.3, "m", "largest height of the finger tips")
    tilt_limit_rad: float = _parameter(0.25, 0.0, 0.6, "rad", "largest tilt from straight down")
    yaw_limit_rad: float = _parameter(1.3, 0.0, 1.5, "rad", "largest turn of the fingers")
    min_distance_m: float = _parameter(0.10, 0.0, 0.3, "m", "between successive waypoints")
    waypoints_min: int = _parameter(6, 1, 1000, "1", "fewest waypoints of a trajectory")
    waypoints_max: int = _parameter(10, 1, 1000, "1", "most waypoints of a trajectory")
    hover_height_m: float = _parameter(0.08, 0.01, 0.3, "m", "above this the arm hovers")
    hover_steps: int = _parameter(10, 1, 1000, "1", "steps of hovering that force a descent")
    hover_rate_hz: float = _parameter(5.0, 0.1, 100.0, "Hz", "rate of those steps")
    descent_low_m: float = _parameter(0.01, 0.006, 0.2, "m", "lowest end of a forced descent")
    descent_high_m: float = _parameter(0.02, 0.006, 0.2, "m", "highest end of a forced descent")
    speed_m_s: float = _parameter(0.15, 0.01, 0.5, "m/s", "mean speed of a segment")
    turn_rate_rad_s: float = _parameter(0.8, 0.05, 2.0, "rad/s", "mean turning rate of a segment")
    noise_position_m: float = _parameter(0.005, 0.0, 0.02, "m", "standard deviation, each axis")
    noise_rotation_rad: float = _parameter(0.035, 0.0, 0.1, "rad", "standard deviation, each axis")
    noise_period_s: float = _parameter(0.5, 0.1, 10.0, "s", "time between two noise values")
    toggle_probability: float = _parameter(0.5, 0.0, 1.0, "1", "gripper changes at a waypoint")
    close_probability: float = _parameter(0.7, 0.0, 1.0, "1", "gripper closes after a descent")
    grip_s: float = _parameter(0.5, 0.0, 5.0, "s", "pause after a descent, for the fingers")

    def __post_init__(self):
        for item in fields(self):
            value, low, high = getattr(self, item.name), item.metadata["low"], item.metadata["high"]
            if not low <= value <= high:
                raise SafetyError(
                    f"{item.name} ({item.metadata['meaning']}) must be from {low} to {high} "
                    f"{item.metadata['unit']}, got {value}"
                )
        for low, high in (
            ("x_low_m", "x_high_m"),
            ("waypoints_min", "waypoints_max"),
            ("height_low_m", "descent_low_m"),
            ("descent_low_m", "descent_high_m"),
            ("descent_high_m", "hover_height_m"),
            ("height_low_m", "height_high_m"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise SafetyError(
                    f"{low} must not exceed {high}, got {getattr(self, low)} and "
                    f"{getattr(self, high)}"
                )

    @property
    def speed_limit_m_s(self) -> float:
        """Upper bound of the tool's speed [m/s]: cosine peak, noise, and lift while turning."""
        per_axis = 2 * _NOISE_SPAN * np.pi / 2 / self.noise_period_s
        turning = np.pi / 2 * self.turn_rate_rad_s
        turning += np.sqrt(3) * per_axis * self.noise_rotation_rad
        lever_m = np.max(np.linalg.norm(kinematics.GRIPPER_POINTS_M, axis=1))
        noise = np.sqrt(3) * per_axis * self.noise_position_m
        return float(np.pi / 2 * self.speed_m_s + noise + lever_m * turning)


def _height(T_base_tool: np.ndarray) -> float:
    return float(kinematics.gripper_points(T_base_tool)[:, 2].min())


class PlayMotion:
    """One trajectory of play after another; the same generator state gives the same motion.

    `start` begins the first; `step` is then called at the command rate. Between two
    trajectories it rests for half a second (a good moment to end a recording, no must). Targets
    are inside the region of the parameters, or on the way from the start pose into it.

    Attributes:
        phase: "idle", "move", "brake" (before a descent), "descend", "grip" or "rest".
    """

    def __init__(self, parameters: ExplorationParameters, generator: np.random.Generator):
        self.parameters = parameters
        self.phase = "idle"
        self._random = generator
        self._opening = 1.0
        self._waypoints_left = 0
        self._hover_s = 0.0

    @property
    def waypoint(self) -> np.ndarray:
        """The tool pose (4, 4) that the present segment leads to."""
        return self._segment.end.copy()

    def start(self, T_base_tool: np.ndarray, opening: float) -> None:
        """Begin a trajectory at the tool pose (4, 4) and gripper opening of this moment.

        Raises:
            SafetyError: the pose is not over the region with the tool about downwards.
            KinematicsError: the pose, or the way from it into the region, is out of reach.
        """
        pose = np.array(T_base_tool, dtype=np.float64)
        tilt_rad = float(np.arccos(np.clip(-pose[2, 0], -1.0, 1.0)))
        is_over = self._is_inside(pose, _START_MARGIN_M, _START_HEIGHT_M)
        if not is_over or not tilt_rad <= _START_TILT_RAD:
            raise SafetyError(
                f"play cannot start with the tool at {np.round(pose[:3, 3], 3).tolist()} m, "
                f"{np.degrees(tilt_rad):.0f} degrees from straight down; move the arm to its "
                "ready pose first"
            )
        self._q = kinematics.inverse(pose, arm.READY_RAD)
        self._segment = Segment.pause(pose, _MIN_SEGMENT_S)
        self._waypoint_m = pose[:3, 3]
        self._opening = float(opening >= 0.5)
        self._waypoints_left = self._draw_number_of_waypoints()
        self._noise_from = self._noise_to = np.zeros(6)
        self._noise_s = self._hover_s = 0.0
        self._next_waypoint(pose)

    def step(self, dt_s: float) -> tuple[np.ndarray, float]:
        """Return the tool pose (4, 4) and gripper opening `dt_s` [s] after the last ones.

        Raises:
            SafetyError: before `start`, or for a time that is not above 0.
            KinematicsError: no reachable waypoint was found; the next step tries again.
        """
        if self.phase == "idle":
            raise SafetyError("play has no start pose; call start with the measured tool pose")
        if not 0.0 < dt_s < np.inf:
            raise SafetyError(f"dt_s must be above 0, got {dt_s}")
        if self.phase == "brake":
            self._rate = max(0.0, self._rate - dt_s / _BRAKE_S)
        self._elapsed_s += self._rate * dt_s
        pose = self._segment.pose_at(self._elapsed_s)
        target = self._with_noise(pose, dt_s)
        self._change_phase(pose, target, dt_s)
        return target, self._opening

    def _change_phase(self, pose: np.ndarray, target: np.ndarray, dt_s: float) -> None:
        p = self.parameters
        finished = self._elapsed_s >= self._segment.duration_s
        hovers = self._is_inside(pose, 0.0, p.height_high_m) and _height(target) > p.hover_height_m
        self._hover_s = self._hover_s + dt_s if hovers else 0.0
        if self.phase == "brake":
            if finished or self._rate == 0.0:
                self._descend(pose)
        elif self.phase == "descend" and finished:
            if self._random.random() < p.close_probability:
                self._opening = 0.0
            self._begin("grip", Segment.pause(pose, max(p.grip_s, dt_s)))
        elif self.phase == "move" and self._hover_s > p.hover_steps / p.hover_rate_hz:
            self.phase = "brake"
        elif finished:
            if self.phase == "move" and self._random.random() < p.toggle_probability:
                self._opening = 1.0 - self._opening
            self._next_waypoint(pose)

    def _begin(self, phase: str, segment: Segment) -> None:
        self.phase, self._segment = phase, segment
        self._elapsed_s, self._rate = 0.0, 1.0

    def _next_waypoint(self, pose: np.ndarray) -> None:
        if self._waypoints_left == 0:
            self._waypoints_left = self._draw_number_of_waypoints()
            self._begin("rest", Segment.pause(pose, _MIN_SEGMENT_S))
            return
        p = self.parameters
        segment = self._sample(pose, (p.height_low_m, p.height_high_m), p.min_distance_m)
        self._waypoints_left -= 1
        self._waypoint_m = segment.end[:3, 3]
        self._begin("move", segment)

    def _draw_number_of_waypoints(self) -> int:
        p = self.parameters
        return int(self._random.integers(p.waypoints_min, p.waypoints_max + 1))

    def _descend(self, pose: np.ndarray) -> None:
        p = self.parameters
        end = transform(self._segment.end[:3, :3], pose[:3, 3])
        end[2, 3] += self._random.uniform(p.descent_low_m, p.descent_high_m) - _height(end)
        self._hover_s = 0.0
        segment = self._reachable(pose, end)
        if segment is None:
            segment = self._sample(pose, (p.descent_low_m, p.descent_high_m), 0.0)
        self._begin("descend", segment)

    def _sample(
        self, pose: np.ndarray, heights: tuple[float, float], min_distance_m: float
    ) -> Segment:
        """Return the way from `pose` to a random reachable pose with tips between `heights`."""
        p = self.parameters
        for _ in range(_MAX_TRIES):
            xy = self._random.uniform([p.x_low_m, -p.y_limit_m], [p.x_high_m, p.y_limit_m])
            yaw = self._random.uniform(-p.yaw_limit_rad, p.yaw_limit_rad)
            tilt, towards = self._random.uniform([0.0, -np.pi], [p.tilt_limit_rad, np.pi])
            height = self._random.uniform(*heights)
            turn = matrix_from_rotvec(np.array([0.0, 0.0, yaw]))
            lean = matrix_from_rotvec(tilt * np.array([np.cos(towards), np.sin(towards), 0.0]))
            end = transform(lean @ turn @ _TOOL_DOWN, np.array([*xy, 0.0]))
            end[2, 3] = height - _height(end)
            distances = np.linalg.norm(
                end[:3, 3] - np.stack([pose[:3, 3], self._waypoint_m]), axis=1
            )
            if np.hypot(*xy) > p.radius_limit_m or distances.min() < min_distance_m:
                continue
            segment = self._reachable(pose, end)
            if segment is not None:
                return segment
        raise KinematicsError(
            f"no reachable waypoint in {_MAX_TRIES} tries from tool position "
            f"{np.round(pose[:3, 3], 3).tolist()} m; move the arm to its ready pose or widen "
            "the play region"
        )

    def _reachable(self, start: np.ndarray, end: np.ndarray) -> Segment | None:
        """Return the segment if the arm can follow it from its present joints, else None."""
        p = self.parameters
        segment = Segment.at_speed(start, end, p.speed_m_s, p.turn_rate_rad_s, _MIN_SEGMENT_S)
        q = self._q
        try:
            for fraction in _PATH_FRACTIONS:
                q = kinematics.inverse(segment.pose(fraction), q)
        except KinematicsError:
            return None
        self._q = q
        return segment

    def _is_inside(self, pose: np.ndarray, margin_m: float, height_high_m: float) -> bool:
        p = self.parameters
        x, y = pose[:2, 3]
        return bool(
            p.x_low_m - margin_m <= x <= p.x_high_m + margin_m
            and abs(y) <= p.y_limit_m + margin_m
            and np.hypot(x, y) <= p.radius_limit_m + margin_m
            and 0.0 <= _height(pose) <= height_high_m
        )

    def _with_noise(self, pose: np.ndarray, dt_s: float) -> np.ndarray:
        """Return the pose with smooth bounded noise, clipped to the region (or the way into it)."""
        p = self.parameters
        self._noise_s += dt_s
        if self._noise_s >= p.noise_period_s:
            self._noise_s = 0.0
            sigma = np.repeat([p.noise_position_m, p.noise_rotation_rad], 3)
            value = np.clip(self._random.standard_normal(6), -_NOISE_SPAN, _NOISE_SPAN)
            self._noise_from, self._noise_to = self._noise_to, sigma * value
        blend = cosine(self._noise_s / p.noise_period_s)
        noise = self._noise_from + blend * (self._noise_to - self._noise_from)
        target = transform(matrix_from_rotvec(noise[3:]) @ pose[:3, :3], pose[:3, 3] + noise[:3])
        x, y, _ = start = self._segment.start[:3, 3]
        target[0, 3] = np.clip(target[0, 3], min(p.x_low_m, x), max(p.x_high_m, x))
        y_limit = max(p.y_limit_m, abs(y))
        target[1, 3] = np.clip(target[1, 3], -y_limit, y_limit)
        radius = float(np.hypot(*target[:2, 3]))
        target[:2, 3] *= min(1.0, max(p.radius_limit_m, float(np.hypot(*start[:2]))) / radius)
        start_height, height = _height(self._segment.start), _height(target)
        low = min(p.height_low_m, start_height)
        target[2, 3] += np.clip(height, low, max(p.height_high_m, start_height)) - height
        return target
