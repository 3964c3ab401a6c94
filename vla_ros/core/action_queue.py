"""Between a policy that answers late and commands that are due 50 times a second.

Whoever infers puts chunks in; the command timer pops targets out. Nothing is blended: a new chunk
takes the place of what is left of the old one, at the step that is due by then. How fast the arm
goes there is the command guard's.
"""

import numpy as np

from vla_ros.core.actions import apply_ee_delta
from vla_ros.core.errors import ContractError
from vla_ros.core.observation import Chunk
from vla_ros.core.resample import NS_PER_S


class ActionQueue:
    """Holds what is left of the last chunk.

    Poses have their times, counted from the observation, and those that have passed are left out.
    Displacements begin when the first is popped.

    Args:
        execute: how many steps of a chunk are popped before the next chunk is wanted, at least 1.
            Those after them are popped too while it does not come.
    """

    def __init__(self, execute: int = 1):
        if execute < 1:
            raise ContractError(f"a policy executes at least 1 step of a chunk, got {execute}")
        self._execute = execute
        self.clear()

    def clear(self) -> None:
        """Leave nothing to pop, as where the arm was held: what the picture showed is over."""
        self._chunk: Chunk | None = None
        self._start_ns: int | None = None
        self._popped = 0
        self._last = -1

    def put(self, chunk: Chunk, seen_ns: int) -> None:
        """Take the chunk that was asked for with what was seen at `seen_ns`."""
        self.clear()
        self._chunk = chunk
        if chunk.T_base_tool is not None:
            self._start_ns = seen_ns

    def is_empty(self, now_ns: int) -> bool:
        """Return whether nothing will be popped from `now_ns` on."""
        if self._chunk is None:
            return True
        return max(self._step(now_ns), self._last + 1) >= len(self._chunk)

    def wants_chunk(self, now_ns: int) -> bool:
        """Return whether it is time to ask for the next chunk."""
        return self.is_empty(now_ns) or self._popped >= self._execute

    def pop(self, now_ns: int, T_commanded: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Return (tool pose (4, 4) in base_link, opening) to head for from now on.

        None where the last target still holds, or nothing is left.

        Args:
            now_ns: time, of the same clock as `put`'s.
            T_commanded: (4, 4) tool pose that is commanded now; displacements start there.

        Raises:
            ContractError: the action is no action.
        """
        chunk = self._chunk
        if chunk is None:
            return None
        if self._start_ns is None:
            self._start_ns = now_ns
        step = self._step(now_ns)
        if step <= self._last or step >= len(chunk):
            return None
        self._last, self._popped = step, self._popped + 1
        opening = float(chunk.openings[step])
        if chunk.T_base_tool is not None:
            return chunk.T_base_tool[step], opening
        return apply_ee_delta(T_commanded, chunk.actions[step])[0], opening

    def _step(self, now_ns: int) -> int:
        """Return the step that is under way at `now_ns`, from 0; may lie beyond the chunk."""
        if self._chunk is None or self._start_ns is None:
            return 0
        elapsed_ns = max(0, now_ns - self._start_ns)
        return int(elapsed_ns / (self._chunk.period_s * NS_PER_S))
