"""One thread in which a network computes, one answer at a time."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Inference:
    """A worker that nobody has to wait for.

    Everything of the network happens in its thread: libraries keep handles and caches for each. It
    is a daemon, because neither a network that takes 20 s nor a GPU that hangs shall keep the
    process alive.
    """

    def __init__(self):
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future] | None] = queue.SimpleQueue()
        self._answer: Future | None = None
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether it computes, or has an answer that nobody took."""
        return self._answer is not None

    def call(self, job: Callable[[], Any]) -> Any:
        """Return what a job returns, or raise what it raises; waits for it."""
        return self._put(job).result()

    def submit(self, job: Callable[[], Any]) -> None:
        """Begin a job; only where it is not busy."""
        assert not self.is_busy
        self._answer = self._put(job)

    def afterwards(self, job: Callable[[], object]) -> None:
        """Have a job done behind what was submitted; nobody waits for it, and it may not raise."""
        self._put(job)

    def take(self) -> Callable[[], Any] | None:
        """Return what gives the answer, or raises what the job raised; None while it computes."""
        answer = self._answer
        if answer is None or not answer.done():
            return None
        self._answer = None
        return answer.result

    def close(self, limit_s: float) -> bool:
        """End the thread; return whether it ended within `limit_s` [s, wall]."""
        self._jobs.put(None)
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _put(self, job: Callable[[], Any]) -> Future:
        future: Future = Future()
        self._jobs.put((job, future))
        return future

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                answer = job()
            except BaseException as error:  # whoever takes the answer gets it
                future.set_exception(error)
            else:
                future.set_result(answer)
