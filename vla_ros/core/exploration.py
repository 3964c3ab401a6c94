"""Undirected play: random safe waypoints that keep touching the table's things.

Algorithm 1 of TAP (arXiv 2607.02466): waypoints out of a library of safe poses, at a minimum
distance; a contact heuristic with forced descent; cosine interpolation; bounded noise; a random
gripper. Beyond the paper, waypoints where the arm has rarely been and where something moved
lately are likelier, and a way down ends when something holds the arm up.
"""

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.coverage import InterestMap
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.play_parameters import BRAKE_S, MIN_SEGMENT_S, NOISE_SPAN, ExplorationParameters
from vla_ros.core.play_path import PlayPath, plan, rest
from vla_ros.core.play_region import at_height, clearances, height_m, tilt_rad
from vla_ros.core.play_search import Pending, WaySearch
from vla_ros.core.pose_library import PoseLibrary, generate
from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.core.segments import cosine

__all__ = ["ExplorationParameters", "PlayMotion"]

# Checks of the next way a step: what bounds a step's time. A way has 6 to 20, and is looked for
# while the present one is gone.
_CHECKS_A_STEP = 2
# Where it was blocked counts as so many visits: 80 % less likely to be the next goal.
_BLOCKED_VISITS = 4.0
# A trajectory may begin this far outside the region and with the tool leaning this much.
_START_MARGIN_M = 0.05
_START_HEIGHT_M = 0.30
_START_TILT_RAD = 1.0
_ROUNDING = 1e-9


