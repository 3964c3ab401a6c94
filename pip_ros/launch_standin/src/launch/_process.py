"""One started process: its birth, its output and its end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from launch._entities import Action
from launch._errors import LaunchError
from launch._screen import Screen

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
# A line without an end is shown in parts of this size, so that it cannot fill the memory.
_LONGEST_LINE_BYTES = 65536
# How often it is asked whether a process has ended.
_EXIT_POLL_S = 0.02
# How long helpers that a node left behind may take to end after it.
_LEFTOVERS_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class ProcessSpec:
    """What to start.

    Attributes:
        action: The action that asks for it.
        cmd: Command line, the executable's path first.
        env: Environment.
        stdout_to: Any of "screen" and "log".
        stderr_to: The same for standard error.
        sigterm_timeout_s: How long SIGINT may take before SIGTERM follows [s].
        sigkill_timeout_s: How long SIGTERM may take before SIGKILL follows [s].
    """

    action: Action
    cmd: list[str]
    env: Mapping[str, str]
    stdout_to: frozenset[str]
    stderr_to: frozenset[str]
    sigterm_timeout_s: float = 5.0
    sigkill_timeout_s: float = 5.0


def _child_setup(launch_pid: int) -> Callable[[], None]:
    """Return what the child runs between fork and exec."""

    def prepare() -> None:
        if _LIBC is not None:
            # SIGTERM, not SIGKILL: even a killed launch leaves the recorder time to close its bag.
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != launch_pid:  # the launch died before the line above
                os._exit(1)

    return prepare


class RunningProcess:
    """A process in a session of its own.

    A terminal's Ctrl-C reaches the launch alone, which passes exactly one SIGINT on: so a node gets
    one clean chance, whether the signal came from a terminal, to one pid or to a whole group.
    """

    def __init__(self, spec: ProcessSpec, name: str, screen: Screen) -> None:
        self.spec = spec
        self.name = name
        self.pid = 0  # until it is started
        self.killed = False
        self._screen = screen
        self._stop_wanted = asyncio.Event()

    def stop(self) -> None:
        """Ask the process to end; harder the longer it takes."""
        self._stop_wanted.set()

    async def run(self) -> int:
        """Start the process, pass its output on, and return its exit code.

        Raises:
            LaunchError: It cannot be started.
        """
        spec = self.spec
        try:
            process = subprocess.Popen(
                spec.cmd,
                stdin=subprocess.PIPE,  # never written to: as with the real package, it stays open
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(spec.env),
                start_new_session=True,
                preexec_fn=_child_setup(os.getpid()),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise LaunchError(f"{self.name} cannot be started: {error}") from error
        self.pid = process.pid
        self._screen.say("INFO", self.name, f"process started with pid [{process.pid}]")
        tasks = [
            asyncio.create_task(self._pass_on(process.stdout, spec.stdout_to)),
            asyncio.create_task(self._pass_on(process.stderr, spec.stderr_to)),
        ]
        stopper = asyncio.create_task(self._stop_when_wanted())
        # Not reaped yet, its number still belongs to it and to its group. asyncio's own waiting
        # would go on while a helper of the node keeps the pipes open.
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            await asyncio.sleep(_EXIT_POLL_S)
        stopper.cancel()
        _signal_group(self.pid, signal.SIGTERM)
        returncode = process.wait()
        await self._end_leftovers()
        # What the node wrote last is in the pipes, unless a helper outside its group holds them.
        await asyncio.wait(tasks, timeout=_LEFTOVERS_TIMEOUT_S)
        for task in tasks:
            task.cancel()
        process.stdin.close()
        self._say_end(returncode)
        return returncode

    async def _stop_when_wanted(self) -> None:
        await self._stop_wanted.wait()
        # To the node alone, which minds its own helpers; they are in its group.
        os.kill(self.pid, signal.SIGINT)
        await self._escalate(signal.SIGINT, self.spec.sigterm_timeout_s, signal.SIGTERM)
        await self._escalate(signal.SIGTERM, self.spec.sigkill_timeout_s, signal.SIGKILL)

    async def _escalate(
        self, sent: signal.Signals, timeout_s: float, harder: signal.Signals
    ) -> None:
        await asyncio.sleep(timeout_s)
        text = f"still runs {timeout_s:g} s after {sent.name}, sending {harder.name}"
        self._screen.say("ERROR", self.name, text)
        self.killed = harder is signal.SIGKILL
        os.kill(self.pid, harder)

    async def _end_leftovers(self) -> None:
        """Wait for helpers that outlived the node, and end them: nobody else knows of them."""
        end = asyncio.get_running_loop().time() + _LEFTOVERS_TIMEOUT_S
        while _signal_group(self.pid, 0):
            if asyncio.get_running_loop().time() > end:
                _signal_group(self.pid, signal.SIGKILL)
                return
            await asyncio.sleep(_EXIT_POLL_S)

    async def _pass_on(self, pipe: IO[bytes] | None, destinations: frozenset[str]) -> None:
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), pipe
        )
        rest = b""
        try:
            while chunk := await stream.read(_LONGEST_LINE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._write(line, destinations)
                if len(rest) >= _LONGEST_LINE_BYTES:
                    self._write(rest, destinations)
                    rest = b""
        finally:
            transport.close()
        if rest:
            self._write(rest, destinations)

    def _write(self, line: bytes, destinations: frozenset[str]) -> None:
        text = f"[{self.name}] " + line.rstrip(b"\r").decode(errors="replace")
        if "screen" in destinations:
            self._screen.show(text)
        if "log" in destinations:
            self._screen.log(text)

    def _say_end(self, returncode: int) -> None:
        if returncode == 0:
            self._screen.say("INFO", self.name, f"process has finished cleanly [pid {self.pid}]")
        else:
            self._screen.say(
                "ERROR",
                self.name,
                f"process has died [pid {self.pid}, exit code {returncode}, "
                f"cmd '{' '.join(self.spec.cmd)}']",
            )


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group; return whether it has any member."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
