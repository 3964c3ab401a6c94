"""Every threshold of undirected play, with unit and range, and the bounds that follow from them."""

from dataclasses import dataclass

import numpy as np

from vla_ros.core import kinematics
from vla_ros.core.errors import SafetyError
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.thresholds import require_ranges, threshold

BRAKE_S = 0.3  # a forced descent first brings the arm to rest in this time
MIN_SEGMENT_S = 0.5  # no way is shorter in time than this
NOISE_SPAN = 2.0  # noise is cut at this many standard deviations
# What decides whether a pose is in a library.
BOUNDS = (
    "x_low_m",
    "x_high_m",
    "y_limit_m",
    "radius_limit_m",
    "height_low_m",
    "height_high_m",
    "tilt_limit_rad",
    "voxel_edge_m",
)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ExplorationParameters:
    """Every threshold of play; unit, range and meaning are in each field's metadata.

    The paper (Algorithm 1 of TAP) gives no values; the defaults are ours. The first eight are its
    bounds B. Heights are those of the lowest point of the gripper over the table.

    Raises:
        SafetyError: a value is out of its range, or two contradict each other.
    """

    x_low_m: float = threshold(0.14, 0.10, 0.5, "m", "nearest tool position in front of the base")
    x_high_m: float = threshold(0.36, 0.10, 0.5, "m", "furthest tool position in front")
    y_limit_m: float = threshold(0.30, 0.01, 0.4, "m", "largest tool position to either side")
    radius_limit_m: float = threshold(0.42, 0.15, 0.46, "m", "largest distance from the waist")
    height_low_m: float = threshold(0.01, 0.006, 0.2, "m", "least height of the finger tips")
    height_high_m: float = threshold(0.12, 0.02, 0.3, "m", "largest height of the finger tips")
    tilt_limit_rad: float = threshold(0.25, 0.0, 0.6, "rad", "largest tilt from straight down")
    yaw_limit_rad: float = threshold(1.3, 0.0, 1.5, "rad", "largest turn of generated poses")
    voxel_edge_m: float = threshold(0.05, 0.01, 0.2, "m", "edge of the library's voxels")
    min_distance_m: float = threshold(0.10, 0.0, 0.3, "m", "between successive waypoints")
    waypoints_min: int = threshold(4, 1, 1000, "1", "fewest waypoints of a trajectory")
    waypoints_max: int = threshold(7, 1, 1000, "1", "most waypoints of a trajectory")
    hover_height_m: float = threshold(0.08, 0.01, 0.3, "m", "above this the arm hovers")
    hover_steps: int = threshold(10, 0, 1000, "1", "steps of hovering that force a descent, 0: no")
    hover_rate_hz: float = threshold(5.0, 0.1, 100.0, "Hz", "rate of those steps")
    descent_low_m: float = threshold(0.01, 0.006, 0.2, "m", "lowest end of a forced descent")
    descent_high_m: float = threshold(0.02, 0.006, 0.2, "m", "highest end of a forced descent")
    descent_speed_m_s: float = threshold(0.08, 0.01, 0.5, "m/s", "mean speed of a forced descent")
    press_limit_m: float = threshold(0.015, 0.003, 0.1, "m", "held up by this, a way down ends")
    retreat_m: float = threshold(0.08, 0.0, 0.3, "m", "blocked, it goes up by this first; 0: not")
    speed_m_s: float = threshold(0.15, 0.01, 0.5, "m/s", "mean speed of a segment")
    turn_rate_rad_s: float = threshold(0.8, 0.05, 2.0, "rad/s", "mean turning rate of a segment")
    acceleration_m_s2: float = threshold(1.0, 0.05, 5.0, "m/s^2", "peak in a segment")
    turn_acceleration_rad_s2: float = threshold(4.0, 0.2, 20.0, "rad/s^2", "peak in a segment")
    joint_speed_rad_s: float = threshold(1.0, 0.1, 3.14, "rad/s", "joint's peak in a segment")
    joint_acceleration_rad_s2: float = threshold(2.5, 0.1, 5.0, "rad/s^2", "same, acceleration")
    noise_position_m: float = threshold(0.005, 0.0, 0.02, "m", "standard deviation, each axis")
    noise_rotation_rad: float = threshold(0.035, 0.0, 0.1, "rad", "standard deviation, each axis")
    noise_period_s: float = threshold(1.0, 0.1, 10.0, "s", "time between two noise values")
    toggle_probability: float = threshold(0.5, 0.0, 1.0, "1", "gripper changes at a waypoint")
    close_probability: float = threshold(0.7, 0.0, 1.0, "1", "gripper closes after a descent")
    grip_s: float = threshold(0.5, 0.0, 5.0, "s", "pause after a descent, for the fingers")
    # Beyond the paper: where to go next. A pose's chance is 1 + the two weighted terms.
    coverage_weight: float = threshold(3.0, 0.0, 1000.0, "1", "of rarely visited cells, 0: off")
    interest_weight: float = threshold(200.0, 0.0, 1000.0, "1", "of what moved lately, 0: off")
    cell_m: float = threshold(0.025, 0.01, 0.1, "m", "edge of the table's cells")
    visit_s: float = threshold(2.0, 0.01, 1000.0, "s", "stay that halves a cell's rarity")
    coverage_memory_s: float = threshold(600.0, 1.0, 1e6, "s", "after it 37 % of a visit is left")
    interest_memory_s: float = threshold(120.0, 1.0, 1e6, "s", "same, of a movement")
    interest_radius_m: float = threshold(0.05, 0.0, 0.2, "m", "how far from a pose it counts")
    interest_height_m: float = threshold(0.04, 0.006, 0.3, "m", "below it things are touched")

    def __post_init__(self):
        require_ranges(self)
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
    def bounds(self) -> dict[str, float]:
        """The values of `BOUNDS`, by name."""
        return {name: getattr(self, name) for name in BOUNDS}

    @property
    def speed_limit_m_s(self) -> float:
        """Upper bound of the tool's speed [m/s]: the cosine's peak, and noise coming and going."""
        mean = max(self.speed_m_s, self.descent_speed_m_s)
        changing = 4 * np.pi / 2 / self.noise_period_s
        fading = 2 * np.pi / 2 / MIN_SEGMENT_S
        # Changing and fading noise are each at most twice the cut, in each of three axes.
        noise = np.sqrt(3) * NOISE_SPAN / 2 * self.noise_position_m * (changing + fading)
        return float(np.pi / 2 * mean + noise)

    @property
    def acceleration_limit_m_s2(self) -> float:
        """Upper bound of the tool's acceleration [m/s^2]: segment, braking and noise together."""
        braking = np.pi / 2 * max(self.speed_m_s, self.descent_speed_m_s) / BRAKE_S
        to_and_fro = np.pi / 2 / self.noise_period_s
        fade = np.pi / 2 / MIN_SEGMENT_S
        # Second derivative of the product of a cosine's fade (of at most 1) and the noise.
        changing = 4 * 2 * to_and_fro**2
        both = 2 * fade * 4 * to_and_fro
        fading = 2 * (2 * fade**2 + fade / BRAKE_S)
        noise = np.sqrt(3) * NOISE_SPAN / 2 * self.noise_position_m * (changing + both + fading)
        return float(self.acceleration_m_s2 + braking + noise)


