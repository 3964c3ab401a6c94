"""A job for many items in processes of their own: one that dies costs its item and nothing else.

This module imports nothing but the standard library: a process imports what its job needs.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import TypeVar

# Told (item, what, number) by a job.
Say = Callable[[Path, str, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")
# For a process that is told to end, before it is made to.
_ENDING_S = 5.0


def side_by_side(
    items: list[Item], job: Callable[..., Result], workers: int, say: Callable
) -> Iterator[tuple[Item, Result | str]]:
    """Yield (item, what `job(item, say=...)` gives, or how its process died) as they are done.

    The job runs in spawned processes, `workers` of them, so job and items must be such that pickle;
    they end when this process does.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(items))
    team: list[_Worker] = []
    try:
        while waiting or any(worker.item is not None for worker in team):
            while waiting and len(team) < min(workers, len(items)):
                team.append(_Worker.start(context, job))
            for worker in team:
                if worker.item is None and waiting:
                    worker.take(waiting.pop())
            ready = connection.wait([worker.pipe for worker in team])
            for worker in [worker for worker in team if worker.pipe in ready]:
                found = worker.hear(say)
                if worker.is_dead:
                    team.remove(worker)
                    worker.end()
                if found is not None:
                    yield found
    finally:
        for worker in team:
            worker.end()


@dataclass
class _Worker:
    """One process and what it works on."""

    process: SpawnProcess
    pipe: connection.Connection
    item: object = None
    is_dead: bool = False

    @classmethod
    def start(cls, context: SpawnContext, job: Callable) -> "_Worker":
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, job), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def take(self, item: object) -> None:
        self.item = item
        with contextlib.suppress(OSError):  # it has died, and `hear` will find that
            self.pipe.send(item)

    def hear(self, say: Say) -> tuple | None:
        """Take one message; return the item and what became of it once that is known."""
        item = self.item
        try:
            is_said, message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.item, self.is_dead = None, True
            return None if item is None else (item, self._death())
        if is_said:
            say(*message)
            return None
        self.item = None
        return item, message

    def _death(self) -> str:
        code = self.process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        hint = "; with many workers the memory may not do" if code == -signal.SIGKILL else ""
        return f"its worker ended with {how}{hint}"

    def end(self) -> None:
        """End the process; what it has not finished is written anew another time."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(_ENDING_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(pipe: connection.Connection, job: Callable) -> None:
    """Do the job for every item of the pipe until it closes; runs in a process of its own."""
    # Ctrl-C is for the process that asked; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # On the way out, what was unpacked for the job goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        while True:
            item = pipe.recv()
            pipe.send((False, job(item, say=lambda *said: pipe.send((True, said)))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the process that asked is gone
