"""What `bench.handover` replays: a demonstration, a policy that imitates it, latencies; the counts.

The policy is a normal distribution over chunks, so that every sampler can be given the exact
network: its mean goes from where the arm is back to the demonstration and along it, its spread is
smooth over time and grows with the distance into the future, as an imitator's does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.rotations import matrix_from_rotvec, transform

PERIOD_S = 0.02
# Mean speed of the fastest joint between two poses [rad/s], and the least time for it [s].
_MEAN_RAD_S, _LEAST_S = 0.5, 0.6
_RETURN_S = 0.3
# Spread of a way-point now and a second ahead [rad], and how far in time two of them agree [s].
_SPREAD_RAD, _SPREAD_GROWTH_RAD_S, _AGREE_S = 0.004, 0.012, 0.25
# Joint targets over this are about normally distributed with spread 1 over a dataset [rad].
SCALE_RAD = 0.3
# A demonstration slower than this has no direction that a step could be against [rad/s].
_MOVING_RAD_S = 0.1
# Less than a seventh of what a servo counts is no step [rad].
_STILL_RAD = 2e-4


class Demonstration:
    """Pick and place over and over without a stop; q (T, 6) [rad] at 50 Hz."""

    def __init__(self, seed: int, duration_s: float):
        rng = np.random.default_rng(seed)
        times_s, poses, openings = [0.0], [arm.READY_RAD], [1.0]
        while times_s[-1] < duration_s + 10.0:
            for pose, opening in self._cycle(rng):
                way_rad = float(np.abs(pose - poses[-1]).max())
                times_s.append(times_s[-1] + max(way_rad / _MEAN_RAD_S, _LEAST_S))
                poses.append(pose)
                openings.append(opening)
        grid_s = np.arange(0.0, times_s[-1], PERIOD_S)
        self.q = _spline(np.array(times_s), np.array(poses), grid_s)
        self.opening = np.array(openings)[np.searchsorted(times_s, grid_s)]
        self.speed = np.gradient(self.q, PERIOD_S, axis=0)

    @staticmethod
    def _cycle(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, float]]:
        R_down = kinematics.forward(arm.READY_RAD)[:3, :3]
        q = arm.READY_RAD
        for brings in (False, True):
            radius, angle = rng.uniform(0.2, 0.32), rng.uniform(-0.7, 0.7)
            # It lifts off sideways, turning: no path is its own way back, so that a pose tells
            # how far the demonstration is.
            aside = rng.choice([-0.35, 0.35])
            for height, turned, opening in (
                (0.14, 0.0, float(not brings)),
                (0.03, 0.0, float(not brings)),
                (0.14, aside, float(brings)),
            ):
                x, y = radius * np.cos(angle + turned), radius * np.sin(angle + turned)
                R_base_tool = matrix_from_rotvec(np.array([0.0, 0.0, 2 * turned])) @ R_down
                q = kinematics.inverse(transform(R_base_tool, np.array([x, y, height])), q)
                yield q, opening

    def at(self, time_s: np.ndarray | float) -> np.ndarray:
        """Return joints (..., 6) [rad], the last ones after the end."""
        place = np.clip(np.asarray(time_s) / PERIOD_S, 0, len(self.q) - 1.001)
        k = place.astype(int)
        x = (place - k)[..., None]
        return (1 - x) * self.q[k] + x * self.q[k + 1]

    def nearest_s(self, q: np.ndarray, expected_s: float, behind_s: float, ahead_s: float) -> float:
        """Return the time [s] at which it is nearest to q (6,), where in doubt the expected one."""
        first = max(int((expected_s - behind_s) / PERIOD_S), 0)
        last = min(int((expected_s + ahead_s) / PERIOD_S) + 2, len(self.q))
        times_s = np.arange(first, last) * PERIOD_S
        cost = np.sum((self.q[first:last] - q) ** 2, axis=1)
        return float(times_s[np.argmin(cost + (0.01 * (times_s - expected_s)) ** 2)])


def _spline(times_s: np.ndarray, values: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Return the natural cubic spline (N, 6) through values (K, 6), at rest at its start."""
    gaps = np.diff(times_s)
    slopes = np.diff(values, axis=0) / gaps[:, None]
    system = np.diag(np.r_[2 * gaps[0], 2 * (gaps[:-1] + gaps[1:]), 1.0])
    system += np.diag(np.r_[gaps[:-1], 0.0], -1) + np.diag(gaps, 1)
    # The first row asks for no speed, the last one for no curvature.
    system[-1, -2] = 0.0
    right = np.vstack([6 * slopes[:1], 6 * np.diff(slopes, axis=0), np.zeros((1, 6))])
    bend = np.linalg.solve(system, right)
    k = np.clip(np.searchsorted(times_s, at_s, side="right") - 1, 0, len(gaps) - 1)
    h, x = gaps[k][:, None], (at_s - times_s[k])[:, None]
    linear = slopes[k] - h * (2 * bend[k] + bend[k + 1]) / 6
    return values[k] + x * linear + x**2 * bend[k] / 2 + x**3 * (bend[k + 1] - bend[k]) / (6 * h)


