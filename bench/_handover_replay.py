"""One replay of `bench.handover`: chunks are asked for, come late, and are executed at 50 Hz."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from bench._handover_world import PERIOD_S, Counts, Demonstration, Policy, count


class Queue(Protocol):
    """What stands between a policy and the command timer."""

    def start(self, q: np.ndarray) -> None:
        """Begin with an arm at q (6,) [rad]."""

    def ask(self, tick: int, mean: np.ndarray, noise: np.ndarray) -> None:
        """Have the policy sample a chunk of that mean (H, 6) [rad] from normal noise (H, 6)."""

    def deliver(self, tick: int, latency_s: float) -> None:
        """Take that chunk over."""

    def pop(self, tick: int) -> np.ndarray | None:
        """Return the joints (6,) to command [rad]; None: the arm holds."""

    @property
    def lost(self) -> float:
        """How much of a tick's worth of plan the last `pop` did not follow, 0 to 1."""
        ...

    @property
    def starved(self) -> bool:
        """Whether the last `pop` had no plan left to give of."""
        ...

    @property
    def left(self) -> int:
        """How many ticks can be popped."""
        ...


def replay(
    queue: Queue,
    demonstration: Demonstration,
    policy: Policy,
    latencies_s: np.ndarray,
    seed: int,
    num_ticks: int,
    is_due: Callable[[int], bool],
) -> tuple[Counts, list[int]]:
    """Return the counts and the ticks at which a chunk was asked for.

    Args:
        queue: ours or a peer's.
        demonstration, policy: see there.
        latencies_s: of one inference after the other.
        seed: of the policy's noise, one draw a chunk.
        num_ticks: how long.
        is_due: whether a chunk is asked for at a tick, if none is being worked on.
    """
    rng = np.random.default_rng(seed)
    q = demonstration.q[0]
    commands, asked, lost, starved, phase_s = [q], [], 0.0, 0, 0.0
    arrival: int | None = None
    queue.start(q)
    has_begun = False
    for tick in range(num_ticks):
        if arrival is not None and tick >= arrival:
            queue.deliver(tick, float(latencies_s[len(asked) - 1]))
            arrival, has_begun = None, True
        if arrival is None and is_due(tick):
            since = asked[-1] if asked else tick
            expected_s = phase_s + (tick - since) * PERIOD_S * has_begun
            phase_s = demonstration.nearest_s(q, expected_s, 2.5, 0.3)
            noise = rng.standard_normal((policy.horizon, 6))
            queue.ask(tick, policy.mean(demonstration, phase_s, q), noise)
            arrival = tick + int(np.ceil(latencies_s[len(asked)] / PERIOD_S - 1e-9))
            asked.append(tick)
        popped = queue.pop(tick)
        q = q if popped is None else popped
        lost += has_begun * queue.lost
        starved += has_begun and queue.starved
        commands.append(q)
    return count(demonstration, np.array(commands), lost, starved), asked
