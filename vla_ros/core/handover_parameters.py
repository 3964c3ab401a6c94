"""What a person may set of the hand-over from chunk to chunk."""

from dataclasses import dataclass

from vla_ros.core.thresholds import require_ranges, threshold


@dataclass(frozen=True)
class HandOverParameters:
    """How chunks become targets; see docs/policy.md.

    Raises:
        SafetyError: a value is out of its range.
    """

    execute_steps: int = threshold(3, 1, 1000, "1", "way-points after which a chunk is asked for")
    blend_s: float = threshold(0.2, 0.02, 5.0, "s", "least time in which a chunk takes over")
    align_s: float = threshold(0.15, 0.0, 2.0, "s", "most that a chunk is entered earlier or later")
    smoothing_s: float = threshold(0.25, 0.0, 2.0, "s", "quicker oscillations are taken for noise")
    ensemble_decay: float = threshold(0.01, 0.0, 10.0, "1/step", "how much less newer chunks weigh")
    jerk_rad_s3: float = threshold(60.0, 1.0, 1e4, "rad/s^3", "largest jerk of every joint")
    max_age_s: float = threshold(3.0, 0.05, 60.0, "s", "chunks of older observations are refused")
    gripper_dwell_s: float = threshold(0.3, 0.0, 5.0, "s", "least time between two of its motions")

    def __post_init__(self):
        require_ranges(self)


class GripperSwitch:
    """Open or closed, as plans say; neither half-way openings nor flutter change anything.

    Args:
        parameters: `gripper_dwell_s` counts.
        period_s: time between two answers [s].
    """

    def __init__(self, parameters: HandOverParameters, period_s: float):
        self._dwell_periods = round(parameters.gripper_dwell_s / period_s)
        self.restart(1.0)

    def restart(self, opening: float) -> None:
        """Stay at an opening, clipped to [0, 1], until a plan says otherwise."""
        self.opening, self._left = min(max(float(opening), 0.0), 1.0), 0

    def next(self, planned: float | None) -> float:
        """Return the opening to command where a plan says `planned`, or nothing."""
        self._left = max(0, self._left - 1)
        if planned is None or self._left:
            return self.opening
        # Policies say 0 or 1: where between the two their own number turns is theirs.
        opening = self.opening if planned == 0.5 else float(planned > 0.5)
        if opening != self.opening:
            self.opening, self._left = opening, self._dwell_periods
        return self.opening