class PlayMotion:
    """One trajectory of play after another; the same generator state gives the same motion.

    `start` begins the first; `step` is then called at the command rate. Between two trajectories
    it rests for half a second or a little more (phase "rest"): the moment to end a recording, and
    to tell `interest` where the camera saw something move, no must. Targets, noise included, are
    inside the bounds of the parameters (to 1 mm and 0.02 rad), or on the way from the start pose
    into them; the tool's speed and acceleration stay under `speed_limit_m_s` and
    `acceleration_limit_m_s2` of the parameters at every step. The next way is looked for while the
    present one is gone, a few checks a step, so that no step takes long; where that is not enough
    the arm stands until it is found.

    Args:
        parameters: every threshold.
        generator: the source of chance.
        library: safe poses to draw waypoints from; None generates them from the workspace, which
            takes a second or two once for each set of parameters.

    Attributes:
        phase: "idle", "move", "brake" (before a descent), "descend", "grip", "press" (coming to
            rest because something holds the arm up), "lift" (off it again), "wait" (at rest, where
            neither of them has a way) or "rest".
        interest: where the tool was and what moved; call its `moved` with points on the table.
        library: the poses in use.
    """

    def __init__(
        self,
        parameters: ExplorationParameters,
        generator: np.random.Generator,
        library: PoseLibrary | None = None,
    ):
        self.parameters = parameters
        self.library = generate(parameters) if library is None else library
        self.interest = InterestMap(parameters)
        self.phase = "idle"
        self._random = generator
        self._search = WaySearch(parameters, generator, self.library, self.interest)
        self._next: Pending | None = None
        self._opening = 1.0
        self._waypoints_left = 0
        self._hover_s = 0.0

    @property
    def waypoint(self) -> np.ndarray:
        """The tool pose (4, 4) that the present segment leads to."""
        return self._path.segment.end.copy()

    def start(self, T_base_tool: np.ndarray, opening: float, blocked: bool = False) -> None:
        """Begin a trajectory at the tool pose (4, 4) and gripper opening of this moment.

        Args:
            T_base_tool, opening: where the arm is.
            blocked: whether something held it up here. It goes up first, away from what it may
                push against, and the place counts as one where it has been for long: rarely
                visited as it is, it would be the next goal again.

        Raises:
            SafetyError: the pose is not over the region with the tool about downwards.
            KinematicsError: the pose, or the way from it into the region, is out of reach.
        """
        pose = np.array(T_base_tool, dtype=np.float64)
        tilt = tilt_rad(pose)
        is_over = np.all(clearances(self.parameters, pose)[:5] >= -_START_MARGIN_M)
        is_over = is_over and 0.0 <= height_m(pose) <= _START_HEIGHT_M
        if not is_over or not tilt <= _START_TILT_RAD:
            raise SafetyError(
                f"play cannot start with the tool at {np.round(pose[:3, 3], 3).tolist()} m, "
                f"{np.degrees(tilt):.0f} degrees from straight down; move the arm to its "
                "ready pose first"
            )
        q = kinematics.inverse(pose, arm.READY_RAD)
        self._path = rest(pose, q, MIN_SEGMENT_S, 0.0)
        self._elapsed_s, self._rate = 0.0, 1.0
        self._waypoint_m = pose[:3, 3]
        self._opening = float(opening >= 0.5)
        self._waypoints_left = self._draw_number_of_waypoints()
        self._noise_from = self._noise_to = np.zeros(6)
        self._noise_s = self._hover_s = 0.0
        self._next = None
        if blocked:
            self.interest.visited(pose[:3, 3], _BLOCKED_VISITS * self.parameters.visit_s)
            if self._retreats(pose):
                return
        # The arm is at rest, and whether there is a way at all must be known now.
        while not self._take_waypoint(pose):
            pass

    def step(self, dt_s: float, held_up_m: float = 0.0) -> tuple[np.ndarray, float]:
        """Return the tool pose (4, 4) and gripper opening `dt_s` [s] after the last ones.

        Args:
            dt_s: time since the last step [s].
            held_up_m: how far the measured tool is above the commanded one [m]; 0 when unknown.
                Above `press_limit_m` on a way down, something is under the gripper: the way ends
                and the arm lifts off, so that it does not press on.

        Raises:
            SafetyError: before `start`, or for a time that is not above 0.
            KinematicsError: no reachable waypoint was found; the next step begins to look again.
        """
        if self.phase == "idle":
            raise SafetyError("play has no start pose; call start with the measured tool pose")
        if not 0.0 < dt_s < np.inf:
            raise SafetyError(f"dt_s must be above 0, got {dt_s}")
        if self.phase in ("brake", "press"):
            self._rate = max(0.0, self._rate - dt_s / BRAKE_S)
        self._elapsed_s += self._rate * dt_s
        pose = self._path.segment.pose_at(self._elapsed_s)
        target = self._with_noise(pose, dt_s)
        self.interest.advance(dt_s)
        can_touch = height_m(target) <= self.parameters.interest_height_m
        self.interest.visited(target[:3, 3], dt_s, can_touch)
        self._change_phase(pose, target, dt_s, held_up_m)
        return target, self._opening

    def _change_phase(
        self, pose: np.ndarray, target: np.ndarray, dt_s: float, held_up_m: float
    ) -> None:
        p = self.parameters
        segment = self._path.segment
        finished = self._elapsed_s >= segment.duration_s
        hovers = p.hover_steps > 0 and self.phase == "move" and self._hovers(pose, target)
        self._hover_s = self._hover_s + dt_s if hovers else 0.0
        is_way_down = segment.end[2, 3] < segment.start[2, 3]
        presses = is_way_down and held_up_m > p.press_limit_m
        if presses and self.phase in ("move", "brake", "descend"):
            self.phase, self._next = "press", None
        elif self.phase == "press":
            if finished or self._rate == 0.0:
                self._lift(pose, held_up_m)
        elif self.phase == "brake":
            if finished or self._rate == 0.0:
                self._descend(pose)
        elif self.phase == "descend" and finished:
            if self._random.random() < p.close_probability:
                self._opening = 0.0
            self._pause("grip", pose, max(p.grip_s, dt_s))
        elif self.phase == "move" and self._hover_s > p.hover_steps / p.hover_rate_hz:
            self.phase, self._next = "brake", None
        elif finished:
            self._go_on(pose)
        elif self.phase != "rest" and self._waypoints_left > 0:
            self._look_ahead()

    def _hovers(self, pose: np.ndarray, target: np.ndarray) -> bool:
        """Tell whether the gripper is high up, the way in from above the bounds left out."""
        room = clearances(self.parameters, pose)
        is_over = np.all(room[[0, 1, 2, 3, 4, 6]] >= -_ROUNDING)
        return bool(is_over and height_m(target) > self.parameters.hover_height_m)

    def _begin(self, phase: str, path: PlayPath) -> None:
        self.phase, self._path = phase, path
        self._elapsed_s, self._rate = 0.0, 1.0

    def _pause(self, phase: str, pose: np.ndarray, duration_s: float) -> None:
        share = self._path.share_at(self._elapsed_s)
        self._begin(phase, rest(pose, self._path.q_end, duration_s, share))

    def _go_on(self, pose: np.ndarray) -> None:
        """Go on to the next waypoint once it is found, or rest after the last of a trajectory."""
        toggles = self.phase == "move"
        if self._waypoints_left == 0:
            self._waypoints_left = self._draw_number_of_waypoints()
            self._pause("rest", pose, MIN_SEGMENT_S)
        elif not self._take_waypoint(pose):
            return
        if toggles and self._random.random() < self.parameters.toggle_probability:
            self._opening = 1.0 - self._opening

    def _look_ahead(self) -> None:
        """Look for the way on from the end of the present one."""
        end = self._path.segment.end
        self._next = self._next or self._waypoint_search(end, self._path.share_to)
        self._next.go_on(_CHECKS_A_STEP)

    def _take_waypoint(self, pose: np.ndarray) -> bool:
        """Begin the way to the next waypoint if it is found; return whether it is."""
        share = self._path.share_at(self._elapsed_s)
        self._next = self._next or self._waypoint_search(pose, share)
        self._next.go_on(_CHECKS_A_STEP)
        if not self._next.is_over:
            return False
        path, self._next = self._next.path, None
        if path is None:
            raise KinematicsError(
                f"no reachable waypoint from tool position {np.round(pose[:3, 3], 3).tolist()} m; "
                "move the arm to its ready pose, widen the play region or teach more poses"
            )
        self._waypoints_left -= 1
        self._waypoint_m = path.segment.end[:3, 3]
        self._begin("move", path)
        return True

    def _waypoint_search(self, pose: np.ndarray, share: float) -> Pending:
        return Pending(self._search.waypoint(pose, self._path.q_end, share, self._waypoint_m))

    def _draw_number_of_waypoints(self) -> int:
        p = self.parameters
        return int(self._random.integers(p.waypoints_min, p.waypoints_max + 1))

    def _descend(self, pose: np.ndarray) -> None:
        """Go down to just over the table once a way there is found."""
        self._hover_s = 0.0
        if self._next is None:
            share = self._path.share_at(self._elapsed_s)
            towards = self._path.segment.end
            self._next = Pending(self._search.descent(pose, towards, self._path.q_end, share))
        self._next.go_on(_CHECKS_A_STEP)
        if self._next.is_over:
            path, self._next = self._next.path, None
            self._begin_or_wait("descend", path, pose)

    def _lift(self, pose: np.ndarray, held_up_m: float) -> None:
        """Go straight up from what holds the arm up, as far as the bounds let it."""
        p = self.parameters
        self._hover_s = 0.0
        way_m = max(held_up_m, 0.0) + p.press_limit_m
        # Short, and not to be waited for while the arm presses.
        self._begin_or_wait("lift", self._way_up(pose, way_m), pose)

    def _retreats(self, pose: np.ndarray) -> bool:
        """Begin to go up from where the arm was blocked; return whether there is a way."""
        way_m = self.parameters.retreat_m
        path = self._way_up(pose, way_m) if way_m > 0.0 else None
        if path is not None:
            self._begin("lift", path)
        return path is not None

    def _way_up(self, pose: np.ndarray, way_m: float) -> PlayPath | None:
        p = self.parameters
        end = at_height(pose, max(height_m(pose), min(height_m(pose) + way_m, p.height_high_m)))
        share = self._path.share_at(self._elapsed_s)
        return plan(p, pose, end, self._path.q_end, share, p.speed_m_s)

    def _begin_or_wait(self, phase: str, path: PlayPath | None, pose: np.ndarray) -> None:
        if path is None:
            self._pause("wait", pose, MIN_SEGMENT_S)
        else:
            self._begin(phase, path)

    def _with_noise(self, pose: np.ndarray, dt_s: float) -> np.ndarray:
        """Return the pose with smooth bounded noise, as much of it as the way has room for."""
        p = self.parameters
        self._noise_s += dt_s
        if self._noise_s >= p.noise_period_s:
            self._noise_s = 0.0
            sigma = np.repeat([p.noise_position_m, p.noise_rotation_rad], 3)
            value = np.clip(self._random.standard_normal(6), -NOISE_SPAN, NOISE_SPAN)
            self._noise_from, self._noise_to = self._noise_to, sigma * value
        blend = cosine(self._noise_s / p.noise_period_s)
        noise = self._noise_from + blend * (self._noise_to - self._noise_from)
        noise = self._path.share_at(self._elapsed_s) * noise
        return transform(matrix_from_rotvec(noise[3:]) @ pose[:3, :3], pose[:3, 3] + noise[:3])
