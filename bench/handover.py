"""How smoothly chunks become commands: our hand-over against LeRobot's ActionQueue.

python -m bench.handover [--quick] [--seeds N] [--peer-python PYTHON]

ROS-free and on simulated time: latencies are a trace, so that load on the machine changes nothing.
A demonstration of pick and place is imitated by a policy that is a known normal distribution
(`_handover_world`): chunks of 50 joint targets 20 ms apart, as pi0's and SmolVLA's, so that
LeRobot's queue has one action for every 50 Hz command and nothing is left to an interpolator; a
tick for which it has none holds the last action. Both queues are asked for chunks at the same
ticks, with the same latencies, and the policy draws from the same noise. What a chunk is depends on
where the arm was at its observation, as on a robot.

What counts on our side is what reaches the wire: the motion of `core/policy_motion.py` behind the
command guard. LeRobot's queue is measured as it gives its actions, with no guard behind it.

LeRobot 0.6.1, in the two ways that it ships:
- sync: `SyncInferenceEngine`, its default; a chunk is asked for when none is left, and waited for.
- RTC: `RTCInferenceEngine`; a chunk is asked for at 30 left, its default, and guided by LeRobot's
  own RTCProcessor, default settings.
"""

import argparse
from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import torch

from bench._data_peers import STREAMING, python_of
from bench._handover_queues import LeRobot, Ours
from bench._handover_replay import Queue, replay
from bench._handover_world import PERIOD_S, Counts, Demonstration, Policy, count, latencies
from bench._report import Row, publish, show
from vla_ros.core.handover import Strategy

_TRACES = ("constant", "jittery", "cold start", "outliers")
_HORIZON = 50
_EVERY_TICKS = 25
_LEFT = 30
_TICKS, _QUICK_TICKS = 2000, 500

Due = Callable[[int], bool]


def _every_half_second() -> Due:
    last = -_EVERY_TICKS

    def is_due(tick: int) -> bool:
        nonlocal last
        if tick - last < _EVERY_TICKS:
            return False
        last = tick
        return True

    return is_due


class Bench:
    """All replays of one world, one a seed."""

    def __init__(self, num_ticks: int, seeds: int):
        self.policy = Policy(_HORIZON, PERIOD_S)
        self.num_ticks = num_ticks
        self.worlds = [
            (Demonstration(seed, num_ticks * PERIOD_S), seed + 100) for seed in range(seeds)
        ]

    def run(self, queue: Queue, trace: str, due: list[Due]) -> tuple[Counts, list[list[int]]]:
        """Return medians over the seeds, and when chunks were asked for; `due` is one a seed."""
        found = [
            replay(queue, demonstration, self.policy, latencies(trace, seed), seed, ticks, is_due)
            for (demonstration, seed), is_due, ticks in zip(
                self.worlds, due, [self.num_ticks] * len(due), strict=True
            )
        ]
        medians = np.median([astuple(counts) for counts, _ in found], axis=0)
        return Counts(*map(float, medians)), [asked for _, asked in found]

    def itself(self) -> list[Row]:
        """Return what the demonstrations do themselves: nothing that follows them can do less."""
        counts = [count(d, d.q[: self.num_ticks + 1], 0.0, 0) for d, _ in self.worlds]
        steps = [1000.0 * found.largest_step_rad for found in counts]
        jerks = [found.rms_jerk_rad_s3 for found in counts]
        return [
            Row("the demonstration itself: largest joint step", "mrad", float(np.median(steps))),
            Row("the demonstration itself: RMS jerk", "rad/s^3", float(np.median(jerks))),
        ]

    def half_seconds(self) -> list[Due]:
        """Return when chunks are due every half second."""
        return [_every_half_second() for _ in self.worlds]


def compared(what: str, ours: Counts, theirs: Counts | None) -> list[Row]:
    """Return the rows of one comparison."""
    rows = []
    for name, unit, goal in (
        ("largest_step_rad", "mrad", 0.5),
        ("rms_jerk_rad_s3", "rad/s^3", 0.5),
        ("starved", "ticks", 1.0),
        ("lost", "ticks", 1.0),
        ("backward", "steps", 0.0),
        ("covered", "%", None),
        ("apart_rad", "mrad", None),
    ):
        scale = {"mrad": 1000.0, "%": 100.0}.get(unit, 1.0)
        own = scale * getattr(ours, name)
        label = f"{what}: {_WORDS[name]}"
        if theirs is None:
            met = own == 0.0 if goal == 0.0 else None
            rows.append(Row(label, unit, own, goal="0" if goal == 0.0 else "", met=met))
            continue
        other = scale * getattr(theirs, name)
        ratio = other / own if own else None
        words = "" if goal is None else "0" if goal == 0.0 else f"at most {goal:g} x theirs"
        met = None if goal is None else own <= goal * other if goal else own == 0.0
        rows.append(Row(label, unit, own, other, ratio if goal else None, words, met))
    return rows


_WORDS = {
    "largest_step_rad": "largest joint step",
    "rms_jerk_rad_s3": "RMS jerk",
    "starved": "starved ticks",
    "lost": "plan time lost",
    "backward": "backward steps",
    "covered": "demonstration's time covered",
    "apart_rad": "RMS distance from the demonstration's path",
}


def measure(bench: Bench, python: str | None, traces: tuple[str, ...]) -> list[Row]:
    """Return the rows; without a peer's Python, ours alone."""
    rows: list[Row] = []
    if python is not None:
        peer = LeRobot(python, bench.policy)
        for trace in traces:
            rows += _against(bench, peer, trace, "sync", "blend", 0)
            rows += _against(bench, peer, trace, "RTC", "rtc", _LEFT)
        peer.close()
    for trace in traces:
        ours = Ours(bench.policy, "rtc")
        counts, _ = bench.run(ours, trace, [ours.wants_chunk] * len(bench.worlds))
        rows += compared(f'{trace}, "rtc" when the node asks', counts, None)
    for strategy in ("blend", "ensemble"):
        counts, _ = bench.run(Ours(bench.policy, strategy), "jittery", bench.half_seconds())
        rows += compared(f'jittery, "{strategy}" every half second', counts, None)
    return rows + bench.itself()


def _against(
    bench: Bench, peer: LeRobot, trace: str, mode: str, strategy: Strategy, least: int
) -> list[Row]:
    """Return the rows where theirs asks at `least` actions left, and ours at the same ticks."""
    peer.rtc = mode == "RTC"

    def is_due(_: int) -> bool:
        return peer.left <= least

    theirs, asked = bench.run(peer, trace, [is_due] * len(bench.worlds))
    same: list[Due] = [set(ticks).__contains__ for ticks in asked]
    ours, _ = bench.run(Ours(bench.policy, strategy), trace, same)
    return compared(f"{trace}, {mode}", ours, theirs)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="How smoothly chunks become commands.")
    parser.add_argument("--quick", action="store_true", help="ours alone, 10 s, nothing written")
    parser.add_argument("--seeds", type=int, default=3, help="worlds to take the median of")
    parser.add_argument("--peer-python", help="a Python with LeRobot; else one is made")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        show(measure(Bench(_QUICK_TICKS, 1), None, ("cold start",)))
        return
    python = args.peer_python or str(python_of(STREAMING))
    rows = measure(Bench(_TICKS, args.seeds), python, _TRACES)
    publish("handover", rows, {"lerobot": "0.6.1", "seeds": str(args.seeds)})


if __name__ == "__main__":
    main()
