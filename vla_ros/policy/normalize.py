"""Actions to [-1, 1] and back: 1 % and 99 % quantiles, clipped, the gripper untouched.

As in TAP's released data pipeline (methods: A.2.5); the inverse is
a = 0.5 (n + 1) (q99 - q01) + q01.
"""

from dataclasses import dataclass

import numpy as np

from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.errors import CheckpointError, DatasetError

# A dimension that hardly moves in the data must not have its noise blown up to full scale:
# the range is never narrower than 5 mm for translation and 0.02 rad for rotation.
MIN_SPAN = np.array([0.005] * 3 + [0.02] * 3)


@dataclass(frozen=True)
class Normalizer:
    """Quantiles of the six motion dimensions, each (6,) float64 [m x 3, rad x 3]."""

    low: np.ndarray
    high: np.ndarray

    def __post_init__(self):
        for name in ("low", "high"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        finite = np.all(np.isfinite(self.low)) and np.all(np.isfinite(self.high))
        if self.low.shape != (6,) or self.high.shape != (6,) or not finite:
            raise CheckpointError(
                f"normaliser must hold 6 finite numbers a bound, got low {self.low.tolist()} and "
                f"high {self.high.tolist()}; fit it again"
            )
        if not np.all(self.high > self.low):
            raise CheckpointError(
                f"normaliser's high must be above its low, got low {self.low.tolist()} and "
                f"high {self.high.tolist()}; fit it again"
            )

    @classmethod
    def fit(cls, actions: np.ndarray) -> "Normalizer":
        """Return the normaliser of actions (N, 7); raises DatasetError if N is 0."""
        if len(actions) == 0:
            raise DatasetError("no action to fit a normaliser on; give data of the wanted kind")
        motion = np.asarray(actions, dtype=np.float64)[:, :GRIPPER_INDEX]
        low, high = np.quantile(motion, [0.01, 0.99], axis=0)
        middle, half = (low + high) / 2, np.maximum(high - low, MIN_SPAN) / 2
        return cls(middle - half, middle + half)

    def apply(self, actions: np.ndarray) -> np.ndarray:
        """Return normalised actions (..., 7) float32: motion in [-1, 1], gripper as it is."""
        normalized = np.array(actions, dtype=np.float32)
        scaled = 2 * (normalized[..., :6] - self.low) / (self.high - self.low) - 1
        normalized[..., :6] = np.clip(scaled, -1, 1)
        return normalized

    def invert(self, normalized: np.ndarray) -> np.ndarray:
        """Return actions (..., 7) float32; motion is clipped to [-1, 1], gripper to [0, 1]."""
        actions = np.array(normalized, dtype=np.float32)
        motion = np.clip(actions[..., :6], -1, 1)
        actions[..., :6] = 0.5 * (motion + 1) * (self.high - self.low) + self.low
        actions[..., GRIPPER_INDEX] = np.clip(actions[..., GRIPPER_INDEX], 0, 1)
        return actions

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_dict(cls, data: dict) -> "Normalizer":
        """Return the normaliser of `to_dict`'s result; raises CheckpointError on other keys."""
        if not isinstance(data, dict) or set(data) != {"low", "high"}:
            raise CheckpointError("normaliser must hold exactly low and high; fit it again")
        return cls(data["low"], data["high"])
