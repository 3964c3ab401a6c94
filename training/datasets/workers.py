"""Bags side by side in processes of their own: one that dies costs its bag and nothing else."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import TypeVar

import cv2

from training.datasets.bag_shard import Settings, shard_of_bag
from vla_ros.core.errors import VlaError


@dataclass(frozen=True)
class Done:
    """What became of one bag.

    Attributes:
        key: of its shard; None where there is none now, but may be another time.
        failure: what kept it from being converted.
        is_disk: whether the disk refused, so that the others will fare no better.
    """

    path: Path
    key: str | None
    failure: str = ""
    is_disk: bool = False


Say = Callable[[Path, str, int], None]
Result = TypeVar("Result")


def convert_one(path: Path, folder: Path, settings: Settings, say: Say) -> Done:
    """Convert one bag here; what goes wrong with it is told, not raised."""
    try:
        key = shard_of_bag(path, folder, settings, lambda what, number: say(path, what, number))
    except OSError as error:
        if error.filename is None or Path(error.filename).is_relative_to(folder):
            return Done(path, None, error.strerror or str(error), is_disk=True)
        return Done(path, None, f"{error.filename} cannot be read ({error.strerror})")
    except VlaError as error:
        return Done(path, None, str(error))
    except MemoryError:
        return Done(path, None, "there is not enough memory")
    return Done(path, key)


def convert_side_by_side(
    paths: list[Path], folder: Path, settings: Settings, workers: int, say: Say
) -> Iterator[Done]:
    """Yield what became of each bag, as they are done, `workers` at a time.

    One worker is this process itself. More are spawned; they end when this process does.
    """
    if workers <= 1 or len(paths) <= 1:
        for path in paths:
            yield convert_one(path, folder, settings, say)
        return
    job = partial(convert_one, folder=folder, settings=settings)
    for path, done in side_by_side(paths, job, workers, say):
        yield Done(path, None, done) if isinstance(done, str) else done


def side_by_side(
    paths: list[Path], job: Callable[..., Result], workers: int, say: Say
) -> Iterator[tuple[Path, Result | str]]:
    """Yield (path, what `job(path, say=...)` gives, or how its process died) as they are done.

    The job runs in spawned processes, `workers` of them, so it must be one that pickles; they end
    when this process does.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(paths))
    team: list[_Worker] = []
    try:
        while waiting or any(worker.path for worker in team):
            while waiting and len(team) < min(workers, len(paths)):
                team.append(_Worker.start(context, job))
            for worker in team:
                if worker.path is None and waiting:
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
    """One process and the bag that it works on."""

    process: SpawnProcess
    pipe: connection.Connection
    path: Path | None = None
    is_dead: bool = False

    @classmethod
    def start(cls, context: SpawnContext, job: Callable) -> "_Worker":
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, job), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def take(self, path: Path) -> None:
        self.path = path
        with contextlib.suppress(OSError):  # it has died, and `hear` will find that
            self.pipe.send(path)

    def hear(self, say: Say) -> tuple | None:
        """Take one message; return the bag and what became of it once that is known."""
        path = self.path
        try:
            is_said, message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.path, self.is_dead = None, True
            return None if path is None else (path, self._death())
        if is_said:
            say(*message)
            return None
        self.path = None
        return path, message

    def _death(self) -> str:
        code = self.process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        hint = "; with many workers the memory may not do" if code == -signal.SIGKILL else ""
        return f"its worker ended with {how}{hint}"

    def end(self) -> None:
        """End the process; what it has not finished is written anew another time."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def _work(pipe: connection.Connection, job: Callable) -> None:
    """Do the job for every path of the pipe until it closes; runs in a process of its own."""
    # Ctrl-C is for the process that asked; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    try:
        while True:
            path = pipe.recv()
            pipe.send((False, job(path, say=lambda *said: pipe.send((True, said)))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the process that asked is gone
