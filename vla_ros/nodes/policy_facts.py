"""What an episode of a policy was like: how late its answers were, and what came of them."""

from dataclasses import dataclass, field

import numpy as np

from vla_ros.core.policy_motion import PolicyMotion
from vla_ros.nodes.diagnostics import OK, WARN

# What of many is said: the middle, the slow ones, the slowest.
_QUANTILES = {"p50": 50, "p95": 95, "max": 100}


@dataclass
class PolicyFacts:
    """Counted since an episode began.

    Attributes:
        inference_ms: of each answer that was used.
        picture_age_ms: of the oldest picture when it was asked about.
        camera_to_command_ms: from the oldest picture's stamp to the first command that it led to.
        chunks, unused, cut: answers that were used, that were not, and those used in part.
        held: how often the arm was held because of what was seen or answered.
        problem: the last reason for any of that; empty once a whole answer was used.
    """

    inference_ms: list[float] = field(default_factory=list)
    picture_age_ms: list[float] = field(default_factory=list)
    camera_to_command_ms: list[float] = field(default_factory=list)
    chunks: int = 0
    unused: int = 0
    cut: int = 0
    held: int = 0
    problem: str = ""

    def used(
        self, inference_ms: float, picture_age_ms: float, camera_to_command_ms: float, cut: str
    ) -> None:
        """Note an answer that is followed."""
        self.inference_ms.append(round(inference_ms, 3))
        self.picture_age_ms.append(round(picture_age_ms, 3))
        self.camera_to_command_ms.append(round(camera_to_command_ms, 3))
        self.chunks += 1
        self.cut += bool(cut)
        self.problem = cut

    def outcome(self, motion: PolicyMotion, rate_hz: float) -> dict:
        """Return the numbers for the results; `steps` is how many of the policy's were done."""
        return {
            "steps": round(motion.done_s * rate_hz),
            "held": self.held,
            "chunks": self.chunks,
            "unused_chunks": self.unused,
            "cut_chunks": self.cut,
            "ticks": motion.ticks,
            "starved_ticks": motion.starved,
            "inference_ms": self.inference_ms,
            "picture_age_ms": self.picture_age_ms,
            "camera_to_command_ms": self.camera_to_command_ms,
        }

    def status(self, motion: PolicyMotion, acts: bool) -> tuple[int, str, dict[str, object]]:
        """Return level, sentence and numbers, as `Diagnostics.set` takes them."""
        values: dict[str, object] = {
            "chunks": self.chunks,
            "unused_chunks": self.unused,
            "cut_chunks": self.cut,
            "held": self.held,
            "ticks": motion.ticks,
            "starved_ticks": motion.starved,
            "begun_anew": motion.life,
            "latency_reckoned_ms": round(1e3 * motion.queue.latency.value_s),
            "speed_scale": motion.queue.speed_scale,
        }
        for name in ("inference_ms", "picture_age_ms", "camera_to_command_ms"):
            numbers = getattr(self, name)
            for key, quantile in _QUANTILES.items() if numbers else ():
                values[f"{name}_{key}"] = round(float(np.percentile(numbers, quantile)), 1)
        if not acts:
            return OK, "does not act", values
        if self.problem:
            return WARN, self.problem, values
        if motion.queue.starved:
            return WARN, "waits for the next chunk: the network is slower than its chunks", values
        return OK, "acts", values
