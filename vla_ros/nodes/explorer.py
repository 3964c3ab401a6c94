"""explorer_node: undirected play, recorded in segments."""

import time
from dataclasses import dataclass

import numpy as np

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError
from vla_ros.core.exploration import ExplorationParameters, PlayMotion
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S
from vla_ros.nodes.commander import CommanderNode, CommanderParameters
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.lifetime import run
from vla_ros.nodes.params import parameter


@dataclass(frozen=True)
class ExplorerParameters(CommanderParameters):
    """Parameters of explorer_node."""

    seed: int = parameter(0, "Seed of the motion; the same seed plays the same.", "", 0, 2**31 - 1)
    segment_s: float = parameter(60.0, "Length of one recorded segment.", "s", 0.5, 3600.0)
    pause_s: float = parameter(1.0, "Rest between two segments.", "s", 0.0, 3600.0)
    hours: float = parameter(0.0, "Play for this long; 0: count segments.", "h", 0.0, 1000.0)
    segments: int = parameter(0, "Play this many segments; 0: until stopped.", "", 0, 1_000_000)
    shuffle_every: int = parameter(
        10, "In the sim, shuffle the objects every so many segments; 0: never.", "", 0, 1_000_000
    )


class ExplorerNode(CommanderNode):
    """Plays segment after segment until its time is over."""

    def __init__(self):
        super().__init__("explorer", "play", ExplorerParameters)
        self._solution = arm.READY_RAD
        self._unreachable = 0

    def configure(self) -> None:
        """Seed the motion."""
        super().configure()
        self._motion = PlayMotion(
            ExplorationParameters(), np.random.default_rng(self.parameters.seed)
        )
        self.episodes.say_task("")

    def mission(self) -> Steps:
        """Play until `hours` or `segments` are reached, then park."""
        yield from self.until_active()
        started_s = time.monotonic()
        yield from self.go_to(arm.READY_RAD, 1.0)
        start_ns = self.now_ns
        played = 0
        while not self._is_over(played, start_ns):
            every = self.parameters.shuffle_every
            if every and played % every == 0 and self.scene_can_reset:
                yield from self.reset_scene()
            yield from self._segment(played)
            played += 1
            yield from self.wait(self.parameters.pause_s)
        yield from self.park_arm()
        simulated_s = (self.now_ns - start_ns) / 1e9
        print(
            f"explorer: {played} segments, {simulated_s:.0f} s of play time in "
            f"{time.monotonic() - started_s:.0f} s, {len(self.episodes.paths)} bags saved, "
            f"{self.arm.refusals} targets refused, {self._unreachable} out of reach",
            flush=True,
        )

    def _segment(self, index: int) -> Steps:
        yield from self.episodes.begin(f"play-{index:05d}")
        self._solution, opening = self.arm.commanded
        self._motion.start(kinematics.forward(self._solution), opening)
        self.acting = True
        yield from self.wait(self.parameters.segment_s)
        yield from self.settle()
        yield from self.episodes.end(None, "segment over")

    def _is_over(self, played: int, start_ns: int) -> bool:
        hours, segments = self.parameters.hours, self.parameters.segments
        if hours and self.now_ns - start_ns >= hours * 3600e9:
            return True
        return bool(segments) and played >= segments

    def on_tick(self) -> None:
        """One command period further in the play motion."""
        try:
            T_base_tool, opening = self._motion.step(COMMAND_PERIOD_S)
            # From the last solution, which is nearer than the command that follows it.
            q = kinematics.inverse(T_base_tool, self._solution)
        except KinematicsError:
            # The last target stays; the motion itself moves on, or looks for another waypoint.
            self._unreachable += 1
            return
        self._solution = q
        self.arm.set_target(q, opening)


def main() -> int:
    """Run explorer_node; the entry of scripts/explorer_node."""
    return run(ExplorerNode, "explorer_node")
