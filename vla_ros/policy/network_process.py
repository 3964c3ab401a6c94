"""A network in a process of its own: it shares no lock of Python's with who sends commands.

`NetworkProcess` is this side of it, `main` the other. The two talk over a pair of sockets that
nobody else can reach, by pickle: each is the same program of the same user.
"""

import contextlib
import math
import signal
import subprocess
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla_ros.core import errors
from vla_ros.core.errors import RemoteError, RunnerError, VlaError
from vla_ros.core.limits import SafetyLimits
from vla_ros.core.observation import Observation
from vla_ros.core.policy_motion import Question
from vla_ros.policy.answering import Answered, answered
from vla_ros.policy.checkpoint_folder import require_folder
from vla_ros.policy.checkpoint_hash import checkpoint_sha256

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner

# A failure that nobody foresaw is told in full so often [s].
_TOLD_S = 10.0
# Modules come from where this process has them, whatever folder it was started in.
_START = "import sys; sys.path[:] = {path!r}; from {module} import main; main({fd})"


class NetworkProcess:
    """A checkpoint that acts in a process of its own. One caller at a time.

    Where the process ends by itself, the question that it was asked fails, and the next one starts
    it anew with the same checkpoint. It ends with this process, however that ends.

    Args:
        checkpoint: a folder of Stage 2.
        device, threads: where the network computes.

    Attributes:
        contract, cameras, num_past, goes_on: as of `PolicyRunner`.
        sha256: of the checkpoint.
        pid: of the process.

    Raises:
        CheckpointError, ContractError: as `PolicyRunner.load` raises them.
        RemoteError: the process ended while it loaded the checkpoint.
    """

    def __init__(self, checkpoint: str | Path, device: str = "cpu", threads: int = 1):
        self._given = str(checkpoint), device, threads
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._is_closed = self._is_lost = False
        self._start()
        try:
            self._said = said = self._receive("while it loaded the checkpoint")
        except BaseException:  # a signal, too: nobody else would end it
            self.close()
            raise
        self.contract, self.cameras, self.sha256 = said["contract"], said["cameras"], said["sha256"]
        self.num_past, self.goes_on = said["num_past"], said["goes_on"]

    @property
    def pid(self) -> int:
        """The process that the network is in."""
        assert self._process is not None
        return self._process.pid

    def warm_up(self) -> None:
        """Do nothing: it has acted once before it said that it is there."""

    def answer(self, question: Question, seen: Observation, limits: SafetyLimits) -> Answered:
        """Return what `answered` does there.

        Raises:
            RemoteError: the process has ended, or a new one would not do the same.
            VlaError: what `answered` raises there.
        """
        if self._is_lost:
            self._start_anew()
        with contextlib.suppress(OSError):  # `_receive` finds out why
            self._connection.send((question, seen, limits))
        return self._receive("while it was asked, and is started anew with the next question")

    def close(self) -> None:
        """End the process; who waits for an answer gets a RemoteError. From any thread."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def _start(self) -> None:
        ours, theirs = Pipe()
        start = _START.format(path=sys.path, module=__name__, fd=theirs.fileno())
        with self._lock, theirs:
            if self._is_closed:
                raise RemoteError("the network's process was ended; start the node anew")
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection, self._is_lost = ours, False
        with contextlib.suppress(OSError):
            ours.send(self._given)

    def _start_anew(self) -> None:
        self._start()
        try:
            said = self._receive("while it loaded the checkpoint again")
        except VlaError as error:
            self._lose()
            raise RemoteError(str(error)) from None
        changed = [key for key in said if said[key] != self._said[key]]
        if changed:
            self._lose()
            raise RemoteError(
                f"checkpoint {self._given[0]} is another one than before ({', '.join(changed)} "
                "changed): put the old one back, or start the node anew"
            )

    def _receive(self, when: str) -> Any:
        """Return what it says, or raise what it raised."""
        try:
            kind, *said = self._connection.recv()
        except (EOFError, OSError):
            raise RemoteError(self._lose(when)) from None
        if kind == "error":
            name, sentence = said
            raise getattr(errors, name, RunnerError)(sentence)
        return said[0]

    def _lose(self, when: str = "") -> str:
        """Note that there is no process any more, and return how it ended."""
        assert self._process is not None
        self._is_lost = True
        self._connection.close()
        self._process.kill()
        code = self._process.wait()
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return (
            f"the network's process ended {how} {when}; see whether memory ran out, and this "
            "node's log"
        )


def main(fd: int) -> None:
    """Load a checkpoint and answer questions until the other side is gone."""
    # A terminal's Ctrl-C is for who holds the arm up; this process ends after that one.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    connection, told_s = Connection(fd), -math.inf
    with contextlib.suppress(EOFError, OSError):
        given = connection.recv()
        try:
            runner, said = _load(*given)
        except Exception as error:
            if not isinstance(error, VlaError):
                print(traceback.format_exc(), file=sys.stderr, flush=True)
            connection.send(_failure(error))
            return
        connection.send(("said", said))
        while True:
            asked = connection.recv()
            try:
                said = "said", answered(runner, *asked)
            except Exception as error:
                said = _failure(error)
                if not isinstance(error, VlaError) and time.monotonic() - told_s >= _TOLD_S:
                    told_s = time.monotonic()
                    print(traceback.format_exc(), file=sys.stderr, flush=True)
            connection.send(said)


def _load(checkpoint: str, device: str, threads: int) -> tuple["PolicyRunner", dict[str, Any]]:
    """Return the runner, warmed up, and what this side is told of it."""
    require_folder(Path(checkpoint))
    import torch

    from vla_ros.policy.runner import PolicyRunner

    torch.set_num_threads(threads)
    runner = PolicyRunner.load(checkpoint, device=device)
    runner.warm_up()
    said = {name: getattr(runner, name) for name in ("contract", "cameras", "num_past", "goes_on")}
    return runner, {**said, "sha256": checkpoint_sha256(Path(checkpoint))}


def _failure(error: Exception) -> tuple[str, str, str]:
    """Return what is said of an error: its class's name, and one sentence."""
    if isinstance(error, VlaError):
        return "error", type(error).__name__, str(error)
    said = f"the policy failed with {type(error).__name__}; this node's log has where"
    return "error", RunnerError.__name__, said