def tool_box_m(parameters: ExplorationParameters) -> tuple[np.ndarray, np.ndarray]:
    """Return the box (3,), (3,) [m] in base_link that play's tool point stays in.

    The finger tips are below it: least with the tool straight down, most at the largest tilt.
    """
    p = parameters
    tips = kinematics.GRIPPER_POINTS_M[2:]
    below = tips[:, 0].max()
    lever = np.hypot(tips[:, 1], tips[:, 2]).max()
    side = min(p.y_limit_m, p.radius_limit_m)
    low = np.array([p.x_low_m, -side, p.height_low_m + below])
    highest = p.height_high_m + below + lever * np.sin(p.tilt_limit_rad)
    return low, np.array([min(p.x_high_m, p.radius_limit_m), side, highest])


def require_room(parameters: ExplorationParameters, limits: SafetyLimits) -> None:
    """Make sure that play stays where the arm may be, no faster than it may move.

    Raises:
        SafetyError: it does not; its sentence has the names of the nodes' parameters.
    """
    p = parameters
    low, high = tool_box_m(p)
    outside = np.maximum(limits.workspace_low_m - low, high - limits.workspace_high_m)
    if np.any(outside > _ROUNDING):
        raise SafetyError(
            f"the tool plays from {np.round(low, 3).tolist()} to {np.round(high, 3).tolist()} m, "
            f"{1000 * outside.max():.0f} mm outside safety.workspace_low_m and workspace_high_m, "
            f"{limits.workspace_low_m.tolist()} to {limits.workspace_high_m.tolist()} m; narrow "
            "the bounds of exploration, or widen the workspace"
        )
    for name, value, limit_name, limit in (
        ("joint_speed_rad_s", p.joint_speed_rad_s, "velocity_rad_s", limits.velocity_rad_s.min()),
        (
            "joint_acceleration_rad_s2",
            p.joint_acceleration_rad_s2,
            "acceleration_rad_s2",
            limits.acceleration_rad_s2.min(),
        ),
    ):
        if value > limit + _ROUNDING:
            raise SafetyError(
                f"exploration.{name} is {value}, above safety.{limit_name}, {limit}; lower the "
                "first or raise the second"
            )
    if p.height_low_m < limits.table_clearance_m - _ROUNDING:
        raise SafetyError(
            f"exploration.height_low_m is {p.height_low_m}, below safety.table_clearance_m, "
            f"{limits.table_clearance_m}; raise the first or lower the second"
        )
