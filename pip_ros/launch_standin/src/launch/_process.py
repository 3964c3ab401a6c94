"""One started process: its birth, its output and its end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from launch._entities import Action
from launch._errors import LaunchError
from launch._screen import Screen

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
# A line without an end is shown in parts of this size, so that it cannot fill the memory.
_LONGEST_LINE_BYTES = 65536
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
        # Started by "&" from a script, SIGINT comes inherited as ignored, and stays so.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
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
        self.killed = False
        self._screen = screen
        self._process: asyncio.subprocess.Process | None = None
        self._stop_wanted = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return 0 if self._process is None else self._process.pid

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
            process = await asyncio.create_subprocess_exec(
                *spec.cmd,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(spec.env),
                start_new_session=True,
                preexec_fn=_child_setup(os.getpid()),
            )
        except (OSError, ValueError) as error:
            raise LaunchError(f"{self.name} cannot be started: {error}") from error
        self._process = process
        self._screen.say("INFO", self.name, f"process started with pid [{process.pid}]")
        readers = [
            asyncio.create_task(self._pass_on(process.stdout, spec.stdout_to)),
            asyncio.create_task(self._pass_on(process.stderr, spec.stderr_to)),
        ]
        stopper = asyncio.create_task(self._stop_when_wanted(process))
        returncode = await process.wait()
        stopper.cancel()
        await self._end_leftovers(process.pid)
        # What the node wrote last is in the pipes, unless a helper outside its group holds them.
        await asyncio.wait(readers, timeout=_LEFTOVERS_TIMEOUT_S)
        for reader in readers:
            reader.cancel()
        self._say_end(returncode)
        return returncode

    async def _stop_when_wanted(self, process: asyncio.subprocess.Process) -> None:
        await self._stop_wanted.wait()
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            await self._escalate(process)

    async def _escalate(self, process: asyncio.subprocess.Process) -> None:
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(self.spec.sigterm_timeout_s)
        self._screen.say(
            "ERROR",
            self.name,
            f"still runs {self.spec.sigterm_timeout_s:g} s after SIGINT, sending SIGTERM",
        )
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(self.spec.sigkill_timeout_s)
        self._screen.say(
            "ERROR",
            self.name,
            f"still runs {self.spec.sigkill_timeout_s:g} s after SIGTERM, sending SIGKILL",
        )
        self.killed = True
        _signal_group(process.pid, signal.SIGKILL)

    async def _end_leftovers(self, group: int) -> None:
        """End helpers that outlived the node: nobody else knows of them."""
        if not _signal_group(group, signal.SIGTERM):
            return
        for _ in range(20):
            await asyncio.sleep(_LEFTOVERS_TIMEOUT_S / 20)
            if not _signal_group(group, 0):
                return
        _signal_group(group, signal.SIGKILL)

    async def _pass_on(
        self, stream: asyncio.StreamReader | None, destinations: frozenset[str]
    ) -> None:
        assert stream is not None
        rest = b""
        while chunk := await stream.read(_LONGEST_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._write(line, destinations)
            if len(rest) >= _LONGEST_LINE_BYTES:
                self._write(rest, destinations)
                rest = b""
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
