"""The two queues of `bench.handover`: ours, and LeRobot's in a process of its own."""

import contextlib
import json
import subprocess
from pathlib import Path

import numpy as np
import torch

from bench._handover_world import PERIOD_S, SCALE_RAD, Policy, root
from vla_ros.core.errors import StaleDataError
from vla_ros.core.handover import Strategy
from vla_ros.core.joint_plan import JointPlan
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.policy_motion import PolicyMotion
from vla_ros.core.safety import CommandGuard
from vla_ros.policy.apt.diffusion import ddim, sampling_steps, signal_power
from vla_ros.policy.apt.rtc import Known, in_painted, prefix_weights

_PERIOD_NS = round(PERIOD_S * 1e9)
# As APT's: training and sampling steps of diffusion.
_TRAIN_STEPS, _SAMPLE_STEPS = 100, 20
_PEER_LIMIT_S = 60.0


class Ours:
    """The policy node's motion and the command guard: what it pops is what reaches the wire.

    With `policy.apt.rtc` where the strategy is "rtc".
    """

    def __init__(self, policy: Policy, strategy: Strategy):
        self._policy = policy
        self._strategy: Strategy = strategy
        covariance = policy.covariance() / SCALE_RAD**2
        self._root, self._covariance = root(covariance), torch.from_numpy(covariance)

    def start(self, q: np.ndarray) -> None:
        """See `Queue`."""
        limits = wx250s_limits()
        self._motion = PolicyMotion(limits, PERIOD_S, self._strategy)
        self._queue = self._motion.queue
        self._guard = CommandGuard(limits, PERIOD_S)
        self._guard.reset(q, 1.0)
        self.braked = 0

    def ask(self, tick: int, mean: np.ndarray, noise: np.ndarray) -> None:
        """See `Queue`."""
        chunk = mean + SCALE_RAD * self._root @ noise
        stamp_ns = tick * _PERIOD_NS
        if self._strategy == "rtc":
            committed = self._queue.committed(stamp_ns, self._policy.step_s, len(mean))
            if len(committed.q_rad):
                chunk = self._in_painted(mean, noise, committed.q_rad, committed.fixed)
        self._plan = JointPlan(stamp_ns, self._policy.step_s, chunk, np.ones(len(chunk)))

    def _in_painted(
        self, mean: np.ndarray, noise: np.ndarray, known: np.ndarray, fixed: int
    ) -> np.ndarray:
        """Return the chunk (H, 6) [rad] that keeps to the known way-points (K, 6)."""
        middle = torch.from_numpy(mean)
        goal = torch.zeros_like(middle)
        goal[: len(known)] = (torch.from_numpy(known) - middle[: len(known)]) / SCALE_RAD
        weights = prefix_weights(fixed, len(known), len(mean))
        kept = in_painted(self._predict, Known(goal, weights), _TRAIN_STEPS, _SAMPLE_STEPS)
        sample = ddim(torch.from_numpy(noise), kept, _TRAIN_STEPS, _SAMPLE_STEPS)
        return mean + SCALE_RAD * sample.numpy()

    def _predict(self, noisy: torch.Tensor, update: int) -> torch.Tensor:
        """Return the noise in a chunk around 0, exactly."""
        power = signal_power(_TRAIN_STEPS)[sampling_steps(_TRAIN_STEPS, _SAMPLE_STEPS)[update]]
        total = power * self._covariance + (1 - power) * torch.eye(len(noisy), dtype=noisy.dtype)
        return (1 - power) ** 0.5 * torch.linalg.solve(total, noisy)

    def deliver(self, tick: int, latency_s: float) -> None:
        """See `Queue`."""
        # Where all of it was over, the arm goes on with what it has.
        with contextlib.suppress(StaleDataError):
            self._queue.offer(self._plan, tick * _PERIOD_NS)

    def pop(self, tick: int) -> np.ndarray | None:
        """See `Queue`."""
        guard = self._guard
        target = self._motion.tick(tick * _PERIOD_NS, *guard.commanded, guard.at_rest)
        q, _ = guard.hold() if target is None else guard.follow(*target)
        self.braked += target is None or not np.array_equal(q, target[0])
        return q

    def wants_chunk(self, tick: int) -> bool:
        """Return whether the node would ask now."""
        return self._motion.wants_chunk(tick * _PERIOD_NS)

    @property
    def lost(self) -> float:
        """See `Queue`."""
        return 1.0 - self._queue.rate

    @property
    def starved(self) -> bool:
        """See `Queue`."""
        return self._queue.starved

    @property
    def left(self) -> int:
        """See `Queue`."""
        return round(self._queue.remaining_s / PERIOD_S)


class LeRobot:
    """LeRobot's ActionQueue in a process of its own."""

    def __init__(self, python: str, policy: Policy):
        self._policy = policy
        script = Path(__file__).with_name("_handover_peer_lerobot.py")
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.rtc = False

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=_PEER_LIMIT_S)

    def _call(self, name: str, **arguments):
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([name, arguments]), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(self, q: np.ndarray) -> None:
        """See `Queue`."""
        covariance = self._policy.covariance() / SCALE_RAD**2
        self._call(
            "start",
            rtc=self.rtc,
            period_s=PERIOD_S,
            covariance=covariance.tolist(),
            root=root(covariance).tolist(),
        )
        # What the queue holds, and how much of it was popped here since it told.
        self._held: list[list[float]] = []
        self._popped, self.lost = 0, 1.0

    @property
    def left(self) -> int:
        """See `Queue`."""
        return len(self._held) - self._popped

    @property
    def starved(self) -> bool:
        """See `Queue`."""
        return bool(self.lost)

    def _catch_up(self) -> None:
        """Have the queue itself pop what was popped here."""
        popped = self._call("pop", count=self._popped)
        if popped != self._held[: self._popped]:
            raise RuntimeError("LeRobot's queue popped something else than it held")
        self._held, self._popped = self._held[self._popped :], 0

    def ask(self, tick: int, mean: np.ndarray, noise: np.ndarray) -> None:
        """See `Queue`."""
        self._catch_up()
        self._call("ask", mean=(mean / SCALE_RAD).tolist(), noise=noise.tolist())

    def deliver(self, tick: int, latency_s: float) -> None:
        """See `Queue`."""
        self._catch_up()
        self._held = self._call("deliver", latency_s=latency_s)

    def pop(self, tick: int) -> np.ndarray | None:
        """See `Queue`."""
        self.lost = float(not self.left)
        if self.lost:
            return None
        self._popped += 1
        return SCALE_RAD * np.array(self._held[self._popped - 1])
