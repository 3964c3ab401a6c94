"""The launch itself: visits the description, minds the processes, ends them all."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import traceback
from collections.abc import Coroutine, Iterable
from pathlib import Path

from launch._entities import LaunchContext, LaunchDescriptionEntity, visit_all
from launch._process import ProcessSpec, RunningProcess
from launch._screen import Screen
from launch.event_handlers import OnExit, OnProcessExit
from launch.events.process import ProcessExited


class Runtime:
    """One run of a launch description.

    Attributes:
        context: What its actions see.
        screen: Where it writes.
        handlers: Registered OnProcessExit handlers.
        stopping: Whether the end has begun.
        parameter_directory: Folder for parameter files; removed at the end.
    """

    def __init__(self, screen: Screen, *, debug: bool = False) -> None:
        self.context = LaunchContext(runtime=self)
        self.screen = screen
        self.handlers: list[OnProcessExit] = []
        self.stopping = False
        self._debug = debug
        self._exit_code = 0
        self._started = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.Task[None]] = set()
        self._processes: set[RunningProcess] = set()
        self._parameters = tempfile.TemporaryDirectory(prefix="launch_params_")
        self.parameter_directory = Path(self._parameters.name)

    def run(self, entities: Iterable[LaunchDescriptionEntity]) -> int:
        """Visit ``entities``, wait until everything has ended, and return the exit code.

        0 after Ctrl-C, SIGTERM or when all processes have ended; 1 when the launch file failed, a
        process had to be killed, or a shutdown answered a process that died.
        """
        try:
            return asyncio.run(self._run(list(entities)))
        finally:
            self._parameters.cleanup()

    async def _run(self, entities: list[LaunchDescriptionEntity]) -> int:
        loop = asyncio.get_running_loop()
        # A handled signal is back at its default in each child: so SIGINT ends nodes too where it
        # was inherited as ignored (a launch started with "&" from a script).
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        self.screen.on_reader_gone = lambda: self.shutdown("nobody reads the output")
        self._visit(entities)
        while self._tasks:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._tasks -= done
            for task in done:
                self._report(task)
        return self._exit_code

    def _on_signal(self, name: str) -> None:
        if self.stopping:
            self.screen.say("WARNING", "launch", f"{name} again: the processes are ending already")
            return
        self.screen.say("WARNING", "launch", f"{name}: ending all processes")
        self.shutdown(name)

    def _visit(
        self,
        entities: LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity] | None,
        cause: ProcessExited | None = None,
    ) -> None:
        self.context.cause = cause
        try:
            visit_all(entities, self.context)
        except Exception as error:
            self._fail(error)
        finally:
            self.context.cause = None

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.screen.say("ERROR", "launch", sentence_of(error))
        if self._debug:
            self.screen.show("".join(traceback.format_exception(error)).rstrip())
        self.shutdown("the launch failed")
        self._exit_code = 1

    def _add_task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        return task

    def start(self, spec: ProcessSpec, on_exit: OnExit) -> None:
        """Start a process, unless the launch is ending; visit ``on_exit`` when it has ended."""
        if self.stopping:
            return
        self._started += 1
        name = f"{Path(spec.cmd[0]).name}-{self._started}"
        own_handler = OnProcessExit(target_action=spec.action, on_exit=on_exit)
        process = RunningProcess(spec, name, self.screen)
        self._processes.add(process)
        self._add_task(self._mind(process, own_handler))

    async def _mind(self, process: RunningProcess, own_handler: OnProcessExit) -> None:
        try:
            if self.stopping:
                return
            returncode = await process.run()
        finally:
            self._processes.discard(process)
        if process.killed:
            self._exit_code = 1
        event = ProcessExited(
            returncode=returncode,
            action=process.spec.action,
            process_name=process.name,
            cmd=process.spec.cmd,
            env=process.spec.env,
            pid=process.pid,
        )
        for handler in [own_handler, *self.handlers]:
            self._handle(handler, event)

    def _handle(self, handler: OnProcessExit, event: ProcessExited) -> None:
        try:
            if not handler.matches(event):
                return
            if handler.handle_once:
                self.handlers.remove(handler)
            answer = handler.on_exit
            entities = answer(event, self.context) if callable(answer) else answer
        except Exception as error:
            self._fail(error)
            return
        self._visit(entities, cause=event)

    def visit_later(self, period_s: float, entities: list[LaunchDescriptionEntity]) -> None:
        """Visit ``entities`` in ``period_s`` seconds, unless the launch ends before."""
        if self.stopping:
            return
        cause = self.context.cause
        directory = self.context.current_launch_file_directory

        async def wait() -> None:
            await asyncio.sleep(period_s)
            # The visit may end the launch, which cancels the timers: this one is over.
            self._timers.discard(timer)
            self.context.current_launch_file_directory = directory
            self._visit(entities, cause=cause)
            self.context.current_launch_file_directory = None

        timer = self._add_task(wait())
        self._timers.add(timer)

    def shutdown(self, reason: str, *, failed: bool = False) -> None:
        """End all processes and timers; with ``failed`` the exit code becomes 1."""
        if self.stopping:
            return
        self.stopping = True
        if failed:
            self._exit_code = 1
        if self._processes:
            count = len(self._processes)
            self.screen.say("INFO", "launch", f"ending {count} process(es): {reason}")
        for timer in self._timers:
            timer.cancel()
        for process in self._processes:
            process.stop()


def sentence_of(error: BaseException) -> str:
    """Return an error as one sentence; of Python's own errors also the launch file's line.

    An exception class of somebody's own is meant to be read, as a LaunchError is.
    """
    text = " ".join(str(error).split())
    if type(error).__module__ != "builtins" and text:
        return text
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "/launch/_" not in frame.filename
    ]
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"the launch file raised {type(error).__name__}{where}: {text}"
