"""Bags side by side in processes of their own: one that dies costs its bag and nothing else."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

import cv2

from training.bag_shard import Settings, shard_of_bag
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
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(paths))
    team: list[_Worker] = []
    try:
        while waiting or any(worker.path for worker in team):
            while waiting and len(team) < min(workers, len(paths)):
                team.append(_Worker.start(context, folder, settings))
            for worker in team:
                if worker.path is None and waiting:
                    worker.take(waiting.pop())
            ready = connection.wait([worker.pipe for worker in team])
            for worker in [worker for worker in team if worker.pipe in ready]:
                done = worker.hear(say)
                if worker.is_dead:
                    team.remove(worker)
                    worker.end()
                if done is not None:
                    yield done
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
    def start(cls, context: SpawnContext, folder: Path, settings: Settings) -> "_Worker":
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, folder, settings), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def take(self, path: Path) -> None:
        self.path = path
        with contextlib.suppress(OSError):  # it has died, and `hear` will find that
            self.pipe.send(path)

    def hear(self, say: Say) -> Done | None:
        """Take one message; return what became of the bag once that is known."""
        path = self.path
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.path, self.is_dead = None, True
            return None if path is None else Done(path, None, self._death())
        if isinstance(message, Done):
            self.path = None
            return message
        say(*message)
        return None

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


def _work(pipe: connection.Connection, folder: Path, settings: Settings) -> None:
    """Convert the bags that come through the pipe until it closes; runs in a process of its own."""
    # Ctrl-C is for the process that asked; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    try:
        while True:
            path = pipe.recv()
            pipe.send(convert_one(path, folder, settings, lambda *said: pipe.send(said)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the process that asked is gone