@dataclass(frozen=True, eq=False)
class Policy:
    """A network that imitates: chunks of `horizon` way-points, `step_s` apart.

    `jitter_rad` is noise of single way-points, which networks differ in.
    """

    horizon: int
    step_s: float
    jitter_rad: float = 0.0

    @property
    def times_s(self) -> np.ndarray:
        """When way-points are due after the observation (H,)."""
        return self.step_s * np.arange(1, self.horizon + 1)

    def covariance(self) -> np.ndarray:
        """Return (H, H) of one joint's way-points [rad^2]."""
        times_s = self.times_s
        spread = _SPREAD_RAD + _SPREAD_GROWTH_RAD_S * times_s
        apart = (times_s[:, None] - times_s) / _AGREE_S
        smooth = spread[:, None] * spread * np.exp(-0.5 * apart**2)
        return smooth + (self.jitter_rad**2 + 1e-10) * np.eye(self.horizon)

    def mean(self, demonstration: Demonstration, phase_s: float, q: np.ndarray) -> np.ndarray:
        """Return (H, 6) [rad] for an arm at q (6,) while the demonstration is at `phase_s`."""
        back = np.exp(-self.times_s / _RETURN_S)[:, None]
        return demonstration.at(phase_s + self.times_s) + back * (q - demonstration.at(phase_s))


def root(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric root (H, H): normal numbers times it have this covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def latencies(trace: str, seed: int, count: int = 2000) -> np.ndarray:
    """Return seconds (count,) from observation to arrival, one an inference."""
    rng = np.random.default_rng(seed)
    jittery = np.clip(0.2 * rng.lognormal(0.0, 0.35, count), 0.08, 0.6)
    constant = np.full(count, 0.2)
    if trace == "constant":
        return constant
    if trace == "jittery":
        return jittery
    if trace == "cold start":
        return np.append(0.7, constant[1:])
    if trace == "outliers":
        # One of each hundred, early enough for a short replay to have one.
        jittery[np.arange(0, count, 100) + rng.integers(5, 25, count // 100)] = 2.0
        return jittery
    raise ValueError(trace)


@dataclass(frozen=True)
class Counts:
    """What a replay did.

    Attributes:
        largest_step_rad: of any joint from one command to the next.
        rms_jerk_rad_s3: third difference of the commands, over all joints and ticks.
        lost: ticks' worth of plan that was not followed, after the first chunk: a tick that holds
            is one, one that goes at half speed a half.
        starved: ticks with no plan left, after the first chunk.
        backward: steps against the direction of the demonstration.
        covered: share of the demonstration's time that was done.
        apart_rad: RMS distance from the demonstration's path.
    """

    largest_step_rad: float
    rms_jerk_rad_s3: float
    lost: float
    starved: float
    backward: float
    covered: float
    apart_rad: float


def count(demonstration: Demonstration, commands: np.ndarray, lost: float, starved: int) -> Counts:
    """Return the counts of commands (N, 6), the first one where the arm began."""
    steps = np.diff(commands, axis=0)
    jerk = np.diff(commands, n=3, axis=0) / PERIOD_S**3
    backward, apart, phase_s = 0, [], 0.0
    for q, step in zip(commands[1:], steps, strict=True):
        phase_s = demonstration.nearest_s(q, phase_s, 0.5, 0.5)
        speed = demonstration.speed[round(phase_s / PERIOD_S)]
        apart.append(np.linalg.norm(q - demonstration.at(phase_s)))
        along = float(step @ speed)
        is_moving = float(np.linalg.norm(speed)) > _MOVING_RAD_S
        backward += is_moving and along < -_STILL_RAD * np.linalg.norm(speed)
    return Counts(
        largest_step_rad=float(np.abs(steps).max()),
        rms_jerk_rad_s3=float(np.sqrt(np.mean(jerk**2))),
        lost=lost,
        starved=starved,
        backward=backward,
        covered=phase_s / (len(steps) * PERIOD_S),
        apart_rad=float(np.sqrt(np.mean(np.square(apart)))),
    )
