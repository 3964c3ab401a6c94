"""Batches made while the step before them computes."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Ahead:
    """`make(step)` for steps that follow each other, each made in a thread during the one before.

    What it gives is `make`'s own, whatever the order of steps; an error comes when its step does.

    Attributes:
        waited_s: for how long callers have waited.
    """

    def __init__(self, make: Callable[[int], Any], num_steps: int):
        """Make up to step num_steps - 1."""
        self._make, self._num_steps = make, num_steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: dict[int, Future] = {}
        self.waited_s = 0.0

    def __call__(self, step: int) -> Any:
        """Return make(step)."""
        started = time.perf_counter()
        future = self._coming.pop(step, None)
        made = self._make(step) if future is None else future.result()
        self.waited_s += time.perf_counter() - started
        if step + 1 < self._num_steps:
            self._coming = {step + 1: self._pool.submit(self._make, step + 1)}
        return made

    def close(self) -> None:
        """End the thread; a batch that is being made is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
